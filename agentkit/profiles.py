"""The keys there are: which of them rest, why, and until when. All processes of a workspace share it, in one file.

A rest is that of a whole profile (a refused key, an empty account) or of a profile for one model (all the rest). When
it is over, it is remembered for a while: one turn tries the profile out before all do, and the next rest may be longer.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from .errors import CATEGORIES
from .records import dataclass, field
from .settings import Profile
from .sharedfile import SharedFile

log = logging.getLogger("agentkit")

WHOLE = {"auth": 300.0, "billing": 600.0}  # seconds that a profile rests, whatever it was asked for
LIMITED = (30.0, 60.0, 120.0)  # seconds after a rate limit where the server named no wait: the first, the second ...
OTHERWISE = 30.0  # seconds
LONGEST = 86_400.0  # seconds, whatever a server asks for: a day later it may be asked again
REMEMBERED = 600.0  # seconds that a rest is remembered after its end
UNUSED = 30 * 86_400.0  # seconds after which a key that is not ours is forgotten


class Rest(NamedTuple):
    """Why and when a profile rests: seconds since the epoch; times: how often in a row."""

    category: str
    since: float
    until: float
    times: int = 1


@dataclass
class Standing:
    """What is known of a key: its rests by model ("": all models), when it answered last, its failures by category;
    changed: when something of it was last written."""

    rests: dict[str, Rest] = field(default_factory=dict)
    used: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)
    changed: float = 0.0


class Profiles:
    """May be used from any thread.

    profiles: in the order they are tried; path: the file, whose workspace is there once something is saved in it;
    None: nothing is kept; clock: seconds since the epoch.
    """

    def __init__(
        self, profiles: Sequence[Profile], path: Path | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.profiles, self.now = tuple(profiles), clock
        self._file = SharedFile(path)
        self._ids = {each.number: _id(each) for each in profiles}
        self.urls = {each.number: each.base_url for each in profiles}
        first = {id: number for number, id in reversed(self._ids.items())}
        self.numbers = tuple(number for number, id in self._ids.items() if first[id] == number)  # each key once
        self._lock = threading.Lock()  # serialises all that follows, and what the file reads and writes
        self._known: dict[str, Standing] = {}  # by id, as the file has it
        self._news = {id: Standing() for id in self._ids.values()}  # what the file does not have yet
        self._claims: dict[tuple[str, str], int] = {}  # by id and model: the thread that tries out what has rested

    # -- before a request

    def rest(self, number: int, model: str) -> Rest | None:
        """Why this profile is not to be asked for this model now; None: it may be."""
        with self._lock:
            self._read()
            if not (rests := self._rests(self._ids[number], model)):
                return None
            now = self.now()
            return max((each for each in rests if each.until > now), key=lambda rest: rest.until, default=None)

    def claim(self, number: int, model: str) -> bool:
        """May this thread ask it? What has rested is tried out by one thread at a time; `release` ends that."""
        with self._lock:
            id, me = self._ids[number], threading.get_ident()
            return not self._rests(id, model) or self._claims.setdefault((id, model), me) == me

    def release(self, number: int, model: str) -> None:
        with self._lock:
            key = self._ids[number], model
            if self._claims.get(key) == threading.get_ident():
                del self._claims[key]

    # -- after it; `began` is when the request did

    def answered(self, number: int, model: str, began: float) -> None:
        """It has answered: what it rested for before that is over."""
        id = self._ids[number]
        with self._lock:
            self._news[id].used = self.now()
            if not any(rest.since <= began for rest in self._rests(id, model)):
                return
        with self._changing() as known:
            rests = known[id].rests
            for name in ("", model):
                if name in rests and rests[name].since <= began:
                    del rests[name]

    def count(self, number: int, category: str) -> None:
        """It has failed."""
        with self._lock:
            self._news[self._ids[number]].failures[category] += 1

    def park(self, number: int, model: str, category: str, wait: float | None, began: float) -> float:
        """Have it rest, and return for how long, in seconds. wait: what the server has asked for.

        Requests that were under way together have failed for one reason: the first counts.
        """
        id, scope = self._ids[number], "" if category in WHOLE else model
        with self._changing() as known:
            rests, now = known[id].rests, self.now()
            old = rests.get(scope)
            if old and old.since > began and old.until >= now + (wait or 0.0):
                return old.until - now
            times = old.times + (old.since <= began) if old and old.category == category else 1
            seconds = min(_seconds(category, wait, times), LONGEST)
            rests[scope] = Rest(category, now, now + seconds, times)
            return seconds

    # -- for people

    def reset(self, number: int | None = None) -> None:
        """Have them all, or one, be asked again."""
        with self._changing() as known:
            for each, id in self._ids.items():
                if number in (None, each):
                    known[id].rests.clear()

    def standing(self, number: int) -> Standing:
        """A copy of what is known of a profile now."""
        id = self._ids[number]
        with self._lock:
            self._read()
            known, news, now = self._known.get(id, Standing()), self._news[id], self.now()
            rests = {name: each for name, each in known.rests.items() if each.until > now and not _is_over(each, now)}
            return Standing(rests, max(known.used, news.used), known.failures + news.failures)

    def close(self) -> None:
        """Save what is not in the file yet."""
        if any(news != Standing() for news in self._news.values()):
            with self._changing():
                pass

    # -- what all processes know

    def _rests(self, id: str, model: str) -> list[Rest]:
        """Those that are not forgotten."""
        rests = self._known[id].rests if id in self._known else None
        if not rests:
            return []
        now = self.now()
        return [rests[name] for name in ("", model) if name in rests and not _is_over(rests[name], now)]

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Standing]]:
        """Change what all processes know: it is read, changed and written under a lock that only one can have."""
        # Whoever waits for another process holds up nobody who only looks.
        with self._file.alone(), self._lock:
            self._read(sure=True)
            for id in self._ids.values():
                known, news = self._known.setdefault(id, Standing()), self._news[id]
                known.used, known.failures = max(known.used, news.used), known.failures + news.failures
                known.changed, self._news[id] = self.now(), Standing()
            self._forget()
            yield self._known
            self._write()

    def _forget(self) -> None:
        now, ours = self.now(), set(self._ids.values())
        for id, standing in list(self._known.items()):
            standing.rests = {name: rest for name, rest in standing.rests.items() if not _is_over(rest, now)}
            if id not in ours and not standing.rests and now - standing.changed > UNUSED:
                del self._known[id]

    def _read(self, sure: bool = False) -> None:
        """Take in what another process has written; sure: see SharedFile.read."""
        if (records := self._file.read(sure)) is not None:
            self._known = _standings(records)

    def _write(self) -> None:
        try:
            self._file.write({id: _record(standing) for id, standing in self._known.items()})
        except OSError as error:
            log.info("the state of the keys is not saved: %s: %s", self._file.path, error.strerror)


def _id(profile: Profile) -> str:
    """A key by a name that does not tell it."""
    return hashlib.sha256(f"{profile.base_url}\n{profile.api_key}".encode()).hexdigest()[:16]


def _seconds(category: str, wait: float | None, times: int) -> float:
    """How long it rests for the `times`-th time in a row."""
    if category in WHOLE:
        return WHOLE[category]
    if category == "rate_limit":
        return wait or LIMITED[min(times, len(LIMITED)) - 1]
    return max(OTHERWISE, wait or 0.0)


def _is_over(rest: Rest, now: float) -> bool:
    """Is it to be forgotten? Also where the clock was set back since."""
    return now > rest.until + REMEMBERED or now < rest.since - 1


def _record(standing: Standing) -> dict[str, Any]:
    rests = {model: rest._asdict() for model, rest in standing.rests.items()}
    return {
        "rests": rests,
        "used": standing.used,
        "failures": dict(standing.failures),
        "changed": standing.changed,
    }


def _standings(records: Mapping[str, Any]) -> dict[str, Standing]:
    """What a file says; what is broken in it is left out."""
    known = {}
    for id, record in records.items():
        if isinstance(record, dict):
            rests, failures = record.get("rests"), record.get("failures")
            known[id] = Standing(
                {model: rest for model, each in _items(rests) if (rest := _rest(each))},
                _time(record.get("used")),
                Counter({name: times for name, times in _items(failures) if name in CATEGORIES and _is_count(times)}),
                _time(record.get("changed")),
            )
    return known


def _items(value: object) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def _rest(value: object) -> Rest | None:
    if not isinstance(value, dict) or value.get("category") not in CATEGORIES or not _is_count(value.get("times")):
        return None
    since, until = _time(value.get("since")), _time(value.get("until"))
    return Rest(value["category"], since, until, value["times"]) if 0 <= until - since <= LONGEST else None


def _time(value: object) -> float:
    """Seconds since the epoch; 0 for what are none."""
    return float(value) if isinstance(value, (int, float)) and 0 < value < 1e11 else 0.0


def _is_count(value: object) -> bool:
    return type(value) is int and 0 < value < 1 << 52
