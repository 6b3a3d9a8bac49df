"""What stays apart: sessions, agents, people, models."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentkit import App
from agentkit.channel import AnswerAsk, Dispatch
from agentkit.command import Command, Order
from agentkit.events import (
    ENDINGS,
    Answer,
    Ask,
    Decision,
    Done,
    Error,
    Event,
    Inbound,
    Interrupted,
    Notice,
    TurnStarted,
)
from agentkit.names import encoded
from agentkit.session import Opening
from agentkit.settings import Settings

from .loopback import Loopback, Request, Response, call_stream, text_stream
from .program import ROOT, WAIT, agentkit, environment, settled

ANN, BOB = "ann", "bob"


class Door:
    """A channel through which anybody may say things, one after the other or all at once."""

    can_ask = True
    ask_limit: float | None = None

    def __init__(self, name: str = "cli", decision: Decision = "allow") -> None:
        self.name, self.decision = name, decision
        self.events: list[Event] = []
        self._shown = threading.Condition()  # serialises `events`, and tells who waits for them

    def start(self, dispatch: Dispatch, answer: AnswerAsk) -> None:
        self._dispatch, self._answer = dispatch, answer

    def show(self, event: Event) -> None:
        with self._shown:
            self.events.append(event)
            self._shown.notify_all()
        if isinstance(event, Ask):
            for peer in (ANN, BOB):
                self._answer(peer, event.id, Answer(self.decision))

    def stop(self) -> None:
        pass

    def send(self, text: str, peer: str = ANN) -> Inbound:
        """Say something, and wait for nothing."""
        inbound = Inbound(text, self.name, peer)
        self._dispatch(inbound)
        return inbound

    def ending(self, inbound: Inbound) -> Event:
        """The event that ends a turn."""
        with self._shown:
            assert self._shown.wait_for(lambda: self.endings(inbound), WAIT), self.events
            return self.endings(inbound)[0]

    def endings(self, inbound: Inbound) -> list[Event]:
        return [each for each in self.events if each.turn == inbound.turn and isinstance(each, ENDINGS)]

    def say(self, text: str, peer: str = ANN) -> Event:
        return self.ending(self.send(text, peer))

    def answer(self, text: str, peer: str = ANN) -> str:
        ending = self.say(text, peer)
        assert isinstance(ending, Done), ending
        return ending.text

    def refusal(self, text: str, peer: str = ANN) -> str:
        ending = self.say(text, peer)
        assert isinstance(ending, Error) and ending.category == "bad_request", ending
        return ending.message

    def of(self, inbound: Inbound) -> list[Event]:
        """The events of a turn."""
        return [each for each in self.events if each.turn == inbound.turn]


class House:
    """A folder with agents, an app in it, and what its model was sent."""

    def __init__(self, folder: Path, server: Loopback) -> None:
        self.folder, self.server, self.door = folder, server, Door()
        self.app: App | None = None

    def begin(self, *more_doors: Door, opening: Opening = Opening(), window: int = 32_000, **more: Any) -> Door:
        """Start, or start anew."""
        self.end()
        self.door = Door()
        settings = Settings("m", self.server.url, "", window, **more)
        home = {"HOME": str(self.folder / "home"), "PATH": os.environ["PATH"]}
        self.app = App(settings, [self.door, *more_doors], opening=opening, environ=home)
        self.app.start()
        return self.door

    def end(self) -> None:
        if self.app:
            self.app.stop()

    def agent(self, id: str, text: str = "You are terse.") -> Path:
        return self.write(f"workspace/.agents/{id}/AGENT.md", text)

    def write(self, path: str, text: str) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def kept(self, agent: str, peer: str = ANN) -> list[dict[str, Any]]:
        """The lines of the only conversation that this person has with that agent."""
        (file,) = self.room(agent, peer).glob("*.jsonl")
        return [json.loads(line) for line in file.read_text().splitlines()]

    def said(self, agent: str, peer: str = ANN) -> list[str]:
        return [each["content"] for each in self.kept(agent, peer) if each.get("role") == "user"]

    def room(self, agent: str, peer: str = ANN) -> Path:
        return self.folder / "workspace/sessions" / encoded(key(agent, peer))

    @property
    def prompt(self) -> str:
        return str(self.server.requests[-1].json["messages"][0]["content"])


def key(agent: str, peer: str = ANN) -> str:
    return f"agent:{agent}:direct:{peer}"


def ok(request: Request, index: int) -> Response:
    return text_stream(f"ok {index}", usage={"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110})


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.chdir(tmp_path)
    with Loopback(ok) as server:
        made = House(tmp_path, server)
        yield made
        made.end()


def roles(lines: list[dict[str, Any]]) -> list[str]:
    return [each["role"] for each in lines if "role" in each]


# -- several things said at once


def test_what_is_said_behind_a_switch_is_for_the_other_agent_at_once(house: House) -> None:
    house.agent("assistant")
    house.agent("beta")
    release = threading.Event()

    def answer(request: Request, index: int) -> Response:
        return text_stream("ok", before_headers=release if request.said[-1] == "first" else None)

    with Loopback(answer) as server:
        house.server = server
        door = house.begin()
        turns = [door.send(text) for text in ("first", "/switch beta", "q1", "q2")]
        assert isinstance(door.ending(turns[3]), Done) and not door.endings(turns[0])
        release.set()
        for turn, room in zip(turns, ("assistant", "assistant", "beta", "beta"), strict=True):
            assert isinstance(door.ending(turn), Done)
            if turn != turns[1]:
                assert {each.session for each in door.of(turn)} == {key(room)}
        house.end()
        assert [len(door.endings(turn)) for turn in turns] == [1, 1, 1, 1]
    assert house.said("assistant") == ["first"] and house.said("beta") == ["q1", "q2"]
    assert roles(house.kept("assistant")) == ["user", "assistant"]
    assert roles(house.kept("beta")) == ["user", "assistant"] * 2


@pytest.mark.parametrize(
    ("said", "assistant", "beta"),
    [
        ("/switch beta|1|/switch off|2|/switch beta|3|/switch off|4", ["2", "4"], ["1", "3"]),
        ("1|/switch nobody|2|/switch|3|/switch off|4", ["1", "2", "3", "4"], None),
        ("/switch beta|/switch beta|1|/switch assistant|2|/switch off|3", ["2", "3"], ["1"]),
        ("//switch beta|1|/Switch Beta|2|/switch\tOFF|3", ["/switch beta", "1", "3"], ["2"]),
    ],
)
def test_any_row_of_switches_and_messages_is_taken_in_its_order(
    house: House, said: str, assistant: list[str], beta: list[str] | None
) -> None:
    house.agent("assistant")
    house.agent("beta")
    door = house.begin()
    turns = [door.send(text) for text in said.split("|")]
    for turn in turns:
        door.ending(turn)
    house.end()
    assert [len(door.endings(turn)) for turn in turns] == [1] * len(turns)
    for agent, expected in (("assistant", assistant), ("beta", beta)):
        if expected is None:
            assert not house.room(agent).exists()
        else:
            assert house.said(agent) == expected
            assert roles(house.kept(agent)) == ["user", "assistant"] * len(expected)


def test_a_switch_is_one_persons_in_one_channel(house: House) -> None:
    house.agent("assistant")
    house.agent("beta")
    other = Door("web")
    door = house.begin(other)
    turns = [door.send("/switch beta"), door.send("mine"), door.send("his", BOB), other.send("hers elsewhere")]
    for turn in turns:
        door.ending(turn)
    assert house.said("beta") == ["mine"]
    assert house.said("assistant", BOB) == ["his"] and house.said("assistant") == ["hers elsewhere"]


def test_many_people_who_talk_at_once_hear_only_their_own(house: House) -> None:
    house.agent("assistant")
    door = house.begin()
    turns = [(peer, number, door.send(f"{peer} {number}", peer)) for number in range(6) for peer in (ANN, BOB, "eve")]
    for peer, _, turn in turns:
        assert isinstance(door.ending(turn), Done)
        assert {each.session for each in door.of(turn)} == {key("assistant", peer)}
    for peer in (ANN, BOB, "eve"):
        assert house.said("assistant", peer) == [f"{peer} {number}" for number in range(6)]
        assert roles(house.kept("assistant", peer)) == ["user", "assistant"] * 6


# -- where memories are


def everything(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if "__pycache__" not in path.parts}


def no_agent(folder: Path, kind: str) -> None:
    agents = folder / "workspace/.agents"
    agents.mkdir(parents=True)
    if kind == "without a file":
        (agents / "assistant/memory").mkdir(parents=True)
    elif kind == "broken":
        (agents / "zoe").mkdir()
        (agents / "zoe/AGENT.md").write_bytes(b"\xff\xfe")
    elif kind == "broken assistant":
        (agents / "assistant").mkdir()
        (agents / "assistant/AGENT.md").write_text("---\nname: [\n---\n")
    elif kind == "a stray file":
        (agents / "notes.txt").write_text("hello")


KINDS = ["empty", "without a file", "broken", "broken assistant", "a stray file"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_memory_is_kept_in_the_workspace_whatever_is_wrong_with_its_agents(house: House, kind: str) -> None:
    no_agent(house.folder, kind)
    ours = everything(ROOT / "agentkit") | everything(ROOT / "workspace")
    call = call_stream(("remember", {"name": "boat", "text": "It is green.", "tldr": "about the boat"}))
    with Loopback([text_stream("about the ship"), call, text_stream("Kept."), text_stream("Hello.")]) as server:
        house.server = server
        door = house.begin()
        assert str(house.folder / "workspace/.agents/assistant/memory/ship.md") in door.answer("/remember ship Plum.")
        door.answer("remember the boat")
        door.answer("hi")
        assert "about the ship" in house.prompt and "about the boat" in house.prompt
    memories = house.folder / "workspace/.agents/assistant/memory"
    assert sorted(path.name for path in memories.iterdir()) == ["boat.md", "ship.md"]
    assert everything(ROOT / "agentkit") | everything(ROOT / "workspace") == ours


def test_each_agent_keeps_memories_of_its_own(house: House) -> None:
    house.agent("assistant")
    house.agent("Second One")
    door = house.begin()
    door.answer("/switch second one")
    door.answer("/remember ship It is called Plum.")
    assert (house.folder / "workspace/.agents/Second One/memory/ship.md").is_file()
    door.answer("hi")
    assert "memory/ship.md" in house.prompt
    door.answer("/switch off")
    door.answer("hi")
    assert "memory/ship.md" not in house.prompt


# -- what other people have said


def results(server: Loopback) -> list[str]:
    return [each["content"] for each in server.requests[-1].json["messages"] if each["role"] == "tool"]


def calls(house: House, *wanted: tuple[str, dict[str, Any]], peer: str = ANN) -> list[str]:
    """What an agent gets that calls these tools one after the other."""
    with Loopback([*(call_stream(each) for each in wanted), text_stream("done")]) as server:
        house.server = server
        house.begin(tool_approval="trust").answer("go", peer)
        found = results(server)
    assert len(found) == len(wanted)
    return found


@pytest.mark.parametrize("other", [("assistant", BOB), ("beta", ANN), ("assistant", "ann2"), ("assistant", "Ann")])
def test_the_conversations_of_others_cannot_be_read(house: House, other: tuple[str, str]) -> None:
    house.agent("assistant")
    room = house.room(*other)
    room.mkdir(parents=True)
    (room / "secret.jsonl").write_text('{"role": "user", "content": "the password is plum"}\n')
    path = f"workspace/sessions/{room.name}/secret.jsonl"
    (house.folder / "link").symlink_to(room)
    os.link(room / "secret.jsonl", house.folder / "harmless.txt")
    own = house.room("assistant").name
    found = calls(
        house,
        *(
            ("read_file", {"path": each})
            for each in (
                path,
                str(room / "secret.jsonl"),
                f"workspace/sessions/{own}/../{room.name}/secret.jsonl",
                "link/secret.jsonl",
                "harmless.txt",
                "workspace/sessions",
                f"workspace/sessions/{room.name}",
                f"workspace/./Sessions//{room.name}/secret.jsonl",
            )
        ),
        *(
            ("grep", {"pattern": "password", "path": each})
            for each in (".", "workspace", "workspace/sessions", path, str(room), "link", "harmless.txt")
        ),
        ("glob", {"pattern": "**/*.jsonl"}),
        ("glob", {"pattern": "workspace/sessions/*/*"}),
        ("glob", {"pattern": "*", "path": str(room)}),
        ("glob", {"pattern": "link/*"}),
    )
    for each in found:
        assert "the password is" not in each
        assert each.startswith("error:") or "secret" not in each


def test_what_was_kept_of_ones_own_conversation_can_be_read_but_nothing_in_it_written(house: House) -> None:
    house.agent("assistant")
    house.write("big.txt", "\n".join(f"line {number} of the big file" for number in range(3_000)))
    with Loopback([call_stream(("bash", {"command": "cat big.txt"})), text_stream("done")]) as server:
        house.server = server
        house.begin(tool_approval="trust", window=8_000).answer("go")
        (cut,) = results(server)
    found = re.search(r"all of it is in (\S+)", cut)
    assert found is not None, cut
    path = found[1]
    assert Path(path).is_relative_to(house.room("assistant"))
    before = {file: file.read_bytes() for file in house.room("assistant").rglob("*.txt")}
    sessions = "workspace/sessions"
    read, grepped, *refused = calls(
        house,
        ("read_file", {"path": path, "offset": 1, "limit": 3}),
        ("grep", {"pattern": "line 2999 of", "path": path}),
        ("write_file", {"path": path, "content": "evil"}),
        ("edit_file", {"path": path, "old_text": "line 1 of", "new_text": "evil"}),
        ("write_file", {"path": f"{sessions}/new.md", "content": "evil"}),
        ("write_file", {"path": f"{sessions}/{house.room('assistant').name}/x.jsonl", "content": "evil"}),
        ("write_file", {"path": f"{sessions}/{house.room('assistant').name}/current", "content": "evil"}),
    )
    assert "line 0 of the big file" in read and "line 2999 of the big file" in grepped
    assert all(each.startswith("error:") for each in refused), refused
    assert {file: file.read_bytes() for file in house.room("assistant").rglob("*.txt")} == before
    assert not any("evil" in path.read_text() for path in house.folder.rglob("*.md"))


def test_a_search_of_the_working_directory_leaves_out_even_ones_own_conversations(house: House) -> None:
    house.agent("assistant")
    house.write("notes.txt", "a plum")
    house.begin().answer("a plum is a fruit")
    grepped, globbed = calls(house, ("grep", {"pattern": "plum"}), ("glob", {"pattern": "**/*"}))
    assert grepped == "notes.txt:1: a plum", grepped
    assert "notes.txt" in globbed and ".jsonl" not in globbed


# -- what is exported


@pytest.mark.parametrize(
    "path",
    [
        *("AGENTS.md", "agents.md", "Agents.MD", "AGENT.md", "USER.md", "user.md", "BOOTSTRAP.md", "TOOLS.md"),
        *("HEARTBEAT.md", "Skill.md", "SKILL.md", "./AGENTS.md", "sub/AGENTS.md", "sub/../AGENTS.md", "AGENTS.md/"),
        *("workspace/.agents/x.md", "workspace/.agents/assistant/memory/x.md", "workspace/.agents/zoe/x.md"),
        *("workspace/.state/x.md", "workspace/sessions/x.md", "workspace/Sessions/x.md", ".state/x.md"),
        *("workspace/.Agents/x.md", "notes.txt", "notes", "notes.md.txt", "x.py", ".env", ".env.md", "/etc/x.md"),
        *("../x.md", "there.md", "folder.md", "link.md"),
    ],
)
def test_an_export_is_a_new_file_that_steers_nobody(house: House, path: str) -> None:
    house.agent("assistant")
    house.write("there.md", "as it was")
    house.write("sub/file", "")
    (house.folder / "folder.md").mkdir()
    (house.folder / "link.md").symlink_to("there.md")
    door = house.begin()
    door.answer("hi")
    before = {each: each.read_bytes() for each in everything(house.folder) if each.is_file()}
    assert path in door.refusal(f"/export {path}")
    assert {each: each.read_bytes() for each in everything(house.folder) if each.is_file()} == before


def test_a_conversation_named_like_a_file_that_steers_is_not_exported_under_its_name(house: House) -> None:
    house.agent("assistant")
    door = house.begin()
    door.answer("hi")
    door.answer("/save AGENTS")
    assert "NAME.md" in door.refusal("/export")
    door.answer("/export my talk.md")
    assert (house.folder / "my talk.md").read_text().startswith("# AGENTS\n")


# -- a command that fails


@pytest.mark.parametrize("now", [True, False])
@pytest.mark.parametrize("error", [ValueError("bad"), OSError(28, "full"), AssertionError(), KeyError("x")])
def test_whatever_a_command_raises_is_an_error_and_the_chat_goes_on(house: House, error: Exception, now: bool) -> None:
    def fail(order: Order) -> str:
        raise error

    house.agent("assistant")
    door = house.begin()
    assert house.app is not None
    house.app.commands.table["boom"] = Command("boom", "", "fails", fail, now=now)
    turn = door.send("/boom")
    ending = door.ending(turn)
    assert isinstance(ending, Error) and type(error).__name__ in ending.message and len(door.endings(turn)) == 1
    assert door.answer("hi") == "ok 0" and "/boom" in door.answer("/help")


ODD = ["", "x", "../x", "0", "-1", "²", "9" * 30, "\0", "\ud800", "a b c", "off", "x" * 5_000, "/", "\u200b", "~", "*"]


def test_every_command_ends_in_an_answer_or_says_what_is_wrong_whatever_stands_behind_it(house: House) -> None:
    house.agent("assistant")
    door = house.begin()
    door.answer("hi")
    assert house.app is not None
    for name in house.app.commands.table:
        for rest in ODD:
            turn = door.send(f"/{name} {rest}")
            ending = door.ending(turn)
            assert isinstance(ending, Done) or (isinstance(ending, Error) and ending.category == "bad_request"), ending
            assert len(door.endings(turn)) == 1
    assert isinstance(door.say("hi"), Done)


@pytest.mark.parametrize("said", ["/remember", "/remember ship", "/remember  ", "/remember ship \t"])
def test_remember_without_a_text_says_how_it_is_used(house: House, said: str) -> None:
    assert "/remember NAME TEXT" in house.begin().refusal(said)


# -- who answers, while a turn runs


def no_change(house: House) -> None:
    pass


def another_agent(house: House) -> None:
    house.agent("aaa")


def the_assistant(house: House) -> None:
    house.agent("assistant", "I am new.")


def its_end(house: House) -> None:
    house.agent("aaa")
    shutil.rmtree(house.folder / "workspace" / ".agents" / "zoe")


def a_broken_file(house: House) -> None:
    house.agent("zoe", "---\nname: [\n---\n")


@pytest.mark.parametrize("change", [no_change, another_agent, the_assistant, a_broken_file, its_end])
def test_a_turn_is_stopped_though_the_agents_change_meanwhile(house: House, change: Callable[[House], None]) -> None:
    house.agent("zoe")
    with Loopback(lambda request, index: text_stream("never", before_headers=threading.Event())) as server:
        house.server = server
        door = house.begin()
        turn = door.send("first")
        server.wait_for_requests(1)
        change(house)
        assert door.answer("/stop") == "Interrupted."
        assert isinstance(door.ending(turn), Interrupted)
        assert {each.session for each in door.of(turn)} == {key("zoe")}


# -- which model


def test_a_model_counts_at_once_for_all_that_is_asked(house: House) -> None:
    house.agent("assistant")
    door = house.begin()

    def counts(model: str) -> None:
        assert house.app is not None
        me = Inbound("", door.name, ANN)
        assert house.app.view(me).model == model
        assert door.answer("/model").startswith(f"{model} answers")
        assert f"{model} at" in door.answer("/status")
        for number in range(3):
            turn = door.send(f"{number} " + "plum " * 300)
            ending = door.ending(turn)
            assert isinstance(ending, Done) and ending.model == model
            assert house.server.requests[-1].json["model"] == model
        started = [each for each in door.of(turn) if isinstance(each, TurnStarted)]
        assert [each.model for each in started] == [model]
        assert f"on the model {model}," in house.prompt
        for command in ("/remember ship Plum.", "/compact", "/retry"):
            assert isinstance(door.say(command), Done), command
            assert house.server.requests[-1].json["model"] == model

    counts("m")
    door.answer("/model other")
    counts("other")
    house.agent("assistant", "---\nmodel: front\n---\nYou are terse.")
    counts("other")
    door.answer("/model off")
    counts("front")
    house.agent("assistant", "---\nmodel: matter\n---\nYou are terse.")
    counts("matter")
    house.agent("assistant")
    counts("m")
    answered = {
        each["model"] for each in house.kept("assistant") if each.get("role") == "assistant" and "model" in each
    }
    assert answered == {"m", "other", "front", "matter"}


@pytest.mark.parametrize("first", ["/remember ship Plum.", "/compact", "hi", "/retry"])
def test_a_model_counts_for_the_first_thing_said_in_a_conversation_that_goes_on(house: House, first: str) -> None:
    house.agent("assistant", "---\nmodel: front\n---\nYou are terse.")
    door = house.begin()
    for number in range(4):
        door.answer(f"{number} " + "plum " * 300)
    door = house.begin(opening=Opening(resume=True))
    assert isinstance(door.say(first), Done)
    assert house.server.requests[-1].json["model"] == "front"


def test_a_model_is_selected_in_one_session_only(house: House) -> None:
    house.agent("assistant")
    house.agent("beta", "---\nmodel: slow\n---\nYou think.")
    door = house.begin()
    door.answer("/model other")
    door.answer("hi", BOB)
    assert house.server.requests[-1].json["model"] == "m"
    door.answer("/switch beta")
    assert door.answer("/model").startswith("slow answers")
    door.answer("hi")
    assert house.server.requests[-1].json["model"] == "slow"
    door.answer("/switch off")
    door.answer("hi")
    assert house.server.requests[-1].json["model"] == "other"


# -- a conversation that goes on


@pytest.mark.parametrize("later", [[], ["/new", "hello"], ["/new other", "hello", "/load kept"]])
def test_what_was_saved_under_a_name_and_used_last_is_resumed(house: House, later: list[str]) -> None:
    house.agent("assistant")
    door = house.begin()
    for said in ("hi", "/save kept", *later):
        door.answer(said)
    assert house.app is not None
    me = Inbound("", door.name, ANN)
    label = house.app.view(me).conversation
    assert (label == "kept") == (later[-1:] != ["hello"])
    house.begin(opening=Opening(resume=True))
    house.app.open(me)
    assert house.app.view(me).conversation == label


def test_an_older_conversation_that_got_a_name_last_is_resumed(house: House) -> None:
    house.agent("assistant")
    door = house.begin()
    for said in ("/new first", "one", "/new second", "two", "/load first", "/save kept"):
        door.answer(said)
    os.utime(house.room("assistant") / "kept.jsonl", (1_700_000_000, 1_700_000_000))
    house.begin(opening=Opening(resume=True)).answer("again")
    assert house.server.requests[-1].said[1:] == ["one", "ok 0", "again"]


def test_a_name_given_before_the_first_message_is_resumed(house: House) -> None:
    house.agent("assistant")
    door = house.begin()
    door.answer("/save early")
    door.answer("hi")
    house.begin(opening=Opening(resume=True)).answer("again")
    assert house.said("assistant") == ["hi", "again"] and (house.room("assistant") / "early.jsonl").is_file()


def test_a_new_label_is_said_and_one_that_is_there_is_not(house: House) -> None:
    house.agent("assistant")
    told = []
    for _ in range(2):
        door = house.begin(opening=Opening("typo"))
        assert house.app is not None
        house.app.open(Inbound("", door.name, ANN))
        door.answer("hi")
        told.append([each.text for each in door.events if isinstance(each, Notice) and "typo" in each.text])
    assert told == [["This is a new conversation: typo."], []]


@pytest.mark.parametrize("said", ["/new x", "/new", "/switch beta", "/switch off", "/model other", "/model off"])
def test_what_would_last_only_as_long_as_a_chat_is_refused_beside_one(house: House, said: str) -> None:
    house.agent("assistant")
    house.agent("beta")
    house.begin().answer("hi")
    assert "agentkit run" in (told := house.begin(opening=Opening(follow=False)).refusal(said)) or "LLM_MODEL" in told
    assert house.said("assistant") == ["hi"] and not house.room("beta").exists()


@pytest.mark.parametrize("said", ["/new x", "/switch x", "/model x"])
def test_such_a_command_ends_the_program_with_a_failure(tmp_path: Path, said: str) -> None:
    done = agentkit(settled(tmp_path), "run", said, env=environment(tmp_path, "http://127.0.0.1:9/v1"))
    assert (done.returncode, done.stdout) == (1, "") and done.stderr.startswith("error: ")


# -- what it has cost


def test_usage_counts_what_was_taken_back_or_compacted_and_the_lines_of_memories(house: House) -> None:
    house.agent("assistant")
    door = house.begin()

    def requests() -> int:
        found = re.search(r"requests: (\d+), tokens read: ([\d,]+)", door.answer("/usage"))
        assert found is not None
        assert int(found[2].replace(",", "")) == 100 * int(found[1])
        return int(found[1])

    for number in range(4):
        door.answer(f"{number} " + "plum " * 300)
    assert requests() == 4
    door.answer("/rewind 1")
    assert requests() == 4
    door.answer("/retry")
    assert requests() == 5
    door.answer("/compact")
    counted = requests()
    assert counted == 6
    door.answer("/remember ship Plum.")
    assert requests() == counted + 1
    door = house.begin(opening=Opening(resume=True))
    assert isinstance(door.say("/rewind 2"), Done)
    assert requests() == counted + 1


# -- skills


SKILL = "---\nname: {name}\ndescription: How to {name}.\n---\nFirst look, then {name}."


def test_a_skill_is_found_by_names_that_are_nearly_its_own_or_a_commands(house: House) -> None:
    house.agent("assistant")
    for name in ("commit", "list"):
        house.write(f"workspace/skills/{name}/SKILL.md", SKILL.format(name=name))
    door = house.begin()
    assert "/commit" in door.refusal("/comit") and "/list" in door.refusal("/lsit")
    assert "commit" in door.refusal("/skill comit")
    listed = door.answer("/skill")
    assert "/commit  " in listed and "/skill list  " in listed
    door.answer("/skill list all of it")
    assert "First look, then list." in house.server.requests[-1].said[-1]
    assert door.answer("/list").split()[:2] == ["label", "messages"]


@pytest.mark.parametrize("said", ["/commit the fix", "/skill commit the fix", "/Commit\tthe fix"])
def test_a_skills_message_is_shown_as_it_was_typed(house: House, said: str) -> None:
    house.agent("assistant")
    house.write("workspace/skills/commit/SKILL.md", SKILL.format(name="commit"))
    door = house.begin()
    door.answer(said)
    (asked,) = [each for each in house.kept("assistant") if each.get("role") == "user"]
    assert asked["typed"] == "/commit the fix" and "First look, then commit." in asked["content"]
    shown = door.answer("/history")
    assert "/commit the fix" in shown and "First look" not in shown
    door.answer("/retry")
    assert "First look, then commit." in house.server.requests[-1].said[-1]
    assert house.server.requests[-1].said[-1] == house.server.requests[0].said[-1]
    (*_, again) = [each for each in house.kept("assistant") if each.get("role") == "user"]
    assert again["typed"] == "/commit the fix"
    assert "/commit the fix" in door.answer("/rewind")


# -- asking


def test_deleting_is_asked_about_each_time_and_is_never_always_allowed(house: House) -> None:
    house.agent("assistant")
    door = house.begin()
    door.decision = "always"
    for label in ("one", "two", "three"):
        door.answer(f"/new {label}")
        door.answer("hi")
        door.answer(f"/delete {label}")
        assert "Nothing is always allowed" in door.answer("/approvals")
    assert [each.tool for each in door.events if isinstance(each, Ask)] == ["/delete"] * 3


# -- the order of events


@pytest.mark.parametrize("broken", ["memory/bad.md", "skills/bad/SKILL.md", "USER.md"])
def test_what_is_told_of_broken_files_comes_after_the_turns_beginning(house: House, broken: str) -> None:
    house.agent("assistant")
    house.write(f"workspace/.agents/assistant/{broken}", "").write_bytes(b"\xff\xfe")
    door = house.begin()
    turn = door.send("hi")
    door.ending(turn)
    first, second, *_ = door.of(turn)
    assert first.type == "turn_started"
    assert isinstance(second, Notice) and broken in second.text


def test_the_workspace_that_is_made_is_told_after_the_turns_beginning(house: House) -> None:
    door = house.begin()
    turn = door.send("hi")
    door.ending(turn)
    assert [each.type for each in door.of(turn)] == ["turn_started", "notice", "text", "done"]
    assert "Made the workspace" in door.of(turn)[1].record()["text"]
