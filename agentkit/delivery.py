"""One try to deliver a letter, and what it leads to: it is gone, is tried again later, or is given up."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .destinations import Destination
from .envelope import Damaged, DeliveryError, Envelope, Letter, NobodyThere
from .events import Notice
from .letters import Letters
from .node import Node, Run

log = logging.getLogger("agentkit")

BACKOFF = (5.0, 25.0, 120.0, 600.0)  # seconds between the tries
JITTER = 0.2  # of those, up or down
TRIES = len(BACKOFF) + 1
LONGEST_WAIT = 86_400.0  # seconds that a server may ask for
REASON = 300  # characters of a reason that are kept

Send = Callable[[Letter], "bool | None"]  # True: who has it sees to its file


def backoff(attempts: int, retry_after: float | None = None) -> float:
    """Seconds until the next try, after so many; retry_after: what the server asked for, at most a day of it."""
    if retry_after is not None and retry_after > 0:
        return min(retry_after, LONGEST_WAIT)
    return BACKOFF[attempts - 1] * (1 + JITTER * (os.urandom(1)[0] / 127.5 - 1))


class Office(NamedTuple):
    """What the outbox lets its workers use: the store of Deliver."""

    run: Run
    letters: Letters
    clock: Callable[[], float]

    def say(self, said: Sequence[str]) -> None:
        """Tell a person, and the log."""
        for text in said:
            log.warning("%s", text)
            self.run.publish(Notice(text, "warn"))


class Deliver(Node):
    """Tries the first letter of a destination; returns whether that was the last of its text, and is delivered.

    What becomes of it is written down. Where that cannot be, such as on a full disk, it is still known here.
    """

    def __init__(self, send: Send, destination: Destination) -> None:
        self.send, self.destination = send, destination

    def prep(self, store: Office) -> Letter | None:
        envelope = self.destination.trying
        assert envelope is not None
        try:
            return store.letters.open(envelope)
        except FileNotFoundError:
            log.info("letter %s was withdrawn: its file is gone", envelope.id)
            self.destination.done = True
        except Damaged as error:
            self._put_aside(store, envelope, error)
        except OSError as error:
            postpone(self.destination, f"its file cannot be read ({error.strerror})", store.clock())
        return None

    def exec(self, inputs: Letter | None) -> bool | None:
        return self.send(inputs) if inputs is not None else None

    def rescue(self, inputs: Letter | None, error: Exception) -> DeliveryError:
        if isinstance(error, DeliveryError):
            return error
        log.warning("a channel failed to send a letter", exc_info=error)
        return DeliveryError(f"{type(error).__name__}: {error}")

    def post(self, store: Office, inputs: Letter | None, result: DeliveryError | bool | None) -> bool:
        envelope = self.destination.trying
        if inputs is None or envelope is None:
            return False
        try:
            if not isinstance(result, DeliveryError):
                self._delivered(store, envelope, bool(result))
            elif isinstance(result, NobodyThere):
                self.destination.held, envelope.error = True, str(result)[:REASON]
            else:
                self._refused(store, envelope, result)
        except FileNotFoundError:
            self.destination.done = True
        except Damaged as error:
            self._put_aside(store, envelope, error)
        except OSError as error:
            log.warning("how far letter %s has come is not written down: %s", envelope.id, error.strerror)
        return not isinstance(result, DeliveryError) and self.destination.done

    def _delivered(self, store: Office, envelope: Envelope, is_kept: bool) -> None:
        if envelope.part >= envelope.parts:
            log.info("letter %s was delivered to %s (%s)", envelope.id, envelope.to, envelope.channel)
            self.destination.done = True
            if not is_kept:
                store.letters.remove(envelope)
            return
        envelope.part, envelope.attempts, envelope.error = envelope.part + 1, 0, ""
        envelope.next, envelope.tried = 0.0, store.clock()
        store.letters.note(envelope)

    def _refused(self, store: Office, envelope: Envelope, error: DeliveryError) -> None:
        now = store.clock()
        envelope.attempts, envelope.tried, envelope.error = envelope.attempts + 1, now, str(error)[:REASON]
        if not error.permanent and envelope.attempts < TRIES:
            envelope.next = now + backoff(envelope.attempts, error.retry_after)
            store.letters.note(envelope)
            return
        envelope.next = now + BACKOFF[-1]  # should it not be possible to give it up
        store.letters.give_up(envelope)
        self.destination.done = True
        cure = f"/delivery failed lists it, /delivery retry {envelope.id} tries again."
        store.say([f"A message to {envelope.to} ({envelope.channel}) was not delivered: {envelope.error}. {cure}"])

    def _put_aside(self, store: Office, envelope: Envelope, error: Damaged) -> None:
        self.destination.done = True
        store.say([store.letters.put_aside(store.letters.path(envelope), error)])


def postpone(destination: Destination, reason: str, now: float) -> None:
    """Something is wrong here, not with whom it is for: that is no try, but no reason for haste either."""
    if (envelope := destination.trying) is not None:
        envelope.next, envelope.tried, envelope.error = now + BACKOFF[1], now, reason[:REASON]
        log.warning("letter %s waits: %s", envelope.id, reason)
