"""A month of fifty jobs on a simulated clock: every run is compared with what plain arithmetic, and cronsim, say."""

from __future__ import annotations

import json
import os
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim

from agentkit import App
from agentkit.clock import Clock
from agentkit.cron import Cron
from agentkit.errand import Errands
from agentkit.jobs import Jobs
from agentkit.lanes import Lanes
from agentkit.runs import Runs
from agentkit.settings import Settings

UTC = timezone.utc
HERE = "Europe/Riga"  # the zone of the machine
HOUR, DAY = 3600.0, 86_400.0
SPREAD = 150.0  # seconds after a gap in which nothing is due: those that are overdue start one after the other

CRON = [
    ("0 9 * * 1-5", "Europe/Berlin"), ("30 2 * * *", "Europe/Berlin"), ("0 2,3 * * *", "Europe/London"),
    ("*/30 1-3 * * *", "America/New_York"), ("15 * * * *", "America/New_York"), ("30 1 * * *", "America/New_York"),
    ("30 2 * * *", "America/New_York"), ("0 0 1 * *", "Asia/Tokyo"), ("0 0 * * SUN", "Australia/Sydney"),
    ("30 2 * * *", "Australia/Sydney"), ("45 1-3 * * *", "Australia/Lord_Howe"), ("10 2 * * *", "Australia/Lord_Howe"),
    ("0 12 L * *", "Asia/Kolkata"), ("0 12 13 * FRI", "Asia/Kathmandu"), ("5 4 */3 * *", "America/St_Johns"),
    ("0 22 * * 1-5", "Pacific/Auckland"), ("59 23 * * *", "Pacific/Apia"), ("0 0 * * *", "America/Sao_Paulo"),
    ("20 3 8-14 * *", "Africa/Casablanca"), ("0 */4 * * *", "UTC"), ("40 6 * JAN-DEC MON,WED", "UTC"),
    ("0 3 * * *", ""), ("30 3 * * *", ""), ("*/20 2-4 * * *", ""), ("0 18 * * FRI", ""), ("0 0 29 2 *", ""),
]  # fmt: skip
EVERY = [
    (20_000, None), (7200, "2026-01-01T00:10:00Z"), (27_000, "2026-01-01T00:25:00+02:00"), (6 * 3600, None),
    (86_400, "2026-01-01T09:00:00+01:00"), (216_000, "2026-01-03T12:00:00Z"), (604_800, "2026-01-03T15:00:00Z"),
    (11_111, None), (12_345.5, "2026-02-01T00:00:00Z"), (2 * 86_400, "2026-01-01T18:40:00Z"), (10_800, None),
    (40_000, None), (100_000, "2026-01-01T03:00:00Z"),
]  # fmt: skip


class Month(NamedTuple):
    """start: when the program is started first; gaps: nobody is there from, until, and how (hours after the start)."""

    start: datetime
    gaps: tuple[tuple[float, float, str], ...]
    back: float  # the clock is set back by 10 minutes then
    slow: float  # from then on a job of three hours does not end, for seven
    at: tuple[tuple[float | str, str], ...]  # hours after the start, or as it is written; and its moment in UTC


SPRING = Month(
    datetime(2026, 3, 6, 5, 3, 7, tzinfo=UTC),
    (
        (50.2, 53.2, "suspended"), (93.0, 98.3, "ended"), (200.4, 261.7, "ended"), (300.1, 301.4, "set forward"),
        (549.0, 559.5, "suspended"), (640.0, 640.3, "ended"), (715.5, 727.0, "ended"),
    ),
    400.0,
    450.0,
    (
        ("2026-03-29T02:30|Europe/Berlin", "2026-03-29T01:30:00"), ("2026-03-08T02:30|America/New_York",
        "2026-03-08T07:30:00"), ("2026-04-05T02:30|Australia/Sydney", "2026-04-04T15:30:00"),
    ),
)  # fmt: skip
AUTUMN = Month(
    datetime(2026, 10, 2, 5, 3, 7, tzinfo=UTC),
    (
        (30.2, 33.2, "suspended"), (41.0, 48.3, "ended"), (160.4, 231.7, "ended"), (300.1, 301.4, "set forward"),
        (546.0, 552.5, "suspended"), (600.0, 600.3, "ended"), (717.5, 730.0, "ended"),
    ),
    400.0,
    450.0,
    (
        ("2026-10-25T02:30|Europe/Berlin", "2026-10-25T00:30:00"), ("2026-11-01T01:30|America/New_York",
        "2026-11-01T05:30:00"), ("2026-10-04T02:30|Australia/Sydney", "2026-10-03T16:30:00"),
    ),
)  # fmt: skip
LENGTH = 33 * DAY
SLOW = "every-10800"


class Expected(NamedTuple):
    """A job as the test knows it. dues: all due times, in order; once: it is for one moment."""

    record: dict[str, Any]
    dues: list[float]
    once: bool


