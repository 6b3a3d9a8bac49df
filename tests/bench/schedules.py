"""What schedules cost: reading an expression, and a program with 10,000 jobs that are not due."""

from __future__ import annotations

import json
import os
import time
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from threading import Event

from agentkit import App
from agentkit.cronexpr import CronExpr
from agentkit.session import Opening
from agentkit.settings import Settings

from .figures import Measured, Skip, against, figure
from .measure import in_turns

EXPRESSIONS = 300
JOBS = 10_000
CALM = 20.0  # seconds


def _expressions() -> list[tuple[str, datetime]]:
    """Five-field expressions as people write them, and a time after which they are due."""
    random, found = Random(7), []
    minutes, hours = ["*", "0", "30", "*/5", "*/15", "5,35", "0-29"], ["*", "9", "*/2", "8-18", "0", "22,23"]
    days, months, weekdays = ["*", "1", "15", "*/2", "1,15", "L"], ["*", "1", "6-8", "*/3"], ["*", "1-5", "MON", "0,6"]
    for _ in range(EXPRESSIONS):
        text = " ".join(map(random.choice, (minutes, hours, days, months, weekdays)))
        found.append((text, datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(minutes=random.randrange(525_600))))
    return found


@figure("cron expressions", bar=1.5)
def expressions() -> Measured:
    """parsing a five-field expression and finding its next time, against cronsim"""
    try:
        from cronsim import CronSim
    except ImportError:
        raise Skip("cronsim is not installed") from None
    given = _expressions()

    def ours() -> float:
        started = time.perf_counter()
        for text, after in given:
            CronExpr(text).next(after)
        return (time.perf_counter() - started) / len(given) * 1e6

    def floor() -> float:
        started = time.perf_counter()
        for text, after in given:
            next(CronSim(text, after))
        return (time.perf_counter() - started) / len(given) * 1e6

    return against(*in_turns(9, ours, floor), "µs")


@cache
def _with_jobs() -> tuple[float, float, float]:
    """Seconds to start with 10,000 jobs, then seconds of CPU and wake-ups in a while in which none is due."""
    if not Path("/proc/self/task").exists():
        raise Skip("there is no /proc")
    with TemporaryDirectory() as folder:
        workspace = Path(folder) / "w"
        workspace.mkdir()
        jobs = [
            {
                "id": f"job-{number}",
                "schedule": {"kind": "cron", "expr": f"{number % 60} {number % 24} 1 1 *"},
                "payload": {"kind": "agent_turn", "message": "Look after it."},
            }
            for number in range(JOBS)
        ]
        (workspace / "CRON.json").write_text(json.dumps({"jobs": jobs}))
        started = []
        for _ in range(3):
            settings = Settings("m", "http://127.0.0.1:9/v1", "sk-bench-0123456789", 32_000, workspace_dir=workspace)
            app = App(settings, opening=Opening(resume=True))
            began = time.perf_counter()
            app.start()
            while len(app.beside.clock.due()) < JOBS:
                Event().wait(0.005)
            started.append(time.perf_counter() - began)
            if len(started) < 3:
                app.stop()
        Event().wait(2)
        cpu, wakes = time.process_time(), _sleeps()
        Event().wait(CALM)
        cpu, wakes = time.process_time() - cpu, _sleeps() - wakes - 1  # the one that waits here
        app.stop()
    return median(started), cpu, wakes


def _sleeps() -> int:
    """How often the threads of this process have gone to sleep."""
    return sum(
        int(line.split()[1])
        for task in os.listdir("/proc/self/task")
        for line in Path(f"/proc/self/task/{task}/status").read_text().splitlines()
        if line.startswith("voluntary_ctxt_switches")
    )


@figure("cron start", bar=None)
def start() -> Measured:
    """starting with 10,000 jobs, until it is known when each is due"""
    return Measured(_with_jobs()[0], "s")


@figure("cron idle CPU", bar=None)
def idle_cpu() -> Measured:
    """CPU in 20 s in which none of them is due"""
    return Measured(_with_jobs()[1] * 1e3, "ms")


@figure("cron idle wake-ups", bar=None)
def idle_wakes() -> Measured:
    """wake-ups in these 20 s"""
    return Measured(_with_jobs()[2], "")
