"""Which process of a workspace does what goes on beside the chats: the one that holds .state/lock; another one takes
over when it has left."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

log = logging.getLogger("agentkit")

HEADLESS = "serve"  # the kind of a process without a terminal


class Background:
    """May be used from any thread.

    state: the workspace's `.state`; kind: one word that tells others what this process is; start: begins the work;
    stop: ends it, in so many seconds; tell: hears who has the lock, when it changes.
    """

    def __init__(
        self,
        state: Path,
        kind: str,
        start: Callable[[], None],
        stop: Callable[[float], object],
        tell: Callable[[str], None],
    ) -> None:
        self._state, self._kind, self._start, self._stop, self._tell = state, kind, start, stop, tell
        self._changing = threading.Lock()  # serialises what follows
        self._lock = -1  # the file, while it is ours
        self._waits = self._ended = False

    @property
    def runs(self) -> bool:
        return self._lock >= 0

    def elsewhere(self) -> str:
        """The id of the process that runs it, where that is another one; else empty."""
        return next(iter(self._other()), "")

    def elsewhere_as(self, kind: str) -> bool:
        """Does another process run it, which is of that kind?"""
        return kind in self._other()

    def gateway_elsewhere(self) -> str:
        """Where the gateway of another process that runs it is, if there is one."""
        return next((each for each in self._other() if each.startswith("ws")), "")

    def cure(self) -> str:
        """What to do about another process that runs it, where that should do something."""
        if not self.elsewhere_as(HEADLESS):
            return "say it there, or end that one first"
        url = self.gateway_elsewhere()
        through = f"say it through its gateway ({url}), or end" if url else "end"
        return f"it is agentkit serve, which has no screen, so {through} that one first"

    def note(self, url: str) -> None:
        """Have other processes know where the gateway of this one is; empty: it has none."""
        with self._changing:
            if self._lock >= 0:
                self._write(self._lock, url)

    def _other(self) -> list[str]:
        """What another process that runs it has noted: its id and its kind; nothing where there is none."""
        if self.runs:
            return []
        try:
            fd = os.open(self._state / "lock", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return []
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return _holder(fd)
        finally:
            os.close(fd)
        return []

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
            self._stop(timeout)
            os.close(runs)

    def _hold(self, fd: int) -> None:
        """The lock is ours. Called with `_changing` held."""
        self._write(fd)
        self._lock = fd
        self._start()

    def _write(self, fd: int, url: str = "") -> None:
        """Note in the lock file who we are. Called with `_changing` held."""
        with suppress(OSError):  # a full disk: others cannot tell
            data = "".join(f"{each}\n" for each in (os.getpid(), self._kind, url) if each).encode()
            os.pwrite(fd, data, 0)
            os.ftruncate(fd, len(data))

    def _stand_by(self, fd: int) -> None:
        """Another process has the lock: wait until it has left. Called with `_changing` held."""
        if self._waits:
            os.close(fd)
            return
        self._waits = True
        what = "Background work (deliveries, heartbeats, jobs, the gateway, Discord)"
        self._tell(f"{what} is done by process {_holder(fd)[0]}.")
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
                left = _holder(fd)[0]
                self._hold(fd)
        except OSError as error:
            log.warning("the background work is not taken over: %s", error)
            os.close(fd)
        else:
            self._tell(f"Process {left} has left: background work is done here now.")


def _holder(fd: int) -> list[str]:
    """What a process has noted of itself in the lock file: at least its id."""
    return os.pread(fd, 300, 0).decode("ascii", "replace").split() or ["?"]
