"""What may run unasked, what was allowed, and by whom.

Only the channel and person a message came from is asked, and only they can answer. `always` holds for this session,
channel, person and tool, and ends with the process.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from pathlib import PurePath
from queue import Empty, SimpleQueue
from typing import NamedTuple

from .cancel import Cancel
from .command import Command, Order
from .errors import CommandError
from .events import Answer, Ask

log = logging.getLogger("agentkit")

MODES = ("ask", "auto", "trust")

# In `auto` mode these still ask: what they hold steers the agent itself, later and unattended.
STEERING_FILES = frozenset(
    name.casefold() for name in ("AGENT.md", "TOOLS.md", "HEARTBEAT.md", "SKILL.md", "routes.json", "CRON.json")
)
AUTO_ALLOWS = frozenset(("write_file", "edit_file", "remember"))


class Asker(NamedTuple):
    """Whose message started the turn: the one person who may decide about its calls."""

    session: str
    channel: str
    peer: str


class Approvals:
    """The open questions and the standing permissions of one process. Every method may be called from any thread.

    mode: `ask` (every tool that asks does), `auto` (writing files and memories does not, but for files that steer the
    agent), `trust` (nothing does); strict: channels in which every tool that asks does, whatever the mode.
    """

    def __init__(self, mode: str = "ask", strict: Collection[str] = ()) -> None:
        self.mode, self._strict = mode, strict
        self._lock = threading.Lock()  # serialises the two collections below
        self._allowed: dict[Asker, set[str]] = {}
        self._open: dict[str, tuple[Asker, SimpleQueue[Answer | None]]] = {}

    def due(self, who: Asker, tool: str, target: Callable[[], str | None] = lambda: None, looks: bool = False) -> bool:
        """Must `who` be asked before this tool, one that asks, runs?

        target: finds the real path it would write; called only where that decides; looks: this call changes nothing.
        """
        if who.channel in self._strict:
            return True
        if looks:
            return False
        with self._lock:
            if self.mode == "trust" or tool in self._allowed.get(who, ()):
                return False
        return self.mode == "ask" or tool not in AUTO_ALLOWS or _steers(target())

    def ask(
        self, ask: Ask, who: Asker, show: Callable[[Ask], None], cancel: Cancel, limit: float | None = None
    ) -> Answer:
        """Show the question and wait for the answer; Cancelled ends the wait.

        limit: seconds after which no answer is a refusal; None waits as long as it takes.
        """
        box: SimpleQueue[Answer | None] = SimpleQueue()
        with self._lock:
            self._open[ask.id] = (who, box)
        try:
            show(ask)
            with cancel.on_set(lambda: box.put(None)):
                answer = box.get(timeout=limit)
        except Empty:
            answer = Answer("deny", f"nobody answered within {limit:g} s")
        finally:
            with self._lock:
                self._open.pop(ask.id, None)
        if answer is None:
            cancel.check()
            return Answer("deny", "the question was withdrawn")
        reason = f" ({answer.reason})" if answer.reason else ""
        said = f"{ask.tool}: {answer.decision}{reason}, asked: {who.peer} ({who.channel})"
        log.info("%s", said, extra={"session": who.session})
        if answer.decision == "always" and not ask.tool.startswith("/"):  # a command is asked about each time
            with self._lock:
                self._allowed.setdefault(who, set()).add(ask.tool)
        return answer

    def answer(self, channel: str, peer: str, ask_id: str, answer: Answer) -> bool:
        """Answer an open question; False where there is none, or where this person may not decide it."""
        with self._lock:
            who, box = self._open.get(ask_id, (None, None))
            if who is None or box is None or (who.channel, who.peer) != (channel, peer):
                return False
            del self._open[ask_id]  # the first answer counts
            box.put(answer)
            return True

    def allowed(self, who: Asker) -> list[str]:
        """The tools that this person has always allowed here."""
        with self._lock:
            return sorted(self._allowed.get(who, ()))

    def revoke(self, who: Asker, tool: str) -> bool:
        """Take a standing permission back; False where there was none."""
        with self._lock:
            tools = self._allowed.get(who, set())
            found = tool in tools
            tools.discard(tool)
            return found


class Unasked(Approvals):
    """Where nobody is there to be asked: what is at hand may run, but for writing what steers agents."""

    def due(self, who: Asker, tool: str, target: Callable[[], str | None] = lambda: None, looks: bool = False) -> bool:
        return tool in AUTO_ALLOWS and _steers(target())


def _steers(path: str | None) -> bool:
    """Does a file steer the agent itself?"""
    return path is not None and PurePath(path).name.casefold() in STEERING_FILES


def commands(approvals: Approvals) -> list[Command]:
    """/approvals: what runs unasked here, and taking it back."""

    def show(order: Order) -> str:
        inbound, rest = order.inbound, order.rest
        who = Asker(order.session.key, inbound.source, inbound.peer)
        verb, _, tool = rest.partition(" ")
        if verb == "revoke" and tool:
            if not approvals.revoke(who, tool.strip()):
                raise CommandError(f"{tool.strip()} is not always allowed here: /approvals lists what is.")
            return f"{tool.strip()} asks again."
        if rest:
            raise CommandError("It is /approvals, or /approvals revoke TOOL.")
        allowed = approvals.allowed(who)
        mode = f"TOOL_APPROVAL={approvals.mode}"
        return (
            f"Always allowed here: {', '.join(allowed)} ({mode})."
            if allowed
            else f"Nothing is always allowed ({mode})."
        )

    return [Command("approvals", "[revoke TOOL]", "what runs unasked here; revoke asks again", show, now=True)]
