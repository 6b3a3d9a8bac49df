"""The built-in model: an OpenAI-compatible server on loopback, for users who have set no LLM_ variable.

It understands nothing: `reply` follows a few fixed rules. It speaks the real protocol, server-sent events over
HTTP/1.1, so that everything else is used as it is with a real model.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, BinaryIO

from ..errors import SettingsError
from .smalltalk import Message, reply
from .wishes import Request

__all__ = ["CONTEXT_WINDOW", "MODEL", "Demo", "reply"]

MODEL = "demo"
CONTEXT_WINDOW = 8192  # tokens

_LARGEST = 8 << 20  # bytes of a request's body, some hundred times what CONTEXT_WINDOW holds
_LINE, _HEADERS = 65536, 200  # bytes of a line in a request's head, and how many lines it may have
_SILENCE = 600.0  # seconds that a connection may be idle, or a client may leave what it is sent unread
_WORD, _NUMBER = 0.015, 0.05  # seconds between two pieces of an answer, and of a count
_LONGEST = 1.2  # seconds that an answer other than a count is spread over
_METHODS = {"/v1/chat/completions": "POST", "/v1/models": "GET"}


class _Refused(Exception):
    """A request that gets an error for an answer."""

    def __init__(self, status: int, message: str, allow: str = "") -> None:
        super().__init__(message)
        self.status, self.allow = status, allow

    @property
    def record(self) -> dict[str, Any]:
        """In the shape that OpenAI's API gives its errors."""
        return {"error": {"message": str(self), "type": "invalid_request_error", "param": None, "code": None}}


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def is_last(self) -> bool:
        """Whether the connection ends with its answer. A HEAD is refused with a body that its client will not read."""
        return self.headers.get("connection", "").lower() == "close" or self.method not in ("GET", "POST")


@dataclass(frozen=True)
class _Wanted:
    """What a chat-completions request asks for; prompt_tokens: estimated."""

    messages: list[Message]
    tools: list[Message]
    stream: bool
    usage: bool
    prompt_tokens: int


