"""No frontend at all: `agentkit serve` tells in the log what happens, and does what signals say.

The main thread waits for signals only, so that it is never late for one. Another one begins, reloads and ends: whatever
that waits for, a third one sees to it that the process is gone when it has to be.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import threading
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from ..cancel import Cancel
from ..channel import AnswerAsk, Dispatch
from ..events import (
    Ask,
    Compacted,
    Done,
    Error,
    Event,
    Failover,
    Heard,
    Interrupted,
    Notice,
    Stopped,
    Text,
    Thinking,
    ToolFinished,
    ToolStarted,
    TurnStarted,
)
from ..log import LEVELS, hidden, one_line
from .mailbox import Mailbox, Signals
from .wording import compacted, failover, in_words

if TYPE_CHECKING:
    from ..envelope import Letter

log = logging.getLogger("agentkit")

LIMIT = 9.0  # seconds from the first signal to the end, at the latest
HURRIED = 2.0  # the same from the second one
SHOWN = 200  # characters of what a question or an error says

ENDINGS = {signal.SIGTERM: 0, signal.SIGINT: 130}  # signals that end it, and the exit code
SIGNALS = (*ENDINGS, signal.SIGHUP)


class Headless:
    """A Channel that nobody speaks through, and the main thread of a server."""

    name = "serve"
    limit: int | None = None
    can_ask = False
    ask_limit: float | None = None

    # -- as a Channel

    def start(self, dispatch: Dispatch, answer: AnswerAsk) -> None:
        pass

    def show(self, event: Event) -> None:
        """Tell an event, but for what is said: that is nothing for a log."""
        if isinstance(event, (Text, Thinking, Heard)):
            return
        level = LEVELS["error" if isinstance(event, Error) else event.level if isinstance(event, Notice) else "info"]
        if log.isEnabledFor(level):
            log.log(level, "%s", _words(event), extra={"event": event, "session": event.session})

    def send(self, letter: Letter) -> None:
        self.show(Notice(letter.text))

    def stop(self) -> None:
        pass

    # -- the main thread

    def loop(self, begin: Callable[[], None], reload: Callable[[], None], end: Callable[[str, Cancel], None]) -> int:
        """Begin, reload at each SIGHUP, and end at SIGTERM or SIGINT; returns the exit code. What `begin` raises is
        raised here, after the end.

        end: is told why, and has a Cancel, which is set when another signal comes: then it is to hurry. From the first
        signal on the process has LIMIT seconds, also for what comes after this: then it is gone.
        """
        signals, news = Signals(*SIGNALS), Mailbox()
        last = _LastResort()
        life = _Life(begin, reload, end, news.put)
        code: int | None = None
        while True:
            select.select([signals.fileno(), news.fileno()], [], [])
            for failure in news.take():
                # All is saved. What still hangs in the process is not waited for; and Python would take its handlers
                # away while it ends, so that one signal more would count as the cause of the end.
                last.arm(HURRIED, code or 0)
                for each in SIGNALS:
                    signal.signal(each, signal.SIG_IGN)
                if failure is not None and code is None:
                    raise failure
                return code or 0
            for number in signals.take():
                if number == signal.SIGHUP:
                    life.reload()
                elif code is not None:
                    last.arm(HURRIED, code)
                    life.hurry.set()
                else:
                    code = ENDINGS[number]
                    last.arm(LIMIT, code)
                    life.end(number.name)


class _Life:
    """What is done between the signals, one after the other, in a thread of its own. over: hears when all is done; of
    the error, where it could not begin, else None."""

    def __init__(
        self,
        begin: Callable[[], None],
        reload: Callable[[], None],
        end: Callable[[str, Cancel], None],
        over: Callable[[BaseException | None], None],
    ) -> None:
        self.hurry = Cancel()
        self._begin, self._reload, self._end, self._over = begin, reload, end, over
        self._changed = threading.Condition()  # serialises the two below
        self._wanted = False  # to reload
        self._why = ""  # to end
        threading.Thread(target=self._run, name="serve", daemon=True).start()

    def reload(self) -> None:
        """Have it done; once, however often that is wanted before it is begun."""
        with self._changed:
            self._wanted = True
            self._changed.notify()

    def end(self, why: str) -> None:
        with self._changed:
            self._why = why
            self._changed.notify()

    def _run(self) -> None:
        failure: BaseException | None = None
        try:
            self._begin()
        except BaseException as error:  # the top of this thread: the main one raises it
            failure = error
        while failure is None and self._is_reloading():
            try:
                self._reload()
            except Exception:  # whatever it is, what runs goes on
                log.exception("not everything could be read anew")
        try:
            self._end(self._why or "it could not begin", self.hurry)
        except Exception:
            log.exception("not everything could be ended")
        self._over(failure)

    def _is_reloading(self) -> bool:
        """Wait for what is wanted; False: the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._wanted or self._why)
            self._wanted = False
            return not self._why


class _LastResort:
    """Ends the process when it is time, whatever hangs in it."""

    def __init__(self) -> None:
        self._due: tuple[float, int] | None = None  # in monotonic seconds, and the exit code; replaced, never changed
        self._read, self._write = os.pipe()
        threading.Thread(target=self._wait, name="last resort", daemon=True).start()

    def arm(self, seconds: float, code: int) -> None:
        """Have it end in so many, or before that, if that was said before."""
        due = (monotonic() + seconds, code)
        self._due = min(due, self._due or due)
        os.write(self._write, b"\0")

    def _wait(self) -> None:
        # Not on a lock: its time limit may be one of the wall clock, which can be set (see clock.py).
        while self._due is None or self._due[0] > monotonic():
            left = None if self._due is None else max(0.0, self._due[0] - monotonic())
            if select.select([self._read], [], [], left)[0]:
                os.read(self._read, 1)
        # What is not read takes no more, and a log that hangs may be what hangs.
        if select.select([], [2], [], 0)[1]:
            os.write(2, b"agentkit has ended, though not everything in it had.\n")
        os._exit(self._due[1])


def _words(event: Event) -> str:
    """An event in words."""
    if isinstance(event, TurnStarted):
        return f"{event.agent} answers with {event.model}"
    if isinstance(event, Stopped):
        return event.text
    if isinstance(event, Done):
        how = f"answered by {event.model}" if event.model else "done"
        return f"{how} in {event.seconds:.1f} s, {event.usage.get('total_tokens', 0):,} tokens"
    if isinstance(event, ToolStarted):
        return f"calls {event.name} {in_words(hidden(event.arguments))}"
    if isinstance(event, ToolFinished):
        how = f"{len(event.output):,} characters" if event.ok else f"failed: {_begins(event.output)}"
        return f"{event.name} took {event.seconds:.2f} s: {how}"
    if isinstance(event, Ask):
        return f"asks whether {event.tool} may run: {_begins(event.summary)}"
    if isinstance(event, Failover):
        return failover(event) or f"Profile {event.profile} failed for {event.model}, and nothing is left to try."
    if isinstance(event, Compacted):
        return compacted(event)
    if isinstance(event, Error):
        return f"failed ({event.category}): {event.message}"
    if isinstance(event, Interrupted):
        return f"interrupted after {len(event.text):,} characters" if event.text else "interrupted"
    return event.text if isinstance(event, Notice) else event.type


def _begins(text: str) -> str:
    line = one_line(text)
    return line if len(line) <= SHOWN else f"{line[:SHOWN]} ..."
