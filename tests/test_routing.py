"""Who answers whom in the running program: bindings, sessions by scope, groups, and sessions that leave memory."""

from __future__ import annotations

import gc
import json
import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentkit import App
from agentkit.channel import AnswerAsk, Dispatch
from agentkit.events import ENDINGS, Done, Error, Event, Inbound, Notice, TurnStarted
from agentkit.session import Session
from agentkit.sessions import CROWDED, IDLE, MOST, Sessions
from agentkit.settings import Settings

from .beating import until
from .loopback import Loopback, Request, Response, text_stream
from .program import WAIT
from .scripted import Scripted, say, session

ALLOWED = ("ops", "assistant", "writer")


class Door:
    """A channel through which anybody speaks."""

    name, can_ask = "discord", False
    ask_limit: float | None = None

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._changed = threading.Condition()

    def start(self, dispatch: Dispatch, answer: AnswerAsk) -> None:
        self._dispatch = dispatch

    def show(self, event: Event) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def stop(self) -> None:
        pass

    def send(self, inbound: Inbound) -> str:
        self._dispatch(inbound)
        return inbound.turn

    def ended(self, turn: str) -> Event:
        """Wait for the end of a turn."""
        with self._changed:
            assert self._changed.wait_for(lambda: any(self._ends(each, turn) for each in self.events), WAIT)
        return next(each for each in self.events if self._ends(each, turn))

    def _ends(self, event: Event, turn: str) -> bool:
        return isinstance(event, ENDINGS) and event.turn == turn

    def say(self, text: str, channel: str = "discord", peer: str = "7", **more: str) -> Event:
        return self.ended(self.send(Inbound(text, channel, peer, **more)))

    def answer(self, text: str, **more: str) -> str:
        ending = self.say(text, **more)
        assert isinstance(ending, Done), ending
        return ending.text

    @property
    def notices(self) -> list[str]:
        return [each.text for each in self.events if isinstance(each, Notice)]


def by_agent(request: Request, index: int) -> Response:
    """Says which agent was asked, and how many messages it was sent."""
    prompt = request.json["messages"][0]["content"]
    agent = next(each for each in ALLOWED if f"I am {each}." in prompt)
    return text_stream(f"{agent} {len(request.json['messages'])}")


class House:
    def __init__(self, folder: Path, server: Loopback) -> None:
        self.folder, self.server, self.door = folder, server, Door()
        for agent in ALLOWED:
            self.agent(agent)
        self.app: App | None = None

    def agent(self, id: str, front: str = "") -> None:
        path = self.folder / "workspace" / ".agents" / id / "AGENT.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"---\n{front}\n---\nI am {id}.\n" if front else f"I am {id}.\n")

    def routes(self, *bindings: tuple[str, str, str]) -> None:
        records = [{"agent_id": agent, "match_key": key, "match_value": value} for agent, key, value in bindings]
        (self.folder / "workspace" / "routes.json").write_text(json.dumps(records))

    def open(self) -> Door:
        environ = {"HOME": str(self.folder), "PATH": os.environ["PATH"]}
        self.app = App(Settings("m", self.server.url, "", 32_000), [self.door], environ=environ)
        self.app.start()
        return self.door

    def close(self) -> None:
        if self.app:
            assert self.app.stop() == []
        self.app = None


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.chdir(tmp_path)
    with Loopback(by_agent) as server:
        made = House(tmp_path, server)
        yield made
        made.close()


def test_a_binding_says_who_answers_and_the_usual_agent_does_else(house: House) -> None:
    house.routes(("ops", "peer_id", "discord:7"), ("writer", "channel", "mail"))
    door = house.open()
    assert door.answer("hi").startswith("ops")
    assert door.answer("hi", peer="8").startswith("assistant")
    assert door.answer("hi", channel="mail", peer="8").startswith("writer")
    assert door.answer("hi", agent="writer").startswith("writer")


def test_an_agent_that_is_asked_for_and_is_not_there_is_told(house: House) -> None:
    ending = house.open().say("hi", agent="nobody")
    assert isinstance(ending, Error) and "nobody" in ending.message and "/agents" in ending.message


