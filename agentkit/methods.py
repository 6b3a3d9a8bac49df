"""The gateway's methods over JSON-RPC: sending, asking and steering, for programs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakKeyDictionary, ref

from . import __version__, log, names
from .agentfiles import Agent
from .agents import Agents
from .aside import Aside
from .awaited import Awaited, Client, Hearer
from .beside import Beside
from .channel import Channel
from .chronicle import Chronicle, is_shortened
from .contacts import Contact
from .errors import CommandError
from .events import Answer, Decision, Inbound
from .housekeeping import Housekeeping, iso
from .lanes import Lanes
from .ledger import Ledger
from .repeats import Key
from .rpc import UNKNOWN, Dispatcher, RpcError, describe, wrong_param
from .session import Session
from .settings import Settings
from .staff import Staff, no_agent

NAME = "websocket"  # the channel's
PEER = "websocket-user"  # who speaks, where a client does not say
LONGEST = 256  # characters of a name
MOST = 1000  # sessions or messages in one answer
SHOWN = 50  # lanes in `status`

Table = dict[str, Callable[..., Any]]


class Running(Protocol):
    """The App, as far as methods need it."""

    @property
    def settings(self) -> Settings: ...

    @property
    def workspace(self) -> Path: ...

    @property
    def agents(self) -> Agents: ...

    @property
    def lanes(self) -> Lanes: ...

    @property
    def channels(self) -> Mapping[str, Channel]: ...

    @property
    def beside(self) -> Beside: ...

    def contacted(self, contact: Contact) -> Session: ...

    def leave(self, session: Session) -> None: ...

    def add(self, channel: Channel) -> None: ...

    def remove(self, name: str) -> None: ...

    def register(self, agent: Agent) -> bool:
        """Have an agent without files until the program ends; False where its id is taken."""

    def wake(self, channel: str, to: str) -> None:
        """Somebody is there whom letters may wait for."""


class Requests(Dispatcher):
    """Answers the messages of a client, which so knows what each of its requests is called."""

    def __init__(self, methods: Table, client: Client) -> None:
        super().__init__(methods)
        self._client = client

    def beginning(self, id: str) -> None:
        self._client.request = id


class Methods:
    """Those of all connections. May be used from any thread. clients: how many are connected."""

    def __init__(self, app: Running, clients: Callable[[], int]) -> None:
        self._app, self._clients = app, clients
        self._started = time.monotonic()
        self._chronicle = Chronicle(app.workspace / "sessions")
        self._aside = Aside()
        self._staff = Staff(app.agents.workspace, app.agents.routes, app.register, self._aside)
        self._housekeeping = Housekeeping(lambda: app.beside, lambda: app.lanes, app.contacted, app.leave)
        self.awaited = _awaited(app)

    def of(self, client: Client, more: Table) -> Table:
        """All of them, as one connection has them; more: those that are not of here."""
        table: Table = {
            **more,
            "send": partial(self._send, client),
            "approve": partial(self._approve, client),
            "interrupt": partial(self._interrupt, client),
            **self._staff.table(client),
            **self._housekeeping.table(),
            "sessions.list": partial(self._sessions, client),
            "sessions.history": partial(self._history, client),
            "status": self._status,
        }
        table["rpc.discover"] = partial(describe, table)
        return table

    def stop(self, timeout: float) -> None:
        """Answer all that wait; timeout: seconds for what is done in files."""
        self.awaited.stop()
        self._aside.stop(timeout)

    # -- turns

    def _send(
        self,
        client: Client,
        text: str,
        channel: str | None = None,
        peer_id: str | None = None,
        account_id: str | None = None,
        guild_id: str | None = None,
        agent_id: str | None = None,
        idempotency_key: str | None = None,
        stream: bool | None = None,
    ) -> Future[dict[str, Any]]:
        """Say something to an agent; the result is its answer."""
        given = {"channel": channel, "peer_id": peer_id, "account_id": account_id, "guild_id": guild_id}
        for name, value in {**given, "agent_id": agent_id, "idempotency_key": idempotency_key}.items():
            if value is not None and len(value) > LONGEST:
                raise wrong_param(name, "too long", f"at most {LONGEST} characters")
        if not text.strip():
            raise wrong_param("text", "empty", "what to say")
        inbound = Inbound(
            text,
            channel or NAME,
            peer_id or PEER,
            account=account_id or "",
            guild=guild_id or "",
            agent=names.agent_id(agent_id or ""),
            via=NAME,
        )
        hearer = Hearer(client, client.request, bool(stream))
        begin = partial(self._begin, inbound, agent_id or "", idempotency_key or "", hearer)
        answer: Future[dict[str, Any]] = self._aside.after(client, begin, len(text))
        return answer

    def _begin(self, inbound: Inbound, wanted: str, word: str, hearer: Hearer) -> Future[dict[str, Any]]:
        """Have a message answered. wanted: the agent, as it was written; word: the idempotency key."""
        if wanted and inbound.agent not in (known := self._app.agents.workspace.agents()):
            raise no_agent(wanted, known)
        try:
            session, answering = self._app.agents.key(inbound)
        except CommandError as error:
            raise RpcError(UNKNOWN, str(error)) from None
        if hearer.client.speaks_for(inbound.peer):
            self._app.wake(NAME, inbound.peer)
        return self.awaited.begin(inbound, answering, Key(session, word) if word else None, hearer)

    def _approve(self, client: Client, id: str, decision: Decision, reason: str | None = None) -> dict[str, bool]:
        """Answer a question (an `ask` event) that this connection was asked."""
        self.awaited.approve(client, id, Answer(decision, reason or ""))
        return {"accepted": True}

    def _interrupt(self, client: Client, session_key: str) -> Any:
        """Stop the turn that runs in a session; what is queued behind it goes on."""

        def interrupt() -> dict[str, bool]:
            key, lanes = session_key, self._app.lanes
            if is_shortened(key):
                key = next((each.key for each in lanes.view() if names.encoded(each.key) == key), key)
            interrupted = lanes.get(key).interrupt()
            if not interrupted and self._chronicle.find(session_key) is None:
                raise _no_session()
            return {"interrupted": interrupted}

        return self._aside.behind(client, interrupt)

    # -- sessions

    def _sessions(self, client: Client, limit: int | None = None) -> Future[Any]:
        """The sessions in which something was said, the one used last first."""
        return self._aside.look(client, partial(self._chronicle.sessions, _limit(limit)))

    def _history(self, client: Client, session_key: str, limit: int | None = None) -> Future[Any]:
        """What was said in the current conversation of a session, its last messages. Its letters come here too then."""
        most = _limit(limit)
        contact = self._app.beside.contacts.of(session_key)
        if contact and contact.channel == NAME and client.speaks_for(contact.to):
            self._app.wake(NAME, contact.to)

        def read() -> dict[str, Any]:
            if (folder := self._chronicle.find(session_key)) is None:
                raise _no_session()
            return self._chronicle.history(folder, most)

        return self._aside.look(client, read)

    # -- all

    def _status(self) -> dict[str, Any]:
        """How things stand."""
        app, failure = self._app, log.last_failure()
        busy = app.lanes.view()
        return {
            "version": __version__,
            "process": os.getpid(),
            "uptime": round(time.monotonic() - self._started, 1),
            "ending": app.lanes.stopping,
            "workspace": str(app.workspace),
            "model": app.settings.llm_model,
            "agents": list(app.agents.workspace.agents()),
            "channels": list(app.channels),
            "clients": self._clients(),
            "discord": _words(app.channels.get("discord")),
            "busy": len(busy),
            "running": sum(each.seconds is not None for each in busy),
            "waiting": sum(each.waiting for each in busy),
            "lanes": [each._asdict() for each in busy[:SHOWN]],
            "next_heartbeat": iso(_next_beat(app)),
            "next_job": _next_job(app),
            "tokens_in_all_today": _spent(app),
            "last_error": failure and {"at": iso(failure.at), "text": failure.text},
            **self._housekeeping.standing(),
        }


def _words(discord: Any) -> str | None:
    """How Discord stands, where it was begun; somebody's own channel of that name need not tell."""
    return getattr(discord, "status", lambda: "on")() if discord is not None else None


