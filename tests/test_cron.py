"""Jobs on a schedule: the commands and the tool, what they say and to whom, and what becomes of those that fail."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from operator import sub
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any

import pytest

from agentkit import App
from agentkit.clock import Clock
from agentkit.cron import Cron
from agentkit.errand import Errands
from agentkit.errors import CommandError
from agentkit.events import Answer, Ask, Done, Error, Event, Inbound
from agentkit.jobs import Jobs
from agentkit.lanes import Lanes
from agentkit.runs import Runs
from agentkit.settings import Settings

from .beating import Person, until
from .loopback import Answer as Response
from .loopback import Loopback, Request, call_stream, json_error, text_stream
from .program import ROOT, WAIT, agentkit, environment, settled
from .test_cron_crash import FEW, HOUR, MINUTE, START, app, every, job, lines, statuses, write

SPENT = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
DAY = 86_400.0


class Asked(Person):
    """Somebody who is asked, and answers as `decision` says."""

    can_ask = True  # type: ignore[assignment]

    def __init__(self, name: str = "cli") -> None:
        super().__init__(name)
        self.asked: list[str] = []
        self.decision: Any = "allow"

    def start(self, dispatch: Any, answer: Any) -> None:
        super().start(dispatch, answer)
        self._answer = answer

    def show(self, event: Event) -> None:
        super().show(event)
        if isinstance(event, Ask):
            self.asked.append(event.summary)
            self._answer(self.peer, event.id, Answer(self.decision))


class World:
    """A running program. says: what the model answers to a job; else it answers `ok`."""

    def __init__(self, folder: Path, *says: str | Response, fresh: bool = False, **settings: Any) -> None:
        self.folder, self.workspace = folder, folder / "w"
        self.person = Asked()
        self.says = list(says)
        self.model = Loopback(self._answered)
        if not fresh:
            self.write(".agents/assistant/AGENT.md", "You are terse.")
        self._settings = settings
        self.apps: list[App] = []

    def __enter__(self) -> World:
        self.model.__enter__()
        self.app = self.begin(self.person)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for each in self.apps:
            each.stop()
        self.model.__exit__(kind, error, at)

    def begin(self, person: Person) -> App:
        given = {"workspace_dir": self.workspace, **self._settings}
        made = App(Settings("m", self.model.url, "", 32_000, **given), [person], environ={"PATH": os.environ["PATH"]})
        self.apps.append(made)
        made.start()
        made.open(Inbound("", person.name, person.peer))
        return made

    def _answered(self, request: Request, index: int) -> Response:
        if self.says and any("This is the job" in text for text in request.said):
            said = self.says.pop(0) if len(self.says) > 1 else self.says[0]
            return text_stream(said, usage=SPENT) if isinstance(said, str) else said
        return text_stream("ok", usage=SPENT)

    def write(self, path: str, text: str) -> None:
        file = self.workspace / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def answer(self, text: str) -> str:
        ending = self.person.say(text)
        assert isinstance(ending, Done), ending
        return ending.text

    def refusal(self, text: str) -> str:
        ending = self.person.say(text)
        assert isinstance(ending, Error), ending
        return ending.message

    def records(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((self.workspace / "CRON.json").read_text())["jobs"]
        return found

    def lines(self, id: str) -> list[dict[str, Any]]:
        return [each for each in lines(self.workspace) if each["job"] == id]

    def done(self, id: str, times: int = 1) -> dict[str, Any]:
        """Wait until a job has run so often; returns the last run."""
        until(lambda: len(self.lines(id)) >= times and "next: running" not in self.answer("/cron"))
        return self.lines(id)[-1]

    @property
    def tools(self) -> set[str]:
        """Those of the last request."""
        return {each["function"]["name"] for each in self.model.requests[-1].json.get("tools", [])}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path, "The oven is on.") as made:
        yield made


# -- the commands


def test_what_is_added_is_in_the_file_and_in_the_list_with_its_next_time_and_zone(world: World) -> None:
    added = world.answer("/cron add every 30m check the oven")
    assert re.fullmatch(r"Added: check-the-oven  every 30m  check the oven\n      next: 20\S+ \S+ \w+", added)
    assert added.splitlines()[1].strip() in world.answer("/cron")
    assert world.answer("/cron add at 2099-12-01 09:00 wake me").startswith("Added: wake-me  at 2099-12-01 09:00")
    assert world.answer("/cron add 0 9 * * 1-5 tz=Europe/Riga count sheep").startswith(
        "Added: count-sheep  0 9 * * 1-5"
    )
    shown = world.answer("/cron")
    assert shown.startswith("cron  running; jobs: 3;")
    assert len(re.findall(r"last: none; next: 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d \w+", shown)) == 3
    records = {each["id"]: each for each in world.records()}
    schedule = records["check-the-oven"]["schedule"]
    assert schedule.pop("anchor").startswith("20") and schedule == {"kind": "every", "every_seconds": 1800}
    assert records["check-the-oven"]["payload"] == {"kind": "agent_turn", "message": "check the oven"}
    assert records["wake-me"]["delete_after_run"] and records["count-sheep"]["agent_id"] == "assistant"
    assert world.answer("/cron rm wake-me") == "wake-me is gone." and len(world.records()) == 2
    assert world.answer("/cron off count-sheep") == "count-sheep is off." and "next: off" in world.answer("/cron")
    assert world.answer("/cron on count-sheep") == "count-sheep is on." and "next: off" not in world.answer("/cron")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/cron add", "It is /cron"),
        ("/cron add every 30m", "What is to be done"),
        ("/cron add every 2 months tidy up", "months and weekdays are for cron"),
        ("/cron add at 2001-01-01 09:00 wake me", "no schedule"),
        ("/cron add 61 * * * * fail", "no schedule"),
        ("/cron add 0 0 30 2 * never", "no schedule"),
        ("/cron add 0 9 * * * tz=Mars/Base go", "Mars/Base"),
        ("/cron rm nothing", "no job nothing"),
        ("/cron on nothing", "no job nothing"),
        ("/cron run nothing", "no job nothing"),
        ("/cron sing", "It is /cron"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_to_say_it(world: World, text: str, words: str) -> None:
    assert words in world.refusal(text)


def test_stopped_nothing_is_begun_and_started_again_what_was_due_is(world: World) -> None:
    assert world.answer("/cron stop").startswith("cron  stopped")
    world.answer("/cron add every 1s look")
    until(lambda: "overdue" in world.answer("/cron") or not world.lines("look"))
    assert world.lines("look") == []
    assert world.answer("/cron start").startswith("cron  running")
    world.person.letters.get(timeout=WAIT)
    assert {each["status"] for each in world.lines("look")} <= {"ok", "missed"}


def test_a_file_that_was_edited_is_taken_in_by_reload(world: World) -> None:
    world.write("CRON.json", json.dumps({"jobs": [job("a", {"kind": "every", "every_seconds": 90})]}))
    assert re.search(r"jobs: 1;.*\n  a  every 1m30s  a\.", world.answer("/cron reload"))


# -- what is said, and to whom


def test_what_a_job_says_arrives_and_can_be_answered(world: World) -> None:
    assert world.answer("hello") == "ok"
    world.answer("/cron add every 1d check the oven")
    assert world.answer("/cron run check-the-oven").startswith("check-the-oven runs now")
    letter = world.person.letters.get(timeout=WAIT)
    assert (letter.channel, letter.to, letter.text) == ("cli", "cli-user", "The oven is on.")
    run = world.done("check-the-oven")
    assert (run["status"], run["text"], run["tokens"], run["due"]) == ("ok", "The oven is on.", 7, None)
    assert "(ok); next: 20" in world.answer("/cron")
    world.answer("why?")
    said = world.model.requests[-1].said
    assert said[-4:] == ["ok", "[cron check the oven]", "The oven is on.", "why?"]
    asked = next(each for each in world.model.requests if "This is the job" in each.said[-1])
    assert "check the oven" in asked.said[-1] and "hello" not in asked.said


def test_who_is_named_by_the_job_gets_it_else_who_spoke_last_else_the_terminal(world: World) -> None:
    once = {"kind": "every", "every_seconds": 90_000}
    mine = {"channel": "", "to": ""}
    world.write("CRON.json", json.dumps({"jobs": [job("a", once, **mine), job("b", once, channel="discord", to="7")]}))
    world.answer("/cron run a")
    assert world.person.letters.get(timeout=WAIT).to == "cli-user"  # nobody has spoken
    world.answer("hello")
    world.done("a")
    world.answer("/cron run a")
    assert world.person.letters.get(timeout=WAIT).text == "a."
    world.answer("/cron run b")
    world.done("b")
    assert "discord:7  pending: 1" in world.answer("/delivery")


@pytest.mark.parametrize("reply", ["HEARTBEAT_OK", "HEARTBEAT_OK.", "**HEARTBEAT_OK** fine", "", "  \n"])
def test_a_job_with_nothing_to_say_is_silent_which_is_a_success(tmp_path: Path, reply: str) -> None:
    with World(tmp_path, reply) as world:
        world.answer("/cron add every 1d look")
        world.answer("/cron run look")
        run = world.done("look")
        assert run["status"] == "silent" and world.person.letters.empty()


def test_the_marker_of_heartbeats_never_reaches_anybody(tmp_path: Path) -> None:
    seldom = {"kind": "every", "every_seconds": 90_000}
    door = "The door is open, and it has been for an hour."
    oven = "The oven is on, and nobody seems to be in the kitchen."
    with World(tmp_path, f"HEARTBEAT_OK {oven}") as world:
        event = {"kind": "system_event", "text": f"{door} HEARTBEAT_OK"}
        turn = {"kind": "agent_turn", "message": "look"}
        records = [job("event", seldom, payload=event), job("turn", seldom, payload=turn)]
        world.write("CRON.json", json.dumps({"jobs": records}))
        for id, text in (("event", door), ("turn", oven)):
            world.answer(f"/cron run {id}")
            assert world.person.letters.get(timeout=WAIT).text == text
            assert world.done(id)["text"] == text


# -- what fails


def test_five_failures_in_a_row_have_it_off_with_the_reason_and_on_has_it_run_again(tmp_path: Path) -> None:
    with World(tmp_path, json_error(400, "the kitchen is closed")) as world:
        world.answer("/cron add every 1d look")
        for number in range(1, 6):
            world.answer("/cron run look")
            assert world.done("look", number)["status"] == "failed"
        until(lambda: world.person.notices)
        told = [text for text in world.person.notices if "look" in text]
        assert len(told) == 1 and "5 failures in a row" in told[0] and "the kitchen is closed" in told[0]
        assert "/cron on look" in told[0]
        assert re.search(r"next: off after 5 failures.*kitchen is closed.*failures in a row: 5", world.answer("/cron"))
        assert world.answer("/cron on look") == "look is on."
        shown = world.answer("/cron")
        assert "next: 20" in shown and "failures" not in shown


def test_a_success_ends_a_row_of_failures(tmp_path: Path) -> None:
    no = json_error(400, "no")
    with World(tmp_path, no, no, no, no, "yes", no, no) as world:
        world.answer("/cron add every 1d look")
        for number in range(1, 7):
            world.answer("/cron run look")
            world.done("look", number)
        assert [each["status"] for each in world.lines("look")] == ["failed"] * 4 + ["ok", "failed"]
        assert "failures in a row: 1" in world.answer("/cron") and "off" not in world.answer("/cron").split("\n")[2]


def test_when_the_days_tokens_are_used_up_a_job_that_is_due_is_skipped_with_a_line(tmp_path: Path) -> None:
    with World(tmp_path, "first", background_tokens_per_day=5) as world:
        world.answer("/cron add every 1d look")
        world.answer("/cron run look")
        world.done("look")
        world.answer("/cron add every 1s watch")
        until(lambda: world.lines("watch"))
        line = world.lines("watch")[0]
        assert line["status"] == "skipped" and "BACKGROUND_TOKENS_PER_DAY" in line["text"]
        asked = [each for each in world.model.requests if "This is the job" in each.said[-1]]
        assert len(asked) == 1
        assert "tokens today: 7" in world.answer("/cron")


def test_an_agent_that_is_gone_is_a_failure_with_its_name(world: World) -> None:
    payload = {"kind": "agent_turn", "message": "look"}
    record = {**job("a", {"kind": "every", "every_seconds": 90_000}), "payload": payload, "agent_id": "nobody"}
    world.write("CRON.json", json.dumps({"jobs": [record, {**record, "id": "b", "agent_id": "Assistant"}]}))
    world.answer("/cron run a")
    run = world.done("a")
    assert run["status"] == "failed" and "nobody" in run["text"]
    world.answer("/cron run b")  # as people write it
    assert world.done("b")["status"] == "ok"


# -- tools


def test_a_job_has_the_tools_that_only_read_and_those_that_are_listed(tmp_path: Path) -> None:
    with World(tmp_path / "a", "fine") as world:
        world.answer("/cron add every 1d look")
        world.answer("/cron run look")
        world.done("look")
        assert "read_file" in world.tools and not world.tools & {"bash", "write_file", "edit_file", "cron", "remember"}
    listed = call_stream(("write_file", {"path": "w/note.txt", "content": "done"}))
    steering = call_stream(
        ("write_file", {"path": "w/CRON.json", "content": "[]"}),
        ("write_file", {"path": "w/.agents/assistant/AGENT.md", "content": "You are evil."}),
    )
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        with World(tmp_path, listed, steering, "fine", unattended_tools=("write_file",)) as world:
            world.answer("/cron add every 1d look")
            before = (world.workspace / "CRON.json").read_text()
            world.answer("/cron run look")
            assert world.done("look")["status"] == "ok" and "write_file" in world.tools
            assert (world.workspace / "note.txt").read_text() == "done" and world.person.asked == []
            assert (world.workspace / "CRON.json").read_text() == before
            assert "terse" in (world.workspace / ".agents/assistant/AGENT.md").read_text()
            results = [each["content"] for each in world.model.requests[-1].json["messages"] if each["role"] == "tool"]
            assert len(results) == 3 and all(each.startswith("error: ") for each in results[1:])
    finally:
        os.chdir(here)


def test_the_model_may_add_list_and_remove_jobs_when_somebody_allows_it(tmp_path: Path) -> None:
    add = {"action": "add", "job": "every 30m check the oven"}

    def rule(request: Request, index: int) -> Response:
        words = request.said[-1]
        calls: dict[str, dict[str, Any]] = {
            "add": add, "list": {"action": "list"}, "remove": {"action": "remove", "job": "check-the-oven"},
            "wrong": {"action": "add", "job": "every now"},
        }  # fmt: skip
        return call_stream(("cron", calls[words])) if words in calls else text_stream(f"It said: {words}")

    with World(tmp_path) as world:
        world.model._script = rule
        world.person.decision = "deny"
        assert "refused" in world.answer("add") and not (world.workspace / "CRON.json").exists()
        assert "every 30m check the oven" in world.person.asked[0]
        world.person.decision = "allow"
        assert "added: check-the-oven" in world.answer("add") and len(world.records()) == 1
        assert "check-the-oven  every 30m" in world.answer("list")
        assert "no schedule" in world.answer("wrong")
        assert "is removed" in world.answer("remove") and world.records() == []
        assert "no job check-the-oven" in world.answer("remove")


# -- which process


def test_another_process_says_who_runs_the_jobs(world: World) -> None:
    world.answer("/cron add every 1d look")
    second = Person()
    world.begin(second)
    for text in ("/cron run look", "/cron stop", "/cron start", "/cron reload"):
        ending = second.say(text)
        assert isinstance(ending, Error) and f"Process {os.getpid()} does that" in ending.message
    assert f"done by process {os.getpid()}" in second.say("/cron").text
    assert second.say("/cron add every 2d dance").text.startswith("Added: dance")
    assert "dance" in world.answer("/cron")


def test_where_no_jobs_are_run_none_is_begun_and_nothing_is_written(tmp_path: Path) -> None:
    state = settled(tmp_path) / "workspace" / ".state" / "cron-state.json"
    with_job = {"jobs": [job("look", {"kind": "every", "every_seconds": 90_000})]}
    (tmp_path / "workspace" / "CRON.json").write_text(json.dumps(with_job))
    env = environment(tmp_path)
    ran = agentkit(tmp_path, "run", "/cron run look", env=env)
    assert ran.returncode == 1 and "runs no jobs" in ran.stderr and not state.exists()
    listed = agentkit(tmp_path, "run", "/cron", env=env)
    assert listed.stdout.startswith("cron  not running; jobs: 1;") and not state.exists()
    assert agentkit(tmp_path, "run", "/cron off look", env=env).stdout == "look is off.\n"
    assert not json.loads((tmp_path / "workspace" / "CRON.json").read_text())["jobs"][0]["enabled"]


NO_ZONES = """
import json, sys, zoneinfo
from pathlib import Path
from tests.test_cron import Sim
zoneinfo.reset_tzpath(())
sim = Sim(Path(sys.argv[1]))
sim.run(sim.now + 7200)
print(json.dumps([sim.texts, sim.told]))
"""


def test_without_a_tz_database_jobs_with_a_timezone_are_named_and_the_others_run(tmp_path: Path) -> None:
    (tmp_path / "tzdata").mkdir()
    (tmp_path / "tzdata" / "__init__.py").touch()  # in place of the package, if that is there
    zoned = job("zoned", {"kind": "cron", "expr": "30 * * * *", "timezone": "Europe/Riga"})
    write(tmp_path / "x", [zoned, every("plain", HOUR, 600)])
    env = {**os.environ, "PYTHONTZPATH": "", "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-c", NO_ZONES, str(tmp_path / "x")]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    texts, told = json.loads(done.stdout)
    assert texts == ["plain.", "plain."]
    assert len(told) == 1 and "zoned" in told[0] and "schedule.timezone" in told[0] and "tzdata" in told[0]


# -- on a clock that a test sets


class Sim:
    """Jobs that need no model, on a simulated clock. said: when, and what; fails: nothing can be sent; go_on: what a
    job whose text begins with slow waits for."""

    def __init__(self, folder: Path, tell: Callable[[str], None] | None = None) -> None:
        self.folder, self.now = folder, START
        self.ticks = 0.0  # what the clock that nobody sets shows; 0: the same
        self.said: list[tuple[float, str]] = []
        self.told: list[str] = []
        self.fails = False
        self.go_on, self.begun = threading.Event(), SimpleQueue[str]()
        self._tell = tell or self.told.append
        self.begin()

    def begin(self) -> None:
        """As a new process."""
        beside = app().beside
        self.clock, self.lanes = Clock(lambda: self.now, lambda: self.ticks or self.now), Lanes()
        usual = app().agents.usual
        errands = Errands(
            beside.unattended,
            beside.contacts,
            self.lanes,
            app().contacted,
            app().leave,
            self.put,
            usual,
            lambda: 32_000,
            lambda each: True,
        )
        self.cron = Cron(
            Jobs(self.folder / "CRON.json"), Runs(self.folder / ".state"), self.clock, self.lanes, errands, self._tell
        )
        self.cron.start()

    def put(self, channel: str, to: str, text: str, **more: str) -> None:
        if self.fails:
            raise OSError(28, "No space left on device")
        if text.startswith("slow"):
            self.begun.put(text)
            assert self.go_on.wait(WAIT)
        self.said.append((self.now, text))

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.said]

    def run(self, end: float) -> None:
        while True:
            seconds = self.clock.tick()
            until(lambda: not [each for each in self.lanes.view() if ":slow" not in each.key])
            if self.now >= end:
                return
            self.now += min(max(seconds, 1e-3), end - self.now)

    def row(self, id: str) -> Any:
        return next(each for each in self.cron.rows() if each.job.id == id)


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Sim]:
    def make(*records: dict[str, Any]) -> Sim:
        write(tmp_path, [*records])
        return Sim(tmp_path)

    return make


def test_an_edit_counts_within_a_minute(made: Callable[..., Sim]) -> None:
    sim = made(every("a", HOUR, 600))
    sim.run(START + 60)
    write(sim.folder, [every("a", HOUR, 300), every("b", HOUR, 310)])
    sim.run(START + 400)
    assert sim.said == [(START + 300, "a."), (START + 310, "b.")]
    write(sim.folder, [every("b", HOUR, 310)])
    sim.run(START + 2 * HOUR)
    assert sim.texts == ["a.", "b.", "b."]


def test_a_bad_job_is_named_by_name_and_field_once_and_the_others_run(made: Callable[..., Sim]) -> None:
    sim = made(every("a", HOUR, 600), job("b", {"kind": "cron", "expr": "61 * * * *"}, name="Bee"))
    sim.run(START + 700)
    assert len(sim.told) == 1 and "b (Bee): schedule.expr: " in sim.told[0] and sim.texts == ["a."]
    write(sim.folder, [job("b", {"kind": "cron", "expr": "61 * * * *"}, name="Bee"), every("a", HOUR, 600)])
    sim.run(START + 800)
    assert len(sim.told) == 1


def test_while_the_file_is_broken_the_jobs_stay_as_they_were(made: Callable[..., Sim]) -> None:
    sim = made(every("a", HOUR, 600))
    sim.run(START + 60)
    (sim.folder / "CRON.json").write_text('{"jobs": [')
    sim.run(START + 700)
    assert sim.texts == ["a."] and len(sim.told) == 1 and "broken" in sim.told[0]
    write(sim.folder, [every("a", HOUR, 800)])
    sim.run(START + 900)
    assert sim.texts == ["a.", "a."]


def test_a_run_that_is_not_done_when_the_next_is_due_has_that_skipped_with_a_line(made: Callable[..., Sim]) -> None:
    sim = made(every("slow", 600, 0))
    sim.run(START + 601)
    assert sim.begun.get(timeout=WAIT)
    assert sim.row("slow").standing.started == pytest.approx(START + 600, abs=1)
    with pytest.raises(CommandError, match="running already"):
        sim.cron.trigger("slow")
    sim.run(START + 1300)
    assert statuses(sim.folder, "slow") == ["skipped"]
    sim.go_on.set()
    until(lambda: not sim.lanes.view())
    sim.run(START + 1900)
    until(lambda: not sim.lanes.view())
    assert statuses(sim.folder, "slow") == ["skipped", "ok", "ok"] and sim.begun.qsize() == 1


@pytest.mark.parametrize("how", ["suspended", "ended"])
@pytest.mark.parametrize(("count", "apart"), [(10, 2.0), (200, 1.5)])
def test_overdue_jobs_start_spread_out_whether_the_machine_slept_or_the_process_had_ended(
    made: Callable[..., Sim], how: str, count: int, apart: float
) -> None:
    sim = made(*(every(f"job-{number}", HOUR, 600 + number / 10) for number in range(count)))
    sim.run(START + 60)
    sim.now += 1800
    if how == "ended":
        sim.begin()
    sim.run(sim.now + 310)
    starts = sorted(each["started_at"] for each in lines(sim.folder))
    assert len(starts) == count and min(map(sub, starts[1:], starts)) > 0.9 * apart and starts[-1] - starts[0] <= 300
    assert {each["status"] for each in lines(sim.folder)} == {"ok"}


def test_what_is_due_at_one_moment_is_all_begun_at_that_moment(made: Callable[..., Sim]) -> None:
    sim = made(*(every(f"job-{number}", HOUR, 600) for number in range(100)))
    sim.run(START + 700)
    assert [each["started_at"] for each in lines(sim.folder)] == [START + 600] * 100


def test_once_it_is_done_a_job_for_one_moment_is_removed_and_one_that_has_failed_stays(
    made: Callable[..., Sim],
) -> None:
    moments = [{**FEW[0], "id": "kept", "delete_after_run": False}, FEW[0]]
    sim = made(*moments)
    sim.run(START + HOUR)
    assert sim.texts == ["once.", "once."] and [each.job.id for each in sim.cron.rows()] == ["kept"]
    assert sim.row("kept").due is None
    sim.fails = True
    write(sim.folder, [{**FEW[0], "id": "again", "schedule": {"kind": "every", "every_seconds": 1e9}}])
    sim.run(sim.now + 60)
    sim.cron.trigger("again")
    sim.run(sim.now + 60)
    assert [each.job.id for each in sim.cron.rows()] == ["again"]
    assert sim.row("again").standing.last_status == "failed"


def test_one_that_was_done_by_hand_while_it_was_off_is_due_again_when_it_is_on(made: Callable[..., Sim]) -> None:
    sim = made({**every("a", HOUR, 600), "enabled": False})
    sim.run(START + 60)
    assert sim.cron.trigger("a").id == "a"
    sim.run(START + 120)
    assert sim.texts == ["a."] and sim.row("a").due is None
    sim.cron.switch("a", True)
    assert sim.row("a").due == START + 600
    sim.run(START + 700)
    assert sim.texts == ["a.", "a."]


def test_a_job_that_was_off_for_a_while_does_not_catch_up(made: Callable[..., Sim]) -> None:
    sim = made(every("a", HOUR, 600))
    sim.run(START + 60)
    sim.cron.switch("a", False)
    sim.run(START + 1200)
    sim.begin()
    sim.cron.switch("a", True)
    sim.run(START + 1300)
    assert sim.texts == [] and statuses(sim.folder, "a") == [] and sim.row("a").due == START + 600 + HOUR


def test_a_job_that_was_disabled_and_is_written_anew_begins_anew(made: Callable[..., Sim]) -> None:
    sim = made(every("a", 60, 0))
    sim.fails = True
    sim.run(START + 400)
    assert sim.row("a").standing.off and len(sim.told) == 1 and statuses(sim.folder, "a") == ["failed"] * 5
    sim.cron.jobs.remove("a")
    sim.run(START + 500)
    sim.fails = False
    write(sim.folder, [every("a", 60, 0)])
    sim.run(START + 630)
    assert sim.texts and sim.row("a").standing.failures == 0


def test_what_is_told_may_be_answered_with_a_command_from_any_thread(tmp_path: Path) -> None:
    write(tmp_path, [every("a", HOUR, 600), job("b", {"kind": "no"})])
    sims: list[Sim] = []
    counted: list[int] = []

    def tell(text: str) -> None:
        if sims:
            thread = threading.Thread(target=lambda: counted.append(len(sims[0].cron.rows())), daemon=True)
            thread.start()
            thread.join(WAIT)
            assert not thread.is_alive()

    sims.append(Sim(tmp_path, tell))
    write(tmp_path, [every("a", HOUR, 600), job("c", {"kind": "no"})])
    sims[0].run(START + 60)
    assert counted == [1]


def test_what_is_due_while_the_program_ends_is_left_to_the_next(made: Callable[..., Sim]) -> None:
    sim = made(every("a", HOUR, 600))
    sim.run(START + 60)
    sim.lanes.stop(WAIT)
    sim.run(START + 660)
    assert lines(sim.folder) == []
    sim.begin()
    sim.run(START + 700)
    assert statuses(sim.folder, "a") == ["ok"]


def test_what_ends_after_the_program_has_let_go_writes_its_line_and_not_the_state_of_others(
    made: Callable[..., Sim],
) -> None:
    sim = made(every("slow", HOUR, 600), every("a", HOUR, 700))
    sim.run(START + 650)
    assert sim.begun.get(timeout=WAIT)
    old = sim.lanes
    assert not old.stop(0)
    sim.begin()  # another process has taken over
    sim.run(START + 710)
    state = (sim.folder / ".state" / "cron-state.json").read_text()
    sim.go_on.set()
    until(lambda: not old.view())
    assert (sim.folder / ".state" / "cron-state.json").read_text() == state
    assert statuses(sim.folder, "slow") == ["interrupted", "ok"] and sim.texts == ["a.", "slow."]


def test_a_clock_that_was_set_back_far_between_two_lives_has_due_times_reckoned_anew(made: Callable[..., Sim]) -> None:
    hourly = job("a", {"kind": "every", "every_seconds": HOUR})
    sim = made(hourly, {**FEW[0], "schedule": {"kind": "at", "at": "2030-01-01"}})
    sim.run(START + 60)
    os.utime(sim.folder / ".state" / "cron-state.json", (START, START))
    sim.now -= 30 * DAY
    sim.begin()
    sim.run(sim.now + HOUR)
    assert sim.texts == ["a."] and sim.row("once").due is not None


def test_a_clock_set_back_by_hours_while_it_runs_makes_nobody_wait_for_the_old_time(made: Callable[..., Sim]) -> None:
    hourly, minutely = (job(id, {"kind": "every", "every_seconds": each}) for id, each in (("a", HOUR), ("b", 60)))
    sim = made(hourly, minutely)
    sim.clock.tick()
    sim.now, sim.ticks = START - 10 * HOUR, START
    sim.clock.tick()
    assert (sim.row("a").due, sim.row("b").due) == (START - 9 * HOUR, START + MINUTE - 10 * HOUR)


def test_a_moment_at_the_end_of_the_calendar_can_be_kept(made: Callable[..., Sim]) -> None:
    sim = made({**FEW[0], "schedule": {"kind": "at", "at": "9999-12-31T23:59:59-12:00"}})
    sim.run(START + 60)
    sim.begin()
    sim.run(START + 120)
    assert sim.told == [] and sim.row("once").due is not None and lines(sim.folder) == []


# -- what is written between two looks


def save(sim: Sim, at: float, *records: dict[str, Any]) -> None:
    """As an editor does at that time."""
    write(sim.folder, [*records])
    os.utime(sim.folder / "CRON.json", (at, at))


@pytest.mark.parametrize("kind", ["cron", "every"])
@pytest.mark.parametrize("before", ["none", "another schedule"])
def test_a_time_that_comes_between_the_save_and_the_look_is_not_lost(
    made: Callable[..., Sim], kind: str, before: str
) -> None:
    new = job("a", {"kind": "cron", "expr": "10 * * * *"}) if kind == "cron" else every("a", HOUR, 600)
    sim = made(*([] if before == "none" else [every("a", 7 * HOUR, 6 * HOUR)]))
    sim.run(START + 570)
    sim.now = START + 590
    save(sim, sim.now, new)
    sim.now = START + 620
    sim.run(START + 700)
    assert sim.texts == ["a."] and lines(sim.folder)[0]["due_at"] == START + 600


@pytest.mark.parametrize("saved", [START + 610, START + 5, START + 10 * HOUR])
def test_a_time_that_was_over_at_the_save_or_the_look_before_is_none_of_a_new_job(
    made: Callable[..., Sim], saved: float
) -> None:
    sim = made()
    sim.run(START + 605)
    save(sim, saved, every("a", HOUR, 600))
    sim.now = START + 630
    sim.run(START + 700)
    assert sim.said == [] and sim.row("a").due == START + 600 + HOUR


@pytest.mark.parametrize(("age", "runs"), [(30, 1), (50, 1), (200, 0)])
def test_what_the_first_look_finds_counts_from_its_save_only_if_that_was_just_now(
    tmp_path: Path, made: Callable[..., Sim], age: float, runs: int
) -> None:
    sim = made()
    sim.now = START + 620
    save(sim, sim.now - age, every("a", HOUR, 600))
    sim.begin()
    sim.run(START + 700)
    assert sim.texts == ["a."] * runs and sim.row("a").due == START + 600 + HOUR


def test_a_job_that_has_run_since_the_save_is_due_at_its_next_time_and_not_never(made: Callable[..., Sim]) -> None:
    sim = made(every("a", 60, 10))
    sim.run(START + 552)
    sim.now = START + 560
    save(sim, sim.now, every("a", HOUR, 565))
    sim.now = START + 570
    sim.run(START + 575)
    save(sim, START + 500, every("a", 2 * HOUR, 565))
    sim.run(START + 650)
    assert sim.row("a").due == START + 565 + 2 * HOUR


def test_what_was_off_after_failures_and_is_allowed_again_does_not_catch_up(made: Callable[..., Sim]) -> None:
    sim = made(every("a", 100, 0))
    sim.fails = True
    sim.run(START + 560)
    assert sim.row("a").standing.off
    sim.run(START + 590)
    sim.now, sim.fails = START + 610, False
    sim.cron.switch("a", True)
    assert sim.row("a").due == START + 700 and sim.row("a").standing.failures == 0


# -- what never comes


def test_an_expression_whose_years_are_over_is_named_with_its_field_once(made: Callable[..., Sim]) -> None:
    over = job("b", {"kind": "cron", "expr": "0 0 9 1 1 * 2020"}, name="Bee")
    sim = made(every("a", HOUR, 600), over)
    sim.run(START + 60)
    (told,) = sim.told
    assert "job b (Bee): schedule.expr: 0 0 9 1 1 * 2020" in told and "never comes again" in told
    write(sim.folder, [every("a", HOUR, 700), over])
    sim.run(START + 200)
    sim.begin()
    sim.run(START + 800)
    assert len(sim.told) == 1 and sim.texts == ["a."]


def test_one_that_has_run_until_its_years_were_over_is_left_alone(made: Callable[..., Sim]) -> None:
    sim = made(every("b", HOUR, 600))
    sim.run(START + 700)
    write(sim.folder, [job("b", {"kind": "cron", "expr": "0 0 9 1 1 * 2020"})])
    sim.run(START + 800)
    assert sim.texts == ["b."] and sim.told == [] and sim.row("b").due is None


def test_an_expression_whose_years_are_over_is_of_no_account_while_it_is_off(made: Callable[..., Sim]) -> None:
    sim = made({**job("b", {"kind": "cron", "expr": "0 0 9 1 1 * 2020"}), "enabled": False})
    sim.run(START + 60)
    assert sim.told == []


@pytest.mark.parametrize("words", ["/cron off hung", "/cron stop", "/cron rm hung"])
def test_who_takes_a_job_away_ends_the_run_that_is_on(tmp_path: Path, words: str) -> None:
    with Loopback([text_stream("Hi"), replace(text_stream("never"), end="hang")]) as server:
        app = App(Settings("m", server.url, "", 32_000, workspace_dir=tmp_path), environ={"PATH": os.environ["PATH"]})
        app.start()
        schedule = {"kind": "every", "every_seconds": 3600}
        app.beside.cron.jobs.add(
            {"id": "hung", "schedule": schedule, "payload": {"kind": "agent_turn", "message": "Do it."}}
        )
        app.dispatch(Inbound("hello", "cli", "cli-user"))
        server.wait_for_requests(1)
        app.beside.cron.trigger("hung")
        server.wait_for_requests(2)
        app.dispatch(Inbound(words, "cli", "cli-user"))
        until(lambda: [each["status"] for each in app.beside.cron.runs.last(9)] == ["interrupted"])
        app.stop()
