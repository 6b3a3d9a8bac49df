"""Heartbeats: an agent with a HEARTBEAT.md looks by itself whether there is something to say, in each session where
somebody spoke lately. The clock decides when, the session's lane does it, and the user always wins."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from .beats import Beat, Beats
from .cancel import Cancel
from .channel import TERMINAL
from .clock import Clock
from .contacts import Contact, Contacts
from .errors import Cancelled, CommandError
from .events import Answer, Ask, Event, Inbound, Notice
from .lanes import Lanes
from .node import Flow, Run
from .plans import Plan, Plans
from .pulse import Pulse
from .session import Session
from .silence import MARKER, silence
from .store import Store
from .unattended import Ended, Unattended

log = logging.getLogger("agentkit")

FAILURES = 3  # in a row, after which there are no more
BY = "heartbeat"  # on what occasion it is said
FINAL = ("auth", "billing")  # what those are that no waiting heals

OPENING = f"""This is a heartbeat: nobody has said anything, and nobody is there to be asked. Do what is written below.
When there is something that the user should know, answer with just that. When not, answer {MARKER} alone."""


class HeartbeatTurn(Flow):
    """On the store of a session: asks its agent, on a fork, whether there is something to say; returns how it ended.
    Nothing of it is left in the session."""

    def __init__(self, unattended: Unattended, pulse: Pulse, model: str, capped: bool) -> None:
        self.unattended, self.pulse, self.model, self.capped = unattended, pulse, model, capped

    def walk(self, store: Store, inputs: None) -> Ended:
        fork = store.fork("")
        fork.state.model = self.pulse.model or self.model
        return self.unattended.run(fork, f"{OPENING}\n\n{self.pulse.instructions}", light=True, capped=self.capped)


class Heartbeats:
    """May be used from any thread.

    agents: the folder of all; session_of: raises CommandError where its agent is gone; leave: hears that a session is
    no longer needed; put: gives the outbox a text (channel, to, text, and by keyword `by` and `session`, as a letter
    has them), raises OSError; tell: has the owner know.
    """

    def __init__(
        self,
        agents: Path,
        beats: Beats,
        contacts: Contacts,
        clock: Clock,
        lanes: Lanes,
        session_of: Callable[[Contact], Session],
        leave: Callable[[Session], None],
        unattended: Unattended,
        put: Callable[..., object],
        tell: Callable[[str], None],
    ) -> None:
        self._plans = Plans(agents, beats, contacts, tell)
        self._beats, self._clock, self._lanes = beats, clock, lanes
        self._session_of, self._leave, self._unattended = session_of, leave, unattended
        self._put, self._tell = put, tell
        self._lock = threading.Lock()  # serialises what follows; nobody is told anything while it is held
        self._known: dict[str, Plan] = {}  # by session, as the clock has them
        self._beating: dict[str, Cancel | None] = {}  # by session; None: it has not begun yet
        self._failures: list[str] = []  # of FINAL, in a row: why
        self._stopped = ""
        self._started = False

    @property
    def stopped(self) -> str:
        """Why there are none at all, in words; empty: there are."""
        return self._stopped

    def start(self) -> None:
        """Begin, and go on by the clock."""
        self._started = True
        self._clock.looks(self._look)

    def pause(self) -> None:
        """Have none until `resume`; one that runs says nothing any more."""
        with self._lock:
            self._stopped = "stopped"
            running = [cancel for cancel in self._beating.values() if cancel]
        for cancel in running:
            cancel.set()
        self._look(self._clock.now())

    def resume(self) -> None:
        with self._lock:
            self._stopped, self._failures = "", []
        self._look(self._clock.now())

    def plans(self) -> list[tuple[Plan, Beat | None]]:
        """The sessions that have one, the one last spoken in first, and what became of the last."""
        plans = list(self._planned(self._clock.now()).values())
        if self._stopped:
            plans = [plan._replace(due=None, why=self._stopped) for plan in plans]
        elif plans and (used_up := self._unattended.used_up()):
            plans = [plan._replace(why=plan.why or used_up) for plan in plans]
        return [(plan, self._beats.get(plan.contact.session)) for plan in plans]

    def next_of(self, agent: str) -> float | None:
        """When the next one of an agent is due here, in whichever session, in seconds since 1970; None: none is
        planned. Waits for nobody: what it looks at is replaced, never changed."""
        known = {} if self._stopped else self._known
        dues = (plan.due for plan in known.values() if plan.contact.agent == agent and plan.due is not None)
        return min(dues, default=None)

    def idle(self) -> list[tuple[str, str]]:
        """The agents with a HEARTBEAT.md that have none, and why."""
        return self._plans.idle(self._clock.now())

    def plan(self, contact: Contact) -> Plan:
        """What a heartbeat would be there, whatever the hour. Raises CommandError where the agent has none."""
        return self._plans.of_one(contact)

    # -- in the clock's thread

    def _look(self, now: float) -> None:
        """What was due may have changed: by a message, a file, or the clock that was set."""
        self._planned(now)

    def _planned(self, now: float) -> dict[str, Plan]:
        """Who has a heartbeat now, by session; where they are done, the clock is told."""
        pulses = self._plans.read()[0]
        with self._lock:
            plans = self._plans.of(pulses, now, self._started)
            if not self._started:
                return plans
            known, self._known = self._known, {} if self._stopped else plans
            for session in known.keys() - self._known.keys():
                self._clock.drop(_name(session))
            for session, plan in self._known.items():
                if session in known and known[session].due == plan.due:
                    continue
                if plan.due is None:
                    self._clock.drop(_name(session))
                else:
                    self._clock.set(_name(session), plan.due, partial(self._due, session))
        return plans

    def _due(self, session: str, now: float) -> None:
        """It is time: have it done, unless somebody is speaking there."""
        with self._lock:
            plan = self._known.get(session)
            if plan is None or self._stopped or self._lanes.stopping:
                return
            # Before it begins: whatever happens to it, the next one comes an interval later.
            self._beats.note(session, "begun", now)
            if why := self._unattended.used_up() or self._offer(session, plan):
                self._beats.note(session, f"skipped: {why}")
        self._look(now)

    def _offer(self, session: str, plan: Plan) -> str:
        """Have its lane do it; returns why not, empty: it does. Called with the lock held."""
        busy = "the session was busy"
        if session in self._beating:
            return busy
        self._beating[session] = None
        try:
            why = "" if self._lanes.get(session).offer(partial(self._work, plan)) else busy
        except RuntimeError as error:
            why = f"the system has no thread for it ({error})"
        if why:
            del self._beating[session]
        return why

    # -- in the session's lane

    def _work(self, plan: Plan, cancel: Cancel) -> None:
        name, status = plan.contact.session, "failed: the log tells why"
        try:
            with self._lock:
                self._beating[name] = cancel
                if self._stopped:
                    cancel.set()
            status = self._beat(plan, Run(_log, _nobody, cancel))
        except Cancelled:
            status = "interrupted"
        except CommandError as error:
            status = f"failed: {error}"
        finally:
            log.info("heartbeat of %s: %s", name, status)
            self._beats.note(name, status)
            with self._lock:
                del self._beating[name]

    def _beat(self, plan: Plan, run: Run) -> str:
        """Returns what became of it. Raises Cancelled and CommandError."""
        contact = plan.contact
        run.cancel.check()
        session = self._session_of(contact)
        try:
            session.begin(Inbound("", contact.channel, contact.peer), _log)
            ended, text = self._asked(session, plan, run, capped=True)
            if not text:
                return _why_silent(ended)
            if self._beats.is_repeated(session.key, text):
                return "silent: it was the same as the last time"
            return self._say(session, plan.pulse.deliver or (contact.channel, contact.to), text)
        finally:
            self._leave(session)

    def trigger(self, session: Session, plan: Plan, run: Run) -> tuple[str, str]:
        """Do it now, in the session's lane, whatever hours and limits say: returns what became of it, and what whoever
        wanted it is to be told. Raises Cancelled."""
        ended, text = self._asked(session, plan, run, capped=False)
        if not text:
            status = _why_silent(ended)
        elif plan.pulse.deliver:
            status = self._say(session, plan.pulse.deliver, text)
        else:
            status = f"said {len(text):,} characters{self._noted(session, text)}"
        self._beats.note(session.key, status, self._clock.now())
        return status, text

    def _asked(self, session: Session, plan: Plan, run: Run, capped: bool) -> tuple[Ended, str]:
        """How it ended, and what there is to say. Raises Cancelled."""
        session.store.run = run
        node = HeartbeatTurn(self._unattended, plan.pulse, session.view.model, capped)
        ended: Ended = node.run(session.store)
        self._count(ended)
        return ended, silence(ended.text)

    def _say(self, session: Session, address: tuple[str, str], text: str) -> str:
        """Have it sent; returns what became of that."""
        channel, to = address
        # In the terminal it is written down by who shows it, which need not be this process.
        is_shown = channel == TERMINAL
        try:
            self._put(channel, to, text, by=BY, session=session.key if is_shown else "")
        except OSError as error:
            return f"failed: it cannot be kept for delivery ({error.strerror})"
        if is_shown:
            self._beats.said(session.key, text)
        return f"said {len(text):,} characters to {channel}:{to}{'' if is_shown else self._noted(session, text)}"

    def _noted(self, session: Session, text: str) -> str:
        """Have it known that this was said; returns what is to be said of that."""
        self._beats.said(session.key, text)
        return "" if session.remark(BY, text) else ", not in the conversation: another process has it"

    def _count(self, ended: Ended) -> None:
        """Too many failures that no waiting heals end all of it."""
        with self._lock:
            self._failures = [*self._failures, ended.why] if ended.category in FINAL else []
            if len(self._failures) < FAILURES or self._stopped:
                return
            # The first says it best: after that the key is only said to rest.
            self._stopped = f"paused after {FAILURES} failures: {self._failures[0]}"
        self._look(self._clock.now())
        self._tell(f"Heartbeats are {self._stopped} (/heartbeat start goes on)")


def _why_silent(ended: Ended) -> str:
    return f"failed: {ended.why}" if ended.category not in ("", "interrupted") else ended.category or "silent"


def _name(session: str) -> str:
    return f"heartbeat {session}"


def _log(event: Event) -> None:
    """Nobody watches: what would be told is in the log."""
    if isinstance(event, Notice):
        log.info("heartbeat: %s", event.text)


def _nobody(ask: Ask) -> Answer:
    return Answer("deny", "nobody is there to be asked")
