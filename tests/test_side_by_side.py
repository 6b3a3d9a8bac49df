"""The terminal, programs and Discord at the same time: one agent each, and the same session from two of them."""

from __future__ import annotations

import json
import os
import re
import threading
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agentkit import App, gates
from agentkit.channel import AnswerAsk, Dispatch
from agentkit.channels.others import Others
from agentkit.contacts import Contacts
from agentkit.envelope import Letter
from agentkit.events import ENDINGS, Answer, Ask, Done, Event, Heard, Inbound, Interrupted, Notice, Text
from agentkit.session import Opening
from agentkit.settings import Settings

from . import discord_server
from .discord_server import ANN, BOB, DiscordServer, redirected
from .fullscreen import FullScreen
from .gateway import TOKEN, Client
from .loopback import Loopback, Request, Response, call_stream, text_stream
from .program import WAIT, Terminal, environment

ENTER, ESC = "\r", "\x1b"
OWNER = "cli-user"
SHARED = f"agent:assistant:direct:{OWNER}"
ONE_EACH = {"cli": "tess", "websocket": "gwen", "discord": "dora"}


class Model:
    """Says which agent it is, and what it was told. It stops in the middle of the answer to what says `slowly`, or at
    its very end, until `go` is set for that; to `launch` it calls a tool that asks, and tells its result."""

    def __init__(self) -> None:
        self.go: dict[str, threading.Event] = defaultdict(threading.Event)

    def __call__(self, request: Request, index: int) -> Response:
        system, said = request.said[0], request.said[-1]
        name = found[1] if (found := re.search(r"You are (\w+)\.", system)) else "?"
        if request.json["messages"][-1]["role"] == "tool":
            return text_stream(f"{name} tells: {said}")
        if said.startswith("launch"):
            return call_stream(("bash", {"command": "touch launched; echo done"}))
        go = self.go[said]
        if "slowly" in said:
            last = 2 if "end" in said else 1
            return text_stream(f"{name} has", f" heard {said}", between=lambda piece: piece == last and go.wait(WAIT))
        return text_stream(name, " has heard ", said)


class Screen:
    """The terminal of the program, as a channel that notes what it is shown."""

    limit: int | None = None
    can_ask = True
    ask_limit: float | None = None

    def __init__(self, name: str = "cli") -> None:
        self.name = name
        self.events: list[Event] = []
        self.letters: list[str] = []
        self._changed = threading.Condition()

    def start(self, dispatch: Dispatch, answer: AnswerAsk) -> None:
        self._dispatch, self.answer = dispatch, answer

    def show(self, event: Event) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def send(self, letter: Letter) -> None:
        with self._changed:
            self.letters.append(letter.text)
            self._changed.notify_all()

    def stop(self) -> None:
        pass

    def say(self, text: str) -> Inbound:
        inbound = Inbound(text, self.name, OWNER)
        self._dispatch(inbound)
        return inbound

    def wait(self, condition: Callable[[], Any]) -> Any:
        with self._changed:
            assert self._changed.wait_for(condition, WAIT), self.events
            return condition()

    def ending(self, turn: str) -> Event:
        return self.wait(lambda: self.endings(turn))[0]  # type: ignore[no-any-return]

    def endings(self, turn: str) -> list[Event]:
        return [each for each in self.events if each.turn == turn and isinstance(each, ENDINGS)]

    def reply(self, text: str) -> str:
        ending = self.ending(self.say(text).turn)
        assert isinstance(ending, Done), ending
        return ending.text

    def heard(self, text: str) -> str:
        """Wait until somebody else's message is being answered; returns its turn."""
        found = self.wait(lambda: [each for each in self.events if isinstance(each, Heard) and each.text == text])
        return str(found[0].turn)


