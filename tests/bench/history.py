"""What a long conversation costs on disk: loading it, appending to it, asking one question more."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from agentkit.conversation import Conversation
from agentkit.store import Store

from ..loopback import text_stream
from ..program import environment
from .answers import packets
from .figures import Measured, against, figure
from .measure import Usage, in_turns, process
from .server import Server
from .start import MODULE

MESSAGES = 10_000
SESSION = Path("workspace", "sessions", "agent:assistant:direct:cli-user")


def _talk(conversation: Conversation, messages: int) -> list[float]:
    """Say so much; returns the seconds that each message took."""
    store, taken = Store(), []
    store.load(conversation.load().seen, conversation)
    for number in range(messages):
        role = "assistant" if number % 2 else "user"
        message = {"role": role, "content": f"Message {number}: as far as anybody can tell, the answer is plum."}
        started = time.perf_counter()
        store.append(message)
        taken.append(time.perf_counter() - started)
    return taken


@figure("history load", bar=300)
def load() -> Measured:
    """loading a conversation of 10,000 messages"""
    with TemporaryDirectory() as folder:
        conversation = Conversation(Path(folder), "long")
        _talk(conversation, MESSAGES)
        conversation.close()

        def loaded() -> float:
            again = Conversation(Path(folder), "long")
            started = time.perf_counter()
            store = Store()
            store.load(again.open().seen, again)
            taken = time.perf_counter() - started
            assert len(store.context.messages) == MESSAGES
            again.close()
            return taken * 1000

        (taken,) = in_turns(7, loaded)
    return Measured(median(taken), "ms", note=f"the longest of {len(taken)}: {max(taken):.0f} ms")


@figure("history append", bar=1.5)
def append() -> Measured:
    """appending the last 100 of 10,000 messages, against the first 100"""
    last, first = [], []
    for _ in range(5):
        with TemporaryDirectory() as folder:
            taken = _talk(Conversation(Path(folder), "long"), MESSAGES)
        first.append(median(taken[:100]) * 1e6)
        last.append(median(taken[-100:]) * 1e6)
    return against(last, first, "µs")


@figure("history run", bar=None)
def run() -> Measured:
    """CPU of `agentkit run --session` with a conversation of 10,000 messages, against a fresh one"""
    answer = text_stream("Hi", usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})
    seen: dict[str, list[Usage]] = {"long": [], "fresh": []}
    with TemporaryDirectory() as made, Server([packets(answer)]) as server:
        folder = Path(made)
        env = environment(folder, server.url, LLM_CONTEXT_WINDOW="1M")
        (folder / SESSION).mkdir(parents=True)
        conversation = Conversation(folder / SESSION, "long")
        _talk(conversation, MESSAGES)
        conversation.close()

        def once(label: str) -> float:
            (folder / SESSION / "fresh.jsonl").unlink(missing_ok=True)
            usage = process([*MODULE, "run", "--session", label, "hello"], folder, env)
            assert "Hi" in usage.stdout, usage
            seen[label].append(usage)
            return usage.cpu * 1000

        ours, floor = in_turns(7, lambda: once("long"), lambda: once("fresh"))
    rss = {label: median(each.rss for each in usages) for label, usages in seen.items()}
    measured = against(ours, floor, "ms")
    note = f"peak RSS {rss['long']:.1f} MiB against {rss['fresh']:.1f}"
    return Measured(measured.value, measured.unit, measured.floor, measured.ratio, note)
