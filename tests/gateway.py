"""A running program with a gateway, and clients that talk to it."""

from __future__ import annotations

import itertools
import json
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from agentkit import App
from agentkit.channel import AnswerAsk, Dispatch
from agentkit.channels.websocket import Gateway
from agentkit.envelope import Letter
from agentkit.events import ENDINGS, Answer, Ask, Event
from agentkit.settings import Settings

from .loopback import Answer as Scripted
from .loopback import Loopback, Request, Response, Script, text_stream
from .program import WAIT

TOKEN = "gw-0123456789abcdef0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
USER = "agent:assistant:direct:websocket-user"


def echo(request: Request, index: int) -> Response:
    return text_stream("You said: ", request.said[-1], usage={"prompt_tokens": 5, "total_tokens": 7})


class Program:
    """A running App with a gateway. how: tools and channels of the App, and what its Gateway is made with."""

    def __init__(self, folder: Path, script: Script, **how: Any) -> None:
        agent = folder / "w" / ".agents" / "assistant"
        agent.mkdir(parents=True, exist_ok=True)
        (agent / "AGENT.md").write_text("You are terse.")
        self.workspace = folder / "w"
        self.model = Loopback(script)
        self._tools = how.pop("tools", ())
        self._channels = how.pop("channels", ())
        self._more = {"token": TOKEN, "origins": (), "max_clients": 100, "host": "127.0.0.1", "port": 0, **how}

    def __enter__(self) -> Program:
        self.model.__enter__()
        settings = Settings("m", self.model.url, "sk-canary-0123456789", 32_000, workspace_dir=self.workspace)
        self.app = App(settings, self._channels, self._tools, environ={"PATH": os.environ["PATH"]})
        self.app.start()
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.app.stop()
        self.model.__exit__(kind, error, at)
        ours = [each.name for each in threading.enumerate() if each.name.startswith("gateway")]
        assert not ours, ours

    def open(self) -> None:
        """Have a gateway."""
        self.gateway = Gateway(self.app, **self._more)
        self.app.add(self.gateway)

    def reopen(self) -> None:
        self.app.remove("websocket")
        self.open()

    def settled(self, ready: Callable[[], bool]) -> None:
        """Wait until something has come about that nobody tells of."""
        pause = threading.Event()
        for _ in range(int(WAIT / 0.01)):
            if ready():
                return
            pause.wait(0.01)
        raise AssertionError("it did not come about")


class Client:
    """A program that talks to the gateway. events: the notifications so far; answers: by id."""

    def __init__(self, program: Program, headers: dict[str, str] = BEARER, **how: Any) -> None:
        url = program.gateway.url
        opening = connect(url, additional_headers=headers, proxy=None, open_timeout=WAIT, **how)
        self.socket = opening.__enter__()
        self.events: list[dict[str, Any]] = []
        self.answers: dict[Any, Any] = {}
        self._ids = itertools.count(1)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.socket.close()

    def ask(self, method: str, **params: Any) -> int:
        """Send a request; returns its id."""
        id = next(self._ids)
        self.socket.send(json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": id}))
        return id

    def read(self) -> Any:
        """The next message, taken in."""
        message = json.loads(self.socket.recv(WAIT))
        for each in message if isinstance(message, list) else [message]:
            if "method" in each:
                assert each["method"] == "event" and "id" not in each
                self.events.append(each["params"])
            else:
                self.answers[each["id"]] = each
        return message

    def answer(self, id: int) -> dict[str, Any]:
        while id not in self.answers:
            self.read()
        answer: dict[str, Any] = self.answers[id]
        return answer

    def call(self, method: str, **params: Any) -> Any:
        answer = self.answer(self.ask(method, **params))
        assert "result" in answer, answer
        return answer["result"]

    def error(self, method: str, **params: Any) -> dict[str, Any]:
        error: dict[str, Any] = self.answer(self.ask(method, **params))["error"]
        return error

    def said(self, kind: str) -> dict[str, Any]:
        """The next event of that type."""
        while not (found := [each for each in self.events if each["type"] == kind]):
            self.read()
        self.events.remove(found[0])
        return found[0]

    def closed(self) -> tuple[int, str]:
        """The code and reason that the connection is closed with."""
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                self.read()
        frame = caught.value.rcvd
        return (frame.code, frame.reason) if frame else (1006, "")


class Gate:
    """A model that echoes, but says nothing before it is opened."""

    def __init__(self) -> None:
        self._opened = threading.Event()

    def __call__(self, request: Request, index: int) -> Scripted:
        return text_stream("You said: ", request.said[-1], before_headers=self._opened)

    def open(self) -> None:
        self._opened.set()


class Terminal:
    """A channel whose person always allows what they are asked."""

    name, limit, can_ask, ask_limit = "cli", None, True, None

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.seen: list[Event] = []

    def start(self, dispatch: Dispatch, answer: AnswerAsk) -> None:
        self.dispatch, self._answer = dispatch, answer

    def show(self, event: Event) -> None:
        self.seen.append(event)
        if isinstance(event, Ask):
            self._answer("cli-user", event.id, Answer("always"))
        if isinstance(event, ENDINGS):
            self.ended.set()

    def send(self, letter: Letter) -> None:
        pass

    def stop(self) -> None:
        pass


def frame(data: bytes, opcode: int = 1, length: int | None = None) -> bytes:
    """A frame of a client, with a mask of zeros; length: what it claims."""
    size = len(data) if length is None else length
    head = bytes([0x80 | opcode])
    head += bytes([0x80 | size]) if size < 126 else bytes([0x80 | 127]) + struct.pack("!Q", size)
    return head + bytes(4) + data


def raw(program: Program) -> socket.socket:
    """A connection that has been let in, without a library."""
    made = socket.create_connection(program.gateway.address, timeout=WAIT)
    lines = ["GET / HTTP/1.1", "Host: localhost", "Connection: Upgrade", "Upgrade: websocket"]
    lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg=="]
    made.sendall("\r\n".join([*lines, f"Authorization: Bearer {TOKEN}", "", ""]).encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += made.recv(1)
    assert b" 101 " in head
    return made


def rest(made: socket.socket) -> bytes:
    """All that still comes, to the end of the connection."""
    data = b""
    try:
        while piece := made.recv(65536):
            data += piece
    except ConnectionResetError:
        pass
    return data
