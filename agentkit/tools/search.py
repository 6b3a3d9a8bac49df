"""The tools that search: glob for names, grep for text. They follow no links and show nothing that is closed."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from time import monotonic
from typing import Annotated

from ..errors import ToolError
from ..files import Fence
from ..records import dataclass
from ..toolbox import Scope, tool
from .matching import Find, TooSlow, finder
from .patterns import Pattern, States, branches, split
from .words import in_words, one_line, size_of

NAMES = 1000  # that glob returns
MATCHES = 200  # that grep returns
OUTPUT = 30_000  # characters of a result
WIDEST = 300  # characters of a line
LARGEST = 5_000_000  # bytes of a file that is searched among others
ALONE = 20_000_000  # bytes of one that is searched alone
HEAD = 8192  # bytes that tell text from other files
SECONDS = 10.0  # that a search takes at most
SYSTEM = frozenset(("/proc", "/sys", "/dev"))  # no files, though they look like it


@tool(read_only=True)
def glob(pattern: Annotated[str, "like src/**/*.py"], path: str = ".", *, scope: Scope) -> str:
    """Find files by name."""
    if not pattern.strip():
        raise ToolError("the pattern is empty: **/* stands for everything")
    search, path = _Search(scope), path or "."
    names: set[str] = set()
    room = OUTPUT
    with in_words(path):
        for entry in _matching(search, pattern, path):
            name = search.shown(entry.path) + "/" * entry.is_folder
            if name in names or (pattern.endswith("/") and not entry.is_folder):
                continue
            room -= len(name) + 1
            if len(names) == NAMES or room < 0:
                search.notes.append(f"only the first {len(names)} names: narrow the pattern")
                break
            names.add(name)
    lines = sorted(names) or [f"nothing matches {pattern[:200]}" + f" in {path}" * (path != ".")]
    return "\n".join((*lines, *search.remarks()))


def _matching(search: _Search, pattern: str, path: str) -> Iterator[_Entry]:
    """What a pattern stands for; the folders it begins with lead as a path does, and need not exist."""
    for branch in branches(pattern):
        top, way = split(branch)
        try:
            yield from search.entries(top if top and path == "." else os.path.join(path, top), Pattern([way]))
        except (FileNotFoundError, NotADirectoryError):
            if not top:
                raise


@tool(read_only=True)
def grep(
    pattern: Annotated[str, "regex"],
    path: str = ".",
    include: Annotated[str, "like *.py"] = "",
    ignore_case: bool = False,
    *,
    scope: Scope,
) -> str:
    """Search the lines of a file, or of all below a folder."""
    if not pattern:
        raise ToolError("the pattern is empty: give what to search for")
    search, path = _Search(scope), path or "."
    names = Pattern(("**", *filter(None, each.split("/"))) for each in branches(include or "*"))
    lines: list[str] = []
    room = OUTPUT
    with in_words(path), finder(pattern, ignore_case, MATCHES + 1, SECONDS, scope) as find:
        for line in _found(search, find, path, names):
            room -= len(line) + 1
            if len(lines) == MATCHES or room < 0:
                search.notes.append(f"only the first {len(lines)} matches: narrow the pattern or the path")
                break
            lines.append(line)
    return "\n".join((*(lines or [f"no line matches {pattern[:200]}"]), *search.remarks()))


def _found(search: _Search, find: Find, path: str, names: Pattern) -> Iterator[str]:
    for file in search.files(path, names):
        if text := search.text(file):
            try:
                found = find(text)
            except TooSlow:
                search.notes.append(
                    f"stopped after {SECONDS:g} s, in {search.shown(file)}: simplify, or narrow the path"
                )
                return
            lines = text.split("\n") if found else []
            for number, start in found:
                yield f"{search.shown(file)}:{number}: {_snippet(lines[number - 1], start)}"


def _snippet(line: str, start: int) -> str:
    """A line, or of a long one what is around the match."""
    if len(line) <= WIDEST:
        return line
    begin = max(0, min(start - WIDEST // 3, len(line) - WIDEST))
    return "..." * (begin > 0) + line[begin : begin + WIDEST] + "..." * (begin + WIDEST < len(line))


@dataclass(frozen=True)
class _Entry:
    """Something in a folder, by its real path; whether it is what is looked for, and what may be below it."""

    path: str
    is_folder: bool
    is_file: bool
    states: States
    wanted: bool


class _Search:
    """One walk through a folder: where it may go, how long, and what is to be said about it."""

    def __init__(self, scope: Scope) -> None:
        self._cancel = scope.cancel
        self._fence = Fence((*scope.roots, *scope.readable), scope.closed, scope.opened)
        self._cwd = self._fence.real_path(".").rstrip("/") + "/"
        self._deadline = monotonic() + SECONDS
        self._largest = ALONE
        self._skipped: Counter[str] = Counter()
        self.notes: list[str] = []

    def shown(self, path: str) -> str:
        return one_line(path.removeprefix(self._cwd))

    def remarks(self) -> list[str]:
        """What the result leaves out, in brackets."""
        skipped = ", ".join(f"{count} {what}" for what, count in sorted(self._skipped.items()))
        return [f"[{note}]" for note in (*self.notes, f"not searched: {skipped}" * bool(skipped)) if note]

    def files(self, path: str, names: Pattern) -> Iterator[str]:
        """A file, or the files below a folder. Raises OSError for `path` itself."""
        fd, real = self._fence.open(path, os.O_RDONLY)
        try:
            is_folder = stat.S_ISDIR(os.fstat(fd).st_mode)
        finally:
            os.close(fd)
        if is_folder:
            self._largest = LARGEST
            yield from (entry.path for entry in self.entries(path, names) if entry.is_file)
        else:
            yield real

    def entries(self, top: str, pattern: Pattern) -> Iterator[_Entry]:
        """What matches below the folder `top`, in the order of the paths. Raises OSError for `top` itself."""
        fd, real = self._fence.open(top, os.O_RDONLY | os.O_DIRECTORY)
        os.close(fd)
        stack = [_Entry(real, True, False, pattern.start, False)]
        while stack:
            self._cancel.check()
            entry = stack.pop()
            if monotonic() > self._deadline:
                self.notes.append(f"stopped after {SECONDS:g} s, at {self.shown(entry.path)}: narrow the path")
                return
            if entry.wanted:
                yield entry
            if entry.is_folder and entry.states:
                try:
                    below = self._listed(entry, pattern)
                except (OSError, ToolError):
                    self._skipped["unreadable"] += 1
                else:
                    stack += sorted(below, key=lambda each: each.path + "/" * each.is_folder, reverse=True)

    def _listed(self, folder: _Entry, pattern: Pattern) -> list[_Entry]:
        """What is in a folder, as far as it matters."""
        below: list[_Entry] = []
        fd, real = self._fence.open(folder.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if real != folder.path:  # a link has taken its place
                return below
            with os.scandir(fd) as entries:
                for each in entries:
                    self._cancel.check()
                    is_folder = each.is_dir(follow_symlinks=False)
                    states = pattern.after(folder.states, each.name, is_folder)
                    path, wanted = os.path.join(real, each.name), pattern.ends(states)
                    if (wanted or (is_folder and states)) and path not in SYSTEM and not self._fence.hides(path):
                        below.append(_Entry(path, is_folder, each.is_file(follow_symlinks=False), states, wanted))
        finally:
            os.close(fd)
        return below

    def text(self, path: str) -> str:
        """A file's text, with line feeds only; empty where there is none to search."""
        try:
            fd, real = self._fence.open(path, os.O_RDONLY)
            with open(fd, "rb") as file:
                size = os.fstat(fd).st_size
                data = file.read(size) if size <= self._largest else b""
        except ToolError:  # closed, and here by another name, or no file any more
            return ""
        except OSError:
            self._skipped["unreadable"] += 1
            return ""
        if size > self._largest:
            self._skipped[f"larger than {size_of(self._largest)}"] += 1
        elif b"\0" in data[:HEAD]:
            self._skipped["binary"] += 1
        elif real == path:  # else a link has taken its place
            return data.decode("utf-8", "replace").removeprefix("\ufeff").replace("\r\n", "\n").removesuffix("\n")
        return ""
