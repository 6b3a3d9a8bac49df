"""Would git take this file into a checkout? As far as files tell, without asking git."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

from . import atomic


def is_exposed(path: Path) -> bool:
    """Is it in a checkout, and no pattern of gitignore(5) keeps it out? It need not be there; of patterns with ranges
    of folders (`a/**/b`) only those at one end are understood."""
    path = Path(os.path.realpath(path.parent)) / path.name
    root = next((folder for folder in path.parents if (folder / ".git").exists()), None)
    if root is None:
        return False
    for part in _parts(path, root):
        kept_out = False
        for folder, pattern in _patterns(part, root):
            bare = pattern.removeprefix("!")
            if _matches(part.relative_to(folder), bare, part != path):
                kept_out = bare == pattern
        if kept_out:  # what is below it cannot come back in
            return False
    return True


def _parts(path: Path, root: Path) -> Iterator[Path]:
    """The file, and the folders that lead to it, from the outermost on."""
    below = path.relative_to(root).parts
    return (root.joinpath(*below[:size]) for size in range(1, len(below) + 1))


def _patterns(part: Path, root: Path) -> Iterator[tuple[Path, str]]:
    """What may speak of it, with the folder it speaks for; the later one wins."""
    folders = [folder for folder in reversed(part.parents) if folder.is_relative_to(root)]
    files = [(root, root / ".git" / "info" / "exclude"), *((folder, folder / ".gitignore") for folder in folders)]
    for folder, file in files:
        try:
            text = atomic.small(file, 1 << 20).decode("utf-8", "replace")
        except OSError:
            continue
        for line in text.splitlines():
            if (pattern := line.rstrip()) and not pattern.startswith("#"):
                yield folder, pattern


def _matches(path: PurePath, pattern: str, is_folder: bool) -> bool:
    if pattern.endswith("/**"):
        parts = pattern[:-3].lstrip("/").split("/")
        return len(parts) < len(path.parts) and all(map(fnmatchcase, path.parts, parts))
    if pattern.endswith("/") and not is_folder:
        return False
    pattern = pattern.rstrip("/")
    if pattern.startswith("**/"):
        return path.match(pattern[3:])
    if "/" not in pattern:
        return fnmatchcase(path.name, pattern)
    parts = pattern.lstrip("/").split("/")
    return len(parts) == len(path.parts) and all(map(fnmatchcase, path.parts, parts))
