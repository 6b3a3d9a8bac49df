"""What became of the jobs: how each stands, in a file that is replaced, and their runs, in one that is appended to."""

from __future__ import annotations

import errno
import json
import logging
import os
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from . import atomic, jsonl
from .records import dataclass
from .wanted import Wanted

log = logging.getLogger("agentkit")

Status = Literal["ok", "silent", "failed", "missed", "interrupted", "skipped"]

SHOWN = 200  # characters of a run's text
ROTATED = 1 << 20  # bytes from which on a new file of runs is begun
LARGEST = 64 << 20  # bytes of the standings: those of 10,000 jobs take two of these MiB
LOOKED = 20_000  # runs in which a reason is looked for
FARTHEST = 8 << 20  # bytes that are gone back in a file of runs
BLOCK = 1 << 14  # bytes that are read of it at once
APPENDED = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
EARLIEST, LATEST = -62_135_510_400, 253_402_214_400  # seconds since 1970 that every zone can show as a date


@dataclass(frozen=True)
class Standing:
    """How a job stands. Times are in seconds since 1970.

    due: when it runs next, None: never again; started: when the run began that is on; failures: in a row; off: why it
    was disabled; written: that of its Job when `due` was reckoned; last_at, last_status: of its last run; wish: the
    last one that was begun for somebody in another process, by name.
    """

    due: float | None = None
    started: float | None = None
    failures: int = 0
    off: str = ""
    written: str = ""
    last_at: float | None = None
    last_status: str = ""
    wish: str = ""


class Loaded(NamedTuple):
    """What was on disk. standings: by job; damaged: there was a file, but nothing can be known from it; lost: the jobs
    of which that is so in a file that is otherwise whole."""

    standings: dict[str, Standing]
    damaged: bool
    lost: tuple[str, ...]


class Runs:
    """May be used from any thread, `save` by one at a time. state: the folder `.state`, whose own folder is there once
    something is saved in it."""

    def __init__(self, state: Path) -> None:
        self._folder = state
        self._state, self._runs, self._older = (
            state / name for name in ("cron-state.json", "cron-runs.jsonl", "cron-runs.1.jsonl")
        )
        self.wanted = Wanted(state)
        self._lines: dict[str, tuple[Standing, str]] = {}  # what was saved last: of many jobs most stay as they are
        self._lock = threading.Lock()  # serialises what is done to the runs

    # -- how they stand

    def load(self) -> Loaded:
        """A damaged file is kept as cron-state.json.broken, or with a number behind that, and damaged it stays, until
        something is saved: whoever is ended before that loads the same again."""
        try:
            return _loaded(atomic.small(self._state, LARGEST))
        except FileNotFoundError:
            return Loaded({}, False, ())
        except (OSError, ValueError, RecursionError):
            with suppress(OSError):
                _put_aside(self._state)
            return Loaded({}, True, ())

    def saved_at(self) -> float | None:
        """When the standings were saved last, in seconds since 1970; None: there are none."""
        try:
            return os.stat(self._state).st_mtime
        except OSError:
            return None

    def save(self, standings: Mapping[str, Standing]) -> None:
        """Replace what is on disk: it is there when this returns, also after a loss of power. Raises OSError, and then
        the old ones are still there."""
        self._make()
        known = self._lines
        self._lines = {
            id: line if (line := known.get(id)) and line[0] is each else (each, _line(id, each))
            for id, each in standings.items()
        }
        lines = ",\n".join(line for _, line in self._lines.values())
        atomic.replace(self._state, f"{{\n{lines}\n}}\n".encode(), 0o600)

    # -- their runs

    def note(
        self,
        job: str,
        due: float | None,
        started: float | None,
        seconds: float,
        status: Status,
        tokens: int,
        text: str,
    ) -> bool:
        """Write down a run, or why there was none: what is written outlives this process. Could it be written?

        due, started: in seconds since 1970, None where there is no such time; text: its beginning is kept.
        """
        record = {"job": job, "status": status, "due": _iso(due), "started": _iso(started), "seconds": seconds}
        record |= {"tokens": tokens, "text": text[:SHOWN], "due_at": due, "started_at": started}
        line = jsonl.line(record)
        try:
            with self._lock:
                self._make()
                self._rotate(len(line))
                fd = os.open(self._runs, APPENDED, 0o600)
                try:
                    if not stat.S_ISREG(os.fstat(fd).st_mode):
                        raise OSError(errno.EINVAL, "it is no regular file")
                    jsonl.append(fd, record)
                finally:
                    os.close(fd)
        except OSError as error:
            log.info("a run of job %s is not noted: %s: %s", job, self._runs, error.strerror)
            return False
        return True

    def last(self, n: int, job: str | None = None) -> list[dict[str, Any]]:
        """The last runs, of all jobs or of one, the newest first, as `note` has written them."""
        with self._lock:
            records = (record for path in (self._runs, self._older) for record in _backwards(path))
            return list(islice((each for each in records if job is None or each["job"] == job), n))

    def reasons(self, statuses: Mapping[str, str]) -> dict[str, str]:
        """By job: the text of the last run that ended with that status; as far as it was lately."""
        found: dict[str, str] = {}
        for each in self.last(LOOKED) if statuses else ():
            if statuses.get(each["job"]) == each["status"]:
                found.setdefault(each["job"], each["text"])
        return found

    def _rotate(self, more: int) -> None:
        """Begin a new file where so many bytes more would be too many. Called with the lock held."""
        with suppress(OSError):  # there is none yet; or else a file that grows is better than a run that is not noted
            if os.stat(self._runs).st_size + more > ROTATED:
                os.replace(self._runs, self._older)

    def _make(self) -> None:
        """Have the folder, for nobody else to see. Raises OSError."""
        if not self._folder.is_dir():
            self._folder.mkdir(mode=0o700, exist_ok=True)
            atomic.sync_folder(self._folder.parent)


