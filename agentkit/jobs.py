"""CRON.json: its jobs, checked field by field, and changed so that nothing else in the file is."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from . import names, userfile
from .entries import DECODER, Entry, Listing, listing, with_member, written
from .errors import CommandError
from .records import dataclass
from .schedule import Schedule, ScheduleError, parse
from .watch import TICK

Kind = Literal["agent_turn", "system_event"]
TEXTS: dict[Kind, str] = {"agent_turn": "message", "system_event": "text"}  # where the payload has its text

LONGEST_ID = 64  # characters
MOST = 50  # problems that are told one by one


@dataclass(frozen=True)
class Job:
    """What is to be done when. text: what the agent is asked, or the event that it is told; agent_id, channel, to: ""
    where the file names none; written: another one where the schedule was changed."""

    id: str
    name: str
    enabled: bool
    schedule: Schedule
    kind: Kind
    text: str
    agent_id: str
    channel: str
    to: str
    delete_after_run: bool
    written: str


@dataclass(frozen=True)
class Table:
    """What a look has found: the jobs in the order of the file, those that are off too; all that is wrong, in lines;
    broken: the file could not be taken in, and the jobs are those of before; saved: when the file was, in seconds
    since 1970."""

    jobs: tuple[Job, ...] = ()
    problems: tuple[str, ...] = ()
    broken: bool = False
    saved: float = 0.0


class NoJob(CommandError):
    """There is none of that id."""


class JobRuns(CommandError):
    """It is not begun while it runs."""


class Jobs:
    """May be used from any thread. path: the file; there are no jobs where it is missing, and it is made with the
    first one. A file that is broken stays as it is, and the jobs stay as they were."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()  # serialises looking at the file and changing it
        self._signature: tuple[int, ...] | None = None  # of the file when it was read; None: to be read again
        self._seen: tuple[bytes | None, str] | None = None  # what it held, or why it could not be read
        self._known: dict[str, Job] = {}  # by the text of its entry: most stay when the file changes
        self._table = Table()  # never changed, only replaced, so that it is read without the lock

    def look(self) -> Table:
        """The very same object as last time while the file has not changed; that costs a stat. Only the first look
        waits for a thread that changes the file."""
        if self._lock.acquire(blocking=self._seen is None):
            try:
                self._look()
            finally:
                self._lock.release()
        return self._table

    def add(self, record: Mapping[str, Any]) -> Job:
        """Write a new job behind the others. record: as in the file, its id may be left out. Raises CommandError."""
        made: list[Job] = []

        def edit(jobs: Listing) -> str:
            taken = {_id(each.value) for each in jobs.entries}
            new = {**record}
            if not _is_given(new.pop("id", None)):
                new = {"id": _free(_made_id(new.get("name")) or "job", taken), **new}
            else:
                new = {"id": record["id"], **new}
            try:
                text = written(new)
                made[:] = [job(DECODER.decode(text))]  # what will be read is what counts
            except (TypeError, RecursionError):
                raise CommandError("That is no job: leave out what JSON cannot carry.") from None
            except ValueError as error:
                raise CommandError(f"That is no job: {error}.") from None
            if made[0].id in taken:
                raise CommandError(f"There is a job {_shown(made[0].id)} already: take another id, or remove it first.")
            return jobs.added(text)

        self._change(edit)
        return made[0]

    def remove(self, id: str) -> bool:
        """Drop a job, also one that is none because of a mistake; False: there is none of that id. Raises
        CommandError."""
        gone = False

        def edit(jobs: Listing) -> str | None:
            nonlocal gone
            entry = self._entry(jobs, id)
            gone = entry is not None
            return None if entry is None else jobs.removed(entry)

        self._change(edit)
        return gone

    def switch(self, id: str, enabled: bool) -> Job:
        """Have a job run, or not; nothing else of it is changed. Raises CommandError."""
        made: list[Job] = []

        def edit(jobs: Listing) -> str | None:
            entry = self._entry(jobs, id)
            if entry is None:
                raise NoJob(f"There is no job {_shown(id)}: /cron lists them.")
            try:
                made[:] = [job(entry.value)]
                if made[0].enabled == enabled:
                    return None
                text = with_member(entry.text, "enabled", enabled)
                made[:] = [job(DECODER.decode(text))]
            except ValueError as error:
                raise CommandError(
                    f"Job {_shown(id)} cannot run ({error}): put it right in {self._path.name}, then try again."
                ) from None
            return jobs.changed(entry, text)

        self._change(edit)
        return made[0]

    # -- the file

    def _entry(self, jobs: Listing, id: str) -> Entry | None:
        """The only one of that id. Raises CommandError where there are several."""
        found = [each for each in jobs.entries if id and _id(each.value) == id]
        if len(found) > 1:
            lines = ", ".join(str(each.line) for each in found[:10])
            raise CommandError(
                f"{self._path.name} has {len(found)} jobs {_shown(id)} (lines {lines}): give each an id of its own, "
                "then try again."
            )
        return found[0] if found else None

    def _look(self) -> None:
        """Take in what has changed. Called with the lock held."""
        assert self._lock.locked()
        stamp = userfile.signature(self._path)
        if stamp is not None and stamp == self._signature:
            return
        found = userfile.seen(self._path)
        if found != self._seen:
            self._table = self._taken(*found, stamp[1] / 1e9 if stamp else 0.0)
            self._seen = found
        # What cannot be read may become readable, and what was written only just now may change, without a trace.
        is_old = stamp is not None and not 0 <= time.time_ns() - stamp[0] <= TICK
        self._signature = stamp if is_old and not found[1] else None

    def _taken(self, data: bytes | None, why: str, saved: float) -> Table:
        name = self._path.name
        try:
            if why:
                raise ValueError(why)
            table, self._known = _table(name, listing(data, "jobs", keyed=True), self._known, saved)
            return table
        except ValueError as error:
            broken = f"{name} is broken: {error}. Until it is put right, the jobs stay as they were."
            return Table(self._table.jobs, (broken,), True, saved)

    def _change(self, edit: Callable[[Listing], str | None]) -> None:
        """Replace the file by the text that `edit` makes of it as it is now; None: it stays. Raises CommandError."""
        path = self._path
        with self._lock:
            try:
                userfile.replace(path, lambda data: edit(listing(data, "jobs", keyed=True)))
            except ValueError as error:
                raise CommandError(f"{path.name} is broken: {error}. Put it right, then try again.") from None
            except OSError as error:
                why = error.strerror or str(error)
                raise CommandError(f"{path} cannot be changed ({why}): put that right, then try again.") from None
            self._look()


