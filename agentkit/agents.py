"""Which agent answers whom, and what it is at this moment: its prompt, its tools, its model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from functools import lru_cache, partial
from pathlib import Path

from . import prompt
from .approval import Approvals, Unasked
from .channel import TERMINAL
from .command import Command, Order, is_owner, nearest
from .compact import Compact
from .completion import Choice
from .errors import CommandError, SettingsError
from .events import Inbound, Notice
from .files import real
from .names import agent_id
from .node import Node
from .prompt import Layer
from .records import replace
from .routes import Address, Routes, session_key
from .session import Session
from .settings import Settings
from .store import Store
from .toolbox import Scope, Tool
from .turn import Turn
from .usetool import Toolbox
from .workspace import SAMPLE, Agent, Files, Skill, Workspace

OFF = "off"
BOUND = 10  # bindings that /agents shows of each


class Agents:
    """May be used from any thread.

    given: who answers in the terminal, whatever the bindings say, empty: whom they say; tools: all there are, by name;
    builtin: the commands, whose names no skill can have. Raises SettingsError for an unknown given or DEFAULT_AGENT.
    """

    def __init__(
        self,
        workspace: Workspace,
        settings: Callable[[], Settings],
        given: str,
        tools: Mapping[str, Tool],
        approvals: Approvals,
        scope: Scope,
        builtin: Callable[[], Mapping[str, Command]],
    ) -> None:
        self.workspace, self.settings = workspace, settings
        self._tools, self._approvals, self._scope, self._builtin = tools, approvals, scope, builtin
        self._lock = threading.Lock()  # serialises what follows, which is looked at and changed in one step
        self._given, self._default = agent_id(given), agent_id(settings().default_agent)
        self._switched: dict[tuple[str, str], str] = {}  # by channel and person
        self._known: dict[str, Agent] = {}  # the agents as they were when they last answered
        self._told: set[str] = set()  # notices that were given
        self.routes = Routes(workspace.root / "routes.json", lambda: workspace.agents().keys(), self.usual)
        wanted = given or settings().default_agent
        if wanted and agent_id(wanted) not in workspace.agents():
            why = (f"--agent or DEFAULT_AGENT names no agent: there are {', '.join(workspace.agents())}",)
            # What was given may be anything, a key too: it is not shown.
            raise SettingsError([*why, *workspace.notices()])

    # -- who

    def of(self, inbound: Inbound) -> str:
        """The id of the agent that answers this message."""
        with self._lock:
            switched = self._switched.get((inbound.source, inbound.peer), "")
        if chosen := inbound.agent or switched:
            return chosen
        if inbound.source == TERMINAL and self._given in self.workspace.agents():
            return self._given
        return self.routes.resolve(_address(inbound))

    def key(self, inbound: Inbound) -> tuple[str, str]:
        """The key of the session that this message belongs to, and the agent's id. Raises CommandError."""
        id = self.of(inbound)
        return session_key(id, self.agent(id).dm_scope, _address(inbound)), id

    def usual(self) -> str:
        """The id of who answers where no binding says."""
        agents = self.workspace.agents()
        return next((id for id in (self._default, SAMPLE) if id in agents), next(iter(agents)))

    def has_switched(self, inbound: Inbound) -> bool:
        with self._lock:
            return (inbound.source, inbound.peer) in self._switched

    def agent(self, id: str) -> Agent:
        """The agent of that id; one whose folder is gone stays as it was. Raises CommandError."""
        found = self.workspace.agents().get(id)
        with self._lock:
            if (found := found or self._known.get(id)) is None:
                raise CommandError(f"There is no agent {id} any more: /agents shows who is there.")
            self._known[id] = found
        return found

    # -- what it is now

    def model(self, session: Session) -> str:
        """The model that is to answer in a session: the user's choice, or the agent's, or the one of the settings."""
        id = session.store.state.agent
        agent = self.workspace.agents().get(id) or self._known.get(id)
        return session.model or (agent.model if agent else "") or self.settings().llm_model

    def turn(self, session: Session, ask: Node) -> Turn:
        """Bring a session's store up to date with its agent's files; returns the turn that answers in it."""
        store = session.store
        agent = self.agent(store.state.agent)
        files = self.workspace.files(agent)
        toolbox = self._toolbox(agent, files, real(session.archive.folder))
        for text in (*self.workspace.notices(), *self.routes.notices(), *self._misfits(agent, files)):
            store.run.publish(Notice(text, "warn"))
        store.context.system = prompt.text(self._layers(session, agent, files))
        store.context.tools = toolbox.schemas
        return Turn(ask, toolbox, self.settings().max_model_calls, Compact(ask))

    def unattended(self, store: Store, ask: Node, light: bool) -> Turn:
        """Make a store ready for a turn that nobody watches; returns the turn that answers in it: with the tools that
        only read, and those that UNATTENDED_TOOLS names. light: with the shortest prompt. Raises CommandError."""
        state = store.state
        agent = self.agent(state.agent)
        files, cwd = self.workspace.files(agent), self._scope.cwd
        state.model = state.model or agent.model or self.settings().llm_model
        full = prompt.layers(agent, files, model=state.model, channel=state.channel, cwd=cwd, day=date.today())
        store.context.system = prompt.text(prompt.light(agent, files, cwd) if light else full)
        toolbox = self._toolbox(agent, files)
        named = self.settings().unattended_tools
        tools = {
            name: each for name, each in toolbox.tools.items() if name in named or (each.read_only and not each.asks)
        }
        toolbox = Toolbox(tools, Unasked(), toolbox.scope)
        store.context.tools = toolbox.schemas
        return Turn(ask, toolbox, self.settings().max_model_calls, Compact(ask))

    def skills(self, session: Session) -> dict[str, Skill]:
        """The skills of a session's agent, by name."""
        return {each.name: each for each in self.workspace.files(self.agent(session.store.state.agent)).skills}

    def scope(self, session: Session) -> Scope:
        """What a session's agent may reach there. Raises CommandError."""
        agent = self.agent(session.store.state.agent)
        return self._reach(agent, self.workspace.files(agent), real(session.archive.folder))

    def names(self, session: Session) -> Iterator[Choice]:
        """The ids of all agents, for a person to choose from."""
        for id, agent in self.workspace.agents().items():
            yield Choice(id, agent.name if agent.name != id else "")

    def _layers(self, session: Session, agent: Agent, files: Files) -> Sequence[Layer]:
        state = session.store.state
        cwd = self._scope.cwd
        return prompt.layers(agent, files, model=state.model, channel=state.channel, cwd=cwd, day=date.today())

    def _toolbox(self, agent: Agent, files: Files, own: Path | None = None) -> Toolbox:
        allowed = {
            name: each
            for name, each in self._tools.items()
            if (agent.tools is None or name in agent.tools) and name not in agent.denied_tools
        }
        return Toolbox(allowed, self._approvals, self._reach(agent, files, own))

    def _reach(self, agent: Agent, files: Files, own: Path | None) -> Scope:
        """own: the folder of the session, which its agent may read."""
        opened = (own,) if own else ()
        return replace(
            self._scope,
            readable=(*_folders(files), *opened),
            opened=opened,
            agent=agent.id,
            memory=self.workspace.memory(agent),
        )

    def _misfits(self, agent: Agent, files: Files) -> list[str]:
        """What does not fit in an agent's files, each said once."""
        unknown = sorted({*(agent.tools or ()), *agent.denied_tools} - self._tools.keys())
        found = [f"{agent.folder / 'AGENT.md'} names tools that do not exist: {', '.join(unknown)}."] if unknown else []
        if set(self.settings().unattended_tools) - self._tools.keys():  # what was pasted there may be a key: not shown
            found.append(f"UNATTENDED_TOOLS names tools that do not exist: there are {', '.join(sorted(self._tools))}.")
        builtin = self._builtin()
        for skill in files.skills:
            if skill.name in builtin:
                name = skill.name
                found.append(f"The skill {name} has the name of a command: use it as /skill {name} ({skill.path}).")
        with self._lock:
            new = [text for text in found if text not in self._told]
            self._told.update(new)
        return new

    # -- commands

    def commands(self) -> list[Command]:
        """/agents, /switch, /model, /prompt."""
        group = partial(Command, group="agent")
        return [
            group("agents", "", "the agents of this workspace", self._list),
            group(
                "switch",
                "<agent> | off",
                "talk to another agent, until off",
                self._switch,
                reroutes=True,
                owner=True,
                choices=lambda session: (*self.names(session), OFF),
            ),
            group(
                "model",
                "[name | off]",
                "the model that answers here; a name selects it",
                self._select,
                owner=True,
                choices=self._models,
            ),
            group("prompt", "", "the system prompt, and what its layers take", self._prompt, owner=True),
        ]

    def _list(self, order: Order) -> str:
        here, bindings = order.session.store.state.agent, self.routes.bindings()
        if not is_owner(order.inbound):
            return "\n".join(f"{'*' if id == here else ' '} {id}" for id in self.workspace.agents())
        rows = []
        for id, agent in self.workspace.agents().items():
            details = [agent.name if agent.name != id else "", agent.model, str(agent.folder)]
            rows.append(f"{'*' if id == here else ' '} {id}  {', '.join(filter(None, details))}")
            bound = [f"{each.match_key} {each.match_value}" for each in bindings if each.agent_id == id]
            if bound:
                more = f" and {len(bound) - BOUND} more" if len(bound) > BOUND else ""
                rows.append(f"    answers {', '.join(bound[:BOUND])}{more}")
        return "\n".join((*rows, *self.workspace.notices()))

    def _switch(self, order: Order) -> str:
        if not order.session.follows:
            raise CommandError("It lasts only as long as a chat: agentkit run --agent ID asks another agent.")
        who = (order.inbound.source, order.inbound.peer)
        agents = self.workspace.agents()
        wanted = agent_id(order.rest)
        if not order.rest:
            raise CommandError(f"{self.of(order.inbound)} answers here. It is /switch AGENT or /switch off.")
        if order.rest.casefold() != OFF and wanted not in agents:
            cure = nearest(wanted, agents) or f"there are {', '.join(agents)}."
            raise CommandError(f"There is no agent {order.rest}: {cure}".strip())
        with self._lock:
            if order.rest.casefold() != OFF:
                self._switched[who] = wanted
            elif self._switched.pop(who, None) is None:
                raise CommandError("You have not switched.")
        return f"{self.of(order.inbound)} answers now."

    def _select(self, order: Order) -> str:
        session: Session = order.session
        if not order.rest:
            return f"{self.model(session)} answers here. /model NAME selects another one, /model off the agent's own."
        if len(order.rest.split()) > 1:
            raise CommandError("A model's name is one word: /model NAME.")
        if not session.follows:
            raise CommandError("It lasts only as long as a chat: LLM_MODEL, or model: in AGENT.md, selects one.")
        session.model, session.store.state.used = "" if order.rest == OFF else order.rest, ""
        return f"{self.model(session)} answers here from now on, until you leave."

    def _models(self, session: Session) -> Sequence[Choice | str]:
        settings, model = self.settings(), self.model(session)
        others = dict.fromkeys((settings.llm_model, *settings.llm_fallback_models))
        return [Choice(model, "answers here"), *(each for each in others if each != model), OFF]

    def _prompt(self, order: Order) -> str:
        session: Session = order.session
        agent = self.agent(session.store.state.agent)
        files = self.workspace.files(agent)
        layers = self._layers(session, agent, files)
        text = prompt.text(layers)
        rows = [f"{each.name:16} {_cost(each.text, session.store)}" for each in layers]
        tools = self._toolbox(agent, files).tools
        rows += [f"{'in all':16} {_cost(text, session.store)}", f"(besides, tools: {len(tools)})"]
        return "\n".join((*rows, "", text))


def _address(inbound: Inbound) -> Address:
    return Address(inbound.channel, inbound.peer, inbound.account, inbound.guild, inbound.group)


@lru_cache(maxsize=32)
def _folders(files: Files) -> tuple[Path, ...]:
    """Where skills really are."""
    return tuple(dict.fromkeys(real(each.path.parent) for each in files.skills))


def _cost(text: str, store: Store) -> str:
    return f"{len(text):7,} characters  ~{store.worth(text):6,} tokens"
