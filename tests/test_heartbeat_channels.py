"""What a heartbeat says, and above all what it does not, on each way to people: terminal, Discord, gateway."""

from __future__ import annotations

import json
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import pytest

from agentkit.beats import Beats
from agentkit.gates import open_discord, open_gateway
from agentkit.names import encoded

from .beating import DAY, HOUR, HOURLY, MINE, World, is_beat, until
from .fullscreen import FullScreen
from .gateway import TOKEN as GATEWAY_TOKEN
from .gateway import Client
from .loopback import Answer, Loopback, Request, Response, json_error, text_stream
from .program import Terminal, environment, settled

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of the standard library, in the modules for sound
    pytest.importorskip("discord", reason="discord.py is not installed: pip install 'agentkit[discord]'")

from .discord_server import ANN, TOKEN, DiscordServer, redirected

MARKER = "HEARTBEAT_OK"
LONG = "The oven is at 250 degrees and the cake is black."


class Case(NamedTuple):
    """instructions: None: there is no file; says: the model; letter: what arrives, "": nothing; calls: of the model."""

    instructions: str | None
    says: str | Answer
    letter: str
    calls: int


CASES = {
    "missing": Case(None, "said all the same", "", 0),
    "empty": Case("", "said all the same", "", 0),
    "comments": Case("# Duties\n\n<!-- the oven\nand the stove -->\n## Later\n", "said all the same", "", 0),
    "ok": Case(HOURLY, MARKER, "", 1),
    "ok in Markdown": Case(HOURLY, f"**{MARKER}**.\n", "", 1),
    "ok and a little": Case(HOURLY, f"All is quiet here. {MARKER}", "", 1),
    "ok and much": Case(HOURLY, f"{MARKER}\n\n{LONG}", LONG, 1),
    "much and ok": Case(HOURLY, f"{LONG}\n{MARKER}", LONG, 1),
    "something": Case(HOURLY, LONG, LONG, 1),
    "nothing at all": Case(HOURLY, "", "", 1),
    "error": Case(HOURLY, json_error(400, "it is too warm"), "", 1),
}


class Way:
    """A way to a person, in a World: speaks for them, and sees what they are shown."""

    def __init__(self, world: World) -> None:
        self.world = world

    def open(self, stack: ExitStack) -> None:
        raise NotImplementedError

    def begin(self, text: str) -> None:
        raise NotImplementedError

    def shown(self) -> list[str]:
        """All that has come."""
        raise NotImplementedError

    def sees(self, *texts: str) -> None:
        """Wait until just these have come."""
        until(lambda: len(self.shown()) >= len(texts))
        assert self.shown() == [*texts]

    def passes(self, seconds: float = HOUR + 1) -> None:
        self.world.pass_(seconds)


class OnDiscord(Way):
    def open(self, stack: ExitStack) -> None:
        self.server = stack.enter_context(DiscordServer())
        stack.enter_context(redirected(self.server))
        stack.enter_context(self.world)
        channel = open_discord(self.world.app)
        until(lambda: channel.status().startswith("Discord is connected"))

    def begin(self, text: str) -> None:
        self.server.say(text)

    def shown(self) -> list[str]:
        return [each["content"] for each in self.server.sent_to(self.server.direct(ANN))]


class OnGateway(Way):
    def open(self, stack: ExitStack) -> None:
        stack.enter_context(self.world)
        program = SimpleNamespace(gateway=open_gateway(self.world.app, port=0))
        self.client = stack.enter_context(Client(cast(Any, program)))
        self._asked: list[int] = []

    def begin(self, text: str) -> None:
        self._asked.append(self.client.ask("send", text=text))

    def shown(self) -> list[str]:
        self.client.call("status")  # all that was sent before it has come by then
        answers = [
            (answer["result"]["reply"], answer["id"]) for id in self._asked if (answer := self.client.answers.get(id))
        ]
        letters = [each["text"] for each in self.client.events if each["type"] == "letter"]
        # A letter comes beside the answers, which are in order: it was between the first two, if there are as many.
        texts = [text for text, _ in answers]
        return [*texts[:1], *letters, *texts[1:]]


@pytest.fixture(params=[OnDiscord, OnGateway], ids=["discord", "gateway"])
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Way]:
    with ExitStack() as stack:
        world = World(
            tmp_path,
            channels=[],
            discord_bot_token=TOKEN,
            discord_allowed_users=(str(ANN),),
            gateway_token=GATEWAY_TOKEN,
        )
        made: Way = request.param(world)
        made.open(stack)
        yield made


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_said_arrives_and_silence_is_silent(way: Way, case: Case) -> None:
    world = way.world
    path = world.workspace / ".agents" / "assistant" / "HEARTBEAT.md"
    path.unlink()
    if case.instructions is not None:
        path.write_text(case.instructions)
    world.says[0] = case.says
    way.begin("hello")
    way.sees("You said: hello")
    way.passes()
    said = [case.letter] if case.letter else []
    way.sees("You said: hello", *said)
    way.begin("again")
    way.sees("You said: hello", *said, "You said: again")
    assert len(world.asked()) == case.calls
    [request] = [each for each in world.model.requests if each.said[-1] == "again"]
    assert request.said[1:] == ["hello", "You said: hello", *(["[heartbeat]", *said] if said else []), "again"]
    assert MARKER not in "".join(path.read_text() for path in (world.workspace / "sessions").rglob("*.json*"))


