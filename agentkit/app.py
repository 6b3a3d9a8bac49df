"""App: builds everything from the settings, starts it, stops it. The only file that knows everyone."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from . import approval, gates, history, mail, memory, routing, skills, status, timetable
from .agents import Agents
from .approval import Approvals, Asker
from .archive import Archive
from .backend import Backend
from .cancel import Cancel
from .channel import TERMINAL, Channel
from .command import PUBLIC, Command, Commands, Order
from .completion import Completion
from .desk import Desk
from .errors import CommandError, LLMError, SettingsError
from .events import Done, Error, Event, Inbound, Notice, Stopped
from .files import real
from .lanes import Lanes
from .names import encoded
from .node import Node
from .records import replace
from .session import Opening, Session, View
from .sessions import Sessions
from .settings import Settings, child_environment, load
from .store import Context, Message, State, Store
from .surroundings import Surroundings, shown
from .toolbox import Scope, Tool
from .tools import TOOLS
from .turn import Turn
from .workspace import Agent, Workspace, folder

if TYPE_CHECKING:
    from .beside import Beside
    from .channels.direct import Direct
    from .contacts import Contact
    from .outbox import Outbox

log = logging.getLogger("agentkit")

BUILT_IN = (*TOOLS, memory.remember)

PEER = "you"  # who speaks, where a program does not say

SHORTEST_SECRET = 16  # characters; a shorter key is made up, as "ollama" is, and may be a word of any result
HURRY = 0.5  # seconds that what was interrupted has to end, where somebody is in a hurry

DEMO = """This is the built-in demo model: it shows how agentkit works, but understands nothing.
To connect a real one, set LLM_BASE_URL, LLM_API_KEY, LLM_MODEL and LLM_CONTEXT_WINDOW, in the environment or in .env;
for example LLM_BASE_URL=https://api.openai.com/v1 LLM_API_KEY=sk-... LLM_MODEL=gpt-4o LLM_CONTEXT_WINDOW=128000"""


