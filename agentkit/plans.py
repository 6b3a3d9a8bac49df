"""Which sessions have a heartbeat, and when: what each HEARTBEAT.md says, and where somebody spoke lately."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from . import pulse
from .beats import Beats
from .contacts import Contact, Contacts
from .errors import CommandError
from .names import agent_id
from .pulse import Pulse
from .watch import Watch, below

ACTIVE = 3 * 86_400.0  # seconds since somebody spoke, after which a session has no heartbeat

EMPTY = "its HEARTBEAT.md says nothing to do"
ALONE = "nobody has spoken to it within 3 days"


class Plan(NamedTuple):
    """A session that has a heartbeat. due: when the next one is, in seconds since 1970, None: never; why: why not
    now."""

    contact: Contact
    pulse: Pulse
    due: float | None = None
    why: str = ""


class Plans:
    """May be used from any thread. agents: the folder of all; tell: has the owner know what is wrong with a file."""

    def __init__(self, agents: Path, beats: Beats, contacts: Contacts, tell: Callable[[str], None]) -> None:
        self._watch = Watch(partial(below, str(agents), "HEARTBEAT.md"), pulse.pulse)
        self._beats, self._contacts, self._tell = beats, contacts, tell
        self._lock = threading.Lock()  # serialises the watch, and the one below; nobody is told anything with it held
        self._told: set[str] = set()  # what is wrong now

    def read(self) -> tuple[dict[str, Pulse], dict[str, str]]:
        """By agent: what the files say, and why one is skipped, of which the owner hears once."""
        with self._lock:
            found = self._watch.look()
            wrong = {f"{each.path} is skipped: {each.why}." for each in found.problems}
            new, self._told = wrong - self._told, wrong
        for text in sorted(new):
            self._tell(text)
        broken = {_agent(each.path): each.why for each in found.problems}
        return {_agent(path): each for path, each in found.values.items()}, broken

    def of(self, pulses: Mapping[str, Pulse], now: float, begin: bool) -> dict[str, Plan]:
        """Those of all sessions, by key, the one last spoken in first. begin: for those that are new it begins now."""
        busy = {agent: each for agent, each in pulses.items() if not pulse.is_empty(each.instructions)}
        plans: dict[str, Plan] = {}
        new: list[str] = []
        for contact in self._contacts.since(now - ACTIVE) if busy else ():
            found = busy.get(contact.agent)
            if found is None or contact.at > now + ACTIVE:  # somebody's clock was wrong then
                continue
            if (beat := self._beats.get(contact.session)) is None:
                new.append(contact.session)
            try:
                # The first one comes an interval from now.
                due, why = pulse.next_beat(found, beat.at if beat else now, now), pulse.why_not(found, now)
                plans[contact.session] = Plan(contact, found, due, why)
            except ValueError as error:  # its zone was known when the file was read
                plans[contact.session] = Plan(contact, found, None, str(error))
        if begin and new:
            self._beats.begin(new, now)
        return plans

    def of_one(self, contact: Contact) -> Plan:
        """What a heartbeat would be there, whatever the hour. Raises CommandError where the agent has none."""
        pulses, broken = self.read()
        if why := broken.get(contact.agent):
            raise CommandError(f"The HEARTBEAT.md of {contact.agent} is skipped: {why}.")
        if (found := pulses.get(contact.agent)) is None:
            raise CommandError(f"{contact.agent} has no HEARTBEAT.md: write there what it is to look after.")
        if pulse.is_empty(found.instructions):
            raise CommandError(f"The HEARTBEAT.md of {contact.agent} says nothing to do.")
        return Plan(contact, found)

    def idle(self, now: float) -> list[tuple[str, str]]:
        """The agents with a HEARTBEAT.md that have none, and why."""
        pulses, broken = self.read()
        active = {plan.contact.agent for plan in self.of(pulses, now, False).values()}
        why = {agent: EMPTY if pulse.is_empty(each.instructions) else ALONE for agent, each in pulses.items()}
        why |= {agent: f"its HEARTBEAT.md is skipped: {each}" for agent, each in broken.items()}
        return sorted((agent, each) for agent, each in why.items() if agent not in active)


def _agent(path: str) -> str:
    """Whose file it is."""
    return agent_id(Path(path).parent.name)
