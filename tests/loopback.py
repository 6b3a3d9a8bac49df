"""A scripted model server on loopback: it says exactly the bytes a test wants, chunk by chunk, and ends as told.

    with Loopback([text_stream("Hello", " world"), json_error(429, "slow down")]) as server:
        ask(server.url)
        assert server.requests[0].json["model"] == "m"

A script is a list with one answer per request, in the order they arrive, or a callable `answer(request, index)`. An
answer is a Response, or a list of steps written to the socket as they stand, for what no Response can say.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, BinaryIO, Literal

Framing = Literal["chunked", "close", "length"]
End = Literal["clean", "fin", "cut", "rst", "hang"]

TIME = re.compile(r"^\[\d{4}-\d\d-\d\d \d\d:\d\d [+-]\d\d:\d\d\]\n")  # that a message of the user begins with


@dataclass
class Request:
    """What a client sent. headers have lower-case names; at: monotonic seconds; connection: from 0, in accept order;
    gone: set when the client has closed its connection before the answer was over, or while that hangs."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float
    connection: int
    gone: threading.Event = field(default_factory=threading.Event)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def said(self) -> list[str]:
        """What its messages say, those of the user without the line that tells when."""
        texts = [(each["role"], each["content"] or "") for each in self.json["messages"]]
        return [TIME.sub("", text) if role == "user" else text for role, text in texts]


@dataclass(frozen=True)
class Response:
    """An answer, down to its chunking.

    framing: chunked = each chunk is one HTTP chunk; close = neither Transfer-Encoding nor Content-Length, the end of
    the connection ends the body; length = Content-Length.
    chunks: each is written and flushed on its own, `gap` seconds apart; {"b64": ..., "times": n, "joined": bool} stands
    for the same bytes n times, as one chunk or as n. An empty one writes nothing.
    end: clean = as the framing wants it, the connection stays open where it can; fin, cut = close the socket as it
    stands, without a 0-chunk; rst = reset it; hang = keep it open and silent until the server exits. With the framing
    length, the last three announce one byte that never comes.
    before_headers: nothing at all is sent until it is set. between(i): called once chunk i (from 0) has been sent.
    """

    status: int = 200
    content_type: str = "text/event-stream"
    headers: Mapping[str, str] = field(default_factory=dict)
    framing: Framing = "chunked"
    chunks: Sequence[bytes | Mapping[str, Any]] = ()
    gap: float = 0.0
    end: End = "clean"
    before_headers: threading.Event | None = None
    between: Callable[[int], object] | None = None

    def pieces(self) -> Iterator[bytes]:
        """The chunks with repetitions written out."""
        for chunk in self.chunks:
            if isinstance(chunk, bytes):
                yield chunk
                continue
            data, times = base64.b64decode(chunk["b64"]), int(chunk.get("times", 1))
            if chunk.get("joined"):
                yield data * times
            else:
                yield from itertools.repeat(data, times)

    def head(self) -> bytes:
        """The status line and headers."""
        lines = [f"HTTP/1.1 {self.status} Scripted", f"Content-Type: {self.content_type}"]
        if self.framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
        elif self.framing == "close":
            lines.append("Connection: close")
        else:
            missing = 1 if self.end in ("cut", "rst", "hang") else 0
            lines.append(f"Content-Length: {sum(map(len, self.pieces())) + missing}")
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


class Redirect(Response):
    """Sends the client elsewhere."""

    def __init__(self, location: str, status: int = 307) -> None:
        super().__init__(status, "text/plain", {"Location": location}, framing="length")


# bytes are sent, a number of seconds or an Event is waited for, a callable is called; then the connection is closed.
Step = bytes | float | threading.Event | Callable[[], object]
Answer = Response | list[Step]
Script = Sequence[Answer] | Callable[[Request, int], Answer]


