"""Failover: a reply from whichever key and model can give one. Plain while and if around LLMCall; what outlasts a
model call is in Profiles."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from . import events
from .client import Allowance, Client
from .errors import LLMError
from .ledger import Ledger
from .llm import LLMCall
from .node import Flow
from .profiles import WHOLE, Profiles, Rest
from .store import Store
from .wire import Reply

log = logging.getLogger("agentkit")

REQUESTS = 12  # for one reply, however the answers fall
FINAL = ("overflow", "bad_request", "content_filter")  # no other key, and no other time, has a better answer
RETRIES = 2  # on the same profile
BACKOFF = ((0.5, 2.0), (2.0, 8.0))  # seconds between which each retry waits
PERSISTENCE = 60.0  # seconds on one profile, after which it is not tried again
SHORT = 5.0  # seconds that a rate limit is waited out where no other profile is free
MESSAGE = 300  # characters of an error's message


class Pair(NamedTuple):
    """A profile, by its number, and the model it is asked for."""

    profile: int
    model: str


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
        self._told = ""  # the one of which it was said that it is asked in place of another

    def walk(self, store: Store, inputs: None) -> Reply:
        tries = _Tries(self, store.state.model)
        while pair := tries.next():
            began = self.profiles.now()
            call = LLMCall(self.clients[pair.profile], self.extra, pair.model, tries.allowance)
            try:
                self._say_who(store, pair, tries)
                reply: Reply = call.run(store)
            except LLMError as error:
                cooldown, wait = tries.failed(pair, error, began)
                if error.category not in FINAL or (error.begun and error.category == "overflow"):
                    _tell(store, pair, error, cooldown, tries.what_next(pair, wait))
                if error.category in FINAL:
                    store.state.used = pair.model
                    raise
            else:
                self._used = pair.model
                self.profiles.answered(*pair, began)
                self.ledger.add(pair.model, reply.usage)
                return reply
            finally:
                self.profiles.release(*pair)
            if wait is not None:
                store.run.cancel.wait(wait)
        raise tries.failure()

    def _say_who(self, store: Store, pair: Pair, tries: _Tries) -> None:
        """Another model than the one selected is asked: that is said, once."""
        selected = store.state.model
        if pair.model not in (selected, self._told):
            self._told = pair.model
            why = f" ({_words(tries.reason(selected))})" if tries.reason(selected) else ""
            store.run.publish(events.Notice(f"{pair.model} is asked in place of {selected}{why}.", "warn"))


class _Tries:
    """One reply in the making: what has failed, and what is left to try."""

    def __init__(self, flow: Failover, selected: str) -> None:
        self.allowance = Allowance(REQUESTS)
        self._flow, self._profiles = flow, flow.profiles
        numbers = [each.number for each in flow.profiles.profiles]
        models = dict.fromkeys((flow._used or selected, selected, *flow.models))
        self._left = [Pair(number, model) for model in models for number in numbers]
        self._all = tuple(self._left)
        self._failures: list[tuple[Pair, LLMError]] = []
        self._times: Counter[Pair] = Counter()
        self._since: dict[int, float] = {}  # by profile: when it was asked first, in monotonic seconds

    def next(self) -> Pair | None:
        """What to ask now; None: there is nothing left. What another turn is trying out comes last."""
        free = self._free()
        pair = next((each for each in free if self._profiles.claim(*each)), None) or next(iter(free), None)
        if pair is not None:
            self._since.setdefault(pair.profile, time.monotonic())
        return pair

    def failed(self, pair: Pair, error: LLMError, began: float) -> tuple[float, float | None]:
        """Decide what becomes of it: for how many seconds it rests, and how many are waited before it is asked again,
        None: it is not."""
        self._failures.append((pair, error))
        self._times[pair] += 1
        if error.category in FINAL:
            return 0.0, None
        self._profiles.count(pair.profile, error.category)
        rest = self._profiles.rest(*pair)  # another turn may have seen the same
        if rest is None and (wait := self._wait(pair, error)) is not None:
            return 0.0, wait
        self._left.remove(pair)
        if error.category == "model_not_found":
            # The next model; but where no other answers, another key may be allowed this one.
            self._left.sort(key=lambda each: each.model == pair.model)
            return 0.0, None
        if error.category in WHOLE:
            self._left = [each for each in self._left if each.profile != pair.profile]
        if self._flow.background and error.category == "timeout":
            return 0.0, None
        return self._profiles.park(*pair, error.category, error.retry_after, began), None

    def what_next(self, pair: Pair, wait: float | None) -> str:
        """What is tried now, in words."""
        if wait is not None:
            return f"profile {pair.profile} again in {wait:.1f} s"
        if self._failures[-1][1].category == "overflow":
            return "a shorter conversation"
        free = self._free()
        if not free:
            return events.Failover.NOTHING
        return f"profile {free[0].profile}" + (f", {free[0].model}" if free[0].model != pair.model else "")

    def reason(self, model: str) -> str:
        """The category of what keeps a model from answering."""
        failed = [error.category for each, error in self._failures if each.model == model]
        rests = (rest for each in self._all if each.model == model and (rest := self._profiles.rest(*each)))
        return failed[-1] if failed else next((rest.category for rest in rests), "")

    def failure(self) -> LLMError:
        """Why there is no reply."""
        if not self._failures:
            return self._all_rest()
        error = self._failures[-1][1]
        told = {each: f"profile {each.profile}, {each.model}: {_words(one.category)}" for each, one in self._failures}
        if len(told) == 1:
            return error
        message = f"No key could answer ({'; '.join(told.values())}). {error.message}"
        if len(message) > MESSAGE:
            message = f"No key could answer ({len(told)} were tried). {error.message}"[:MESSAGE]
        return LLMError(
            error.category, message, status=error.status, retry_after=error.retry_after, detail=error.detail
        )

    def _free(self) -> list[Pair]:
        return [each for each in self._left if not self._profiles.rest(*each)] if self.allowance.left > 0 else []

    def _wait(self, pair: Pair, error: LLMError) -> float | None:
        """How long to wait before it is asked again; None: that would not help."""
        times, hint = self._times[pair], error.retry_after or 0.0
        if times > RETRIES or error.category in (*WHOLE, "model_not_found"):
            return None
        if error.category == "rate_limit":
            others = any(each.model == pair.model and each != pair for each in self._free())
            if error.retry_after is None or hint > SHORT or others:
                return None
            return _between(hint + 0.1, 1.1 * hint + 0.3)  # a little later, and not all at once
        low, high = self._flow.backoff[times - 1]
        lost = any(
            each.profile == pair.profile and each != pair and one.category == "network" for each, one in self._failures
        )
        if lost or hint > high or time.monotonic() - self._since[pair.profile] > PERSISTENCE:
            return None
        return max(hint, _between(low, high))

    def _all_rest(self) -> LLMError:
        rests = [rest for each in self._all if (rest := self._profiles.rest(*each))]
        first = min(rests, key=lambda rest: rest.until, default=Rest("unknown", 0.0, 0.0))
        seconds = max(0.0, first.until - self._profiles.now())
        why = f"the first is back at {_time(seconds)} ({_words(first.category)})"
        cure = "/profiles shows them, /profiles reset has them tried at once."
        return LLMError(first.category, f"Every key is cooling down; {why}. {cure}", retry_after=round(seconds, 1))


def _tell(store: Store, pair: Pair, error: LLMError, cooldown: float, following: str) -> None:
    log.info(
        "failover: %s, profile %d, model %s, cooldown %.0f s, next: %s", error.category, *pair, cooldown, following
    )
    store.run.publish(events.Failover(error.category, *pair, round(cooldown, 1), following))


def _words(category: str) -> str:
    return category.replace("_", " ")


def _time(seconds: float) -> str:
    """The local time when so many seconds will have passed, to the minute after."""
    now = datetime.now()
    then = now + timedelta(seconds=seconds + 59)
    return f"{then:%H:%M}" if then - now < timedelta(hours=20) else f"{then:%Y-%m-%d %H:%M}"


def _between(low: float, high: float) -> float:
    import random  # slow to load, and a failure is rare

    return random.uniform(low, high)
