"""What became of messages that may come again: the outcome for each idempotency key of a session, for a while."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

from .events import Inbound
from .rpc import RpcError, wrong_param

KEPT = 3600.0  # seconds that an outcome is kept
MOST_KEPT = 4096  # of them
MOST_TEXT = 64 << 20  # characters of their texts, of more than one

Outcome = dict[str, Any] | RpcError  # what `send` returns, or its error


class Key(NamedTuple):
    """An idempotency key belongs to a session: others may use the same word."""

    session: str
    word: str


class _Kept(NamedTuple):
    """mark: of the message; at: when it was over, by the clock; size: characters."""

    mark: bytes
    outcome: Outcome
    at: float
    size: int


class Repeats:
    """Used by one thread at a time. clock: seconds, monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()  # the oldest one first
        self._size = 0  # characters of all

    def find(self, key: Key, mark: bytes) -> Outcome | None:
        """What became of the message with that key. Raises RpcError where that was another message."""
        self._forget()
        if (found := self._kept.get(key)) is None:
            return None
        compare(found.mark, mark)
        return found.outcome

    def keep(self, key: Key, mark: bytes, outcome: Outcome) -> None:
        told = outcome.data or {} if isinstance(outcome, RpcError) else outcome
        size = sum(len(each) for each in told.values() if isinstance(each, str))
        self._kept[key] = _Kept(mark, outcome, self._clock(), size)
        self._size += size
        self._forget()

    def _forget(self) -> None:
        """Drop what is too old, or too much."""
        while self._kept:
            oldest = next(iter(self._kept))
            is_too_much = len(self._kept) > MOST_KEPT or (self._size > MOST_TEXT and len(self._kept) > 1)
            if not is_too_much and self._kept[oldest].at > self._clock() - KEPT:
                return
            self._size -= self._kept.pop(oldest).size


def mark(inbound: Inbound) -> bytes:
    """A digest of what a message says, and of whom it is from: what a repeat has in common with the first one."""
    said = [inbound.text, inbound.channel, inbound.peer, inbound.account, inbound.guild]
    return hashlib.sha256(json.dumps(said).encode()).digest()


def compare(first: bytes, other: bytes) -> None:
    """Refuse a message whose mark is not that of the first one with its key. Raises RpcError."""
    if first != other:
        problem = "was used in this session for another message"
        raise wrong_param("idempotency_key", problem, "a new key, or the very message that had it first")
