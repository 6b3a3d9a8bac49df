"""The gateway: JSON-RPC over WebSocket, for programs and web pages that know the token."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Collection
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from ..awaited import notification
from ..channel import AnswerAsk, Dispatch
from ..envelope import Letter, NobodyThere
from ..errors import SettingsError
from ..events import Event
from ..log import hide
from ..methods import NAME, Methods, Requests, Running, Table
from ..rpc import NOT_AUTHORISED, TOO_BUSY, RpcError
from . import closed
from .access import Access, kept_token
from .door import Door, listen
from .ear import hear
from .outlet import TRY_AGAIN_LATER, Backlog, Line, Outlet

if TYPE_CHECKING:
    from websockets.http11 import Request, Response
    from websockets.sync.server import Server, ServerConnection

log = logging.getLogger("agentkit")

LARGEST = 1 << 20  # bytes of a message from a client
HANDSHAKE = 10.0  # seconds to connect, and again to say the token
GOODBYE = 1.0  # seconds that a client has to answer a close
LAST_WORDS = 1.5  # seconds that all clients have together when the gateway stops
LAST_READS = 0.5  # seconds of those that what is being read for them has

GOING_AWAY, POLICY = 1001, 1008  # RFC 6455, section 7.4.1

CROWDED = "There are too many clients: GATEWAY_MAX_CLIENTS allows for more."


class Gateway:
    """A Channel for any number of clients.

    host: a name or an address; port: 0 for any that is free; token: empty: the one in `.state/gateway.token`, which is
    made if need be; origins: of web pages that may connect; max_clients: those that may be connected at once.
    """

    name = NAME
    limit: int | None = None
    can_ask = True
    ask_limit: float | None = 120.0

    def __init__(
        self, app: Running, host: str, port: int, token: str, origins: Collection[str], max_clients: int
    ) -> None:
        self._host, self._port, self._token, self._origins, self._most = host, port, token, origins, max_clients
        self._app = app
        self._file = app.workspace / ".state" / "gateway.token"
        self._methods = Methods(app, lambda: self.clients)
        self._door: Door | None = None
        self._backlog = Backlog()
        self._lock = threading.Lock()  # serialises the two below
        self._stopping = False
        self._clients: dict[socket.socket, Outlet] = {}  # those that are let in

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens: an IP address and a port."""
        return self._address

    @property
    def url(self) -> str:
        host, port = self._address
        return f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"

    @property
    def token_is_in(self) -> str:
        """Where the token is to be found, for a person."""
        return "GATEWAY_TOKEN" if self._token else str(self._file)

    @property
    def clients(self) -> int:
        """How many are connected."""
        return len(self._clients)

    # -- as a Channel

    def start(self, dispatch: Dispatch, answer: AnswerAsk) -> None:
        """Listen. Raises SettingsError where that cannot be."""
        try:
            import websockets.sync.server  # noqa: F401
        except ImportError:
            raise SettingsError(["The gateway needs websockets: pip install 'websockets>=16,<18'"]) from None
        listener, loopback = listen(self._host, self._port, alone=not self._token)
        try:
            token = self._token or kept_token(self._file)
        except OSError as error:
            listener.close()
            why = error.strerror or error
            raise SettingsError(
                [f"The gateway cannot keep a token in {self._file} ({why}): set GATEWAY_TOKEN."]
            ) from None
        self._address: tuple[str, int] = listener.getsockname()[:2]
        self._access = Access(token, self._origins, self._host, loopback)
        self._methods.awaited.start(dispatch, answer)
        self._server = self._made(listener)
        self._door = Door(listener, self._server.handler, self._most)
        self._door.open()
        closed.leave(self._app)
        hide(token)
        log.info("The gateway listens at %s; the token is in %s.", self.url, self.token_is_in)

    def show(self, event: Event) -> None:
        self._methods.awaited.show(event)

    def send(self, letter: Letter) -> None:
        record = {"type": "letter", "session": "", "turn": "", "id": letter.nonce, "to": letter.to, "text": letter.text}
        text = notification({**record, "by": letter.by, "part": letter.part, "parts": letter.parts})
        with self._lock:
            theirs = [client for client in self._clients.values() if letter.to in client.peers]
        if not [client for client in theirs if client.deliver(text)]:
            raise NobodyThere(f"no client of {letter.to} is connected")

    def stop(self) -> None:
        """Answer what waits, say goodbye, and end all threads: within 2 s, whatever the clients do."""
        with self._lock:
            door, clients = self._door, dict(self._clients)
            if self._stopping or door is None:
                return
            self._stopping = True
        deadline = time.monotonic() + LAST_WORDS
        awaited = self._methods.awaited
        if not self._app.lanes.stopping:
            self._app.add(closed.Closed(self._app, awaited))
        door.shut()
        self._methods.stop(LAST_READS)
        if awaited.is_over:
            closed.leave(self._app)
        for line in door.lines:
            if line not in clients:
                line.hang_up()
        for client in clients.values():
            if client.thread is not threading.current_thread():  # else its request is still to be answered
                client.end(GOING_AWAY, "the gateway stops")
        for line in door.join(deadline):
            line.hang_up()
        door.join(deadline + GOODBYE / 2)
        self._server.serve_forever()  # it ends at once, for the listener is closed, and closes what else there is
        self._server.shutdown()
        for name in ("shutdown_watcher", "shutdown_notifier"):  # a pipe that websockets 16 leaves open; 17 has sockets
            if isinstance(fd := getattr(self._server, name, None), int):
                os.close(fd)
        log.info("the gateway has stopped")

    def _made(self, listener: socket.socket) -> Server:
        """What speaks the protocol. Its own loop is not used: it would end where the system has no file left."""
        from websockets.sync.server import serve

        silent = logging.Logger("websockets")  # it would log headers, and so the token
        silent.disabled = True
        return serve(
            self._talk,
            sock=listener,
            process_request=self._admit,
            compression=None,
            server_header=None,
            open_timeout=HANDSHAKE,
            ping_interval=None,
            close_timeout=GOODBYE,
            max_size=LARGEST,
            logger=silent,
        )

    # -- a connection

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuse a request to connect, or not."""
        if refusal := self._access.refusal(request.path, request.headers):
            log.info("the gateway has refused a client at %s: %s", _where(connection), refusal.text)
            response = connection.respond(refusal.status, f"{refusal.text}\n")
            if refusal.status == 401:
                response.headers["WWW-Authenticate"] = "Bearer"
            return response
        door, line = self._door, connection.socket
        if self._stopping or door is None:
            return connection.respond(503, "The gateway stops.\n")
        assert isinstance(line, Line)
        if door.is_full if "Authorization" not in request.headers else not door.admit(line):
            log.info("the gateway has refused a client at %s: %s", _where(connection), CROWDED)
            return connection.respond(503, f"{CROWDED}\n")
        return None

    def _talk(self, connection: ServerConnection) -> None:
        """A connection's life, once it is open."""
        from websockets.exceptions import ConnectionClosed

        line = connection.socket
        assert isinstance(line, Line) and connection.request is not None
        client, where = Outlet(connection, line, self._backlog), _where(connection)
        with suppress(ConnectionClosed, OSError):
            if "Authorization" not in connection.request.headers:
                refusal = self._refusal(connection, client, line)
                if refusal:
                    log.info("the gateway has refused a client at %s: %s", where, refusal[1])
                    connection.close(*refusal)
                    return
            with self._lock:
                self._clients[line] = client
            log.info("a client at %s is connected, clients: %d", where, self.clients)
            try:
                requests = Requests(self._methods.of(client, {"auth": self._auth}), client)
                while True:
                    if self._stopping:
                        client.end(GOING_AWAY, "the gateway stops")
                    requests.begin(hear(connection, client)).add_done_callback(partial(_reply, client))
            finally:
                client.close()
                client.join()
                self._methods.awaited.left(client)
                with self._lock:
                    del self._clients[line]
                log.info("a client at %s has left, clients: %d", where, self.clients)

    def _refusal(self, connection: ServerConnection, client: Outlet, line: Line) -> tuple[int, str] | None:
        """Is the first message an `auth` request with the token? Nothing else is done before that; returns what to
        close the connection with, where it is not let in."""
        refusal: tuple[int, str] | None = (POLICY, "not authorised")

        def auth(token: str) -> bool:
            nonlocal refusal
            self._auth(token)
            if self._door is None or not self._door.admit(line):
                refusal = (TRY_AGAIN_LATER, "there are too many clients")
                raise RpcError(TOO_BUSY, CROWDED)
            refusal = None
            return True

        try:
            message = connection.recv(HANDSHAKE)
        except TimeoutError:
            return refusal
        if (answer := Requests(_Only({"auth": auth}), client).handle(message)) is not None:
            connection.send(answer)
        return refusal

    def _auth(self, token: str) -> bool:
        """Say the token: the first request of a connection that has not done so in its Authorization header."""
        if not self._access.is_token(token):
            raise RpcError(NOT_AUTHORISED, "That is not the token: it is GATEWAY_TOKEN, or in .state/gateway.token.")
        return True


def _where(connection: ServerConnection) -> str:
    """Where a client is: an IP address and a port."""
    try:
        host, port, *_ = connection.remote_address
    except OSError:  # it has gone already
        return "?"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Only(Table):
    """Methods beside which there are no others yet."""

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name, _refuse)


def _refuse(*given: Any, **named: Any) -> None:
    raise RpcError(NOT_AUTHORISED, "Not authorised: the first request must be auth, with the token.")


def _reply(client: Outlet, answer: Future[str | None]) -> None:
    if (text := answer.result()) is not None:
        client.send(text)
