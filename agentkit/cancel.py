"""How running work is told to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .errors import Cancelled


class Cancel:
    """Set once, by any thread; looked at, or listened to, by whoever works or blocks.

    Whatever blocks registers what wakes it::

        with cancel.on_set(connection.shutdown):
            connection.read()
        cancel.check()
    """

    def __init__(self) -> None:
        # Serialises set() against entering and leaving on_set(): a callback never runs after its `with` has ended,
        # so it cannot hit a process id or a connection that by then belongs to somebody else.
        # Reentrant, because a signal handler may call set() while its own thread is in here.
        self._lock = threading.RLock()
        self._set = False
        self._callbacks: list[Callable[[], object]] = []

    @property
    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        """Ask the work to stop; wakes everything that registered. Further calls do nothing."""
        with self._lock:
            if self._set:
                return
            self._set = True
            for callback in list(self._callbacks):
                callback()

    def check(self) -> None:
        """Raise Cancelled if the work should stop."""
        if self._set:
            raise Cancelled

    def wait(self, seconds: float) -> None:
        """Sleep for so long; raises Cancelled as soon as the work should stop."""
        woken = threading.Event()
        with self.on_set(woken.set):
            woken.wait(seconds)
        self.check()

    @contextmanager
    def on_set(self, callback: Callable[[], object]) -> Iterator[None]:
        """Within the `with`, set() calls `callback` once, in its own thread; at once if it is set already.

        The callback must be quick and must not raise.
        """
        with self._lock:
            self._callbacks.append(callback)
            if self._set:
                callback()
        try:
            yield
        finally:
            with self._lock:
                self._callbacks.remove(callback)
