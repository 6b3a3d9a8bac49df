"""The terminal or the pipes a program was started with: what plain and JSON output have in common.

The main thread owns stdin, stdout and stderr. It waits for input, its mailbox and signals at once, and writes only as
much as the other end takes, so that nobody who stops reading can keep it from ending.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from ..channel import TERMINAL, AnswerAsk, Dispatch
from ..command import Commands
from ..events import ENDINGS, Answer, Ask, Decision, Error, Event, Heard, Inbound, Notice, Text
from ..printable import printable
from ..store import is_occasion, typed
from .mailbox import Mailbox, Signals
from .others import Others
from .wording import ended, unasked, way_back

if TYPE_CHECKING:
    from ..envelope import Letter

DECISIONS: dict[str, Decision] = {
    "y": "allow", "yes": "allow", "a": "always", "always": "always", "n": "deny", "no": "deny",
}  # fmt: skip

LAST_WORDS = 2.0  # seconds an interrupted turn has to end before the program leaves without it
RECALLED = 20  # messages of a conversation that goes on
TERMINAL_LINE = 4095  # bytes of a line that a terminal passes on; it drops what is typed beyond


class _Left(Exception):
    """It is time to go, whatever was being written."""


class Console:
    """messages: what to say, then leave; None: lines of stdin, to its end. decision: the answer to every approval;
    None: a person is asked, where stdin and stderr are a terminal. timeout: seconds for all of it."""

    name = TERMINAL
    limit: int | None = None
    peer = "cli-user"
    ask_limit: float | None = None
    writing = False  # is an answer being written, in the middle of which nothing else can be told?

    def __init__(
        self,
        messages: Iterable[str] | None = None,
        *,
        decision: Decision | None = None,
        timeout: float | None = None,
    ) -> None:
        self._out, self._err, self._in = sys.stdout, sys.stderr, sys.stdin.fileno()
        self._person = sys.stdin.isatty() and self._err.isatty()
        self._chat = messages is None and self._person
        self._waiting = deque(messages or ())
        self._ended = messages is not None  # nothing more will be said
        self._decision = decision
        self.can_ask = decision is not None or self._person
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout if timeout is not None else None
        self._mail = Mailbox()
        self._turn = ""  # the id of the one that runs
        self._muted = ""  # the id of one that was interrupted: what is still to be said of it is not shown
        self._asks: deque[Ask] = deque()
        self._heard: dict[str, Heard] = {}  # what began the turns of other channels that run
        self._line: list[bytes] = []  # what has come of the next one
        self._warned = False  # that leaving now costs something
        self._prompted = False
        self._code = 0

    # -- as a Channel

    def start(self, dispatch: Dispatch, answer: AnswerAsk) -> None:
        self._dispatch, self._answer = dispatch, answer

    def show(self, event: Event) -> None:
        self._mail.put(event)

    def send(self, letter: Letter) -> None:
        self.show(Notice(unasked(letter.by, letter.text)))

    def stop(self) -> None:
        pass

    def render(self, event: Event) -> None:
        """Put an event on stdout or stderr."""
        raise NotImplementedError

    # -- the main thread

    def loop(
        self,
        commands: Commands,
        interrupt: Callable[[Inbound], bool],
        session: Callable[[Inbound], str],
        past: Sequence[Mapping[str, Any]] = (),
    ) -> int:
        """Say everything there is to say; returns the exit code. session: the key of a sender's session; past: what was
        said before, if it goes on."""
        self._commands, self._interrupt = commands, interrupt
        self._others = Others(lambda: session(Inbound("", self.name, self.peer)), lambda: self.writing)
        self._signals = Signals(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        try:
            self._recall(past)
            while True:
                self._take_mail()
                if self._waiting and not self._turn:
                    self._say(self._waiting.popleft())
                elif self._turn or not self._ended:
                    self._wait()
                else:
                    break
        except _Left:
            pass
        except OSError as error:
            self._cannot_write(error)
        return self._code

    def _recall(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Show the end of what was said before, in a conversation that goes on."""
        said = [each for each in messages if each["role"] != "tool" and each.get("content") and not is_occasion(each)]
        if (more := len(said) - RECALLED) > 0:
            self.tell(f"({more} messages before these: /history {len(said)})")
        for each in said[-RECALLED:]:
            broken = "\ninterrupted" if each.get("interrupted") else ""
            mark = "> " if each["role"] == "user" else ""
            self.tell(f"{mark}{unasked(str(each.get('by') or ''), typed(each))}{broken}")

    def write(self, text: str, stream: TextIO | None = None) -> None:
        """Write to stdout, or to `stream`, as the other end takes it; signals and the time limit still count."""
        stream = stream or self._out
        data = text.encode(stream.encoding or "utf-8", "replace")
        while data:
            _, ready, _ = select.select([self._signals], [stream], [], self._left())
            self._take_signals()
            if ready:
                try:
                    data = data[os.write(stream.fileno(), data[: select.PIPE_BUF]) :]
                except BlockingIOError:
                    pass
            self._look_at_the_clock()

    def tell(self, text: str, end: str = "\n") -> None:
        """A line for the person, beside the answer."""
        try:
            self.write(printable(text) + end, self._err)
        except OSError:
            pass  # nobody is left to read it

    def _wait(self) -> None:
        """Sleep until something comes: events, signals, lines, or the end of the time."""
        if self._asks and not self._prompted:
            self._show_ask()
        elif self._chat and not self._turn and not self._prompted:
            self._prompt("> ")
        sources: list[int | Mailbox | Signals] = [self._mail, self._signals]
        # A pipe is read when its last line is answered, a terminal at any time: its lines may be answers or commands.
        if (self._asks and self._person) or (not self._ended and (self._chat or not self._turn)):
            sources.append(self._in)
        ready, _, _ = select.select(sources, [], [], self._left())
        self._take_signals()
        self._take_mail()
        # A question that has come meanwhile has emptied the terminal's line: look again before reading.
        if self._in in ready and select.select([self._in], [], [], 0)[0]:
            self._read()
        self._look_at_the_clock()

    def _say(self, text: str) -> None:
        if text.strip() == "/exit":
            self._leave(sure=True)
            return
        inbound = Inbound(text, self.name, self.peer)
        self._others.exclude(inbound.turn)
        if not self._commands.is_now(text):
            self._turn, self._warned = inbound.turn, False
        self._dispatch(inbound)

    def _take_mail(self) -> None:
        for event in self._mail.take():
            self._take_signals()
            if (told := self._others.told(event)) is not None:
                self._take(told)
            for each in self._others.kept():
                self._take(each)

    def _take(self, event: Event) -> None:
        if isinstance(event, Text) and event.turn == self._muted:
            return
        if self._prompted and (self._asks or not self._turn):
            self._prompted = False  # it comes again, below what is shown now
            self.tell("")
        if isinstance(event, Ask) and self._decision:
            self._answer(self.peer, event.id, Answer(self._decision))
        if isinstance(event, Heard):
            self._heard[event.turn] = event
        if isinstance(event, ENDINGS) and event.turn in self._others:
            self.tell(ended(event, self._heard.pop(event.turn)))
            return
        self.render(event)
        if isinstance(event, Ask) and not self._decision:
            self._asks.append(event)
            self._show_ask()
        failed = isinstance(event, Error) or (isinstance(event, Notice) and event.level == "error")
        if failed and not self._chat and event.turn not in self._others:
            self._code = self._code or 1
        if isinstance(event, ENDINGS) and event.turn == self._turn:
            self._turn, self._prompted = "", False
            self._asks.clear()

    # -- input

    def _read(self) -> None:
        try:
            data = os.read(self._in, 1 << 16)
        except OSError:  # the terminal is gone
            raise _Left from None
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = b"".join((*self._line, lines[0]))
            self._line.clear()
        if rest:
            self._line.append(rest)
        if not data and self._line:
            lines, self._line = [b"".join(self._line)], []
        for line in lines:
            self._take_line(line)
        if not data:
            self._end_of_input()

    def _take_line(self, line: bytes) -> None:
        self._prompted = False
        text = line.decode("utf-8", "replace").strip("\r")
        if self._person and len(line) >= TERMINAL_LINE:
            self.tell(f"not sent: a terminal cuts lines at {TERMINAL_LINE} bytes. Pipe it: agentkit run - < FILE")
        elif not text.strip():
            if self._asks:
                self._show_ask()
        elif self._asks:
            ask = self._asks.popleft()
            decision = DECISIONS.get(text.strip().casefold())
            self._answer(self.peer, ask.id, Answer(decision) if decision else Answer("deny", text.strip()))
        elif self._chat and text.strip() == "/exit":
            self._leave()
        elif self._chat and self._commands.is_now(text):
            self._say(text)
        else:
            self._waiting.append(text)
            if self._turn:
                self.tell("queued")

    def _end_of_input(self) -> None:
        """Ctrl-D, or the end of a pipe."""
        if self._chat:
            self.tell("")
            self._leave()
            if self._asks:
                self._show_ask()
        elif self._asks:
            self._answer(self.peer, self._asks.popleft().id, Answer("deny"))
        else:
            self._ended = True

    def _show_ask(self) -> None:
        ask = self._asks[0]
        shown = printable(ask.summary).replace("\n", "\n  ")
        self.tell(f"\n{ask.tool} wants to run:\n  {shown}")
        self._forget_typed_ahead()
        self._prompt("Allow? y once, a always in this session, n no, or say why not: ")

    def _forget_typed_ahead(self) -> None:
        """What was typed before the question was seen cannot be its answer."""
        import termios

        self._line.clear()
        try:
            termios.tcflush(self._in, termios.TCIFLUSH)
        except termios.error:
            pass

    def _prompt(self, text: str) -> None:
        self._prompted = True
        self.tell(text, end="")

    # -- the ends

    def _leave(self, sure: bool = False) -> None:
        """Leaving during a turn asks once."""
        if self._turn and not (self._warned or sure):
            self._warned = True
            self.tell("A turn is running: once more interrupts it and leaves.")
            return
        self._ended = True
        self._stop_turn()

    def _take_signals(self) -> None:
        for number in self._signals.take():
            if number != signal.SIGINT:
                self._code, self._ended = 128 + number, True
            elif not self._chat:
                if self._code == 130:
                    raise _Left
                self._code, self._ended = 130, True
            elif not self._turn:
                if self._warned:
                    raise _Left
                self._warned = True
                self._prompted = False
                self.tell("\nCtrl-C once more, or Ctrl-D, leaves.")
                continue
            self._stop_turn()

    def _stop_turn(self) -> None:
        """Interrupt the turn; what was queued behind it is given back, not sent."""
        unsent = [*self._waiting]
        self._waiting.clear()
        if self._turn:
            self._muted = self._turn
            self._asks.clear()
            self._interrupt(Inbound("", self.name, self.peer))
        if self._ended:
            self._timeout, self._deadline = None, time.monotonic() + LAST_WORDS
        if self._prompted:
            self._prompted = False
            self.tell("")
        for text in unsent:
            self.tell(f"not sent: {text}")
        if unsent and self._chat and self._ended:
            self.tell(way_back())

    def _left(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _look_at_the_clock(self) -> None:
        if self._deadline is None or time.monotonic() < self._deadline:
            return
        if self._timeout is None:  # the last words have taken too long
            raise _Left
        seconds, self._code, self._ended = self._timeout, self._code or 1, True
        self._stop_turn()
        self.tell(f"error: not done within {seconds:g} s (--timeout): interrupted.")

    def _cannot_write(self, error: OSError) -> None:
        """Nobody reads the answer (a closed pipe), or it cannot be stored."""
        self._code = 1
        if not isinstance(error, BrokenPipeError):
            self.tell(f"error: the answer cannot be written ({error.strerror}).")
