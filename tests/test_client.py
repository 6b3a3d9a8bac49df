"""One endpoint over requests: connections, clocks, cancelling, secrets, and every shape of base URL."""

from __future__ import annotations

import logging
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentkit.cancel import Cancel
from agentkit.client import Client, endpoints
from agentkit.errors import Cancelled, LLMError
from agentkit.events import Event, Notice, Text
from agentkit.wire import Reply

from .loopback import Loopback, Redirect, Request, Response, event, json_answer, json_error, text_stream

KEY = "sk-canary-0123456789abcdef"
BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}


def ask(client: Client, body: dict[str, Any] = BODY, cancel: Cancel | None = None) -> tuple[Reply, list[Event]]:
    stream = client.stream(body, cancel or Cancel())
    events = []
    while True:
        try:
            events.append(next(stream))
        except StopIteration as end:
            return end.value, events


def fails(client: Client, body: dict[str, Any] = BODY) -> LLMError:
    with pytest.raises(LLMError) as failed:
        ask(client, body)
    return failed.value


@pytest.fixture(autouse=True)
def no_proxies_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


# -- connections


def test_requests_one_after_another_use_one_connection() -> None:
    with Loopback(lambda request, index: text_stream("Hi", usage={"prompt_tokens": 1})) as server:
        client = Client(server.url, KEY)
        for _ in range(5):
            assert ask(client)[0].text == "Hi"
        assert {request.connection for request in server.requests} == {0}


def test_an_error_answer_leaves_the_connection_to_the_next_request() -> None:
    with Loopback([json_error(500, "boom"), text_stream("Hi")]) as server:
        client = Client(server.url, KEY)
        assert fails(client).category == "server_error"
        ask(client)
        assert {request.connection for request in server.requests} == {0}


def test_the_first_piece_of_a_body_that_is_not_chunked_arrives_at_once() -> None:
    second = threading.Event()
    answer = Response(
        framing="close",
        chunks=[event({"content": "first"}), event({"content": "second"}, "stop"), b"data: [DONE]\n\n"],
        between=lambda i: i == 0 and second.wait(10),
    )
    with Loopback([answer]) as server:
        stream = Client(server.url).stream(BODY, Cancel())
        assert next(stream) == Text("first")  # the second one is sent only now
        second.set()
        assert list(stream) == [Text("second")]


@pytest.mark.parametrize("framing", ["chunked", "close", "length"])
def test_gzip_is_undone(framing: Any) -> None:
    import gzip

    whole = gzip.compress(b"".join([event({"content": "žluť"}, "stop"), b"data: [DONE]\n\n"]))
    parts = [whole[:20], whole[20:]]
    with Loopback([Response(headers={"Content-Encoding": "gzip"}, framing=framing, chunks=parts)]) as server:
        assert ask(Client(server.url))[0].text == "žluť"


def test_a_server_that_keeps_the_body_open_after_done_does_not_hold_the_answer_up() -> None:
    answer = text_stream("Hi", end="hang")
    with Loopback([answer, text_stream("again")]) as server:
        client = Client(server.url)
        assert ask(client)[0].text == "Hi"
        assert ask(client)[0].text == "again"


def test_a_server_that_is_silent_after_the_finish_reason_has_still_answered() -> None:
    with Loopback([Response(chunks=[event({"content": "Hi"}, "stop")], end="hang")]) as server:
        assert ask(Client(server.url, timeout=60))[0].text == "Hi"


# -- clocks


@pytest.mark.parametrize(
    "answer",
    [
        Response(before_headers=threading.Event()),
        Response(chunks=[], end="hang"),
        Response(chunks=[b": ping\n\n"] * 40, gap=0.05, end="hang"),
        Response(chunks=[event({"role": "assistant", "content": ""})] * 40, gap=0.05, end="hang"),
    ],
    ids=["no-headers", "no-body", "keep-alives", "empty-deltas"],
)
def test_a_first_piece_that_does_not_come_is_a_timeout(answer: Response) -> None:
    with Loopback([answer]) as server:
        error = fails(Client(server.url, timeout=0.06))
    assert error.category == "timeout"
    assert "0.3 s" in error.message and "LLM_TIMEOUT" in error.message


