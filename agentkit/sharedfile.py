"""A JSON object in a file that threads and processes change: none loses what another wrote, none waits for ever."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from . import atomic

PATIENCE = 2.0  # seconds to wait for another process that changes the file
HURRY = 10.0  # seconds that nobody waits for one that was waited for in vain
LARGEST = 1 << 20  # bytes of the file


class SharedFile:
    """It is read and written by one thread at a time; a change is both, within `alone`.

    path: in a folder of the workspace, which is there once something is saved in it; None: nothing is kept. Beside it
    is the lock, of the same name.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._turn = threading.Lock()  # serialises changes, and so waiting for other processes
        self._hurry = 0.0  # until when nobody waits, in monotonic seconds
        self._signature: tuple[int, ...] | None = None  # of the file when it was read
        self._saved = True  # what was to be written is in the file

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Change alone, among the threads here and the processes of this file; not waiting for ever for one that is
        stopped."""
        began = time.monotonic()
        patience = PATIENCE if began >= self._hurry else 0.0
        first = self._turn.acquire(timeout=patience)
        try:
            # Waiting for a thread and then for a process is one wait.
            with self._locked(began + patience if first else began) as alone:
                if not alone and patience:
                    self._hurry = time.monotonic() + HURRY
                yield
        finally:
            if first:
                self._turn.release()

    def read(self, sure: bool = False) -> dict[str, Any] | None:
        """What another process has written, empty where that is no JSON object; None: nothing new.

        sure: even if the file looks as it did, as two may at once.
        """
        if self.path is None:
            return None
        signature = _signature(self.path)
        if signature == self._signature and not (sure and signature and self._saved):
            return None
        self._signature = signature
        try:
            return _parsed(atomic.small(self.path, LARGEST))
        except FileNotFoundError:
            return {}  # it was deleted
        except OSError:
            self._signature = ()  # it is looked at again: too many files may be open
            return None

    def write(self, value: Mapping[str, Any]) -> None:
        """Replace what the file holds, if there is a workspace.

        Raises OSError; the value is then newer than the file, which `read` leaves alone until somebody changes it.
        """
        if (path := self._place()) is None:
            return
        try:
            # A crash costs nothing but what was learnt last: it is not worth waiting for the disk.
            atomic.replace(path, json.dumps(value, indent=1).encode() + b"\n", 0o600, durable=False)
            self._saved = True
        except OSError:
            self._saved = False
            raise
        finally:
            self._signature = _signature(path)

    def _place(self) -> Path | None:
        """The file, in a folder that is there; None: there is no workspace to have it in."""
        if self.path is None or not os.path.isdir(self.path.parent.parent):
            return None
        with suppress(OSError):
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
        return self.path

    @contextmanager
    def _locked(self, deadline: float) -> Iterator[bool]:
        """Hold the lock among processes, waiting until then at most; is it held, as far as it can be?"""
        try:
            if (path := self._place()) is None:
                raise OSError
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            fd = os.open(path.with_suffix(".lock"), flags, 0o600)
        except OSError:
            yield True
            return
        try:
            yield _flocked(fd, deadline)
        finally:
            os.close(fd)


def _flocked(fd: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.002)
        except OSError:  # a file system without locks
            return True


def _signature(path: Path) -> tuple[int, ...] | None:
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_mtime_ns, info.st_size, info.st_ino


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