def test_bindings_are_made_explained_and_taken_back_in_the_chat(house: House) -> None:
    door = house.open()
    assert "ops answers peer_id 7" in door.answer(channel="cli", text="/bind ops peer_id 7 5")
    assert door.answer("hi").startswith("ops")
    assert "ops" in door.answer(channel="cli", text="/bindings") and "peer_id 7" in door.answer(
        channel="cli", text="/agents"
    )
    explained = door.answer(channel="cli", text="/route discord 7")
    assert explained.startswith("ops answers") and "agent:ops:direct:7" in explained
    assert "1 binding is gone" in door.answer(channel="cli", text="/unbind peer_id 7")
    assert door.answer("hi").startswith("assistant")
    for wrong in (
        "/bind",
        "/bind ops peer_id 7 much",
        "/unbind x",
        "/route discord",
        "/unbind peer_id 9",
        "/bind x y z",
    ):
        assert isinstance(door.say(wrong, channel="cli"), Error), wrong


def test_what_only_the_owner_may_do_is_refused_to_the_public(house: House) -> None:
    door = house.open()
    for text in (
        "/bind ops peer_id 7",
        "/status",
        "/profiles reset",
        "/prompt",
        "/remember a b",
        "/export",
        "/delivery",
    ):
        ending = door.say(text)
        assert isinstance(ending, Error) and "owner" in ending.message, text
    assert isinstance(door.say("/status", channel="websocket", via="websocket"), Done)
    assert isinstance(door.say("/status", channel="bridge", via="websocket"), Error)


def test_a_binding_to_an_agent_that_is_not_there_is_passed_over_with_one_notice(house: House) -> None:
    house.routes(("gone", "peer_id", "7"), ("ops", "channel", "discord"))
    door = house.open()
    assert door.answer("hi").startswith("ops") and door.answer("hi").startswith("ops")
    assert sum("gone" in each for each in door.notices) == 1


@pytest.mark.parametrize(
    ("scope", "shared"),
    [
        ("main", [True, True, True]),
        ("per-peer", [False, True, True]),
        ("per-channel-peer", [False, False, True]),
        ("per-account-channel-peer", [False, False, False]),
    ],
)
def test_the_scope_of_an_agent_says_who_shares_a_session(house: House, scope: str, shared: list[bool]) -> None:
    house.agent("assistant", f"dm_scope: {scope}")
    door = house.open()
    door.answer("hi", account="a")
    others = [{"peer": "8", "account": "a"}, {"channel": "mail", "account": "a"}, {"account": "b"}]
    first = door.events[-1].session
    assert [door.say("hi", **other).session == first for other in others] == shared


def test_in_a_group_everybody_shares_a_session_and_is_named(house: House) -> None:
    door = house.open()
    door.answer("hi", peer="1", group="42", guild="9", sender="Ann")
    door.answer("hello", peer="2", group="42", guild="9", sender="Bob")
    assert house.server.requests[-1].said[1:] == ["Ann: hi", "assistant 2", "Bob: hello"]
    assert {each.session for each in door.events if isinstance(each, TurnStarted)} == {
        "agent:assistant:discord:group:42"
    }
    assert "assistant" in door.answer("/agents", peer="2", group="42", guild="9", sender="Bob")


def test_after_a_restart_a_session_of_another_channel_goes_on_where_it_was(house: House) -> None:
    assert house.open().answer("one") == "assistant 2"
    house.close()
    house.door = Door()
    assert house.open().answer("two") == "assistant 4"


def test_two_people_are_answered_side_by_side_and_each_in_order(house: House) -> None:
    door = house.open()
    turns = [(peer, door.send(Inbound(f"{number}", "discord", peer))) for number in range(5) for peer in "12"]
    for _, turn in turns:
        assert isinstance(door.ended(turn), Done)
    for peer in "12":
        mine = [turn for each, turn in turns if each == peer]
        order = [each.turn for each in door.events if isinstance(each, Done) and each.turn in mine]
        assert order == mine


# -- sessions in memory


