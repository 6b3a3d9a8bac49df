"""Who answers whom, as programs see it and set it up: the methods about agents and bindings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Literal

from . import bindings, names, newcomer
from .agentfiles import Agent
from .aside import Aside
from .awaited import Client
from .bindings import EVERYBODY, KEYS, Binding
from .errors import CommandError
from .routes import Routes
from .rpc import ALREADY_EXISTS, INTERNAL_ERROR, INVALID_PARAMS, UNKNOWN, RpcError, wrong_param
from .rpcmessage import write
from .workspace import Workspace

SHOWN = 50  # ids in an error
LARGEST = 900_000  # bytes of an answer: clients rarely take more than 1 MiB

Scope = Literal["main", "per-peer", "per-channel-peer", "per-account-channel-peer"]


class Staff:
    """May be used from any thread. register: takes in an agent without files, False where its id is taken; aside: where
    files are written."""

    def __init__(self, workspace: Workspace, routes: Routes, register: Callable[[Agent], bool], aside: Aside) -> None:
        self._workspace, self._routes, self._register, self._aside = workspace, routes, register, aside
        self._hiring = threading.Lock()  # serialises looking for an id and taking it

    def table(self, client: Client) -> dict[str, Callable[..., Any]]:
        """The methods by name, as one connection has them."""
        return {
            "bindings.list": partial(self.bindings, client),
            "bindings.set": partial(self.bind, client),
            "bindings.remove": partial(self.unbind, client),
            "agents.list": partial(self.agents, client),
            "agents.register": partial(self.hire, client),
        }

    def bindings(self, client: Client, limit: int | None = None, offset: int | None = None) -> Any:
        """Who answers whom, in the order of routes.json; limit: how many, offset: behind how many others."""
        page = _page(limit, offset)
        return self._aside.after(client, lambda: page([_binding(each) for each in self._routes.bindings()]))

    def bind(
        self,
        client: Client,
        agent_id: str,
        match_key: str,
        match_value: str | None = None,
        priority: int | None = None,
        tier: int | None = None,
    ) -> Future[dict[str, Any]]:
        """Have an agent answer what matches, as /bind does."""
        record = {"agent_id": agent_id, "tier": tier, "match_key": match_key, "priority": priority}
        try:
            wanted = bindings.binding(record if match_value is None else {**record, "match_value": match_value})
        except ValueError as error:
            raise _invalid(error) from None

        def change() -> dict[str, Any]:
            if wanted.agent_id not in (known := self._workspace.agents()):
                raise no_agent(agent_id, known)
            try:
                self._workspace.make()
                return _binding(self._routes.bind(wanted.agent_id, match_key, wanted.match_value, wanted.priority))
            except (CommandError, OSError) as error:
                raise _failed(error) from None

        return self._aside.change(client, change)

    def unbind(
        self, client: Client, match_key: str, match_value: str | None = None, agent_id: str | None = None
    ) -> Future[dict[str, int]]:
        """Take a binding back: an agent's, or those of all agents; tells how many there were."""
        if match_key not in KEYS:
            raise wrong_param("match_key", "unknown", f"one of {', '.join(KEYS)}")
        if match_value is None and match_key != "default":
            raise wrong_param("match_value", "missing", "string")
        value = EVERYBODY if match_value is None else match_value

        def change() -> dict[str, int]:
            try:
                return {"removed": self._routes.unbind(match_key, value, agent_id or "")}
            except CommandError as error:
                raise _failed(error) from None

        return self._aside.change(client, change)

    def agents(self, client: Client, limit: int | None = None, offset: int | None = None) -> Any:
        """The agents there are, by id; limit: how many, offset: behind how many others."""
        page = _page(limit, offset)
        return self._aside.after(client, lambda: page([_agent(each) for each in self._workspace.agents().values()]))

    def hire(
        self,
        client: Client,
        id: str,
        prompt: str,
        name: str | None = None,
        model: str | None = None,
        dm_scope: Scope | None = None,
        tools: list[str] | None = None,
        denied_tools: list[str] | None = None,
        persist: bool | None = None,
    ) -> Any:
        """Have one more agent: until the program ends or, with `persist`, in a folder of its own."""
        if not (plain := names.agent_id(id)):
            raise wrong_param("id", "no letter from a to z and no digit", "a short name")
        if not prompt.strip():
            raise wrong_param("prompt", "empty", "what the agent is told to be")
        fields = {"name": name or plain, "model": model, "dm_scope": dm_scope, "tools": tools}
        folder = self._workspace.root / ".agents" / plain
        try:
            agent, data = newcomer.draft(folder, prompt, {**fields, "denied_tools": denied_tools})
        except ValueError as error:
            raise _invalid(error) from None
        do = self._aside.change if persist else self._aside.after
        return do(client, partial(self._take, agent, data if persist else None))

    def _take(self, agent: Agent, data: bytes | None) -> dict[str, Any]:
        try:
            with self._hiring:
                if agent.id in self._workspace.agents() or not self._hired(agent, data):
                    raise FileExistsError
        except FileExistsError:
            why = f"There is an agent {agent.id} already, or something else of that name in {agent.folder.parent}."
            raise RpcError(ALREADY_EXISTS, why) from None
        except OSError as error:
            raise _failed(error) from None
        return _agent(agent)

    def _hired(self, agent: Agent, data: bytes | None) -> bool:
        """data: the file it is to have, None: none. Raises OSError."""
        if data is None:
            return self._register(agent)
        self._workspace.make()
        newcomer.settle(agent, data)
        return True


def no_agent(id: str, known: Mapping[str, Agent]) -> RpcError:
    return RpcError(UNKNOWN, f"There is no agent {id[:100]!r}.", {"agents": list(known)[:SHOWN]})


def _page(limit: int | None, offset: int | None) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """What makes a part of a list, as it is asked for, and refuses one that is larger than clients take."""
    for name, value in (("limit", limit), ("offset", offset)):
        if value is not None and value < 0:
            raise wrong_param(name, "negative", "0 or more")
    first = offset or 0

    def part(rows: Sequence[Any]) -> Sequence[Any]:
        found = rows[first : len(rows) if limit is None else first + limit]
        if (size := len(write(found).encode())) > LARGEST:
            problem = f"these {len(found):,} of {len(rows):,} are {size:,} bytes, but clients take {LARGEST:,}: "
            raise wrong_param("limit", f"{problem}ask for fewer with limit, and for the rest with offset", "fewer")
        return found

    return part


def _invalid(error: ValueError) -> RpcError:
    return RpcError(INVALID_PARAMS, "Invalid params", {"problem": str(error)})


def _failed(error: CommandError | OSError) -> RpcError:
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return RpcError(INTERNAL_ERROR, "Internal error", {"problem": said})


def _binding(each: Binding) -> dict[str, Any]:
    names = ("agent_id", "tier", "match_key", "match_value", "priority")
    return {name: getattr(each, name) for name in names}


def _agent(each: Agent) -> dict[str, Any]:
    return {name: value for name, value in each._asdict().items() if name not in ("folder", "prompt")}
