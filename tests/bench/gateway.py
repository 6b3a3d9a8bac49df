"""What the gateway costs: a `send`, many clients at once, many that are silent, and the program that waits for them."""

from __future__ import annotations

import json
import os
import re
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from agentkit import App
from agentkit.channel import AnswerAsk, Dispatch
from agentkit.envelope import Letter
from agentkit.events import ENDINGS, Event, Inbound
from agentkit.settings import Settings

from ..loopback import text_stream
from .answers import packets
from .figures import Measured, Skip, figure
from .measure import in_turns
from .server import Server

ROOT = Path(__file__).parents[2]
TOKEN = "bench-0123456789abcdef"
SENDS = 200
CLIENTS, TURNS = 200, 5
IDLE = 1000
PERIOD = 20.0  # seconds between two pings
CALM = 10.0  # seconds in which nothing happens
LISTENS = re.compile(rb"listens at ws://127\.0\.0\.1:(\d+)")


class Running(NamedTuple):
    """The program. ready: seconds from its start until it listened."""

    process: subprocess.Popen[bytes]
    port: int
    ready: float

    def rss(self) -> float:
        """Its memory, in MB."""
        return int(self._status("VmRSS:")[0]) * 1024 / 1e6

    def cpu(self) -> float:
        """Seconds of CPU so far, user and system."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wakes(self) -> int:
        """How often its threads have gone to sleep."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int(_field(each / "status", "voluntary_ctxt_switches:")[0]) for each in tasks)

    def _status(self, name: str) -> list[str]:
        return _field(Path(f"/proc/{self.process.pid}/status"), name)


def _field(path: Path, name: str) -> list[str]:
    return next(line.split()[1:] for line in path.read_text().splitlines() if line.startswith(name))


@contextmanager
def _program(url: str) -> Iterator[Running]:
    """`agentkit serve --gateway`, in a fresh workspace."""
    if not Path("/proc/self/status").exists():
        raise Skip("there is no /proc")
    with TemporaryDirectory() as folder:
        llm = {"LLM_BASE_URL": url, "LLM_API_KEY": "sk-bench-0123456789", "LLM_MODEL": "m"}
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "GATEWAY_TOKEN": TOKEN, **llm, "LLM_CONTEXT_WINDOW": "32000"}
        command = [sys.executable, "-m", "agentkit", "serve", "--gateway", "--port", "0", "--workspace", f"{folder}/w"]
        started = time.perf_counter()
        with subprocess.Popen(command, stderr=subprocess.PIPE, env=environ, cwd=folder) as process:
            assert process.stderr
            try:
                port = next(int(found[1]) for line in process.stderr if (found := LISTENS.search(line)))
                ready = time.perf_counter() - started
                threading.Thread(
                    target=process.stderr.read, daemon=True
                ).start()  # nothing it says may stay in the pipe
                yield Running(process, port, ready)
            finally:
                process.terminate()
                process.wait(30)


def _send(client: Any, text: str, peer: str) -> float:
    """Seconds that a `send` takes."""
    params = {"text": text, "peer_id": peer}
    request = json.dumps({"jsonrpc": "2.0", "method": "send", "params": params, "id": 1})
    started = time.perf_counter()
    client.send(request)
    answer = client.recv(60)
    taken = time.perf_counter() - started
    assert json.loads(answer)["result"]["reply"] == "Hi", answer
    return taken


def _connect(port: int) -> Any:
    from websockets.sync.client import connect

    headers = {"Authorization": f"Bearer {TOKEN}"}
    url = f"ws://127.0.0.1:{port}"
    return connect(url, additional_headers=headers, proxy=None, compression=None, open_timeout=60)


def _model() -> Server:
    return Server([packets(text_stream("Hi"))])


class _Direct:
    """A channel of this process, through which one thing is said after the other."""

    name, can_ask = "direct", False
    limit: int | None = None
    ask_limit: float | None = None

    def __init__(self) -> None:
        self._ended = threading.Event()

    def start(self, dispatch: Dispatch, answer: AnswerAsk) -> None:
        self._dispatch = dispatch

    def show(self, event: Event) -> None:
        if isinstance(event, ENDINGS):
            self._ended.set()

    def send(self, letter: Letter) -> None:
        pass

    def stop(self) -> None:
        pass

    def say(self) -> float:
        """Seconds that a turn takes."""
        self._ended.clear()
        started = time.perf_counter()
        self._dispatch(Inbound("hi", self.name, "peer"))
        assert self._ended.wait(60)
        return time.perf_counter() - started


