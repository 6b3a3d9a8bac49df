"""A conversation that is many times longer than the model's context window, against a server that holds to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentkit import Store, Turn, tool
from agentkit.approval import Approvals
from agentkit.cancel import Cancel
from agentkit.client import Client
from agentkit.compact import Compact
from agentkit.conversation import Conversation
from agentkit.events import Answer, Compacted, Done, Error, Event, Notice
from agentkit.llm import LLMCall
from agentkit.node import Run
from agentkit.store import Context, State
from agentkit.summary import SYSTEM
from agentkit.toolbox import Scope
from agentkit.usetool import Toolbox

from .loopback import Loopback, Request, Response, call_stream, json_error, text_stream

WINDOW = 8_000
FACT = "my locker has the number 7341"


@tool(read_only=True)
def look(at: int, size: int) -> str:
    """Look at something."""
    return "\n".join(f"line {number} of thing {at}" for number in range(size // 20))


def tokens(request: Request) -> int:
    return len(request.body) // 4


class Model:
    """A server with a small window that looks things up when it is told to, and summarises honestly."""

    def __init__(self, counts: bool) -> None:
        self.counts = counts  # it says how many tokens a request took
        self.refused = 0
        self.summaries = 0

    def __call__(self, request: Request, index: int) -> Response:
        messages = request.json["messages"]
        usage = {"prompt_tokens": tokens(request), "completion_tokens": 5, "total_tokens": tokens(request) + 5}
        if tokens(request) > WINDOW:
            self.refused += 1
            return json_error(400, f"maximum context length is {WINDOW} tokens", code="context_length_exceeded")
        if messages[0]["content"] == SYSTEM:
            self.summaries += 1
            lines = {line.strip() for line in messages[1]["content"].splitlines() if FACT in line}
            return text_stream("\n".join(sorted(lines)) or "They looked at things.", usage=self._if_counted(usage))
        last = messages[-1]
        if last["role"] == "tool":
            looks = [message["role"] for message in messages[-4:]].count("tool")
            if "line 1 of thing 7" in last["content"] and looks < 2:
                return call_stream(("look", {"at": 8, "size": 3_000}), usage=self._if_counted(usage))
            return text_stream("I have looked. " + "It is as it was. " * 10, usage=self._if_counted(usage))
        asked = last["content"].rpartition("\n")[2]
        if asked.startswith("look"):
            at, size = map(int, asked.split()[1:])
            return call_stream(*[("look", {"at": at, "size": size})] * (1 + at % 3), usage=self._if_counted(usage))
        if asked == "which number?":
            known = any(FACT in (message["content"] or "") for message in messages)
            return text_stream("7341" if known else "I do not know", usage=self._if_counted(usage))
        return text_stream("I see. " * 20, usage=self._if_counted(usage))

    def _if_counted(self, usage: dict[str, int]) -> dict[str, int] | None:
        return usage if self.counts else None


def message_of(turn: int) -> str:
    if turn == 3:
        return FACT
    if turn % 4 == 0:
        return f"look {turn % 10} {(turn * 1_237) % 24_000}"
    return f"this is turn {turn}. " + "We go on with what we do. " * (turn % 40)


@pytest.mark.parametrize("counts", [True, False], ids=["server counts", "estimated"])
def test_two_hundred_turns_fit_into_a_small_window_and_an_early_fact_stays_known(tmp_path: Path, counts: bool) -> None:
    model = Model(counts)
    happened: list[tuple[int, Event]] = []  # with how many requests there had been
    conversation = Conversation(tmp_path / "sessions", "long")
    with Loopback(model) as server:
        toolbox = Toolbox({"look": look}, Approvals("trust"), Scope((tmp_path,)))
        ask = LLMCall(Client(server.url, direct=True))
        turn = Turn(ask, toolbox, compact=Compact(ask))
        run = Run(lambda event: happened.append((len(server.requests), event)), lambda ask: Answer("deny"), Cancel())
        state = State("agent:a:direct:me", "a", "m", window=WINDOW)
        store = Store(Context("You are terse. " * 40, toolbox.schemas), state, run)
        store.journal = conversation
        for number in range(1, 201):
            store.append({"role": "user", "content": message_of(number)})
            assert isinstance(turn.run(store), Done)
        store.append({"role": "user", "content": "which number?"})
        ending = turn.run(store)
        requests = list(server.requests)
    conversation.close()
    assert isinstance(ending, Done) and ending.text == "7341"
    assert model.refused == 0 and max(map(tokens, requests)) <= WINDOW
    assert model.summaries >= 5
    assert not [event for _, event in happened if isinstance(event, Error)]
    assert not [event for _, event in happened if isinstance(event, Notice) and event.level != "info"]
    assert all(event.after < event.before for _, event in happened if isinstance(event, Compacted))
    for request in requests:
        assert_valid(request.json["messages"])
    assert_prefixes(requests, {at for at, event in happened if isinstance(event, Compacted)})
    reopened = Conversation(tmp_path / "sessions", "long")
    assert reopened.open().seen == store.context.messages
    reopened.close()


def assert_valid(messages: list[dict[str, Any]]) -> None:
    """Each call has one result, in its place, and each result its call; nobody but tools speaks twice in a row."""
    open_calls: list[str] = []
    for before, message in zip([{"role": "none"}, *messages], messages, strict=False):
        if message["role"] == "tool":
            open_calls.remove(message["tool_call_id"])
            continue
        assert not open_calls
        assert before["role"] != message["role"]
        open_calls = [call["id"] for call in message.get("tool_calls") or ()]
    assert not open_calls and messages[-1]["role"] in ("user", "tool")


def assert_prefixes(requests: list[Request], compacted: set[int]) -> None:
    """Each request begins with the one before it, unless a compaction came between."""
    before: bytes | None = None
    for at, request in enumerate(requests):
        messages = request.json["messages"]
        if messages[0]["content"] == SYSTEM:
            continue
        body = json.dumps(messages, ensure_ascii=False, separators=(",", ":")).encode()
        assert body in request.body  # it was taken apart and put together as it was
        if before is not None and at not in compacted:
            assert body.startswith(before.removesuffix(b"]") + b",")
        before = body
