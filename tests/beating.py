"""A running program whose heartbeats go by a clock that a test sets: all else is as App builds it."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any

from agentkit import App, Channel
from agentkit.beats import Beat, Beats
from agentkit.channel import AnswerAsk, Dispatch
from agentkit.clock import Clock
from agentkit.contacts import Contact
from agentkit.envelope import Letter
from agentkit.events import ENDINGS, Event, Inbound, Notice
from agentkit.heartbeat import Heartbeats
from agentkit.names import encoded
from agentkit.plans import Plan
from agentkit.session import Opening
from agentkit.settings import Settings

from .loopback import Answer, Loopback, Request, text_stream
from .program import WAIT

HOURLY = "---\ninterval: 1h\nactive_hours: 0, 24\n---\nLook after the oven."
HOUR, DAY = 3600.0, 86_400.0
MINE = "agent:assistant:direct:cli-user"
ASKED = "This is a heartbeat"  # what begins the message of a beat
SPENT = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


def is_beat(request: Request) -> bool:
    return any(each.startswith(ASKED) for each in request.said)


def until(ready: Callable[[], object]) -> None:
    """Wait until something has come about that nobody tells of."""
    pause = threading.Event()
    for _ in range(int(WAIT / 0.01)):
        if ready():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come about")


class Person:
    """A channel with somebody at its other end. letters, events: what has come."""

    limit: int | None = None
    can_ask = False
    ask_limit: float | None = None

    def __init__(self, name: str = "cli") -> None:
        self.name, self.peer = name, f"{name}-user"
        self.letters: SimpleQueue[Letter] = SimpleQueue()
        self.events: list[Event] = []
        self._endings: SimpleQueue[Event] = SimpleQueue()

    def start(self, dispatch: Dispatch, answer: AnswerAsk) -> None:
        self._dispatch = dispatch

    def show(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, ENDINGS):
            self._endings.put(event)

    def send(self, letter: Letter) -> None:
        self.letters.put(letter)

    def stop(self) -> None:
        pass

    def begin(self, text: str) -> None:
        self._dispatch(Inbound(text, self.name, self.peer))

    def answer(self) -> Event:
        return self._endings.get(timeout=WAIT)

    def say(self, text: str) -> Any:
        """The event that ends the turn."""
        self.begin(text)
        return self.answer()

    @property
    def notices(self) -> list[str]:
        return [each.text for each in self.events if isinstance(each, Notice)]


class World:
    """now: what its clock shows, in seconds since 1970; beats: what the model says at heartbeats, one after another,
    the last one ever after; what else it is told it echoes. settings: fields of Settings."""

    def __init__(
        self,
        folder: Path,
        *beats: str | Answer,
        instructions: str | None = HOURLY,
        channels: Sequence[Channel] | None = None,
        opening: Opening = Opening(),
        **settings: Any,
    ) -> None:
        self.folder, self.now = folder, time.time()
        self.workspace = folder / "w"
        self.person = Person()
        self.channels: Sequence[Channel] = [self.person] if channels is None else channels
        self.says: deque[str | Answer] = deque(beats or ["HEARTBEAT_OK"])
        self.model = Loopback(self._answer)
        self.put: list[tuple[str, str, str]] = []
        self.told: list[str] = []
        self.slow: threading.Event | None = None  # before that nothing is echoed
        self._opening, self._settings = opening, settings
        self.agent("assistant", instructions)

    def __enter__(self) -> World:
        self.model.__enter__()
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.app.stop()
        self.model.__exit__(kind, error, at)

    def start(self) -> None:
        given = {"workspace_dir": self.workspace, **self._settings}
        settings = Settings("m", self.model.url, "sk-canary-0123456789", 32_000, **given)
        self.app = App(settings, self.channels, opening=self._opening, environ={"PATH": os.environ["PATH"]})
        self.app.start()
        if self.person in self.channels:
            self.app.open(Inbound("", self.person.name, self.person.peer))
        self.clock = Clock(lambda: self.now)
        self.heartbeats = self.made()
        self.heartbeats.start()
        self.clock.tick()

    def made(self) -> Heartbeats:
        """As App makes them, but for the clock."""
        app, beside = self.app, self.app.beside
        return Heartbeats(
            self.workspace / ".agents",
            Beats(self.folder / "heartbeat.json", lambda: self.now),
            beside.contacts,
            self.clock,
            app.lanes,
            app.contacted,
            app.leave,
            beside.unattended,
            self._put,
            self.told.append,
        )

    def restart(self) -> None:
        self.app.stop()
        self.start()

    def agent(self, id: str, instructions: str | None = None, prompt: str = "You are terse.") -> Path:
        """An agent, and its HEARTBEAT.md; returns that one's path."""
        folder = self.workspace / ".agents" / id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "AGENT.md").write_text(prompt)
        if instructions is not None:
            (folder / "HEARTBEAT.md").write_text(instructions)
        return folder / "HEARTBEAT.md"

    def spoke(self, session: str = MINE, channel: str = "cli", to: str = "cli-user", at: float | None = None) -> None:
        """Somebody has spoken, before the program began."""
        folder = self.workspace / "sessions" / encoded(session)
        folder.mkdir(parents=True, exist_ok=True)
        when = datetime.fromtimestamp(self.now if at is None else at).astimezone().isoformat()
        meta = {"session": session, "channel": channel, "peer": to, "to": to, "at": when}
        (folder / "meta.json").write_text(json.dumps(meta))

    def pass_(self, seconds: float = HOUR + 1) -> str:
        """Let time pass, and whatever is due then be done; returns what became of the beat of MINE."""
        self.clock.tick()
        self.settle()
        self.now += seconds
        self.clock.tick()
        self.settle()
        return self.status()

    def settle(self) -> None:
        """Wait until nothing is done any more, and what was said has arrived and is written down."""
        me, app = self.person, self.app

        def is_on_its_way() -> bool:
            return me.name in app.channels and app.outbox.waits(me.name, me.peer)

        until(lambda: not (app.lanes.view() or is_on_its_way() or app.lanes.view()))

    def status(self, session: str = MINE) -> str:
        beat = self.beat(session)
        return beat.status if beat else ""

    def beat(self, session: str = MINE) -> Beat | None:
        return Beats(self.folder / "heartbeat.json", lambda: self.now).get(session)

    def plan(self, session: str = MINE) -> Plan | None:
        return next((plan for plan, _ in self.heartbeats.plans() if plan.contact.session == session), None)

    def letter(self) -> Letter:
        """The next one that has arrived in the terminal."""
        return self.person.letters.get(timeout=WAIT)

    def asked(self) -> list[Request]:
        """The requests of heartbeats."""
        return [each for each in self.model.requests if is_beat(each)]

    def said(self, session: str = MINE) -> list[dict[str, Any]]:
        """What the files of its conversations hold."""
        paths = sorted((self.workspace / "sessions" / encoded(session)).glob("*.jsonl"))
        return [json.loads(line) for path in paths for line in path.read_text().splitlines()]

    def contact(self, session: str = MINE) -> Contact:
        return next(each for each in self.app.beside.contacts.since(0.0) if each.session == session)

    def _put(self, channel: str, to: str, text: str, **more: str) -> None:
        self.put.append((channel, to, text))
        self.app.outbox.put(channel, to, text, **more)  # type: ignore[arg-type]

    def _answer(self, request: Request, index: int) -> Answer:
        if not is_beat(request):
            return text_stream("You said: ", request.said[-1], before_headers=self.slow)
        said = self.says.popleft() if len(self.says) > 1 else self.says[0]
        return text_stream(said, usage=SPENT) if isinstance(said, str) else said
