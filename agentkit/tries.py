"""What to try next for one reply, and what became of what was tried: the decisions of failover, without any request."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from .client import Allowance
from .errors import LLMError
from .events import Failover
from .profiles import WHOLE, Profiles

REQUESTS = 12  # for one reply, however the answers fall
FINAL = ("overflow", "bad_request", "content_filter")  # no other key, and no other time, has a better answer
GONE = ("network", "timeout")  # what is likely to happen with every model of that server
RETRIES = 2  # on the same profile
BACKOFF = ((0.5, 2.0), (2.0, 8.0))  # seconds between which each retry waits
PERSISTENCE = 60.0  # seconds on one profile, after which it is not tried again
ENOUGH = 900.0  # seconds after which no more requests are made for one reply
SHORT = 5.0  # seconds that are waited where no other profile is free
MESSAGE = 300  # characters of an error's message


class Pair(NamedTuple):
    """A profile, by its number, and the model it is asked for."""

    profile: int
    model: str


class Tries:
    """One reply in the making: what has failed, and what is left to try.

    models: in the order they are asked; background, backoff: see Failover.
    """

    def __init__(
        self, profiles: Profiles, models: Sequence[str], background: bool, backoff: Sequence[tuple[float, float]]
    ) -> None:
        self.allowance = Allowance(REQUESTS)
        self._profiles, self._urls, self._first = profiles, profiles.urls, models[0]
        self._background, self._backoffs = background, backoff
        self._left = [Pair(number, model) for model in models for number in profiles.numbers]
        self._all = tuple(self._left)
        self._failures: list[tuple[Pair, LLMError]] = []
        self._times: Counter[Pair] = Counter()
        self._since: dict[int, float] = {}  # by profile: when it was asked first, in monotonic seconds
        self._waits = 0
        self._following: Pair | None = None  # what was said to be next
        self._chosen = 0.0  # when it was

    @property
    def has_failed(self) -> bool:
        """Was anything asked, to no avail?"""
        return bool(self._failures)

    def next(self) -> Pair | None:
        """What to ask now; None: nothing is free. What another turn tries out is passed over, if anything else is
        free: nobody waits for the outcome of that, which may take as long as a reply does."""
        pair, self._following = self._following, None
        if pair is not None and (rest := self._profiles.rest(*pair)) and rest.since > self._chosen:
            self._profiles.release(*pair)  # another turn has seen it fail meanwhile
            pair = None
        pair = pair or self._choose()
        if pair is not None:
            self._since.setdefault(pair.profile, time.monotonic())
        return pair

    def failed(self, pair: Pair, error: LLMError, began: float) -> tuple[float, float | None]:
        """Decide what becomes of it: for how many seconds it rests, and how many are waited before it is asked again,
        None: others are first."""
        self._failures.append((pair, error))
        self._times[pair] += 1
        if error.category in FINAL:
            return 0.0, None
        self._profiles.count(pair.profile, error.category)
        if self._profiles.rest(*pair) is None and (wait := self._backoff(pair, error)) is not None:
            return 0.0, wait
        # What was told to wait for a moment may be asked again after it, where nothing else answers.
        momentary = error.category == "rate_limit" and error.retry_after and error.retry_after <= SHORT
        if not momentary or self._times[pair] > RETRIES:
            self._drop(pair, error)
        if error.category == "model_not_found" or (self._background and error.category == "timeout"):
            return 0.0, None
        return self._profiles.park(*pair, error.category, error.retry_after, began), None

    def short_wait(self) -> float | None:
        """Seconds until something is free that was told to wait for a moment only; None: there is no such thing."""
        if (soonest := self._soonest()) is None:
            return None
        self._waits += 1
        self._chosen = self._profiles.now()
        seconds, self._following = soonest
        return _late(seconds)

    def what_next(self, pair: Pair, wait: float | None) -> str:
        """Choose what is tried now; returns it in words."""
        self._chosen = self._profiles.now()
        if wait is not None:
            self._following = pair
            return f"profile {pair.profile} again in {wait:.1f} s"
        if (category := self._failures[-1][1].category) in FINAL:
            return "a shorter conversation" if category == "overflow" else Failover.NOTHING
        following, when = self._choose(), ""
        self._following = following
        if following is None and (soonest := self._soonest()):
            following, when = soonest[1], f" in {soonest[0]:.1f} s"
        if following is None:
            return Failover.NOTHING
        model = f", {following.model}" if following.model != pair.model else ""
        return f"profile {following.profile}{model}{when}"

    def reason(self, model: str) -> str:
        """The category of what keeps a model from answering."""
        failed = [error.category for each, error in self._failures if each.model == model]
        rests = (rest for each in self._all if each.model == model and (rest := self._profiles.rest(*each)))
        return failed[-1] if failed else next((rest.category for rest in rests), "")

    def failure(self) -> LLMError:
        """Why there is no reply; of several reasons, the last one of the model that was asked first."""
        if not self._failures:
            return self._all_rest()
        ours = [each for each in self._failures if each[0].model == self._first]
        pair, error = (ours or self._failures)[-1]
        told = {each: f"profile {each.profile}, {each.model}: {spoken(one.category)}" for each, one in self._failures}
        message = error.message
        if len(told) > 1:
            begin, cure = f"No key could answer ({_some(list(told.values()))}). ", " /profiles shows the keys."
            room = MESSAGE - len(begin) - len(cure)
            message = begin + (message if len(message) <= room else f"{message[: room - 3]}...") + cure
        elif pair.profile:
            message = f"Profile {pair.profile}: {message}"[:MESSAGE]
        return LLMError(
            error.category, message, status=error.status, retry_after=error.retry_after, detail=error.detail
        )

    # -- what decides

    def _choose(self) -> Pair | None:
        return next((each for each in self._free() if self._profiles.claim(*each)), None) or next(self._free(), None)

    def _free(self) -> Iterator[Pair]:
        return (each for each in self._left if self._may_go_on() and not self._profiles.rest(*each))

    def _may_go_on(self) -> bool:
        began = min(self._since.values(), default=None)
        return self.allowance.left > 0 and (began is None or time.monotonic() - began < ENOUGH)

    def _soonest(self) -> tuple[float, Pair] | None:
        """What was told to wait for a moment only, and for how many seconds more."""
        if self._waits > RETRIES or not self._may_go_on():
            return None
        now = self._profiles.now()
        rests = ((rest, each) for each in self._left if (rest := self._profiles.rest(*each)))
        short = (
            (rest.until - now, each)
            for rest, each in rests
            if rest.category == "rate_limit" and rest.until - rest.since <= SHORT
        )
        return min(short, default=None)

    def _backoff(self, pair: Pair, error: LLMError) -> float | None:
        """Seconds until the same is asked again; None: that would not help, or others are first."""
        times, hint = self._times[pair], error.retry_after or 0.0
        if times > RETRIES or not self._may_go_on() or error.category in (*WHOLE, "model_not_found"):
            return None
        others = [each for each in self._free() if each != pair]
        if error.category == "rate_limit":
            alone = not any(each.model == pair.model for each in others)
            return _late(hint) if alone and error.retry_after is not None and hint <= SHORT else None
        here = self._urls[pair.profile]
        gone = any(
            each != pair and one.category in GONE and self._urls[each.profile] == here for each, one in self._failures
        )
        # Nobody is asked twice at the cost of one that would not be asked at all.
        if gone or self.allowance.left <= len(others) or time.monotonic() - self._since[pair.profile] > PERSISTENCE:
            return None
        low, high = self._backoffs[times - 1]
        return max(hint, _between(low, high)) if hint <= max(SHORT, high) else None

    def _drop(self, pair: Pair, error: LLMError) -> None:
        """Have it, and what fails as surely, not be asked again; what is likely to fail too is asked last."""
        self._left.remove(pair)
        here = self._urls[pair.profile]
        if error.category in WHOLE:
            self._left = [each for each in self._left if each.profile != pair.profile]
        elif error.category in GONE:
            self._left.sort(key=lambda each: self._urls[each.profile] == here)
        elif error.category == "model_not_found":
            # The next model; but where no other answers, another key may be allowed this one.
            self._left.sort(key=lambda each: each.model == pair.model)
            unknown = {each for each, one in self._failures if one.category == error.category}
            if sum(each.model == pair.model and self._urls[each.profile] == here for each in unknown) > 1:
                self._left = [
                    each for each in self._left if each.model != pair.model or self._urls[each.profile] != here
                ]

    def _all_rest(self) -> LLMError:
        rests = [rest for each in self._all if (rest := self._profiles.rest(*each))]
        if not rests:
            return LLMError("rate_limit", "Every key was cooling down until now: say it again.", retry_after=0.0)
        first = min(rests, key=lambda rest: rest.until)
        seconds = max(0.0, first.until - self._profiles.now())
        why = f"the first is back at {_clock(seconds)} ({spoken(first.category)})"
        cure = "/profiles shows them, /profiles reset has them tried at once."
        return LLMError(first.category, f"Every key is cooling down; {why}. {cure}", retry_after=round(seconds, 1))


def spoken(category: str) -> str:
    """A category in words."""
    return category.replace("_", " ")


def _some(reasons: Sequence[str]) -> str:
    """The reasons, as many as half a message has room for."""
    count = len(reasons)
    while count > 1 and len("; ".join(reasons[:count])) > MESSAGE // 2:
        count -= 1
    more = f"; {len(reasons) - count} more" if count < len(reasons) else ""
    return "; ".join(reasons[:count])[: MESSAGE // 2] + more


def _clock(seconds: float) -> str:
    """The local time when so many seconds will have passed, to the minute after."""
    then = datetime.fromtimestamp(time.time() + seconds + 59)
    return f"{then:%H:%M}" if seconds < 20 * 3600 else f"{then:%Y-%m-%d %H:%M}"


def _late(seconds: float) -> float:
    """A little later than that, and not all at once."""
    return _between(seconds + 0.05, 1.1 * seconds + 0.3)


def _between(low: float, high: float) -> float:
    import random  # slow to load, and a failure is rare

    return random.uniform(low, high)
