"""What a connection is sent. Whoever sends never waits for it: a client that does not read is dropped."""

from __future__ import annotations

import logging
import select
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from websockets.sync.server import ServerConnection

log = logging.getLogger("agentkit")

MOST_PEERS = 1000  # people that a connection speaks for: those that it spoke for last
ROOM = 1 << 20  # bytes that wait to be sent, or are being made ready, while requests are still read
LARGEST = 64 << 20  # bytes that wait for a client, at most, but for a single message
MOST = 4 << 20  # the same, where much waits for all of them together
ALL = 512 << 20  # which is that much
PATIENCE = 10.0  # seconds in which the other end takes something, at least
LITTLE_PATIENCE = 3.0  # the same, where more than MOST waits for it
LOOK = 0.5  # seconds between looks whether it has

TRY_AGAIN_LATER = 1013  # IANA's registry of WebSocket close codes


class Line(socket.socket):
    """A connection of which a write fails when the other end takes nothing for a while, however much is written."""

    patience = PATIENCE  # seconds

    def sendall(self, data: Any, flags: int = 0) -> None:
        rest = memoryview(data)
        poll = select.poll()
        poll.register(self, select.POLLOUT)
        taken = time.monotonic()
        while rest:
            try:
                rest = rest[self.send(rest, flags | socket.MSG_DONTWAIT) :]
                taken = time.monotonic()
            except BlockingIOError:
                if not poll.poll(LOOK * 1000) and time.monotonic() - taken > self.patience:
                    raise TimeoutError(f"nothing was taken for {self.patience:g} s") from None

    def hang_up(self) -> None:
        """End it at once; wakes whoever reads or writes."""
        with suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)


class Backlog:
    """How many bytes wait for all clients. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # serialises the sum
        self._size = 0

    def add(self, size: int) -> int:
        """There are so many more, or less; returns how many."""
        with self._lock:
            self._size += size
            return self._size


class Outlet:
    """May be used from any thread: messages are written by a thread that lives as long as there are any."""

    def __init__(self, connection: ServerConnection, line: Line, backlog: Backlog) -> None:
        self.request = "null"  # see awaited.Client
        self.thread = threading.current_thread()  # the one that reads what it says
        self.peers: dict[str, None] = {}  # those it speaks for, the last one last
        self._connection, self._line, self._backlog = connection, line, backlog
        self._changed = threading.Condition()  # serialises the rest, and tells who waits for room
        self._waiting: deque[bytes] = deque()
        self._size = 0  # bytes of those, and of the one that is being written
        self._reserved = 0  # bytes that are being made ready
        self._writing = False
        self._writer: threading.Thread | None = None  # the one that writes, or was the last to do so
        self._farewell: tuple[int, str] | None = None  # to close with, once all is written
        self._closed = False

    @property
    def is_writing(self) -> bool:
        """Is there anything that it has still to take?"""
        return self._writing

    def send(self, text: str) -> None:
        """Have a message sent, after those before it."""
        data = text.encode()
        with self._changed:
            if self._closed or self._farewell:
                return
            self._waiting.append(data)
            most = LARGEST if self._count(len(data)) <= ALL else MOST
            too_much = self._size > max(most, len(data))
        if too_much:
            self._give_up(f"more than {most >> 20} MiB wait to be read: ask for less at a time")
        else:
            self._write()

    def reserve(self, size: int) -> None:
        """So many bytes more are being made ready, or less."""
        with self._changed:
            self._reserved += size
            self._changed.notify_all()

    def wait_for_room(self) -> None:
        """Wait until little waits to be sent, or nothing more can be."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or self._farewell is not None or self._size + self._reserved <= ROOM
            )

    def speaks_for(self, peer: str) -> bool:
        """Note that it does, and that another one was longer ago; is that new?"""
        with self._changed:
            is_new = peer not in self.peers
            others = [each for each in self.peers if each != peer][1 - MOST_PEERS :]
            self.peers = dict.fromkeys((*others, peer))  # replaced, never changed: others look at it
            return is_new

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
        with self._changed:
            self._farewell = self._farewell or (code, reason)
            self._changed.notify_all()
        self._write()

    def close(self) -> None:
        """Nothing more can be sent."""
        with self._changed:
            self._closed = True
            self._forget()

    def join(self) -> None:
        """Wait for the thread that writes, once the connection is closed."""
        if (writer := self._writer) is not None:
            writer.join(PATIENCE)

    def drop(self, why: str) -> None:
        """End the connection at once."""
        with self._changed:
            if self._closed:
                return
        log.info("a client of the gateway was dropped: %s", why)
        self.close()
        self._line.hang_up()

    def _give_up(self, why: str) -> None:
        """Send nothing more but that."""
        log.info("a client of the gateway was given up: %s", why)
        with self._changed:
            self._forget()
        self.end(TRY_AGAIN_LATER, why)

    def _forget(self) -> None:
        """Drop what waits. Called with the lock held."""
        self._count(-sum(map(len, self._waiting)))
        self._waiting.clear()

    def _count(self, size: int) -> int:
        """So many bytes more wait, or less; returns how many wait for all clients."""
        with self._changed:
            self._size += size
            self._line.patience = LITTLE_PATIENCE if self._size > MOST else PATIENCE
            if size <= 0:
                self._changed.notify_all()
            return self._backlog.add(size)

    def _write(self) -> None:
        """Have a thread that writes."""
        with self._changed:
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
                try:
                    self._connection.send(data, text=True)
                finally:
                    self._count(-len(data))
            if self._farewell:
                self._connection.close(*self._farewell)
        except (ConnectionClosed, OSError) as error:
            self.drop(str(error))

    def _next(self) -> bytes | None:
        """What is to be written; None: nothing, and the thread ends."""
        with self._changed:
            if self._waiting:
                return self._waiting.popleft()
            self._writing = self._farewell is not None  # then this thread is the last one
            return None
