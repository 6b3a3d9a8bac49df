"""No frontend at all: `agentkit serve` tells on stderr what happens, and ends when it is told to."""

from __future__ import annotations

import json
import select
import signal
import sys
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from ..channel import AnswerAsk, Dispatch
from ..events import Compacted, Done, Error, Event, Failover, Heard, Interrupted, Notice, Text, Thinking, TurnStarted
from ..printable import printable
from .mailbox import Mailbox, Signals
from .wording import compacted, failover

if TYPE_CHECKING:
    from ..envelope import Letter


class Headless:
    """log_json: a JSON object a line, of each event but the pieces of answers, instead of words."""

    name = "serve"
    limit: int | None = None
    can_ask = False
    ask_limit: float | None = None

    def __init__(self, log_json: bool = False) -> None:
        self._json = log_json
        self._mail = Mailbox()

    # -- as a Channel

    def start(self, dispatch: Dispatch, answer: AnswerAsk) -> None:
        pass

    def show(self, event: Event) -> None:
        if not isinstance(event, (Text, Thinking, Heard)):  # what is said is nothing for a log
            self._mail.put(event)

    def send(self, letter: Letter) -> None:
        self.show(Notice(letter.text))

    def stop(self) -> None:
        pass

    # -- the main thread

    def loop(self) -> int:
        """Tell what happens until a signal comes: SIGTERM, SIGINT or SIGHUP; returns the exit code."""
        signals = Signals(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        sources: list[Mailbox | Signals] = [self._mail, signals]
        while True:
            select.select(sources, [], [])
            self.tell_all()
            for number in signals.take():
                return 130 if number == signal.SIGINT else 0

    def tell_all(self) -> None:
        """Tell what has come."""
        for event in self._mail.take():
            text = json.dumps(event.record()) if self._json else _words(event)
            if text:
                stamp = "" if self._json else f"{datetime.now():%Y-%m-%d %H:%M:%S} "
                with suppress(OSError, ValueError):  # nobody is left to read it
                    print(f"{stamp}{text}", file=sys.stderr, flush=True)


def _words(event: Event) -> str:
    """An event in a line; empty for those that say nothing to who keeps the server."""
    text = ""
    if isinstance(event, TurnStarted):
        text = f"{event.agent} answers with {event.model}"
    elif isinstance(event, Done) and event.model:
        text = f"answered by {event.model} in {event.seconds:.1f} s, {event.usage.get('total_tokens', 0):,} tokens"
    elif isinstance(event, Failover):
        text = failover(event)
    elif isinstance(event, Compacted):
        text = compacted(event)
    elif isinstance(event, Interrupted):
        text = "interrupted"
    elif isinstance(event, (Notice, Error)):
        said = event.text if isinstance(event, Notice) else event.message
        text = f"{event.level if isinstance(event, Notice) else 'error'}: {said}"
    where = f"{event.session}: " if event.session and text else ""
    return printable(where + text)
