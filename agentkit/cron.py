"""Cron: which job of CRON.json runs when. The clock says that it is time, a lane does it, and what was decided is on
disk before it begins: a run is never repeated, and none is left out without a word.

A job that was due while nobody was there runs once when it is late by less than its own period, and by less than a day;
a job for one moment always does. What was due before that is recorded as missed.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from .cancel import Cancel
from .clock import Clock
from .errand import Done, Errands
from .errors import CommandError
from .job import Job
from .jobs import JobRuns, Jobs, Table
from .lanes import LaneFull, Lanes
from .leftovers import News
from .reckoning import A_DAY, ended, following, is_news, judged, moment, reckoned
from .records import replace
from .rota import Rota
from .runs import Runs, Standing
from .standings import Standings

log = logging.getLogger("agentkit")

_LINE = re.compile(r", line \d+")

GATHERED = 5.0  # seconds for which the ends of runs need not be saved while others run: their lines are there

_DONE = ("ok", "silent")

NOT_HERE = "This process runs no jobs: a chat that is open does, or agentkit serve. Say it there."


class Row(NamedTuple):
    """A job and how it stands; due: when it runs next, None: it does not."""

    job: Job
    standing: Standing
    due: float | None


class _Start(NamedTuple):
    """A run that is to begin. due: its time, None: somebody wants it; following: when the job is due after it; wish:
    the name of what was wanted in another process."""

    job: Job
    due: float | None
    following: float | None
    wish: str = ""


class Cron:
    """May be used from any thread. tell: has the owner know."""

    def __init__(
        self, jobs: Jobs, runs: Runs, clock: Clock, lanes: Lanes, errands: Errands, tell: Callable[[str], None]
    ) -> None:
        self.jobs, self.runs = jobs, runs
        self._clock, self._lanes, self._errands, self._tell = clock, lanes, errands, tell
        self._lock = threading.Lock()  # serialises what follows, and the file of it
        self._unsaid: list[str] = []
        self._news: list[News] = []  # for those who get the words of the jobs
        self._wanted = runs.wanted  # from other processes
        self._standings = Standings(runs, clock.now, self._unsaid.append)
        self._rota = Rota(clock, "cron", self._due)
        self._jobs: dict[str, Job] = {}  # those that are on
        self._table: Table | None = None  # that they were made from; None: to be looked at again
        self._looked: float | None = None  # when that was
        self._busy: dict[str, Cancel | None] = {}  # the jobs that run, and what ends them, once they have a worker
        self._problems: set[str] = set()  # of the file, that were told
        self._stopped = self._runs_here = self._took_up = False

    @property
    def stopped(self) -> bool:
        return self._stopped

    @property
    def active(self) -> int:
        """How many jobs are on, and begun by this process when they are due. Waits for nobody."""
        return 0 if self._stopped else len(self._jobs)

    def start(self) -> None:
        """Take up what an earlier process has left, and go on by the clock."""
        self._runs_here = True
        self._look(self._clock.now())
        self._clock.looks(self._look)
        self._clock.resets(self._anew)

    def pause(self) -> None:
        """Begin no job until `resume`. Raises CommandError where none are run, as that does."""
        self._halt(True)

    def resume(self) -> None:
        self._halt(False)

    def refresh(self) -> None:
        """Look at the file now, where jobs are run here."""
        if self._runs_here:
            self._look(self._clock.now())

    def rows(self) -> list[Row]:
        """All jobs, in the order of the file."""
        self.refresh()
        table = self.jobs.look()
        if not self._runs_here:
            return self._rows_elsewhere(table)
        with self._lock:
            found = [(job, self._standings[job.id]) for job in table.jobs]
        return [Row(job, each, each.due if job.enabled and not each.off else None) for job, each in found]

    def _rows_elsewhere(self, table: Table) -> list[Row]:
        """How the jobs stand where another process does them, or none; what that has not reckoned yet is reckoned as it
        will be."""
        standings, now, looked = self.runs.load().standings, self._clock.now(), self.runs.saved_at()
        rows = []
        for job in table.jobs:
            standing = standings.get(job.id)
            due, is_on = standing.due if standing else None, job.enabled and not (standing and standing.off)
            if is_on and (standing is None or standing.written != job.written):
                due = reckoned(job, standing, looked or 0.0, True, table.saved, now)
            rows.append(Row(job, standing or Standing(), due if is_on else None))
        return rows

    def trigger(self, id: str) -> Job:
        """Have a job done now, whenever it is due. Raises CommandError, NoJob, and JobRuns."""
        if not self._runs_here:
            raise CommandError(NOT_HERE)
        now = self._clock.now()
        with self._alone():
            self._take_in(now)
            job = self.jobs.get(id)
            standing = self._standings[id]
            if standing.started is not None:
                raise JobRuns(f"{id} is running already.")
            if not self._begin([_Start(job, None, standing.due)], now):
                raise CommandError(f"{id} cannot be begun: its start cannot be written down. Is the disk full?")
        return job

    def ask(self, id: str) -> None:
        """Have a job done by the process that runs the jobs, within a minute. Raises CommandError, NoJob, and
        JobRuns."""
        self.jobs.get(id)
        standing = self.runs.load().standings.get(id)
        if standing is not None and standing.started is not None:
            raise JobRuns(f"{id} is running already.")
        try:
            self._wanted.add(id)
        except OSError as error:
            raise CommandError(f"{id} cannot be asked for: {error.strerror}. Is the disk full?") from None

    def switch(self, id: str, enabled: bool) -> Job:
        """Have a job run, or not; what has disabled it is forgotten. Raises CommandError."""
        if enabled and not self._runs_here and (before := self.runs.load().standings.get(id)) and before.off:
            raise CommandError(f"{id} is off after {before.off}. {NOT_HERE}")
        job = self.jobs.switch(id, enabled)
        with self._alone():
            if enabled:
                self._standings.allow(job, self._clock.now())
                self._table = None
        self.refresh()
        return job

    def _halt(self, stopped: bool) -> None:
        if not self._runs_here:
            raise CommandError(NOT_HERE)
        with self._alone():
            self._stopped, self._table = stopped, None
        self.refresh()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock. What there is to tell is told after that: whoever hears it may come back with a command."""
        with self._lock:
            yield
            told, self._unsaid[:] = [*self._unsaid], []
            news, self._news = self._news, []
        for text in told:
            self._tell(text)
        for each in news:
            self._errands.report(each)

    # -- what is due

    def _look(self, now: float) -> None:
        """Take in what the file says now, and have the clock know."""
        if self._lanes.stopping:
            return
        with self._alone():
            done = self._take_in(now)
            self._grant(now)
            if self._standings.unsaved and (not self._busy or self._standings.age >= GATHERED):
                self._standings.save()
        for id in done:
            self._drop(id)

    def _take_in(self, now: float) -> list[str]:
        """The same, with the lock held; returns the jobs that an earlier process has done, but not removed."""
        table, looked, self._looked = self.jobs.look(), self._looked, now
        if table is self._table:
            return []
        problems = {_LINE.sub("", each): each for each in table.problems}  # a line may only have moved
        self._unsaid += [problems[each] for each in problems if each not in self._problems]
        self._problems, self._table = {*problems}, table
        if table.broken and not self._took_up:
            return []  # which jobs there are is not known yet
        listed = {job.id: job for job in table.jobs}
        begins, self._took_up = not self._took_up, True
        if begins:
            self._news += self._standings.take_up(listed, now)
        self._standings.follow(listed, looked, table.saved, now)
        before, self._jobs = (
            self._jobs,
            {
                id: job
                for id, job in listed.items()
                if job.enabled and not self._stopped and not self._standings[id].off
            },
        )
        for cancel in (self._busy.get(id) for id in before.keys() - self._jobs.keys()):
            if cancel:
                cancel.set()
        self._rota.plan_all({id: due for id in self._jobs if (due := self._next(id)) is not None})
        if self._standings.unsaved:
            self._standings.save()
        return [job.id for job in table.jobs if begins and self._is_done(job)]

    def _grant(self, now: float) -> None:
        """Begin what is wanted in other processes. Called with the lock held."""
        for wish in self._wanted.look() if self._took_up else ():
            standing, job = self._standings[wish.job], self._listed(wish.job)
            is_over = standing.wish == wish.name or abs(now - wish.at) > A_DAY  # then nobody was there to begin it
            starts = [] if job is None or is_over else [_Start(job, None, standing.due, wish.name)]
            if not starts or (standing.started is None and self._begin(starts, now)):
                self._wanted.drop(wish)

    def _due(self, id: str, now: float) -> None:
        """It is time for a job, and for others perhaps: all that begin now are written down at once."""
        with self._alone():
            if self._lanes.stopping:
                return  # whoever comes next takes it up
            called = self._rota.called(id, now)
            starts = [start for each in called if (start := self._decided(each, now))]
            waiting = set() if self._begin(starts, now) else {start.job.id for start in starts}
            for each in called:
                if each not in waiting:
                    self._rota.plan(each, self._next(each))

    def _next(self, id: str) -> float | None:
        """When a job is due."""
        return self._standings[id].due if id in self._jobs else None

    def _decided(self, id: str, now: float) -> _Start | None:
        """What becomes of a job whose time has come; None: it does not begin. Called with the lock held."""
        job, standing = self._jobs.get(id), self._standings[id]
        if job is None or standing.due is None or standing.due > now:
            return None
        last, in_time, has_missed = judged(job.schedule, standing.due, now)
        after = following(job.schedule, now)
        if has_missed:
            since = moment(standing.due).astimezone(job.schedule.zone)
            why = "its start could not be written down" if self._standings.fails else "nobody was there"
            self.runs.note(id, standing.due, None, 0.0, "missed", 0, f"since {since:%Y-%m-%d %H:%M}: {why}")
            log.warning("job %s was missed since %s: %s", id, since, why)
        if not in_time:
            self._standings[id] = replace(standing, due=after, last_status="missed")
        elif standing.started is not None:
            self.runs.note(id, last, None, 0.0, "skipped", 0, "the run before was not done yet")
            self._standings[id] = replace(standing, due=after)
        elif why := self._errands.why_not(job):
            self.runs.note(id, last, None, 0.0, "skipped", 0, why)
            skipped = self._standings[id] = replace(standing, due=after, last_status="skipped")
            if is_news(job.schedule, standing, skipped):
                self._news.append(News(job, "skipped", why))
        else:
            self._standings[id] = replace(standing, due=last)
            return _Start(job, last, after)
        return None

    def _anew(self, now: float) -> None:
        """The clock has got a new time: reckon what is to come again."""
        with self._alone():
            for id, job in self._jobs.items():
                self._rota.plan(id, None)  # also where it was to be called somewhat later than it is due
                self._rota.plan(id, self._standings.anew(job, now))
            self._standings.save()

    # -- a run

    def _begin(self, starts: list[_Start], now: float) -> bool:
        """Write down that runs begin, and have them done; False: that cannot be written down, so they do not.
        Called with the lock held."""
        begun = {}
        for each in starts:
            before = self._standings[each.job.id]
            begun[each.job.id] = replace(before, due=each.following, started=now, wish=each.wish or before.wish)
        if not self._standings.begin(begun):
            return False
        for job, due, _, _ in starts:
            self._busy[job.id] = None
            lane, work = self._lanes.get(self._errands.lane(job)), partial(self._work, job, due, now)
            try:
                if not lane.offer(work):  # the run before has ended, but its lane does not know yet
                    lane.put(work)
            except (LaneFull, RuntimeError) as error:
                self._end(job, due, now, Done("skipped", f"there was no room for it: {error}"))
        return True

    def _work(self, job: Job, due: float | None, started: float, cancel: Cancel) -> None:
        done = Done("failed", "agentkit itself failed: the log tells more")
        with self._lock:
            self._busy[job.id] = cancel
        try:
            done = self._errands.run(job, cancel)
        finally:
            with self._alone():
                self._end(job, due, started, done)
            self._drop(job.id)

    def _end(self, job: Job, due: float | None, started: float, done: Done) -> None:
        """Called with the lock held."""
        now = self._clock.now()
        self.runs.note(job.id, due, started, round(max(0.0, now - started), 3), done.status, done.tokens, done.text)
        log.info("job %s: %s: %s", job.id, done.status, done.text[:200])
        if self._lanes.stopping:
            return  # another process may have the file by now; it finds the line
        self._take_in(now)
        before = self._standings[job.id]
        after = self._standings[job.id] = ended(before, started, done.status, done.text)
        is_unwanted = done.status == "interrupted" and job.id not in self._jobs  # its owner has taken it away
        if is_news(job.schedule, before, after) and not is_unwanted:
            self._news.append(News(job, done.status, done.text, after.off if after.off != before.off else ""))
        if after.off != before.off:
            self._unsaid.append(f"The job {job.id} is off after {after.off} (/cron on {job.id} has it run again)")
            self._jobs.pop(job.id, None)
            self._rota.plan(job.id, None)
        self._busy.pop(job.id, None)
        if not self._busy:
            self._standings.save()

    def _is_done(self, job: Job) -> bool:
        """Has a job that is to be deleted after it been done? Called with the lock held."""
        standing = self._standings[job.id]
        is_over = standing.due is None and standing.written == job.written and standing.started is None
        return job.delete_after_run and job.enabled and is_over and standing.last_status in _DONE

    def _drop(self, id: str) -> None:
        """Remove a job that is done."""
        with self._lock:
            if (job := self._listed(id)) is None or not self._is_done(job):
                return
        try:
            self.jobs.remove(id)
            self.refresh()
        except CommandError as error:
            self._tell(f"The job {id} is done, but cannot be removed: {error}")

    def _listed(self, id: str) -> Job | None:
        return next((each for each in self.jobs.look().jobs if each.id == id), None)
