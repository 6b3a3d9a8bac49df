"""When a job is due, what of a time that is past still counts, and how a job stands after a run. Pure."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import NamedTuple

from .jobs import Job
from .records import replace
from .runs import LATEST, Standing
from .schedule import Schedule

A_DAY = 86_400.0
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


def first(job: Job, last_at: float | None, since: float, now: float) -> float | None:
    """When a job is due that was not known before. last_at: when it ran, known or not; since: from when on it counts.

    A moment that is past by less than a day counts: it may have been written down a little late.
    """
    due = following(job.schedule, min(now, max(since, last_at or since)))
    if due is None:
        due = following(job.schedule, now - A_DAY)
    return due if due is None or due > now or last_at is None or last_at < due else None


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
