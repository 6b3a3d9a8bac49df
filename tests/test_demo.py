"""The built-in model's server: that it speaks the real protocol, and survives whatever is sent to it."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from agentkit.demo import CONTEXT_WINDOW, MODEL, Demo, reply

TOOLS = [{"type": "function", "function": {"name": name}} for name in ("list_dir", "read_file", "write_file")]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    with Demo() as running:
        yield running


def port(demo: Demo) -> int:
    return int(demo.url.rpartition(":")[2].removesuffix("/v1"))


def request(demo: Demo, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    with closing(http.client.HTTPConnection("127.0.0.1", port(demo), timeout=20)) as connection:
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


def chat(demo: Demo, text: str, **fields: Any) -> Any:
    body = {"model": MODEL, "messages": [user(text)], "tools": TOOLS, **fields}
    status, answer = request(demo, "POST", "/v1/chat/completions", body)
    assert status == 200
    if not fields.get("stream"):
        return json.loads(answer)
    events = answer.decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    return [json.loads(event.removeprefix("data: ")) for event in events[:-2]]


def raw(demo: Demo, sent: bytes) -> bytes:
    """All that the server sends until it closes the connection."""
    received = b""
    with socket.create_connection(("127.0.0.1", port(demo)), timeout=20) as client:
        client.sendall(sent)
        while data := client.recv(65536):
            received += data
    return received


def test_a_streamed_answer_comes_word_by_word_and_equals_the_whole_one(demo: Demo) -> None:
    whole = chat(demo, "hello")
    events = chat(demo, "hello", stream=True)
    pieces = [event["choices"][0]["delta"].get("content", "") for event in events]
    assert "".join(pieces) == whole["choices"][0]["message"]["content"] == reply([user("hello")], [])[0]
    assert len(pieces) > 20
    assert events[0]["choices"][0]["delta"]["role"] == "assistant"
    assert [event["choices"][0]["finish_reason"] for event in events] == [None] * (len(events) - 1) + ["stop"]
    assert len({event["id"] for event in events}) == 1
    assert "usage" not in events[-1]


def test_usage_comes_when_it_is_asked_for_and_is_estimated_from_characters(demo: Demo) -> None:
    *_, last = chat(demo, "hello", stream=True, stream_options={"include_usage": True})
    assert last["choices"] == []
    usage = last["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] == len(reply([user("hello")], [])[0]) // 4
    assert usage == chat(demo, "hello")["usage"]
    assert chat(demo, "é" * 4000)["usage"]["prompt_tokens"] < 2000


def test_the_arguments_of_a_call_are_streamed_in_pieces(demo: Demo) -> None:
    events = chat(demo, "write héllo to a.txt", stream=True)
    parts = [part for event in events for part in event["choices"][0]["delta"].get("tool_calls", ())]
    assert (parts[0]["type"], parts[0]["function"]["name"]) == ("function", "write_file")
    pieces = [part["function"]["arguments"] for part in parts[1:]]
    assert len(pieces) in (2, 3)
    assert json.loads("".join(pieces)) == {"path": "a.txt", "content": "héllo"}
    assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_each_call_has_an_id_of_its_own(demo: Demo) -> None:
    ids = [
        call["id"]
        for _ in range(2)
        for call in chat(demo, "read a.txt and b.txt")["choices"][0]["message"]["tool_calls"]
    ]
    assert len(set(ids)) == 4


def test_the_models_are_listed(demo: Demo) -> None:
    status, answer = request(demo, "GET", "/v1/models?x=1")
    assert status == 200
    assert [model["id"] for model in json.loads(answer)["data"]] == [MODEL]
    assert CONTEXT_WINDOW == 8192


def test_a_connection_is_reused_after_answers_and_errors(demo: Demo) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", port(demo), timeout=20)) as connection:
        connection.connect()
        used = connection.sock
        for path, expected in (("/v1/models", 200), ("/nothing", 404), ("/v1/models", 200)):
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == expected
        connection.request("POST", "/v1/chat/completions", json.dumps({"messages": [user("ls")], "stream": True}))
        connection.getresponse().read()
        assert connection.sock is used


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/", None, 404),
        ("POST", "/chat/completions", {}, 404),
        ("GET", "/v1/chat/completions", None, 405),
        ("DELETE", "/v1/models", None, 405),
        ("POST", "/v1/chat/completions", b"", 400),
        ("POST", "/v1/chat/completions", b"{", 400),
        ("POST", "/v1/chat/completions", b"\xff\xfe{", 400),
        ("POST", "/v1/chat/completions", b"[" * 100_000, 400),
        ("POST", "/v1/chat/completions", b"[]", 400),
        ("POST", "/v1/chat/completions", {}, 400),
        ("POST", "/v1/chat/completions", {"messages": []}, 400),
        ("POST", "/v1/chat/completions", {"messages": ["hi"]}, 400),
        ("POST", "/v1/chat/completions", {"messages": {"role": "user"}}, 400),
        ("POST", "/v1/chat/completions", {"messages": [{}], "tools": [1]}, 400),
    ],
)
def test_a_wrong_request_gets_an_error_in_openais_shape(
    demo: Demo, method: str, path: str, body: Any, status: int
) -> None:
    got, answer = request(demo, method, path, body)
    assert got == status
    error = json.loads(answer)["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n", 400),
        (b"GET / HTTP/1.0\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 500 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\na: " + b"x" * 100_000 + b"\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 9999 + b"\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
    ],
)
def test_what_cannot_be_read_is_refused_and_the_connection_closed(demo: Demo, sent: bytes, status: int) -> None:
    answer = raw(demo, sent)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"Connection: close" in head
    assert json.loads(body)["error"]["message"]


def test_a_refused_method_names_the_right_one_and_a_head_ends_the_connection(demo: Demo) -> None:
    answer = raw(demo, b"HEAD /v1/models HTTP/1.1\r\n\r\n")
    assert b"405" in answer
    assert b"Allow: GET" in answer


def test_a_client_that_waits_for_100_continue_gets_it(demo: Demo) -> None:
    body = json.dumps({"messages": [user("hi")]}).encode()
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    )
    assert raw(demo, head % len(body) + body).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


def test_lone_surrogates_and_control_characters_survive_the_way(demo: Demo) -> None:
    events = chat(demo, "write a\ud800\u0000😀b to a.txt", stream=True)
    parts = [part for event in events for part in event["choices"][0]["delta"].get("tool_calls", ())]
    written = json.loads("".join(part["function"]["arguments"] for part in parts))
    assert written["content"] == "a\ud800\u0000😀b"


def begin_counting(demo: Demo) -> socket.socket:
    """A client in the middle of a count that takes 50 seconds."""
    body = json.dumps({"messages": [user("count to 1000")], "stream": True}).encode()
    client = socket.create_connection(("127.0.0.1", port(demo)), timeout=20)
    client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    received = b""
    while b'" 2"' not in received:
        data = client.recv(65536)
        assert data
        received += data
    return client


def demo_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "demo model"]


def test_a_client_that_leaves_in_the_middle_ends_only_its_own_answer(capfd: pytest.CaptureFixture[str]) -> None:
    with Demo() as demo:
        before = demo_threads()
        client = begin_counting(demo)
        [handler] = [thread for thread in demo_threads() if thread not in before]
        client.close()
        handler.join(20)
        assert not handler.is_alive()
        assert chat(demo, "thanks")["choices"][0]["finish_reason"] == "stop"
    assert capfd.readouterr().err == ""


def test_stop_breaks_off_what_is_being_said_and_leaves_no_thread(capfd: pytest.CaptureFixture[str]) -> None:
    before = set(demo_threads())
    demo = Demo()
    demo.start()
    client = begin_counting(demo)
    idle = socket.create_connection(("127.0.0.1", port(demo)), timeout=20)
    started = time.monotonic()
    demo.stop()
    assert time.monotonic() - started < 10  # the count would take 50 seconds
    assert before.issuperset(demo_threads())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port(demo)), timeout=20)
    client.close()
    idle.close()
    demo.stop()
    assert capfd.readouterr().err == ""


def test_it_can_be_started_twice_and_started_again() -> None:
    demo = Demo()
    url = demo.start()
    assert url.startswith("http://127.0.0.1:")
    assert url.endswith("/v1")
    assert demo.start() == url
    demo.stop()
    demo.start()
    assert chat(demo, "hi")["model"] == MODEL
    demo.stop()


def test_several_clients_are_served_at_once(demo: Demo) -> None:
    client = begin_counting(demo)
    assert chat(demo, "ls")["choices"][0]["finish_reason"] == "tool_calls"
    client.close()
