"""What several keys cost: a turn in which all is well, and the way from a refused key to the next one."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from agentkit import Node, Store
from agentkit.cancel import Cancel
from agentkit.client import Allowance, Client
from agentkit.events import Answer, Event, Text
from agentkit.failover import Failover
from agentkit.ledger import Ledger
from agentkit.llm import LLMCall
from agentkit.node import Run
from agentkit.profiles import Profiles
from agentkit.settings import Profile
from agentkit.store import Context, State
from agentkit.wire import Reply

from ..loopback import json_error, text_stream
from .answers import packets
from .figures import Measured, figure
from .measure import in_turns
from .server import Server

NOWHERE = "http://127.0.0.1:9/v1"
CALLS = 300  # in a round
ROUNDS = 25
FAILURES = 25


class Ready(Client):
    """Has the reply at hand."""

    def stream(
        self, body: Mapping[str, Any], cancel: Cancel, allowance: Allowance | None = None
    ) -> Generator[Event, None, Reply]:
        yield Text("Hi")
        return Reply("Hi", usage={"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11})


def _two_keys(url: str, folder: Path) -> Profiles:
    """Two keys at one address, whose state is in a workspace."""
    profiles = [Profile(number, url, f"sk-bench-{number}-0123456789") for number in range(2)]
    return Profiles(profiles, folder / ".state" / "profiles.json")


def _store() -> Store:
    run = Run(lambda event: None, lambda ask: Answer("deny"), Cancel())
    store = Store(Context("You are terse."), State("bench", "assistant", "m"), run)
    store.append({"role": "user", "content": "hi"})
    return store


def _calls(node: Callable[[], Node]) -> Callable[[], float]:
    """Gives the CPU of a reply, in µs."""
    store = _store()

    def measured() -> float:
        started = time.thread_time()
        for _ in range(CALLS):
            node().run(store)
            del store.context.messages[1:]
        return (time.thread_time() - started) * 1e6 / CALLS

    return measured


@figure("failover cost", bar=50)
def cost() -> Measured:
    """CPU that failover adds to a reply of a healthy key, with its state and the ledger on disk"""
    with TemporaryDirectory() as made:
        folder, client = Path(made), Ready(NOWHERE)
        profiles, ledger = _two_keys(NOWHERE, folder), Ledger(folder / ".state" / "usage")
        profiles.reset()  # which writes the file
        assert (folder / ".state" / "profiles.json").stat().st_size > 100, "the state is not on disk"
        clients = {0: client, 1: client}
        ours, bare = in_turns(
            ROUNDS,
            _calls(lambda: Failover(profiles, clients, ("small", "m"), ledger)),
            _calls(lambda: LLMCall(client)),
        )
        ledger.close()
        noted = sum(path.read_bytes().count(b"\n") for path in (folder / ".state" / "usage").iterdir())
        assert noted == CALLS * (ROUNDS + 1), f"{noted} replies are in the ledger"
    added = median(one - other for one, other in zip(ours, bare, strict=True))
    return Measured(added, "µs", note=f"a reply without it: {median(bare):.0f} µs")


def _failure(url: str) -> None:
    """A turn of a fresh program in a fresh workspace, whose first key is refused."""
    with TemporaryDirectory() as made:
        profiles = _two_keys(url, Path(made))
        clients = {each.number: Client(each.base_url, each.api_key, direct=True) for each in profiles.profiles}
        ledger = Ledger(Path(made) / ".state" / "usage")
        Failover(profiles, clients, ("m",), ledger).run(_store())
        assert profiles.rest(0, "m") and (Path(made) / ".state" / "profiles.json").exists(), "the key is not parked"
        ledger.close()
        for client in clients.values():
            client.close()


@figure("failover 429", bar=10)
def limited() -> Measured:
    """from the arrival of a request that gets a 429 to that of the one with the next key"""
    refused = json_error(429, "Rate limit reached", headers={"retry-after": "30"})
    with Server([packets(refused), packets(text_stream("Hi"))]) as server:
        for _ in range(FAILURES + 1):
            _failure(server.url)
    arrived = [each.arrived for each in server.requests]
    assert len(arrived) == 2 * (FAILURES + 1), f"{len(arrived)} requests"
    first, *gaps = [(later - earlier) * 1000 for earlier, later in list(pairwise(arrived))[::2]]
    note = f"the longest of {FAILURES}: {max(gaps):.1f} ms; one before, which loads what reads errors: {first:.1f} ms"
    return Measured(median(gaps), "ms", note=note)
