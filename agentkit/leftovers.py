"""What an earlier process has left of the jobs: how they stood, and runs whose end it has not written down, or not had.

A run's line in cron-runs.jsonl is what counts: where it is there, the run has ended as it says, whatever the file of
standings holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .clock import CORRECTION
from .job import Job
from .reckoning import anew, ended, following, is_news
from .runs import Runs, Standing

LINES = 50_000  # of runs that are looked through


class News(NamedTuple):
    """How a run has ended, as whoever gets the words of the job is to know; off: why that is off now, empty: it is
    not."""

    job: Job
    status: str
    why: str
    off: str = ""


class Leftovers(NamedTuple):
    """standings: by job; told: what the owner is to know; news: of runs that an earlier process has not told of."""

    standings: dict[str, Standing]
    told: list[str]
    news: list[News]


def leftovers(runs: Runs, jobs: Mapping[str, Job], now: float) -> Leftovers:
    """Take up what there is; what can no longer be done is noted. jobs: all, by id."""
    saved = runs.saved_at()
    loaded = runs.load()
    standings, told, news = dict(loaded.standings), [], []
    ends = _ends(runs, {id: each.started for id, each in standings.items() if each.started is not None})
    for id, standing in loaded.standings.items():
        if standing.started is None:
            continue
        if id not in ends:  # that run is not repeated: nobody knows how far it has come
            text = "missed: agentkit ended before it was done"
            runs.note(id, None, standing.started, 0.0, "interrupted", 0, text)
        status, why = ends.get(id, ("interrupted", "agentkit ended before it was done"))
        after = standings[id] = ended(standing, standing.started, status, why)
        if (job := jobs.get(id)) and is_news(job.schedule, standing, after):
            news.append(News(job, status, why, after.off if after.off != standing.off else ""))
    if saved is not None and saved - now > CORRECTION:  # see the clock
        standings |= {id: anew(jobs[id], each, now) for id, each in standings.items() if id in jobs}
    unknown = [id for id, job in jobs.items() if job.enabled and (loaded.damaged or id in loaded.lost)]
    for id in unknown:
        runs.note(id, None, None, 0.0, "missed", 0, "what was due is not known: the state file was damaged")
        standings[id] = Standing(following(jobs[id].schedule, now), written=jobs[id].written)
    if unknown:
        told.append("cron-state.json was damaged: jobs that were due meanwhile are recorded as missed.")
    return Leftovers(standings, told, news)


def has_run(runs: Runs) -> tuple[set[str], set[tuple[str, float]]]:
    """The jobs that there are lines of, and the due times that had one."""
    records = runs.last(LINES)
    times = {(each["job"], due) for each in records if isinstance(due := each.get("due_at"), (int, float))}
    return {each["job"] for each in records}, times


def _ends(runs: Runs, started: Mapping[str, float | None]) -> dict[str, tuple[str, str]]:
    """Of runs that have begun, those that have ended: status and text."""
    found: dict[str, tuple[str, str]] = {}
    for each in runs.last(LINES) if started else ():
        at = started.get(each["job"])
        if at is not None and each.get("started_at") == at:
            found.setdefault(each["job"], (each["status"], each["text"]))
    return found