class Loopback:
    """The server, within a `with`. url: ends in /v1; requests: all so far, in the order they had arrived in full.

    A request past the end of a listed script, and one that the callable fails at, gets a 400. Leaving the `with`
    raises what the callable, or a hook of an answer, raised.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self.requests: list[Request] = []
        self._arrived = threading.Condition()  # serialises `requests`, and tells who waits for them
        self._lock = threading.Lock()  # serialises the three below, and setting _closing against adding to them
        self._threads: list[threading.Thread] = []
        self._connections: set[socket.socket] = set()
        self._awaited: list[threading.Event] = []
        self._closing = threading.Event()
        self._failure: BaseException | None = None

    def __enter__(self) -> Loopback:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._begin(self._accept, "loopback")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._closing.set()
            for event in self._awaited:
                event.set()
            for connection in self._connections:
                _shut(connection)
        socket.create_connection(("127.0.0.1", self.port), timeout=2).close()  # wakes accept() on every system
        deadline = time.monotonic() + 2
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._listener.close()
        if self._failure:
            raise self._failure
        left = [thread.name for thread in self._threads if thread.is_alive()]
        assert kind is not None or not left, f"still running, is a `between` blocked? {left}"

    @staticmethod
    def from_case(case: Mapping[str, Any]) -> Response:
        """The Response that a case of a table of streams describes: its chunks are in `chunks_b64`."""
        return Response(
            status=case.get("status", 200),
            content_type=case.get("content_type", "text/event-stream"),
            headers=case.get("headers") or {},
            framing=case.get("framing", "chunked"),
            chunks=[base64.b64decode(each) if isinstance(each, str) else each for each in case["chunks_b64"]],
            gap=case.get("gap_ms", 0) / 1000,
            end=case.get("end", "clean"),
        )

    def wait_for_requests(self, n: int, timeout: float = 10) -> list[Request]:
        """Wait until n requests have arrived in all, and return those there are; TimeoutError after `timeout` s."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self.requests) >= n, timeout):
                raise TimeoutError(f"{len(self.requests)} of {n} requests came within {timeout} s")
            return list(self.requests)

    def _begin(self, work: Callable[..., None], name: str, *args: Any) -> None:
        thread = threading.Thread(target=work, name=name, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        for number in itertools.count():
            connection, _ = self._listener.accept()
            with self._lock:
                if self._closing.is_set():
                    connection.close()
                    return
                self._connections.add(connection)
                self._begin(self._serve, f"loopback {number}", connection, number)

    def _serve(self, connection: socket.socket, number: int) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        incoming = connection.makefile("rb")
        try:
            going_on = True
            while going_on and (request := _read(incoming, number)):
                try:
                    going_on = self._answer(connection, request)
                except OSError:
                    request.gone.set()
                    return
        except OSError:
            pass  # the client, or the end of the `with`, closed it between two requests
        except Exception as error:  # a hook of the test's, which must hear of it
            self._failure = self._failure or error
        finally:
            # The file first: a socket is not closed, and so not reset, while a file made from it is open.
            incoming.close()
            with self._lock:
                self._connections.discard(connection)
                connection.close()

    def _answer(self, connection: socket.socket, request: Request) -> bool:
        """Record the request and give its answer; whether the connection goes on."""
        with self._arrived:
            index = len(self.requests)
            self.requests.append(request)
            self._arrived.notify_all()
        answer = self._scripted(request, index)
        if not isinstance(answer, Response):
            self._take(connection, answer)
            return False
        if answer.before_headers:
            self._await(answer.before_headers)
        connection.sendall(answer.head())
        for number, piece in enumerate(answer.pieces()):
            if number and answer.gap and self._closing.wait(answer.gap):
                return False
            if piece:
                connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if answer.framing == "chunked" else piece)
            if answer.between:
                answer.between(number)
        return self._finish(connection, request, answer)

    def _scripted(self, request: Request, index: int) -> Answer:
        if not callable(self._script):
            script = self._script
            return script[index] if index < len(script) else json_error(400, f"no answer is scripted for #{index}")
        try:
            return self._script(request, index)
        except Exception as error:  # the same; an answer, so that the client does not try again
            self._failure = self._failure or error
            return json_error(400, f"the script failed: {error!r}")

    def _take(self, connection: socket.socket, steps: Sequence[Step]) -> None:
        for step in steps:
            if isinstance(step, bytes):
                connection.sendall(step)
            elif isinstance(step, threading.Event):
                self._await(step)
            elif isinstance(step, (int, float)):
                self._closing.wait(step)
            else:
                step()

    def _finish(self, connection: socket.socket, request: Request, answer: Response) -> bool:
        if answer.end == "hang":
            if not connection.recv(1) and not self._closing.is_set():
                request.gone.set()
            self._closing.wait()
        elif answer.end == "rst":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif answer.end == "clean":
            if answer.framing == "chunked":
                connection.sendall(b"0\r\n\r\n")
            return answer.framing != "close" and request.headers.get("connection", "").lower() != "close"
        return False

    def _await(self, event: threading.Event) -> None:
        """Wait for an event of the test's, which leaving the `with` sets too."""
        with self._lock:
            self._awaited.append(event)
            if self._closing.is_set():
                event.set()
        event.wait()


