"""A file that people edit while the program runs: looked at, read and replaced so that nobody's change is lost."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from . import atomic

LARGEST = 16 << 20  # bytes of the file
PATIENCE = 2.0  # seconds to wait for another process that changes the file
TRIES = 5  # to change it, while somebody keeps editing


def signature(path: Path) -> tuple[int, ...] | None:
    """Another one where the file was changed, but for changes within a tick of the kernel's clock; None: no file."""
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_ctime_ns, info.st_mtime_ns, info.st_size, info.st_ino


def seen(path: Path) -> tuple[bytes | None, str]:
    """What the file holds, None: there is none; and why it cannot be read."""
    try:
        return _content(path), ""
    except OSError as error:
        return None, f"it cannot be read ({error.strerror})"
    except ValueError as error:
        return None, str(error)


def replace(path: Path, edit: Callable[[bytes | None], str | None]) -> None:
    """Replace the file by what `edit` makes of what it holds; None: it stays, or there stays none.

    Raises OSError, ValueError where it is too large, and whatever `edit` raises.
    """
    real = Path(os.path.realpath(path))  # a link stays one
    with _alone(real.parent) as folder:
        if not any(_is_replaced(folder, real, edit) for _ in range(TRIES)):
            raise OSError(errno.EBUSY, "somebody keeps editing it")


def _content(path: Path) -> bytes | None:
    """What the file holds; None: there is none. Never blocks. Raises OSError, and ValueError where it is too large."""
    try:
        info = os.stat(path)
        if not stat.S_ISREG(info.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        if info.st_size > LARGEST:
            raise ValueError(f"it is larger than {LARGEST >> 20} MiB")
        return atomic.small(path, LARGEST)
    except (FileNotFoundError, NotADirectoryError):
        return None


@contextmanager
def _alone(folder: Path) -> Iterator[int]:
    """Open the folder, and hold it among processes that change this file; not for ever: one of them may be stopped.
    Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise OSError(errno.EBUSY, "another process is changing it") from None
                time.sleep(0.002)
                continue
            except OSError:  # a file system without locks
                pass
            break
        yield fd
    finally:
        os.close(fd)


def _is_replaced(folder: int, path: Path, edit: Callable[[bytes | None], str | None]) -> bool:
    """Try it once; False: somebody has edited the file meanwhile."""
    before = _content(path)
    text = edit(before)
    if text is None:
        return True
    if before is not None and not os.access(path, os.W_OK):  # renaming would not mind
        raise PermissionError(errno.EACCES, "it is write-protected")
    # Half a surrogate pair can only stand in a string, where its escape means the same.
    data = text.encode("utf-8", "backslashreplace")
    if len(data) > LARGEST:
        raise OSError(errno.EFBIG, f"it would be larger than {LARGEST >> 20} MiB")
    staged = f".{os.urandom(8).hex()}.tmp"
    old = os.stat(path) if before is not None else None
    try:
        atomic.replace_at(folder, staged, data, None, old)
        if _content(path) != before:  # no lock holds back an editor
            return False
        os.replace(staged, path.name, src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(staged, dir_fd=folder)
    atomic.sync(folder)
    return True
