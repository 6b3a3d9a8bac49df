"""A model server that costs nothing to speak of: a process of its own, answers prepared to the last byte.

Started as a script it reads from stdin, pickled, (answers, close) and prints its port. An answer is a list of packets,
each sent by a call of its own, and of pauses in seconds, which end early when the client says or ends something.
Answers are given in order, and over again. close: the end of the connection ends each. At the end of stdin it prints,
as JSON, a record of each request, and the first request's body.
"""

from __future__ import annotations

import json
import pickle
import select
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple

Answer = Sequence[bytes | float]


class Seen(NamedTuple):
    """A request. connection: from 0; arrived, sent: when its first byte came and the last of its answer went, in
    seconds of the server's clock; size: of the body, in bytes."""

    connection: int
    arrived: float
    sent: float
    size: int


class Server:
    """The process, within a `with`; requests and first_body are known at its end."""

    def __init__(self, answers: Sequence[Answer], close: bool = False) -> None:
        self._given = pickle.dumps((answers, close))
        self.requests: list[Seen] = []
        self.first_body = b""

    def __enter__(self) -> Server:
        command = [sys.executable, "-I", "-S", __file__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(self._given)
        self._process.stdin.flush()
        self.port = int(self._process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}/v1"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            report, _ = self._process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        found: dict[str, Any] = json.loads(report)
        self.requests = [Seen(*each) for each in found["requests"]]
        self.first_body = found["first"].encode()


def serve(answers: Sequence[Answer], close: bool) -> dict[str, Any]:
    """Answer until stdin ends; one request at a time, on any number of connections."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)
    print(listener.getsockname()[1], flush=True)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
    seen: list[Seen] = []
    first, connections = "", 0
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(connection, selectors.EVENT_READ, connections)
                connections += 1
            elif isinstance(key.fileobj, socket.socket):
                arrived = time.perf_counter()
                body = _body(key.fileobj)
                if body is not None:
                    _send(key.fileobj, answers[len(seen) % len(answers)])
                    seen.append(Seen(key.data, arrived, time.perf_counter(), len(body)))
                    first = first or body.decode()
                if close or body is None:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
            else:
                return {"requests": seen, "first": first}


def _body(connection: socket.socket) -> bytes | None:
    """Read a request to its end; None at the end of the connection."""
    head, gap, body = b"", b"", b""
    try:
        while not gap:
            if not (data := connection.recv(1 << 16)):
                return None
            head, gap, body = (head + data).partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
        pieces, missing = [body], int(fields[b"content-length"]) - len(body)
        while missing > 0:
            pieces.append(connection.recv(1 << 20))
            missing -= len(pieces[-1])
    except OSError:
        return None
    return b"".join(pieces)


def _send(connection: socket.socket, answer: Answer) -> None:
    try:
        for step in answer:
            if isinstance(step, bytes):
                connection.sendall(step)
            else:
                select.select([connection], [], [], step)
    except OSError:
        pass  # the client has gone


if __name__ == "__main__":
    print(json.dumps(serve(*pickle.load(sys.stdin.buffer))))