def _read(incoming: BinaryIO, connection: int) -> Request | None:
    """The next whole request of a connection; None at its end."""
    words = incoming.readline().decode("latin-1").split()
    if len(words) != 3:
        return None
    headers = {}
    while (line := incoming.readline()).strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    size = int(headers.get("content-length", 0))
    body = incoming.read(size)
    if not line or len(body) < size:  # a client that is killed leaves a part of one
        return None
    return Request(words[0], words[1], headers, body, time.monotonic(), connection)


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # the client was first


_numbers = itertools.count(1)  # ids of calls are unique, as a server's are


def event(delta: Mapping[str, Any], finish: str | None = None, **fields: Any) -> bytes:
    """One SSE event of a chat completion; `fields` go beside `choices`."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1767225600, "model": "m"}
    return b"data: %b\n\n" % json.dumps({**chunk, "choices": [choice], **fields}).encode()


def text_stream(*pieces: str, usage: Mapping[str, int] | None = None, finish: str = "stop", **how: Any) -> Response:
    """A streamed answer, one chunk per piece; `how`: fields of Response (end, gap, between ...)."""
    events = [event({"role": "assistant", "content": ""})] + [event({"content": piece}) for piece in pieces]
    return Response(chunks=events + _ending(finish, usage), **how)


def call_stream(
    *calls: tuple[str, Mapping[str, Any] | str],
    text: str = "",
    usage: Mapping[str, int] | None = None,
    finish: str = "tool_calls",
    **how: Any,
) -> Response:
    """A streamed answer that calls tools, each given as (name, arguments), the latter in two fragments.

    arguments: an object, or text to be sent as it stands, valid or not.
    """
    events = [event({"role": "assistant", "content": text or None})]
    for index, (name, arguments) in enumerate(calls):
        written = arguments if isinstance(arguments, str) else json.dumps(arguments)
        half = len(written) // 2
        function = {"name": name, "arguments": written[:half]}
        first = {"index": index, "id": f"call_{next(_numbers)}", "type": "function", "function": function}
        events.append(event({"tool_calls": [first]}))
        events.append(event({"tool_calls": [{"index": index, "function": {"arguments": written[half:]}}]}))
    return Response(chunks=events + _ending(finish, usage), **how)


def _ending(finish: str, usage: Mapping[str, int] | None) -> list[bytes]:
    counted = [event({}, choices=[], usage=usage)] if usage else []
    return [event({}, finish), *counted, b"data: [DONE]\n\n"]


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A whole JSON document."""
    body = json.dumps(value).encode()
    return Response(status, "application/json", headers or {}, framing="length", chunks=[body])


def json_error(
    status: int,
    message: str,
    type: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An error in OpenAI's shape."""
    return json_answer({"error": {"message": message, "type": type, "param": None, "code": code}}, status, headers)