def test_the_same_text_is_said_once_a_day(way: Way) -> None:
    way.world.says[0] = LONG
    way.begin("hello")
    way.sees("You said: hello")
    for _ in range(3):
        way.passes()
    way.sees("You said: hello", LONG)
    way.passes(DAY)
    way.sees("You said: hello", LONG, LONG)
    assert len(way.world.asked()) == 4


def test_three_failures_of_the_key_pause_and_nobody_else_hears_of_it(way: Way) -> None:
    way.world.says[0] = json_error(401, "no")
    way.begin("hello")
    way.sees("You said: hello")
    for _ in range(4):
        way.passes()
    assert len(way.world.told) == 1 and len(way.world.asked()) == 1  # the key rests after that
    way.begin("/help")
    until(lambda: len(way.shown()) > 1)
    assert "conversation:" in way.shown()[1]


def test_while_somebody_is_answered_there_is_no_beat(way: Way) -> None:
    world, opened = way.world, threading.Event()
    way.begin("hello")
    way.sees("You said: hello")
    world.clock.tick()
    world.slow = opened
    way.begin("slowly")
    until(lambda: len(world.model.requests) == 2)
    world.now += 2 * HOUR
    world.clock.tick()
    opened.set()
    way.sees("You said: hello", "You said: slowly")
    world.settle()
    assert not world.asked() and not world.put


def test_whoever_speaks_interrupts_a_beat_and_is_answered(way: Way) -> None:
    world = way.world
    world.says[0] = Response(chunks=text_stream("The oven").chunks[:2], end="hang")
    way.begin("hello")
    way.sees("You said: hello")
    world.clock.tick()
    world.now += 2 * HOUR
    world.clock.tick()
    until(world.asked)
    way.begin("are you there?")
    way.sees("You said: hello", "You said: are you there?")
    world.settle()
    assert not world.put and world.model.requests[-1].said[1:] == ["hello", "You said: hello", "are you there?"]


# -- the terminal, as a process of its own


class Desk:
    """A workspace in which somebody spoke an hour ago, and no beat has come since: one is due."""

    def __init__(self, folder: Path, instructions: str | None) -> None:
        self.folder = settled(folder)
        workspace = folder / "workspace"
        self.file = workspace / ".agents" / "assistant" / "HEARTBEAT.md"
        if instructions is not None:
            self.file.write_text(instructions)
        self.session = workspace / "sessions" / encoded(MINE)
        self.session.mkdir(parents=True)
        at = datetime.now().astimezone().isoformat()
        meta = {"session": MINE, "channel": "cli", "peer": "cli-user", "to": "cli-user", "at": at}
        (self.session / "meta.json").write_text(json.dumps(meta))
        self.before(2 * HOUR).begin([MINE], time.time() - 2 * HOUR)

    def before(self, seconds: float) -> Beats:
        """What is known of the beats, at that time."""
        return Beats(self.folder / "workspace" / ".state" / "heartbeat.json", lambda: time.time() - seconds)

    @property
    def status(self) -> str:
        beat = self.before(0.0).get(MINE)
        return beat.status if beat else ""

    def said(self) -> list[str]:
        """In its conversations, in words."""
        lines = [line for path in self.session.glob("*.jsonl") for line in path.read_text().splitlines()]
        return [each["content"] for each in map(json.loads, lines) if "content" in each]

    def chat(self, server: Loopback) -> FullScreen:
        env = environment(self.folder, server.url, TERM="xterm-256color")
        return FullScreen(self.folder, env=env, columns=120)


def script(says: str | Answer) -> Any:
    def answer(request: Request, index: int) -> Answer:
        if not is_beat(request):
            return text_stream("You said: ", request.said[-1])
        return text_stream(says) if isinstance(says, str) else says

    return answer


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_on_the_screen_what_is_said_appears_and_silence_does_not(tmp_path: Path, case: Case) -> None:
    desk = Desk(tmp_path, case.instructions)
    with Loopback(script(case.says)) as server, desk.chat(server) as screen:
        screen.shows("ready")
        if case.calls:
            until(lambda: desk.status not in ("", "begun"))
        if case.letter:
            screen.shows(case.letter)
        screen.send("hello\r")
        screen.shows("● You said: hello")
        screen.send("/heartbeat\r")
        screen.shows("heartbeats  running")
        assert len([each for each in server.requests if is_beat(each)]) == case.calls
        assert MARKER not in screen.screen and "said all the same" not in screen.text
        asked = ["[heartbeat]", case.letter, "hello"] if case.letter else ["hello"]
        assert server.requests[-1].said[1:] == asked


