"""Turns that clients wait for: who hears of them, who is asked, and what a repeated request gets."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple, Protocol

from .channel import AnswerAsk, Dispatch
from .events import ENDINGS, Answer, Ask, Done, Error, Event, Inbound, Stopped
from .repeats import Key, Outcome, Repeats, compare, mark
from .rpc import NOT_AUTHORISED, SHUTTING_DOWN, TOO_BUSY, TURN_FAILED, UNKNOWN, RpcError

log = logging.getLogger("agentkit")

MOST = 10_000  # turns that are waited for
MOST_TEXT = 64 << 20  # characters of their messages

GONE = Answer("deny", "the client that could have allowed it has gone")
NO_TOKENS = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


class Client(Protocol):
    """A connection, as methods see it. request: the id, as JSON, of the request that is being begun there."""

    request: str

    def send(self, text: str) -> None:
        """Send a message; never blocks, never fails."""

    def speaks_for(self, peer: str) -> bool:
        """Note that it speaks for this person, whose letters are for it from now on; is that new?"""

    def reserve(self, size: int) -> None:
        """So many bytes more are being made ready for it, or less: it is read from only while that is not too much."""


class Hearer(NamedTuple):
    """Who waits for a turn; streams: and hears of all that happens in it."""

    client: Client
    request: str
    streams: bool


class _Turn:
    """answer: what `send` returns; key: None: it cannot be repeated; thread: the one that dispatched it."""

    def __init__(self, inbound: Inbound, agent: str, key: Key | None, mark: bytes, hearer: Hearer) -> None:
        self.inbound, self.agent, self.key, self.mark = inbound, agent, key, mark
        self.hearers = [hearer]  # the first one is asked
        self.asks: dict[str, Client] = {}  # open questions by id, and who may answer
        self.answer: Future[dict[str, Any]] = Future()
        self.thread = threading.get_ident()


class Awaited:
    """All of them, of one gateway after the other. May be used from any thread.

    stopping: is the program about to end? clock: seconds, monotonic.
    """

    def __init__(self, stopping: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._stopping, self._clock = stopping, clock
        self._lock = threading.Lock()  # serialises all of the following
        self._dispatch: Dispatch | None = None  # None: it is stopped
        self._turns: dict[str, _Turn] = {}  # by the turn's id
        self._text = 0  # characters of their messages
        self._asks: dict[str, _Turn] = {}  # by the question's id
        self._running: dict[Key, _Turn] = {}  # those that may be repeated
        self._repeats = Repeats(clock)

    @property
    def is_over(self) -> bool:
        """Is it stopped, and no turn left of which it is to be kept how it ends?"""
        return self._dispatch is None and not self._turns

    def start(self, dispatch: Dispatch, answer: AnswerAsk) -> None:
        with self._lock:
            self._dispatch, self._answer = dispatch, answer

    def begin(self, inbound: Inbound, agent: str, key: Key | None, hearer: Hearer) -> Future[dict[str, Any]]:
        """Have a message answered. One with the idempotency key of an earlier one gets the answer to that.

        The Future holds what `send` returns, or RpcError. Raises RpcError where nothing is begun.
        """
        marked = mark(inbound) if key else b""
        with self._lock:
            if (dispatch := self._dispatch) is None or self._stopping():
                raise RpcError(SHUTTING_DOWN, "agentkit is about to end: send it again when it is back.")
            if key and (found := self._repeated(key, marked, hearer)):
                return found
            if len(self._turns) >= MOST or self._text + len(inbound.text) > MOST_TEXT:
                raise RpcError(TOO_BUSY, f"{len(self._turns)} messages wait already. Wait for answers, then try again.")
            turn = self._turns[inbound.turn] = _Turn(inbound, agent, key, marked, hearer)
            self._text += len(inbound.text)
            if key:
                self._running[key] = turn
            answer = turn.answer
        try:
            dispatch(inbound)
        except Exception as error:  # whatever it is, others may wait for this turn too
            log.exception("a message could not be dispatched")
            self._end(turn, Error("unknown", f"agentkit itself failed ({type(error).__name__}): the log tells more."))
        return answer

    def show(self, event: Event) -> None:
        """Pass an event on to those who wait for its turn."""
        if event.turn not in self._turns:  # most are of other channels' turns
            return
        asked: Hearer | None = None
        with self._lock:
            turn = self._turns.get(event.turn)
            if turn is None:
                return
            hearers = list(turn.hearers)
            if isinstance(event, Ask) and hearers:
                asked = hearers[0]
                turn.asks[event.id] = asked.client
                self._asks[event.id] = turn
        written = notification(event.record())[:-2]
        for each in hearers:
            if each.streams or each is asked:
                each.client.send(f'{written},"request":{each.request}}}}}')
        if isinstance(event, Ask) and asked is None:
            self._answer(turn.inbound.peer, event.id, GONE)
        if isinstance(event, ENDINGS):
            self._end(turn, event)

    def approve(self, client: Client, id: str, answer: Answer) -> None:
        """Answer a question, which only the connection that was asked can. Raises RpcError."""
        with self._lock:
            turn = self._asks.get(id)
            if turn is not None and turn.asks[id] is not client:
                raise RpcError(NOT_AUTHORISED, "Another connection was asked: only that one can answer.")
            if turn is not None:
                del self._asks[id], turn.asks[id]
        if turn is None or not self._answer(turn.inbound.peer, id, answer):
            raise RpcError(UNKNOWN, "There is no such question, or it is not open any more.")

    def left(self, client: Client) -> None:
        """A connection has ended: what it was asked is denied, its turns go on."""
        with self._lock:
            denied = []
            for turn in self._turns.values():
                turn.hearers = [each for each in turn.hearers if each.client is not client]
                for id in [id for id, asked in turn.asks.items() if asked is client]:
                    del self._asks[id], turn.asks[id]
                    denied.append((turn.inbound.peer, id))
        for peer, id in denied:
            self._answer(peer, id, GONE)

    def stop(self) -> None:
        """Nothing more is begun before the next `start`, and nobody hears of what goes on.

        How the turns end that may be repeated is kept, where their events still come.
        """
        with self._lock:
            self._dispatch = None
            turns = list(self._turns.values())
            told = [turn.answer for turn in turns]
            denied = [(turn.inbound.peer, id) for id, turn in self._asks.items()]
            self._asks.clear()
            for turn in turns:
                turn.hearers, turn.asks, turn.answer = [], {}, Future()
            self._turns = {turn.inbound.turn: turn for turn in turns if turn.key}
            self._text = sum(len(turn.inbound.text) for turn in self._turns.values())
        for answer in told:
            why = "The gateway stops; the turn goes on, and sessions.history will have its answer."
            answer.set_exception(RpcError(SHUTTING_DOWN, why))
        for peer, id in denied:
            self._answer(peer, id, GONE)

    def _repeated(self, key: Key, marked: bytes, hearer: Hearer) -> Future[dict[str, Any]] | None:
        """The answer to an earlier request with that key, if there is one. Called with the lock held."""
        assert self._lock.locked()
        if running := self._running.get(key):
            compare(running.mark, marked)
            running.hearers.append(hearer)
            return running.answer
        if (outcome := self._repeats.find(key, marked)) is None:
            return None
        answer: Future[dict[str, Any]] = Future()
        _settle(answer, outcome)
        return answer

    def _end(self, turn: _Turn, event: Event) -> None:
        outcome = _outcome(turn, event, self._stopping())
        was_begun = not isinstance(outcome, RpcError) or outcome.code == TURN_FAILED
        with self._lock:
            if self._turns.pop(turn.inbound.turn, None) is None:
                return  # `stop` has answered
            self._text -= len(turn.inbound.text)
            for id in turn.asks:
                del self._asks[id]
            if turn.key:
                del self._running[turn.key]
                if was_begun:  # else it was refused, and is to be tried again
                    self._repeats.keep(turn.key, turn.mark, outcome)
            answer = turn.answer
        _settle(answer, outcome)


def _settle(answer: Future[dict[str, Any]], outcome: Outcome) -> None:
    if isinstance(outcome, RpcError):  # a new one: whoever raises it leaves traces there, and so all that it knew
        answer.set_exception(RpcError(outcome.code, outcome.message, outcome.data))
    else:
        answer.set_result(outcome)


def _outcome(turn: _Turn, event: Event, stopping: bool) -> Outcome:
    """What `send` returns, or its error."""
    if isinstance(event, Stopped):
        return RpcError(TURN_FAILED, event.text, {"category": "unknown", "session_key": event.session})
    if isinstance(event, Done):
        usage = {**NO_TOKENS, **event.usage}
        return {"agent_id": turn.agent, "session_key": event.session, "reply": event.text, "usage": usage}
    if isinstance(event, Error):
        told: dict[str, Any] = {"category": event.category, "session_key": event.session}
        if event.retry_after is not None:
            told["retry_after"] = event.retry_after
        # In the thread that dispatched it: it has not come as far as a lane, which was full.
        refused = event.category == "overloaded" and threading.get_ident() == turn.thread
        return RpcError(TOO_BUSY if refused else TURN_FAILED, event.message, told)
    text = getattr(event, "text", "")
    told = {"category": "interrupted", "session_key": event.session, "text": text}
    return RpcError(SHUTTING_DOWN if stopping else TURN_FAILED, "The turn was interrupted.", told)


def notification(record: dict[str, Any]) -> str:
    """What clients are sent of an event."""
    return f'{{"jsonrpc":"2.0","method":"event","params":{_json(record)}}}'


def _json(record: dict[str, Any]) -> str:
    """One line of JSON; half characters are escaped, numbers that JSON has none for are null."""
    try:
        text = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return _json(_finite(record))
    return text if text.isprintable() else json.dumps(record, separators=(",", ":"))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and value - value != 0 else value
