"""No due time has its effect twice, and none is lost without a line, whatever ends the process or damages its files:
`python -m tests.test_cron_crash few|many FOLDER` tells the story, a process of its own because it forks."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from agentkit import App
from agentkit.clock import Clock
from agentkit.cron import Cron
from agentkit.errand import Errands
from agentkit.jobs import Jobs
from agentkit.lanes import Lanes
from agentkit.outbox import Outbox
from agentkit.runs import Runs
from agentkit.settings import Settings

from .program import ROOT
from .test_cron_month import folder as folder
from .test_outbox_crash import Ending, in_children

START = 1_794_999_600.0  # on the hour
MINUTE, HOUR = 60.0, 3600.0
WAIT = 60.0
ENDED = ("ok", "interrupted")  # what a run that may have had its effect is called


@pytest.mark.parametrize("kind", ["few", "many"])
def test_whatever_ends_the_process_nothing_is_done_twice_or_lost_without_a_line(folder: Path, kind: str) -> None:
    command = [sys.executable, "-m", "tests.test_cron_crash", kind, str(folder)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@cache
def app() -> App:
    """What jobs that ask no model need of one: nobody has ever spoken in it."""
    return App(Settings("m", "http://127.0.0.1:9/v1", "", 32_000, workspace_dir=ROOT / "none"), [])


class Life:
    """One process's: jobs on a clock that a test sets, and an outbox that keeps what they say."""

    def __init__(self, folder: Path, now: float) -> None:
        self.folder, self.now = folder, now
        self.told: list[str] = []
        beside, usual = app().beside, app().agents.usual
        self.clock, self.lanes = Clock(lambda: self.now, lambda: self.now), Lanes()
        outbox = Outbox(folder / "letters", lambda letter: None, lambda channel: None, clock=lambda: self.now)
        errands = Errands(
            beside.unattended,
            beside.contacts,
            self.lanes,
            app().contacted,
            app().leave,
            outbox.put,
            usual,
            lambda: 32_000,
            lambda each: True,
        )
        runs = Runs(folder / ".state")
        self.cron = Cron(Jobs(folder / "CRON.json"), runs, self.clock, self.lanes, errands, self.told.append)
        self.cron.start()

    def run(self, until: float) -> None:
        pause = threading.Event()
        while True:
            seconds = self.clock.tick()
            while self.lanes.view():
                pause.wait(0.0005)
            if self.now >= until:
                return
            due = self.clock.due()
            idle = min(due[0][1] - self.now if due else HOUR, 5 * MINUTE)
            self.now += min(max(seconds, idle, 1e-3), until - self.now)


def job(id: str, schedule: dict[str, Any], **more: Any) -> dict[str, Any]:
    payload = {"kind": "system_event", "text": f"{id}."}
    return {"id": id, "schedule": schedule, "payload": payload, "channel": "cli", "to": "me", **more}


def every(id: str, seconds: float, after: float) -> dict[str, Any]:
    return job(id, {"kind": "every", "every_seconds": seconds, "anchor": iso(START + after)})


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).isoformat()


# Two of them are due at one moment; each is due once within an hour.
FEW = [
    job("once", {"kind": "at", "at": iso(START + 30 * MINUTE)}, delete_after_run=True),
    every("hourly", HOUR, 30 * MINUTE),
    job("line", {"kind": "cron", "expr": "40 * * * *", "timezone": "UTC"}),
]
MANY = [every(f"every-{number}", 600.0 + 240 * number, 97.0 * number) for number in range(20)] + [
    job(f"at-{number}", {"kind": "at", "at": iso(START + 1000.0 * number)}, delete_after_run=number % 2 == 0)
    for number in range(10)
]


def write(folder: Path, records: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "CRON.json").write_text(json.dumps({"jobs": records}))


def lines(folder: Path) -> list[dict[str, Any]]:
    """What can be read of the runs."""
    found = []
    path = folder / ".state" / "cron-runs.jsonl"
    for line in path.read_bytes().split(b"\n") if path.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def letters(folder: Path) -> Counter[str]:
    paths = (folder / "letters").glob("*.json")
    return Counter(json.loads(path.read_text())["texts"][0].strip(".") for path in paths if path.name[0] != ".")


def statuses(folder: Path, id: str) -> list[str]:
    return [each["status"] for each in lines(folder) if each["job"] == id]


# -- the end of the process


def story(folder: Path, at: int, begin: float, end: float) -> None:
    ending = Ending(at)
    Life(folder, begin).run(end)
    ending.note(folder / "calls", str(ending.calls))


def begun(folder: Path, records: list[dict[str, Any]]) -> None:
    """The jobs are known, and none has been due."""
    write(folder, records)
    assert in_children(lambda: Life(folder, START - 10 * MINUTE).clock.tick()) == [0]