@pytest.mark.parametrize("framing", ["chunked", "close"])
@pytest.mark.parametrize("after", [[], [b": ping\n\n"] * 60], ids=["silence", "keep-alives"])
def test_a_stream_that_stalls_is_a_timeout(framing: Any, after: list[bytes]) -> None:
    answer = Response(framing=framing, chunks=[event({"content": "Hel"}), *after], gap=0.02, end="hang")
    with Loopback([answer]) as server:
        error = fails(Client(server.url, timeout=0.2))
    assert error.category == "timeout"
    assert "0.2 s" in error.message


def test_a_slow_stream_that_goes_on_is_no_timeout() -> None:
    pieces = [event({"content": "x"})] * 20 + [event({}, "stop")]
    with Loopback([Response(chunks=pieces, gap=0.05)]) as server:
        assert ask(Client(server.url, timeout=0.5))[0].text == "x" * 20


def test_keep_alives_after_the_end_do_not_hold_the_answer_up() -> None:
    answer = Response(chunks=[event({"content": "Hi"}, "stop"), *[b": ping\n\n"] * 200], gap=0.1)
    with Loopback([answer]) as server:
        started = time.monotonic()
        assert ask(Client(server.url))[0].text == "Hi"
        assert time.monotonic() - started < 15


def test_an_error_whose_body_stalls_is_told_all_the_same() -> None:
    with Loopback([Response(500, "text/plain", framing="length", chunks=[b"boom"], end="hang")]) as server:
        assert fails(Client(server.url, timeout=60)).category == "server_error"


# -- cancelling


def cancelled(client: Client, ready: threading.Event) -> tuple[float, list[Event]]:
    """Seconds from cancel to the end of the work, cancelled once `ready` is set."""
    cancel, set_at, events = Cancel(), [], []

    def watch() -> None:
        assert ready.wait(10)
        set_at.append(time.monotonic())
        cancel.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    stream = client.stream(BODY, cancel)
    with pytest.raises(Cancelled):
        while True:
            events.append(next(stream))
    ended = time.monotonic()
    watcher.join()
    return ended - set_at[0], events


@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_cancel_wakes_a_stalled_stream(framing: Any) -> None:
    ready = threading.Event()
    answer = Response(framing=framing, chunks=[event({"content": "Hel"})], end="hang", between=lambda i: ready.set())
    with Loopback([answer]) as server:
        seconds, _ = cancelled(Client(server.url), ready)
        assert seconds < 5  # and not the 120 s of the timeout; how fast it is, is measured in the bench
        assert server.requests[0].gone.wait(10)


def test_cancel_before_the_headers_ends_the_wait_and_closes_the_late_answer() -> None:
    arrived, late = threading.Event(), threading.Event()

    def answer(request: Request, index: int) -> Response:
        arrived.set()
        return Response(before_headers=late, chunks=[event({"content": "late"})], end="hang")

    with Loopback(answer) as server:
        seconds, events = cancelled(Client(server.url), arrived)
        assert (seconds < 5, events) == (True, [])
        late.set()
        assert server.requests[0].gone.wait(10)
        while any(thread.name == "http" for thread in threading.enumerate()):
            threading.Event().wait(0.01)  # it ends with the connection, not with a timeout


def test_cancel_while_connecting_ends_the_wait() -> None:
    full = socket.create_server(("127.0.0.1", 0), backlog=0)
    waiting = [socket.socket() for _ in range(8)]
    for each in waiting:  # nobody accepts: the queue is full, a further connection gets no answer
        each.setblocking(False)
        each.connect_ex(full.getsockname())
    ready = threading.Event()
    ready.set()
    seconds, _ = cancelled(Client(f"http://127.0.0.1:{full.getsockname()[1]}"), ready)
    assert seconds < 5
    for each in (*waiting, full):
        each.close()