class App:
    """One running agentkit: `with App(tools=[...]) as app: print(app.ask("hello"))`.

    settings: None: those of the environment and of .env; tools: beside the built-in ones, or in place of one with the
    same name; channels: start() starts them; model: a node that gets one Reply, such as Scripted, in place of the
    servers of the settings; agent: who answers, empty for the usual one; opening: the conversation to begin with;
    environ: what child processes get, without our keys. Raises SettingsError.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        channels: Sequence[Channel] = (),
        tools: Iterable[Tool] = (),
        *,
        model: Node | None = None,
        agent: str = "",
        opening: Opening = Opening(),
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        cwd = Path.cwd()
        settings = settings or load(environ, cwd)
        self.workspace, self._opening = folder(settings.workspace_dir, cwd), opening
        self._backend = Backend(settings, self.workspace, model)
        self.channels = {channel.name: channel for channel in channels}
        # Where anybody may talk, what asks is refused: nobody there has been named who could allow it.
        self.approvals = Approvals(settings.tool_approval, () if settings.discord_allowed_users else PUBLIC)
        self._scope = self._confines(cwd, environ)
        home = Path(environ["HOME"]) if environ.get("HOME") else None
        self._files = Workspace(self.workspace, cwd, home)
        self.agents = Agents(
            self._files,
            lambda: self.settings,
            agent,
            {each.name: each for each in (*BUILT_IN, timetable.cron_tool(lambda: self.beside.cron), *tools)},
            self.approvals,
            self._scope,
            lambda: self.commands.table,
        )
        self.commands = Commands(self._commands(), skills.by_name(self.agents.skills))
        self.lanes = Lanes(settings.max_turns)
        self._sessions = Sessions(lambda key: self.lanes.get(key).busy)
        self.desk = Desk(self.channels, self.lanes, self.approvals, self._session_of, lambda: self.commands)
        self.dispatch, self.interrupt = self.desk.dispatch, self.desk.interrupt
        self._beside: Beside | None = None
        self._making = threading.Lock()  # serialises making it, and what follows
        self._direct: Direct | None = None
        self._runs = False
        self._replayed: tuple[object, int | None] = (None, None)  # what was opened at the start, and how long it was

    def _confines(self, cwd: Path, environ: Mapping[str, str]) -> Scope:
        """What tools may reach."""
        state, sessions = self.workspace / ".state", self.workspace / "sessions"
        closed = (state, sessions, self.settings.env_file) if self.settings.env_file else (state, sessions)
        return Scope(
            roots=(real(cwd), real(self.workspace)),
            closed=tuple(real(path) for path in closed),
            unwritable=(real(sessions),),
            environment=child_environment(environ, self.settings),
            secrets=tuple(each for each in self.settings.secrets if len(each) >= SHORTEST_SECRET),
        )

    def _commands(self) -> list[Command]:
        confined = replace(self._scope, closed=(*self._scope.closed, real(self.workspace) / ".agents"))
        return [
            *history.commands(confined, self._backend.node),
            *memory.commands(self._remember),
            *skills.commands(self.agents.skills, lambda: self.commands.table),
            *self.agents.commands(),
            *routing.commands(
                self.agents.routes, self.agents.agent, self.agents.of, self._files.make, self.agents.names
            ),
            *status.commands(
                lambda: self.settings,
                lambda: self._backend.profiles,
                self._backend.ledger,
                lambda: self.lanes.view(),
                self.workspace,
                lambda: self.beside,
            ),
            *approval.commands(self.approvals),
            *gates.commands(self),
            *mail.commands(lambda: self.beside),
            *timetable.commands(lambda: self.beside),
            *(each for channel in self.channels.values() for each in getattr(channel, "commands", ())),
            Command("stop", "", "interrupt the answer or the tool that runs", self._stop, now=True),
            Command("help", "", "this list", lambda order: self.commands.help(), now=True),
            Command("exit", "", "leave", _not_here, now=True),
        ]

    # -- life

    def __enter__(self) -> App:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        for line in self.stop():
            log.error("not saved: %s", line)

    def start(self) -> None:
        """Start the demo model, where nothing else is set, and the channels; open the conversation that is resumed."""
        self._backend.start()
        for channel in self.channels.values():
            self._start(channel)
        if self._backend.is_demo:
            self.desk.publish(Notice(DEMO))
        if self._opening.follow:  # and not one question only
            self.beside.begin()
        self._runs = True

    def add(self, channel: Channel) -> None:
        """Have one more channel, which is started; what it raises then leaves everything as it was."""
        before = self.channels
        self.channels = self.desk.channels = {**before, channel.name: channel}
        try:
            self._start(channel)
        except BaseException:
            self.channels = self.desk.channels = before
            raise

    def remove(self, name: str) -> None:
        """Stop a channel; the others go on."""
        channel = self.channels[name]
        channel.stop()
        self.desk.leaves(channel)
        self.channels = self.desk.channels = {each: other for each, other in self.channels.items() if each != name}

    def register(self, agent: Agent) -> bool:
        """Have an agent without files until the program ends; False where its id is taken."""
        return self._files.register(agent)

    @property
    def outbox(self) -> Outbox:
        """Where letters are put."""
        return self.beside.outbox

    @property
    def beside(self) -> Beside:
        """What goes on beside the chats; loaded when it is first asked for, since one question does without."""
        with self._making:
            if self._beside is None:
                from .beside import Beside

                self._beside = Beside(
                    self, lambda: self._backend.node(background=True), self._backend.ledger, self.desk.publish
                )
            return self._beside

    def tell(self, text: str) -> None:
        """Have the owner know."""
        self.desk.publish(Notice(text, "warn"))

    def wake(self, channel: str, to: str) -> None:
        """Somebody is there whom letters may wait for."""
        if self._beside is not None:
            self._beside.outbox.wake(channel, to)

    def take_charge(self) -> None:
        """Be the process that does the background work. Raises SettingsError where another one is."""
        self.make()
        background = self.beside.background
        background.begin()
        if who := background.elsewhere():
            cure = gates.cure(TERMINAL in self.channels, background)
            raise SettingsError([f"process {who} does the background work of this workspace: {cure}"])

    def announce(self, url: str) -> None:
        """Have other processes know where the gateway is; empty: there is none."""
        self.beside.background.note(url)

    def _start(self, channel: Channel) -> None:
        channel.start(self.dispatch, partial(self.approvals.answer, channel.name))

    def make(self) -> None:
        """Have a workspace, before there is a message to save. Raises SettingsError."""
        try:
            if told := self._files.make():
                log.info("%s", told)
        except OSError as error:
            why = f"the workspace {self.workspace} cannot be made: {error.strerror}"
            raise SettingsError([f"{why}; set WORKSPACE_DIR to a folder you may write to"]) from None

    def open(self, inbound: Inbound) -> None:
        """Open what this sender's session begins with, before anything is said in it. Raises CommandError."""
        session = self._session_of(inbound)

        def publish(event: Event) -> None:
            self.desk.publish(event.stamped(session.key, ""))

        session.begin(inbound, publish)
        if session.view.messages:
            self._replayed = session.view.loaded, session.opened
        if self._opening.resume and not session.view.messages:
            publish(Notice("There is nothing to resume: this is a new conversation."))

    def stop(self, timeout: float = 2.0, grace: float = 0.0, hurry: Cancel | None = None) -> list[str]:
        """Take nothing more, interrupt what runs, wait for it (in seconds), and end the channels; returns a line for
        each conversation that could not be saved.

        grace: seconds in which what runs may end by itself, before it is interrupted; hurry: set, there is none left.
        """
        hurry = hurry or Cancel()
        self.lanes.close()
        if grace:
            self._let_end(grace, hurry)
        has_ended = self.lanes.stop(min(timeout, HURRY) if hurry.is_set else timeout)
        self._sessions.stop()
        unsaved: list[str] = []
        for session in self._sessions.all():
            if not has_ended and self.lanes.get(session.key).busy:  # whoever runs there owns it
                unsaved.append(f"{session.key}: what runs there does not stop; the messages before that are saved")
            else:
                unsaved += session.close()
        if self._beside:
            self._beside.end(timeout)
        for channel in self.channels.values():
            channel.stop()
        self._backend.stop()
        return unsaved

    def _let_end(self, grace: float, hurry: Cancel) -> None:
        """Refuse what waits, and give what runs some time."""
        if refused := self.desk.close():
            log.info("messages that waited, and are refused: %d", refused)
        if running := self.lanes.running():
            log.info("what runs has %g s to end by itself: %s", grace, ", ".join(running))
        if not self.lanes.wait(grace, hurry):
            log.warning("interrupted, as it has not ended by itself: %s", ", ".join(self.lanes.running()))

    # -- for programs that embed it

    def ask(self, text: str, peer: str = PEER, *, agent: str = "", timeout: float | None = None) -> str:
        """Say something, and have the whole answer.

        peer: who speaks: each has a conversation of their own, which goes on where it ended; agent: the id of who is
        to answer, empty: whom routes say; timeout: seconds, then the turn is stopped. Where a tool wants to be allowed
        it is refused, as nobody is there (TOOL_APPROVAL=trust allows all). Raises LLMError where there is no answer.
        """
        for event in self.stream(text, peer, agent=agent, timeout=timeout):
            if isinstance(event, Stopped):
                raise LLMError("unknown", event.text)
            if isinstance(event, Done):
                return event.text
            if isinstance(event, Error):
                raise LLMError(event.category, event.message, retry_after=event.retry_after)
        raise LLMError("unknown", "The answer was interrupted before it was whole.")

    def stream(self, text: str, peer: str = PEER, *, agent: str = "", timeout: float | None = None) -> Iterator[Event]:
        """The same as it happens: the events of the turn, of which the last is Done, Error or Interrupted. Whoever
        stops listening stops the turn. Raises RuntimeError where the App was not started."""
        if not self._runs:
            raise RuntimeError("the App does not run: start() it first, or use it in a `with`")
        with self._making:
            if self._direct is None:
                from .channels.direct import Direct

                self._direct = Direct(self.desk.withdraw)
                self.add(self._direct)
        return self._direct.stream(Inbound(text, self._direct.name, peer, agent=agent), timeout)

    @property
    def settings(self) -> Settings:
        """Those in force."""
        return self._backend.settings

    @property
    def model(self) -> Node:
        """The node that asks the model once, for Nodes and Flows of one's own; one for each piece of work."""
        return self._backend.node()

    def store(self, prompt: str = "") -> Store:
        """A store that belongs to no session, with a system prompt, for Nodes and Flows of one's own."""
        settings = self.settings
        state = State(agent="own", model=settings.llm_model, window=settings.llm_context_window)
        return Store(Context(prompt), state)

    # -- what channels ask for

    def view(self, inbound: Inbound) -> View:
        """How this sender's session stands."""
        return self._session_of(inbound).view

    def surroundings(self, inbound: Inbound) -> Surroundings:
        """What goes on around this sender's session. It loads nothing, and waits for nobody who writes to a disk."""
        try:
            key, agent = self.agents.key(inbound)
        except CommandError:  # the agent is gone
            key = agent = ""
        beside, discord = self._beside, self.channels.get(gates.DISCORD)
        here = beside if beside and beside.background.runs else None
        return Surroundings(
            folder=shown(self._scope.cwd, self._scope.environment.get("HOME", "")),
            approval=self.approvals.mode,
            allowed=tuple(self.approvals.allowed(Asker(key, inbound.source, inbound.peer))),
            next_beat=here.heartbeats.next_of(agent) if here else None,
            jobs=here.cron.active if here else 0,
            # Somebody's own channel of that name need not tell.
            gateway=getattr(self.channels.get(gates.GATEWAY), "clients", None),
            discord=getattr(discord, "standing", "on") if discord else "",
        )

    def session_key(self, inbound: Inbound) -> str:
        """The key of this sender's session; empty: who would answer is gone."""
        try:
            return self.agents.key(inbound)[0]
        except CommandError:
            return ""

    def complete(self, inbound: Inbound, text: str, cursor: int) -> Completion:
        """What the text before the cursor may go on to, for this sender: a file after an @, a command, its argument."""
        from . import paths  # most of what runs completes nothing

        try:
            session = self._session_of(inbound)
            found = paths.begun(text, cursor, self.agents.scope(session))
            return found or self.commands.complete(text, cursor, session)
        except CommandError:  # the agent is gone
            return Completion(cursor, [])

    def past(self, inbound: Inbound) -> list[Message]:
        """All that was said in this sender's conversation; the first time, in the one that was opened at the start,
        until then: what came since is shown as it comes."""
        session = self._session_of(inbound)
        (loaded, size), self._replayed = self._replayed, (None, None)
        return session.said(size if loaded == session.view.loaded else None).whole

    def _session_of(self, inbound: Inbound) -> Session:
        """The sender's session, made on first use, which opens nothing yet. Raises CommandError."""
        key, agent = self.agents.key(inbound)
        is_shown = inbound.source == TERMINAL
        # Only the terminal begins anew; an agent that was switched to goes on with its own conversation there.
        begins = is_shown and not self.agents.has_switched(inbound)
        return self._session(key, agent, self._opening if begins else Opening(resume=True), stays=is_shown)

    def contacted(self, contact: Contact) -> Session:
        """The session of somebody who has spoken. Raises CommandError where its agent is gone."""
        self.agents.agent(contact.agent)
        mine = Inbound("", contact.channel, contact.peer)
        # Where the terminal is to show this session, it begins as it was started; no other one does.
        begins = contact.channel == TERMINAL and not self.agents.has_switched(mine)
        begins = begins and self.session_key(mine) == contact.session
        return self._session(
            contact.session, contact.agent, self._opening if begins else Opening(resume=True), stays=False
        )

    def leave(self, session: Session) -> None:
        """A session that nobody has asked for was used, in its lane."""
        self._sessions.leave(session.key)

    def _session(self, key: str, agent: str, opening: Opening, stays: bool) -> Session:
        """The one of that key, made on first use."""

        def make() -> Session:
            store = Store(state=State(key, agent, window=self.settings.llm_context_window))
            archive = Archive(
                self.workspace / "sessions" / encoded(key),
                begin=lambda: self._made(store),
                tell=lambda text: store.run.publish(Notice(text, "warn")),
            )
            return Session(store, archive, self.agents.model, self._prepare, self.commands, opening, self.agents.scope)

        return self._sessions.get(key, make, stays)

    def _prepare(self, session: Session) -> Turn:
        return self.agents.turn(session, self._backend.node())

    def _made(self, store: Store) -> None:
        """Something is about to be written: have a workspace."""
        if told := self._files.make():
            store.run.publish(Notice(told))
            if self._opening.follow:
                self.beside.begin()

    def _remember(self, order: Order, name: str, text: str) -> Path:
        store: Store = order.session.store
        self._made(store)
        folder = self._files.memory(self.agents.agent(store.state.agent))
        kept: Path = memory.Remember(self._backend.node(), folder, name, text).run(store)
        return kept

    def _stop(self, order: Order) -> str:
        if not self.interrupt(order.inbound):
            raise CommandError("Nothing is running.")
        return "Interrupted."


def _not_here(order: Order) -> str:
    raise CommandError("Only a chat in a terminal is left with /exit.")