def at_utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def jobs(month: Month) -> dict[str, Expected]:
    start = month.start.timestamp()
    end = start + LENGTH + 10 * DAY
    made: dict[str, Expected] = {}

    def add(id: str, schedule: dict[str, Any], dues: list[float], **more: Any) -> None:
        payload = {"kind": "system_event", "text": f"{id} has come"}
        record = {"id": id, "schedule": schedule, "payload": payload, "channel": "cli", "to": "me", **more}
        made[id] = Expected(record, dues, schedule["kind"] == "at")

    for number, (expr, zone) in enumerate(CRON):
        begin = month.start.astimezone(ZoneInfo(zone or HERE))
        steps = takewhile(lambda each: each.timestamp() <= end, CronSim(expr, begin))
        schedule = {"kind": "cron", "expr": expr, **({"timezone": zone} if zone else {})}
        add(f"cron-{number}", schedule, [each.timestamp() for each in steps])
    daily = start - start % DAY + 12 * HOUR + 34 * 60 + 56
    add("seconds", {"kind": "cron", "expr": "56 34 12 * * *", "timezone": "UTC"}, every(daily, DAY, start, end))
    for seconds, anchor in EVERY:
        base = datetime.fromisoformat(anchor.replace("Z", "+00:00")).timestamp() if anchor else 0.0
        schedule = {"kind": "every", "every_seconds": seconds, **({"anchor": anchor} if anchor else {})}
        add(f"every-{seconds}", schedule, every(base, seconds, start, end))
    for text, moment in month.at:
        at, zone = str(text).split("|")
        add(f"at-{zone}", {"kind": "at", "at": at, "timezone": zone}, [at_utc(moment)], delete_after_run=True)
    for hours in (-60.0, -2.0, 12.25, 51.0, 231.0, 400.05, 726.9):  # of these some are due while nobody is there
        when = month.start + timedelta(hours=hours)
        add(f"at-{hours}", {"kind": "at", "at": when.isoformat()}, [when.timestamp()], delete_after_run=hours > 100)
    return made


def every(base: float, seconds: float, start: float, end: float) -> list[float]:
    number, found = (start - base) // seconds + 1, []
    while (due := base + number * seconds) <= end:
        found.append(due)
        number += 1
    return found


def settled(expected: dict[str, Expected], begin: float, end: float) -> float:
    """The first moment from `end` on in which it does not matter that overdue jobs start a little apart."""
    while True:
        for each in expected.values():
            dues = each.dues
            near = bisect_left(dues, end - 1)
            if near < len(dues) and dues[near] <= end + SPREAD:
                break
            if near and dues[near - 1] > begin and 0 <= limit(each, dues[near - 1]) - (end - dues[near - 1]) < SPREAD:
                break
        else:
            return end
        end += 60.0


def limit(job: Expected, due: float) -> float:
    """How late that one may be."""
    at = job.dues.index(due)
    return float("inf") if job.once else min(DAY, job.dues[at + 1] - due)


class World:
    """Two clocks, and one life after the other of a program with jobs."""

    def __init__(self, folder: Path, start: float) -> None:
        self.folder, self.wall, self.ticks = folder, start, 0.0
        self.path = folder / "CRON.json"
        self.letters: list[str] = []
        self.told: list[str] = []
        self.blocks = False  # the slow job
        self.go_on, self._pause = threading.Event(), threading.Event()
        self._app = App(Settings("m", "http://127.0.0.1:9/v1", "", 32_000, workspace_dir=folder / "w"), [])

    def begin(self) -> None:
        self.clock, self.lanes = Clock(lambda: self.wall, lambda: self.ticks), Lanes()
        beside = self._app.beside
        usual = self._app.agents.usual
        errands = Errands(
            beside.unattended,
            beside.contacts,
            self.lanes,
            self._app.contacted,
            self._app.leave,
            self.put,
            usual,
            lambda: 32_000,
            lambda each: True,
        )
        runs = Runs(self.folder / ".state")
        self.cron = Cron(Jobs(self.path), runs, self.clock, self.lanes, errands, self.told.append)
        self.cron.start()

    def put(self, channel: str, to: str, text: str, **more: str) -> None:
        assert (channel, to) == ("cli", "me")
        if self.blocks and text.startswith(f"{SLOW} "):
            assert self.go_on.wait(60)
        self.letters.append(text.partition(" ")[0])

    def wait(self, seconds: float) -> None:
        self.wall += seconds
        self.ticks += seconds

    def run(self, until: float) -> None:
        while True:
            seconds = self.clock.tick()
            self.settle()
            if self.wall >= until:
                return
            due = self.clock.due()
            idle = min(due[0][1] - self.wall if due else HOUR, HOUR)  # the looks within it would see nothing new
            self.wait(min(max(seconds, idle, 1e-3), until - self.wall))

    def settle(self) -> None:
        while [each for each in self.lanes.view() if not (self.blocks and f":{SLOW}" in each.key)]:
            self._pause.wait(0.0005)

    def lines(self) -> list[dict[str, Any]]:
        paths = [self.folder / ".state" / name for name in ("cron-runs.1.jsonl", "cron-runs.jsonl")]
        return [json.loads(line) for path in paths if path.exists() for line in path.read_text().splitlines()]


