"""The ledger: the tokens that were spent in all conversations, by day and model; one file of lines a day."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path

from . import atomic, jsonl

log = logging.getLogger("agentkit")

COUNTED = ("requests", "prompt_tokens", "completion_tokens", "total_tokens")
FOLDED = 100  # lines of a day that is over, from which on they are added up

Spent = dict[str, Counter[str]]  # by model: requests and tokens


class Ledger:
    """folder: `.state/usage`, whose workspace is there once something is saved in it; None: nothing is kept. May be
    used from any thread, and by several processes."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def add(self, model: str, usage: Mapping[str, int] | None) -> None:
        """One request was answered; usage: what the server has counted."""
        if self._folder is None:
            return
        line = jsonl.line({"model": model, "requests": 1, **{name: (usage or {}).get(name, 0) for name in COUNTED[1:]}})
        path = self._folder / f"{date.today()}.jsonl"
        try:
            try:
                fd = _appending(path)
            except FileNotFoundError:
                if not self._folder.parent.parent.is_dir():
                    return
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                fd = _appending(path)
            try:
                os.write(fd, line)
            finally:
                os.close(fd)
        except OSError as error:
            log.info("what was spent is not noted: %s: %s", path, error.strerror)

    def days(self) -> dict[str, Spent]:
        """What was spent, by day (as in 2026-11-22), the last one first."""
        found: dict[str, Spent] = {}
        names: list[str] = []
        if self._folder is not None:
            with suppress(OSError):
                names = sorted(os.listdir(self._folder), reverse=True)
            for name in names:
                with suppress(OSError, ValueError):
                    day = date.fromisoformat(name.removesuffix(".jsonl"))
                    found[str(day)] = self._day(self._folder / name, day)
        return found

    def _day(self, path: Path, day: date) -> Spent:
        records = jsonl.parse(atomic.small(path)).records
        spent: Spent = {}
        for each in records:
            counted = {name: each[name] for name in COUNTED if type(each.get(name)) is int}
            spent.setdefault(str(each.get("model", "")), Counter()).update(counted)
        # Nobody writes to a day that is over; a day more, for a turn that goes on past midnight.
        if len(records) > FOLDED and (date.today() - day).days > 1:
            folded = b"".join(jsonl.line({"model": model, **counted}) for model, counted in spent.items())
            atomic.replace(path, folded, durable=False)
        return spent


def _appending(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
