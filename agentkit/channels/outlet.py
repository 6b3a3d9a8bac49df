"""What a connection is sent. Whoever sends never waits for it: a client that does not read is dropped."""

from __future__ import annotations

import logging
import select
import socket
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from websockets.sync.server import ServerConnection

log = logging.getLogger("agentkit")

MOST_PEERS = 1000  # people that a connection speaks for
MOST = 4 << 20  # bytes that wait to be sent, of more than one message
PATIENCE = 10.0  # seconds in which the other end takes something, at least


class Line(socket.socket):
    """A connection of which a write fails when the other end takes nothing for a while, however much is written."""

    def sendall(self, data: Any, flags: int = 0) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self.send(rest, flags | socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                poll = select.poll()
                poll.register(self, select.POLLOUT)
                if not poll.poll(PATIENCE * 1000):
                    raise TimeoutError(f"nothing was taken for {PATIENCE:g} s") from None

    def hang_up(self) -> None:
        """End it at once; wakes whoever reads or writes."""
        with suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)


class Outlet:
    """May be used from any thread: messages are written by a thread that lives as long as there are any."""

    def __init__(self, connection: ServerConnection, line: Line) -> None:
        self.request = "null"  # see awaited.Client
        self.thread = threading.current_thread()  # the one that reads what it says
        self.peers: set[str] = set()  # those it speaks for
        self._connection, self._line = connection, line
        self._lock = threading.Lock()  # serialises the rest
        self._waiting: deque[bytes] = deque()
        self._size = 0  # bytes of those, and of the one that is being written
        self._writing = False
        self._writer: threading.Thread | None = None  # the one that writes, or was the last to do so
        self._farewell: tuple[int, str] | None = None  # to close with, once all is written
        self._closed = False

    def send(self, text: str) -> None:
        """Have a message sent, after those before it."""
        data = text.encode()
        with self._lock:
            if self._closed or self._farewell:
                return
            self._waiting.append(data)
            self._size += len(data)
            too_slow = self._size > max(MOST, len(data))
        if too_slow:
            self.drop(f"it has not read {MOST >> 20} MiB")
        else:
            self._write()

    def speaks_for(self, peer: str) -> bool:
        """Note that it does; is that new?"""
        if peer in self.peers or len(self.peers) >= MOST_PEERS:
            return False
        self.peers = {*self.peers, peer}  # replaced, never changed: others look at it
        return True

    def deliver(self, text: str) -> bool:
        """Send a message before those that wait, and wait until it is written; False: it could not be."""
        from websockets.exceptions import ConnectionClosed

        try:
            self._connection.send(text)
        except (ConnectionClosed, OSError) as error:
            self.drop(str(error))
            return False
        return True

    def end(self, code: int, reason: str) -> None:
        """Have the connection closed with a code of RFC 6455, after what was sent."""
        with self._lock:
            self._farewell = self._farewell or (code, reason)
        self._write()

    def close(self) -> None:
        """Nothing more can be sent."""
        with self._lock:
            self._closed = True
            self._waiting.clear()

    def join(self) -> None:
        """Wait for the thread that writes, once the connection is closed."""
        if (writer := self._writer) is not None:
            writer.join(PATIENCE)

    def drop(self, why: str) -> None:
        """End the connection at once."""
        with self._lock:
            if self._closed:
                return
        log.info("a client of the gateway was dropped: %s", why)
        self.close()
        self._line.hang_up()

    def _write(self) -> None:
        """Have a thread that writes."""
        with self._lock:
            if self._writing or self._closed:
                return
            writer = threading.Thread(target=self._run, name="gateway writer", daemon=True)
            try:
                writer.start()
            except RuntimeError as error:
                why = f"the system has no thread for it ({error})"
            else:
                self._writing, self._writer = True, writer
                return
        self.drop(why)

    def _run(self) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            while (data := self._next()) is not None:
                self._connection.send(data, text=True)
                with self._lock:
                    self._size -= len(data)
            if self._farewell:
                self._connection.close(*self._farewell)
        except (ConnectionClosed, OSError) as error:
            self.drop(str(error))

    def _next(self) -> bytes | None:
        """What is to be written; None: nothing, and the thread ends."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._writing = self._farewell is not None  # then this thread is the last one
            return None
