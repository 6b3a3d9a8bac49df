"""Failover: a reply from whichever key and model can give one. Plain while and if around LLMCall; what outlasts a
model call is in Profiles."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from . import events
from .client import Client
from .errors import LLMError
from .ledger import Ledger
from .llm import LLMCall
from .node import Flow
from .profiles import Profiles
from .store import Store
from .tries import BACKOFF, FINAL, Pair, Tries, spoken
from .wire import Reply

log = logging.getLogger("agentkit")


class Failover(Flow):
    """Gets one reply, as LLMCall does; one instance serves one turn, in which the model that has answered stays.

    clients: by number of the profile; models: those to fall back to, in their order; ledger: gets the tokens of each
    request; extra: see LLMCall; background: nobody waits for the reply, so that a timeout says little of a profile;
    backoff: see BACKOFF. Raises LLMError.
    """

    def __init__(
        self,
        profiles: Profiles,
        clients: Mapping[int, Client],
        models: Sequence[str],
        ledger: Ledger,
        extra: Mapping[str, Any] | None = None,
        *,
        background: bool = False,
        backoff: Sequence[tuple[float, float]] = BACKOFF,
    ) -> None:
        self.profiles, self.clients, self.models, self.ledger = profiles, clients, models, ledger
        self.extra, self.background, self.backoff = extra, background, backoff
        self._used = ""  # the model that has answered in this turn
        self._told: list[tuple[Store, str]] = []  # who heard which model is asked in place of another

    def walk(self, store: Store, inputs: None) -> Reply:
        tries = Tries(self.profiles, self._models(store.state.model), self.background, self.backoff)
        while True:
            pair = tries.next()
            if pair is None:
                if (wait := tries.short_wait()) is None:
                    raise tries.failure()
                if not tries.has_failed:
                    log.info("failover: every key is cooling down, for %.1f s more", wait)
                    told = f"Every key is cooling down for a moment: asking again in {wait:.1f} s."
                    store.run.publish(events.Notice(told))
                store.run.cancel.wait(wait)
                continue
            began, wait = self.profiles.now(), None
            call = LLMCall(self.clients[pair.profile], self.extra, pair.model, tries.allowance)
            try:
                self._say_who(store, pair, tries)
                reply: Reply = call.run(store)
            except LLMError as error:
                error.model = pair.model
                cooldown, wait = tries.failed(pair, error, began)
                if error.begun or error.category not in FINAL:
                    _tell(store, pair, error, cooldown, tries.what_next(pair, wait))
                if error.category in FINAL:
                    raise
            else:
                self._used = pair.model
                self.profiles.answered(*pair, began)
                self.ledger.add(pair.model, self._counted(store, reply), self.background)
                return reply
            finally:
                self.profiles.release(*pair)
            if wait is not None:
                store.run.cancel.wait(wait)

    def _counted(self, store: Store, reply: Reply) -> Mapping[str, int] | None:
        """The tokens of a request; where the server does not tell them, what nobody has asked for is estimated: it has
        to be limited all the same."""
        if self.background and not (reply.usage or {}).get("total_tokens"):
            return {**(reply.usage or {}), "total_tokens": store.tokens}
        return reply.usage

    def _models(self, selected: str) -> list[str]:
        """The models in the order they are asked: the one selected first, or what it had to give way to."""
        return list(dict.fromkeys((self._used or selected, selected, *self.models)))

    def _say_who(self, store: Store, pair: Pair, tries: Tries) -> None:
        """Another model than the one selected is asked: that is said, once."""
        selected = store.state.model
        if pair.model != selected and (store, pair.model) not in self._told:
            self._told.append((store, pair.model))
            why = f" ({spoken(tries.reason(selected))})" if tries.reason(selected) else ""
            store.run.publish(events.Notice(f"{pair.model} is asked in place of {selected}{why}.", "warn"))


def _tell(store: Store, pair: Pair, error: LLMError, cooldown: float, following: str) -> None:
    log.info(
        "failover: %s, profile %d, model %s, cooldown %.0f s, next: %s", error.category, *pair, cooldown, following
    )
    store.run.publish(events.Failover(error.category, *pair, round(cooldown, 1), following))