def _table(file: str, found: Listing, known: Mapping[str, Job], saved: float) -> tuple[Table, dict[str, Job]]:
    """The table of a file, and its jobs by the text of their entries; known: those of a table before."""
    jobs: dict[str, Job] = {}
    lines: dict[str, int] = {}  # by id
    problems: list[str] = []
    for number, entry in enumerate(found.entries, 1):
        try:
            made = known.get(entry.text) or job(entry.value)
            if made.id in lines:
                raise ValueError(f"id: the job in line {lines[made.id]} has it already, so give this one another")
        except ValueError as error:
            problems.append(f"{file}, line {entry.line}, job {_called(entry.value, number)}: {error}.")
        else:
            lines[made.id] = entry.line
            jobs[entry.text] = made
    if (rest := len(problems) - MOST) > 0:
        problems[MOST:] = [f"{file}: {rest:,} more of this kind."]
    return Table(tuple(jobs.values()), tuple(problems), False, saved), jobs


# -- a job's fields


def job(value: object) -> Job:
    """The job that a JSON value is. Raises ValueError, whose text begins with the field at fault."""
    if not isinstance(value, dict):
        raise ValueError("it is no object with id, schedule and payload")
    name = _text(value, "name")
    id = _text(value, "id") or _made_id(name)
    if not id:
        raise ValueError("id: it is missing, and cannot be made from the name: write one, in quotes")
    if len(id) > LONGEST_ID:
        raise ValueError(f"id: it has {len(id)} characters, of at most {LONGEST_ID}")
    if not id.isprintable():
        raise ValueError("id: it holds a character that cannot be printed")
    payload = value.get("payload")
    if not isinstance(payload, dict):
        raise ValueError('payload: must be an object, such as {"kind": "agent_turn", "message": "..."}')
    kind, text = _payload(payload)
    schedule: Any = value.get("schedule")
    if "schedule" not in value:
        raise ValueError('schedule: is missing: write one, such as {"kind": "every", "every_seconds": 1800}')
    try:
        due = parse(schedule)
        canonical = json.dumps(schedule, sort_keys=True, separators=(",", ":"))
    except ScheduleError as error:
        raise ValueError(str(error) if error.field == "schedule" else f"schedule.{error}") from None
    except RecursionError:
        raise ValueError("schedule: it is nested too deeply") from None
    channel, to = _text(value, "channel"), _text(value, "to")
    if to and not channel:
        raise ValueError("to: needs a channel beside it, such as discord")
    return Job(
        id,
        name or id,
        _flag(value, "enabled", True),
        due,
        kind,
        text,
        _text(value, "agent_id"),
        channel,
        to,
        _flag(value, "delete_after_run", False),
        sha256(canonical.encode()).hexdigest()[:16],
    )


def _payload(payload: Mapping[str, Any]) -> tuple[Kind, str]:
    kind = payload.get("kind")
    for each, field in TEXTS.items():
        if kind == each:
            text = payload.get(field)
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"payload.{field}: is empty, or no text: write it in quotes")
            return each, text
    raise ValueError(f"payload.kind: must be {' or '.join(TEXTS)}")


def _text(value: Mapping[str, Any], field: str) -> str:
    """A field that may be left out; "" for that."""
    text = value.get(field)
    if text is not None and not isinstance(text, str):
        raise ValueError(f"{field}: is no text: write it in quotes")
    return text if text and text.strip() else ""


def _flag(value: Mapping[str, Any], field: str, default: bool) -> bool:
    flag = value.get(field, default)
    if not isinstance(flag, bool):
        raise ValueError(f"{field}: must be true or false, without quotes")
    return flag


# -- ids


def _is_given(id: object) -> bool:
    return id is not None and not (isinstance(id, str) and not id.strip())


def _made_id(name: object) -> str:
    return names.slug(name.lower(), LONGEST_ID) if isinstance(name, str) else ""


def _id(value: object) -> str:
    """What a job is called by, also one with mistakes; "": nothing."""
    if not isinstance(value, dict):
        return ""
    id = value.get("id")
    if not _is_given(id):
        return _made_id(value.get("name"))
    return id if isinstance(id, str) else ""


def _free(id: str, taken: set[str]) -> str:
    """It, or else with a number."""
    free, number = id, 1
    while free in taken:
        number += 1
        end = f"-{number}"
        free = id[: LONGEST_ID - len(end)] + end
    return free


def called(id: str, name: object) -> str:
    """A job by its id and name, where it has one, for a person."""
    other = f" ({_shown(name)})" if isinstance(name, str) and name.strip() and name != id else ""
    return f"{_shown(id)}{other}"


def _called(value: object, number: int) -> str:
    return called(_id(value) or f"number {number}", value.get("name") if isinstance(value, dict) else None)


def _shown(text: str) -> str:
    text = text if len(text) <= 80 else f"{text[:79]}…"
    return text if text.isprintable() else ascii(text)