class Rooms:
    """Sessions with nothing in them, of which some are busy."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.made, self.now, self.busy = folder, 0, 0.0, set[str]()
        self.sessions = Sessions(lambda key: key in self.busy, lambda: self.now)

    def get(self, key: str, stays: bool = False) -> Session:
        def make() -> Session:
            self.made += 1
            return session(self.folder, Scripted())

        return self.sessions.get(key, make, stays)


@pytest.fixture
def rooms(tmp_path: Path) -> Iterator[Rooms]:
    made = Rooms(tmp_path)
    yield made
    made.sessions.stop()


def test_a_session_in_use_is_the_same_one(rooms: Rooms) -> None:
    assert rooms.get("a") is rooms.get("a") and rooms.made == 1


def test_a_session_that_nobody_has_used_for_ten_minutes_leaves_memory(rooms: Rooms) -> None:
    idle, busy, seen = rooms.get("idle"), rooms.get("busy"), rooms.get("seen", stays=True)
    rooms.busy.add("busy")
    rooms.now = IDLE - 1
    rooms.sessions.look()
    late = rooms.get("late")
    assert rooms.sessions.all() == [idle, busy, seen, late]
    rooms.now = IDLE
    rooms.sessions.look()
    assert rooms.sessions.all() == [busy, seen, late]
    assert rooms.get("idle") is not idle


def test_a_session_leaves_memory_by_itself_when_its_own_ten_minutes_are_over(rooms: Rooms) -> None:
    rooms.busy.add("busy")
    rooms.get("busy")
    rooms.now = 300.0
    rooms.get("idle")
    rooms.now = 300.0 + 600.0 - 0.05  # so much is left of them, whatever a look before found
    late = rooms.get("late")
    rooms.sessions.look()
    assert len(rooms.sessions.all()) == 3
    rooms.now = 300.0 + 600.0
    until(lambda: len(rooms.sessions.all()) == 2)
    assert late in rooms.sessions.all()


def test_a_session_that_has_left_memory_takes_none(rooms: Rooms) -> None:
    gc.disable()
    try:
        gone = weakref.ref(rooms.get("idle").store)
        rooms.now = IDLE
        rooms.sessions.look()
        assert gone() is None
    finally:
        gc.enable()


def test_in_a_crowd_a_moment_is_enough_and_who_came_last_stays(rooms: Rooms) -> None:
    for number in range(MOST + 10):
        rooms.get(str(number))
    assert len(rooms.sessions.all()) == MOST + 10
    rooms.now = CROWDED
    last = rooms.get("last")
    assert len(rooms.sessions.all()) == MOST and rooms.sessions.all()[-1] is last


def test_what_was_chosen_and_is_in_no_file_stays_in_memory(rooms: Rooms) -> None:
    anew, chosen, plain = rooms.get("anew"), rooms.get("chosen"), rooms.get("plain")
    anew.start(anew.archive.new())
    chosen.model = "another"
    rooms.now = 2 * IDLE
    rooms.sessions.look()
    assert rooms.sessions.all() == [anew, chosen] and plain not in rooms.sessions.all()


def test_a_message_is_taken_by_the_session_that_is_in_memory_then(house: House) -> None:
    door = house.open()
    assert house.app is not None
    for number in range(3):
        door.answer("hi", peer="early")
        for other in range(MOST + 3):  # those before are crowded out, sooner or later
            house.app.view(Inbound("", "discord", f"{number}-{other}"))
    assert door.answer("hi", peer="early") == "assistant 8"


def test_what_cannot_be_saved_stays_in_memory(rooms: Rooms) -> None:
    full = rooms.get("full")
    (rooms.folder / "sessions").write_text("a file in the folder's place")
    say(full, "hi")
    rooms.now = 2 * IDLE
    rooms.sessions.look()
    assert rooms.sessions.all() == [full]


def test_people_who_have_spoken_once_take_no_thread(house: House) -> None:
    door = house.open()
    before = threading.active_count()
    for number in range(300):
        door.answer("/agents", peer=f"person-{number}")
    assert threading.active_count() <= before + 1  # the one that gives sessions up


def test_route_tells_of_who_was_switched_to(house: House) -> None:
    door = house.open()
    assert house.app is not None
    door.name = "cli"
    door.answer("/switch ops", channel="cli", peer="me")
    told = door.answer("/route cli me", channel="cli", peer="me").split("\n")
    assert told[0].startswith("ops answers: it was chosen with /switch") and told[-1].endswith("agent:ops:direct:me.")
    assert door.answer("/route cli you", channel="cli", peer="me").startswith("assistant answers")
