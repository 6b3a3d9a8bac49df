"""What runs beside the chats: the outbox, and the ways in. Of all processes of a workspace, the one that holds
.state/lock runs them; another one takes over when it has left."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .outbox import Outbox

log = logging.getLogger("agentkit")


class Background:
    """May be used from any thread. state: the workspace's `.state`; tell: hears who has the lock, when it changes."""

    def __init__(self, state: Path, outbox: Outbox, tell: Callable[[str], None]) -> None:
        self._state, self._tell = state, tell
        self.outbox = outbox
        self._changing = threading.Lock()  # serialises what follows
        self._lock = -1  # the file, while it is ours
        self._waits = self._ended = False

    @property
    def runs(self) -> bool:
        return self._lock >= 0

    def elsewhere(self) -> str:
        """The id of the process that runs it, where that is another one; else empty."""
        if self.runs:
            return ""
        try:
            fd = os.open(self._state / "lock", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return ""
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return _holder(fd)
        finally:
            os.close(fd)
        return ""

    def begin(self) -> None:
        """Run it here, if no other process does and the workspace is there; else as soon as that one has left."""
        with self._changing:
            if self.runs or self._ended or not self._state.parent.is_dir():
                return
            try:
                self._state.mkdir(mode=0o700, exist_ok=True)
                fd = os.open(self._state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
            except OSError:  # not writable: nothing could be kept, and the chat has said so
                return
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._stand_by(fd)
            else:
                self._hold(fd)

    def end(self, timeout: float) -> None:
        """Stop it, in so many seconds, and let another process have it."""
        with self._changing:
            self._ended = True
            runs, self._lock = self._lock, -1
        if runs >= 0:
            self.outbox.stop(timeout)
            os.close(runs)

    def _hold(self, fd: int) -> None:
        """The lock is ours. Called with `_changing` held."""
        with suppress(OSError):  # a full disk: others cannot tell who we are
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._lock = fd
        self.outbox.start()

    def _stand_by(self, fd: int) -> None:
        """Another process has the lock: wait until it has left. Called with `_changing` held."""
        if self._waits:
            os.close(fd)
            return
        self._waits = True
        self._tell(f"Background work (deliveries, the gateway, Discord) is done by process {_holder(fd)}.")
        threading.Thread(target=self._wait, args=(fd,), name="stand by", daemon=True).start()

    def _wait(self, fd: int) -> None:
        """Sleep until the kernel hands the lock over, however the other process has ended."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            with self._changing:
                self._waits = False
                if self._ended or self.runs:
                    os.close(fd)
                    return
                left = _holder(fd)
                self._hold(fd)
        except OSError as error:
            log.warning("the background work is not taken over: %s", error)
            os.close(fd)
        else:
            self._tell(f"Process {left} has left: background work is done here now.")


def _holder(fd: int) -> str:
    """The process that has noted itself in the lock file."""
    return os.pread(fd, 20, 0).decode("ascii", "replace").strip() or "?"
