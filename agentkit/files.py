"""Files that stay where they belong: opening and replacing inside the folders that tools may use.

What is checked is what is opened: a path is walked from a folder that is held open, a component at a time, without
following links; a link that is found is read and the walk starts anew with where it leads. Nobody who swaps a link
meanwhile can turn the walk elsewhere.
"""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Literal

from .atomic import replace_at, sync
from .errors import PathRefused, ToolError
from .records import dataclass

LINKS = 40  # that a path may lead through, as on Linux
LONGEST = 4096  # characters of a path, as on Linux

# O_PATH, where there is one, passes through folders that may be entered but not listed.
FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
SAFELY = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY  # a FIFO does not block, a terminal is not taken

Parts = tuple[str, ...]  # of an absolute path
Missing = Literal["fail", "pass", "make"]  # what to do about folders on the way that are not there


def open_in(path: str, roots: Sequence[Path], flags: int, mode: int = 0o666, *, closed: Sequence[Path] = ()) -> int:
    """Open a file or folder inside `roots`; returns the descriptor.

    path: relative to the first root, or absolute; links count as where they lead; flags, mode: as for os.open;
    closed: real paths that stay shut with all that is below them, under whatever name, as do `.env*` (`.env.example`
    excepted) and `.state` everywhere. Raises PathRefused for what is outside or closed, whether it exists or not;
    ToolError for what is neither a file nor a folder; OSError as os.open does.
    """
    return Fence(roots, closed).open(path, flags, mode)[0]


def real(path: Path) -> Path:
    """Where a path leads, without links. One whose links go in a circle stays as it is: Path.resolve raises there."""
    return Path(os.path.realpath(path))


def real_path(path: str, roots: Sequence[Path]) -> str:
    """The path that open_in would open, without links; it need not exist. Raises ToolError where it could not."""
    return Fence(roots).real_path(path)


def replace_in(
    path: str, roots: Sequence[Path], data: bytes, *, closed: Sequence[Path] = (), mode: int | None = None
) -> None:
    """Write a whole file inside `roots`, or leave it as it was; missing folders are made.

    A link is written through; mode: permission bits, otherwise the old file's. Raises as open_in does.
    """
    Fence(roots, closed).replace(path, data, mode)


@dataclass(frozen=True)
class _Place:
    """Where a path ends: the open folder, the name in it, the whole real path, and what is there, None for nothing."""

    folder: int
    name: str
    parts: Parts
    info: os.stat_result | None


class Fence:
    """The folders that tools may use, what is closed in them, and what is opened in that again; made anew for each
    call."""

    def __init__(self, roots: Sequence[Path], closed: Sequence[Path] = (), opened: Sequence[Path] = ()) -> None:
        self._roots = [_parts(_resolved(os.path.abspath(root))) for root in roots]
        self._closed = [os.fspath(path) for path in closed]
        self._folded = [_folded(path) for path in self._closed]
        self._opened = [_folded(os.fspath(path)) for path in opened]
        self._identities: set[tuple[int, int]] | None = None

    def open(self, path: str, flags: int, mode: int = 0o666) -> tuple[int, str]:
        """As open_in; returns the real path too."""
        for _ in range(LINKS):
            with self._place(path) as place:
                try:  # it is emptied below, when it is known what it is
                    fd = os.open(place.name, flags & ~os.O_TRUNC | SAFELY, mode, dir_fd=place.folder)
                except OSError as error:
                    if _swapped(error, place.info):
                        continue
                    raise
            try:
                self._admit(path, os.fstat(fd))
                if flags & os.O_TRUNC and flags & (os.O_WRONLY | os.O_RDWR):
                    os.ftruncate(fd, 0)
            except BaseException:
                os.close(fd)
                raise
            return fd, _joined(place.parts)
        raise _error(errno.ELOOP, path)

    def real_path(self, path: str) -> str:
        """As the function of that name."""
        try:
            with self._place(path, "pass") as place:
                return os.path.normpath(_joined(place.parts))
        except OSError as error:
            raise ToolError(f"{_short(path)}: {error.strerror}") from None

    def replace(self, path: str, data: bytes, mode: int | None = None) -> bool:
        """As replace_in; returns whether the file is new."""
        with self._place(path, "make") as place:
            if place.info is not None:
                if stat.S_ISDIR(place.info.st_mode):
                    raise _error(errno.EISDIR, path)
                if not os.access(place.name, os.W_OK, dir_fd=place.folder):  # renaming would not mind
                    raise _error(errno.EACCES, path)
            replace_at(place.folder, place.name, data, mode, place.info)
            return place.info is None

    def hides(self, path: str) -> bool:
        """Is a real path closed to tools, whatever is there?"""
        parts, folded = _parts(path), _folded(path)
        inside = max((len(root) for root in self._roots if parts[: len(root)] == root), default=0)
        if any(_secret(name) for name in parts[inside:]):
            return True
        if parts[:1] == ("proc",) and parts[1:2] and parts[1].isdigit():  # environments, this program's too
            return True
        return _below(folded, self._folded) and not _below(folded, self._opened)

    @contextmanager
    def _place(self, path: str, missing: Missing = "fail") -> Iterator[_Place]:
        """Walk to a path."""
        ahead = self._absolute(path)
        for _ in range(LINKS + 1):
            root, rest = self._within(ahead, path)
            if self.hides(_joined(root + rest)):
                raise _closed(path)
            if len(_joined(ahead)) > LONGEST:
                raise _error(errno.ENAMETOOLONG, path)
            there = _walk(root, rest, missing)
            if isinstance(there, _Place):
                break
            ahead = there
        else:
            raise _error(errno.ELOOP, path)
        try:
            if there.info is not None:
                self._admit(path, there.info)
            yield there
        finally:
            os.close(there.folder)

    def _absolute(self, path: str) -> Parts:
        if not path:
            raise PathRefused('the path is empty: "." is the working directory')
        if "\0" in path:
            raise PathRefused("the path contains a NUL character, which no file name can")
        if path.startswith("~"):
            raise PathRefused(f"{_short(path)}: ~ is not expanded here: give the path from the working directory on")
        try:
            os.fsencode(path)
        except UnicodeEncodeError:
            raise PathRefused(f"{_short(path)} contains characters that no file name can") from None
        return _parts(os.path.normpath(os.path.join(_joined(self._roots[0]), path)))

    def _within(self, ahead: Parts, path: str) -> tuple[Parts, Parts]:
        """The root to start from, and the way from there; the outermost, which says most about where the way leads."""
        around = [root for root in self._roots if ahead[: len(root)] == root]
        if around:
            root = min(around, key=len)
            return root, ahead[len(root) :]
        # A root may go by other names, such as /tmp for /private/tmp; which folder that is, is only a hint where to
        # start: it is opened by its real name.
        known = {_identity(_joined(root)): root for root in self._roots}
        for size in range(1, len(ahead) + 1):
            found = None if ahead[size - 1] == ".." else _identity(_joined(ahead[:size]))
            if found is None:
                break
            if found in known:
                return known[found], ahead[size:]
        shown = ", ".join(dict.fromkeys(_joined(root) for root in self._roots))
        raise PathRefused(f"{_short(path)} is outside the folders that tools may use ({shown})")

    def _admit(self, path: str, info: os.stat_result) -> None:
        """Refuse what is neither a file nor a folder, and a closed file's other names."""
        if not stat.S_ISREG(info.st_mode):
            if not stat.S_ISDIR(info.st_mode):
                raise ToolError(f"{_short(path)} is not a regular file")
        elif info.st_nlink > 1:
            if self._identities is None:
                self._identities = set(_identities(self._closed))
            if (info.st_dev, info.st_ino) in self._identities:
                raise _closed(path)


