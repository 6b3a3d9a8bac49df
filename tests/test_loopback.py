"""The scripted server itself: what it sends is what the other tests rely on."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from tests.loopback import (
    Loopback,
    Redirect,
    Request,
    Response,
    call_stream,
    json_answer,
    json_error,
    text_stream,
)


@contextmanager
def post(server: Loopback, body: bytes = b"{}") -> Iterator[http.client.HTTPResponse]:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        connection.request("POST", "/v1/chat/completions", body)
        with connection.getresponse() as answer:
            yield answer


def raw(server: Loopback) -> bytes:
    """Everything that the server sends for one request until it closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        received = b""
        while data := connection.recv(65536):
            received += data
    return received


def body(received: bytes) -> bytes:
    return received.partition(b"\r\n\r\n")[2]


def data(answer: bytes) -> list[Any]:
    lines = [line[6:] for line in answer.decode().split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("framing", "end", "sent"),
    [
        ("chunked", "clean", b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"),
        ("chunked", "fin", b"2\r\nab\r\n3\r\ncde\r\n"),
        ("chunked", "cut", b"2\r\nab\r\n3\r\ncde\r\n"),
        ("close", "clean", b"abcde"),
        ("close", "fin", b"abcde"),
        ("length", "clean", b"abcde"),
        ("length", "cut", b"abcde"),
    ],
)
def test_the_body_is_framed_and_ended_as_asked(framing: Any, end: Any, sent: bytes) -> None:
    with Loopback([Response(framing=framing, end=end, chunks=[b"ab", b"", b"cde"])]) as server:
        assert body(raw(server)) == sent


def test_a_cut_answer_with_a_length_announces_more_than_it_sends() -> None:
    scripted = Response(framing="length", end="cut", chunks=[b"abc"])
    with Loopback([scripted]) as server, post(server) as answer, pytest.raises(http.client.IncompleteRead):
        answer.read()


def test_a_reset_connection_is_reset() -> None:
    with Loopback([Response(end="rst", chunks=[b"abc"])]) as server, pytest.raises(ConnectionResetError):
        raw(server)


def test_a_case_of_the_table_becomes_its_bytes() -> None:
    encoded = base64.b64encode(b"xy").decode()
    case = {
        "status": 200,
        "content_type": "text/event-stream",
        "framing": "chunked",
        "end": "clean",
        "gap_ms": 1,
        "chunks_b64": [
            encoded,
            {"b64": encoded, "times": 3, "joined": True},
            {"b64": encoded, "times": 2, "joined": False},
        ],
    }
    with Loopback([Loopback.from_case(case)]) as server:
        assert body(raw(server)) == b"2\r\nxy\r\n6\r\nxyxyxy\r\n2\r\nxy\r\n2\r\nxy\r\n0\r\n\r\n"


def test_each_chunk_arrives_before_the_next_is_sent() -> None:
    received: list[bytes] = []
    seen = threading.Semaphore(0)

    def between(number: int) -> None:
        assert seen.acquire(timeout=10)

    with Loopback([Response(chunks=[b"one", b"two", b"three"], between=between)]) as server, post(server) as answer:
        for _ in range(3):
            received.append(answer.read1())
            seen.release()
        assert answer.read() == b""
    assert received == [b"one", b"two", b"three"]


def test_requests_are_recorded_with_lower_case_headers_and_their_body() -> None:
    with Loopback([json_answer({})]) as server:
        with post(server, b'{"model": "m"}') as answer:
            answer.read()
        [request] = server.requests
    assert (request.method, request.path, request.json) == ("POST", "/v1/chat/completions", {"model": "m"})
    assert request.headers["content-length"] == "14"
    assert request.at > 0


def test_a_connection_is_kept_and_several_are_told_apart() -> None:
    with Loopback(lambda request, index: json_answer(index)) as server:
        first, second = (http.client.HTTPConnection("127.0.0.1", server.port, timeout=10) for _ in range(2))
        for connection, expected in ((first, 0), (second, 1), (first, 2)):
            connection.request("GET", "/v1/models")
            assert json.load(connection.getresponse()) == expected
        first.close()
        second.close()
        assert [request.connection for request in server.requests] == [0, 1, 0]


def test_nothing_is_sent_before_the_event_is_set() -> None:
    gate = threading.Event()
    with Loopback([text_stream("hi", before_headers=gate)]) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=0.2)
        connection.request("GET", "/")
        with pytest.raises(TimeoutError):
            connection.getresponse()
        connection.close()
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        gate.set()
        connection.request("GET", "/")
        connection.getresponse().read()
        connection.close()


