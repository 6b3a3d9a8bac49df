"""What a screen can tell of what goes on around it: surroundings, how sure the tokens are, and who decided about a
call; with all that App builds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import warnings
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from agentkit import App, Store, tool
from agentkit.events import Answer, Ask, Done, Event, Inbound, Interrupted
from agentkit.names import encoded
from agentkit.session import Opening, View
from agentkit.settings import Settings
from agentkit.store import decided
from agentkit.surroundings import Surroundings, shown

from .beating import HOUR, HOURLY, MINE, Person, until
from .gateway import Client
from .gateway import Program as Gateway
from .loopback import Loopback, Request, Response, Script, call_stream, text_stream
from .program import ROOT, WAIT

USAGE = {"prompt_tokens": 700, "completion_tokens": 2, "total_tokens": 702}
ME = Inbound("", "cli", "cli-user")


def echo(request: Request, index: int) -> Response:
    return text_stream("You said: ", request.said[-1], usage=USAGE)


def calls(name: str = "bash", arguments: Any = None) -> Script:
    """A model that calls a tool at each message, and says something when it has the result."""

    def answer(request: Request, index: int) -> Response:
        if request.json["messages"][-1]["role"] == "user":
            return call_stream((name, {"command": "true"} if arguments is None else arguments))
        return text_stream("Well.")

    return answer


class Asked(Person):
    """Somebody who is asked, and answers at once."""

    def __init__(self, answer: Answer = Answer("allow"), can_ask: bool = True) -> None:
        super().__init__()
        self.can_ask, self._decision = can_ask, answer
        self.asked: list[str] = []

    def start(self, dispatch: Any, answer: Any) -> None:
        super().start(dispatch, answer)
        self._reply = answer

    def show(self, event: Event) -> None:
        super().show(event)
        if isinstance(event, Ask):
            self.asked.append(event.tool)
            self._reply(self.peer, event.id, self._decision)


class World:
    """A running program in `folder`, and somebody who talks with it. beats: whether the agent has heartbeats."""

    def __init__(
        self, folder: Path, script: Script = echo, person: Person | None = None, beats: bool = True, **more: Any
    ) -> None:
        self.workspace, self.person = folder / "w", person or Person()
        self.model = Loopback(script)
        self._opening, self._tools = more.pop("opening", Opening()), more.pop("tools", ())
        self._settings = more
        agent = self.workspace / ".agents" / "assistant"
        agent.mkdir(parents=True, exist_ok=True)
        (agent / "AGENT.md").write_text("You are terse.")
        if beats:
            (agent / "HEARTBEAT.md").write_text(HOURLY)
        self._apps: list[App] = []

    def __enter__(self) -> World:
        self.model.__enter__()
        self.app = self.begin(self.person)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for each in self._apps:
            each.stop()
        self.model.__exit__(kind, error, at)

    def begin(self, person: Person) -> App:
        """One more process of the workspace, as far as it can tell."""
        settings = Settings("m", self.model.url, "", 32_000, workspace_dir=self.workspace, **self._settings)
        environ = {"PATH": os.environ["PATH"], "HOME": str(Path.cwd().parent)}
        app = App(settings, [person], self._tools, opening=self._opening, environ=environ)
        self._apps.append(app)
        app.start()
        app.open(Inbound("", person.name, person.peer))
        return app

    @property
    def around(self) -> Surroundings:
        return self.app.surroundings(ME)

    @property
    def view(self) -> View:
        return self.app.view(ME)

    def say(self, text: str) -> str:
        ending = self.person.say(text)
        assert isinstance(ending, Done), ending
        return ending.text

    def jobs(self, count: int, **more: Any) -> None:
        """Have so many jobs."""
        payload = {"kind": "system_event", "text": "Tea."}
        each = {"schedule": {"kind": "every", "every_seconds": 7200}, "payload": payload, **more}
        listed = [{"id": f"job-{number}", **each} for number in range(count)]
        (self.workspace / "CRON.json").write_text(json.dumps({"jobs": listed}))
        self.app.beside.cron.refresh()

    def results(self) -> list[dict[str, Any]]:
        """The results of tools, as the files of conversations have them."""
        paths = sorted((self.workspace / "sessions").glob("*/*.jsonl"))
        records = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
        return [each for each in records if each.get("role") == "tool"]


# -- surroundings


def test_where_nothing_goes_on_that_is_what_is_told_and_nothing_is_loaded(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from agentkit import App
from agentkit.events import Inbound
from agentkit.settings import Settings
app = App(Settings("m", "http://127.0.0.1:9/v1", "", 32_000, workspace_dir=Path({str(tmp_path)!r})), environ={{}})
before = set(sys.modules)
print(tuple(app.surroundings(Inbound("", "cli", "cli-user")))[1:])
print(sorted(each for each in set(sys.modules) - before if each.startswith("agentkit")))
print(any(each in sys.modules for each in ("agentkit.beside", "agentkit.channels.discord", "requests")))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=WAIT, check=True
    )
    assert done.stdout.splitlines() == ["('ask', (), None, 0, None, '')", "[]", "False"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("folder", "home", "expected"),
    [
        ("/home/ann/src/shop", "/home/ann", "~/src/shop"),
        ("/home/ann/src/shop", "/home/ann/", "~/src/shop"),
        ("/home/ann", "/home/ann", "~"),
        ("/home/anna/src", "/home/ann", "/home/anna/src"),
        ("/src", "/", "/src"),
        ("/", "/", "/"),
        ("/src", "//", "/src"),
        ("/src", "", "/src"),
        ("/src/shop", "src", "/src/shop"),
        ("/src/shop", ".", "/src/shop"),
        ("/home/Änn\udcff/x", "/home/Änn\udcff", "~/x"),
        ("/home/ann/x", "/home/ann\ud800", "/home/ann/x"),
        ("/home/ann/x", "/home/ann\0", "/home/ann/x"),
    ],
)
def test_the_home_is_a_tilde(folder: str, home: str, expected: str) -> None:
    assert shown(Path(folder), home) == expected


def test_a_home_that_is_a_link_is_a_tilde_too(tmp_path: Path) -> None:
    real = tmp_path.resolve() / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    assert shown(real / "src", str(tmp_path / "link")) == "~/src"


def test_the_folder_and_what_runs_unasked_are_told(tmp_path: Path) -> None:
    with World(tmp_path, tool_approval="auto") as world:
        assert (world.around.folder, world.around.approval) == (f"~/{Path.cwd().name}", "auto")


def test_what_a_person_has_always_allowed_is_told_to_that_person_until_it_is_taken_back(tmp_path: Path) -> None:
    def answer(request: Request, index: int) -> Response:
        if request.json["messages"][-1]["role"] == "tool":
            return text_stream("Well.")
        name = request.said[-1]
        arguments = {"command": "true"} if name == "bash" else {"path": str(tmp_path / "w" / "x"), "content": "x"}
        return call_stream((name, arguments))

    with World(tmp_path, answer, Asked(Answer("always"))) as world:
        assert not world.around.allowed
        world.say("write_file")
        world.say("bash")
        assert world.around.allowed == ("bash", "write_file")
        assert world.app.surroundings(Inbound("", "cli", "somebody")).allowed == ()
        assert world.app.surroundings(Inbound("", "websocket", "cli-user")).allowed == ()
        world.say("/approvals revoke bash")
        assert list(world.around.allowed) == ["write_file"]


def test_the_next_heartbeat_is_told_while_this_process_does_them(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        assert world.around.next_beat is None  # nobody has spoken
        world.say("hello")
        world.say("/heartbeat")
        before = time.time()
        next_beat = world.around.next_beat
        assert next_beat is not None and before + HOUR - 60 < next_beat <= before + HOUR + 1
        other = world.begin(Person())
        assert other.surroundings(ME).next_beat is None
        world.say("/heartbeat stop")
        assert world.around.next_beat is None
        world.say("/heartbeat start")
        assert world.around.next_beat == pytest.approx(next_beat, abs=60)
        world.app.stop()
        assert world.around.next_beat is None
        until(lambda: other.surroundings(ME).next_beat is not None)  # it has taken over


def test_of_the_sessions_of_an_agent_the_first_heartbeat_counts_and_of_other_agents_none(tmp_path: Path) -> None:
    with World(tmp_path, beats=False) as world:
        for agent, interval in (("assistant", "2h"), ("cook", "1h")):
            folder = world.workspace / ".agents" / agent
            folder.mkdir(exist_ok=True)
            (folder / "AGENT.md").write_text("You are terse.")
            (folder / "HEARTBEAT.md").write_text(HOURLY.replace("1h", interval))
        now = time.time()
        keys = [MINE, "agent:assistant:direct:ann", "agent:cook:direct:cli-user"]
        for key, spoke in zip(keys, (now, now - HOUR, now), strict=True):
            folder = world.workspace / "sessions" / encoded(key)
            folder.mkdir(parents=True)
            at = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(spoke))
            meta = {"session": key, "channel": "cli", "peer": "cli-user", "to": "cli-user", "at": at}
            (folder / "meta.json").write_text(json.dumps(meta))
        beats = {each: {"at": now - HOUR * (each == keys[1])} for each in keys}
        (world.workspace / ".state").mkdir(exist_ok=True)
        (world.workspace / ".state" / "heartbeat.json").write_text(json.dumps(beats))
        world.say("/heartbeat")
        assert world.around.next_beat == pytest.approx(now + HOUR, abs=60)  # that of ann
        (world.workspace / ".agents" / "assistant" / "HEARTBEAT.md").unlink()
        world.say("/heartbeat")
        assert world.around.next_beat is None
        assert world.app.surroundings(Inbound("", "cli", "cli-user", agent="cook")).next_beat is not None


def test_the_jobs_that_are_on_are_counted_where_they_are_done(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        assert world.around.jobs == 0
        world.say("/cron add every 2h Make tea")
        world.say("/cron add every 3h Make coffee")
        assert world.around.jobs == 2
        other = world.begin(Person())
        assert other.surroundings(ME).jobs == 0
        world.say("/cron off make-tea")
        assert world.around.jobs == 1
        world.say("/cron stop")
        assert world.around.jobs == 0
        world.say("/cron start")
        assert world.around.jobs == 1
        world.say("/cron rm make-coffee")
        assert world.around.jobs == 0
        world.say("/cron on make-tea")
        world.app.stop()
        assert world.around.jobs == 0
        until(lambda: other.surroundings(ME).jobs == 1)


def test_the_clients_of_a_gateway_are_counted_while_it_is_open(tmp_path: Path) -> None:
    with Gateway(tmp_path, echo) as program:

        def clients() -> int | None:
            return program.app.surroundings(ME).gateway

        assert clients() == 0
        with Client(program) as one, Client(program) as two:
            for each in (one, two):
                each.call("status")
            assert clients() == 2
        program.settled(lambda: clients() == 0)
        program.app.remove("websocket")
        assert clients() is None


def test_a_channel_of_somebodys_own_need_not_tell_how_it_stands(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.app.add(Person("websocket"))
        world.app.add(Person("discord"))
        assert (world.around.gateway, world.around.discord) == (None, "on")
        world.app.remove("discord")
        assert world.around.discord == ""


@pytest.mark.parametrize("standing", ["on", "away", "ended"])
def test_discord_is_on_or_away_or_has_ended(tmp_path: Path, standing: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the standard library, in the modules for sound
        pytest.importorskip("discord", reason="discord.py is not installed: pip install 'agentkit[discord]'")
    from agentkit.channels.discord import Discord
    from agentkit.channels.discord.patience import Patience

    from .discord_server import TOKEN, DiscordServer, Page, redirected

    there, told = threading.Event(), threading.Event()
    with World(tmp_path) as world, DiscordServer() as server, redirected(server):
        if standing == "away":
            server.pages.append(Page(503, "<html>not now</html>"))
        discord = Discord(
            "wrong" if standing == "ended" else TOKEN,
            (),
            (),
            lambda *letter: None,
            lambda text: told.set(),
            there.set,
            tmp_path / "discord.seen",
            patience=Patience((600.0,)),
        )
        assert world.around.discord == ""
        world.app.add(discord)
        assert (there if standing == "on" else told).wait(WAIT)
        assert world.around.discord == standing
        world.app.remove("discord")
        assert world.around.discord == ""


def test_nothing_is_raised_where_the_agent_is_gone(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        found = world.app.surroundings(Inbound("", "cli", "cli-user", agent="nobody"))
        assert (found.allowed, found.next_beat) == ((), None)


def test_nobody_waits_for_a_slow_disk(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.say("hello")
        world.say("/heartbeat")
        world.jobs(2)
        beside, found = world.app.beside, []
        with ExitStack() as held:  # as threads hold them that write
            for each in (beside.cron, beside.cron.jobs, beside.heartbeats, beside.heartbeats._beats):
                held.enter_context(each._lock)
            held.enter_context(beside.background._changing)
            looking = threading.Thread(target=lambda: found.append(world.around), daemon=True)
            looking.start()
            looking.join(WAIT)
        assert [each.jobs for each in found] == [2] and found[0].next_beat is not None


def test_a_thousand_jobs_and_sessions_cost_next_to_nothing(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.jobs(1000)
        at = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
        for number in range(1000):
            key = f"agent:assistant:direct:p{number}"
            folder = world.workspace / "sessions" / encoded(key)
            folder.mkdir(parents=True)
            meta = {"session": key, "channel": "cli", "peer": f"p{number}", "to": f"p{number}", "at": at}
            (folder / "meta.json").write_text(json.dumps(meta))
        world.say("/heartbeat")

        def seconds() -> float:
            """Of this thread alone, so that a busy machine does not count."""
            began = time.thread_time()
            assert world.around.jobs == 1000 and world.around.next_beat is not None
            return time.thread_time() - began

        assert min(seconds() for _ in range(20)) < 0.005


# -- how sure the tokens are


def test_tokens_are_estimated_until_the_server_has_counted_and_again_in_a_new_conversation(tmp_path: Path) -> None:
    counts = iter([None, None, USAGE, None, None])

    def answer(request: Request, index: int) -> Response:
        return text_stream("ok", usage=next(counts))

    with World(tmp_path, answer) as world:
        assert world.view.estimated
        seen = []
        for text in ("one", "two", "three", "four"):
            world.say(text)
            seen.append(world.view.estimated)
        assert seen == [True, True, False, False]
        world.say("/new")
        assert world.view.estimated
        world.say("five")
        assert world.view.estimated


@pytest.mark.parametrize("usage", [USAGE, None, {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}])
def test_a_conversation_that_is_resumed_is_as_sure_as_it_was(tmp_path: Path, usage: dict[str, int] | None) -> None:
    def answer(request: Request, index: int) -> Response:
        return text_stream("ok", usage=usage)

    with World(tmp_path, answer) as world:
        world.say("hello")
    with World(tmp_path, answer, opening=Opening(resume=True)) as world:
        assert world.view.messages == 2 and world.view.estimated is (usage is not USAGE)
        world.say("again")
        assert world.view.estimated is (usage is not USAGE)


def test_after_a_compaction_it_is_still_what_the_server_has_counted_that_tokens_are_reckoned_from() -> None:
    store = Store()
    store.append({"role": "user", "content": "hello"})
    store.measured(100)
    store.append({"role": "assistant", "content": "well", "usage": USAGE})
    head = [{"role": "user", "content": "in short: hello", "summary": True}]
    assert store.apply({"type": "compaction", "head": head, "first": 2, "shortened": {}})
    assert store.counted
    store.load(list(store.context.messages))  # nothing tells any more
    assert not store.counted


# -- who decided


@pytest.mark.parametrize("answer", [Answer("allow"), Answer("always"), Answer("deny"), Answer("deny", "not now")])
def test_who_decided_about_a_call_stays_in_the_conversation_and_is_never_sent(tmp_path: Path, answer: Answer) -> None:
    with World(tmp_path, calls(), Asked(answer)) as world:
        world.say("go")
        [result] = world.results()
        expected = {"decision": answer.decision, "channel": "cli", "peer": "cli-user"}
        assert result["decided"] == expected and result["ok"] is (answer.decision != "deny")
    with World(tmp_path, calls(), Asked(answer), opening=Opening(resume=True)) as world:
        [said] = [each for each in world.app.past(ME) if each["role"] == "tool"]
        assert decided(said) == expected
        world.say("again")
        bodies = [each.body for each in world.model.requests]
        assert len(bodies) == 2 and not [each for each in bodies if b"decided" in each or b"cli-user" in each]
        [sent] = [each for each in world.model.requests[0].json["messages"] if each["role"] == "tool"]
        assert sent.keys() == {"role", "content", "tool_call_id"}


def test_where_nobody_was_asked_nobody_is_named(tmp_path: Path) -> None:
    with World(tmp_path / "always", calls(), Asked(Answer("always"))) as world:
        world.say("one")
        world.say("two")
        assert ["decided" in each for each in world.results()] == [True, False]
    kinds: list[tuple[str, Script, dict[str, Any]]] = [
        ("trust", calls(), {"tool_approval": "trust"}),
        ("reads", calls("list_dir", {}), {}),
        ("unknown", calls("nonsense"), {}),
        ("wrong", calls("bash", {"nonsense": 1}), {}),
        ("nothing to ask about", calls("edit_file", {"path": "/none", "old": "a", "new": "b"}), {}),
    ]
    for name, script, settings in kinds:
        person = Asked()
        with World(tmp_path / name, script, person, **settings) as world:
            world.say("go")
            assert ["decided" in each for each in world.results()] == [False] and not person.asked, name


def test_where_nobody_can_be_asked_the_refusal_is_nobodys(tmp_path: Path) -> None:
    with World(tmp_path, calls(), Asked(can_ask=False)) as world:
        world.say("go")
        [result] = world.results()
        assert "refused" in result["content"] and "decided" not in result


def test_a_decision_that_came_over_the_gateway_names_the_channel_and_the_person(tmp_path: Path) -> None:
    with Gateway(tmp_path, calls()) as program, Client(program) as client:
        asked = client.ask("send", text="go", peer_id="ann", stream=True)
        client.call("approve", id=client.said("ask")["id"], decision="deny", reason="no")
        client.answer(asked)
        path = next((program.workspace / "sessions").glob("*/*.jsonl"))
        results = [each for line in path.read_text().splitlines() if (each := json.loads(line))["role"] == "tool"]
        assert [each["decided"] for each in results] == [{"decision": "deny", "channel": "websocket", "peer": "ann"}]


@pytest.mark.parametrize("hears", [True, False])
def test_what_was_allowed_and_then_interrupted_still_tells_who_allowed_it(tmp_path: Path, hears: bool) -> None:
    begun, over = threading.Event(), threading.Event()

    @tool(asks=True)
    def dig(depth: int) -> str:
        """Dig a hole."""
        begun.set()
        if hears:
            world.person.begin("/stop")
        over.wait(WAIT)
        return "deep"

    person = Asked()
    with World(tmp_path, calls("dig", {"depth": 1}), person, tools=[dig]) as world:
        person.begin("go")
        assert begun.wait(WAIT)
        if not hears:
            person.begin("/stop")
        endings = [person.answer(), person.answer()]
        over.set()
        assert sorted(type(each) is Interrupted for each in endings) == [False, True]
        [result] = world.results()
        assert "interrupted" in result["content"] and decided(result)["decision"] == "allow" and not result["ok"]
        world.say("/list")


def test_a_question_that_was_withdrawn_was_decided_by_nobody(tmp_path: Path) -> None:
    class Silent(Asked):
        def show(self, event: Event) -> None:
            Person.show(self, event)
            if isinstance(event, Ask):
                there.set()

    there, person = threading.Event(), Silent()
    with World(tmp_path, calls(), person) as world:
        person.begin("go")
        assert there.wait(WAIT)
        person.begin("/stop")
        person.answer(), person.answer()
        [result] = world.results()
        assert "interrupted" in result["content"] and "decided" not in result


@pytest.mark.parametrize(
    "kept",
    [None, "deny", [], 5, {}, {"decision": "deny"}, {"decision": 1, "channel": "cli", "peer": "me"}, {"peer": "me"}],
)
def test_what_somebody_has_made_of_it_in_the_file_tells_nothing_and_does_no_harm(tmp_path: Path, kept: Any) -> None:
    with World(tmp_path, calls(), Asked()) as world:
        world.say("go")
        [path] = (world.workspace / "sessions").glob("*/*.jsonl")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for each in records:
        if each.get("role") == "tool":
            each["decided"] = kept
    path.write_text("".join(f"{json.dumps(each)}\n" for each in records))
    with World(tmp_path, calls(), Asked(), opening=Opening(resume=True)) as world:
        [result] = [each for each in world.app.past(ME) if each["role"] == "tool"]
        assert decided(result) == {}
        world.say("again")
