"""No frontend at all: `agentkit serve` tells on stderr what happens, and ends when it is told to.

The main thread waits for signals only. Another one writes: whoever does not read holds up nobody but that.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from ..channel import AnswerAsk, Dispatch
from ..events import Compacted, Done, Error, Event, Failover, Heard, Interrupted, Notice, Text, Thinking, TurnStarted
from ..printable import printable
from .mailbox import Signals
from .wording import compacted, failover

if TYPE_CHECKING:
    from ..envelope import Letter

MOST = 1 << 20  # bytes that wait to be told, of more than one event
LAST_WORDS = 1.0  # seconds that they have


class Headless:
    """log_json: a JSON object a line, of each event but the pieces of answers, instead of words."""

    name = "serve"
    limit: int | None = None
    can_ask = False
    ask_limit: float | None = None

    def __init__(self, log_json: bool = False) -> None:
        self._json = log_json
        self._err = sys.stderr.fileno() if sys.stderr else -1  # it may have been closed
        self._changed = threading.Condition()  # serialises the rest, and wakes the thread that writes
        self._lines: deque[bytes] = deque()
        self._size = 0  # bytes of those
        self._untold = 0  # events for which there was no room
        self._ended = False
        self._writer: threading.Thread | None = None

    # -- as a Channel

    def start(self, dispatch: Dispatch, answer: AnswerAsk) -> None:
        self._writer = threading.Thread(target=self._write, name="log", daemon=True)
        self._writer.start()

    def show(self, event: Event) -> None:
        if isinstance(event, (Text, Thinking, Heard)):  # what is said is nothing for a log
            return
        line = self._line(event)
        with self._changed:
            if self._untold or (self._lines and self._size + len(line) > MOST):
                self._untold += bool(line)  # until all is told that waits: what is told is told in order
            else:
                self._put(line)

    def send(self, letter: Letter) -> None:
        self.show(Notice(letter.text))

    def stop(self) -> None:
        pass

    # -- the main thread

    def loop(self) -> int:
        """Wait until a signal comes: SIGTERM, SIGINT or SIGHUP; returns the exit code."""
        signals = Signals(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        while True:
            select.select([signals], [], [])
            for number in signals.take():
                return 130 if number == signal.SIGINT else 0

    def end(self, words: Iterable[str] = ()) -> None:
        """Tell what is still to be told, and these lines, to whoever reads them at once."""
        with self._changed:
            for each in words:
                self._put(f"{printable(each)}\n".encode("utf-8", "backslashreplace"))
            self._ended = True
            self._changed.notify()
        if self._writer:
            self._writer.join(LAST_WORDS)

    # -- lines

    def _line(self, event: Event) -> bytes:
        """An event as it is told; empty: it is not."""
        if self._json:
            return f"{json.dumps(event.record())}\n".encode()
        words = _words(event)
        return f"{datetime.now():%Y-%m-%d %H:%M:%S} {words}\n".encode("utf-8", "backslashreplace") if words else b""

    def _put(self, line: bytes) -> None:
        """Called with the lock held."""
        if line:
            self._lines.append(line)
            self._size += len(line)
            self._changed.notify()

    def _write(self) -> None:
        while line := self._next():
            with suppress(OSError):  # nobody is left to read it
                while line:
                    try:
                        line = line[os.write(self._err, line) :]
                    except BlockingIOError:  # somebody who shares it has set it so
                        select.select([], [self._err], [])

    def _next(self) -> bytes:
        """The next line; empty: there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._untold or self._ended)
            if not self._lines and self._untold:
                gap = Notice(f"{self._untold:,} events were not told: nobody read them", "warn")
                self._untold = 0
                return self._line(gap)
            line = self._lines.popleft() if self._lines else b""
            self._size -= len(line)
            return line


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
