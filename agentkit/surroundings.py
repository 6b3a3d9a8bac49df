"""Surroundings: what goes on around a session, for a screen to tell."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple


class Surroundings(NamedTuple):
    """How things stood at one moment.

    folder: the working directory, `~` for the home; approval: one of approval.MODES, as TOOL_APPROVAL has it; allowed:
    the tools that this person has always allowed here, sorted; next_beat: when this process does the next heartbeat of
    the session's agent, in seconds since 1970, None: it does none; jobs: the cron jobs that are on and done by this
    process; gateway: how many clients it has, None: it is not open; discord: `on`, `away` (it is not connected, which
    is tried again), `ended` (which is not), empty: it is not open.
    """

    folder: str
    approval: str
    allowed: tuple[str, ...]
    next_beat: float | None
    jobs: int
    gateway: int | None
    discord: str


@lru_cache(maxsize=8)
def shown(folder: Path, home: str) -> str:
    """A folder, a real path, as people call it: `~` for the home, which may be a link. What is no absolute path, or the
    root, is nobody's home."""
    try:
        real = Path(os.path.realpath(home)) if os.path.isabs(home) else Path("/")
    except ValueError:  # what was given as the environment need not come from a system
        real = Path("/")
    if real == Path("/") or not folder.is_relative_to(real):
        return str(folder)
    return str("~" / folder.relative_to(real))
