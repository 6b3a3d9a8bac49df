"""Files that go along with a message: named after an @ in what a person types, read when the message is taken."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .errors import ToolError
from .events import Notice
from .files import Fence
from .toolbox import Scope
from .tools.words import in_words, one_line, size_of

LARGEST, ALL = 100_000, 300_000  # characters of a file, and of all that go with a message
HEAD = 8192  # bytes that tell text from other files
BOM = "\ufeff"

CURE = "Ask the agent to read it, in parts."

# What a content may hold that ends an element of ours, however a reader takes it.
_CLOSING = re.compile(r"<\s*/\s*file(?:-([0-9]+))?", re.IGNORECASE)


class _File(NamedTuple):
    path: str
    text: str

    @property
    def lines(self) -> str:
        count = self.text.count("\n") + (not self.text.endswith("\n") and self.text != "")
        return f"{count} line{'s' * (count != 1)}"


def attached(text: str, paths: Iterable[str], scope: Scope) -> tuple[str, list[Notice]]:
    """A message with the files it names, as the model gets it; and what to tell about each.

    What read_file would refuse, and what is too much, does not go along: the message is the same without it.
    """
    fence = Fence((*scope.roots, *scope.readable), scope.closed, scope.opened)
    files: dict[str, _File] = {}  # by real path
    refused: list[Notice] = []
    room = ALL
    for path in dict.fromkeys(paths):
        try:
            real, content = _read(path, fence)
            if real in files:
                continue
            if len(content) > room:
                raise ToolError(f"{one_line(path)} is too much: {ALL:,} characters go with a message. {CURE}")
        except ToolError as error:
            refused.append(Notice(f"not attached: {error}", "warn"))
            continue
        files[real] = _File(path, content)
        room -= len(content)
    if not files:
        return text, refused
    told = ", ".join(f"{one_line(each.path)} ({each.lines})" for each in files.values())
    return "\n\n".join((text, *_elements([*files.values()]))), [Notice(f"attached: {told}"), *refused]


def _read(path: str, fence: Fence) -> tuple[str, str]:
    """A file's real path and its text. Raises ToolError."""
    name = one_line(path)[:200]
    with in_words(path):
        fd, real = fence.open(path, os.O_RDONLY)
        try:
            info = os.fstat(fd)
            if stat.S_ISDIR(info.st_mode):
                raise ToolError(f"{name} is a folder: name a file in it, or ask the agent to look")
            data = _beginning(fd, 4 * LARGEST + len(BOM.encode()) + 1)
        finally:
            os.close(fd)
    odd = data[:HEAD].decode("utf-8", "replace").count("\ufffd")
    if b"\0" in data or odd > len(data[:HEAD]) * 0.3:
        raise ToolError(f"{name} is a binary file ({size_of(info.st_size)}), not UTF-8 text")
    text = data.decode("utf-8", "replace").removeprefix(BOM)
    if len(text) > LARGEST:
        size = size_of(max(info.st_size, len(data)))
        raise ToolError(f"{name} is too long ({size}; {LARGEST:,} characters of a file can be attached). {CURE}")
    return real, text


def _beginning(fd: int, most: int) -> bytes:
    pieces = []
    while most > 0 and (piece := os.read(fd, most)):
        pieces.append(piece)
        most -= len(piece)
    return b"".join(pieces)


def _elements(files: list[_File]) -> Iterator[str]:
    """Each file between marks that none of them holds: no content can pass for the end of itself, nor needs a change,
    which would keep an edit from finding its text."""
    taken = {found for each in files for found in _CLOSING.findall(each.text)}
    number = next(n for n in range(len(taken) + 1) if (str(n) if n else "") not in taken)
    name = f"file-{number}" if number else "file"
    for each in files:
        text = each.text.removesuffix("\n")
        yield f'<{name} path="{_escaped(each.path)}">\n{text}\n</{name}>'


def _escaped(path: str) -> str:
    """A path as the value of an attribute (XML 1.0, 2.3), on one line, fit for UTF-8."""
    return "".join(each if each.isprintable() and each not in '&<>"' else f"&#{ord(each)};" for each in path)
