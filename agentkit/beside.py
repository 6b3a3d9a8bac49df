"""What goes on beside the chats, put together: the outbox, the clock, heartbeats and cron jobs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from .agents import Agents
from .background import HEADLESS, Background
from .beats import Beats
from .channel import TERMINAL, Channel
from .clock import Clock
from .command import PUBLIC
from .contacts import Contact, Contacts
from .cron import Cron
from .envelope import DeliveryError, Letter, NobodyThere
from .errand import OWNER, Errands
from .errors import CommandError
from .events import Event, Inbound, Notice
from .heartbeat import Heartbeats
from .job import called
from .jobs import Jobs
from .lanes import Lanes
from .ledger import Ledger
from .names import agent_id
from .node import Node
from .outbox import Outbox
from .pigeonhole import Pigeonhole
from .remarks import Remarks
from .runs import Runs
from .session import Session
from .settings import Settings
from .unattended import Unattended

log = logging.getLogger("agentkit")

OVERDUE = 90.0  # seconds, of which the clock may have slept for 60
SHOWN = 50  # of what is overdue

LIMITS = {"cli": None, "websocket": None, "discord": 2000}  # characters of a letter, by channel, also of those to be


class Running(Protocol):
    """The App, as far as this needs it."""

    @property
    def workspace(self) -> Path: ...

    @property
    def settings(self) -> Settings: ...

    @property
    def agents(self) -> Agents: ...

    @property
    def lanes(self) -> Lanes: ...

    @property
    def channels(self) -> Mapping[str, Channel]: ...

    def session_key(self, inbound: Inbound) -> str:
        """The key of a sender's session; empty: who would answer is gone."""

    def contacted(self, contact: Contact) -> Session:
        """The session of somebody. Raises CommandError where its agent is gone."""

    def leave(self, session: Session) -> None:
        """A session that nobody has asked for was used, in its lane."""


class Beside:
    """May be used from any thread. ask: makes the node that gets one reply nobody waits for; publish: shows an event
    to everybody."""

    def __init__(self, app: Running, ask: Callable[[], Node], ledger: Ledger, publish: Callable[[Event], None]) -> None:
        def tell(text: str) -> None:
            publish(Notice(text, "warn"))

        def put(channel: str, to: str, text: str, by: str = "", session: str = "") -> None:
            self.outbox.put(channel, to, text, by=by, session=session)

        state, self.contacts = app.workspace / ".state", Contacts(app.workspace / "sessions")
        self._app = app
        self.clock = Clock()
        self.outbox = Outbox(state / "outbox", self._deliver, self._limit, tell=publish)
        self._remarks = Remarks(state / "outbox", app.lanes, app.contacted, app.leave)
        self.unattended = Unattended(app.agents, ask, ledger, lambda: app.settings)
        self.heartbeats = Heartbeats(
            app.workspace / ".agents",
            Beats(state / "heartbeat.json", self.clock.now),
            self.contacts,
            self.clock,
            app.lanes,
            app.contacted,
            app.leave,
            self.unattended,
            put,
            tell,
        )
        self.errands = Errands(
            self.unattended,
            self.contacts,
            app.lanes,
            app.contacted,
            app.leave,
            put,
            app.agents.usual,
            lambda: app.settings.llm_context_window,
            self._is_known,
            lambda agent: app.session_key(Inbound("", TERMINAL, OWNER, agent=agent)),
            TERMINAL in app.channels,
        )
        jobs = Jobs(app.workspace / "CRON.json", lambda: {*LIMITS, *app.channels})
        self.cron = Cron(jobs, Runs(state), self.clock, app.lanes, self.errands, tell)
        kind = TERMINAL if TERMINAL in app.channels else HEADLESS
        self.background = Background(state, kind, self._start, self._stop, lambda text: publish(Notice(text)))
        self._pigeonhole: Pigeonhole | None = None
        if kind == TERMINAL:
            self._pigeonhole = Pigeonhole(state, self._deliver, lambda: self.background.elsewhere_as(HEADLESS))

    def begin(self) -> None:
        """Do what there is to do in this process."""
        self.background.begin()
        if self._pigeonhole is not None and not self.background.runs:
            self._pigeonhole.begin()

    def end(self, timeout: float) -> None:
        """Stop it, in so many seconds."""
        if self._pigeonhole is not None:
            self._pigeonhole.end()
        self.background.end(timeout)

    def contact(self, inbound: Inbound, session: Session) -> Contact:
        """Who has said something, as one who is to be reached."""
        agent = session.store.state.agent
        return Contact(session.key, agent, inbound.source, inbound.peer, inbound.to, self.clock.now())

    def overdue(self) -> list[str]:
        """What should have begun a while ago, by name."""
        late = self.clock.now() - OVERDUE
        names = dict.fromkeys(name for name, due in self.clock.due() if due < late)
        if self.background.runs and not self.cron.stopped:
            # What cannot begin is called again each minute: the clock does not know how late it is.
            rows = [row for row in self.cron.rows() if row.due is not None and row.due < late]
            names |= dict.fromkeys(f"cron {row.job.id}" for row in rows if row.standing.started is None)
        return [*names][:SHOWN]

    def problems(self) -> list[str]:
        """What is wrong with the jobs, in lines."""
        table, lines = self.cron.jobs.look(), []
        for job in table.jobs:
            try:
                if job.agent_id and job.kind == "agent_turn":
                    self._app.agents.agent(agent_id(job.agent_id))
            except CommandError:
                cure = f"make .agents/{agent_id(job.agent_id)}/AGENT.md, or name another one"
                why = f"there is no agent {job.agent_id}: {cure}"
                lines.append(f"CRON.json, job {called(job.id, job.name)}: agent_id: {why}.")
        return [*table.problems, *lines[:SHOWN]]

    def _is_known(self, contact: Contact) -> bool:
        """Is it nobody but the owner, or a person whom the owner has named? Where anybody may talk, and in a group, it
        may be a stranger."""
        return contact.channel not in PUBLIC or (
            contact.peer in self._app.settings.discord_allowed_users and contact.to == contact.peer
        )

    def _start(self) -> None:
        for each in (self.outbox, self.heartbeats, self.cron, self.clock):
            try:
                each.start()
            except Exception:  # what can go on without it goes on
                log.exception("%s does not run", type(each).__name__)

    def _stop(self, timeout: float) -> None:
        self.clock.stop(timeout)
        self.outbox.stop(timeout)

    def _deliver(self, letter: Letter) -> bool:
        """True: who has it removes its file."""
        if (channel := self._app.channels.get(letter.channel)) is not None:
            if letter.session:
                return self._remarks.deliver(letter, channel.send)
            channel.send(letter)
            return False
        elif letter.channel in LIMITS:
            raise NobodyThere(f"{letter.channel} is not running here")
        else:
            raise DeliveryError(f"there is no channel {letter.channel}", permanent=True)

    def _limit(self, name: str) -> int | None:
        channel = self._app.channels.get(name)
        return channel.limit if channel else LIMITS.get(name)
