"""Turns that nobody watches: with tools that only read, and with no more than the day's tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .agents import Agents
from .errors import CommandError, LLMError
from .events import Done, Error
from .ledger import Ledger
from .node import Flow, Node
from .settings import Settings
from .store import Store
from .wire import Reply


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
    """May be used from any thread. ask: makes the node that gets one reply."""

    def __init__(
        self, agents: Agents, ask: Callable[[], Node], ledger: Ledger, settings: Callable[[], Settings]
    ) -> None:
        self._agents, self._ask, self._ledger, self._settings = agents, ask, ledger, settings

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
        ending = turn.run(store)
        tokens = store.state.usage.get("total_tokens", 0)
        if isinstance(ending, Done):
            return Ended(ending.text, "", "", tokens, ending.seconds)
        if isinstance(ending, Error):
            return Ended("", ending.category, ending.message, tokens, 0.0)
        return Ended("", "interrupted", "it was interrupted", tokens, 0.0)
