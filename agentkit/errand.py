"""What a cron job does when it is due: an agent's turn, or just words; and where what is said goes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

from .cancel import Cancel
from .channel import TERMINAL
from .contacts import Contact, Contacts
from .errors import Cancelled, CommandError
from .events import Answer, Ask, Event, Inbound, Notice
from .job import Job, called
from .lanes import Lanes
from .leftovers import News
from .names import agent_id
from .node import Flow, Run
from .runs import Status
from .schedule import At
from .session import Session
from .silence import silence
from .store import State, Store
from .unattended import Ended, Unattended

log = logging.getLogger("agentkit")

OWNER = "cli-user"  # who is in the terminal

REASON = 300  # characters of why it has failed

OPENING = """This is the job {name}, which runs on a schedule: nobody has said anything, and nobody is there to ask.
Do what is written below. What you answer is sent to the user."""


class Done(NamedTuple):
    """What became of a run. status: as in runs.Status; text: what was said, or what is wrong."""

    status: Status
    text: str
    tokens: int = 0


class CronTurn(Flow):
    """On a store of its own: asks the agent to do a job; returns how that ended."""

    def __init__(self, unattended: Unattended, job: Job) -> None:
        self.unattended, self.job = unattended, job

    def walk(self, store: Store, inputs: None) -> Ended:
        return self.unattended.run(store, f"{OPENING.format(name=self.job.name)}\n\n{self.job.text}", light=False)


class Errands:
    """May be used from any thread.

    usual: the id of the agent that does what names none; window: the model's context in tokens; session_of: raises
    CommandError where its agent is gone; leave: hears that a session is used no more; put: gives the outbox a text
    (channel, to, text, and by keyword `by` and `session`, as a letter has them), raises OSError; may_have: may somebody
    have the words of a job that names nobody? home: the key of the session that an agent has with the owner; is_seen:
    does the owner see in the terminal what this process tells?
    """

    def __init__(
        self,
        unattended: Unattended,
        contacts: Contacts,
        lanes: Lanes,
        session_of: Callable[[Contact], Session],
        leave: Callable[[Session], None],
        put: Callable[..., object],
        usual: Callable[[], str],
        window: Callable[[], int],
        may_have: Callable[[Contact], bool],
        home: Callable[[str], str] = lambda agent: "",
        is_seen: bool = False,
    ) -> None:
        self._unattended, self._contacts, self._lanes = unattended, contacts, lanes
        self._session_of, self._leave = session_of, leave
        self._put, self._usual, self._window, self._may_have = put, usual, window, may_have
        self._home, self._is_seen = home, is_seen

    def lane(self, job: Job) -> str:
        """The key of the lane that a job runs in: one for each, so that it never overlaps itself."""
        return f"agent:{self._agent(job)}:cron:{job.id}"

    def why_not(self, job: Job) -> str:
        """Why it cannot be done today, in words; empty: it can."""
        return self._unattended.used_up() if job.kind == "agent_turn" else ""

    def run(self, job: Job, cancel: Cancel) -> Done:
        """Do it, in its lane, and have what is said sent."""
        ended = Ended(job.text, "", "", 0, 0.0)
        if job.kind == "agent_turn":
            channel = self.address(job)[0]
            state = State(self.lane(job), self._agent(job), channel=channel, window=self._window())
            try:
                ended = CronTurn(self._unattended, job).run(Store(state=state, run=Run(_log, _nobody, cancel)))
            except Cancelled:
                ended = Ended("", "interrupted", "it was interrupted", state.usage.get("total_tokens", 0), 0.0)
        if ended.category:
            return Done("interrupted" if ended.category == "interrupted" else "failed", ended.why, ended.tokens)
        if not (text := silence(ended.text)):
            return Done("silent", "", ended.tokens)
        channel, to = self.address(job)
        by, contact = _occasion(job), self._contact(job, channel, to)
        # In the terminal it is written down by who shows it, which need not be this process.
        session = (contact.session if contact else self._home(self._agent(job))) if channel == TERMINAL else ""
        try:
            self._put(channel, to, text, by=by, session=session)
        except OSError as error:
            return Done("failed", f"it cannot be kept for delivery: {error.strerror}", ended.tokens)
        if contact is not None and not session:
            self._remark(job, contact, by, text)
        return Done("ok", text, ended.tokens)

    def report(self, news: News) -> None:
        """Have whoever gets the words of a job know that there are none, and why. That this cannot be delivered is told
        as with all letters, and is nothing that the job has done."""
        channel, to = self.address(news.job)
        if news.off and channel == TERMINAL and self._is_seen:
            return  # it is told there as it is
        try:
            self._put(channel, to, _bulletin(news))
        except OSError as error:
            log.warning("job %s: that it has failed cannot be kept for delivery: %s", news.job.id, error.strerror)

    def address(self, job: Job) -> tuple[str, str]:
        """Channel and person that what is said goes to: those of the job, or who spoke last with its agent, but for
        strangers."""
        if job.channel and job.to:
            return job.channel, job.to
        for contact in self._contacts.since(0.0):
            is_theirs = contact.agent == self._agent(job) and job.channel in ("", contact.channel)
            if is_theirs and self._may_have(contact):
                return contact.channel, contact.to
        return job.channel or TERMINAL, OWNER

    def _agent(self, job: Job) -> str:
        return agent_id(job.agent_id) or self._usual()

    def _contact(self, job: Job, channel: str, to: str) -> Contact | None:
        """Whom it is for, where they have spoken with its agent."""
        found = (each for each in self._contacts.since(0.0) if (each.channel, each.to) == (channel, to))
        return next((each for each in found if each.agent == self._agent(job)), None)

    def _remark(self, job: Job, contact: Contact, by: str, text: str) -> None:
        """Have it in the conversation with whom it is for, so that it can be answered."""

        def work(cancel: Cancel) -> None:
            try:
                session = self._session_of(contact)
                session.begin(Inbound("", contact.channel, contact.peer), _log)
                session.remark(by, text)
                self._leave(session)
            except CommandError as error:
                log.info("job %s: what it said is not in the conversation: %s", job.id, error)

        try:
            self._lanes.get(contact.session).put(work)
        except Exception as error:  # the lane is full: what matters is in the outbox
            log.info("job %s: what it said is not in the conversation: %s", job.id, error)


def _bulletin(news: News) -> str:
    job = news.job
    name, why = called(job.id, job.name), " ".join(news.why.split())[:REASON].rstrip(" .")
    if news.off:
        return f"The job {name} is off after {news.off}. /cron on {job.id} has it run again."
    how = {"failed": "has failed", "interrupted": "was interrupted"}.get(news.status, "was not done")
    again = f"/cron run {job.id} tries again"
    if isinstance(job.schedule, At):
        return f"The job {name} {how}: {why}. {again}."
    return f"The job {name} {how}: {why}. It runs again at its next time; {again} at once."


def _occasion(job: Job) -> str:
    return f"cron {' '.join(job.name.split())[:80]}"


def _log(event: Event) -> None:
    """Nobody watches: what would be told is in the log."""
    if isinstance(event, Notice):
        log.info("cron: %s", event.text)


def _nobody(ask: Ask) -> Answer:
    return Answer("deny", "nobody is there to be asked")
