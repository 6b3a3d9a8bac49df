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
from ipaddress import ip_address
from typing import Any

from ..errors import SettingsError
from .outlet import Line

log = logging.getLogger("agentkit")

SPARE = 64  # connections above the limit, which can still be told so; those above that are dropped
FILES = 4  # descriptors that a connection takes
OTHER_FILES = 512  # that the rest of the program may need, and connections above the limit
FULL = 0.2  # seconds to wait for somebody to leave, when the system has no file left


class Door:
    """listener: listens, and is closed with the door; serve: a connection's life, in a thread of its own; most: how
    many there may be, as far as the system has files for them. May be used from any thread."""

    def __init__(self, listener: socket.socket, serve: Callable[[Line, Any], None], most: int) -> None:
        self._listener, self._serve = listener, serve
        self._most = _with_files(most)
        self._lock = threading.Lock()  # serialises the two below
        self._shut = False
        self._lines: dict[threading.Thread, Line] = {}
        self._woken, self._waker = socket.socketpair()
        listener.setblocking(False)
        self._thread = threading.Thread(target=self._take, name="gateway", daemon=True)
        self._thread.start()

    @property
    def is_crowded(self) -> bool:
        """Are there more connections than there may be?"""
        return len(self._lines) > self._most

    @property
    def lines(self) -> list[Line]:
        """The connections there are."""
        with self._lock:
            return list(self._lines.values())

    def shut(self) -> None:
        """Take no more connections."""
        with self._lock:
            self._shut = True
        self._waker.send(b"x")
        self._thread.join()
        self._woken.close()
        self._waker.close()

    def join(self, deadline: float) -> list[Line]:
        """Wait until all connections have ended; returns those that have not. deadline: in monotonic seconds.

        That of the calling thread, whose client may have asked for the end, is left to end by itself.
        """
        with self._lock:
            threads = [each for each in self._lines if each is not threading.current_thread()]
        for each in threads:
            each.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            return [self._lines[each] for each in threads if each in self._lines]

    def _take(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not self._shut:
                selector.select()
                try:
                    accepted, address = self._listener.accept()
                except (BlockingIOError, ConnectionAbortedError):
                    continue
                except OSError as error:
                    log.warning("the gateway cannot take a client: %s", error.strerror)
                    time.sleep(FULL)
                    continue
                accepted.setblocking(True)
                self._begin(Line(fileno=accepted.detach()), address)
        self._listener.close()

    def _begin(self, line: Line, address: Any) -> None:
        thread = threading.Thread(target=self._run, args=(line, address), name="gateway client", daemon=True)
        with self._lock:
            if self._shut or len(self._lines) >= self._most + SPARE:
                line.close()
                return
            self._lines[thread] = line
        try:
            thread.start()
        except RuntimeError as error:
            log.warning("the gateway cannot take a client: %s", error)
            self._end(thread)

    def _run(self, line: Line, address: Any) -> None:
        try:
            self._serve(line, address)
        finally:
            self._end(threading.current_thread())

    def _end(self, thread: threading.Thread) -> None:
        with self._lock:
            line = self._lines.pop(thread)
        line.close()


def listen(host: str, port: int, alone: bool) -> tuple[socket.socket, bool]:
    """A socket that listens, and whether only this machine can reach it; alone: no other one may. Raises SettingsError.

    host: a name or an address; port: 0 for any that is free.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)  # which more clients try
        loopback = ip_address(str(address[0]).partition("%")[0]).is_loopback
        if alone and not loopback:
            why = "can be reached from other machines: set GATEWAY_TOKEN, or leave GATEWAY_HOST at 127.0.0.1."
            raise SettingsError([f"The gateway refuses to listen at {host}, which {why}"])
        return socket.create_server(address, family=family, backlog=1024), loopback
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
