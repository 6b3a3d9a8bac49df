"""Patterns of paths, such as src/**/*.{py,md}: which names they mean, a folder at a time."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate

from ..errors import ToolError

BRANCHES = 64  # that {a,b} may make of a pattern

# What programs put there by the thousand: no wildcard means it, only its name does.
CLUTTER = frozenset(
    {
        ".git",
        ".hg",
        "node_modules",
        "__pycache__",
        ".venv",
        "venv",
        ".tox",
        ".mypy_cache",
        ".ruff_cache",
        ".pytest_cache",
    }
)

States = frozenset[tuple[int, int]]  # which ways have come how far


def branches(pattern: str) -> list[str]:
    """The patterns that one with {a,b} in it stands for."""
    done, ahead = [], [pattern]
    while ahead:
        each = ahead.pop()
        if braces := re.search(r"\{([^{}]*,[^{}]*)\}", each):
            ahead += [each[: braces.start()] + choice + each[braces.end() :] for choice in braces[1].split(",")[::-1]]
        else:
            done.append(each)
        if len(done) + len(ahead) > BRANCHES:
            raise ToolError(f"{{...}} makes more than {BRANCHES} patterns of this one: use a wildcard instead")
    return done


def split(pattern: str) -> tuple[str, tuple[str, ...]]:
    """The folder that a pattern begins with, empty for none, and the parts that come after it."""
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    plain = next((index for index, part in enumerate(parts) if re.search(r"[*?[]", part)), max(len(parts) - 1, 0))
    if parts[plain:] == [".."]:
        plain += 1
    if ".." in parts[plain:]:
        raise ToolError(f"{pattern[:200]}: .. cannot come after a wildcard")
    return "/" * pattern.startswith("/") + "/".join(parts[:plain]), tuple(parts[plain:]) or ("*",)


class Pattern:
    """Some ways through folders, each given by the parts of a path: names, wildcards, and ** for any folders."""

    def __init__(self, ways: Iterable[tuple[str, ...]]) -> None:
        self._ways = list(ways)
        self._names: dict[str, re.Pattern[str]] = {}
        for part in {part for way in self._ways for part in way}:
            try:
                self._names[part] = re.compile(translate(part))
            except re.error:  # [z-a]
                raise ToolError(
                    f"{part[:200]} is no pattern: a range in [...] goes from the lower to the higher"
                ) from None
        self.start = self._closed((way, 0) for way in range(len(self._ways)))

    def after(self, states: States, name: str, is_folder: bool) -> States:
        """Where the ways are after `name`; empty: it leads nowhere."""
        ahead = []
        for way, at in states:
            if at < len(self._ways[way]):
                part = self._ways[way][at]
                if part == name or not (is_folder and name in CLUTTER):
                    if part == "**":
                        ahead.append((way, at))
                    elif self._names[part].match(name):
                        ahead.append((way, at + 1))
        return self._closed(ahead)

    def ends(self, states: States) -> bool:
        """Is a whole way behind?"""
        return any(at == len(self._ways[way]) for way, at in states)

    def _closed(self, states: Iterable[tuple[int, int]]) -> States:
        """With the states that ** also means: no folder at all, or no more."""
        found = set()
        for way, at in states:
            found.add((way, at))
            while self._ways[way][at : at + 1] == ("**",):
                at += 1
                found.add((way, at))
        return frozenset(found)
