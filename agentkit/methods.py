"""The gateway's methods over JSON-RPC: sending, asking and steering, for programs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from . import __version__, names
from .agentfiles import Agent
from .agents import Agents
from .awaited import Awaited, Client, Hearer
from .cancel import Cancel
from .channel import Channel
from .chronicle import Chronicle
from .errors import CommandError
from .events import Answer, Decision, Inbound
from .lanes import Lanes
from .rpc import TOO_BUSY, UNKNOWN, Dispatcher, RpcError, describe, wrong_param
from .settings import Settings
from .staff import Staff, no_agent

NAME = "websocket"  # the channel's
PEER = "websocket-user"  # who speaks, where a client does not say
LONGEST = 256  # characters of a name
READERS = 4  # requests at once that read many files
MOST_READS = 1000  # of them that wait
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
        self._reads = Lanes(READERS)
        self._chronicle = Chronicle(app.workspace / "sessions")
        self.awaited = Awaited(lambda: app.lanes.stopping)
        self._shared: Table = {
            "interrupt": self._interrupt,
            **Staff(app.agents.workspace, app.agents.routes, app.register).table(),
            "sessions.list": self._sessions,
            "sessions.history": self._history,
            "status": self._status,
        }

    def of(self, client: Client, more: Table) -> Table:
        """All of them, as one connection has them; more: those that are not of here."""
        own: Table = {"send": partial(self._send, client), "approve": partial(self._approve, client)}
        table = {**more, **own, **self._shared}
        table["rpc.discover"] = partial(describe, table)
        return table

    def stop(self, timeout: float) -> None:
        """Answer all that wait; timeout: seconds for those that read files."""
        self.awaited.stop()
        self._reads.stop(timeout)

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
        agent = names.agent_id(agent_id or "")
        if agent_id and agent not in (known := self._app.agents.workspace.agents()):
            raise no_agent(agent_id, known)
        inbound = Inbound(
            text,
            channel or NAME,
            peer_id or PEER,
            account=account_id or "",
            guild=guild_id or "",
            agent=agent,
            via=NAME,
        )
        try:
            _, answering = self._app.agents.key(inbound)
        except CommandError as error:
            raise RpcError(UNKNOWN, str(error)) from None
        if client.speaks_for(inbound.peer):
            self._app.wake(NAME, inbound.peer)
        hearer = Hearer(client, client.request, bool(stream))
        return self.awaited.begin(inbound, answering, idempotency_key or "", hearer)

    def _approve(self, client: Client, id: str, decision: Decision, reason: str | None = None) -> dict[str, bool]:
        """Answer a question (an `ask` event) that this connection was asked."""
        self.awaited.approve(client, id, Answer(decision, reason or ""))
        return {"accepted": True}

    def _interrupt(self, session_key: str) -> dict[str, bool]:
        """Stop the turn that runs in a session; what is queued behind it goes on."""
        interrupted = self._app.lanes.get(session_key).interrupt()
        if not interrupted and self._chronicle.find(session_key) is None:
            raise _no_session()
        return {"interrupted": interrupted}

    # -- sessions

    def _sessions(self, limit: int | None = None) -> Future[Any]:
        """The sessions in which something was said, the one used last first."""
        most = _limit(limit)
        return self._aside(lambda: self._chronicle.sessions(most))

    def _history(self, session_key: str, limit: int | None = None) -> Future[Any]:
        """What was said in the current conversation of a session, its last messages."""
        most = _limit(limit)

        def read() -> dict[str, Any]:
            if (folder := self._chronicle.find(session_key)) is None:
                raise _no_session()
            return self._chronicle.history(folder, most)

        return self._aside(read)

    def _aside(self, read: Callable[[], Any]) -> Future[Any]:
        """Read files in another thread: the requests behind this one do not wait for it."""
        future: Future[Any] = Future()

        def work(cancel: Cancel) -> None:
            try:
                future.set_result(read())
            except BaseException as error:  # whoever waits must hear of it
                future.set_exception(error)

        if len(self._reads.queues) >= MOST_READS:
            raise RpcError(TOO_BUSY, f"{MOST_READS} requests wait to be read already. Try again later.")
        try:
            self._reads.get(f"{id(future)}").put(work)
        except RuntimeError:
            raise RpcError(TOO_BUSY, "The system has no thread for it. Try again later.") from None
        return future

    # -- all

    def _status(self) -> dict[str, Any]:
        """How things stand."""
        app = self._app
        busy = app.lanes.view()
        return {
            "version": __version__,
            "process": os.getpid(),
            "uptime": round(time.monotonic() - self._started, 1),
            "workspace": str(app.workspace),
            "model": app.settings.llm_model,
            "agents": list(app.agents.workspace.agents()),
            "channels": list(app.channels),
            "clients": self._clients(),
            "busy": len(busy),
            "lanes": [each._asdict() for each in busy[:SHOWN]],
        }


def _no_session() -> RpcError:
    return RpcError(UNKNOWN, "There is no such session: sessions.list tells which there are.")


def _limit(limit: int | None) -> int:
    if limit is not None and not 1 <= limit <= MOST:
        raise wrong_param("limit", "out of range", f"1 to {MOST}")
    return limit or 100