class World:
    """A folder with agents, a model, and programs in it, one after the other."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(folder)
        self.folder, self.workspace = folder, folder / "workspace"
        self.say = Model()
        self.model = Loopback(self.say)
        self._apps: list[App] = []

    def agent(self, id: str, head: str = "") -> None:
        file = self.workspace / ".agents" / id / "AGENT.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{head}You are {id}.")

    def bind(self, agents: dict[str, str]) -> None:
        for id in agents.values():
            self.agent(id)
        records = [
            {"agent_id": id, "tier": 4, "match_key": "channel", "match_value": channel, "priority": 0}
            for channel, id in agents.items()
        ]
        (self.workspace / "routes.json").write_text(json.dumps(records))

    def begin(self, *channels: Screen, agent: str = "", opening: Opening = Opening()) -> App:
        """Start, with a gateway."""
        settings = Settings(
            "m",
            self.model.url,
            "",
            32_000,
            gateway_port=0,
            gateway_token=TOKEN,
            discord_bot_token=discord_server.TOKEN,
            discord_allowed_users=(str(ANN), str(BOB)),
        )
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        app = App(settings, channels, agent=agent, opening=opening, environ=environ)
        self._apps.append(app)
        app.start()
        gates.open_gateway(app)
        return app

    def end(self) -> None:
        for go in list(self.say.go.values()):
            go.set()
        while self._apps:
            assert self._apps.pop().stop() == []


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(tmp_path, monkeypatch)
    with made.model:
        yield made
        made.end()


@pytest.fixture
def discord() -> Iterator[DiscordServer]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the standard library, in the modules for sound
        pytest.importorskip("discord", reason="discord.py is not installed: pip install 'agentkit[discord]'")
    with DiscordServer() as made, redirected(made):
        yield made


def client(app: App) -> Client:
    return Client(SimpleNamespace(gateway=app.channels["websocket"]))  # type: ignore[arg-type]


def texts(discord: DiscordServer, channel: int, count: int) -> list[str]:
    return [each["content"] for each in discord.wait_for_sent(count, channel)]


# -- one agent each


def test_many_turns_at_once_on_all_three_get_their_own_answers_in_order(discord: DiscordServer, world: World) -> None:
    world.bind(ONE_EACH)
    screen = Screen()
    app = world.begin(screen)
    gates.open_discord(app)
    discord.wait(lambda: discord.identified)
    with client(app) as one, client(app) as two:
        turns: list[str] = []
        sent: dict[Client, list[int]] = {one: [], two: []}
        directly = {ANN: discord.direct(ANN), BOB: discord.direct(BOB)}
        for number in range(8):
            turns.append(screen.say(f"cli {number}").turn)
            for each, peer in ((one, "one"), (two, "two")):
                sent[each].append(each.ask("send", text=f"{peer} {number}", peer_id=peer, stream=each is one))
            for user in directly:
                discord.say(f"{'ann' if user == ANN else 'bob'} {number}", user)
            discord.mention(f"general {number}", ANN if number % 2 else BOB)
        for number in range(8):
            ending = screen.ending(turns[number])
            assert isinstance(ending, Done) and ending.text == f"tess has heard cli {number}"
            for each, peer in ((one, "one"), (two, "two")):
                result = each.answer(sent[each][number])["result"]
                assert result["reply"] == f"gwen has heard {peer} {number}"
                assert result["session_key"] == f"agent:gwen:direct:{peer}"
        for user, name in ((ANN, "ann"), (BOB, "bob")):
            assert texts(discord, directly[user], 8) == [f"dora has heard {name} {number}" for number in range(8)]
        in_public = [f"dora has heard {'Ann' if number % 2 else 'Bob'}: general {number}" for number in range(8)]
        assert texts(discord, discord_server.GENERAL, 8) == in_public
    assert_kept_apart(world.model)
    assert_own_only(one, sent[one], "gwen has heard one")
    assert not two.events
    told = shown_by(screen, turns)
    assert {each.turn for each in told} == set(turns) and len([e for e in told if isinstance(e, ENDINGS)]) == 8
    assert "".join(each.text for each in told if isinstance(each, Text)).count("tess has heard cli") == 8


def assert_kept_apart(model: Loopback) -> None:
    """Each session has asked in order, and what others have said was never in it."""
    latest: dict[str, int] = {}
    for request in model.requests:
        said = [text.split(": ")[-1].split() for text in request.said[1:] if "has heard" not in text]
        assert len({words[0] for words in said}) == 1, said
        assert [int(words[1]) for words in said] == list(range(len(said)))
        assert latest.get(said[0][0], 0) == len(said) - 1
        latest[said[0][0]] = len(said)
    assert latest == dict.fromkeys(("cli", "one", "two", "ann", "bob", "general"), 8)


def assert_own_only(one: Client, sent: list[int], words: str) -> None:
    """What was streamed are the turns of these requests, one after the other."""
    assert list(dict.fromkeys(each["request"] for each in one.events)) == sent
    for number, id in enumerate(sent):
        mine = [each for each in one.events if each["request"] == id]
        text = "".join(each["text"] for each in mine if each["type"] == "text")
        assert text == f"{words} {number}" and mine[-1]["type"] == "done"


def shown_by(screen: Screen, turns: list[str]) -> list[Event]:
    """What a terminal would tell of all that it was shown."""
    ending = screen.ending(turns[0])
    others = Others(lambda: ending.session)
    for turn in turns:
        others.exclude(turn)
    return [told for event in screen.events if (told := others.told(event)) is not None and told.turn]


REDIRECT = """
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

