"""What runs beside the chats: the outbox. Of all processes of a workspace, the one that holds .state/lock runs it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from .outbox import Outbox


class Background:
    """state: the workspace's `.state`; tell: hears once that another process has the lock."""

    def __init__(self, state: Path, outbox: Outbox, tell: Callable[[str], None]) -> None:
        self._state, self._tell = state, tell
        self.outbox = outbox
        self._lock = -1
        self._told = False

    @property
    def runs(self) -> bool:
        return self._lock >= 0

    def begin(self) -> bool:
        """Run it here, if no other process does and the workspace is there; does it run here now?"""
        if self.runs or not self._state.parent.is_dir():
            return self.runs
        try:
            self._state.mkdir(mode=0o700, exist_ok=True)
            fd = os.open(self._state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
        except OSError:  # not writable: nothing could be kept, and the chat has said so
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
            os.close(fd)
            if not self._told:
                self._told = True
                self._tell(f"Background work (deliveries) is done by process {holder or '?'}.")
            return False
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._lock = fd
        self.outbox.start()
        return True

    def end(self, timeout: float) -> None:
        """Stop it, in so many seconds, and let another process have it."""
        if self.runs:
            self.outbox.stop(timeout)
            os.close(self._lock)
            self._lock = -1
