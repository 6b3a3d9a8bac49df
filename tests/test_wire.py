"""The protocol without I/O: every quirk of a stream, in one piece and byte by byte."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.calls import Calls
from agentkit.errors import LLMError
from agentkit.events import Event, Text, Thinking
from agentkit.wire import Call, Parser, Reply, assistant, encode, request

DONE = "data: [DONE]\n\n"
STOP = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'


def delta(content: Any = None, finish: str | None = None, **more: Any) -> str:
    fields = {"content": content, **more} if content is not None else more
    return f"data: {json.dumps({'choices': [{'index': 0, 'delta': fields, 'finish_reason': finish}]})}\n\n"


def fragment(**fields: Any) -> str:
    return delta(tool_calls=[fields])


def parse(stream: str | bytes, content_type: str = "text/event-stream") -> Reply:
    """The reply, the same whether the bytes come at once or one by one."""
    data = stream.encode("utf-8", "surrogatepass") if isinstance(stream, str) else stream
    whole, single = Parser(content_type), Parser(content_type)
    whole.feed(data)
    reply = whole.close()
    for byte in data:
        single.feed(bytes([byte]))
    again = single.close()
    assert without_ids(again) == without_ids(reply)
    return reply


def without_ids(reply: Reply) -> tuple[Any, ...]:
    calls = [(call.name, call.arguments, call.extra) for call in reply.calls]
    return reply.text, reply.thinking, calls, reply.finish_reason, reply.usage


def category(stream: str | bytes, content_type: str = "text/event-stream") -> str:
    with pytest.raises(LLMError) as failed:
        parse(stream, content_type)
    return failed.value.category


@pytest.mark.parametrize(
    "stream",
    [
        delta("Hel") + delta("lo") + STOP + DONE,
        (delta("Hel") + delta("lo") + STOP + DONE).replace("\n", "\r\n"),
        (delta("Hel") + delta("lo") + STOP + DONE).replace("\n", "\r"),
        (delta("Hel") + delta("lo") + STOP + DONE).replace("data: ", "data:"),
        (delta("Hel") + delta("lo") + STOP + DONE).replace("\n\n", "\n"),
        "\ufeff" + delta("Hello") + STOP,
        ": ping\n\n\n\nevent: x\nid: 3\nretry: 9\n" + delta("Hello") + "event: ping\ndata: {}\n\n" + STOP,
        delta("Hello", finish="stop") + delta(" and more"),
        delta("Hello") + DONE,
        delta("Hello") + STOP + "data: [DONE] \n\n" + delta(" not this"),
        'data: {"choices":[\ndata: {"index":0,"delta":\ndata: {"content":"Hello"}}]}\n\n' + STOP,
        '{"choices":[{"delta":{"content":"Hello"}}]}\n{"choices":[{"delta":{},"finish_reason":"stop"}]}\n',
        delta("Hello", finish="") + STOP,
        delta([{"type": "text", "text": "Hello"}]) + STOP,
        delta(refusal="Hello") + STOP,
        'data: {"choices":[]}\n\ndata: {"choices":null,"usage":null}\n\n' + delta("Hello") + STOP,
        'data: {"choices":[{"index":1,"delta":{"content":"no"}},{"index":0,"delta":{"content":"Hello"}}]}\n\n' + STOP,
    ],
)
def test_text_arrives_however_the_stream_is_written(stream: str) -> None:
    assert parse(stream).text.startswith("Hello")
    assert parse(stream).finish_reason == "stop"


@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_body_in_answer_to_a_stream_request_is_an_answer(indent: int | None) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": "Hi", "reasoning_content": "hm", "tool_calls": [call]}
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "details": {"cached": 1}}
    body = {"object": "chat.completion", "choices": [{"index": 0, "message": message}], "usage": usage}
    reply = parse(json.dumps(body, indent=indent), "application/json")
    assert (reply.text, reply.thinking, reply.finish_reason) == ("Hi", "hm", "tool_calls")
    assert reply.calls == (Call("c", "f", "{}"),)
    assert reply.usage == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


@pytest.mark.parametrize(
    "stream",
    [
        "",
        "\n\n",
        ": keep-alive\n\n",
        delta("Hel"),
        delta("Hel") + 'data: {"choices":[{"del',
        delta("Hel") + 'data: {"choices":[{"index":0,"delta":{},"finish_reason":null}]}\n\n',
        fragment(index=0, id="c", function={"name": "bash", "arguments": '{"command":"rm -rf build"}'}),
        fragment(index=0, id="c", function={"name": "bash", "arguments": '{"comm'}),
        '{"choices":[{"message":{"content":"half',
        "data: [DON",
    ],
)
def test_a_stream_that_ends_early_is_never_an_answer(stream: str) -> None:
    assert category(stream) == "network"


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ('data: {"error":{"message":"The server had an error","type":"server_error"}}\n\n', "server_error"),
        ('data: {"error":"upstream disconnected"}\n\n', "server_error"),
        ('data: {"error":{"code":429,"message":"Rate limit reached"}}\n\n' + DONE, "rate_limit"),
        ('data: {"choices":[],"error":{"code":429,"message":"Rate limit reached"}}\n\n' + STOP, "rate_limit"),
        ('event: error\ndata: {"message":"Rate limit reached","code":429}\n\n', "rate_limit"),
        ('error: {"code":429,"message":"Rate limit reached"}\n\n', "rate_limit"),
        ('[{"error":{"code":429,"message":"Rate limit reached","status":"RESOURCE_EXHAUSTED"}}]', "rate_limit"),
        ('[{\n  "error": {\n    "code": 429,\n    "message": "Rate limit reached"\n  }\n}\n]\n', "rate_limit"),
        ('{"object":"error","message":"Rate limit reached","code":429}', "rate_limit"),
        (delta("x", finish="content_filter") + DONE, "content_filter"),
        (delta("x", finish="error") + DONE, "server_error"),
        (delta("x", finish="insufficient_system_resource") + DONE, "overloaded"),
        (delta("x", finish="network_error") + DONE, "network"),
        (delta("x", finish="abort") + DONE, "network"),
        (delta("x", finish="SAFETY") + DONE, "content_filter"),
        (delta("x") + "data: {broken\n\n" + STOP + DONE, "server_error"),
        (delta("x") + "data: " + "[" * 100_000 + "\n\n" + STOP, "server_error"),
        ("<!DOCTYPE html>\n<html>\n<body>Sign in</body></html>", "server_error"),
    ],
)
def test_an_error_inside_a_good_status_is_an_error(stream: str, expected: str) -> None:
    assert category(stream) == expected


def test_a_web_page_in_place_of_an_answer_points_at_the_url() -> None:
    parser = Parser("text/html; charset=utf-8")
    parser.feed(b"<!DOCTYPE html>\n<html>")
    with pytest.raises(LLMError, match="LLM_BASE_URL"):
        parser.close()


def test_text_before_an_error_in_the_same_bytes_is_still_shown() -> None:
    parser = Parser()
    assert parser.feed((delta("Hel") + 'data: {"error":"gone"}\n\n').encode()) == [Text("Hel")]
    assert parser.done
    with pytest.raises(LLMError):
        parser.close()


def test_characters_cut_anywhere_arrive_whole() -> None:
    assert parse(f'data: {{"choices":[{{"delta":{{"content":"žlutý 馬 😀"}}}}]}}\n\n{STOP}').text == "žlutý 馬 😀"
    halves = (
        'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\ndata: {"choices":[{"delta":{"content":"\\ude00"}}]}\n\n'
    )
    assert parse(halves + STOP).text == "😀"
    assert parse(b'data: {"choices":[{"delta":{"content":"a\xff"}}]}\n\n' + STOP.encode()).text == "a\ufffd"


def test_neighbouring_pieces_come_as_one_event_each_as_soon_as_it_is_complete() -> None:
    parser = Parser()
    assert parser.feed((delta("a") + delta("b")).encode()) == [Text("ab")]
    assert parser.feed(delta("c").encode()[:-2]) == []
    assert parser.feed(b"\n") == [Text("c")]


# -- thinking


@pytest.mark.parametrize(
    ("pieces", "text", "thinking"),
    [
        (["<think>plan</think>42"], "42", "plan"),
        (["<thi", "nk>pl", "an</th", "ink>\n\n4", "2"], "42", "plan"),
        (["\n", "<think>", "plan</think>", "\n", "42"], "42", "plan"),
        (["plan</think>42"], "plan</think>42", ""),
        (["a <think>b</think>"], "a <think>b</think>", ""),
        (["<thin air"], "<thin air", ""),
        (["<think>a < b </thi", "s"], "", "a < b </this"),
        (["<th"], "<th", ""),
        (["<think>"], "", ""),
    ],
)
def test_reasoning_between_think_tags_is_no_answer(pieces: list[str], text: str, thinking: str) -> None:
    reply = parse("".join(map(delta, pieces)) + STOP)
    assert (reply.text, reply.thinking) == (text, thinking)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_in_a_field_of_its_own_is_shown_and_goes_back_with_the_call(field: str) -> None:
    call = fragment(index=0, id="c", function={"name": "f", "arguments": "{}"})
    reply = parse(delta(**{field: "think "}) + delta(**{field: "hard"}) + call + STOP)
    assert (reply.thinking, reply.text) == ("think hard", "")
    sent = request("m", "", [assistant(reply)])["messages"][0]
    assert sent[field] == "think hard"
    without_calls = request("m", "", [assistant(Reply("42", "think", thinking_field=field))])["messages"][0]
    assert without_calls == {"role": "assistant", "content": "42"}


def test_parts_of_content_may_be_thinking() -> None:
    part = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    parser = Parser()
    events: list[Event] = parser.feed((delta([part]) + delta([{"type": "text", "text": "yes"}]) + STOP).encode())
    assert events == [Thinking("hm"), Text("yes")]


# -- usage


@pytest.mark.parametrize(
    "extra",
    [
        'data: {"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":3,"total_tokens":15}}\n\n',
        'data: {"choices":[{"index":0,"delta":{},"usage":{"prompt_tokens":12,"completion_tokens":3}}]}\n\n',
        'data: {"choices":[],"x_groq":{"usage":{"prompt_tokens":12,"completion_tokens":3,"total_tokens":15}}}\n\n',
    ],
)
def test_usage_is_found_where_servers_put_it(extra: str) -> None:
    counted = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
    assert parse(delta("Hi") + STOP + extra + DONE).usage == counted
    early = delta("Hi").replace("}]}", '}],"usage":{"prompt_tokens":12,"completion_tokens":1}}')
    assert parse(early + STOP + extra).usage == counted


@pytest.mark.parametrize("usage", ['"many"', "[]", '{"prompt_tokens":"x","completion_tokens":-1}', "1e999"])
def test_nonsense_usage_is_no_reason_to_fail(usage: str) -> None:
    assert parse(delta("Hi") + STOP + f'data: {{"choices":[],"usage":{usage}}}\n\n').text == "Hi"


# -- calls


@pytest.mark.parametrize(
    ("fragments", "expected"),
    [
        pytest.param(
            [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}]
            + [{"index": 0, "function": {"arguments": piece}} for piece in ('{"x"', ":1}")],
            [("f", '{"x":1}')],
            id="as-the-protocol-has-it",
        ),
        pytest.param(
            [
                {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x"'}},
                {"index": 1, "id": "b", "function": {"name": "g", "arguments": '{"y"'}},
                {"index": 0, "function": {"arguments": ":1}"}},
                {"index": 1, "function": {"arguments": ":2}"}},
            ],
            [("f", '{"x":1}'), ("g", '{"y":2}')],
            id="interleaved",
        ),
        pytest.param(
            [{"id": "a", "function": {"name": "f", "arguments": '{"x":'}}, {"function": {"arguments": "1}"}}],
            [("f", '{"x":1}')],
            id="no-index",
        ),
        pytest.param(
            [
                {"function": {"name": "f", "arguments": '{"x":1}'}},
                {"function": {"name": "f", "arguments": '{"x":2}'}},
                {"function": {"name": "g", "arguments": "{}"}},
            ],
            [("f", '{"x":1}'), ("f", '{"x":2}'), ("g", "{}")],
            id="no-index-no-id",
        ),
        pytest.param(
            [
                {"index": 0, "id": id, "function": {"name": "f", "arguments": f'{{"x":{i}}}'}}
                for i, id in enumerate("abc")
            ],
            [("f", '{"x":0}'), ("f", '{"x":1}'), ("f", '{"x":2}')],
            id="every-index-zero",
        ),
        pytest.param(
            [
                {"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}},
                {"index": 0, "id": "b", "function": {"arguments": '{"x":'}},
                {"index": 0, "id": "c", "function": {"arguments": "1}"}},
            ],
            [("f", '{"x":1}')],
            id="a-new-id-in-each-fragment",
        ),
        pytest.param(
            [{"index": 0, "id": "a", "function": {"name": "read_file", "arguments": p}} for p in ("", '{"x"', ":1}")],
            [("read_file", '{"x":1}')],
            id="name-and-id-repeated",
        ),
        pytest.param(
            [{"index": 0, "function": {"name": "read_file", "arguments": p}} for p in ("", '{"x"', ":1}")],
            [("read_file", '{"x":1}')],
            id="name-repeated",
        ),
        pytest.param(
            [
                {"index": 0, "id": "a", "function": {"name": "read", "arguments": ""}},
                {"index": 0, "function": {"name": "_file", "arguments": ""}},
                {"index": 0, "function": {"arguments": "{}"}},
            ],
            [("read_file", "{}")],
            id="name-in-pieces",
        ),
        pytest.param(
            [{"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": "ü"}}}],
            [("f", '{"x": "ü"}')],
            id="arguments-as-an-object",
        ),
        pytest.param(
            [
                {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}},
                {"index": 0, "function": {"arguments": '{"x":1}'}},
            ],
            [("f", '{"x":1}')],
            id="an-empty-object-first",
        ),
        pytest.param(
            [
                {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x":1}'}},
                {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x":1}'}},
            ],
            [("f", '{"x":1}')],
            id="the-whole-twice",
        ),
        pytest.param(
            [
                {"index": "0", "id": None, "type": None, "function": {"name": "f", "arguments": None}},
                {"index": "0", "id": "", "function": {"name": None, "arguments": "{}"}},
                {},
                {"index": 0, "function": "nonsense"},
            ],
            [("f", "{}")],
            id="nulls-and-strings",
        ),
        pytest.param(
            [{"index": 3, "id": "a", "function": {"name": "f", "arguments": ""}}],
            [("f", "")],
            id="no-arguments-at-all",
        ),
    ],
)
def test_calls_are_put_together_from_what_servers_send(
    fragments: list[dict[str, Any]], expected: list[tuple[str, str]]
) -> None:
    reply = parse("".join(delta(tool_calls=[each]) for each in fragments) + delta(finish="tool_calls"))
    assert [(call.name, call.arguments) for call in reply.calls] == expected
    assert len({call.id for call in reply.calls}) == len(expected)
    assert all(call.id for call in reply.calls)
    assert reply.finish_reason == "tool_calls"


def test_a_piece_of_arguments_under_a_new_id_never_becomes_a_call() -> None:
    pieces = ['{"edits":[', '{"path":"x"}', "]}"]
    stream = "".join(
        fragment(index=0, id=f"c{number}", function={"name": "edit", "arguments": piece})
        for number, piece in enumerate(pieces)
    )
    assert [call.arguments for call in parse(stream + STOP).calls] == ["".join(pieces)]


def test_arguments_in_pieces_and_then_whole_are_one_call() -> None:
    pieces = ['{"x":', "1}", '{"x":1}']
    stream = "".join(fragment(index=0, id="c", function={"name": "f", "arguments": piece}) for piece in pieces)
    assert [call.arguments for call in parse(stream + STOP).calls] == ['{"x":1}']


def test_a_whole_message_after_the_pieces_is_not_said_twice() -> None:
    closing = json.dumps({"object": "chat.completion", "choices": [{"message": {"content": "Hello"}}]})
    assert parse(delta("Hel") + delta("lo") + f"data: {closing}\n\n").text == "Hello"


def test_pieces_named_message_that_break_off_are_no_answer() -> None:
    piece = json.dumps({"object": "chat.completion.chunk", "choices": [{"message": {"content": "Hello "}}]})
    assert category(f"data: {piece}\n\n") == "network"


def test_what_was_held_back_is_an_event_too() -> None:
    parser = Parser("application/json")
    body = {"choices": [{"message": {"content": "Hi", "reasoning_content": "hm"}, "finish_reason": "stop"}]}
    assert parser.feed(json.dumps(body).encode()) == []
    assert parser.end() == [Text("Hi"), Thinking("hm")]
    assert parser.close().text == "Hi"


def test_two_calls_in_one_delta_and_the_old_function_call_field() -> None:
    two = [{"index": i, "id": n, "function": {"name": n, "arguments": "{}"}} for i, n in enumerate("ab")]
    assert [call.name for call in parse(delta(tool_calls=two) + STOP).calls] == ["a", "b"]
    old = delta(function_call={"name": "f", "arguments": '{"x"'}) + delta(function_call={"arguments": ":1}"})
    assert parse(old + delta(finish="function_call")).calls[0].arguments == '{"x":1}'


def test_an_id_used_twice_is_made_unique() -> None:
    same = [{"index": i, "id": "same", "function": {"name": "f", "arguments": f'{{"x":{i}}}'}} for i in range(2)]
    calls = parse(delta(tool_calls=same) + STOP).calls
    assert [call.arguments for call in calls] == ['{"x":0}', '{"x":1}']
    assert len({call.id for call in calls}) == 2


def test_what_a_server_hides_in_a_call_goes_back_to_it() -> None:
    signature = {"google": {"thought_signature": "EjQKMg=="}}
    call = fragment(index=0, id="c", function={"name": "f", "arguments": "{}"}, extra_content=signature)
    sent = request("m", "", [assistant(parse(call + STOP))])["messages"][0]
    assert sent["tool_calls"][0]["extra_content"] == signature
    assert sent["content"] is None


def test_a_promised_call_that_does_not_come_ends_the_turn() -> None:
    reply = parse(delta("done") + delta(finish="tool_calls"))
    assert (reply.text, reply.calls) == ("done", ())


def test_thousands_of_fragments_cost_time_in_proportion() -> None:
    calls = Calls()
    for _ in range(20_000):
        calls.add({"index": 0, "function": {"name": "write_file", "arguments": "} "}})
    assert len(calls.finish()) == 1


# -- requests


def test_a_request_is_what_the_protocol_wants_and_no_more() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "hi", "at": "2026-01-01T00:00:00+00:00"},
        {"role": "assistant", "content": "", "tool_calls": [call], "model": "m", "at": "x"},
        {"role": "tool", "tool_call_id": "c", "content": "ok", "at": "x"},
        {"role": "assistant", "content": "", "interrupted": True},
    ]
    body = request("m", "Be brief.", messages, [{"type": "function"}], {"temperature": 0})
    assert body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "[2026-01-01 00:00 +00:00]\nhi"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "ok", "tool_call_id": "c"},
            {"role": "assistant", "content": "(no text)"},
        ],
        "tools": [{"type": "function"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
    }
    assert "tools" not in request("m", "", [])


@pytest.mark.parametrize(
    ("at", "line"),
    [
        ("2026-11-22T11:36:59+01:00", "[2026-11-22 11:36 +01:00]\n"),
        ("2026-11-22T11:36:59.123456-09:30", "[2026-11-22 11:36 -09:30]\n"),
        ("2026-11-22T11:36:59Z", "[2026-11-22 11:36 +00:00]\n"),
        ("2026-11-22 11:36:59", "[2026-11-22 11:36]\n"),
        ("", ""),
        ("x", ""),
        ("2026-02-31T11:36:59+01:00", ""),
        ("2026-11-22T24:61:59+01:00", ""),
        ("2026-11-22T11:36:59+01:00\n", ""),
        ("٢٠٢٦-11-22T11:36:59+01:00", ""),
        (None, ""),
        (1795343790, ""),
    ],
)
def test_a_message_of_the_user_is_sent_with_its_time_and_nothing_else_is(at: Any, line: str) -> None:
    messages: list[dict[str, Any]] = [
        {"role": role, "content": "hi", "at": at} for role in ("user", "assistant", "tool")
    ]
    sent = request("m", "", messages)["messages"]
    assert [each["content"] for each in sent] == [f"{line}hi", "hi", "hi"]


@pytest.mark.parametrize("arguments", ["", "{broken", "[1]", "null", '"text"'])
def test_broken_arguments_do_not_go_back_to_a_server_that_would_refuse_them(arguments: str) -> None:
    message = assistant(Reply(calls=(Call("c", "", arguments),)))
    assert message["tool_calls"][0]["function"] == {"name": "unknown", "arguments": "{}"}


def test_text_that_is_no_text_still_travels() -> None:
    assert json.loads(encode({"content": "a\ud800b ü"})) == {"content": "a?b ü"}


@settings(max_examples=300)
@given(
    st.lists(
        st.one_of(st.binary(max_size=40), st.sampled_from([delta("x"), STOP, DONE, "\r", "\n", "data:", "{", "["]))
    )
)
def test_no_bytes_break_the_parser(pieces: list[bytes | str]) -> None:
    parser = Parser()
    try:
        for piece in pieces:
            parser.feed(piece.encode() if isinstance(piece, str) else piece)
        parser.close()
    except LLMError:
        pass
