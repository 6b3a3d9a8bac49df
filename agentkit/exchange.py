"""One HTTP request and its answer, kept to a deadline and ready to be dropped at any moment.

A blocked socket cannot be woken from Python while it connects, and a read timeout does not see a server that sends
nothing but keep-alives. So the request is made in a daemon thread, while the lane waits on a queue; once there is an
answer the lane reads it, and the thread watches the clock and shuts the socket down when time is up.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from requests import Response

Connected = Callable[[socket.socket], None]


class Exchange:
    """send: makes the request and returns the answer, its body unread; what it is given takes the socket meanwhile.
    patience: seconds until the first piece.

    `expired`: time was up; `broken`: what ended the body before its end. Both are written by the one who ends the
    exchange and read by the lane after that.
    """

    def __init__(self, send: Callable[[Connected], Response], patience: float) -> None:
        self._send = send
        self._deadline = time.monotonic() + patience  # moved by the lane; the watcher looks again when it wakes
        self._arrived: SimpleQueue[Response | Exception | None] = SimpleQueue()
        # Serialises the three fields below between the lane, the watching thread and whoever drops it.
        self._changed = threading.Condition()
        self._socket: socket.socket | None = None
        self._response: Response | None = None
        self._over = False
        self.expired = False
        self.broken: Exception | None = None
        threading.Thread(target=self._watch, name="http", daemon=True).start()

    def response(self) -> Response | Exception | None:
        """Wait for the headers: the answer, or why there is none; None when time is up or `drop` was called."""
        try:
            return self._arrived.get(timeout=max(0.0, self._deadline - time.monotonic()))
        except Empty:
            self.expired = True
            self.drop()
            return None

    def read(self) -> bytes:
        """The next bytes of the body as soon as there are any; b"" at its end, with `broken` set if it broke off."""
        try:
            return self._read(65536) or self._read_end()
        except self._read_errors as error:
            self.broken = error
            return b""

    def patience(self, seconds: float) -> None:
        """From now on the next piece may take this long."""
        deadline = time.monotonic() + seconds
        sooner, self._deadline = deadline < self._deadline, deadline
        if sooner:
            with self._changed:
                self._changed.notify()

    def drop(self) -> None:
        """Stop waiting and reading, from any thread: what blocks ends at once, and the server sees us gone."""
        self._arrived.put(None)
        with self._changed:
            self._over = True
            self._changed.notify()
            self._shut_down()

    def close(self) -> None:
        """The lane is done with it. An answer that was read to its end leaves its connection to the next request."""
        with self._changed:
            self._over = True
            self._changed.notify()
            if self._response is not None:
                self._response.close()

    def _connected(self, sock: socket.socket) -> None:
        with self._changed:
            self._socket = sock
            if self._over:
                self._shut_down()

    def _watch(self) -> None:
        try:
            response = self._send(self._connected)
        except Exception as error:  # the top of this thread: the lane decides what it means
            self._arrived.put(error)
            return
        self._read, self._read_end, self._read_errors = _readers(response)
        with self._changed:
            self._response = response
            if self._over:  # nobody waits any more
                response.close()
                return
            self._arrived.put(response)
            while not self._over:
                left = self._deadline - time.monotonic()
                if left <= 0:
                    self.expired = self._over = True
                    self._shut_down()
                    return
                self._changed.wait(left)

    def _shut_down(self) -> None:
        """Wake a read. `close` would wait for it, so the socket itself is shut (urllib3 ≥ 2.3)."""
        try:
            if self._response is not None:
                self._response.raw.shutdown()
            elif self._socket is not None:
                self._socket.shutdown(socket.SHUT_RDWR)
        except (OSError, RuntimeError, ValueError):
            pass  # read to its end, or closed, meanwhile


def _readers(
    response: Response,
) -> tuple[Callable[[int], bytes], Callable[[], bytes], tuple[type[Exception], ...]]:
    """How to read a body piece by piece, what to do at its end, and what both may raise.

    For each chunk of a chunked body urllib3 adds its own layers to those of http.client, some 3 µs of the 15 that a
    streamed piece costs in all: such a body is read from http.client's response, which requests itself also reaches
    for by this name. The last read goes through urllib3 even so: it gives the connection back.
    """
    from http.client import HTTPException

    from urllib3.exceptions import HTTPError

    # A read that is shut down under way may also raise the latter three, from inside urllib3 and ssl.
    errors = (HTTPError, HTTPException, OSError, ValueError, RuntimeError, AttributeError)
    raw: Any = response.raw
    if raw.chunked and "content-encoding" not in response.headers:
        return raw._original_response.read1, partial(raw.read1, 65536, decode_content=False), errors
    return partial(raw.read1, decode_content=True), bytes, errors
