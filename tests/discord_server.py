"""A stand-in for Discord on loopback: its REST API and its gateway, as far as a bot that talks uses them.

    with DiscordServer() as server, redirected(server):
        ...                                    # discord.py, unmodified, logs in here with TOKEN
        server.say("hello", author=ANN)        # a direct message
        assert server.wait_for_sent(1)[0]["content"] == "hi"

What Discord refuses is refused: wrong tokens and content types, texts that are blank or too long, long nonces.
`trouble` holds what the next requests to send a message get instead of an answer, `typing_trouble` what those get
that show that one is being written, `pages` what any get.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

Record = dict[str, Any]

TOKEN = "stand-in.token-0123456789"
EPOCH = 1_420_070_400_000  # milliseconds since 1970, where ids begin
ME, ANN, BOB = 900, 1001, 1002  # users
GUILD, GENERAL, HELP, THREAD = 5000, 5001, 5002, 5003  # HELP is where THREAD hangs
NAMES = {ME: "kit", ANN: "Ann", BOB: "Bob"}
MESSAGE_CONTENT = 1 << 15  # the privileged intent
WAIT = 15.0  # seconds


class Trouble(NamedTuple):
    """What a request gets. status: 0 drops the connection; taken: the message is there all the same; retry_after: in
    seconds, with 429; via: as Discord answers, and not who stands before it; until: nothing is said before that."""

    status: int = 0
    taken: bool = False
    retry_after: float = 0.0
    via: bool = True
    until: threading.Event | None = None


class Page(NamedTuple):
    """What answers the next request, whatever it is, in Discord's place."""

    status: int
    text: str
    type: str = "text/html; charset=utf-8"


class Call(NamedTuple):
    """A request that has come; at: monotonic seconds."""

    method: str
    path: str
    body: Record
    at: float


