"""The collected cases of real servers, end to end: loopback sends those bytes, the client and a whole turn take them.

AGENTKIT_CASES names the folder with sse.json and provider_errors.json; without it these tests are skipped, and the
project's own tables (test_wire, test_diagnosis, test_client) cover the same ground.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agentkit import Store
from agentkit.client import Client
from agentkit.errors import LLMError
from agentkit.events import Event, Text
from agentkit.llm import LLMCall
from agentkit.node import Run
from agentkit.store import Context, State
from agentkit.wire import Parser, Reply

from .loopback import Loopback, Response

FOLDER = os.environ.get("AGENTKIT_CASES")
pytestmark = pytest.mark.skipif(not FOLDER, reason="AGENTKIT_CASES is unset")

USER = {"role": "user", "content": "hi"}


def load(name: str) -> list[Any]:
    if not FOLDER:
        return []
    cases: list[Any] = json.loads((Path(FOLDER) / name).read_text())["cases"]
    return [pytest.param(case, id=case["id"]) for case in cases]


def ask(url: str, timeout: float = 10.0) -> tuple[Reply | LLMError, list[Event], Store]:
    """One model call through the nodes that a turn uses."""
    events: list[Event] = []
    store = Store(Context(messages=[dict(USER)]), State(model="m"))
    store.run = Run(events.append, store.run.ask, store.run.cancel)
    try:
        return LLMCall(Client(url, "sk-secret", timeout=timeout)).run(store), events, store
    except LLMError as error:
        return error, events, store


def outcome(reply: Reply, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The reply in the words of the cases, with generated ids and JSON written another way made equal."""
    calls = []
    for call, want in zip(reply.calls, [*wanted.get("tool_calls", []), *[{}] * 9], strict=False):
        same_json = "arguments" in want and loaded(want["arguments"]) == loaded(call.arguments)
        calls.append(
            {
                "id": want["id"] if want.get("id") == "<generated>" and call.id else call.id,
                "name": call.name,
                "arguments": want["arguments"] if same_json else call.arguments,
            }
        )
    return {
        "content": reply.text,
        "reasoning_content": reply.thinking,
        "tool_calls": calls,
        "finish_reason": reply.finish_reason,
        "usage": reply.usage,
        "error": None,
    }


def loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def fits(reply: Reply | LLMError, events: list[Event], wanted: Mapping[str, Any]) -> bool:
    if isinstance(reply, LLMError):
        # `protocol` stands for any error: the stream made no sense.
        return wanted["error"] in (reply.category, "protocol")
    got = outcome(reply, wanted)
    if wanted.get("content_prefix_only"):
        return len(reply.text) == wanted["content_len"] and reply.text.startswith(wanted["content"])
    shown = "".join(event.text for event in events if isinstance(event, Text))
    return shown == reply.text and all(got[name] == wanted[name] for name in got if name in wanted)


@pytest.mark.parametrize("case", load("sse.json"))
def test_a_stream_of_the_field_end_to_end(case: dict[str, Any]) -> None:
    patience = 0.3 if case["end"] == "hang" else 10.0
    with Loopback(lambda request, index: Loopback.from_case(case)) as server:
        reply, events, store = ask(server.url, patience)
    assert any(fits(reply, events, wanted) for wanted in (case["expect"], *case.get("accept", ())))
    if isinstance(reply, LLMError):
        assert store.context.messages[1:] == []
        assert len(reply.message) <= 300 and "\n" not in reply.message
    elif preserved := case["expect"].get("must_preserve"):
        assert preserved.items() <= store.context.messages[-1]["tool_calls"][0].items()


@pytest.mark.parametrize("case", load("sse.json"))
def test_the_parser_gives_the_same_for_the_same_bytes_cut_anywhere(case: dict[str, Any]) -> None:
    if len(case["chunks_b64"]) > 50 or any(isinstance(each, dict) for each in case["chunks_b64"]):
        data = [b"".join(chunks(case))]
    else:
        data = [bytes([byte]) for byte in b"".join(chunks(case))]
    parser, events = Parser(case["content_type"]), []
    reply: Reply | LLMError
    try:
        for piece in data:
            events += parser.feed(piece)
        reply = parser.close()
        if not events:
            events = [Text(reply.text)]
    except LLMError as error:
        reply = error
        if case["end"] == "hang":
            return  # without a clock, a stall looks like an end
    assert any(fits(reply, events, wanted) for wanted in (case["expect"], *case.get("accept", ())))


def chunks(case: dict[str, Any]) -> Iterator[bytes]:
    for chunk in case["chunks_b64"]:
        if isinstance(chunk, dict):
            yield base64.b64decode(chunk["b64"]) * chunk["times"]
        else:
            yield base64.b64decode(chunk)


@pytest.mark.parametrize(
    "case", [each for each in load("provider_errors.json") if each.values[0]["kind"] != "transport"]
)
def test_an_error_of_the_field_end_to_end(case: dict[str, Any]) -> None:
    headers = {name: value for name, value in case["headers"].items() if name not in ("content-type", "content-length")}
    kind = case["headers"].get("content-type", "text/event-stream" if case["kind"] == "stream_event" else "text/plain")
    body = (case["body"] or "").encode()
    answer = Response(case["status"], kind, headers, framing="length", chunks=[body])
    with Loopback(lambda request, index: answer) as server:
        error, _, store = ask(server.url)
    assert isinstance(error, LLMError)
    assert error.category in (case["category"], *case.get("accept", ()))
    if case.get("retry_after_s") is not None:
        assert error.retry_after == pytest.approx(case["retry_after_s"], abs=2)
    assert len(error.message) <= 300 and "\n" not in error.message
    assert store.context.messages[1:] == []