@pytest.mark.parametrize(("ago", "said"), [(HOUR, False), (DAY + HOUR, True)])
def test_on_the_screen_the_same_text_does_not_come_twice_within_a_day(tmp_path: Path, ago: float, said: bool) -> None:
    desk = Desk(tmp_path, HOURLY)
    desk.before(ago).said(MINE, LONG)
    with Loopback(script(LONG)) as server, desk.chat(server) as screen:
        screen.shows("ready")
        until(lambda: desk.status not in ("", "begun"))
        assert desk.status.startswith("said" if said else "silent: it was the same")
        if said:
            screen.shows(LONG)
        screen.send("hello\r")
        screen.shows("● You said: hello")
        assert (LONG in screen.text) is said


def test_on_the_screen_three_failures_of_the_key_pause_with_one_notice(tmp_path: Path) -> None:
    desk = Desk(tmp_path, HOURLY)
    with Loopback(script(json_error(401, "no"))) as server, desk.chat(server) as screen:
        screen.shows("ready")
        until(lambda: desk.status.startswith("failed"))
        for _ in range(2):
            screen.send("/trigger\r")
            screen.shows(r"\(failed: [^)]*\)")
            screen.gone("working|waiting")
        assert screen.shows(r"Heartbeats are paused after 3 failures")
        screen.send("/heartbeat start\r")
        screen.shows("heartbeats  running")


def test_on_the_screen_a_busy_session_has_no_beat(tmp_path: Path) -> None:
    desk, opened = Desk(tmp_path, None), threading.Event()

    def answer(request: Request, index: int) -> Answer:
        return text_stream(LONG) if is_beat(request) else text_stream("At last.", before_headers=opened)

    with Loopback(answer) as server, desk.chat(server) as screen:
        screen.shows("ready")
        screen.send("slowly\r")
        server.wait_for_requests(1)
        desk.file.write_text(HOURLY)
        screen.send("/heartbeat\r")  # which looks
        until(lambda: desk.status == "skipped: the session was busy")
        opened.set()
        screen.shows("● At last")
        assert len(server.requests) == 1 and LONG not in screen.text


def test_on_the_screen_whoever_speaks_interrupts_a_beat_and_is_answered(tmp_path: Path) -> None:
    desk = Desk(tmp_path, HOURLY)
    hanging = Response(chunks=text_stream(LONG).chunks[:2], end="hang")
    with Loopback(script(hanging)) as server, desk.chat(server) as screen:
        server.wait_for_requests(1)
        screen.shows("ready")
        screen.send("are you there?\r")
        screen.shows("● You said: are you there?")
        until(lambda: desk.status == "interrupted")
        assert LONG not in screen.text
        assert desk.said() == ["are you there?", "You said: are you there?"]


def test_in_a_plain_chat_what_is_said_comes_as_a_line(tmp_path: Path) -> None:
    desk = Desk(tmp_path, HOURLY)
    with (
        Loopback(script(f"{LONG} {MARKER}")) as server,
        Terminal(desk.folder, "--plain", env=environment(tmp_path, server.url)) as chat,
    ):
        seen = chat.expect(LONG)
        chat.send("hello\n")
        seen += chat.expect("You said: hello")
        assert MARKER not in seen and server.requests[-1].said[-2:] == [LONG, "hello"]


def test_beside_another_process_heartbeat_names_it_and_shows_what_that_one_does(tmp_path: Path) -> None:
    desk = Desk(tmp_path, HOURLY)
    with Loopback(script(MARKER)) as server:
        env = environment(tmp_path, server.url)
        with Terminal(desk.folder, "--plain", env=env) as first:
            first.expect("> $")
            until(lambda: desk.status == "silent")
            before = (tmp_path / "workspace" / ".state" / "heartbeat.json").read_bytes()
            with Terminal(desk.folder, "--plain", env=env) as second:
                second.expect(rf"process {first.pid}\.")
                second.send("/heartbeat\n")
                second.expect(rf"heartbeats  done by process {first.pid}")
                second.expect(rf"{MINE}  every 60 minutes; last: [^(]*\(silent\)")
                second.send("/heartbeat stop\n")
                second.expect(rf"Process {first.pid} does that")
            assert (tmp_path / "workspace" / ".state" / "heartbeat.json").read_bytes() == before
            assert len([each for each in server.requests if is_beat(each)]) == 1