@figure("gateway send", bar=3)
def send() -> Measured:
    """what the gateway adds to a turn: from a `send` to its result, besides the same turn said in the program itself"""
    with ExitStack() as stack:
        model = stack.enter_context(_model())
        client = stack.enter_context(_connect(stack.enter_context(_program(model.url)).port))
        folder, direct = Path(stack.enter_context(TemporaryDirectory())), _Direct()
        app = App(Settings("m", model.url, "sk-bench-0123456789", 32_000, workspace_dir=folder), [direct])
        stack.callback(app.stop)
        app.start()
        taken = in_turns(SENDS, lambda: _send(client, "hi", "peer"), direct.say)
    by_model = [each.sent - each.arrived for each in model.requests][2:]  # the first round warms up
    sent, said = (
        median((seconds - its) * 1000 for seconds, its in zip(each, by_model[which::2], strict=True))
        for which, each in enumerate(taken)
    )
    return Measured(sent - said, "ms", note=f"{sent:.1f} ms against {said:.1f} ms, both without the model's own time")


@figure("gateway clients", bar=None)
def clients() -> Measured:
    """99th percentile of a turn, of 200 clients at once with 5 turns each"""
    taken: list[float] = []

    def talk(client: Any, number: int) -> None:
        together.wait(60)
        taken.extend(_send(client, f"turn {turn}", f"peer {number}") for turn in range(TURNS))

    together = threading.Barrier(CLIENTS)
    with _model() as model, _program(model.url) as program, ExitStack() as stack:
        connected = [stack.enter_context(_connect(program.port)) for _ in range(CLIENTS)]
        threads = [threading.Thread(target=talk, args=each) for each in zip(connected, range(CLIENTS), strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rss = program.rss()
    asked = len(model.requests)
    held = len(taken) == asked == CLIENTS * TURNS
    note = f"median {median(taken):.2f} s, {rss:.0f} MB, {len(taken)} answers to {asked} requests"
    return Measured(quantiles(taken, n=100)[98], "s", note=note, held=held)


class _Silent:
    """Clients that only answer pings."""

    def __init__(self, port: int, count: int) -> None:
        head = [
            *("GET / HTTP/1.1", "Host: localhost", "Connection: Upgrade", "Upgrade: websocket"),
            *("Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg=="),
            *(f"Authorization: Bearer {TOKEN}", "", ""),
        ]
        self._selector = selectors.DefaultSelector()
        self._sockets = []
        for _ in range(count):
            made = socket.create_connection(("127.0.0.1", port))
            made.sendall("\r\n".join(head).encode())
            assert b" 101 " in made.recv(4096)
            self._sockets.append(made)
            self._selector.register(made, selectors.EVENT_READ)
        self.pings = 0

    def answer(self, seconds: float) -> None:
        """Answer pings for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                made = key.fileobj
                assert isinstance(made, socket.socket)
                data = made.recv(4096)
                assert data[:1] == b"\x89", f"no ping, but {data!r}"
                made.sendall(b"\x8a" + bytes([0x80 | data[1], 0, 0, 0, 0]) + data[2 : 2 + data[1]])
                self.pings += 1

    def close(self) -> None:
        for made in self._sockets:
            made.close()


@cache
def _idle() -> tuple[float, float, int]:
    """What 1,000 silent clients take: MB of memory, per cent of a core, and how many pings there were."""
    with _program("http://127.0.0.1:9/v1") as program, _connect(program.port):
        before = program.rss()
        silent = _Silent(program.port, IDLE)
        cpu = program.cpu()
        silent.answer(PERIOD)
        cpu = program.cpu() - cpu
        rss = program.rss()
        silent.close()
    return rss - before, cpu / PERIOD * 100, silent.pings


@figure("gateway idle memory", bar=110)
def idle_memory() -> Measured:
    """memory that 1,000 idle connections take"""
    return Measured(_idle()[0], "MB")


@figure("gateway idle CPU", bar=3)
def idle_cpu() -> Measured:
    """CPU that they take, in the time in which each is pinged once"""
    _, share, pings = _idle()
    return Measured(share, "%", note=f"{pings} pings", held=pings >= IDLE * 0.9)


@cache
def _calm() -> tuple[float, float, float]:
    """What the program alone takes: seconds to be ready, MB, and wake-ups a second."""
    ready = []
    for _ in range(5):
        with _program("http://127.0.0.1:9/v1") as program:
            ready.append(program.ready)
    with _program("http://127.0.0.1:9/v1") as program:
        threading.Event().wait(1)
        wakes = program.wakes()
        threading.Event().wait(CALM)
        return median(ready), program.rss(), (program.wakes() - wakes) / CALM


@figure("gateway ready", bar=0.5)
def ready() -> Measured:
    """from the start of the program until it listens"""
    return Measured(_calm()[0], "s")


@figure("gateway memory", bar=45)
def memory() -> Measured:
    """memory of the program while nobody is connected"""
    return Measured(_calm()[1], "MB")


@figure("gateway wake-ups", bar=1)
def wakes() -> Measured:
    """wake-ups of it a second"""
    return Measured(_calm()[2], "")
