"""Which agent answers whom, and what it is at this moment: its prompt, its tools, its model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import partial

from . import prompt
from .approval import Approvals
from .command import Command, Order
from .compact import Compact
from .errors import CommandError, SettingsError
from .events import Inbound, Notice
from .names import agent_id
from .node import Node
from .prompt import Layer
from .records import replace
from .session import Session
from .settings import Settings
from .store import Store
from .toolbox import Scope, Tool
from .turn import Turn
from .usetool import Toolbox
from .workspace import SAMPLE, Agent, Skill, Workspace

OFF = "off"


class Agents:
    """default: the agent for everybody who has not switched, empty: `assistant`, or else the first; ask: the node that
    gets one Reply; tools: all there are, by name. May be used from any thread."""

    def __init__(
        self,
        workspace: Workspace,
        settings: Callable[[], Settings],
        default: str,
        tools: Mapping[str, Tool],
        approvals: Approvals,
        scope: Scope,
        builtin: Callable[[], Mapping[str, Command]],
    ) -> None:
        self.workspace, self.settings = workspace, settings
        self._tools, self._approvals, self._scope, self._builtin = tools, approvals, scope, builtin
        self._switched: dict[tuple[str, str], str] = {}  # by channel and person
        self._known: dict[str, Agent] = {}  # the agents as they were when they last answered
        self._told: set[str] = set()  # notices that were given
        if default and agent_id(default) not in workspace.agents():
            names = ", ".join(workspace.agents())  # what was given may be anything, a key too: it is not shown
            where = workspace.root / ".agents"
            raise SettingsError([f"--agent or DEFAULT_AGENT names no agent: there are {names} (in {where})"])
        self._default = agent_id(default)

    def of(self, inbound: Inbound) -> str:
        """The id of the agent that answers this message."""
        switched = self._switched.get((inbound.channel, inbound.peer))
        if switched:
            return switched
        agents = self.workspace.agents()
        return self._default or (SAMPLE if SAMPLE in agents else next(iter(agents)))

    def has_switched(self, inbound: Inbound) -> bool:
        return (inbound.channel, inbound.peer) in self._switched

    def turn(self, session: Session, ask: Node) -> Turn:
        """Bring a session's store up to date with its agent's files; returns the turn that answers in it."""
        store = session.store
        agent = self.agent(store.state.agent)
        layers = self.layers(session)
        toolbox = self._toolbox(agent)
        for text in (*self.workspace.notices(), *self._misfits(agent)):
            store.run.publish(Notice(text, "warn"))
        store.context.system, store.context.tools = prompt.text(layers), toolbox.schemas
        return Turn(ask, toolbox, self.settings().max_model_calls, Compact(ask))

    def layers(self, session: Session) -> Sequence[Layer]:
        """What the system prompt of a session is made of now; selects the model too."""
        state = session.store.state
        agent = self.agent(state.agent)
        state.model = session.model or agent.model or self.settings().llm_model
        state.window = self.settings().llm_context_window
        files = self.workspace.files(agent)
        cwd = self._scope.cwd
        return prompt.layers(agent, files, model=state.model, channel=state.channel, cwd=cwd, day=date.today())

    def agent(self, id: str) -> Agent:
        """The agent of that id; one whose folder is gone stays as it was."""
        found = self.workspace.agents().get(id) or self._known.get(id)
        if found is None:
            raise CommandError(f"There is no agent {id} any more: /agents shows who is there.")
        self._known[id] = found
        return found

    def skills(self, inbound: Inbound) -> dict[str, Skill]:
        """The skills of the agent that answers this message, by name in small letters."""
        files = self.workspace.files(self.agent(self.of(inbound)))
        return {each.name.casefold(): each for each in files.skills}

    def _toolbox(self, agent: Agent) -> Toolbox:
        allowed = {
            name: each
            for name, each in self._tools.items()
            if (agent.tools is None or name in agent.tools) and name not in agent.denied_tools
        }
        skills = self.workspace.files(agent).skills
        readable = tuple(dict.fromkeys(each.path.parent.resolve() for each in skills))
        return Toolbox(
            allowed, self._approvals, replace(self._scope, readable=readable, memory=agent.folder / "memory")
        )

    def _misfits(self, agent: Agent) -> list[str]:
        """What does not fit in an agent's files, each said once."""
        unknown = sorted({*(agent.tools or ()), *agent.denied_tools} - self._tools.keys())
        found = [f"{agent.folder / 'AGENT.md'} names tools that do not exist: {', '.join(unknown)}."] if unknown else []
        for skill in self.workspace.files(agent).skills:
            if skill.name.casefold() in self._builtin():
                name = skill.name
                found.append(f"The skill {name} has the name of a command: use it as /skill {name} ({skill.path}).")
        new = [text for text in found if text not in self._told]
        self._told.update(new)
        return new

    # -- commands

    def commands(self, session_of: Callable[[Inbound], Session]) -> list[Command]:
        """/agents, /switch, /model, /prompt."""
        group = partial(Command, group="agent")
        return [
            group("agents", "", "the agents of this workspace", self._list),
            group("switch", "<agent> | off", "talk to another agent, until off", partial(self._switch, session_of)),
            group(
                "model", "[name | off]", "the model that answers here; a name selects it", partial(_model, session_of)
            ),
            group("prompt", "", "the system prompt, and what its layers take", partial(self._prompt, session_of)),
        ]

    def _list(self, order: Order) -> str:
        here = self.of(order.inbound)
        rows = []
        for id, agent in self.workspace.agents().items():
            details = [agent.name if agent.name != id else "", agent.model, str(agent.folder)]
            rows.append(f"{'*' if id == here else ' '} {id}  {', '.join(filter(None, details))}")
        return "\n".join(rows)

    def _switch(self, session_of: Callable[[Inbound], Session], order: Order) -> str:
        who = (order.inbound.channel, order.inbound.peer)
        id = agent_id(order.rest)
        if not order.rest:
            raise CommandError(f"{self.of(order.inbound)} answers here. It is /switch AGENT or /switch off.")
        if order.rest == OFF:
            if self._switched.pop(who, None) is None:
                raise CommandError("You have not switched.")
        elif id not in self.workspace.agents():
            raise CommandError(f"There is no agent {order.rest}: there are {', '.join(self.workspace.agents())}.")
        else:
            self._switched[who] = id
        session = session_of(order.inbound)
        session.begin(order.inbound, order.run.publish)
        label = session.conversation.label
        return f"{self.of(order.inbound)} answers now{f', in the conversation {label}' if label else ''}."

    def _prompt(self, session_of: Callable[[Inbound], Session], order: Order) -> str:
        store = session_of(order.inbound).store
        layers = self.layers(session_of(order.inbound))
        text = prompt.text(layers)
        rows = [f"{each.name:16} {_cost(each.text, store)}" for each in layers]
        schemas = self._toolbox(self.agent(store.state.agent)).schemas
        rows += [f"{'in all':16} {_cost(text, store)}", f"(besides: {len(schemas)} tools)"]
        return "\n".join((*rows, "", text))


def _cost(text: str, store: Store) -> str:
    return f"{len(text):7,} characters  ~{store.worth(text):6,} tokens"


def _model(session_of: Callable[[Inbound], Session], order: Order) -> str:
    session = session_of(order.inbound)
    if order.rest:
        if len(order.rest.split()) > 1:
            raise CommandError("A model's name is one word: /model NAME.")
        session.model = "" if order.rest == OFF else order.rest
        return f"{session.model or 'The model of the agent'} answers from now on, until you leave."
    return f"{session.view.model} answers here. /model NAME selects another one, /model off the agent's own."
