"""When a job is due, what of a time that is past still counts, and how a job stands after a run. Pure."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import NamedTuple

from .job import Job
from .records import replace
from .runs import LATEST, Standing
from .schedule import At, Schedule

A_DAY = 86_400.0
FRESH = 60.0  # seconds within which a file that nobody has looked at yet was saved for us
FAILURES = 5  # in a row, after which a job is disabled


class Judged(NamedTuple):
    """A time that has come. last: the last one of those that have; in_time: that one still counts; has_missed: others
    were before it, or it does not count."""

    last: float
    in_time: bool
    has_missed: bool


def following(schedule: Schedule, after: float) -> float | None:
    """The first due time after one, in seconds since 1970; None: never again."""
    found = schedule.next(moment(after))
    return min(found.timestamp(), LATEST) if found else None


def first(job: Job, last_at: float | None, since: float, saved: float, now: float) -> float | None:
    """When a job is due that was not known before. last_at: when it ran, known or not; since: from when on it counts;
    saved: when its file was.

    The last moment of a job that was written down before it counts for a day, though nobody was there to see it.
    """
    due = following(job.schedule, min(now, max(since, last_at or since)))
    if due is None:
        due = following(job.schedule, max(saved, now - A_DAY))
    return due if due is None or due > now or last_at is None or last_at < due else None


def reckoned(
    job: Job, standing: Standing | None, looked: float, begins: bool, saved: float, now: float
) -> float | None:
    """When a job is due that was not known like this before. standing: of one that was known otherwise; looked: when
    the file was looked at last; begins: by an earlier process; saved: when the file was. A time that has come since
    both is late, not lost."""
    since = min(now, max(looked, saved))
    if begins and standing is None and now - saved > FRESH:
        since = now  # a file that has long been there when somebody begins with it asks for nothing that is past
    return first(job, standing.last_at if standing else None, since, saved, now)


def judged(schedule: Schedule, due: float, now: float) -> Judged:
    """What is to become of a job that has been due from `due` on."""
    last = _latest(schedule, due, now)
    period = schedule.period(moment(last))
    in_time = period is None or now - last < min(period, A_DAY)
    return Judged(last, in_time, last > due or not in_time)


def anew(job: Job, standing: Standing, now: float) -> Standing:
    """After the clock was set back far: what is to come, reckoned from the new time."""
    if standing.due is None or standing.due <= now:
        return standing
    return replace(standing, due=following(job.schedule, now))


def ended(standing: Standing, started: float, status: str, text: str) -> Standing:
    """After a run."""
    failures = standing.failures + (status == "failed")
    if status in ("ok", "silent"):
        failures = 0
    off = standing.off
    if failures >= FAILURES and not off:
        off = f"{failures} failures in a row, the last: {text}"[:300]
    return replace(standing, started=None, failures=failures, off=off, last_at=started, last_status=status)


def is_news(schedule: Schedule, before: Standing, after: Standing) -> bool:
    """Is whoever gets the words of a job to hear how its run has ended, which was no success? What comes once has no
    other chance; of the rest the first failure in a row is news, and that it is off."""
    if after.last_status in ("ok", "silent"):
        return False
    return isinstance(schedule, At) or after.failures == 1 > before.failures or after.off != before.off


def moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, timezone.utc)


def _latest(schedule: Schedule, due: float, now: float) -> float:
    """The last time at which it was due, of those from `due` on until now."""
    back = 60.0
    while now - back > due and ((found := following(schedule, now - back)) is None or found > now):
        back *= 2
    last, after = due, following(schedule, max(due, now - back))
    while after is not None and last < after <= now:
        last, after = after, following(schedule, after)
    return last
