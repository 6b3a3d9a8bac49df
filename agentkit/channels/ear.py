"""What a client says: the next message, while it takes what it is sent and is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .outlet import Outlet

if TYPE_CHECKING:
    from websockets.sync.server import ServerConnection

PING = 20.0  # seconds without a word before it is asked whether it is there, and to answer
GONE = 1011  # IANA's registry of WebSocket close codes; what other servers send then


def hear(connection: ServerConnection, client: Outlet, ping: float = PING) -> str | bytes:
    """The next message. Raises ConnectionClosed, and OSError.

    A client that reads slowly is not asked for more than it takes, and not taken for gone: its answer to a ping waits
    behind all that it has said, and the ping behind all that it was told.
    """
    client.wait_for_room()
    answered = None
    while True:
        try:
            return connection.recv(ping)
        except TimeoutError:
            if answered is None or answered.is_set():
                answered = connection.ping()
            elif not client.is_writing:
                connection.close(GONE, "no answer to a ping")