class Demo:
    """The server, which one thread starts and stops; as a context manager it runs within the `with`."""

    def __init__(self) -> None:
        self._listener: socket.socket | None = None
        self.url = ""
        self._stopping = threading.Event()
        # Serialises `_open` and `_threads`, and setting _stopping against adding to them.
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()

    def start(self) -> str:
        """Listen on a free port of 127.0.0.1; returns the base URL, which ends in /v1. Started already: the same.

        Raises SettingsError where no port can be opened.
        """
        if self._listener is None:
            try:
                self._listener = socket.create_server(("127.0.0.1", 0))
            except OSError as error:
                problem = f"the built-in demo model cannot open a port on 127.0.0.1 ({error}): set the LLM_ variables"
                raise SettingsError([problem]) from error
            self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
            self._stopping.clear()
            self._begin(self._accept, self._listener)
        return self.url

    def stop(self) -> None:
        """Break off what is being said and close everything; takes at most 2 seconds. Stopped already: nothing."""
        if self._listener is None:
            return
        with self._lock:
            self._stopping.set()
            threads = list(self._threads)
            for connection in self._open:
                _end(connection, socket.SHUT_RDWR)
        try:  # closing a listener does not wake an accept() on every system, a connection does
            socket.create_connection(self._listener.getsockname(), timeout=1).close()
        except OSError:
            pass
        deadline = time.monotonic() + 1
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._listener.close()
        self._listener = None

    def __enter__(self) -> Demo:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _begin(self, work: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=work, args=args, name="demo model", daemon=True)
        self._threads.add(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # too many open files, or the client has gone already
                if self._stopping.wait(0.1):
                    return
                continue
            with self._lock:
                if self._stopping.is_set():
                    connection.close()
                    return
                self._open.add(connection)
                self._begin(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(_SILENCE)
            with connection.makefile("rb") as incoming:
                while self._exchange(connection, incoming):
                    pass
        except OSError:
            pass  # the client has gone, or stop() has closed the connection
        finally:
            with self._lock:  # stop() never shuts a socket whose number belongs to another one by then
                connection.close()
                self._open.discard(connection)
                self._threads.discard(threading.current_thread())

    def _exchange(self, connection: socket.socket, incoming: BinaryIO) -> bool:
        """One request and its answer; whether the connection goes on."""
        try:
            request = _read(connection, incoming)
        except _Refused as refused:
            _send(connection, refused.status, refused.record, last=True)
            _drain(connection)
            return False
        if request is None:
            return False
        try:
            self._answer(connection, request)
        except _Refused as refused:
            _send(connection, refused.status, refused.record, request.is_last, refused.allow)
        return not request.is_last

    def _answer(self, connection: socket.socket, request: _Request) -> None:
        path = request.path.partition("?")[0]
        method = _METHODS.get(path)
        if method is None:
            raise _Refused(404, f"there is no {path[:100]} here, only {' and '.join(_METHODS)}")
        if request.method != method:
            raise _Refused(405, f"{path} takes {method}, not {request.method[:20]}", method)
        if method == "GET":
            model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "agentkit"}
            _send(connection, 200, {"object": "list", "data": [model]}, request.is_last)
            return
        wanted = _wanted(request.body)
        message = _message(*reply(wanted.messages, wanted.tools))
        if wanted.stream:
            self._stream(connection, message, wanted, request.is_last)
        else:
            choice = {"index": 0, "message": message, "finish_reason": _finish(message)}
            whole = _record("chat.completion", choices=[choice], usage=_usage(message, wanted))
            _send(connection, 200, whole, request.is_last)

    def _stream(self, connection: socket.socket, message: Message, wanted: _Wanted, last: bool) -> None:
        pieces = [*map(json.dumps, _events(message, wanted)), "[DONE]"]
        counts = (message["content"] or "").replace(" ", "").isdecimal()
        gap = _NUMBER if counts else min(_WORD, _LONGEST / len(pieces))
        connection.sendall(_head(200, "text/event-stream; charset=utf-8", "Transfer-Encoding: chunked", last=last))
        started = time.monotonic()
        for number, piece in enumerate(pieces):
            self._stopping.wait(max(0.0, started + number * gap - time.monotonic()))
            line = b"data: %b\n\n" % piece.encode()
            connection.sendall(b"%x\r\n%b\r\n" % (len(line), line))
        connection.sendall(b"0\r\n\r\n")


def _read(connection: socket.socket, incoming: BinaryIO) -> _Request | None:
    """The next request, read in full (RFC 9112); None: the client has gone."""
    line = incoming.readline(_LINE)
    if not line:
        return None
    words = line.decode("latin-1").split()
    if len(words) != 3 or not words[2].startswith("HTTP/"):
        raise _Refused(400, "this is not HTTP")
    if words[2] != "HTTP/1.1":
        raise _Refused(505, "only HTTP/1.1 is spoken here")
    headers: dict[str, str] = {}
    for _ in range(_HEADERS):
        line = incoming.readline(_LINE)
        if line in (b"\r\n", b"\n"):
            break
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not line.endswith(b"\n"):
            raise _Refused(400, "a header has no end or no colon")
        headers[name.strip().lower()] = value.strip()
    else:
        raise _Refused(431, f"there are more than {_HEADERS} headers")
    length = headers.get("content-length", "0")
    if "transfer-encoding" in headers:
        raise _Refused(411, "send the body whole, with a Content-Length")
    if not length.isdecimal():
        raise _Refused(400, "Content-Length must be a number")
    if len(length) > 12 or int(length) > _LARGEST:
        raise _Refused(413, f"a request may have {_LARGEST} bytes")
    if headers.get("expect", "").lower() == "100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = incoming.read(int(length))
    return _Request(words[0], words[1], headers, body) if len(body) == int(length) else None


def _wanted(body: bytes) -> _Wanted:
    try:
        asked = json.loads(body)
        if not isinstance(asked, dict):
            raise _Refused(400, "the body must be a JSON object")
        messages, tools, options = asked.get("messages"), asked.get("tools") or [], asked.get("stream_options")
        if not messages or not _are_objects(messages):
            raise _Refused(400, "'messages' must be a list of objects, and not empty")
        if not _are_objects(tools):
            raise _Refused(400, "'tools' must be a list of objects")
        tokens = len(json.dumps([messages, tools], ensure_ascii=False)) // 4
    except (ValueError, RecursionError) as error:
        raise _Refused(400, f"the body is not valid JSON: {str(error)[:200]}") from None
    usage = isinstance(options, dict) and options.get("include_usage") is True
    return _Wanted(messages, tools, asked.get("stream") is True, usage, tokens)


def _are_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _message(text: str, calls: list[Request]) -> Message:
    """The answer as the protocol has it, each call with an id of its own."""
    message: Message = {"role": "assistant", "content": text or None}
    for name, arguments in calls:
        function = {"name": name, "arguments": json.dumps(arguments)}
        call = {"id": f"call_{os.urandom(6).hex()}", "type": "function", "function": function}
        message.setdefault("tool_calls", []).append(call)
    return message


def _finish(message: Message) -> str:
    return "tool_calls" if "tool_calls" in message else "stop"


def _usage(message: Message, wanted: _Wanted) -> dict[str, int]:
    """Tokens, taken to be 4 characters each."""
    said = len(message["content"] or "") + sum(
        len(each["function"]["arguments"]) for each in message.get("tool_calls", ())
    )
    counts = {"prompt_tokens": wanted.prompt_tokens, "completion_tokens": max(1, said // 4)}
    return {**counts, "total_tokens": sum(counts.values())}


def _events(message: Message, wanted: _Wanted) -> Iterator[Message]:
    """The answer in pieces: word by word, and the arguments of each call in two or three."""

    def event(delta: Message, finish: str | None = None) -> Message:
        return {**record, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    record = _record("chat.completion.chunk")
    yield event({"role": "assistant", "content": ""})
    for word in re.findall(r"\s*\S+|\s+$", message["content"] or ""):
        yield event({"content": word})
    for index, call in enumerate(message.get("tool_calls", ())):
        name, written = call["function"]["name"], call["function"]["arguments"]
        yield event({"tool_calls": [{**call, "index": index, "function": {"name": name, "arguments": ""}}]})
        size = -(-len(written) // 3)
        for start in range(0, len(written), size):
            piece = {"index": index, "function": {"arguments": written[start : start + size]}}
            yield event({"tool_calls": [piece]})
    yield event({}, _finish(message))
    if wanted.usage:
        yield {**record, "choices": [], "usage": _usage(message, wanted)}


def _record(kind: str, **fields: Any) -> Message:
    return {
        "id": f"chatcmpl-{os.urandom(6).hex()}",
        "object": kind,
        "created": int(time.time()),
        "model": MODEL,
        **fields,
    }


def _head(status: int, content_type: str, *others: str, last: bool) -> bytes:
    lines = [f"HTTP/1.1 {status} {'OK' if status == 200 else 'Refused'}", f"Content-Type: {content_type}", *others]
    return "\r\n".join([*lines, *(["Connection: close"] if last else []), "", ""]).encode("latin-1")


def _send(connection: socket.socket, status: int, record: Message, last: bool, allow: str = "") -> None:
    body = json.dumps(record).encode()
    others = [f"Content-Length: {len(body)}", *([f"Allow: {allow}"] if allow else [])]
    connection.sendall(_head(status, "application/json", *others, last=last) + body)


def _drain(connection: socket.socket) -> None:
    """Read what a refused client still sends: to close before would take the answer from it."""
    _end(connection, socket.SHUT_WR)
    connection.settimeout(1)
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline and connection.recv(65536):
        pass


def _end(connection: socket.socket, side: int) -> None:
    try:
        connection.shutdown(side)
    except OSError:
        pass  # the client was first
