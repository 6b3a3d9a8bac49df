"""The keys there are: which of them rest, why, and until when. All processes of a workspace share it, in one file.

A rest is that of a whole profile (a refused key, an empty account) or of a profile for one model (all the rest). When
it is over, it is remembered for a while: one turn tries the profile out before all do, and the next rest may be longer.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from . import atomic
from .errors import CATEGORIES
from .records import dataclass, field
from .settings import Profile

log = logging.getLogger("agentkit")

WHOLE = {"auth": 300.0, "billing": 600.0}  # seconds that a profile rests, whatever it was asked for
LIMITED = (30.0, 60.0, 120.0)  # seconds after a rate limit where the server named no wait: the first, the second ...
OTHERWISE = 30.0  # seconds
LONGEST = 86_400.0  # seconds, whatever a server asks for: a day later it may be asked again
REMEMBERED = 600.0  # seconds that a rest is remembered after its end
UNUSED = 30 * 86_400.0  # seconds after which a key that is not ours is forgotten
PATIENCE = 2.0  # seconds to wait for another process that changes the file
HURRY = 10.0  # seconds that nobody waits for one that was waited for in vain
LARGEST = 1 << 20  # bytes of the file


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
        self._path = path
        self._ids = {each.number: _id(each) for each in profiles}
        self.urls = {each.number: each.base_url for each in profiles}
        first = {id: number for number, id in reversed(self._ids.items())}
        self.numbers = tuple(number for number, id in self._ids.items() if first[id] == number)  # each key once
        self._turn = threading.Lock()  # serialises changes, and so waiting for other processes
        self._hurry = 0.0  # until when nobody waits, in monotonic seconds
        self._lock = threading.Lock()  # serialises all that follows
        self._known: dict[str, Standing] = {}  # by id, as the file has it
        self._news = {id: Standing() for id in self._ids.values()}  # what the file does not have yet
        self._claims: dict[tuple[str, str], int] = {}  # by id and model: the thread that tries out what has rested
        self._signature: tuple[int, ...] | None = None  # of the file when it was read
        self._saved = True  # all that is known is in the file

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

    # -- the file

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
        with self._alone(), self._lock:
            self._read(sure=True)
            for id in self._ids.values():
                known, news = self._known.setdefault(id, Standing()), self._news[id]
                known.used, known.failures = max(known.used, news.used), known.failures + news.failures
                known.changed, self._news[id] = self.now(), Standing()
            self._forget()
            yield self._known
            self._write()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Change alone, among the threads here and the processes of this file; not waiting for ever for one that is
        stopped."""
        began = time.monotonic()
        patience = PATIENCE if began >= self._hurry else 0.0
        first = self._turn.acquire(timeout=patience)
        try:
            # Waiting for a thread and then for a process is one wait.
            with _locked(self._folder(), began + patience if first else began) as alone:
                if not alone and patience:
                    self._hurry = time.monotonic() + HURRY
                yield
        finally:
            if first:
                self._turn.release()

    def _forget(self) -> None:
        now, ours = self.now(), set(self._ids.values())
        for id, standing in list(self._known.items()):
            standing.rests = {name: rest for name, rest in standing.rests.items() if not _is_over(rest, now)}
            if id not in ours and not standing.rests and now - standing.changed > UNUSED:
                del self._known[id]

    def _folder(self) -> Path | None:
        """Where the file goes; None: nowhere, as long as there is no workspace."""
        if self._path is None or not os.path.isdir(self._path.parent.parent):
            return None
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
        return self._path.parent

    def _read(self, sure: bool = False) -> None:
        """Take in what another process has written; sure: even if the file looks as it did, as two may at once."""
        if self._path is None:
            return
        signature = _signature(self._path)
        if signature == self._signature and not (sure and signature and self._saved):
            return
        self._signature = signature
        try:
            self._known = _parsed(atomic.small(self._path, LARGEST))
        except FileNotFoundError:
            self._known = {}  # it was deleted
        except OSError:
            self._signature = ()  # it is looked at again: too many files may be open

    def _write(self) -> None:
        if (folder := self._folder()) is None or self._path is None:
            return
        records = {id: _record(standing) for id, standing in self._known.items()}
        try:
            # A crash costs nothing but a request more: it is not worth waiting for the disk.
            atomic.replace(self._path, json.dumps(records, indent=1).encode() + b"\n", 0o600, durable=False)
        except OSError as error:
            log.info("the state of the keys is not saved: %s: %s", folder, error.strerror)
            self._saved = False
        else:
            self._saved = True
        self._signature = _signature(self._path)


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


@contextmanager
def _locked(folder: Path | None, deadline: float) -> Iterator[bool]:
    """Hold the lock of this file among processes, waiting until then at most; is it held, as far as it can be?"""
    try:
        if folder is None:
            raise OSError
        fd = os.open(folder / "profiles.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError:
        yield True
        return
    try:
        yield _flocked(fd, deadline)
    finally:
        os.close(fd)


def _flocked(fd: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.002)
        except OSError:  # a file system without locks
            return True


def _signature(path: Path) -> tuple[int, ...] | None:
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_mtime_ns, info.st_size, info.st_ino


def _record(standing: Standing) -> dict[str, Any]:
    rests = {model: rest._asdict() for model, rest in standing.rests.items()}
    return {
        "rests": rests,
        "used": standing.used,
        "failures": dict(standing.failures),
        "changed": standing.changed,
    }


def _parsed(data: bytes) -> dict[str, Standing]:
    """What a file says; what is broken in it is left out."""
    try:
        records = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    known = {}
    for id, record in records.items() if isinstance(records, dict) else ():
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
