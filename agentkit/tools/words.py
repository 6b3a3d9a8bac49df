"""What the system says about a file, in plain sentences, and names that stay on their line."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import ToolError
from ..printable import printable

# Letters that look like nothing (Default_Ignorable_Code_Point of Unicode, and blank ones), though Python finds them
# printable; what chooses between the pictures of the character before stays.
_BLANK = (
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\U000e0100-\U000e01ef]"
    "|(?<![^\x00-\x7f])[\ufe00-\ufe0f]"
)

_WORDS = {
    errno.ENOENT: "there is no file or folder {path}",
    errno.EACCES: "permission denied: {path}",
    errno.EPERM: "permission denied: {path}",
    errno.EISDIR: "{path} is a folder, not a file",
    errno.ENOTDIR: "{path}: a part of this path is a file, not a folder",
    errno.ENAMETOOLONG: "{path}: this name is too long for a file",
    errno.ELOOP: "{path}: too many links lead from one to the next",
    errno.EROFS: "{path} was not written: the disk is read-only",
    errno.ENOSPC: "{path} was not written: the disk is full",
    errno.EDQUOT: "{path} was not written: the disk quota is used up",
    errno.EFBIG: "{path} was not written: it is larger than files may be here",
    errno.EAGAIN: "{path} cannot be read without waiting",
}


@contextmanager
def in_words(path: str) -> Iterator[None]:
    """Within the `with`, an OSError about `path` becomes a ToolError that says it in a plain sentence."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        words = _WORDS.get(error.errno or 0, "{path}: {reason}")
        raise ToolError(words.format(path=one_line(path)[:200], reason=reason)) from None


def one_line(name: str) -> str:
    """A file's name as it can stand in a list: control characters in it cannot pretend to be further names."""
    return name if name.isprintable() else printable(name).replace("\n", "\ufffd").replace("\t", "\ufffd")


def visible(text: str) -> str:
    """A text in which nothing is that a screen would not show: what people decide about hides nothing."""
    if text.isprintable() and (text.isascii() or not re.search(_BLANK, text)):
        return text
    shown = (each if each.isprintable() or each in "\n\t" else _escaped(each) for each in text)
    return re.sub(_BLANK, lambda found: _escaped(found[0]), "".join(shown))


def _escaped(text: str) -> str:
    return text.encode("unicode_escape").decode()


def size_of(count: int) -> str:
    """A number of bytes, in few characters: 812 B, 1.2 KB, 34 MB."""
    if count < 1000:
        return f"{count} B"
    value, units = float(count), iter(("KB", "MB", "GB", "TB", "PB", "EB"))
    unit = ""
    while value >= 999.5:
        value, unit = value / 1000, next(units)
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"
