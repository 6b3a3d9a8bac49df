"""What a streamed delta costs the thread that reads it, and how soon it is there."""

from __future__ import annotations

import gc
import json
import socket
import time
from collections.abc import Generator
from dataclasses import replace
from functools import cache, partial

from agentkit.cancel import Cancel
from agentkit.client import Client
from agentkit.events import Event
from agentkit.wire import Reply

from ..loopback import Framing, Response, event, text_stream
from .answers import packets
from .figures import Measured, against, figure
from .measure import in_turns
from .server import Answer, Server

DELTAS = 20_000
HEAD_START = 0.02  # seconds after the first delta, in which both sides come to wait for the rest


@cache
def _answer(framing: Framing, apart: bool) -> Answer:
    """The first delta at once, the rest in one packet or each in its own."""
    head, *events = packets(text_stream(*(f"word{n} " for n in range(DELTAS)), framing=framing), apart=True)
    first, rest = b"".join((head, *events[:2])), events[2:]
    return [first, HEAD_START, *(rest if apart else [b"".join(rest)])]


def _connect(port: int) -> tuple[socket.socket, bytes]:
    """Ask by hand; returns the connection and what came with the headers."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
    head = b""
    while b"data:" not in head:
        head += connection.recv(65536)
    return connection, head.partition(b"\r\n\r\n")[2]


def _by_hand(port: int) -> float:
    """The bare loop: CPU from the first delta on, in µs for each."""
    gc.collect()
    connection, rest = _connect(port)
    with connection:
        pieces: list[str] = []
        started = time.thread_time()
        while data := connection.recv(65536):
            lines = (rest + data).split(b"\n")
            rest = lines.pop()
            for line in lines:
                if line.startswith(b"data: ") and not line.startswith(b"data: [DONE]"):
                    pieces.append(json.loads(line[6:])["choices"][0]["delta"].get("content") or "")
        text = "".join(pieces)
        spent = time.thread_time() - started
    assert text.count("word") == DELTAS, "the bare loop lost some"
    return spent / DELTAS * 1e6


def _stream(port: int) -> Generator[Event, None, Reply]:
    client = Client(f"http://127.0.0.1:{port}/v1", direct=True)
    return client.stream({"model": "m", "messages": []}, Cancel())


def _by_client(port: int) -> float:
    """The client, iterated: this thread's CPU from the first delta on, in µs for each."""
    gc.collect()
    stream = _stream(port)
    next(stream)
    started = time.thread_time()
    while True:
        try:
            next(stream)
        except StopIteration as end:
            reply: Reply = end.value
            break
    spent = time.thread_time() - started
    assert reply.text.count("word") == DELTAS, "the client lost some"
    return spent / DELTAS * 1e6


def _cpu(framing: Framing, apart: bool) -> Measured:
    with Server([_answer(framing, apart)], close=True) as server:
        ours, floor = in_turns(11, partial(_by_client, server.port), partial(_by_hand, server.port))
    return against(ours, floor, "µs")


def _register_cpu(framing: Framing, bar: float) -> None:
    for apart, packaging in ((False, "at once"), (True, "one a packet")):
        what = f"reader's CPU for each of {DELTAS:,} deltas, {framing}, {packaging}, against a bare socket loop"
        figure(f"stream {framing} {packaging}", bar=bar, what=what)(partial(_cpu, framing, apart))


_register_cpu("chunked", 2.6)
_register_cpu("close", 1.6)

PATIENCE = 1.0  # seconds between the first delta and the second


def _first_delta(framing: Framing) -> Measured:
    """How long the first small delta takes, in ms, while the second is not there yet."""
    answer = Response(framing=framing, chunks=[event({"content": "a"}), event({"content": "b"}, "stop")])
    head, first, second = packets(answer, apart=True)

    def by_client() -> float:
        started = time.perf_counter()
        stream = _stream(server.port)
        next(stream)
        spent = (time.perf_counter() - started) * 1000
        stream.close()
        return spent

    def by_hand() -> float:
        started = time.perf_counter()
        _connect(server.port)[0].close()
        return (time.perf_counter() - started) * 1000

    with Server([[head + first, PATIENCE, second]], close=True) as server:
        ours, floor = in_turns(15, by_client, by_hand)
    held = max(ours) < PATIENCE * 1000
    return replace(against(ours, floor, "ms"), held=held, note="yes" if held else "no")


def _register_first_delta(*framings: Framing) -> None:
    for framing in framings:
        what = f"the first delta of a body that is not chunked ({framing}) is there before the second is sent"
        figure(f"stream first {framing}", bar=None, what=what)(partial(_first_delta, framing))


_register_first_delta("close", "length")
