"""What `agentkit doctor` looks at: a topic is a module, a check a function that yields findings from a Case."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from ..settings import Settings

Level = Literal["ok", "warn", "FAIL"]


class Finding(NamedTuple):
    """One line for the user. level: FAIL: it does not work so, warn: it does, but; cure: what to do about it."""

    level: Level
    words: str
    cure: str = ""


def ok(words: str) -> Finding:
    return Finding("ok", words)


def warn(words: str, cure: str) -> Finding:
    return Finding("warn", words, cure)


def fail(words: str, cure: str) -> Finding:
    return Finding("FAIL", words, cure)


class Case(NamedTuple):
    """What there is to look at. settings: None where they are broken; problems: then, what is wrong with them;
    workspace: the folder, which need not be there; env_file: the one that was named."""

    environ: Mapping[str, str]
    cwd: Path
    env_file: Path | None
    workspace: Path
    settings: Settings | None = None
    problems: tuple[str, ...] = ()
