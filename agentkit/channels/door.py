"""Where connections come in: a socket that listens, and a thread for each connection it takes."""

from __future__ import annotations

import errno
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..errors import SettingsError
from .access import address
from .outlet import Line

log = logging.getLogger("agentkit")

STRANGERS = 64  # connections that are not let in yet
STRANGE = 1.0  # seconds after which one of those has to make room for another one
GRACE = 1.0  # seconds to wait for somebody to leave, who may have closed the connection already
FILES = 4  # descriptors that a connection takes
OTHER_FILES = 512  # that the rest of the program may need, and strangers
FULL = 0.2  # seconds to wait for somebody to leave, when the system has no file left


class Door:
    """listener: listens, and is closed with the door; serve: a connection's life, in a thread of its own; most: how
    many may be let in, as far as the system has files for them. May be used from any thread."""

    def __init__(self, listener: socket.socket, serve: Callable[[Line, Any], None], most: int) -> None:
        self._listener, self._serve = listener, serve
        self._most = _with_files(most)
        self._changed = threading.Condition()  # serialises the rest, and tells who waits for room
        self._shut = False
        self._lines: dict[threading.Thread, Line] = {}
        self._strangers: dict[Line, float] = {}  # those that are not let in, and since when they are there, in order
        self._guests: set[Line] = set()  # those that are
        self._woken, self._waker = socket.socketpair()
        listener.setblocking(False)
        self._thread = threading.Thread(target=self._take, name="gateway", daemon=True)

    def open(self) -> None:
        """Take connections."""
        self._thread.start()

    @property
    def is_full(self) -> bool:
        """Can nobody be let in?"""
        return self._shut or len(self._guests) >= self._most

    def admit(self, line: Line) -> bool:
        """Let a connection in, if need be in the place of one that is about to leave; False: there is no room."""
        with self._changed:
            if line in self._guests:
                return True
            self._changed.wait_for(lambda: self._shut or len(self._guests) < self._most, GRACE)
            if self.is_full or line not in self._strangers:
                return False
            del self._strangers[line]
            self._guests.add(line)
            self._changed.notify_all()
            return True

    @property
    def lines(self) -> list[Line]:
        """The connections there are."""
        with self._changed:
            return list(self._lines.values())

    def shut(self) -> None:
        """Take no more connections."""
        with self._changed:
            self._shut = True
            self._changed.notify_all()
        self._waker.send(b"x")
        self._thread.join()
        self._woken.close()
        self._waker.close()

    def join(self, deadline: float) -> list[Line]:
        """Wait until all connections have ended; returns those that have not. deadline: in monotonic seconds.

        That of the calling thread, whose client may have asked for the end, is left to end by itself.
        """
        with self._changed:
            threads = [each for each in self._lines if each is not threading.current_thread()]
        for each in threads:
            each.join(max(0.0, deadline - time.monotonic()))
        with self._changed:
            return [self._lines[each] for each in threads if each in self._lines]

    def _take(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not self._shut:
                selector.select()
                self._make_room()
                try:
                    accepted, where = self._listener.accept()
                except (BlockingIOError, ConnectionAbortedError):
                    continue
                except OSError as error:
                    log.warning("the gateway cannot take a client: %s", error.strerror)
                    time.sleep(FULL)
                    continue
                accepted.setblocking(True)
                self._begin(Line(fileno=accepted.detach()), where)
        self._listener.close()

    def _make_room(self) -> None:
        """Have fewer strangers than there may be: some are about to be let in, the others make room for new ones."""
        with self._changed:
            while len(self._strangers) >= STRANGERS and not self._shut:
                first = next(iter(self._strangers))
                left = self._strangers[first] + STRANGE - time.monotonic()
                if left <= 0:
                    del self._strangers[first]
                    first.hang_up()
                else:
                    self._changed.wait(left)

    def _begin(self, line: Line, where: Any) -> None:
        thread = threading.Thread(target=self._run, args=(line, where), name="gateway client", daemon=True)
        with self._changed:
            if self._shut:
                line.close()
                return
            self._lines[thread] = line
            self._strangers[line] = time.monotonic()
        try:
            thread.start()
        except RuntimeError as error:
            log.warning("the gateway cannot take a client: %s", error)
            self._end(thread)

    def _run(self, line: Line, where: Any) -> None:
        try:
            self._serve(line, where)
        finally:
            self._end(threading.current_thread())

    def _end(self, thread: threading.Thread) -> None:
        with self._changed:
            line = self._lines.pop(thread)
            self._strangers.pop(line, None)
            self._guests.discard(line)
            self._changed.notify_all()
        line.close()


def listen(host: str, port: int, alone: bool) -> tuple[socket.socket, bool]:
    """A socket that listens, and whether only this machine can reach it; alone: no other one may. Raises SettingsError.

    host: a name or an address; port: 0 for any that is free.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, place = min(found, key=lambda each: each[0] != socket.AF_INET)  # which more clients try
        loopback = address(str(place[0])).is_loopback
        if alone and not loopback:
            why = "can be reached from other machines: set GATEWAY_TOKEN, or leave GATEWAY_HOST at 127.0.0.1."
            raise SettingsError([f"The gateway refuses to listen at {host}, which {why}"])
        # At `::` those who know the machine by an IPv4 address are heard too.
        both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        return socket.create_server(place, family=family, backlog=1024, dualstack_ipv6=both), loopback
    except (OSError, UnicodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            why = "another program has that port, maybe another agentkit. GATEWAY_PORT chooses another one"
        raise SettingsError([f"The gateway cannot listen at {host}, port {port}: {why}."]) from None


def _with_files(connections: int) -> int:
    """How many of so many connections there can be; the process is allowed the files for them, as far as it may."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections * FILES + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            allowed = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections
    fewer = max(1, (soft - OTHER_FILES) // FILES)
    log.warning("the gateway takes %s clients, not %s: ulimit -n allows for no more", fewer, connections)
    return fewer