def check_few(folder: Path, at: int) -> None:
    """Three lives, of which the first ends at that call, and the second at a third of it."""
    begun(folder, FEW)
    codes = []
    for each, begin, end in ((at, 0.0, 50.0), (at // 3 + 1, 55.0, 56.0), (-1, 57.0, 58.0)):
        codes += in_children(
            lambda each=each, begin=begin, end=end: story(folder, each, START + begin * 60, START + end * 60)  # type: ignore[misc]
        )
    assert set(codes) <= {0, 7} and codes[-1] == 0, (at, codes)
    had = letters(folder)
    for id in ("once", "hourly", "line"):
        said = statuses(folder, id)
        assert had[id] <= 1, (at, id, had)
        assert said and (had[id] or {*said} & {"missed", "interrupted"}), (at, id, said)
        assert had[id] == 0 or {*said} & {*ENDED}, (at, id, said)
        assert len([each for each in said if each in ENDED]) == 1, (at, id, said)
    left = [each["id"] for each in json.loads((folder / "CRON.json").read_text())["jobs"]]
    assert left == [each["id"] for each in FEW if each["id"] != "once" or "ok" not in statuses(folder, "once")], at


def check_many(folder: Path, at: int) -> None:
    begun(folder, MANY)
    end = START + 3 * HOUR
    assert in_children(lambda: story(folder, at, START, end)) == [7], at
    said = lines(folder)
    stopped = max([START, *(each["due_at"] or each["started_at"] for each in said)])
    again = stopped + 700.0
    assert in_children(lambda: story(folder, -1, again, again + HOUR)) == [0], at
    had, said = letters(folder), lines(folder)
    for record in MANY:
        id, schedule = record["id"], record["schedule"]
        mine = [each for each in said if each["job"] == id]
        ran = [each["due_at"] for each in mine if each["status"] == "ok"]
        broken = [each["started_at"] for each in mine if each["status"] == "interrupted"]
        assert len(ran) == len({*ran}), (at, id, ran)
        assert len(ran) <= had[id] <= len(ran) + len(broken), (at, id, had[id], mine)
        missed = [each["due_at"] for each in mine if each["status"] == "missed"]
        for due in dues(schedule, again + HOUR):
            told = due in ran or any(each <= due <= again for each in missed) or any(due <= at for at in broken)
            assert told, (at, id, due, mine)


def dues(schedule: dict[str, Any], end: float) -> list[float]:
    if schedule["kind"] == "at":
        return [due for due in [datetime.fromisoformat(schedule["at"]).timestamp()] if due <= end]
    due, found = datetime.fromisoformat(schedule["anchor"]).timestamp(), []
    while due <= end:
        found.append(due)
        due += schedule["every_seconds"]
    return [each for each in found if each > START - 10 * MINUTE]


def main() -> int:
    kind, folder = sys.argv[1], Path(sys.argv[2])
    dry = folder / "dry"
    begun(dry, FEW if kind == "few" else MANY)
    end = START + (50 * MINUTE if kind == "few" else 3 * HOUR)
    assert in_children(lambda: story(dry, -1, START, end)) == [0]
    calls = int((dry / "calls").read_text())
    ends = range(1, calls + 2) if kind == "few" else random.Random(4).sample(range(1, calls - 40), 25)
    check = check_few if kind == "few" else check_many

    def check_each(some: Any) -> None:
        for at in some:
            check(folder / str(at), at)

    codes = in_children(lambda: check_each(ends[::2]), lambda: check_each(ends[1::2]))
    print(f"{kind}: {calls} calls, the process ended at {len(ends)} of them")
    return max(codes)


# -- damaged files


def lived(folder: Path) -> Path:
    """A folder in which all jobs of FEW, which stay, have run once."""
    write(folder, [{**each, "delete_after_run": False} for each in FEW])
    life = Life(folder, START)
    life.run(START + 50 * MINUTE)
    assert letters(folder) == {"once": 1, "hourly": 1, "line": 1} and life.told == []
    return folder


def copies(folder: Path, name: str, at: int) -> Path:
    """A copy in which that file is cut off after so many bytes."""
    new = folder.with_name(f"{folder.name}-{at}")
    shutil.copytree(folder, new)
    os.truncate(new / name, at)
    return new


def for_each_byte(folder: Path, name: str, look: Callable[[Path, int], None]) -> None:
    for at in range((folder / name).stat().st_size + 1):
        cut = copies(folder, name, at)
        look(cut, at)
        shutil.rmtree(cut)


def test_a_state_file_that_is_cut_off_anywhere_has_nothing_done_twice(folder: Path) -> None:
    folder = lived(folder / "w")
    size = (folder / ".state" / "cron-state.json").stat().st_size

    def look(cut: Path, at: int) -> None:
        life = Life(cut, START + 52 * MINUTE)
        life.run(START + 52 * MINUTE)
        assert letters(cut) == {"once": 1, "hourly": 1, "line": 1}, at
        if at < size - 1:
            assert len(life.told) == 1 and "damaged" in life.told[0]
            assert all("missed" in statuses(cut, id) for id in ("once", "hourly", "line"))
            assert (cut / ".state" / "cron-state.json.broken").stat().st_size == at
        life.run(START + 101 * MINUTE)
        assert letters(cut) == {"once": 1, "hourly": 2, "line": 2}, at

    for_each_byte(folder, ".state/cron-state.json", look)


def test_runs_that_are_cut_off_anywhere_have_nothing_done_twice(folder: Path) -> None:
    folder = lived(folder / "w")

    def look(cut: Path, at: int) -> None:
        life = Life(cut, START + 52 * MINUTE)
        life.run(START + 101 * MINUTE)
        assert letters(cut) == {"once": 1, "hourly": 2, "line": 2} and life.told == [], at
        assert [statuses(cut, id)[-1] for id in ("hourly", "line")] == ["ok", "ok"]

    for_each_byte(folder, ".state/cron-runs.jsonl", look)


def test_a_list_of_jobs_that_is_cut_off_anywhere_is_said_and_nothing_is_lost_or_done_twice_when_it_is_back(
    folder: Path,
) -> None:
    folder = lived(folder / "w")
    whole = (folder / "CRON.json").read_bytes()

    def look(cut: Path, at: int) -> None:
        life = Life(cut, START + 52 * MINUTE)
        life.run(START + 53 * MINUTE)
        assert letters(cut) == {"once": 1, "hourly": 1, "line": 1}, at
        if at < len(whole):
            assert len(life.told) == 1 and "CRON.json is broken" in life.told[0], (at, life.told)
        again = Life(cut, START + 95 * MINUTE)  # also for whoever is started while it is broken
        again.run(START + 96 * MINUTE)
        (cut / "CRON.json").write_bytes(whole)
        again.run(START + 102 * MINUTE)
        assert letters(cut) == {"once": 1, "hourly": 2, "line": 2}, at

    for_each_byte(folder, "CRON.json", look)


def test_without_its_state_file_a_moment_that_is_past_is_not_done_again(folder: Path) -> None:
    folder = lived(folder / "w")
    (folder / ".state" / "cron-state.json").unlink()
    life = Life(folder, START + 52 * MINUTE)
    life.run(START + 53 * MINUTE)
    assert letters(folder) == {"once": 1, "hourly": 1, "line": 1} and life.told == []
    assert statuses(folder, "once") == ["ok"]


def test_a_run_whose_end_was_written_down_is_not_called_interrupted(folder: Path) -> None:
    folder = lived(folder / "w")
    path = folder / ".state" / "cron-state.json"
    standings = json.loads(path.read_text())
    for id in ("hourly", "once"):  # as it was before the end
        standings[id] |= {"started": START + 30 * MINUTE, "last_at": None, "last_status": ""}
    standings["line"] |= {"started": START + 41 * MINUTE}  # of this run there is no line
    path.write_text(json.dumps(standings))
    Life(folder, START + 52 * MINUTE).run(START + 53 * MINUTE)
    assert statuses(folder, "hourly") == ["ok"] and statuses(folder, "once") == ["ok"]
    assert statuses(folder, "line") == ["ok", "interrupted"]
    standings = json.loads(path.read_text())
    assert [standings[id]["last_status"] for id in ("hourly", "line")] == ["ok", "interrupted"]
    assert all(each["started"] is None for each in standings.values())


# -- a full disk


def test_what_cannot_be_written_down_does_not_begin_is_said_once_and_begins_when_there_is_room(folder: Path) -> None:
    write(folder, FEW)
    life = Life(folder, START)
    life.run(START + 10 * MINUTE)
    state = folder / ".state" / "cron-state.json"
    state.unlink()
    state.mkdir()  # in its place nothing can be written
    life.run(START + 38 * MINUTE)
    assert letters(folder) == {} and len(life.told) == 1 and "Cron jobs wait" in life.told[0]
    assert [row.standing.started for row in life.cron.rows()] == [None] * 3
    state.rmdir()
    life.run(START + 39.5 * MINUTE)
    assert letters(folder) == {"once": 1, "hourly": 1} and len(life.told) == 1
    assert [each["status"] for each in lines(folder)] == ["ok", "ok"]
    state.unlink()
    state.mkdir()
    life.run(START + 91.5 * MINUTE)
    assert len(life.told) == 2 and letters(folder) == {"once": 1, "hourly": 1}
    life.run(START + 155 * MINUTE)  # what waits for too long is missed, with a line for all of it
    state.rmdir()
    life.run(START + 157 * MINUTE)
    assert letters(folder) == {"once": 1, "hourly": 2, "line": 1}
    missed = [(each["job"], each["text"]) for each in lines(folder) if each["status"] == "missed"]
    assert sorted({id for id, _ in missed}) == ["hourly", "line"] and len(missed) <= 4
    assert all("could not be written down" in text for _, text in missed)


if __name__ == "__main__":
    sys.exit(main())
