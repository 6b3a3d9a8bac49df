"""What a turn costs beside the model and the tools: between a reply and the next request, and for a long history."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from agentkit import tool, wire
from agentkit.events import Done, Event, ToolFinished

from ..loopback import call_stream, text_stream
from .answers import packets
from .conversation import Conversation
from .figures import Measured, against, figure
from .measure import in_turns
from .server import Server

LOOPS = 50
TURNS = 7


@tool
def double(number: int) -> str:
    """Twice a number."""
    return str(2 * number)


@cache
def _gaps() -> tuple[list[list[float]], int]:
    """For each of some turns the seconds between a reply's last byte and the next request's first, without the tool's
    own; and the most connections that one of them used."""
    answers = [packets(call_stream(("double", {"number": n}))) for n in range(LOOPS)] + [packets(text_stream("Done."))]
    turns: list[list[float]] = []
    connections = 0
    with TemporaryDirectory() as folder:
        for _ in range(TURNS):
            tool_seconds: list[float] = []

            def publish(event: Event, into: list[float] = tool_seconds) -> None:
                if isinstance(event, ToolFinished):
                    into.append(event.seconds)

            with Server(answers) as server:
                ending = Conversation(server.url, Path(folder), [double], max_calls=60, publish=publish).say("go")
            assert isinstance(ending, Done), ending
            seen = server.requests
            between = [later.arrived - earlier.sent for earlier, later in pairwise(seen)]
            assert len(between) == LOOPS, f"{len(between)} loops"
            turns.append([gap - own for gap, own in zip(between, tool_seconds, strict=True)])
            connections = max(connections, len({each.connection for each in seen}))
    return turns, connections


@figure("tool loop", bar=5)
def tool_loop() -> Measured:
    """from the last byte of a reply to the next request, besides the tool's own time"""
    every = [gap * 1000 for turn in _gaps()[0] for gap in turn]
    return Measured(median(every), "ms", note=f"the longest of {len(every)}: {max(every):.1f} ms")


@figure("tool loop flat", bar=1.5)
def tool_loop_flat() -> Measured:
    """the same in the last 10 of 50 loops, against the first 10"""
    turns, _ = _gaps()
    last, first = (median(gap * 1000 for turn in turns for gap in turn[part]) for part in (slice(-10, None), slice(10)))
    return Measured(last, "ms", first, last / first)


@figure("tool loop connections", bar=1)
def tool_loop_connections() -> Measured:
    """connections that 51 requests of one turn use"""
    return Measured(_gaps()[1], "")


SIZES = (10, 1_000, 10_000)


def _history(server: Server, size: int) -> Callable[[], float]:
    """Gives the CPU of one turn with a history of `size` messages, besides building the body, in ms."""
    conversation = Conversation(server.url, Path())
    store = conversation.store
    for number in range(size // 2):
        store.append({"role": "user", "content": f"Question {number}: what is the answer to everything, in a word?"})
        store.append({"role": "assistant", "content": f"Answer {number}: it is plum, as far as anybody can tell."})

    def own() -> float:
        del store.context.messages[size:]
        started = time.thread_time()
        ending = conversation.say("hi")
        between = time.thread_time()
        wire.encode(wire.request("m", store.context.system, store.context.messages[:-1]))
        body = time.thread_time() - between
        assert isinstance(ending, Done), ending
        return (between - started - body) * 1000

    return own


@figure("turn history", bar=2)
def turn_history() -> Measured:
    """CPU of a turn besides building its body, with a history of 10,000 messages against one of 10"""
    gc.collect()
    gc.disable()  # when it runs is chance, and weighs more than what is measured, a small difference of large numbers
    try:
        with Server([packets(text_stream("Hi"))]) as server:
            few, more, most = in_turns(100, *(_history(server, size) for size in SIZES))
    finally:
        gc.enable()
    note = ", ".join(f"{size:,}: {median(each):.2f} ms" for size, each in zip(SIZES, (few, more, most), strict=True))
    return replace(against(most, few, "ms"), note=note)