class Refused(Exception):
    """status, and code and message as Discord has them."""

    def __init__(self, status: int, code: int, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status, self.record = status, {"code": code, "message": message, **more}


class DiscordServer:
    """It runs within a `with`.

    rest, gateway: its addresses; sent: the messages of the bot that exist; calls: all requests; intents: what the bot
    identified with; message_content: may it read messages?; forbidden: channels in which it may not speak; silent: what
    says nothing at all, "rest" or "gateway"; no_replies: what a reply gets; guild: what a login tells of the server.
    """

    def __init__(self, *, message_content: bool = True) -> None:
        self.trouble: deque[Trouble] = deque()
        self.typing_trouble: deque[Trouble] = deque()
        self.pages: deque[Page] = deque()
        self.no_replies: Refused | None = None
        self.guild = _guild()
        self.forbidden: set[int] = set()
        self.silent = ""
        self.sent: list[Record] = []
        self.calls: list[Call] = []
        self.intents = 0
        self.identified = self.resumed = 0  # how often
        self._message_content = message_content
        self._changed = threading.Condition()  # serialises everything here, and tells who waits for it
        self._over = threading.Event()
        self._numbers = itertools.count()
        self._direct: dict[int, int] = {}  # the channel of a direct message, by user
        self._session = ""
        self._events: list[Record] = []  # of the session; each has been given its number
        self._connections: dict[ServerConnection, bool] = {}  # and whether it has been let in

    def __enter__(self) -> DiscordServer:
        server = self

        class Handler(_Handler):
            owner = server

        self._rest = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._rest.daemon_threads = True
        self._gateway = serve(self._talk, "127.0.0.1", 0, compression=None)
        self.rest = f"http://127.0.0.1:{self._rest.server_address[1]}/api/v10"
        self.gateway = f"ws://127.0.0.1:{self._gateway.socket.getsockname()[1]}/"
        self._threads = [
            threading.Thread(target=self._rest.serve_forever, args=(0.02,), name="stand-in REST", daemon=True),
            threading.Thread(target=self._gateway.serve_forever, name="stand-in gateway", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.cut()
        self._rest.shutdown()
        self._gateway.shutdown()
        for thread in self._threads:
            thread.join(WAIT)
        self._rest.server_close()
        for name in ("shutdown_watcher", "shutdown_notifier"):  # a pipe that websockets 16 leaves open; 17 has sockets
            if isinstance(fd := getattr(self._gateway, name, None), int):
                os.close(fd)

    # -- what people do

    def say(self, text: str, author: int = ANN, channel: int = 0, **more: Any) -> Record:
        """Somebody writes a message; channel: 0 for a direct one; more: fields of the message. Returns it."""
        with self._changed:
            message = self._message(text, author, channel or self._channel_with(author), **more)
            self._send("MESSAGE_CREATE", message)
            return message

    def mention(self, text: str, author: int = ANN, channel: int = GENERAL, **more: Any) -> Record:
        """The same with a mention of the bot in front of it."""
        return self.say(f"<@{ME}> {text}", author, channel, mentions=[{**_user(ME), "member": _member()}], **more)

    def again(self, message: Record) -> None:
        """Bring a message once more."""
        with self._changed:
            self._send("MESSAGE_CREATE", message)

    def cut(self, forget: bool = False) -> None:
        """Cut all connections to the gateway; forget: and the session, so that none can be resumed."""
        with self._changed:
            if forget:
                self._session, self._events = "", []
            for connection in self._connections:
                with suppress(OSError):
                    connection.socket.shutdown(socket.SHUT_RDWR)

    def end(self, code: int) -> None:
        """Close all connections to the gateway."""
        for connection in list(self._connections):
            connection.close(code)

    @property
    def connections(self) -> int:
        """To the gateway."""
        return len(self._connections)

    # -- what a test waits for

    def wait(self, condition: Callable[[], object], timeout: float = WAIT) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, timeout), f"sent: {[each['content'] for each in self.sent]}"

    def wait_for_sent(self, count: int, channel: int = 0) -> list[Record]:
        """Wait until the bot has sent so many messages, in all or in a channel; returns those there are."""
        self.wait(lambda: len(self.sent_to(channel)) >= count)
        return self.sent_to(channel)

    def sent_to(self, channel: int) -> list[Record]:
        return [each for each in self.sent if not channel or each["channel_id"] == str(channel)]

    def posts(self, channel: int = 0) -> list[Record]:
        """What the bot has asked to be sent, accepted or not."""
        ends = f"/channels/{channel}/messages" if channel else "/messages"
        return [each.body for each in self.calls if each.method == "POST" and each.path.endswith(ends)]

    def typing(self, channel: int) -> int:
        """How often it has shown that it is writing."""
        return sum(each.path.endswith(f"/channels/{channel}/typing") for each in self.calls)

    def direct(self, user: int) -> int:
        with self._changed:
            return self._channel_with(user)

    # -- REST

    def take(self, call: Call, headers: Any) -> Record | Page | None:
        """The answer to a request; None: none, the connection is dropped. Raises Refused."""
        with self._changed:
            self.calls.append(call)
            self._changed.notify_all()
        if self.silent == "rest":
            self._over.wait()
            return None
        if self.pages:
            return self.pages.popleft()
        if headers["Authorization"] != f"Bot {TOKEN}":
            raise Refused(401, 0, "401: Unauthorized")
        if call.method == "POST" and call.body and headers["Content-Type"] != "application/json":
            raise Refused(400, 50035, "Invalid Form Body")
        known: dict[tuple[str, str], Record] = {
            ("GET", "/users/@me"): {**_user(ME), "verified": True, "flags": 0},
            ("GET", "/oauth2/applications/@me"): _application(),
            ("GET", "/gateway"): {"url": self.gateway},
            ("GET", "/gateway/bot"): {"url": self.gateway, "shards": 1},
        }
        if (call.method, call.path) in known:
            return known[call.method, call.path]
        if (call.method, call.path) == ("POST", "/users/@me/channels"):
            return self._open(int(call.body["recipient_id"]))
        words = call.path.split("/")
        if call.method == "POST" and words[1] == "channels" and words[3:] in (["messages"], ["typing"]):
            if words[3] == "typing":
                return self._trouble(self.typing_trouble, lambda: {})
            return self._trouble(self.trouble, lambda: self._take(int(words[2]), call.body))
        raise Refused(404, 0, "404: Not Found")

    def _open(self, user: int) -> Record:
        if user not in NAMES:
            raise Refused(400, 50033, "Invalid Recipient(s)")
        with self._changed:
            return {"id": str(self._channel_with(user)), "type": 1, "recipients": [_user(user)]}

    def _trouble(self, troubles: deque[Trouble], take: Callable[[], Record]) -> Record | None:
        with self._changed:
            trouble = troubles.popleft() if troubles else None
        if trouble is None:
            return take()
        if trouble.until is not None:
            trouble.until.wait(WAIT)
        if trouble.taken:
            take()
        if trouble.status == 429:
            raise Refused(429, 0, "You are being rate limited.", retry_after=trouble.retry_after, via=trouble.via)
        if trouble.status:
            raise Refused(trouble.status, 0, f"{trouble.status}: in trouble")
        return None

    def _take(self, channel: int, body: Record) -> Record:
        """Make a message of it, or find the one that was made of it before."""
        content, nonce = body.get("content") or "", body.get("nonce")
        if "message_reference" in body and self.no_replies is not None:
            raise self.no_replies
        if channel in self.forbidden:
            raise Refused(403, 50013, "Missing Permissions")
        if channel not in (GENERAL, HELP, THREAD, *self._direct.values()):
            raise Refused(404, 10003, "Unknown Channel")
        if not content.strip():
            raise Refused(400, 50006, "Cannot send an empty message")
        if len(content) > 2000 or (nonce is not None and len(str(nonce)) > 25):
            raise Refused(400, 50035, "Invalid Form Body")
        with self._changed:
            for each in self.sent:
                if body.get("enforce_nonce") and each["nonce"] == nonce:
                    return each
            reference = {"message_reference": body["message_reference"]} if "message_reference" in body else {}
            message = self._message(content, ME, channel, nonce=nonce, type=19 if reference else 0, **reference)
            self.sent.append(message)
            self._changed.notify_all()
            self._send("MESSAGE_CREATE", message)
            return message

    # -- the gateway

    def _talk(self, connection: ServerConnection) -> None:
        with self._changed:
            self._connections[connection] = False
            self._changed.notify_all()
        try:
            if self.silent != "gateway":
                connection.send(_frame(10, {"heartbeat_interval": 41_250}))
            for text in connection:
                self._answer(connection, json.loads(text))
        except (ConnectionClosed, OSError):
            pass
        finally:
            with self._changed:
                del self._connections[connection]
                self._changed.notify_all()

    def _answer(self, connection: ServerConnection, message: Record) -> None:
        data = message["d"]
        if message["op"] == 1:
            connection.send(_frame(11, None))
        elif message["op"] in (2, 6) and data["token"] != TOKEN:
            connection.close(4004, "Authentication failed.")
        elif message["op"] == 2:
            if data["intents"] & MESSAGE_CONTENT and not self._message_content:
                connection.close(4014, "Disallowed intent(s).")
                return
            self._identify(connection, data["intents"])
        elif message["op"] == 6:
            self._resume(connection, data)

    def _identify(self, connection: ServerConnection, intents: int) -> None:
        with self._changed:
            self.intents, self.identified = intents, self.identified + 1
            self._session, self._events = f"session-{self.identified}", []
            self._connections[connection] = True
            ready = {
                "v": 10,
                "user": _user(ME),
                "guilds": [{"id": str(GUILD), "unavailable": True}],
                "session_id": self._session,
                "resume_gateway_url": self.gateway,
                "application": {"id": "901", "flags": 0},
            }
            self._send("READY", ready)
            self._send("GUILD_CREATE", self.guild)
            self._changed.notify_all()

    def _resume(self, connection: ServerConnection, data: Record) -> None:
        with self._changed:
            if not self._session or data["session_id"] != self._session:
                connection.send(_frame(9, False))
                return
            self.resumed += 1
            self._connections[connection] = True
            for event in self._events[data["seq"] :]:
                connection.send(json.dumps(event))
            self._send("RESUMED", {})
            self._changed.notify_all()

    def _send(self, type: str, data: Record) -> None:
        """An event of the session, which may wait for it to be resumed. Called with the lock held."""
        event = {"op": 0, "t": type, "s": len(self._events) + 1, "d": data}
        self._events.append(event)
        for connection, is_in in self._connections.items():
            if is_in:
                with suppress(ConnectionClosed, OSError):
                    connection.send(json.dumps(event))

    # -- what there is

    def _channel_with(self, user: int) -> int:
        return self._direct.setdefault(user, 7000 + user)

    def _message(self, text: str, author: int, channel: int, **more: Any) -> Record:
        """Called with the lock held."""
        public = channel in (GENERAL, HELP, THREAD)
        return {
            "id": str((int(time.time() * 1000) - EPOCH << 22) + next(self._numbers)),
            "channel_id": str(channel),
            **({"guild_id": str(GUILD), "member": _member()} if public else {}),
            "author": _user(author),
            "content": text,
            "timestamp": "2026-01-01T00:00:00+00:00",
            "edited_timestamp": None,
            "tts": False,
            "mention_everyone": False,
            "mentions": [],
            "mention_roles": [],
            "attachments": [],
            "embeds": [],
            "pinned": False,
            "type": 0,
            **more,
        }


@contextmanager
def redirected(server: DiscordServer) -> Iterator[None]:
    """Within it, discord.py takes the stand-in for Discord."""
    import yarl
    from discord.gateway import DiscordWebSocket
    from discord.http import Route

    real = Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY
    Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = server.rest, yarl.URL(server.gateway)
    try:
        yield
    finally:
        Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = real


class _Handler(BaseHTTPRequestHandler):
    owner: DiscordServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"] or 0))
        path = self.path.removeprefix("/api/v10")
        call = Call(self.command, path, json.loads(data) if data else {}, time.monotonic())
        try:
            answer = self.owner.take(call, self.headers)
        except Refused as refused:
            self._respond(refused.status, refused.record)
        else:
            if answer is None:
                self.close_connection = True
                with suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)
            elif isinstance(answer, Page):
                self.send_response(answer.status)
                self._write(answer.text.encode(), answer.type)
            else:
                self._respond(200 if answer else 204, answer)

    def _respond(self, status: int, record: Record) -> None:
        record = dict(record)
        body = json.dumps(record).encode() if status != 204 else b""
        self.send_response(status)
        if record.pop("via", True):
            self.send_header("Via", "1.1 stand-in")
        if "retry_after" in record:
            self.send_header("Retry-After", str(record["retry_after"]))
        self._write(body, "application/json" if status != 204 else "")

    def _write(self, body: bytes, type: str) -> None:
        if type:
            self.send_header("Content-Type", type)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _frame(op: int, data: Any) -> str:
    return json.dumps({"op": op, "d": data, "s": None, "t": None})


def _user(id: int) -> Record:
    return {
        "id": str(id),
        "username": NAMES[id].lower(),
        "global_name": NAMES[id],
        "discriminator": "0",
        "avatar": None,
        "bot": id == ME,
    }


def _member() -> Record:
    return {"roles": [], "joined_at": "2026-01-01T00:00:00+00:00", "deaf": False, "mute": False, "flags": 0}


def _application() -> Record:
    named = {"id": "901", "name": "kit", "description": "", "icon": None, "verify_key": "", "flags": 0}
    return {**named, "bot_public": False, "bot_require_code_grant": False, "owner": _user(ANN)}


def _guild() -> Record:
    thread: Record = {
        "id": str(THREAD),
        "parent_id": str(HELP),
        "owner_id": str(ANN),
        "name": "a thread",
        "type": 11,
        "message_count": 0,
        "member_count": 1,
        "thread_metadata": {
            "archived": False,
            "auto_archive_duration": 60,
            "archive_timestamp": "2026-01-01T00:00:00+00:00",
        },
    }
    channels: Sequence[Record] = [
        {"id": str(id), "type": 0, "name": name, "position": 0, "permission_overwrites": []}
        for id, name in ((GENERAL, "general"), (HELP, "help"))
    ]
    everyone = {"id": str(GUILD), "name": "@everyone", "permissions": "0", "position": 0, "color": 0, "hoist": False}
    roles = [{**everyone, "managed": False, "mentionable": False}]
    return {
        "id": str(GUILD),
        "name": "a server",
        "owner_id": str(ANN),
        "unavailable": False,
        "member_count": 3,
        "roles": roles,
        "channels": channels,
        "threads": [thread],
        "members": [],
    }
