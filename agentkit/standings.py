"""How the jobs stand, in memory and on disk, and what of it changes with CRON.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .cronexpr import shown
from .job import Job, called
from .leftovers import News, has_run, leftovers
from .reckoning import A_DAY, anew, first, following, reckoned
from .records import replace
from .runs import Runs, Standing
from .schedule import Cron


class Standings:
    """Its user serialises what calls it. tell: hears what the owner is to know; clock: seconds since 1970."""

    def __init__(self, runs: Runs, clock: Callable[[], float], tell: Callable[[str], None]) -> None:
        self._runs, self._clock, self._tell = runs, clock, tell
        self._known: dict[str, Standing] = {}
        self.unsaved = self._has_file = False
        self.fails = False  # saving does
        self._saved = 0.0  # when that was
        self._left = 0.0  # when an earlier process did it last

    def __getitem__(self, id: str) -> Standing:
        """That of a job; of one that is unknown as it is at first."""
        return self._known.get(id) or Standing()

    def __setitem__(self, id: str, standing: Standing) -> None:
        self._known[id] = standing
        self.unsaved = True

    @property
    def age(self) -> float:
        """Seconds since they were saved, whichever way the clock was set."""
        return abs(self._clock() - self._saved)

    def take_up(self, jobs: Mapping[str, Job], now: float) -> list[News]:
        """Begin with what an earlier process has left; returns how runs of it have ended, as far as that is news."""
        self._left = self._runs.saved_at() or 0.0
        left = leftovers(self._runs, jobs, now)
        self._known = left.standings
        self.unsaved = self._has_file = bool(left.standings)
        for text in left.told:
            self._tell(text)
        return left.news

    def follow(self, listed: Mapping[str, Job], looked: float | None, saved: float, now: float) -> None:
        """Take in which jobs there are. looked: when this process has looked before, None: never; saved: when the file
        was: a time that has come since both is late, not lost."""
        on = {id: job for id, job in listed.items() if job.enabled}
        self._forget(listed, on, now)
        self._reckon(on, self._left if looked is None else looked, looked is None, saved, now)

    def allow(self, job: Job, now: float) -> None:
        """Forget what has disabled a job: it goes on from now."""
        if (before := self[job.id]).off:
            due = first(job, before.last_at, now, now, now)
            self[job.id] = replace(before, off="", failures=0, due=due, written=job.written)

    def anew(self, job: Job, now: float) -> float | None:
        """After the clock was set back far: when a job is due."""
        self[job.id] = anew(job, self[job.id], now)
        return self[job.id].due

    def begin(self, runs: Mapping[str, Standing]) -> bool:
        """Have these on disk, or leave all as it was; could it be?"""
        before = {id: self._known.get(id) for id in runs}
        self._known |= runs
        if self.save():
            return True
        for id, standing in before.items():
            if standing is None:
                del self._known[id]
            else:
                self._known[id] = standing
        return False

    def save(self) -> bool:
        """Have all of them on disk; could it be? That it cannot be is told once."""
        if not self._known and not self._has_file:
            return True
        try:
            self._runs.save(self._known)
        except OSError as error:
            if not self.fails:
                why = error.strerror or str(error)
                self._tell(f"Cron jobs wait: .state/cron-state.json cannot be written ({why}).")
            self.fails = self.unsaved = True
            return False
        self.fails = self.unsaved = False
        self._has_file, self._saved = True, self._clock()
        return True

    def _forget(self, listed: Mapping[str, Job], on: Mapping[str, Job], now: float) -> None:
        """Jobs that are off have no due time, and nothing against them; those that are gone are forgotten after a day,
        within which a moment that is past would count."""
        for id, standing in [*self._known.items()]:
            if id in on:
                continue
            is_old = standing.started is None and (standing.last_at is None or now - standing.last_at > A_DAY)
            if is_old and id not in listed:
                del self._known[id]
                self.unsaved = True
            elif standing.written or standing.off:
                self[id] = replace(standing, due=None, written="", off="", failures=0)

    def _reckon(self, on: Mapping[str, Job], looked: float, begins: bool, saved: float, now: float) -> None:
        """Have a due time for each job that is new, or whose schedule was changed."""
        past: dict[str, float | None] = {}
        for id, job in on.items():
            before = self[id]
            if before.written == job.written:
                continue
            due = reckoned(job, self._known.get(id), looked, begins, saved, now)
            if before.last_at is None and (due is None or due <= now):
                past[id] = due
            off = "" if before.written else before.off  # another schedule is another job
            self[id] = replace(before, due=due, off=off, written=job.written)
        # What is past when it is first seen may have run, and only the file of standings be lost.
        known, times = has_run(self._runs) if past else (set(), set())
        for id, due in past.items():
            job = on[id]
            if due is None and id not in known:
                at = following(job.schedule, 0.0)
                self._runs.note(id, at, None, 0.0, "missed", 0, "it was past already when it was first seen")
                self[id] = replace(self[id], last_status="missed")
                if isinstance(job.schedule, Cron):
                    why = f"schedule.expr: {shown(job.schedule.words)} never comes again (its years are over)"
                    self._tell(f"CRON.json, job {called(id, job.name)}: {why}, so put it right, or remove the job.")
            elif due is not None and (id, due) in times:
                self[id] = replace(self[id], due=following(job.schedule, now))