def _line(id: str, standing: Standing) -> str:
    return f"{json.dumps(id)}: {json.dumps(vars(standing))}"


def _loaded(data: bytes) -> Loaded:
    """Raises ValueError, and RecursionError."""
    records = json.loads(data)
    if not isinstance(records, dict):
        raise ValueError("it is no object")
    standings = {id: made for id, each in records.items() if (made := _standing(each))}
    return Loaded(standings, False, tuple(id for id in records if id not in standings))


def _standing(record: object) -> Standing | None:
    if not isinstance(record, dict):
        return None
    made = {name: record.get(name, ...) for name in ("due", "started", "failures", "off", "written")}
    made |= {name: record.get(name, ...) for name in ("last_at", "last_status")} | {"wish": record.get("wish", "")}
    are_times = all(made[name] is None or _is_time(made[name]) for name in ("due", "started", "last_at"))
    are_texts = all(isinstance(made[name], str) for name in ("off", "written", "last_status", "wish"))
    is_count = type(made["failures"]) is int and 0 <= made["failures"] < 1 << 52
    return Standing(**made) if are_times and are_texts and is_count else None


def _is_time(value: object) -> bool:
    return type(value) in (int, float) and EARLIEST <= value <= LATEST  # type: ignore[operator]


def _put_aside(path: Path) -> None:
    """Give it another name, of those that are free. Raises OSError."""
    info, new, number = os.lstat(path), path.with_name(f"{path.name}.broken"), 1
    while os.path.lexists(new):
        if os.path.samestat(os.lstat(new), info):
            return  # an earlier start has
        number += 1
        new = path.with_name(f"{path.name}.broken.{number}")
    try:
        os.link(path, new, follow_symlinks=False)
    except OSError:  # a folder, or a file system without links
        os.rename(path, new)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))  # it stays damaged


def _backwards(path: Path) -> Iterator[dict[str, Any]]:
    """The runs of a file, the last first; only so much is read as is asked for."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        info = os.fstat(fd)
        at, rest = info.st_size if stat.S_ISREG(info.st_mode) else 0, b""
        end = max(0, at - FARTHEST)
        while at > end:
            size = min(BLOCK, at - end)
            at -= size
            data = os.pread(fd, size, at) + rest
            # Of the first line the beginning may be missing.
            rest, _, lines = data.partition(b"\n") if at else (b"", b"", data)
            yield from filter(_is_run, reversed(jsonl.parse(lines).records))
    except OSError:
        return
    finally:
        os.close(fd)


def _is_run(record: Mapping[str, Any]) -> bool:
    return all(isinstance(record.get(name), str) for name in ("job", "status", "text"))


def _iso(at: float | None) -> str | None:
    """As people read a time, in the zone of this machine."""
    if at is None:
        return None
    try:
        return datetime.fromtimestamp(at, timezone.utc).astimezone().isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return None