def _next_beat(app: Running) -> float | None:
    if not app.beside.background.runs:
        return None
    agents = app.agents.workspace.agents()
    dues = (app.beside.heartbeats.next_of(each) for each in agents)
    return min((due for due in dues if due is not None), default=None)


def _next_job(app: Running) -> dict[str, Any] | None:
    """The one that is due first."""
    due = ((row.due, row.job) for row in app.beside.cron.rows() if row.due is not None)
    first = min(due, key=lambda each: each[0], default=None)
    return {"id": first[1].id, "name": first[1].name, "at": iso(first[0])} if first else None


def _spent(app: Running) -> int:
    """The tokens of today, also those that nobody has asked for."""
    today = Ledger(app.workspace / ".state" / "usage").days(1).get(str(date.today()), {})
    return sum(each["total_tokens"] for each in today.values())


# They outlive a gateway: one that is closed and opened again still knows which messages it has had.
_of_apps: WeakKeyDictionary[Running, Awaited] = WeakKeyDictionary()


def _awaited(app: Running) -> Awaited:
    """What the clients of an App wait for."""
    if (known := _of_apps.get(app)) is None:
        lanes = ref(app.lanes)  # the App must not be kept by what is kept for it

        def stopping() -> bool:
            return (here := lanes()) is None or here.stopping

        known = _of_apps[app] = Awaited(stopping)
    return known


def _no_session() -> RpcError:
    return RpcError(UNKNOWN, "There is no such session: sessions.list tells which there are.")


def _limit(limit: int | None) -> int:
    if limit is not None and not 1 <= limit <= MOST:
        raise wrong_param("limit", "out of range", f"1 to {MOST}")
    return limit or 100
