"""The files that an @ at the cursor may mean: those of one folder that the agent may read."""

from __future__ import annotations

import os
import re
import time
from itertools import islice
from pathlib import PurePath

from .completion import MOST, Choice, Completion, folded
from .errors import ToolError
from .files import Fence
from .mention import BEGINNING, home
from .printable import printable
from .toolbox import Scope

PATIENCE = 0.04  # seconds that a folder may take: a person is typing
STRIDE = 500  # entries between two looks at the clock, so that a small folder is always seen as a whole
LOOKED_AT = 2000  # entries that fit, of which the first by name are offered

_BEGUN = re.compile(BEGINNING + r"(?:(\")([^\"\n]*)|(\S*))\Z")
_FAR = 5000  # characters before the cursor in which a path may begin


def begun(text: str, cursor: int, scope: Scope) -> Completion | None:
    """What the path before the cursor may go on to; None: no path stands there."""
    found = _BEGUN.search(text, max(0, cursor - _FAR), cursor)
    if found is None:
        return None
    typed = found[2] if found[1] else found[3]
    folder, _, leaf = typed.rpartition("/")
    folder += "/" * ("/" in typed)
    names, is_cut = _names(home(folder), leaf, scope)
    closes = text[cursor : cursor + 1] != '"'
    choices = [_choice(folder, name, bool(found[1]), closes) for name in names]
    return Completion(found.start(), choices, is_cut)


def _names(folder: str, leaf: str, scope: Scope) -> tuple[list[str], bool]:
    """The names in a folder that fit, a folder's with a slash; and whether there may be more of them."""
    fence = Fence((*scope.roots, *scope.readable), scope.closed, scope.opened)
    try:
        fd, real = fence.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY)
    except (ToolError, OSError):  # there is none that may be read: nothing can be chosen
        return [], False
    try:
        entries, is_cut = _fitting(fd, leaf)
        offered = (_offered(each, real, fence) for each in sorted(entries, key=_order))
        kept = [*islice(filter(None, offered), MOST + 1)]
    except OSError:  # the folder has gone meanwhile
        return [], False
    finally:
        os.close(fd)
    return kept[:MOST], is_cut or len(kept) > MOST


def _fitting(fd: int, leaf: str) -> tuple[list[os.DirEntry[str]], bool]:
    """The entries that begin with what was typed, or else those that have it within; and whether all were seen."""
    wanted, deadline = folded(leaf), time.monotonic() + PATIENCE
    first: list[os.DirEntry[str]] = []
    second: list[os.DirEntry[str]] = []
    with os.scandir(fd) as entries:
        for number, each in enumerate(entries, 1):
            name = folded(each.name)
            if name.startswith(".") and not wanted.startswith("."):
                pass
            elif name.startswith(wanted):
                first.append(each)
            elif wanted in name and len(second) < LOOKED_AT:
                second.append(each)
            if len(first) >= LOOKED_AT or (number % STRIDE == 0 and time.monotonic() > deadline):
                return first or second, True
    return first or second, False


def _order(entry: os.DirEntry[str]) -> tuple[str, str]:
    return folded(entry.name), entry.name


def _offered(entry: os.DirEntry[str], folder: str, fence: Fence) -> str:
    """A name that can be typed, of something that may be read; else empty."""
    name = entry.name
    path = str(PurePath(folder, name))
    if printable(name) != name or "\n" in name or "\t" in name or fence.hides(path):
        return ""
    if '"' in name and (name.startswith('"') or _has_space(name)):
        return ""
    try:
        if entry.is_symlink():
            fence.real_path(path)
        if entry.is_dir():
            return f"{name}/"
        return name if entry.is_file() else ""
    except (OSError, ToolError):  # a link that leads where nothing may be read
        return ""


def _choice(folder: str, name: str, quoted: bool, closes: bool) -> Choice:
    """As it is inserted. The quotes of a folder stay open: what is in it comes next."""
    path, is_folder = folder + name, name.endswith("/")
    if quoted or _has_space(path):
        path = f'"{path}' + '"' * (closes and not is_folder)
    return Choice(f"@{path}", "folder" if is_folder else "")


def _has_space(text: str) -> bool:
    return any(map(str.isspace, text))