from agentkit import tool

Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = {rest!r}, yarl.URL({gateway!r})

@tool
def nothing() -> str:
    "Does nothing."
    return ""
"""


class Shown(FullScreen):
    """The program on a full screen, its gateway open. how: more of its environment."""

    def __init__(self, folder: Path, model: Loopback, *arguments: str, **how: str) -> None:
        more = {"TERM": "xterm-256color", "GATEWAY_PORT": "0", "GATEWAY_TOKEN": TOKEN, **how}
        super().__init__(folder, *arguments, env=environment(folder, model.url, **more))
        self.shows("ready")
        self.enter("/gateway")
        url = re.findall(r"ws://[0-9.]+:\d+", self.shows(r"listens at ws://127\.0\.0\.1:\d+"))[0]
        self.gateway = SimpleNamespace(url=url)

    def __enter__(self) -> Shown:
        return self

    def client(self) -> Client:
        return Client(self)  # type: ignore[arg-type]

    def enter(self, text: str) -> None:
        self.send(text + ENTER)

    def in_order(self, *patterns: str) -> None:
        self.shows("(?s)" + ".*".join(patterns))


def test_on_the_full_screen_the_user_types_while_programs_and_discord_talk(
    tmp_path: Path, discord: DiscordServer, world: World
) -> None:
    world.bind(ONE_EACH)
    (tmp_path / "redirect.py").write_text(REDIRECT.format(rest=discord.rest, gateway=discord.gateway))
    how = {"DISCORD_BOT_TOKEN": discord_server.TOKEN, "DISCORD_ALLOWED_USERS": str(ANN)}
    with Shown(tmp_path, world.model, "--tools", "redirect.py", **how) as screen:
        screen.enter("/discord")
        discord.wait(lambda: discord.identified)
        with screen.client() as one, screen.client() as two:
            sent = []
            for number in range(6):
                sent += [(each, each.ask("send", text=f"ws {number}", peer_id=str(id(each)))) for each in (one, two)]
                discord.say(f"ann {number}")
                for key in f"typed {number}":
                    screen.send(key)
                screen.send(ENTER)
            screen.send("a draft")
            for each, id_ in sent:
                assert each.answer(id_)["result"]["reply"].startswith("gwen has heard ws")
            assert texts(discord, discord.direct(ANN), 6) == [f"dora has heard ann {number}" for number in range(6)]
            for number in range(3, 6):
                screen.in_order(f"› typed {number}\n", f"● tess has heard typed {number}\n")
            screen.shows("> a draft")
            assert "gwen" not in screen.screen and "dora" not in screen.screen
            assert "(websocket)" not in screen.screen and "(discord)" not in screen.screen
            screen.enter("\x15slowly mine")
            screen.shows("● tess has\n")
            last = one.ask("send", text="slowly ws")
            discord.say("slowly ann")
            world.model.wait_for_requests(27)
            screen.enter("/gateway stop")
            screen.shows("/gateway is closed")
            screen.enter("/discord stop")
            screen.shows("/discord is closed")
            assert one.answer(last)["error"]["code"] == -32003
            for said in ("slowly ws", "slowly ann", "slowly mine"):
                world.say.go[said].set()
            screen.shows("● tess has heard slowly mine\n")
            screen.shows("ready")
            assert "gwen" not in screen.screen and "dora" not in screen.screen
        screen.send("\x04")
        assert screen.wait() == 0


# -- the same session from two channels


@pytest.fixture
def shared(world: World) -> Iterator[tuple[Shown, Client]]:
    """The full screen, and a client that speaks in its session."""
    world.agent("assistant")
    with Shown(world.folder, world.model) as screen, screen.client() as talking:
        yield screen, talking
        for go in list(world.say.go.values()):
            go.set()


def send(talking: Client, text: str, **more: Any) -> int:
    return talking.ask("send", text=text, peer_id=OWNER, **more)


def reply(talking: Client, id: int) -> str:
    return str(talking.answer(id)["result"]["reply"])


def test_what_the_other_channel_says_and_its_answer_are_on_the_screen(shared: tuple[Shown, Client]) -> None:
    screen, talking = shared
    assert reply(talking, send(talking, "hello")) == "assistant has heard hello"
    screen.in_order(rf"{OWNER} \(websocket\): hello\n", "assistant has heard hello\n")
    screen.enter("and me?")
    screen.in_order("has heard hello\n", "› and me", "● .*has heard and me")
    history = talking.call("sessions.history", session_key=SHARED)["messages"]
    assert [each["text"] for each in history][::2] == ["hello", "and me?"]


def test_what_is_said_while_the_others_are_answered_comes_below_their_answer(
    world: World, shared: tuple[Shown, Client]
) -> None:
    screen, talking = shared
    first = send(talking, "slowly one")
    screen.shows(r"\(websocket\): slowly one")
    screen.enter("slowly mine")
    screen.shows("› slowly mine")
    second = send(talking, "two")
    world.say.go["slowly one"].set()
    screen.in_order(r"\): slowly one\n", "heard slowly one\n", "› slowly mine", "● assistant has\n")
    world.say.go["slowly mine"].set()
    assert reply(talking, first) + reply(talking, second) == "assistant has heard slowly oneassistant has heard two"
    screen.in_order("heard slowly one\n", "› slowly mine", "● .* heard slowly mine", r"\): two\n", "has heard two\n")
    assert [each.said[-1] for each in world.model.requests] == ["slowly one", "slowly mine", "two"]


def test_nothing_comes_into_the_middle_of_an_answer_that_is_written(world: World, shared: tuple[Shown, Client]) -> None:
    screen, talking = shared
    screen.enter("slowly mine")
    screen.shows("● assistant has\n")
    sent = [send(talking, f"number {number}", stream=True) for number in range(3)]
    with screen.client() as another:
        assert another.call("send", text="apart", peer_id="another")["reply"] == "assistant has heard apart"
    assert "number" not in screen.text
    world.say.go["slowly mine"].set()
    assert [reply(talking, id) for id in sent] == [f"assistant has heard number {number}" for number in range(3)]
    pairs = [f"\\): number {number}\n.*has heard number {number}\n" for number in range(3)]
    screen.in_order("› slowly mine\n", "● assistant has heard slowly mine\n", *pairs)
    assert "apart" not in screen.screen


def test_a_conversation_that_the_other_channel_opens_does_not_come_between_ones_question_and_its_answer(
    world: World, shared: tuple[Shown, Client]
) -> None:
    screen, talking = shared
    for text in ("plum", "/save fruit", "/new other", "slowly one"):
        sent = send(talking, text)
    load = send(talking, "/load fruit")
    screen.shows(r"\): slowly one")
    screen.enter("slowly mine")
    screen.shows("› slowly mine")
    world.say.go["slowly one"].set()
    reply(talking, sent)
    assert "fruit" in reply(talking, load)
    screen.shows("● assistant has\n")
    assert "plum" not in screen.shows(r"(?s)\): slowly one.*This is fruit.*› slowly mine")
    world.say.go["slowly mine"].set()
    screen.in_order("This is fruit", "› slowly mine\n\n● assistant has heard slowly mine\n")
    assert world.model.requests[-1].said[1:] == ["plum", "assistant has heard plum", "slowly mine"]


def test_a_question_to_the_other_channel_is_shown_and_keys_do_not_answer_it(
    world: World, shared: tuple[Shown, Client]
) -> None:
    screen, talking = shared
    sent = send(talking, "launch it")
    asked = talking.said("ask")
    screen.shows(rf"bash wants to run, {OWNER} \(websocket\) decides: \$ touch launched")
    for key in "yan":
        screen.send(key)
    screen.shows("> yan")
    screen.send("\x15")
    screen.enter("mine")
    screen.shows("› mine")
    screen.send(ESC)
    screen.in_order("decides", "› mine", "interrupted")
    assert "your decision" not in screen.screen and not (world.folder / "launched").exists()
    assert talking.call("approve", id=asked["id"], decision="always") == {"accepted": True}
    assert "done" in reply(talking, sent) and (world.folder / "launched").exists()
    screen.shows("assistant tells: ")
    screen.enter("launch another")  # what was always allowed over there is asked here
    screen.shows("your decision")
    screen.send(ESC)
    screen.in_order("launch another", "✗", "assistant tells: ")


def test_esc_stops_what_was_said_here_and_not_what_runs_for_the_others(
    world: World, shared: tuple[Shown, Client]
) -> None:
    screen, talking = shared
    first = send(talking, "slowly one")
    screen.shows(r"\(websocket\): slowly one")
    screen.enter("mine, waiting")
    screen.shows("Esc stops")
    screen.send(ESC)
    screen.in_order("› mine, waiting", "interrupted", "ready")
    screen.enter("slowly mine")
    screen.shows("› slowly mine")
    world.say.go["slowly one"].set()
    assert reply(talking, first) == "assistant has heard slowly one"
    screen.shows("● assistant has\n")
    last = send(talking, "last")
    screen.send(ESC)
    assert reply(talking, last) == "assistant has heard last"
    screen.in_order("interrupted", "heard slowly one\n", "› slowly mine", "● assistant has\n", "interrupted", "last\n")
    said = world.model.requests[-1].said
    assert said[1:4] == ["slowly one", "assistant has heard slowly one", "mine, waiting"] and said[-1] == "last"


class Lines(Terminal):
    """The same, line by line."""

    def __init__(self, folder: Path, model: Loopback) -> None:
        env = environment(folder, model.url, GATEWAY_PORT="0", GATEWAY_TOKEN=TOKEN)
        super().__init__(folder, "--plain", env=env)
        self.expect("> $")
        self.send("/gateway\n")
        url = re.findall(r"ws://[0-9.:]+\d", self.expect(r"listens at ws://127\.0\.0\.1:\d+;"))[0]
        self.gateway = SimpleNamespace(url=url)
        self.expect("> $")

    def __enter__(self) -> Lines:
        return self


@pytest.fixture
def lines(world: World) -> Iterator[tuple[Lines, Client]]:
    world.agent("assistant")
    with Lines(world.folder, world.model) as terminal, Client(terminal) as talking:  # type: ignore[arg-type]
        yield terminal, talking
        for go in list(world.say.go.values()):
            go.set()


def test_line_by_line_turns_of_the_others_come_apart_from_ones_own(world: World, lines: tuple[Lines, Client]) -> None:
    terminal, talking = lines
    assert reply(talking, send(talking, "hello")) == "assistant has heard hello"
    them = rf"{OWNER} \(websocket\)"
    terminal.expect(rf"\n{them}: hello\r\n(> \r\n)?to {them}: assistant has heard hello\r\n> $")
    first = send(talking, "slowly one")
    terminal.expect(r"\): slowly one\r\n> $")
    terminal.send("slowly mine\n")
    terminal.expect("slowly mine\r\n")
    world.say.go["slowly one"].set()
    terminal.expect(rf"^to {them}: assistant has heard slowly one\r\nassistant has$")
    sent = [send(talking, f"number {number}") for number in range(2)]
    settled(lambda: talking.call("status")["lanes"][0]["waiting"] == 2)
    assert reply(talking, first) == "assistant has heard slowly one"
    world.say.go["slowly mine"].set()
    assert [reply(talking, id) for id in sent] == [f"assistant has heard number {number}" for number in range(2)]
    shown = terminal.expect(r"to .*: assistant has heard number 1\r\n")
    assert "heard slowly mine\r\n" in shown.partition("number 0")[0] and shown.count("number 0") == 2


def test_line_by_line_what_the_others_are_asked_is_not_answered_here_and_an_interrupt_is_for_ones_own(
    world: World, lines: tuple[Lines, Client]
) -> None:
    terminal, talking = lines
    sent = send(talking, "launch it")
    asked = talking.said("ask")
    terminal.expect(rf"note: bash wants to run, {OWNER} \(websocket\) decides: ")
    terminal.expect("> $")
    terminal.send("y\n")
    terminal.expect("y\r\n")
    terminal.send("/stop\n")
    terminal.expect("Interrupted|interrupted")
    terminal.expect("> $")
    terminal.send("/status\n")
    terminal.expect("> $")
    assert not (world.folder / "launched").exists()
    talking.call("approve", id=asked["id"], decision="deny", reason="not now")
    assert "not now" in reply(talking, sent)
    terminal.expect(r"to .*not now\r\n> $")
    assert [each.said[-1] for each in world.model.requests[:1]] == ["launch it"] and len(world.model.requests) == 2


def test_a_command_that_answers_beside_an_answer_does_not_have_it_repeated(
    world: World, lines: tuple[Lines, Client]
) -> None:
    terminal, _ = lines
    terminal.send("slowly to the end\n")
    terminal.expect("assistant has heard slowly to the end$")
    terminal.send("/lanes\n")
    terminal.expect(f"{SHARED}.*\r\n")
    world.say.go["slowly to the end"].set()
    terminal.expect("^> $")


TOLD = """
import sys, threading
from pathlib import Path
from agentkit import App
from agentkit.channels.plain import Plain
from agentkit.events import Inbound
from agentkit.settings import Settings

