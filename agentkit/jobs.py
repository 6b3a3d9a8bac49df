"""CRON.json: its jobs, checked field by field, and changed so that nothing else in the file is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from . import userfile
from .entries import DECODER, Entry, Listing, listing, with_member, written
from .errors import CommandError
from .job import Job, called_as, free, id_of, is_given, job, listed, made_id, shown
from .records import dataclass, field
from .watch import TICK

MOST = 50  # problems that are told one by one


@dataclass(frozen=True)
class Table:
    """What a look has found: the jobs in the order of the file, those that are off too; all that is wrong, in lines;
    broken: the file could not be taken in, and the jobs are those of before; saved: when the file was, in seconds
    since 1970; wrong: why something is no job, by the id that it would have."""

    jobs: tuple[Job, ...] = ()
    problems: tuple[str, ...] = ()
    broken: bool = False
    saved: float = 0.0
    wrong: Mapping[str, str] = field(default_factory=dict)


class NoJob(CommandError):
    """There is none of that id."""


class JobRuns(CommandError):
    """It is not begun while it runs."""


class Jobs:
    """May be used from any thread. path: the file; there are no jobs where it is missing, and it is made with the
    first one. A file that is broken stays as it is, and the jobs stay as they were. channels: those that a job may
    name, None: any."""

    def __init__(self, path: Path, channels: Callable[[], Collection[str]] | None = None) -> None:
        self._path, self._channels = path, channels
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

    def get(self, id: str) -> Job:
        """The job of that id, looked for now. Raises NoJob, and CommandError where it has a mistake."""
        table = self.look()
        if (found := next((each for each in table.jobs if each.id == id), None)) is not None:
            return found
        if why := table.wrong.get(id):
            raise CommandError(f"It cannot run: {why}")
        raise NoJob(f"There is no job {shown(id)}: /cron lists them.")

    def add(self, record: Mapping[str, Any]) -> Job:
        """Write a new job behind the others. record: as in the file, its id may be left out. Raises CommandError."""
        made: list[Job] = []

        def edit(jobs: Listing) -> str:
            taken = {id_of(each.value) for each in jobs.entries}
            new = {**record}
            if not is_given(new.pop("id", None)):
                new = {"id": free(made_id(new.get("name")) or "job", taken), **new}
            else:
                new = {"id": record["id"], **new}
            try:
                text = written(new)
                made[:] = [self._known_to_run(job(DECODER.decode(text)))]  # what will be read is what counts
            except (TypeError, RecursionError):
                raise CommandError("That is no job: leave out what JSON cannot carry.") from None
            except ValueError as error:
                raise CommandError(f"That is no job: {error}.") from None
            if made[0].id in taken:
                raise CommandError(f"There is a job {shown(made[0].id)} already: take another id, or remove it first.")
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
                raise NoJob(f"There is no job {shown(id)}: /cron lists them.")
            try:
                made[:] = [job(entry.value)]
                if made[0].enabled == enabled:
                    return None
                text = with_member(entry.text, "enabled", enabled)
                made[:] = [job(DECODER.decode(text))]
            except ValueError as error:
                raise CommandError(
                    f"Job {shown(id)} cannot run ({error}): put it right in {self._path.name}, then try again."
                ) from None
            return jobs.changed(entry, text)

        self._change(edit)
        return made[0]

    # -- the file

    def _entry(self, jobs: Listing, id: str) -> Entry | None:
        """The only one of that id. Raises CommandError where there are several."""
        found = [each for each in jobs.entries if id and id_of(each.value) == id]
        if len(found) > 1:
            lines = ", ".join(str(each.line) for each in found[:10])
            raise CommandError(
                f"{self._path.name} has {len(found)} jobs {shown(id)} (lines {lines}): give each an id of its own, "
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
            return self._made(name, listing(data, "jobs", keyed=True), saved)
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

    def _made(self, file: str, found: Listing, saved: float) -> Table:
        """The table of a file. Called with the lock held."""
        jobs: dict[str, Job] = {}  # by the text of their entries
        lines: dict[str, int] = {}  # by id
        wrong: dict[str, str] = {}
        problems: list[str] = []
        for number, entry in enumerate(found.entries, 1):
            where = f"{file}, line {entry.line}, job {called_as(entry.value, number)}"
            try:
                made = self._known_to_run(self._known.get(entry.text) or job(entry.value))
                if made.id in lines:
                    raise ValueError(f"id: the job in line {lines[made.id]} has it already, so give this one another")
            except ValueError as error:
                problems.append(f"{where}: {error}.")
                wrong.setdefault(id_of(entry.value), problems[-1])
            else:
                lines[made.id] = entry.line
                jobs[entry.text] = made
                problems += [f"{where}: {each}. It runs without that." for each in made.unknown]
        if (rest := len(problems) - MOST) > 0:
            problems[MOST:] = [f"{file}: {rest:,} more of this kind."]
        self._known = jobs
        return Table(tuple(jobs.values()), tuple(problems), False, saved, wrong)

    def _known_to_run(self, job: Job) -> Job:
        """The same. Raises ValueError for one whose words nobody could be given."""
        channels = self._channels() if self._channels is not None else ()
        if job.channel and channels and job.channel not in channels:
            raise ValueError(f"channel: there is no {shown(job.channel)} here: write {listed(sorted(channels))}")
        return job
