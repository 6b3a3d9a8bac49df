"""Whole files, replaced at once: whoever looks, and whatever crashes, there is the old one or the new one."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path


def replace(path: Path, data: bytes, mode: int | None = None, *, durable: bool = True) -> None:
    """Write a whole file, or leave it as it was; its folder must be there. Raises OSError.

    mode: permission bits, otherwise the old file's; durable: it survives a loss of power when this returns.
    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            old = os.stat(path.name, dir_fd=folder)
        except OSError:  # there is none, or it is a link that leads nowhere
            old = None
        replace_at(folder, path.name, data, mode, old, durable=durable)
    finally:
        os.close(folder)


def replace_at(
    folder: int, name: str, data: bytes, mode: int | None, old: os.stat_result | None, *, durable: bool = True
) -> None:
    """The same in an open folder, for the file of which `old` is known; None: there is none."""
    if mode is None and old is not None:
        mode = stat.S_IMODE(old.st_mode) & 0o777
    temporary = f".{os.urandom(8).hex()}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o666 if mode is None else 0o600, dir_fd=folder)
    try:
        try:
            if old is not None:
                with suppress(OSError):  # only root can give files away
                    os.fchown(fd, old.st_uid, old.st_gid)
            if mode is not None:
                os.fchmod(fd, mode)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(fd, rest) :]
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise
    if durable:
        sync(folder)


def small(path: Path, most: int = 16 << 20) -> bytes:
    """What a regular file holds, of at most so many bytes; raises OSError. A FIFO in its place makes nobody wait."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        with open(fd, "rb", closefd=False) as file:
            return file.read(most)
    finally:
        os.close(fd)


def move(old: Path, new: Path) -> None:
    """Give a file another name in its folder. Raises FileExistsError where that one is taken, and OSError."""
    try:
        os.link(old, new)  # renaming would overwrite
        os.unlink(old)
    except FileExistsError:
        raise
    except OSError:  # a file system without links, or a file that is not ours: take the name first
        if os.path.lexists(new) and os.path.samefile(old, new):
            raise
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            os.replace(old, new)
        except OSError:
            os.unlink(new)
            raise


def sync_folder(path: Path) -> None:
    """Have the names in a folder survive a loss of power."""
    with suppress(OSError):
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def sync(folder: int) -> None:
    """The same for an open folder, which may be open by its path only."""
    with suppress(OSError):  # some file systems do not sync folders, and some folders cannot be read
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
