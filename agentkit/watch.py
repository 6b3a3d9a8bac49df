"""The files of a folder, read again only when they changed: otherwise a look costs a stat for each."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, NamedTuple, TypeVar

from .records import dataclass

LONGEST = 1 << 20  # bytes of a file: far above any honest one

TICK = 10_000_000  # nanoseconds: the coarsest clock that common kernels stamp files with

T = TypeVar("T")

Seen = tuple[str, int, int, int]  # path, time of change in ns, size, inode: a file that keeps them has not changed


class Problem(NamedTuple):
    """A file that is skipped. why: ends with what to do about it, where there is a cure; seen: which version it was."""

    path: str
    why: str
    seen: Seen | None = None


@dataclass(frozen=True)
class Found(Generic[T]):
    """What a look has found, in order of the paths."""

    values: Mapping[str, T]
    problems: tuple[Problem, ...] = ()


class Watch(Generic[T]):
    """listing: gives the files, raises OSError where it cannot; parse: makes a value of a file's path and text, raises
    ValueError where it cannot. Used by one thread at a time."""

    def __init__(self, listing: Callable[[], list[Seen]], parse: Callable[[str, str], T]) -> None:
        self._listing, self._parse = listing, parse
        self._listed: list[Seen] | None = None
        self._known: dict[str, tuple[Seen, T | Problem]] = {}
        self._found: Found[T] = Found({})

    def look(self) -> Found[T]:
        """The very same object as last time while nothing has changed. Never blocks, but for a moment where a file is
        only just written."""
        listed: list[Seen] = []
        problems: list[Problem] = []
        try:
            listed = self._listing()
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            problems.append(Problem(str(error.filename), _unreadable(error)))
        if listed == self._listed and not problems:
            return self._found
        certain = not problems  # a right that comes back does not change a file: what could not be read is tried again
        values: dict[str, T] = {}
        known: dict[str, tuple[Seen, T | Problem]] = {}
        for seen in sorted(listed):
            path = seen[0]
            before = self._known.get(path)
            try:
                made = before[1] if before and before[0] == seen else self._made(seen)
            except OSError as error:
                problems.append(Problem(path, _unreadable(error), seen))
                certain = False
                continue
            known[path] = seen, made
            if isinstance(made, Problem):
                problems.append(made)
            else:
                values[path] = made
        self._known, self._listed = known, listed if certain else None
        if (found := Found(values, tuple(problems))) != self._found:
            self._found = found
        return self._found

    def _made(self, seen: Seen) -> T | Problem:
        path, changed = seen[:2]
        # A change within the same tick of the kernel's clock could leave no trace: what is read is older than that.
        if 0 <= (age := time.time_ns() - changed) <= TICK:
            time.sleep((TICK - age + 1) / 1e9)
        try:
            return self._parse(path, read(path))
        except ValueError as error:
            return Problem(path, str(error), seen)


def markdown(folder: str) -> list[Seen]:
    """The `*.md` of a folder, without dotfiles. Raises OSError."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name.endswith(".md") and name[0] != ".":
                try:
                    info = entry.stat()
                    found.append((entry.path, info.st_mtime_ns, info.st_size, info.st_ino))
                except OSError:
                    found += _unseen(entry.path)
    return found


def below(folder: str, name: str) -> list[Seen]:
    """The files of that name in the folders of a folder, hidden ones excepted. Raises OSError."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name[0] != ".":
                path = f"{entry.path}/{name}"
                try:
                    info = os.stat(path)
                    found.append((path, info.st_mtime_ns, info.st_size, info.st_ino))
                except OSError:
                    found += _unseen(path)
    return found


def those(paths: Iterable[str]) -> list[Seen]:
    """Those of the files that exist."""
    found = []
    for path in paths:
        try:
            info = os.stat(path)
            found.append((path, info.st_mtime_ns, info.st_size, info.st_ino))
        except OSError:
            found += _unseen(path)
    return found


def _unseen(path: str) -> list[Seen]:
    """A file that a stat fails on: nothing where it does not exist, else reading it will tell what is wrong."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError:
        pass
    return [(path, 0, 0, 0)]


def read(path: str) -> str:
    """The text of a file: a regular one, UTF-8, at most 1 MiB. Never blocks. Raises OSError, and ValueError for what is
    no such file."""
    # Without O_NONBLOCK, opening a FIFO waits for somebody to write to it.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is no regular file")
        data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise ValueError(f"it is larger than {LONGEST >> 20} MiB: make several files of it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8: save the file as UTF-8 text") from None


def _unreadable(error: OSError) -> str:
    return f"it cannot be read ({error.strerror})"
