"""How other threads, and signals, reach the main one: queues that a `select` can wait for."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Iterator
from typing import Any


class Mailbox:
    """`put` from any thread; the owner selects on `fileno()` and takes what there is."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._read, self._write = _pipe()

    def fileno(self) -> int:
        return self._read

    def put(self, item: Any) -> None:
        """Add an item and wake the owner."""
        self._items.append(item)
        try:
            os.write(self._write, b"\0")
        except OSError:
            pass  # the pipe is full of wake-ups already, or the owner is gone

    def take(self) -> Iterator[Any]:
        """The items that are there now, in order; what comes meanwhile wakes the owner again."""
        _drain(self._read)
        for _ in range(len(self._items)):
            yield self._items.popleft()


class Signals:
    """Signals, kept apart from the mail: they do not wait behind it. For the main thread only.

    One that the parent has set to be ignored, as nohup does, stays ignored.
    """

    def __init__(self, *numbers: signal.Signals) -> None:
        self._came: deque[signal.Signals] = deque()
        self._read, self._write = _pipe()
        # A Python handler runs only between two steps of Python: a signal that comes just before a select needs the
        # byte that C writes at once, or the select would sleep on.
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for each in numbers:
            if signal.getsignal(each) is not signal.SIG_IGN:
                signal.signal(each, lambda number, frame: self._came.append(signal.Signals(number)))

    def fileno(self) -> int:
        return self._read

    def take(self) -> Iterator[signal.Signals]:
        """Those that have come, in order."""
        _drain(self._read)
        while self._came:
            yield self._came.popleft()


def _pipe() -> tuple[int, int]:
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends


def _drain(end: int) -> None:
    try:
        while len(os.read(end, 4096)) == 4096:
            pass
    except OSError:
        pass  # it is empty
