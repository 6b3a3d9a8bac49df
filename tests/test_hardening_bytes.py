"""Any bytes and any text, into whatever takes them: never more than the error that is told, and the same in any cuts.

What test_wire.py, test_rpc.py, test_frontmatter.py, test_dotenv.py and test_tui_parts.py hold is not said again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.channels.tui.keys import Key, Keys
from agentkit.client import classify
from agentkit.cronexpr import CronError, CronExpr
from agentkit.envelope import Damaged
from agentkit.envelope import parse as letter
from agentkit.errors import CATEGORIES, LLMError, ToolError
from agentkit.events import Event, Text, Thinking
from agentkit.past import read
from agentkit.toolbox import Tool
from agentkit.tools import TOOLS
from agentkit.tools.patterns import Pattern, branches, split
from agentkit.wire import Parser, Reply, encode, request

from .loopback import event

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda each: st.lists(each, max_size=4) | st.dictionaries(st.text(max_size=9), each, max_size=4),
    max_leaves=12,
)

# -- streams, in any cuts

DELTAS: list[bytes] = [
    event({"role": "assistant", "content": "Hello"}),
    event({"content": "žluť 馬 😀 <think>no</think>"}),
    event({"reasoning_content": "hm"}),
    event({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "bash", "arguments": '{"comm'}}]}),
    event({"tool_calls": [{"index": 0, "function": {"arguments": 'and": "ls"}'}}]}),
    event({}, "stop"),
    event({}, "tool_calls"),
    b"data: [DONE]\n\n",
    b": ping\n\n",
    b"\xef\xbb\xbf",
    b"data: {\n\ndata:\r\r",
    b'data: {"error": {"message": "no", "code": 429}}\n\n',
    b"event: error\r\ndata: oh\r\n\r\n",
    b'data: {"choices": [{"delta": 3}, null, {"index": "x", "delta": {"content": [1]}}]}\n\n',
    b"id\nretry: x\n\n",
]


def outcome(pieces: Sequence[bytes], kind: str) -> tuple[Any, ...]:
    """What a stream comes to: its text, its reply or its error."""
    parser, events = Parser(kind), list[Event]()
    ending: Reply | str
    try:
        for piece in pieces:
            events += parser.feed(piece)
        events += parser.end()
        ending = parser.close()
        # Calls without an id are given one that no other has.
        ending = ending._replace(calls=tuple(each._replace(id=each.id[:5]) for each in ending.calls))
    except LLMError as error:
        assert error.category in CATEGORIES
        ending = f"{error.category}: {error.message}"
    text = "".join(each.text for each in events if isinstance(each, Text))
    thoughts = "".join(each.text for each in events if isinstance(each, Thinking))
    return text, thoughts, ending


@settings(max_examples=200)
@given(
    st.lists(st.one_of(st.sampled_from(DELTAS), st.binary(max_size=12)), max_size=9).map(b"".join),
    st.lists(st.integers(0, 600), max_size=12),
    st.sampled_from(["text/event-stream", "application/json", "text/html; charset=latin-1", ""]),
)
def test_a_stream_is_the_same_in_any_cuts(data: bytes, cuts: list[int], kind: str) -> None:
    ends = sorted({min(each, len(data)) for each in cuts})
    pieces = [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]
    whole = outcome([data], kind)
    assert outcome(pieces, kind) == whole
    assert outcome([bytes([each]) for each in data], kind) == whole


@settings(max_examples=100)
@given(st.lists(st.dictionaries(st.sampled_from(["role", "content", "tool_calls", "at", "x"]), JSON), max_size=4), JSON)
def test_a_request_is_json_whatever_it_holds(messages: list[dict[str, Any]], more: Any) -> None:
    body = request("m", "s", [{"role": "user", "content": "", **each} for each in messages], [], {"extra": more})
    try:
        data = encode(body)
    except ValueError as error:  # no JSON has these
        assert "JSON" in str(error) or "nan" in str(body) or "inf" in str(body)
    else:
        data.decode()


HEADERS = st.dictionaries(
    st.sampled_from(["Retry-After", "retry-after-ms", "X-RateLimit-Reset-Tokens", "x-should-retry", "Content-Type"]),
    st.text(st.characters(codec="latin-1"), max_size=20) | st.integers().map(str) | st.floats().map(str),
)


@settings(max_examples=200)
@given(st.none() | st.integers(-1, 1000), HEADERS, st.binary(max_size=200) | JSON.map(json.dumps))
def test_any_answer_of_a_server_is_an_error_of_a_known_kind(
    status: int | None, headers: Mapping[str, str], body: bytes | str
) -> None:
    error = classify(status, headers, body)
    assert error.category in CATEGORIES and 0 < len(error.message) <= 300
    assert error.retry_after is None or 0 <= error.retry_after <= 366 * 86400


# -- keys, in any cuts

SENT = [
    b"\x1b[A",
    b"\x1b[200~a\r\nb\x1b[201~",
    "é馬😀".encode(),
    b"\x1b[<64;10;5M",
    b"\x1bO",
    b"\x1b[1;5",
    b"\x1b",
    b"\r",
    b"\xff",
]


def typed(pieces: Sequence[bytes]) -> list[Key]:
    parser = Keys()
    keys = [key for piece in pieces for key in parser.feed(piece)] + parser.flush()
    joined: list[Key] = []
    for key in keys:  # a text may come in several keys
        if joined and key.name == joined[-1].name == "text":
            joined[-1] = Key("text", joined[-1].text + key.text)
        else:
            joined.append(key)
    return joined


@settings(max_examples=200)
@given(st.lists(st.sampled_from(SENT) | st.binary(max_size=5), max_size=9).map(b"".join), st.lists(st.integers(0, 60)))
def test_keys_are_the_same_in_any_cuts(data: bytes, cuts: list[int]) -> None:
    ends = sorted({min(each, len(data)) for each in cuts})
    pieces = [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]
    assert typed(pieces) == typed([data])


# -- schedules

FIELDS = st.text(alphabet="0123456789*/,-#LW?abcJANmon ", max_size=12)


@settings(max_examples=300)
@given(st.lists(FIELDS, min_size=1, max_size=8).map(" ".join) | st.text(max_size=30))
def test_any_text_is_a_cron_expression_or_none_as_it_is_to_cronsim(text: str) -> None:
    cronsim = pytest.importorskip("cronsim")
    after = datetime(2026, 3, 28, 12, 30, 15, tzinfo=timezone.utc)
    try:
        mine = CronExpr(text).next(after)
    except CronError as error:
        assert len(str(error).splitlines()) == 1
        return
    if text.startswith("@") or len(text.split()) == 7 or mine is None:
        return  # what cronsim does not know, or looks for without end
    assert mine == next(cronsim.CronSim(text, after))


# -- what the model writes

WISHES = st.dictionaries(st.sampled_from(["path", "pattern", "command", "offset", "limit", "timeout", "x"]), JSON)


@settings(max_examples=200)
@given(st.sampled_from(TOOLS), WISHES.map(json.dumps) | st.text(max_size=40))
def test_any_arguments_fit_the_signature_or_are_told_why_not(called: Tool, text: str) -> None:
    try:
        found = called.arguments(text)
    except ToolError as error:
        assert len(str(error)) < 600
    else:
        assert found.keys() <= called.parameters["properties"].keys()


@settings(max_examples=200)
@given(st.text(alphabet="ab*?[]{},!./\\-^~", max_size=20))
def test_any_pattern_of_names_ends(text: str) -> None:
    try:
        for each in branches(text):
            _, way = split(each)
            pattern = Pattern([way])
            pattern.after(pattern.start, "a.b", False)
    except ToolError as error:
        assert str(error)


# -- what is kept

RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "channel": st.sampled_from(["discord", "", 3]),
        "to": st.sampled_from(["7", None]),
        "parts": JSON,
        "part": JSON,
        "at": JSON,
        "attempts": JSON,
        "next": JSON,
        "texts": st.lists(JSON, max_size=2),
    },
)


@settings(max_examples=200)
@given(RECORDS.map(json.dumps).map(str.encode) | st.binary(max_size=60))
def test_any_bytes_are_a_letter_or_a_damaged_one(data: bytes) -> None:
    try:
        envelope, texts = letter("0660e8c7ea090e-e707", data)
    except Damaged as error:
        assert str(error)
    else:
        assert texts and all(isinstance(each, str) for each in texts) and 0 <= envelope.next < 1e12


LINES = st.dictionaries(
    st.sampled_from(["role", "content", "n", "tool_calls", "tool_call_id", "type", "to", "at", "kept", "usage"]),
    st.sampled_from(["user", "assistant", "tool", "compaction", "rewind", 1, 2, -1, None, []]) | JSON,
)


@settings(max_examples=200)
@given(st.lists(LINES.map(json.dumps).map(str.encode) | st.binary(max_size=30), max_size=8).map(b"\n".join))
def test_any_bytes_are_a_conversation_that_can_be_sent(data: bytes) -> None:
    said = read(data)
    for each in (*said.whole, *said.seen):
        assert each["role"] in ("user", "assistant", "tool") and isinstance(each["content"] or "", str)
    encode(request("m", "", said.seen, [], {}))