def test_the_connection_after_a_cancel_is_a_good_one() -> None:
    ready = threading.Event()
    hang = Response(chunks=[event({"content": "Hel"})], end="hang", between=lambda i: ready.set())
    with Loopback([hang, text_stream("Hi")]) as server:
        client = Client(server.url)
        cancelled(client, ready)
        assert ask(client)[0].text == "Hi"


# -- where the endpoint is


@pytest.mark.parametrize(
    ("base", "urls"),
    [
        ("https://api.openai.com/v1", ["https://api.openai.com/v1/chat/completions"]),
        ("https://api.openai.com/v1/", ["https://api.openai.com/v1/chat/completions"]),
        (
            "http://localhost:8080",
            ["http://localhost:8080/v1/chat/completions", "http://localhost:8080/chat/completions"],
        ),
        ("https://h/api/v1", ["https://h/api/v1/chat/completions"]),
        ("https://h/v1beta/openai/", ["https://h/v1beta/openai/chat/completions"]),
        ("https://h/api", ["https://h/api/chat/completions", "https://h/api/v1/chat/completions"]),
        ("https://h/v1/chat/completions", ["https://h/v1/chat/completions"]),
    ],
)
def test_a_base_url_has_any_shape(base: str, urls: list[str]) -> None:
    assert endpoints(base) == urls


def test_the_path_that_works_is_found_once_and_kept() -> None:
    def answer(request: Request, index: int) -> Response:
        return text_stream("Hi") if request.path == "/chat/completions" else json_error(404, "Not Found")

    with Loopback(answer) as server:
        client = Client(server.url.removesuffix("/v1"))
        ask(client)
        ask(client)
    assert [request.path for request in server.requests] == [
        "/v1/chat/completions",
        "/chat/completions",
        "/chat/completions",
    ]


def test_a_missing_model_is_not_looked_for_elsewhere() -> None:
    with Loopback([json_error(404, "The model `m` does not exist")]) as server:
        assert fails(Client(server.url.removesuffix("/v1"))).category == "model_not_found"
    assert len(server.requests) == 1


def test_an_endpoint_that_is_nowhere_is_said_with_the_settings_to_check() -> None:
    with Loopback(lambda request, index: json_error(404, "Not Found")) as server:
        error = fails(Client(server.url.removesuffix("/v1")))
    assert "LLM_BASE_URL" in error.message


def test_a_dead_endpoint_is_a_network_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    error = fails(Client(f"http://127.0.0.1:{port}/v1", KEY))
    assert error.category == "network"
    assert "LLM_BASE_URL" in error.message


# -- the key


def test_the_key_is_sent_and_an_empty_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with Loopback(lambda request, index: text_stream("Hi")) as server:
        ask(Client(server.url, KEY))
        ask(Client(server.url, ""))
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
        assert "authorization" not in server.requests[1].headers


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_to_another_host_does_not_carry_the_key(status: int) -> None:
    with (
        Loopback([text_stream("Hi")]) as other,
        Loopback([Redirect(f"{other.url}/chat/completions", status)]) as server,
    ):
        assert ask(Client(server.url, KEY))[0].text == "Hi"
        assert other.requests[0].json == BODY
        assert "authorization" not in other.requests[0].headers


def test_a_redirect_on_the_same_host_carries_it_and_a_circle_ends() -> None:
    with Loopback([Redirect("/elsewhere"), text_stream("Hi")]) as server:
        ask(Client(server.url, KEY))
        assert server.requests[1].path == "/elsewhere"
        assert server.requests[1].headers["authorization"] == f"Bearer {KEY}"
    with Loopback(lambda request, index: Redirect("/again")) as server:
        assert "LLM_BASE_URL" in fails(Client(server.url, KEY)).message
        assert len(server.requests) < 10


