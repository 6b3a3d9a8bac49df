"""What `agentkit doctor` looks at: a topic is a module, a check a function that yields findings from a Case."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from ..settings import VARIABLES, Settings

NAMES = tuple(each.name.removesuffix("<n>") for each in VARIABLES)
Level = Literal["ok", "warn", "FAIL"]


class Finding(NamedTuple):
    """One line for the user. level: FAIL: it does not work so, warn: it does, but; cure: what to do about it; seconds:
    how long it took to find out, filled in by whoever runs the check."""

    level: Level
    words: str
    cure: str = ""
    seconds: float = 0.0


def ok(words: str) -> Finding:
    return Finding("ok", words)


def warn(words: str, cure: str) -> Finding:
    return Finding("warn", words, cure)


def fail(words: str, cure: str) -> Finding:
    return Finding("FAIL", words, cure)


class Case(NamedTuple):
    """What there is to look at.

    env_file: the one that was named; workspace: the folder, which need not be there; settings: with something in the
    place of those that are broken, None: nothing can be told; problems: what is wrong with them, a line each.
    """

    environ: Mapping[str, str]
    cwd: Path
    env_file: Path | None
    workspace: Path
    settings: Settings | None = None
    problems: tuple[str, ...] = ()

    def stands(self, family: str) -> bool:
        """Is nothing wrong with the settings whose names begin so, nor with the file that may hold them?"""
        return not any(each.startswith(family) or not each.startswith(NAMES) for each in self.problems)


def split(text: str, cure: str) -> tuple[str, str]:
    """What happened, and what to do, of a message that ends with the latter; cure: for one that does not."""
    for middle, begin in ((". ", ""), (": set ", "set ")):
        what, found, rest = text.rstrip(".").partition(middle)
        if found:
            return what, begin + rest
    return text.rstrip("."), cure
