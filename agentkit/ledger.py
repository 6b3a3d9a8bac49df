"""The ledger: the tokens that were spent in all conversations, by day and model; one file of lines a day."""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path

from . import atomic, jsonl

log = logging.getLogger("agentkit")

COUNTED = ("requests", "prompt_tokens", "completion_tokens", "total_tokens")
FOLDED = 100  # lines of a day that is over, from which on they are added up
LARGEST = 64 << 20  # bytes of a day
MOST = 1 << 52  # tokens of a line; more is damage
OLDER = "older"

Spent = dict[str, Counter[str]]  # by model: requests and tokens


class Ledger:
    """folder: `.state/usage`, whose workspace is there once something is saved in it; None: nothing is kept. May be
    used from any thread, and by several processes."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._lock = threading.Lock()  # serialises what follows
        self._today: date | None = None
        self._fd = -1  # the file of today, once something was spent
        self._unasked: Counter[date] = Counter()  # tokens of today, once somebody has asked for them

    def add(self, model: str, usage: Mapping[str, int] | None, background: bool = False) -> None:
        """One request was answered; usage: what the server has counted; background: nobody had asked for it."""
        counted = {name: (usage or {}).get(name, 0) for name in COUNTED[1:]}
        if background:
            self.unasked()  # what the file had before
            with self._lock:
                self._unasked[date.today()] += counted["total_tokens"]
        if self._folder is None:
            return
        line = jsonl.line({"model": model, "requests": 1, **counted, **({"background": True} if background else {})})
        try:
            with self._lock:
                if self._open(self._folder):
                    size = os.fstat(self._fd).st_size
                    cut_off = size and os.pread(self._fd, 1, size - 1) != b"\n"  # by a crash, or by a full disk
                    os.write(self._fd, b"\n" + line if cut_off else line)
        except OSError as error:
            log.info("what was spent is not noted: %s: %s", self._folder, error.strerror)

    def days(self, last: int = 31) -> dict[str, Spent]:
        """What was spent, by day (as in 2026-11-22), the last ones; before that in one sum, as OLDER."""
        found: dict[str, Spent] = {}
        names: list[str] = []
        if self._folder is not None:
            with suppress(OSError):
                names = sorted(os.listdir(self._folder), reverse=True)
            for name in names:
                with suppress(OSError, ValueError):
                    day = date.fromisoformat(name.removesuffix(".jsonl"))
                    if name != f"{day}.jsonl":
                        continue
                    of_day = _day(self._folder / name, day)
                    spent = found.setdefault(str(day) if len(found) < last else OLDER, {})
                    for model, counted in of_day.items():
                        spent.setdefault(model, Counter()).update(counted)
        return found

    def unasked(self) -> int:
        """The tokens that were spent today for what nobody had asked for."""
        today = date.today()
        with self._lock:
            if today not in self._unasked:
                self._unasked = Counter({today: self._unasked_before(today)})
            return self._unasked[today]

    def _unasked_before(self, today: date) -> int:
        """As the file has it, which an earlier process may have written."""
        if self._folder is None:
            return 0
        try:
            records = jsonl.parse(atomic.small(self._folder / f"{today}.jsonl", LARGEST)).records
        except OSError:
            return 0
        tokens = [each.get("total_tokens") for each in records if each.get("background") is True]
        return sum(each for each in tokens if type(each) is int and 0 <= each < MOST)

    def close(self) -> None:
        with self._lock:
            self._close()

    def _open(self, folder: Path) -> bool:
        """Have the file of today open; False: there is no workspace to have it in."""
        today = date.today()
        if self._fd >= 0 and (self._today != today or not os.fstat(self._fd).st_nlink):  # it may have been deleted
            self._close()
        if self._fd < 0:
            if not folder.parent.parent.is_dir():
                return False
            for each in (folder.parent, folder):
                each.mkdir(mode=0o700, exist_ok=True)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
            self._fd, self._today = os.open(folder / f"{today}.jsonl", flags, 0o600), today
            if not stat.S_ISREG(os.fstat(self._fd).st_mode):
                self._close()
                raise OSError(errno.EINVAL, "it is no regular file")
        return True

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _day(path: Path, day: date) -> Spent:
    data = atomic.small(path, LARGEST)
    records = jsonl.parse(data).records
    spent: Spent = {}
    for each in records:
        counted = {name: each[name] for name in COUNTED if type(each.get(name)) is int and 0 <= each[name] < MOST}
        spent.setdefault(str(each.get("model", "")), Counter()).update(counted)
    # Nobody writes to a day that is over; a day more, for a turn that goes on past midnight.
    if len(records) > FOLDED and len(data) < LARGEST and (date.today() - day).days > 1:
        folded = b"".join(jsonl.line({"model": model, **counted}) for model, counted in spent.items())
        with suppress(OSError):
            atomic.replace(path, folded, durable=False)
    return spent
