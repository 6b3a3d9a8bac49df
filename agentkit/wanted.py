"""Runs of jobs that somebody has asked for in a process that does not do them: files that the one in charge takes."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from . import atomic

LONGEST = 4096  # bytes of such a file


class Wish(NamedTuple):
    """A run that is wanted. name: by which it is known from others; at: when it was asked for, in seconds since 1970,
    as the file has it."""

    name: str
    job: str
    at: float


class Wanted:
    """state: the folder `.state`. May be used from any thread, and by several processes. A file is there until the run
    has begun, and whoever begins it has its name written down with that: so it begins once, whatever ends a process."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "cron-wanted"

    def add(self, job: str) -> None:
        """Ask for a run of a job. Raises OSError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{time.time_ns():020}-{os.urandom(4).hex()}"
        atomic.replace(self._folder / name, job.encode("utf-8", "replace"), 0o600)

    def look(self) -> list[Wish]:
        """What is wanted, the oldest first."""
        try:
            names = sorted(name for name in os.listdir(self._folder) if not name.startswith("."))
        except OSError:
            return []
        found = []
        for name in names:
            with suppress(OSError):  # what cannot be read may be another time
                path = self._folder / name
                job = atomic.small(path, LONGEST).decode("utf-8", "replace")
                found.append(Wish(name, job, path.stat().st_mtime))
        return found

    def drop(self, wish: Wish) -> None:
        """It has begun, or cannot. Where it cannot be removed it is there again at the next look."""
        with suppress(OSError):
            os.unlink(self._folder / wish.name)
