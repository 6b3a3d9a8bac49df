"""The tools for single files and folders: read_file, write_file, edit_file, list_dir."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from heapq import nsmallest
from io import BufferedReader, FileIO
from itertools import islice
from typing import Annotated

from ..errors import ToolError
from ..files import Fence
from ..toolbox import Scope, tool
from .edits import LARGEST, diff, replaced
from .words import in_words, one_line, size_of, visible

OUTPUT = 30_000  # characters of a result
WIDEST = 2000  # characters of a line
HEAD = 8192  # bytes that tell text from other files
BUFFER, BLOCK = 1 << 16, 1 << 20  # bytes
AHEAD = 1 << 28  # bytes that are read on the way to a line
LONGEST = 64 << 20  # bytes of a line that are passed to get to the next
ENTRIES = 500  # of a folder that are listed
BOM = b"\xef\xbb\xbf"


@tool(read_only=True)
def read_file(
    path: str,
    offset: Annotated[int, "first line, from 1"] = 1,
    limit: int = 2000,
    *,
    scope: Scope,
) -> str:
    """Read a text file. Before each line come its number and a tab."""
    offset, limit = max(offset, 1), max(limit, 1)
    fence = Fence((*scope.roots, *scope.readable), scope.closed, scope.opened)
    with _reading(path, fence), _opened(path, fence) as file:
        size = _check_text(file, path)
        passed = _skip(file, offset - 1, path, scope)
        if not file.peek(1):
            return f"{path} has {passed} lines: offset {offset} is past its end" if passed else f"{path} is empty"
        lines: list[str] = []
        room = OUTPUT
        for number in range(offset, offset + limit):
            line = _line(file, scope)
            room -= len(line) + len(str(number)) + 2
            if not line or room < 0:
                break
            lines.append(f"{number}\t{line.removesuffix(chr(10))}")
        if room >= 0 and not file.peek(1):
            return "\n".join(lines)
    return "\n".join((*lines, f"[more: offset={offset + len(lines)}; the file has {size}]"))


def _opened(path: str, fence: Fence) -> BufferedReader:
    fd, _ = fence.open(path, os.O_RDONLY)
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        raise ToolError(f"{path} is a folder: see what is in it with list_dir")
    return BufferedReader(FileIO(fd), BUFFER)


def _check_text(file: BufferedReader, path: str) -> str:
    """Refuse what is no text, and go past a byte order mark; returns the file's size in words."""
    size = size_of(os.fstat(file.fileno()).st_size)
    head = file.peek(HEAD)[:HEAD]
    odd = head.decode("utf-8", "replace").count("\ufffd")
    if b"\0" in head or odd > len(head) * 0.3:
        kind = "UTF-16 text" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "a binary file"
        raise ToolError(f"{path} is {kind} ({size}), not UTF-8 text: look at it with a program that understands it")
    if head.startswith(BOM):
        file.read(len(BOM))
    return size


def _skip(file: BufferedReader, lines: int, path: str, scope: Scope) -> int:
    """Go past that many lines, or all there are; returns how many."""
    passed, read, block = 0, 0, b"\n"
    while passed < lines:
        last, block = block, file.read(BLOCK)
        if not block:
            return passed + (not last.endswith(b"\n"))
        scope.cancel.check()
        at = -1
        if passed + block.count(b"\n") >= lines:
            for _ in range(lines - passed):
                at = block.index(b"\n", at + 1)
            file.seek(at + 1 - len(block), os.SEEK_CUR)
            return lines
        passed += block.count(b"\n")
        read += len(block)
        if read >= AHEAD:
            raise ToolError(f"{path}: this line is more than {size_of(read)} into the file: take a program like sed")
    return passed


def _line(file: BufferedReader, scope: Scope) -> str:
    """The next line, cut where it is very long; empty: the file ends, or none begins within reach."""
    line = file.readline(4 * WIDEST)
    passed, rest = 0, line
    while rest and not rest.endswith(b"\n") and passed < LONGEST:
        scope.cancel.check()
        rest = file.readline(BLOCK)
        passed += len(rest)
    text = line.decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")
    if passed >= LONGEST:
        file.seek(0, os.SEEK_END)
        text = f"{text[:WIDEST]} ... [cut: this line is longer than {size_of(LONGEST)}, what follows is not shown]"
    elif len(text) > WIDEST or passed:
        text = f"{text[:WIDEST]} ... [cut: this line is longer]"
    return text + "\n" if line else ""


def preview_write(path: str, content: str, *, scope: Scope) -> str:
    """What a person decides about: where, and what changes there."""
    fence = _for_writing(scope)
    where = visible(fence.real_path(path))
    new = _encodable(content)
    with in_words(path):
        try:
            old = _text(path, fence)
        except FileNotFoundError:
            return f"{where} (new)\n{diff('', new)}"
        except _NoText as reason:
            return f"{where} ({reason}; it is replaced as a whole)\n{diff('', new)}"
    return f"{where}\n{diff(old, new) or '(no change)'}"


@tool(asks=True, preview=preview_write)
def write_file(path: str, content: str, *, scope: Scope) -> str:
    """Write a whole file."""
    text = _encodable(content)
    with in_words(path):
        new = _for_writing(scope).replace(path, text.encode())
    count = text.count("\n") + (not text.endswith("\n") and text != "")
    return f"wrote {count} line{'s' * (count != 1)} to {path} ({'new' if new else 'replaced'})"


