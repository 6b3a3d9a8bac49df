"""Who answers whom, as programs see it and set it up: the methods about agents and bindings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Literal

from . import bindings, names, newcomer
from .agentfiles import Agent
from .bindings import EVERYBODY, KEYS, Binding
from .errors import CommandError
from .routes import Routes
from .rpc import ALREADY_EXISTS, INTERNAL_ERROR, INVALID_PARAMS, UNKNOWN, RpcError, wrong_param
from .workspace import Workspace

SHOWN = 50  # ids in an error

Scope = Literal["main", "per-peer", "per-channel-peer", "per-account-channel-peer"]


class Staff:
    """May be used from any thread. register: takes in an agent without files; False where its id is taken."""

    def __init__(self, workspace: Workspace, routes: Routes, register: Callable[[Agent], bool]) -> None:
        self._workspace, self._routes, self._register = workspace, routes, register
        self._hiring = threading.Lock()  # serialises looking for an id and taking it

    def table(self) -> dict[str, Callable[..., Any]]:
        """The methods by name."""
        return {
            "bindings.list": self.bindings,
            "bindings.set": self.bind,
            "bindings.remove": self.unbind,
            "agents.list": self.agents,
            "agents.register": self.hire,
        }

    def bindings(self) -> list[dict[str, Any]]:
        """Who answers whom, in the order of routes.json."""
        return [_binding(each) for each in self._routes.bindings()]

    def bind(
        self,
        agent_id: str,
        match_key: str,
        match_value: str | None = None,
        priority: int | None = None,
        tier: int | None = None,
    ) -> dict[str, Any]:
        """Have an agent answer what matches, as /bind does."""
        record = {"agent_id": agent_id, "tier": tier, "match_key": match_key, "priority": priority}
        try:
            wanted = bindings.binding(record if match_value is None else {**record, "match_value": match_value})
        except ValueError as error:
            raise _invalid(error) from None
        if wanted.agent_id not in (known := self._workspace.agents()):
            raise no_agent(agent_id, known)
        try:
            self._workspace.make()
            return _binding(self._routes.bind(wanted.agent_id, match_key, wanted.match_value, wanted.priority))
        except (CommandError, OSError) as error:
            raise _failed(error) from None

    def unbind(self, match_key: str, match_value: str | None = None, agent_id: str | None = None) -> dict[str, int]:
        """Take a binding back: an agent's, or those of all agents; tells how many there were."""
        if match_key not in KEYS:
            raise wrong_param("match_key", "unknown", f"one of {', '.join(KEYS)}")
        if match_value is None and match_key != "default":
            raise wrong_param("match_value", "missing", "string")
        value = EVERYBODY if match_value is None else match_value
        try:
            return {"removed": self._routes.unbind(match_key, value, agent_id or "")}
        except CommandError as error:
            raise _failed(error) from None

    def agents(self) -> list[dict[str, Any]]:
        """The agents there are."""
        return [_agent(each) for each in self._workspace.agents().values()]

    def hire(
        self,
        id: str,
        prompt: str,
        name: str | None = None,
        model: str | None = None,
        dm_scope: Scope | None = None,
        tools: list[str] | None = None,
        denied_tools: list[str] | None = None,
        persist: bool | None = None,
    ) -> dict[str, Any]:
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
        try:
            with self._hiring:
                if plain in self._workspace.agents() or not self._hired(agent, data if persist else None):
                    raise FileExistsError
        except FileExistsError:
            why = f"There is an agent {plain} already, or something else of that name in {folder.parent}."
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