@pytest.mark.parametrize(
    "answer",
    [
        json_error(401, f"Incorrect API key provided: {KEY}"),
        json_error(400, f"cannot use {KEY} here"),
        Response(chunks=[event({"content": "x"}), f'data: {{"error":"no {KEY}"}}\n\n'.encode()]),
        Response(500, "text/plain", framing="length", chunks=[KEY.encode() * 100]),
    ],
)
def test_the_key_never_comes_out(answer: Response, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Loopback([answer]) as server:
        client = Client(server.url, KEY)
        error = fails(client)
    text = "".join(traceback.format_exception(error)) + error.detail + error.message + repr(client) + caplog.text
    assert KEY not in text
    assert KEY[:14] not in text


# -- fields an endpoint does not take

TOOLS = [{"type": "function", "function": {"name": "f", "description": "", "parameters": {"type": "object"}}}]


@pytest.mark.parametrize(
    ("field", "status", "message"),
    [
        ("stream_options", 400, "Unknown parameter: 'stream_options'."),
        ("stream_options", 422, "body.stream_options: Extra inputs are not permitted"),
        ("tools", 400, "registry.ollama.ai/library/gemma3:latest does not support tools"),
        ("tools", 404, "No endpoints found that support tool use."),
        ("tools", 400, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'),
        ("tools", 500, "tools param requires --jinja flag"),
        ("tools", 400, "Unrecognized request argument supplied: tools"),
        ("tools", 400, "This model does not support function calling"),
        ("tools", 400, "`tools` is not supported for this model"),
        ("tools", 400, "Function calling is not enabled for models/gemma-3"),
        ("tools", 422, "tools: Extra inputs are not permitted"),
    ],
)
def test_a_field_that_is_refused_is_left_out_from_then_on_and_said_once(field: str, status: int, message: str) -> None:
    body = {**BODY, "stream_options": {"include_usage": True}, "tools": TOOLS}

    def answer(request: Request, index: int) -> Response:
        return json_error(status, message) if field in request.json else text_stream("Hi")

    with Loopback(answer) as server:
        client = Client(server.url)
        _, events = ask(client, body)
        assert [type(each) for each in events] == [Notice, Text]
        assert field in str(events[0])
        assert ask(client, body)[1] == [Text("Hi")]
        assert len(server.requests) == 3
        assert set(body) - set(server.requests[-1].json) == {field}


THOUGHT = {
    "role": "assistant",
    "content": None,
    "reasoning_content": "Hm.",
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
}
THINKING = {**BODY, "messages": [*BODY["messages"], THOUGHT, {"role": "tool", "tool_call_id": "c1", "content": "x"}]}


@pytest.mark.parametrize(
    "refusal",
    [
        json_error(400, "'messages.1' : property 'reasoning_content' is unsupported", "invalid_request_error"),
        json_answer(
            {"detail": [{"type": "extra_forbidden", "loc": ["body", "messages", 1, "assistant", "reasoning_content"],
                         "msg": "Extra inputs are not permitted"}]}, 422,
        ),
        json_error(400, "Additional properties are not allowed ('reasoning_content' was unexpected) - 'messages.1'"),
    ],
)  # fmt: skip
def test_what_another_model_has_thought_is_left_out_where_it_is_refused(refusal: Response) -> None:
    def answer(request: Request, index: int) -> Response:
        return refusal if b"reasoning_content" in request.body else text_stream("Hi")

    with Loopback(answer) as server:
        client = Client(server.url)
        assert ask(client, THINKING)[0].text == "Hi"
        assert ask(client, THINKING)[1] == [Text("Hi")]
        assert len(server.requests) == 3
        assert [each["role"] for each in server.requests[-1].json["messages"]] == ["user", "assistant", "tool"]


def test_thoughts_that_are_wanted_are_not_left_out_since_others_are_missing() -> None:
    wanted = json_error(400, "Missing `reasoning_content` field in the assistant message at message index 1")
    with Loopback([wanted]) as server:
        with pytest.raises(LLMError):
            ask(Client(server.url), THINKING)
        assert len(server.requests) == 1


UNSUPPORTED = (
    "'messages.2' : for 'role:assistant' the following must be satisfied[('messages.2' : property 'reasoning_content' "
    "is unsupported)]"
)
MISSED = "thinking is enabled but reasoning_content is missing in assistant tool call message at index 2"


def of_others(**thought: str) -> dict[str, Any]:
    """A conversation in which another model, which told no thoughts, has made calls; and this one with its own."""
    calls = [{"id": "c0", "type": "function", "function": {"name": "look", "arguments": "{}"}}]
    bare = {"role": "assistant", "content": None, "tool_calls": calls}
    own = {**THOUGHT, **thought}
    results = [{"role": "tool", "tool_call_id": each, "content": "x"} for each in ("c0", "c1")]
    return {**BODY, "messages": [*BODY["messages"], bare, results[0], own, results[1]]}


def thoughts(request: Request) -> list[str | None]:
    """Those that go with its calls, None: there is no such field."""
    return [each.get("reasoning_content") for each in request.json["messages"] if each.get("tool_calls")]


@pytest.mark.parametrize("status", [400, 422, 500])
def test_thoughts_that_must_not_be_there_are_left_out_though_the_refusal_says_must(status: int) -> None:
    def answer(request: Request, index: int) -> Response:
        return json_error(status, UNSUPPORTED) if b"reasoning_content" in request.body else text_stream("Hi")

    with Loopback(answer) as server:
        client = Client(server.url)
        _, events = ask(client, of_others())
        assert [type(each) for each in events] == [Notice, Text]
        assert ask(client, of_others())[1] == [Text("Hi")]
        assert [thoughts(each) for each in server.requests] == [[None, "Hm."], [None, None], [None, None]]


def wants_thoughts(request: Request, index: int) -> Response:
    return json_error(400, MISSED) if None in thoughts(request) else text_stream("Hi")


def test_calls_without_thoughts_get_a_placeholder_where_they_are_missed_and_that_is_said_once() -> None:
    with Loopback(wants_thoughts) as server:
        client = Client(server.url)
        _, events = ask(client, of_others())
        assert [type(each) for each in events] == [Notice, Text] and "reasoning_content" in str(events[0])
        assert ask(client, of_others())[1] == [Text("Hi")]
        assert len(server.requests) == 3
        for request in server.requests[1:]:
            placeholder, own = thoughts(request)
            assert placeholder and own == "Hm."
            bare = [{**each, "reasoning_content": None} for each in request.json["messages"]]
            assert bare == [{**each, "reasoning_content": None} for each in of_others()["messages"]]


def test_what_one_model_wants_of_thoughts_another_one_at_the_same_endpoint_is_not_sent() -> None:
    def answer(request: Request, index: int) -> Response:
        if request.json["model"] == "thinker":
            return wants_thoughts(request, index)
        return json_error(400, UNSUPPORTED) if b"reasoning_content" in request.body else text_stream("Hi")

    with Loopback(answer) as server:
        client = Client(server.url)
        told = [
            [type(each) for each in ask(client, {**of_others(), "model": model})[1]]
            for model in ("thinker", "plain", "thinker", "plain", "thinker")
        ]
        assert told == [[Notice, Text], [Notice, Text], [Text], [Text], [Text]]
        assert len(server.requests) == 7


def test_an_endpoint_that_wants_thoughts_and_refuses_them_is_not_asked_for_ever() -> None:
    def answer(request: Request, index: int) -> Response:
        return json_error(400, MISSED if None in thoughts(request) else UNSUPPORTED)

    for body in (of_others(), THINKING):
        with Loopback(answer) as server:
            client = Client(server.url)
            assert fails(client, body).category == "bad_request"
            assert 2 <= len(server.requests) <= 3
            assert fails(client, body).category == "bad_request"
            assert len(server.requests) <= 6


def test_both_fields_may_be_refused() -> None:
    body = {**BODY, "stream_options": {"include_usage": True}, "tools": TOOLS}

    def answer(request: Request, index: int) -> Response:
        refused = [name for name in ("stream_options", "tools") if name in request.json]
        return json_error(400, f"unknown field: {refused[0]}") if refused else text_stream("Hi")

    with Loopback(answer) as server:
        assert ask(Client(server.url), body)[0].text == "Hi"
        assert len(server.requests) == 3


@pytest.mark.parametrize(
    "message",
    [
        "Invalid schema for function 'read': In context=('properties', 'path'), schema must have a 'type' key.",
        "Invalid 'tools': array too long. Expected an array with maximum length 128, but got 150 instead.",
        "Invalid value for 'tools[0].function.name': 'authenticate user'.",
        "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
        "tool call validation failed: parameters for tool f did not match schema",
        "`tool_use` ids were found without `tool_result` blocks immediately after: toolu_01A0.",
        "Unexpected role 'user' after role 'tool'",
        "Unexpected tool call id call_1 in tool results",
        "Unknown tool 'bash' in message history",
    ],
)
def test_a_fault_in_how_tools_are_used_is_not_a_refusal_of_tools(message: str) -> None:
    with Loopback(lambda request, index: json_error(400, message)) as server:
        assert fails(Client(server.url), {**BODY, "tools": TOOLS}).category == "bad_request"
        assert len(server.requests) == 1


def test_nothing_is_asked_again_once_something_was_shown() -> None:
    broken = Response(chunks=[event({"content": "The answer is"}), b'data: {"error":"tools are not supported"}\n\n'])
    with Loopback([broken]) as server:
        fails(Client(server.url), {**BODY, "tools": TOOLS})
        assert len(server.requests) == 1


def test_a_refusal_counts_only_when_leaving_the_field_out_has_helped() -> None:
    body = {**BODY, "tools": TOOLS}
    answers = [json_error(400, "tools are not supported"), json_error(500, "boom"), text_stream("Hi")]
    with Loopback(answers) as server:
        client = Client(server.url)
        assert fails(client, body).category == "server_error"
        ask(client, body)
        assert "tools" in server.requests[2].json


def test_a_made_up_key_does_not_tear_words_apart() -> None:
    with Loopback([json_error(500, "The server failed here")]) as server:
        assert "The server failed here" in fails(Client(server.url, "e")).message


# -- odd answers


def test_an_answer_that_was_not_streamed_is_shown_all_the_same() -> None:
    body = {"choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]}
    with Loopback([json_answer(body)]) as server:
        reply, events = ask(Client(server.url))
    assert (reply.text, events) == ("Hi", [Text("Hi")])


def test_of_a_huge_error_page_only_the_beginning_is_read() -> None:
    page = b"<html>" + b"x" * (10 << 20)
    with Loopback([Response(502, "text/html", framing="length", chunks=[page])]) as server:
        error = fails(Client(server.url))
    assert error.category == "server_error"
    assert len(error.message) <= 300


def proxied(request: Request, index: int) -> Response:
    return text_stream(f"through a proxy to {request.path}")


def test_a_proxy_of_the_environment_is_used_and_a_direct_client_passes_it_by(monkeypatch: pytest.MonkeyPatch) -> None:
    with Loopback(proxied) as proxy, Loopback([text_stream("direct")]) as server:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
        reply, _ = ask(Client("http://model.invalid/v1", KEY))
        assert reply.text == "through a proxy to http://model.invalid/v1/chat/completions"
        assert ask(Client(server.url, direct=True))[0].text == "direct"


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name == "http":
            thread.join(10)
            assert not thread.is_alive()
