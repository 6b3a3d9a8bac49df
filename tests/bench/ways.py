"""What many bindings, letters and sessions cost."""

from __future__ import annotations

import gc
import os
import threading
import time
import tracemalloc
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from agentkit import App
from agentkit.envelope import DeliveryError, Letter
from agentkit.events import Inbound
from agentkit.outbox import Outbox
from agentkit.routes import Address, Routes
from agentkit.settings import Settings

from .figures import Measured, against, figure
from .measure import in_turns

RESOLVES = 20_000
LETTERS = 50  # in a round
SESSIONS = 10_000
TEXT = "A letter of some length. " * 20


def _resolve(bindings: int) -> Measured:
    """Microseconds for one message, with so many bindings."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "routes.json"
        entries = ",\n".join(
            f'{{"agent_id": "assistant", "match_key": "peer_id", "match_value": "discord:{number}"}}'
            for number in range(bindings)
        )
        path.write_text(f"[{entries}]")
        routes = Routes(path, lambda: {"assistant": None}.keys(), lambda: "assistant")
        addresses = [Address("discord", str(number % (2 * bindings)), "", "", "") for number in range(RESOLVES)]
        routes.resolve(addresses[0])
        taken = []
        for _ in range(5):
            started = time.perf_counter()
            for address in addresses:
                routes.resolve(address)
            taken.append((time.perf_counter() - started) / RESOLVES * 1e6)
    return Measured(sorted(taken)[2], "µs")


for _count in (10, 1_000, 10_000):
    figure(f"resolve of {_count:,}", bar=5, what=f"which agent answers a message, with {_count:,} bindings")(
        partial(_resolve, _count)
    )


@figure("letter accepted", bar=1.5)
def enqueue() -> Measured:
    """a letter put durably, against write, fsync, rename, fsync of the same bytes"""
    with TemporaryDirectory(dir=Path.cwd()) as folder:
        outbox = Outbox(Path(folder) / ".state" / "outbox", lambda letter: None, lambda channel: None)
        outbox.put("discord", "1", TEXT)
        size = max(each.stat().st_size for each in (Path(folder) / ".state" / "outbox").iterdir() if each.is_file())
        data, bare = b"x" * size, Path(folder) / "bare"
        bare.mkdir()

        def ours() -> float:
            started = time.perf_counter()
            for _ in range(LETTERS):
                outbox.put("discord", "1", TEXT)
            return (time.perf_counter() - started) / LETTERS * 1e3

        def floor() -> float:
            started = time.perf_counter()
            for number in range(LETTERS):
                _written(bare, f"{number}", data)
            return (time.perf_counter() - started) / LETTERS * 1e3

        return against(*in_turns(9, ours, floor), "ms")


def _written(folder: Path, name: str, data: bytes) -> None:
    fd = os.open(folder / f"{name}.tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(fd, data)
    os.fsync(fd)
    os.close(fd)
    os.replace(folder / f"{name}.tmp", folder / name)
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(opened)
    os.close(opened)


@figure("letter beside a dead end", bar=2)
def starvation() -> Measured:
    """a letter to somebody who is there, with 5,000 before it to somebody who is not"""
    with TemporaryDirectory() as folder:
        arrived = threading.Event()

        def send(letter: Letter) -> None:
            if letter.to == "dead":
                raise DeliveryError("nobody answers")
            arrived.set()

        outbox = Outbox(Path(folder) / ".state" / "outbox", send, lambda channel: None)
        for number in range(5_000):
            outbox.put("discord", "dead", f"{number}")
        outbox.start()
        started = time.perf_counter()
        outbox.put("discord", "alive", "hi")
        assert arrived.wait(60)
        taken = time.perf_counter() - started
        outbox.stop(5)
    return Measured(taken, "s")


@figure("letters at the start", bar=1)
def start() -> Measured:
    """starting with 10,000 letters that wait"""
    with TemporaryDirectory() as folder:
        state = Path(folder) / ".state" / "outbox"
        first = Outbox(state, lambda letter: None, lambda channel: None)
        for number in range(10_000):
            first.put("discord", f"{number % 100}", "hi")
        outbox = Outbox(state, lambda letter: time.sleep(60), lambda channel: None)
        started = time.perf_counter()
        outbox.start()
        taken = time.perf_counter() - started
        outbox.stop(0)
    return Measured(taken, "s")


@figure("known sessions", bar=20)
def sessions() -> Measured:
    """memory that 10,000 sessions take which have been used"""
    with TemporaryDirectory() as folder:
        (Path(folder) / "w").mkdir()
        settings = Settings(
            "m", "http://127.0.0.1:9/v1", "sk-bench-0123456789", 32_000, workspace_dir=Path(folder) / "w"
        )
        app = App(settings)
        app.start()
        app.view(Inbound("", "websocket", "first"))
        threads = threading.active_count()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for number in range(SESSIONS):
            app.view(Inbound("", "websocket", f"peer{number}"))
        gc.collect()
        taken = (tracemalloc.get_traced_memory()[0] - before) / 1e6
        tracemalloc.stop()
        more = threading.active_count() - threads
        app.stop()
    return Measured(taken, "MB", note=f"{more} threads more", held=more <= 1)
