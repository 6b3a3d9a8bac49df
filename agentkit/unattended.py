"""Turns that nobody watches: with tools that only read, and with no more than the day's tokens."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from .agents import Agents
from .cancel import Cancel
from .errors import CommandError, LLMError
from .events import Done, Error, Interrupted, Stopped
from .ledger import Ledger
from .log import SHORTEST_KEY
from .node import Flow, Node
from .settings import Settings
from .store import Store
from .wire import Reply

LONGEST = 1800.0  # seconds that a turn may take: nobody would see that it does not end


class Ended(NamedTuple):
    """What became of one. text: what the agent has said; category: of the error, `interrupted`, or empty: it is done;
    why: the error in words; tokens: those that were used; seconds: that it took."""

    text: str
    category: str
    why: str
    tokens: int
    seconds: float


class Capped(Flow):
    """Asks the model while there are tokens for it today. used_up: why there are none, empty: there are."""

    def __init__(self, ask: Node, used_up: Callable[[], str]) -> None:
        self.ask, self.used_up = ask, used_up

    def walk(self, store: Store, inputs: None) -> Reply:
        if why := self.used_up():
            raise LLMError("rate_limit", why)
        reply: Reply = self.ask.run(store)
        return reply


class Unattended:
    """May be used from any thread. ask: makes the node that gets one reply; longest: seconds that a turn may take."""

    def __init__(
        self,
        agents: Agents,
        ask: Callable[[], Node],
        ledger: Ledger,
        settings: Callable[[], Settings],
        longest: float = LONGEST,
    ) -> None:
        self._agents, self._ask, self._ledger, self._settings, self._longest = agents, ask, ledger, settings, longest

    def used_up(self) -> str:
        """Why there are no tokens left today, in words; empty: there are."""
        most = self._settings().background_tokens_per_day
        spent = self._ledger.unasked() if most else 0
        if not most or spent < most:
            return ""
        return f"today's {most:,} tokens for heartbeats and cron jobs are used up (BACKGROUND_TOKENS_PER_DAY)"

    @property
    def most(self) -> int:
        """The tokens that a day has for it; 0: no limit."""
        return self._settings().background_tokens_per_day

    @property
    def spent(self) -> int:
        """The tokens of today."""
        return self._ledger.unasked()

    def run(self, store: Store, message: str, *, light: bool, capped: bool = True) -> Ended:
        """Have a message answered in a store that holds nothing yet. light: with as short a prompt as will do; capped:
        within the day's tokens."""
        ask = Capped(self._ask(), self.used_up) if capped else self._ask()
        try:
            turn = self._agents.unattended(store, ask, light)
        except CommandError as error:
            return Ended("", "bad_request", str(error), 0, 0.0)
        store.append({"role": "user", "content": message})
        own, outer = Cancel(), store.run.cancel
        timer = threading.Timer(self._longest, own.set)
        timer.daemon = True
        store.run = store.run._replace(cancel=own)
        try:
            timer.start()
            with outer.on_set(own.set):
                ending = turn.run(store)
        finally:
            timer.cancel()
            store.run = store.run._replace(cancel=outer)
        tokens = store.state.usage.get("total_tokens", 0)
        if isinstance(ending, Stopped):
            return Ended("", "unknown", ending.text, tokens, ending.seconds)
        if isinstance(ending, Done):
            return Ended(self._without_secrets(ending.text), "", "", tokens, ending.seconds)
        if isinstance(ending, Interrupted) and not outer.is_set:
            return Ended("", "timeout", f"it was not done within {self._longest / 60:g} minutes", tokens, self._longest)
        if isinstance(ending, Error):
            return Ended("", ending.category, self._without_secrets(ending.message), tokens, 0.0)
        return Ended("", "interrupted", "it was interrupted", tokens, 0.0)

    def _without_secrets(self, text: str) -> str:
        """What is said goes to files and people, and a command that was run may have read our keys."""
        for secret in self._settings().secrets:
            text = text.replace(secret, "[key]") if len(secret) >= SHORTEST_KEY else text
        return text
