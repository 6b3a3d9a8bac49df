"""One conversation on disk: a file of JSON lines that is only ever appended to.

Each line is a message, or a record of what became of those before it (see store.py and past.py). Whatever happened to
the file, the next line is one of its own.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from . import atomic, jsonl
from .past import Said, read

log = logging.getLogger("agentkit")

SUFFIX = ".jsonl"
KEPT = "results"  # the folder, beside the conversations, of texts that are too long for the model
FLAGS = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
CURE = "What is said is kept in memory, and saved as soon as that can be done."


class Conversation:
    """One labelled file, open; its first line makes it. A Journal for the store.

    Nothing here raises for want of a disk: `trouble` says why nothing is saved, and what could not be written is kept
    and written as soon as that can be done.
    """

    def __init__(
        self,
        folder: Path,
        label: str = "",
        begin: Callable[[], None] = lambda: None,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        """label: empty for a dated one; begin: called before the file is made; tell: hears when there is trouble, and
        when it is over."""
        self.folder, self.label, self._begin, self._tell = folder, label, begin, tell
        self.trouble = ""
        self.locked = False  # another process has it open: nothing is written
        self._fd: int | None = None
        self._pending: deque[Mapping[str, Any]] = deque()
        self._made = False  # the file has been there

    @property
    def path(self) -> Path:
        return self.folder / f"{self.label}{SUFFIX}"

    def open(self) -> Said:
        """Load the file that is there, and hold it against other processes. Raises OSError where it cannot be read."""
        self._made = True
        try:
            self._fd = _file(self.path)
            self.locked = not _lock(self._fd)
        except OSError as error:
            os.close(_file(self.path, os.O_RDONLY))  # it can be read at least, or this says why not
            self._fail(error)
        return self.load()

    def regain(self) -> bool:
        """Try again to have a conversation that was open elsewhere; True: it is ours now, as `load` has it."""
        if not self.locked or self._fd is None or not _lock(self._fd):
            return False
        if self._is_elsewhere(self._fd, moved=True):
            try:
                fd = _file(self.path)
            except OSError:  # it was renamed, or deleted, by who had it
                return False
            os.close(self._fd)
            self._fd = fd
            self.locked = not _lock(fd)
        else:
            self.locked = False
        return not self.locked

    @property
    def unsaved(self) -> int:
        """How many records are not on the disk."""
        return 0 if self.locked else len(self._pending)

    def load(self) -> Said:
        """Everything that was said, read anew; what is not saved yet counts too."""
        data = b""
        if self._made:
            try:
                data = self.path.read_bytes() if self._fd is None else _contents(self._fd)
            except OSError as error:
                self._fail(error)
        return read(data, tuple(self._pending))

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a record; a file is made with the first one."""
        self._pending.append(record)
        self._flush()

    def sync(self) -> None:
        if self._pending:
            self._flush()
        if self._fd is not None:
            try:
                os.fsync(self._fd)
            except OSError as error:
                self._fail(error)

    def keep(self, text: str) -> str:
        folder = self.folder / KEPT
        path = folder / f"{os.urandom(6).hex()}.txt"
        try:
            self._begin()
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            atomic.replace(path, text.encode("utf-8", "replace"), 0o600)
        except OSError as error:
            log.warning("a long text could not be kept: %s", error)
            return ""
        return str(path)

    def rename(self, label: str) -> None:
        """Go by another label. Raises FileExistsError where that one is taken, and OSError."""
        target = self.folder / f"{label}{SUFFIX}"
        if self._made:
            atomic.move(self.path, target)
        elif os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), label)
        self.label = label

    def close(self) -> None:
        """Let other processes have it, as soon as everything is saved; may be called again."""
        if self._pending:
            self._flush()
        if self._fd is not None and not self.unsaved:
            os.close(self._fd)
            self._fd = None

    def _flush(self) -> None:
        if self.locked:
            return
        try:
            if self._fd is None or self._is_elsewhere(self._fd):
                self._fd = self._opened()
            while self._pending:
                jsonl.append(self._fd, self._pending[0])
                self._pending.popleft()
        except OSError as error:
            self._fail(error)
        else:
            if self.trouble:
                self.trouble = ""
                self._tell(f"Everything is saved again, in {self.path}.")

    def _is_elsewhere(self, fd: int, moved: bool = False) -> bool:
        """Is our file deleted, or another one in its place, as some editors put it? moved: also where it only has
        another name."""
        mine = os.fstat(fd)
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            return moved or mine.st_nlink == 0
        return (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino)

    def _opened(self) -> int:
        """The file: opened again where it was replaced; made, with all its lines, where it was deleted under us, or
        where somebody else has the one that is there now."""
        old = self._fd
        if self._made and self.path.exists():
            fd = _file(self.path)
            if _lock(fd):
                if old is not None:
                    os.close(old)
                return fd
            os.close(fd)
            if old is None:
                raise OSError(errno.EBUSY, f"{self.label} is open in another process", str(self.path))
        self._begin()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = self._create(_contents(old) if old is not None else b"")
        self._made = True
        if old is not None:
            os.close(old)
        return fd

    def _create(self, lines: bytes) -> int:
        """A new file under a label that nobody has: whole, and ours, before it has its name."""
        temporary = self.folder / f".{os.urandom(8).hex()}.tmp"
        fd = os.open(temporary, FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _lock(fd)
            rest = memoryview(lines)
            while rest:
                rest = rest[os.write(fd, rest) :]
            if lines:
                os.fsync(fd)
            self._name(temporary)
        except BaseException:
            os.close(fd)
            with suppress(OSError):
                temporary.unlink()
            raise
        atomic.sync_folder(self.folder)
        return fd

    def _name(self, temporary: Path) -> None:
        """Move a new file to its label: the one wanted, or the next that is free."""
        wanted = self.label or f"{datetime.now():%Y-%m-%d-%H%M}"
        number = 1
        while True:
            label = wanted if number == 1 else f"{wanted}-{number}"
            try:
                atomic.move(temporary, self.folder / f"{label}{SUFFIX}")
                break
            except FileExistsError:
                number += 1
        if self.label and label != self.label:
            self._tell(f"There is another conversation {self.label} now: this one goes on as {label}.")
        self.label = label

    def _fail(self, error: OSError) -> None:
        trouble = f"nothing is saved ({error.strerror or error})"
        if trouble != self.trouble:
            self.trouble = trouble
            self._tell(f"{trouble[0].upper()}{trouble[1:]}: {self.folder}. {CURE}")


def _file(path: Path, flags: int = FLAGS) -> int:
    """Open a regular file; raises OSError for anything else, which would swallow what is written, or wait for ever."""
    fd = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return fd


def _lock(fd: int) -> bool:
    """Take the file for this process; the kernel gives it back, whatever becomes of us."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        return error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL)  # a file system without locks
    return True


def _contents(fd: int) -> bytes:
    size = os.fstat(fd).st_size
    pieces: list[bytes] = []
    at = 0
    while at < size and (piece := os.pread(fd, size - at, at)):
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)
