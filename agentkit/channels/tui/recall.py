"""What was typed before, kept across runs, and finding it again."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ... import atomic

KEPT = 1000  # entries
FULL = 2000  # lines of the file from which on it is rewritten
LARGEST = 4 << 20  # bytes of the same
LONGEST = 100_000  # characters of an entry that is written
PATIENCE = 0.5  # seconds to wait for another process that writes


class History:
    """path: where the file is to be, in a folder of its own in the workspace; None: nowhere yet. It has one JSON string
    a line, the latest last; it is read when it is first needed, and never in the way: what cannot be written, because
    the workspace is not there yet or the disk is full, is tried again with the next entry."""

    def __init__(self, path: Callable[[], Path | None] = lambda: None) -> None:
        self._path = path
        self._read: list[str] | None = None  # what the file had; None: not looked at yet
        self._new: list[str] = []  # what was typed since
        self._unsaved: list[str] = []

    @property
    def entries(self) -> list[str]:
        """The oldest first."""
        if self._read is None and (path := self._path()) is not None:
            self._read = _load(path)
        return [*(self._read or ()), *self._new][-KEPT:]

    def remember(self, text: str) -> None:
        """Add what was typed, unless it is empty, or the same as the last one."""
        if not text.strip() or self.entries[-1:] == [text]:
            return
        self._new = [*self._new, text][-KEPT:]
        if len(text) <= LONGEST:
            self._unsaved = [*self._unsaved, text][-KEPT:]
        self.save()

    def save(self) -> None:
        """Write what is not written yet, if that can be."""
        path = self._path()
        if path is None or not self._unsaved or not os.path.isdir(path.parent.parent):
            return
        if self._read is None:  # later it would have these, too
            self._read = _load(path)
        with suppress(OSError):
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with _locked(path, os.O_RDWR | os.O_APPEND | os.O_CREAT) as file:
                _append(file, b"".join(_line(text) for text in self._unsaved))
                self._unsaved = []


class Search:
    """Looks backwards for an entry that has `query` in it; capitals matter where the query has one."""

    def __init__(self, history: History) -> None:
        self._entries = list(dict.fromkeys(reversed(history.entries)))  # the latest first, each once
        self._query = ""
        self._found: list[str] = []
        self._at = 0  # in what is found

    @property
    def query(self) -> str:
        return self._query

    @query.setter
    def query(self, query: str) -> None:
        if query == self._query:
            return
        is_exact = query != query.lower()
        self._found = [each for each in self._entries if query and query in (each if is_exact else each.lower())]
        self._query, self._at = query, 0

    @property
    def match(self) -> str | None:
        """The entry that is found; None: there is none, or nothing to look for."""
        return self._found[self._at] if self._found else None

    @property
    def failing(self) -> bool:
        """Is there something to look for that no entry has?"""
        return bool(self._query) and not self._found

    def older(self) -> None:
        """Go to the one before."""
        self._at = min(self._at + 1, max(0, len(self._found) - 1))

    def newer(self) -> None:
        """Go back to a later one."""
        self._at = max(0, self._at - 1)


def _load(path: Path) -> list[str]:
    """The entries of the file. One that has grown long is rewritten with the last of them, if that can be now."""
    try:
        data, size = _end_of(path)
    except OSError:
        return []
    if data.count(b"\n") > FULL or size >= LARGEST:
        with suppress(OSError), _locked(path, os.O_RDWR):  # nobody appends meanwhile
            data, _ = _end_of(path)
            atomic.replace(path, _last(data), 0o600, durable=False)
    return [text for line in data.split(b"\n") if (text := _parsed(line)) is not None][-KEPT:]


def _end_of(path: Path) -> tuple[bytes, int]:
    """Whole lines from the end of the file, and its size. Raises OSError."""
    file = _opened(path, os.O_RDONLY)
    try:
        size = os.fstat(file).st_size
        with open(file, "rb", closefd=False) as stream:
            stream.seek(max(0, size - LARGEST))
            data = stream.read(LARGEST)
    finally:
        os.close(file)
    return data.partition(b"\n")[2] if size > LARGEST else data, size


def _last(data: bytes) -> bytes:
    """The last lines that are entries. They take half of what the file may at most, or it would soon be full again."""
    kept: list[bytes] = []
    room = LARGEST // 2
    for line in reversed(data.split(b"\n")):
        if _parsed(line) is not None:
            room -= len(line) + 1
            if room < 0 or len(kept) == KEPT:
                break
            kept.append(line + b"\n")
    return b"".join(reversed(kept))


def _parsed(line: bytes) -> str | None:
    """The entry of a line; None: it is damaged."""
    try:
        text = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    return text if isinstance(text, str) and text.strip() else None


def _line(text: str) -> bytes:
    """An entry as a line that people can read and grep; half a surrogate pair, which is not text, is escaped."""
    try:
        return json.dumps(text, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(text).encode() + b"\n"


def _append(file: int, data: bytes) -> None:
    """Write lines at once, behind whatever the last one was cut off at; all of them or, raising OSError, none."""
    size = os.fstat(file).st_size
    if size and os.pread(file, 1, size - 1) != b"\n":
        data = b"\n" + data
    try:
        if os.write(file, data) < len(data):
            raise OSError("the disk is full")
    except OSError:
        with suppress(OSError):
            os.ftruncate(file, size)
        raise


@contextmanager
def _locked(path: Path, flags: int) -> Iterator[int]:
    """The file, opened, while no other process of ours changes it. Raises OSError, also where one has it for too long.

    It may be replaced while we wait: then what is at that path now is meant.
    """
    deadline = time.monotonic() + PATIENCE
    while (file := _held(path, flags)) is None:
        if time.monotonic() >= deadline:
            raise OSError(f"{path} is being written by another process")
        time.sleep(0.002)
    try:
        yield file
    finally:
        os.close(file)


def _held(path: Path, flags: int) -> int | None:
    """The file, opened and locked; None: it was not free, or not the one at that path any more. Raises OSError."""
    file = _opened(path, flags)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_free = os.path.samestat(os.fstat(file), os.stat(path))
    except (BlockingIOError, FileNotFoundError):
        is_free = False
    except OSError:  # a file system without locks
        is_free = True
    if is_free:
        return file
    os.close(file)
    return None


def _opened(path: Path, flags: int) -> int:
    """The regular file there; a FIFO in its place makes nobody wait. Raises OSError."""
    file = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, 0o600)
    if stat.S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    raise OSError(f"{path} is no regular file")