def _walk(root: Parts, rest: Parts, missing: Missing) -> _Place | Parts:
    """Go down from a root; returns the place or, where a link leads elsewhere, the way to take instead."""
    fd = os.open(_joined(root), FOLDER)
    try:
        for size, name in enumerate(rest, 1):
            way, last = root + rest[: size - 1], size == len(rest)
            if name == "..":  # out of a link's target: what is above is only known by its path
                return way[:-1] + rest[size:]
            info = _look(fd, name)
            try:
                if info is not None and stat.S_ISLNK(info.st_mode):
                    return _turned(way, os.readlink(name, dir_fd=fd), rest[size:])
                if last or (info is None and missing == "pass"):
                    place, fd = _Place(fd, name, root + rest, info), -1
                    return place
                if info is None and missing == "make":
                    with suppress(FileExistsError):
                        os.mkdir(name, dir_fd=fd)
                    sync(fd)
                below = os.open(name, FOLDER, dir_fd=fd)
            except OSError as error:
                if _swapped(error, info):
                    return root + rest
                raise
            os.close(fd)
            fd = below
        place, fd = _Place(fd, ".", root, os.fstat(fd)), -1
        return place
    finally:
        if fd >= 0:
            os.close(fd)


def _swapped(error: OSError, info: os.stat_result | None) -> bool:
    """Has a link, or something else than a link, come to this place since it was looked at?"""
    if info is None or stat.S_ISDIR(info.st_mode):
        return error.errno in (errno.ELOOP, errno.ENOTDIR)
    return error.errno == (errno.EINVAL if stat.S_ISLNK(info.st_mode) else errno.ELOOP)


def _turned(way: Parts, link: str, rest: Parts) -> Parts:
    """Where a link in the folder `way` leads; what is left of the path comes after it."""
    ahead = _parts(link)
    if link.startswith("/"):
        way = ()
    while ahead[:1] == ("..",):  # the folder is no link, so what is above it is known
        way, ahead = way[:-1], ahead[1:]
    return way + ahead + rest


def _look(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _identity(path: str) -> tuple[int, int] | None:
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_dev, info.st_ino


def _identities(paths: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The files at and below `paths`."""
    for path in paths:
        if found := _identity(path):
            yield found
        for folder, _, names in os.walk(path):
            for name in names:
                if found := _identity(f"{folder}/{name}"):
                    yield found


# Once: a root that is swapped for a link later must not move.
_resolved = lru_cache(maxsize=256)(os.path.realpath)


def _parts(path: str) -> Parts:
    return tuple(part for part in path.split("/") if part not in ("", "."))


def _joined(parts: Parts) -> str:
    return "/" + "/".join(parts)


def _folded(name: str) -> str:
    """The same for all spellings that a file system may take for one another."""
    return unicodedata.normalize("NFKC", name).casefold()


def _below(path: str, folders: Sequence[str]) -> bool:
    return any(path == each or path.startswith(f"{each}/") for each in folders)


def _secret(name: str) -> bool:
    folded = _folded(name)
    return (folded.startswith(".env") and folded != ".env.example") or folded == ".state"


def _short(path: str) -> str:
    return path if len(path) <= 200 else f"{path[:200]}..."


def _closed(path: str) -> PathRefused:
    return PathRefused(f"{_short(path)} is closed to tools: it may hold secrets, or what is not theirs to change")


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)