@pytest.fixture
def in_riga() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = HERE
    time.tzset()
    yield
    os.environ.pop("TZ")
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


def story(month: Month, expected: dict[str, Expected]) -> tuple[list[tuple[float, float, str]], list[float], float]:
    """The gaps as they are, the due times of the slow job that find it running, and when it may go on."""
    start = month.start.timestamp()
    gaps = [(start + a * HOUR, settled(expected, start + a * HOUR, start + b * HOUR), how) for a, b, how in month.gaps]
    dues = expected[SLOW].dues
    first = bisect_right(dues, start + month.slow * HOUR)
    return gaps, dues[first + 1 : first + 3], dues[first] + 7 * HOUR


def outcome(month: Month, expected: dict[str, Expected]) -> dict[str, list[tuple[str, float]]]:
    """What each job's lines must be: status and due time, in the order of due times."""
    gaps, overlapping, _ = story(month, expected)
    start = month.start.timestamp()
    found: dict[str, list[tuple[str, float]]] = {}
    for id, job in expected.items():
        lines: list[tuple[str, float]] = []
        dues = [due for due in job.dues if due <= start + LENGTH]
        if dues and dues[0] <= start:  # it was past when it was written down
            lines = [("missed", dues.pop(0))]
        for begin, end, _ in gaps:
            within = [due for due in dues if begin < due <= end]
            dues = [due for due in dues if due not in within]
            if not within:
                continue
            if end - within[-1] < limit(job, within[-1]):
                lines.append(("ok", within.pop()))
            if within:
                lines.append(("missed", within[0]))
        skipped = overlapping if id == SLOW else []
        lines += [("skipped" if due in skipped else "ok", due) for due in dues]
        found[id] = sorted(lines, key=lambda each: each[1])
    return found


def live(world: World, month: Month, expected: dict[str, Expected]) -> None:
    start = month.start.timestamp()
    gaps, overlapping, free = story(month, expected)
    moments: list[tuple[float, Callable[[], object]]] = [(start + month.back * HOUR, lambda: set_back(world))]
    moments += [(begin, lambda end=end, how=how: leave(world, end, how)) for begin, end, how in gaps]  # type: ignore[misc]
    moments += [(overlapping[0] - 3.5 * HOUR, lambda: block(world)), (free, lambda: unblock(world))]
    world.begin()
    for when, act in sorted(moments, key=lambda each: each[0]):
        world.run(when)
        act()
    world.run(start + LENGTH)


def set_back(world: World) -> None:
    world.wall -= 600


def block(world: World) -> None:
    world.blocks = True


def unblock(world: World) -> None:
    world.go_on.set()
    world.blocks = False
    world.settle()


def leave(world: World, end: float, how: str) -> None:
    """Nobody is there for a while, in one of three ways."""
    if how == "ended":
        assert world.lanes.stop(10)
    world.wall = end
    if how == "ended":
        world.ticks = 5.0  # another boot
        world.begin()


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory, where there is room for files: thousands of runs are written down, and no power is lost here."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as made:
        yield Path(made)


@pytest.mark.usefixtures("in_riga")
@pytest.mark.parametrize("month", [SPRING, AUTUMN], ids=["spring", "autumn"])
def test_a_month_of_fifty_jobs_is_as_an_independent_reckoning_has_it(folder: Path, month: Month) -> None:
    expected = jobs(month)
    assert len(expected) == 50
    world = World(folder, month.start.timestamp())
    world.path.write_text(json.dumps({"jobs": [each.record for each in expected.values()]}))
    live(world, month, expected)
    lines = world.lines()
    wanted = outcome(month, expected)
    for id, job in expected.items():
        of_job = sorted((each["status"], each["due_at"]) for each in lines if each["job"] == id)
        assert of_job == sorted(wanted[id]), (id, job.record["schedule"])
        ran = [each["due_at"] for each in lines if each["job"] == id and each["started_at"] is not None]
        assert len(ran) == len({*ran}) == world.letters.count(id)
    assert {each["job"] for each in lines} <= expected.keys() and world.told == []
    late = [each["started_at"] - each["due_at"] for each in lines if each["status"] == "ok"]
    statuses = [each["status"] for each in lines]
    assert min(late) >= 0 and sum(each > 1 for each in late) < 0.1 * len(late)
    assert statuses.count("ok") > 2000 and statuses.count("missed") > 30 and statuses.count("skipped") == 2
    left = [each["id"] for each in json.loads(world.path.read_text())["jobs"]]
    gone = {id for id, each in expected.items() if each.record.get("delete_after_run")}
    assert gone and [id for id in expected if id not in gone] == left
