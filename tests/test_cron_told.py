"""What people hear of jobs: that one has failed, when it comes next, what is wrong with it; and what agents say by
themselves beside a process that has no screen, which is part of the conversation where it is shown."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from agentkit import App
from agentkit.background import Background
from agentkit.events import Done, Inbound
from agentkit.letters import Letters
from agentkit.outbox import Outbox
from agentkit.runs import Runs, Standing
from agentkit.session import Opening
from agentkit.settings import Settings
from agentkit.wanted import Wanted

from .beating import Person, until
from .loopback import Loopback, Request, call_stream, json_error, text_stream
from .program import WAIT, Terminal, agentkit, environment, settled
from .test_cron import Sim, World
from .test_cron import made as made
from .test_cron import world as world
from .test_cron_crash import HOUR, START, every, job, lines, statuses, write
from .test_serve import serving

MINE = "agent:assistant:direct:cli-user"


def past(minutes: float) -> dict[str, Any]:
    """A schedule for one moment, so long ago."""
    at = datetime.now(timezone.utc) - timedelta(minutes=minutes)
    return {"kind": "at", "at": at.isoformat(timespec="seconds")}


# -- failures


def test_a_job_for_one_moment_that_fails_says_so_where_its_words_would_have_gone(tmp_path: Path) -> None:
    with World(tmp_path, json_error(400, "the kitchen is closed")) as world:
        world.answer("/cron add at 2099-01-01 09:00 look")
        world.answer("/cron run look")
        letter = world.person.letters.get(timeout=WAIT)
        assert letter.text.startswith("The job look has failed: ") and "the kitchen is closed" in letter.text
        assert letter.text.endswith(" /cron run look tries again.")
        assert (letter.channel, letter.to) == ("cli", "cli-user")
        assert world.done("look")["status"] == "failed"
        assert re.search(r"last: 20.* \(failed: .*the kitchen is closed.*\); next: 2099", world.answer("/cron"))


def test_of_a_row_of_failures_the_first_is_told_and_that_the_job_is_off_and_nothing_between(
    made: Callable[..., Sim],
) -> None:
    sim = made({**ask("b", 60), "agent_id": "gone"})
    sim.run(START + 400)
    assert statuses(sim.folder, "b") == ["failed"] * 5
    first, last = sim.texts
    assert first.startswith("The job b has failed: There is no agent gone") and "runs again at its next time" in first
    assert last.startswith("The job b is off after 5 failures in a row") and "/cron on b" in last


def ask(id: str, seconds: float) -> dict[str, Any]:
    record = job(id, {"kind": "every", "every_seconds": seconds, "anchor": "2026-01-01T00:00:00Z"})
    return {**record, "payload": {"kind": "agent_turn", "message": "Look."}}


def test_that_it_cannot_be_kept_for_delivery_is_no_reason_to_try_to_tell_for_ever(made: Callable[..., Sim]) -> None:
    sim = made(every("a", 60, 0))
    sim.fails = True
    sim.run(START + 200)
    assert sim.texts == [] and statuses(sim.folder, "a") == ["failed"] * 3


def test_no_key_is_in_what_is_told(tmp_path: Path) -> None:
    key = "sk-canary-0123456789abcdef"
    with World(tmp_path, json_error(400, f"the key {key} is for another kitchen"), llm_more_profiles=()) as world:
        world._settings["discord_bot_token"] = key
        person = Person()
        world.app.stop()
        app = world.begin(person)
        world.person = person  # type: ignore[assignment]
        app.beside.cron.jobs.add({**ask("look", 86_400), "channel": "cli", "to": "cli-user"})
        app.beside.cron.trigger("look")
        assert key not in person.letters.get(timeout=WAIT).text
        until(lambda: world.lines("look"))
        assert key not in json.dumps(world.lines("look"))


@pytest.mark.parametrize("kind", ["at", "every"])
def test_a_run_that_the_end_of_the_program_broke_off_is_told_by_the_next_where_it_has_no_other_chance(
    made: Callable[..., Sim], kind: str
) -> None:
    schedule = {"kind": "at", "at": "2026-11-18T12:00:00Z"} if kind == "at" else {"kind": "every", "every_seconds": 1e9}
    sim = made(job("a", schedule))
    written = sim.row("a").job.written
    Runs(sim.folder / ".state").save({"a": Standing(started=START - 60, written=written)})
    sim.begin()
    sim.run(START + 10)
    told = [text for text in sim.texts if "interrupted" in text]
    assert len(told) == (kind == "at") and all("/cron run a tries again" in text for text in told)


def test_a_single_moment_that_finds_the_tokens_of_the_day_used_up_is_told(tmp_path: Path) -> None:
    with World(tmp_path, "fine", background_tokens_per_day=1) as world:
        world.answer("/cron add every 1d spend")
        world.answer("/cron run spend")
        world.done("spend")
        world.person.letters.get(timeout=WAIT)
        world.answer("/cron add in 1s look")
        letter = world.person.letters.get(timeout=WAIT)
        assert letter.text.startswith("The job look was not done: today's 1 tokens")
        assert "(skipped: " in world.answer("/cron") or "skipped: today's" in world.answer("/cron")


# -- what /cron tells


def test_an_agent_that_is_not_there_is_named_as_long_as_that_is_so(world: World) -> None:
    world.write("CRON.json", json.dumps({"jobs": [{**ask("a", 86_400), "agent_id": "ops"}]}))
    assert "CRON.json, job a: agent_id: there is no agent ops: make .agents/ops/AGENT.md" in world.answer("/cron")
    world.write(".agents/ops/AGENT.md", "You are terse.")
    until(lambda: "there is no agent" not in world.answer("/cron"))


def test_a_moment_that_was_past_when_it_was_written_is_missed_with_the_reason_and_not_run(world: World) -> None:
    world.write("CRON.json", json.dumps({"jobs": [job("a", past(33)), job("b", past(60 * 24 * 40))]}))
    shown = world.answer("/cron")
    assert shown.count("last: missed: it was past already when it was first seen; next: never again") == 2
    assert [each["status"] for id in "ab" for each in world.lines(id)] == ["missed", "missed"]
    assert world.person.letters.empty()


def test_a_moment_that_was_written_before_it_came_runs_though_nobody_was_there_then(made: Callable[..., Sim]) -> None:
    sim = made()
    at = datetime.fromtimestamp(START + 600, timezone.utc).isoformat()
    write(sim.folder, [job("a", {"kind": "at", "at": at})])
    os.utime(sim.folder / "CRON.json", (START + 300, START + 300))
    sim.now = START + 2 * HOUR
    sim.begin()
    sim.run(sim.now + 60)
    assert sim.texts == ["a."]


def test_asked_where_nobody_does_the_work_the_next_time_is_told_and_what_to_do(tmp_path: Path) -> None:
    env = environment(settled(tmp_path))
    jobs = [job("a", {"kind": "every", "every_seconds": 3600}), job("b", {"kind": "at", "at": "2099-01-01T00:00Z"})]
    (tmp_path / "workspace" / "CRON.json").write_text(json.dumps({"jobs": [*jobs, job("c", past(5))]}))
    shown = agentkit(tmp_path, "run", "/cron", env=env).stdout
    assert shown.count("no process is doing this now: open a chat, or agentkit serve") == 1
    assert re.search(r"  a  .*\n.*next: 20\d\d-", shown) and re.search(r"  b  .*\n.*next: 2099-01-01", shown)
    assert re.search(r"  c  .*\n.*last: none; next: never: its time is past", shown)


def test_what_is_added_counts_from_now_and_is_told_with_its_first_time(world: World) -> None:
    before = time.time()
    said = world.answer("/cron add every 2h look")
    (due,) = [row.due for row in world.app.beside.cron.rows()]
    assert due is not None and before + 7198 < due < time.time() + 7200
    shown = datetime.fromtimestamp(due).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    assert said.endswith(f"next: {shown}") and f"next: {shown}" in world.answer("/cron")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("at 2099-12-01 09:00 wake me", "next: 2099-12-01 09:00:00"),
        ("in 5m wake me", "next: 20"),
        ("in 2 hours wake me", "next: 20"),
        ("every day wake me", "every 1d  wake me"),
        ("every week wake me", "every 7d  wake me"),
        ("tomorrow 9:00 wake me", "09:00  wake me"),
        ("tomorrow at 9:00 wake me", "09:00  wake me"),
        ("at tomorrow 9:00 wake me", "09:00  wake me"),
    ],
)
def test_people_say_when_in_more_than_one_way(world: World, line: str, words: str) -> None:
    said = world.answer(f"/cron add {line}")
    assert said.startswith("Added: wake-me") and words in said
    assert world.records()[0]["payload"]["message"] == "wake me"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 9 * * look", "0 9 * * has 4 of the five fields"),
        ("0 9 * *", "0 9 * * has 4 of the five fields"),
        ("look at it", "That is no schedule: begin with when it is due. For example: every 30m"),
        ("in a while look", "write it as in 5m"),
        ("every day at 9:00 look", "months and weekdays are for cron"),
        ("yesterday 9:00 look", "begin with when it is due"),
    ],
)
def test_what_is_no_schedule_is_refused_in_words_that_come_once(world: World, line: str, words: str) -> None:
    said = world.refusal(f"/cron add {line}")
    assert words in said and said.count("For example") <= 1 and said.count("every 30m check") <= 1
    assert "schedule: schedule" not in said


def test_a_job_that_is_listed_with_a_problem_is_said_to_have_it_when_it_is_to_run(world: World) -> None:
    bad = job("bad-zone", {"kind": "cron", "expr": "0 9 * * *", "timezone": "Mars/Base"})
    lost = {**job("lost", {"kind": "every", "every_seconds": 60}), "channel": "telegram", "to": "7"}
    world.write("CRON.json", json.dumps({"jobs": [bad, lost]}))
    assert "schedule.timezone: Mars/Base" in world.refusal("/cron run bad-zone")
    assert "channel: there is no telegram here: write cli, discord or websocket" in world.refusal("/cron run lost")
    assert "There is no job other" in world.refusal("/cron run other")


def test_a_field_that_says_nothing_is_named_and_the_job_runs(made: Callable[..., Sim]) -> None:
    record = every("a", HOUR, 600)
    record = {**record, "delete_after_runs": True, "schedule": {**record["schedule"], "ancor": "now"}}
    sim = made({**record, "payload": {**record["payload"], "zzz": 1}})
    sim.run(START + 700)
    assert sim.texts == ["a."]
    told = "\n".join(sim.told)
    assert "delete_after_runs: there is no such field (is it delete_after_run?). It runs without that." in told
    assert "schedule.ancor: there is no such field (is it anchor?)" in told
    assert "payload.zzz: there is no such field (only kind, message or text)" in told


def test_an_agent_that_only_lists_the_jobs_asks_nobody_and_sees_how_they_stand(tmp_path: Path) -> None:
    def rule(request: Request, index: int) -> Any:
        words = request.said[-1]
        calls = {"list": {"action": "list"}, "add": {"action": "add", "job": "every 1h look"}}
        return call_stream(("cron", calls[words])) if words in calls else text_stream(f"It said: {words}")

    with World(tmp_path) as world:
        world.model._script = rule
        world.answer("/cron add every 2h check the oven")
        world.answer("/cron off check-the-oven")
        assert "last: none; next: off" in world.answer("list") and world.person.asked == []
        assert "next: 20" in world.answer("add") and len(world.person.asked) == 1


# -- beside a process that has no screen


class Beside:
    """A folder with a process that has no screen, and chats beside it. says: what the model answers to a job."""

    def __init__(self, folder: Path) -> None:
        self.workspace = folder / "w"
        self.model = Loopback(self._answer)
        self.apps: list[App] = []
        agent = self.workspace / ".agents" / "assistant" / "AGENT.md"
        agent.parent.mkdir(parents=True)
        agent.write_text("You are terse.")

    def _answer(self, request: Request, index: int) -> Any:
        return text_stream("You said: ", request.said[-1])

    def __enter__(self) -> Beside:
        self.model.__enter__()
        self.server = self.begin()
        return self

    def __exit__(self, *error: object) -> None:
        for each in self.apps:
            each.stop()
        self.model.__exit__(None, None, None)

    def begin(self, *people: Person, opening: Opening = Opening()) -> App:
        settings = Settings("m", self.model.url, "", 32_000, workspace_dir=self.workspace)
        app = App(settings, [*people], opening=opening, environ={"PATH": os.environ["PATH"]})
        self.apps.append(app)
        app.start()
        for person in people:
            app.open(Inbound("", person.name, person.peer))
        return app

    def chat(self, resume: bool = False) -> tuple[App, Person]:
        person = Person()
        return self.begin(person, opening=Opening(resume=resume)), person

    def run_job(self, text: str) -> None:
        """Have the process without a screen do a job that says this."""
        cron = self.server.beside.cron
        if not cron.jobs.look().jobs:
            schedule = {"kind": "every", "every_seconds": 1e9}
            payload = {"kind": "system_event", "text": text}
            cron.jobs.add({"id": "tick", "name": "quick tick", "schedule": schedule, "payload": payload})
        runs = len(cron.runs.last(99))
        cron.trigger("tick")
        until(lambda: len(cron.runs.last(99)) > runs)

    def said(self) -> list[dict[str, Any]]:
        """What the conversations hold of what was said by itself."""
        folder = self.workspace / "sessions"
        found = [json.loads(line) for path in folder.glob("*/*.jsonl") for line in path.read_text().splitlines()]
        return [each for each in found if each.get("by") and each["role"] == "assistant"]

    def letters(self) -> list[Path]:
        return [*(self.workspace / ".state" / "outbox").glob("*.json")]


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Beside]:
    with Beside(tmp_path) as made:
        yield made


@pytest.mark.parametrize("spoken", [True, False])
def test_what_a_job_says_is_part_of_the_conversation_of_the_chat_that_shows_it(beside: Beside, spoken: bool) -> None:
    app, person = beside.chat()
    if spoken:
        person.say("hello")
    beside.run_job("The oven is hot.")
    assert app.beside._pigeonhole is not None
    app.beside._pigeonhole.look()
    letter = person.letters.get(timeout=WAIT)
    assert (letter.text, letter.by, letter.session) == ("The oven is hot.", "cron quick tick", MINE)
    person.say("which?")
    assert beside.model.requests[-1].said[-3:] == ["[cron quick tick]", "The oven is hot.", "which?"]
    until(lambda: not beside.letters())
    assert len(beside.said()) == 1 and "assistant (cron quick tick): The oven is hot." in person.say("/history").text


def test_what_a_chat_has_shown_while_it_was_busy_is_shown_once_and_noted_when_it_is_free(beside: Beside) -> None:
    app, person = beside.chat()
    hole = app.beside._pigeonhole
    assert hole is not None
    lane, begun, go_on = app.lanes.get(MINE), Person().letters, Person().letters
    lane.put(lambda cancel: (begun.put(None), go_on.get(timeout=WAIT)))  # type: ignore[arg-type,func-returns-value]
    begun.get(timeout=WAIT)
    beside.run_job("one")
    hole.look()
    assert person.letters.get(timeout=WAIT).text == "one" and beside.said() == []
    other, neighbour = beside.chat()
    assert other.beside._pigeonhole is not None
    other.beside._pigeonhole.look()
    hole.look()
    assert person.letters.empty() and neighbour.letters.empty() and len(beside.letters()) == 1
    go_on.put(None)  # type: ignore[arg-type]
    until(lambda: not beside.letters())
    assert [each["content"] for each in beside.said()] == ["one"]


@pytest.mark.parametrize("resume", [True, False])
def test_a_letter_that_a_crash_has_left_behind_is_not_noted_twice_nor_shown_below_itself(
    beside: Beside, resume: bool
) -> None:
    app, person = beside.chat()
    person.say("hello")
    beside.run_job("one")
    [path] = beside.letters()
    left = path.read_bytes()
    assert app.beside._pigeonhole is not None
    app.beside._pigeonhole.look()
    until(lambda: not beside.letters())
    app.stop()
    path.write_bytes(left)  # as if the process had ended before it was removed
    again, neighbour = beside.chat(resume)
    assert again.beside._pigeonhole is not None
    again.beside._pigeonhole.look()
    until(lambda: not beside.letters())
    assert len(beside.said()) == 1
    assert neighbour.letters.empty() == resume  # resumed it stands there already


def test_a_letter_that_waits_is_shown_once_to_who_goes_on_with_a_conversation(tmp_path: Path) -> None:
    env = environment(settled(tmp_path))
    with Loopback(lambda request, index: text_stream("ok")) as model:
        env = environment(tmp_path, model.url)
        agentkit(tmp_path, env=env, stdin="hello\n")
        outbox = Outbox(tmp_path / "workspace" / ".state" / "outbox", lambda letter: None, lambda channel: None)
        outbox.put("cli", "cli-user", "the oven is hot", by="heartbeat", session=MINE)
        with Terminal(tmp_path, "--plain", "--resume", env=env) as chat:
            chat.expect("hello")
            chat.expect("heartbeat: the oven is hot")
            chat.send("/history\n")
            chat.expect(r"assistant \(heartbeat\): the oven is hot")
            chat.send("/exit\n")
            assert chat.wait() == 0
        with Terminal(tmp_path, "--plain", "--resume", env=env) as chat:
            chat.expect("heartbeat: the oven is hot")


def test_old_letters_without_an_occasion_are_letters_still(tmp_path: Path) -> None:
    folder = tmp_path / "outbox"
    outbox = Outbox(folder, lambda letter: None, lambda channel: None)
    outbox.put("cli", "cli-user", "hello", by="heartbeat", session=MINE)
    [path] = folder.glob("*.json")
    record = json.loads(path.read_text())
    assert (record.pop("by"), record.pop("session")) == ("heartbeat", MINE)
    path.write_text(json.dumps(record))
    letters = Letters(folder)
    [envelope], said = letters.load(time.time())
    assert said == [] and letters.open(envelope)[-2:] == ("", "")


def test_a_run_that_is_asked_for_beside_a_process_without_a_screen_begins_there_once(beside: Beside) -> None:
    _, person = beside.chat()
    cron = beside.server.beside.cron
    beside.run_job("The oven is hot.")
    said = person.say("/cron run tick")
    assert isinstance(said, Done) and re.match(rf"tick is begun by process {os.getpid()} within a minute", said.text)
    assert "There is no job tock" in person.say("/cron run tock").message
    [name] = os.listdir(beside.workspace / ".state" / "cron-wanted")
    wish = beside.workspace / ".state" / "cron-wanted" / name
    left = wish.read_bytes()
    cron.refresh()
    until(lambda: len(cron.runs.last(9)) == 2)
    assert not wish.exists()
    wish.write_bytes(left)  # as if the process had ended before it was removed
    cron.refresh()
    assert not wish.exists() and len(cron.runs.last(9)) == 2
    assert "which has no screen" in person.say("/cron stop").message
    assert "which has no screen" in person.say("/delivery stop").message


def test_what_was_wanted_of_a_process_that_has_ended_is_begun_by_the_next(made: Callable[..., Sim]) -> None:
    sim = made(every("a", HOUR, 600))
    sim.run(START + 10)
    Wanted(sim.folder / ".state").add("a")
    Wanted(sim.folder / ".state").add("nothing")
    for path in (sim.folder / ".state" / "cron-wanted").iterdir():
        os.utime(path, (START + 5, START + 5))
    sim.begin()
    sim.run(START + 60)
    assert sim.texts == ["a."] and not [*(sim.folder / ".state" / "cron-wanted").iterdir()]
    assert [each["due_at"] for each in lines(sim.folder)] == [None]


def test_the_gateway_of_the_other_process_is_named_and_what_a_server_beside_a_chat_can_do(tmp_path: Path) -> None:
    env = environment(settled(tmp_path))
    with serving(tmp_path, env) as served:
        said = agentkit(tmp_path, env=env, stdin="/gateway\n")
        assert "it is agentkit serve, and its gateway is open at ws://127.0.0.1:" in said.stderr
        assert served.port in said.stderr
    with Terminal(tmp_path, "--plain", env=env) as chat:
        chat.expect("> $")
        refused = agentkit(tmp_path, "serve", "--port", "0", env=env)
        assert refused.returncode == 2
        assert "say /gateway, and /discord if you want that, there; or leave that chat" in refused.stderr


def test_a_gateway_that_was_closed_is_named_no_more(tmp_path: Path) -> None:
    state = tmp_path / ".state"
    mine, other = (Background(state, "serve", lambda: None, lambda timeout: None, lambda text: None) for _ in "ab")
    mine.begin()
    mine.note("ws://127.0.0.1:8765")
    assert other.gateway_elsewhere() == "ws://127.0.0.1:8765" and other.elsewhere() == str(os.getpid())
    mine.note("")
    assert other.gateway_elsewhere() == "" and "which has no screen, so end that one first" in other.cure()
    mine.end(1.0)


def test_a_letter_that_waits_for_somebody_says_so_in_another_process_too(beside: Beside) -> None:
    beside.run_job("one")
    app, person = beside.chat()
    app.beside.end(1.0)
    said = person.say("/delivery").text
    assert "next try when somebody is there" in said or "pending: 0" in said
    beside.server.outbox.put("discord", "7", "two")
    assert "discord:7  pending: 1, next try when somebody is there" in person.say("/delivery").text


def test_what_is_to_be_tried_again_while_delivery_is_stopped_says_that_it_is(world: World) -> None:
    world.answer("/delivery stop")
    world.app.outbox.put("discord", "7", "hello")
    assert "discord:7  pending: 1, next try after /delivery start" in world.answer("/delivery")
    world.app.beside.outbox._destinations.wake("discord")
    failed = world.workspace / ".state" / "outbox" / "failed"
    failed.mkdir()
    [path] = (world.workspace / ".state" / "outbox").glob("*.json")
    path.rename(failed / path.name)
    assert "delivery is stopped: /delivery start" in world.answer("/delivery retry all")
