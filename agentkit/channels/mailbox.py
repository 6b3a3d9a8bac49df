"""A queue that a `select` can wait for: how other threads, and signals, reach the main one."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Iterator
from typing import Any


class Mailbox:
    """`put` from any thread or signal handler; the owner selects on `fileno()` and takes what there is."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def fileno(self) -> int:
        return self._read

    def put(self, item: Any) -> None:
        """Add an item and wake the owner."""
        self._items.append(item)
        try:
            os.write(self._write, b"\\0")
        except OSError:
            pass  # the pipe is full of wake-ups already, or the owner is gone

    def take(self) -> Iterator[Any]:
        """The items so far, in order."""
        try:
            while len(os.read(self._read, 4096)) == 4096:
                pass
        except OSError:
            pass
        while self._items:
            yield self._items.popleft()

    def on_signal(self, *signals: signal.Signals) -> None:
        """Put the number of each of these signals instead of what they would do. Main thread only."""
        # The handler below runs only between two steps of Python: a signal that comes just before a select needs the
        # byte that C writes at once, or the select would sleep on.
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for each in signals:
            signal.signal(each, lambda number, frame: self.put(signal.Signals(number)))

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)