def tell():
    for line in open("letters"):
        app.tell(line.strip())

console = Plain()
app = App(Settings("m", sys.argv[1], "", 32_000), [console])
app.start()
threading.Thread(target=tell, daemon=True).start()
app.open(Inbound("", console.name, console.peer))
console.loop(app.commands, app.interrupt, app.session_key)
"""


def test_line_by_line_news_wait_for_the_end_of_an_answer_and_a_question_is_asked_again_below_them(world: World) -> None:
    world.agent("assistant")
    os.mkfifo("letters")
    news = os.open("letters", os.O_RDWR)  # which does not wait for a reader
    env = environment(world.folder)
    with Terminal(world.folder, world.model.url, env=env, program=("-c", TOLD)) as terminal, open(news, "w") as to:
        terminal.expect("> $")
        terminal.send("slowly mine\n")
        terminal.expect("assistant has")
        print("the post is here", file=to, flush=True)
        terminal.send("/status\n")  # it is asked for, so that it does not wait
        terminal.expect("model")
        world.say.go["slowly mine"].set()
        assert "the post" not in terminal.expect(r"heard slowly mine\r\n")
        terminal.expect(r"^warn: the post is here\r\n> $")
        print("now it comes at once", file=to, flush=True)
        terminal.expect(r"^\r\nwarn: now it comes at once\r\n> $")
        terminal.send("launch it\n")
        terminal.expect("Allow.*: $")
        print("and now", file=to, flush=True)
        terminal.expect(r"^\r\nwarn: and now\r\n\r\nbash wants to run:(.*\r\n)+Allow.*: $")
        terminal.send("n\n")
        terminal.expect("assistant tells: .*\r\n> $")


def test_discord_and_a_program_in_one_session_take_turns(discord: DiscordServer, world: World) -> None:
    world.agent("assistant", "---\ndm_scope: main\n---\n")
    screen = Screen()
    app = world.begin(screen)
    gates.open_discord(app)
    discord.wait(lambda: discord.identified)
    with client(app) as talking:
        discord.say("slowly ann 0")
        screen.heard("slowly ann 0")
        sent = [send(talking, "slowly ws 0", stream=True)]
        settled(lambda: app.lanes.view()[0].waiting == 1)
        own = [screen.say("cli 0").turn]
        for number in range(1, 4):
            discord.say(f"ann {number}", BOB if number == 2 else ANN)
            settled(lambda number=number: app.lanes.view()[0].waiting == 3 * number)  # type: ignore[misc]
            sent.append(send(talking, f"ws {number}"))
            settled(lambda number=number: app.lanes.view()[0].waiting == 3 * number + 1)  # type: ignore[misc]
            own.append(screen.say(f"cli {number}").turn)
        discord.say("/stop")  # it is the owner's, and others', who wait
        assert "Interrupted" in texts(discord, discord.direct(ANN), 1)[0]
        world.say.go["slowly ws 0"].set()
        assert [reply(talking, id) for id in sent] == ["assistant has heard slowly ws 0"] + [
            f"assistant has heard ws {number}" for number in range(1, 4)
        ]
        endings = [screen.ending(turn) for turn in own]
        assert [each.text for each in endings if isinstance(each, Done)] == [
            f"assistant has heard cli {number}" for number in range(4)
        ]
        assert texts(discord, discord.direct(ANN), 4)[1:] == [
            "interrupted",
            "assistant has heard ann 1",
            "assistant has heard ann 3",
        ]
        assert texts(discord, discord.direct(BOB), 1) == ["assistant has heard ann 2"]
        assert {each["turn"] for each in talking.events} == {talking.events[0]["turn"]}
    said = world.model.requests[-1].said[1:]
    assert said[::2] == ["slowly ann 0", "slowly ws 0", "cli 0"] + [
        f"{who} {number}" for number in range(1, 4) for who in ("ann", "ws", "cli")
    ]
    assert_each_turn_at_once(screen.events)


def assert_each_turn_at_once(events: list[Event]) -> None:
    """What belongs to a turn comes together, from when it is heard of, or begins, to its end."""
    open_turn = ""
    for each in events:
        if each.turn and each.type in ("heard", "turn_started", "text", "tool_started", "ask"):
            assert open_turn in ("", each.turn), (open_turn, each)
            open_turn = each.turn
        elif isinstance(each, ENDINGS) and each.turn == open_turn:
            open_turn = ""


def settled(ready: Callable[[], bool]) -> None:
    """Wait until something has come about that nobody tells of."""
    pause = threading.Event()
    for _ in range(int(WAIT / 0.01)):
        if ready():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come about")


# -- who may stop what


def test_a_stop_is_for_ones_own_turns_and_the_owner_of_the_machine_has_those_of_others_stopped_in_words(
    discord: DiscordServer, world: World
) -> None:
    world.agent("assistant", "---\ndm_scope: main\n---\n")
    screen = Screen()
    app = world.begin(screen)
    gates.open_discord(app)
    discord.wait(lambda: discord.identified)
    with client(app) as talking:
        first = send(talking, "slowly one")
        screen.heard("slowly one")
        discord.say("/stop")
        assert "Nothing is running" in texts(discord, discord.direct(ANN), 1)[0]
        assert not app.interrupt(Inbound("", "cli", OWNER))  # a key, too late
        waiting = screen.say("mine")
        assert app.interrupt(Inbound("", "cli", OWNER)) and isinstance(screen.ending(waiting.turn), Interrupted)
        world.say.go["slowly one"].set()
        assert reply(talking, first) == "assistant has heard slowly one"
        second = send(talking, "slowly two")
        screen.heard("slowly two")
        assert screen.reply("/stop") == "Interrupted."
        assert talking.answer(second)["error"]["data"]["category"] == "interrupted"
        assert len(screen.endings(waiting.turn)) == 1


def test_a_message_that_was_stopped_while_it_waited_is_kept_and_a_command_has_no_effect(world: World) -> None:
    world.agent("assistant")
    screen = Screen()
    app = world.begin(screen)
    with client(app) as talking:
        first = send(talking, "slowly one")
        screen.heard("slowly one")
        for text in ("mine", "/new other"):
            turn = screen.say(text).turn
            assert screen.reply("/stop") == "Interrupted."
            assert screen.endings(turn) == [Interrupted("", session=SHARED, turn=turn)]
        world.say.go["slowly one"].set()
        reply(talking, first)
        assert screen.reply("again") == "assistant has heard again"
    assert world.model.requests[-1].said[3:] == ["mine", "[interrupted]", "again"]
    assert len(world.model.requests) == 2


# -- who is the terminal


def test_a_program_that_says_it_is_the_terminal_begins_no_new_conversation(world: World) -> None:
    world.agent("assistant")
    for text in ("one", "two"):
        with client(world.begin()) as talking:
            reply(talking, send(talking, text, channel="cli"))
        world.end()
    assert world.model.requests[-1].said[1:] == ["one", "assistant has heard one", "two"]
    screen = Screen()
    app = world.begin(screen)
    app.open(Inbound("", "cli", OWNER))
    with client(app) as talking:  # it speaks in the one that the terminal has begun
        reply(talking, send(talking, "three", channel="cli"))
        assert world.model.requests[-1].said[1:] == ["three"]
        assert screen.wait(lambda: [each.channel for each in screen.events if isinstance(each, Heard)]) == [
            "cli via websocket"
        ]


def test_a_program_that_says_it_is_the_terminal_does_not_switch_its_agent_nor_get_the_one_given_for_it(
    world: World,
) -> None:
    for id in ("assistant", "given", "third"):
        world.agent(id)
    screen = Screen()
    with client(world.begin(screen, agent="given")) as talking:
        assert screen.reply("hi") == "given has heard hi"
        assert reply(talking, send(talking, "hi", channel="cli")) == "assistant has heard hi"
        assert "third answers now" in reply(talking, send(talking, "/switch third", channel="cli"))
        assert reply(talking, send(talking, "hi", channel="cli")) == "third has heard hi"
        assert screen.reply("hi again") == "given has heard hi again"
        assert "assistant answers now" in screen.reply("/switch assistant")
        assert reply(talking, send(talking, "bye", channel="cli")) == "third has heard bye"
        assert "assistant answers now" in reply(talking, send(talking, "/switch off", channel="cli"))


def test_letters_for_a_program_that_says_it_is_the_terminal_go_to_it(world: World) -> None:
    world.agent("assistant")
    screen = Screen()
    app = world.begin(screen)
    with client(app) as talking:
        reply(talking, send(talking, "hi", channel="cli"))
        [contact] = Contacts(app.workspace / "sessions").since(0.0)
        assert (contact.channel, contact.to) == ("websocket", OWNER)
        app.outbox.put(contact.channel, contact.to, "a letter")
        assert talking.said("letter")["text"] == "a letter"
        screen.reply("hi")
        [contact] = Contacts(app.workspace / "sessions").since(0.0)
        app.outbox.put(contact.channel, contact.to, "another")
        assert screen.wait(lambda: screen.letters) == ["another"]


# -- the ways in are closed during turns


def test_closed_during_turns_of_all_three_each_goes_on_and_its_answer_is_found(
    discord: DiscordServer, world: World
) -> None:
    world.bind(ONE_EACH)
    screen = Screen()
    app = world.begin(screen)
    gates.open_discord(app)
    discord.wait(lambda: discord.identified)
    with client(app) as talking:
        own = screen.say("slowly cli").turn
        sent = send(talking, "slowly ws")
        discord.say("slowly ann")
        world.model.wait_for_requests(3)
        waiting = screen.say("behind it").turn
        assert "closed" in screen.reply("/gateway stop") and "closed" in screen.reply("/discord stop")
        assert talking.answer(sent)["error"]["code"] == -32003
        assert talking.closed()[0] == 1001
    for go in list(world.say.go.values()):
        go.set()
    for turn, text in ((own, "tess has heard slowly cli"), (waiting, "tess has heard behind it")):
        ending = screen.ending(turn)
        assert isinstance(ending, Done) and ending.text == text and len(screen.endings(turn)) == 1
    settled(lambda: not app.lanes.view())
    assert "listens" in screen.reply("/gateway")
    with client(app) as talking:
        history = talking.call("sessions.history", session_key=f"agent:gwen:direct:{OWNER}")["messages"]
        assert [each["text"] for each in history] == ["slowly ws", "gwen has heard slowly ws"]
        assert reply(talking, send(talking, "again")) == "gwen has heard again"
    screen.reply("/discord")
    assert texts(discord, discord.direct(ANN), 1) == ["dora has heard slowly ann"]
    discord.wait(lambda: discord.identified == 2)
    discord.say("again")
    assert texts(discord, discord.direct(ANN), 2)[1:] == ["dora has heard again"]


def test_what_is_asked_of_whom_a_closed_way_in_had_brought_is_refused_and_the_turn_ends(
    discord: DiscordServer, world: World
) -> None:
    world.bind(ONE_EACH)
    screen = Screen()
    app = world.begin(screen)
    gates.open_discord(app)
    discord.wait(lambda: discord.identified)
    with client(app) as talking:
        send(talking, "launch ws")
        talking.said("ask")
        discord.say("launch ann")
        assert "bash" in texts(discord, discord.direct(ANN), 1)[0]
        own = screen.say("launch cli").turn
        asked = screen.wait(lambda: [each for each in screen.events if isinstance(each, Ask) and each.turn == own])
        assert "closed" in screen.reply("/gateway stop") and "closed" in screen.reply("/discord stop")
    settled(lambda: [each.key for each in app.lanes.view()] == [f"agent:tess:direct:{OWNER}"])
    assert not (world.folder / "launched").exists()
    assert screen.answer(OWNER, asked[0].id, Answer("allow"))
    ending = screen.ending(own)
    assert isinstance(ending, Done) and "done" in ending.text and (world.folder / "launched").exists()
    refused = {request.said[-1] for request in world.model.requests if request.json["messages"][-1]["role"] == "tool"}
    assert len(refused) == 3


@pytest.mark.parametrize("reopened", [False, True])
def test_a_turn_whose_way_in_was_closed_before_it_asks_is_told_so(world: World, reopened: bool) -> None:
    world.bind(ONE_EACH)
    screen = Screen()
    app = world.begin(screen)
    with client(app) as talking:
        send(talking, "slowly ws")
        world.model.wait_for_requests(1)
        send(talking, "launch it")
        settled(lambda: app.lanes.view()[0].waiting == 1)
        screen.reply("/gateway stop")
    if reopened:
        screen.reply("/gateway")
    world.say.go["slowly ws"].set()
    why = "bash was refused: nobody is there to be asked (websocket was closed meanwhile)."
    screen.wait(lambda: [each for each in screen.events if isinstance(each, Notice) and each.text == why])
    settled(lambda: not app.lanes.view())
    assert not (world.folder / "launched").exists()


class Ending(Screen):
    """A channel that is asked something while it stops, and does not see to it."""

    def stop(self) -> None:
        self.wait(lambda: [each for each in self.events if isinstance(each, Ask)])


def test_what_is_asked_while_the_channel_is_being_closed_is_refused(world: World) -> None:
    world.agent("assistant")
    screen, other = Screen(), Ending("other")
    app = world.begin(screen, other)
    turn = other.say("launch it").turn
    app.remove("other")
    ending = screen.ending(turn)
    assert isinstance(ending, Done) and "other was closed meanwhile" in ending.text
    assert not (world.folder / "launched").exists()