@pytest.mark.parametrize(
    "answer",
    [
        Response(chunks=[b"x"], end="hang"),
        Response(before_headers=threading.Event()),
        Response(chunks=[b"x", b"y"], gap=3600),
        [b"HTTP/1.1 200 ", threading.Event()],
        [3600.0],
    ],
    ids=["hang", "before the headers", "long gap", "steps that wait", "a step that sleeps"],
)
def test_leaving_wakes_whatever_waits_and_leaks_no_thread(answer: Any) -> None:
    before = threading.active_count()
    with socket.socket() as client, Loopback([answer]) as server:
        client.connect(("127.0.0.1", server.port))
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        server.wait_for_requests(1)
    assert threading.active_count() == before


def test_a_client_that_leaves_a_hanging_answer_is_noticed() -> None:
    with Loopback([Response(end="hang")]) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            [request] = server.wait_for_requests(1)
            assert not request.gone.is_set()
        assert request.gone.wait(10)


@pytest.mark.parametrize("left", [b"POST / HTTP/1.1\r\nContent-Le", b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{"])
def test_what_a_killed_client_leaves_is_no_request(left: bytes) -> None:
    with Loopback([]) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(left)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b""
        assert server.requests == []


def test_waiting_for_a_request_that_never_comes_ends() -> None:
    with Loopback([]) as server, pytest.raises(TimeoutError, match="0 of 1"):
        server.wait_for_requests(1, timeout=0.05)


def test_steps_are_written_as_they_stand() -> None:
    called = threading.Event()
    with Loopback([[b"not even ", called.set, 0.01, b"HTTP"]]) as server:
        assert raw(server) == b"not even HTTP"
    assert called.is_set()


def test_a_request_past_the_end_of_the_script_gets_a_400() -> None:
    with Loopback([]) as server, post(server) as answer:
        assert answer.status == 400
        assert "#0" in json.load(answer)["error"]["message"]


def test_what_the_script_raises_reaches_the_test() -> None:
    def answer(request: Request, index: int) -> Response:
        raise ValueError("unexpected request")

    with pytest.raises(ValueError, match="unexpected"), Loopback(answer) as server, post(server) as refused:
        assert refused.status == 400


def test_what_a_hook_raises_reaches_the_test() -> None:
    def between(number: int) -> None:
        raise ValueError("too many chunks")

    with pytest.raises(ValueError, match="too many"), Loopback([text_stream("hi", between=between)]) as server:
        assert body(raw(server))


def test_an_error_has_openais_shape_and_its_headers() -> None:
    with (
        Loopback([json_error(429, "slow down", code="rate", headers={"Retry-After": "2"})]) as server,
        post(server) as answer,
    ):
        assert (answer.status, answer.headers["retry-after"]) == (429, "2")
        assert json.load(answer) == {"error": {"message": "slow down", "type": None, "param": None, "code": "rate"}}


def test_a_redirect_says_where_to() -> None:
    with Loopback([Redirect("http://127.0.0.1:9/v1")]) as server, post(server) as answer:
        assert (answer.status, answer.headers["location"]) == (307, "http://127.0.0.1:9/v1")
        answer.read()


def test_a_text_stream_is_its_pieces_a_finish_and_the_usage() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    with Loopback([text_stream("Hel", "lo", usage=usage)]) as server, post(server) as answer:
        events = data(answer.read())
    said = "".join(event["choices"][0]["delta"].get("content", "") for event in events if event["choices"])
    assert said == "Hello"
    assert events[-2]["choices"][0]["finish_reason"] == "stop"
    assert events[-1]["usage"] == usage


def test_a_call_stream_has_an_id_of_its_own_for_each_call() -> None:
    with Loopback([call_stream(("read_file", {"path": "a"}), ("bash", '{"broken'))]) as server, post(server) as answer:
        events = data(answer.read())
    ids: dict[int, str] = {}
    arguments: dict[int, str] = {}
    for event in events:
        for part in event["choices"][0]["delta"].get("tool_calls", ()):
            ids.setdefault(part["index"], part.get("id", ""))
            arguments[part["index"]] = arguments.get(part["index"], "") + part["function"]["arguments"]
    assert arguments == {0: '{"path": "a"}', 1: '{"broken'}
    assert len(set(ids.values())) == 2
    assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"