def preview_edit(path: str, old: str, new: str, replace_all: bool = False, *, scope: Scope) -> str:
    """What a person decides about: where, and what changes there. Raises ToolError where the edit cannot be made."""
    fence = _for_writing(scope)
    text, edited, _ = _edited(path, old, new, replace_all, fence)
    return f"{visible(fence.real_path(path))}\n{diff(text, edited)}"


@tool(asks=True, preview=preview_edit)
def edit_file(
    path: str,
    old: Annotated[str, "exact text, found once"],
    new: str,
    replace_all: bool = False,
    *,
    scope: Scope,
) -> str:
    """Replace text in a file."""
    fence = _for_writing(scope)
    _, edited, lines = _edited(path, old, new, replace_all, fence)
    with in_words(path):
        fence.replace(path, edited.encode())
    return f"edited {path}: {lines}"


def _edited(path: str, old: str, new: str, everywhere: bool, fence: Fence) -> tuple[str, str, str]:
    """The text before and after, and the lines that are concerned, in words."""
    with _reading(path, fence):
        try:
            text = _text(path, fence)
        except _NoText as reason:
            raise ToolError(f"{path} is {reason}: it cannot be edited with this tool") from None
    return (text, *replaced(text, old, _encodable(new), everywhere, path))


class _NoText(Exception):
    """Why a file cannot be edited as text."""


def _text(path: str, fence: Fence) -> str:
    """The whole of a file, with its byte order mark and line ends. Raises FileNotFoundError and _NoText."""
    with _opened(path, fence) as file:
        data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise _NoText(f"a file of more than {size_of(LARGEST)}")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _NoText(f"not UTF-8 text (byte {data[error.start]:#04x} in line {line})") from None


def _for_writing(scope: Scope) -> Fence:
    return Fence(scope.roots, (*scope.closed, *scope.unwritable))


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


@tool(read_only=True)
def list_dir(path: str = ".", *, scope: Scope) -> str:
    """List a folder, with sizes."""
    fence, path = Fence((*scope.roots, *scope.readable), scope.closed, scope.opened), path or "."
    with _reading(path, fence):
        try:
            fd, real = fence.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except NotADirectoryError:
            raise ToolError(f"{path} is not a folder: read a file with read_file") from None
        try:
            count, lines = _listed(fd, real, fence, scope)
        finally:
            os.close(fd)
    if count > len(lines):
        lines.append(f"[{count - len(lines)} more; find them by name with glob]")
    return "\n".join(lines) or f"{path} is empty"


def _listed(fd: int, folder: str, fence: Fence, scope: Scope) -> tuple[int, list[str]]:
    """How many entries there are, and the first of them as they are shown."""
    count = 0

    def visible_ones() -> Iterator[tuple[bool, str, os.DirEntry[str]]]:
        nonlocal count
        for each in entries:
            scope.cancel.check()
            if not fence.hides(f"{folder}/{each.name}"):
                count += 1
                yield not each.is_dir(follow_symlinks=False), each.name, each

    with os.scandir(fd) as entries:
        first = nsmallest(ENTRIES, visible_ones(), key=lambda each: each[:2])
        return count, [_entry(fd, each) for _, _, each in first]


def _entry(fd: int, each: os.DirEntry[str]) -> str:
    name = one_line(each.name)
    if each.is_dir(follow_symlinks=False):
        return f"{name}/"
    try:
        if each.is_symlink():
            return f"{name} -> {one_line(os.readlink(each.name, dir_fd=fd))}"
        info = each.stat(follow_symlinks=False)
    except OSError:  # it has gone meanwhile
        return name
    return f"{name}  {size_of(info.st_size) if stat.S_ISREG(info.st_mode) else 'no regular file'}"


@contextmanager
def _reading(path: str, fence: Fence) -> Iterator[None]:
    """Within the `with`, an OSError becomes a plain sentence; where nothing is found, it says what there is."""
    with in_words(path):
        try:
            yield
        except FileNotFoundError:
            raise ToolError(f"there is no {path}{_here(path, fence) or _beside(path, fence)}") from None


def _here(path: str, fence: Fence) -> str:
    """A file of that name in the working directory, where models look last."""
    folder, name = os.path.split(path.rstrip("/"))
    if not folder:
        return ""
    try:
        os.close(fence.open(name, os.O_RDONLY)[0])
    except (OSError, ToolError):
        return ""
    return f"; in the working directory there is {one_line(name)}"


def _beside(path: str, fence: Fence) -> str:
    """What there is in the folder where something was not found: the names most like it first."""
    folder, name = os.path.split(path.rstrip("/"))
    try:
        fd, real = fence.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return f", nor a folder {folder}"
    except (OSError, ToolError):
        return ""
    try:
        with os.scandir(fd) as entries:
            names = sorted(each.name for each in islice(entries, 1000) if not fence.hides(f"{real}/{each.name}"))
    finally:
        os.close(fd)
    if not names:
        return ": its folder is empty"
    like = get_close_matches(name[:255], names, n=5) or names[:10]
    return f"; in its folder there are: {', '.join(map(one_line, like))}" + ", ..." * (len(like) < len(names))
