"""The terminal or the pipes a program was started with: what plain and JSON output have in common.

The main thread owns stdin and stdout and waits for input and its mailbox; other threads only put events into that.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TextIO

from ..channel import AnswerAsk, Dispatch
from ..command import Commands
from ..events import ENDINGS, Answer, Ask, Decision, Error, Event, Inbound, Notice
from ..printable import printable
from .mailbox import Mailbox

DECISIONS: dict[str, Decision] = {
    "y": "allow", "yes": "allow", "a": "always", "always": "always", "n": "deny", "no": "deny",
}  # fmt: skip

LAST_WORDS = 2.0  # seconds an interrupted turn has to end before the program leaves without it


class Console:
    """messages: what to say, then leave; None: lines of stdin, to its end. decision: the answer to every approval;
    None: a person is asked, where stdin and stderr are a terminal. timeout: seconds for all of it."""

    name = "cli"
    peer = "cli-user"
    ask_limit: float | None = None

    def __init__(
        self,
        messages: Iterable[str] | None = None,
        *,
        decision: Decision | None = None,
        timeout: float | None = None,
        stdin: TextIO | None = None,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        self._in, self._out, self._err = stdin or sys.stdin, stdout or sys.stdout, stderr or sys.stderr
        self._person = self._in.isatty() and self._err.isatty()
        self._chat = messages is None and self._person
        self._waiting = deque(messages or ())
        self._ended = messages is not None  # nothing more will be said
        self._decision = decision
        self.can_ask = decision is not None or self._person
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout if timeout is not None else None
        self._mail = Mailbox()
        self._turn = ""  # the id of the one that runs
        self._asks: deque[Ask] = deque()
        self._line = b""  # what has come of the next one
        self._warned = False  # that leaving now costs something
        self._left = False
        self._prompted = False
        self._code = 0

    # -- as a Channel

    def start(self, dispatch: Dispatch, answer: AnswerAsk) -> None:
        self._dispatch, self._answer = dispatch, answer

    def show(self, event: Event) -> None:
        self._mail.put(event)

    def stop(self) -> None:
        pass

    def render(self, event: Event) -> None:
        """Put an event on stdout or stderr."""
        raise NotImplementedError

    # -- the main thread

    def loop(self, commands: Commands, interrupt: Callable[[Inbound], bool]) -> int:
        """Say everything there is to say; returns the exit code."""
        self._commands, self._interrupt = commands, interrupt
        self._mail.on_signal(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        try:
            for item in self._mail.take():  # said while starting, before there is a prompt
                self._take(item)
            while not self._left and (self._turn or self._waiting or not self._ended):
                if self._waiting and not self._turn:
                    self._say(self._waiting.popleft())
                self._wait()
            for item in self._mail.take():
                self._take(item)
        except OSError as error:
            self._cannot_write(error)
        return self._code

    def tell(self, text: str) -> None:
        """A line for the person, beside the answer."""
        try:
            print(printable(text), file=self._err, flush=True)
        except OSError:
            pass  # nobody is left to read it

    def _say(self, text: str) -> None:
        inbound = Inbound(text, self.name, self.peer)
        if not self._commands.is_now(text):
            self._turn = inbound.turn
        self._dispatch(inbound)

    def _wait(self) -> None:
        """Take what comes next: events, signals, lines, or the end of the time."""
        if self._chat and not self._turn and not self._waiting and not self._prompted:
            self._prompt("> ")
        sources: list[int | Mailbox] = [self._mail]
        # A pipe is read when its last line is answered, a terminal at any time: its lines may be answers or commands.
        if (self._asks and self._person) or (not self._ended and (self._chat or not self._turn)):
            sources.append(self._in.fileno())
        left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        ready, _, _ = select.select(sources, [], [], left)
        for item in self._mail.take():
            self._take(item)
        if self._in.fileno() in ready:
            self._read()
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self._time_is_up()

    def _take(self, item: Event | signal.Signals) -> None:
        if isinstance(item, signal.Signals):
            self._signal(item)
            return
        if self._prompted and self._turn == "":
            self._prompted = False  # it comes again, below what is shown now
            self.tell("")
        if isinstance(item, Ask) and self._decision:
            self._answer(self.peer, item.id, Answer(self._decision))
        self.render(item)
        if isinstance(item, Ask) and not self._decision:
            self._asks.append(item)
            self._show_ask()
        failed = isinstance(item, Error) or (isinstance(item, Notice) and item.level == "error")
        if failed and not self._chat:
            self._code = self._code or 1
        if isinstance(item, ENDINGS):
            self._prompted = False
            if item.turn == self._turn:
                self._turn = ""
                self._asks.clear()

    # -- input

    def _read(self) -> None:
        try:
            data = os.read(self._in.fileno(), 1 << 16)
        except OSError:  # the terminal is gone
            self._left = True
            return
        *lines, self._line = (self._line + data).split(b"\n")
        if not data and self._line:
            lines, self._line = [self._line], b""
        for line in lines:
            self._take_line(line.decode("utf-8", "replace").strip("\r"))
        if not data:
            self._end_of_input()

    def _take_line(self, line: str) -> None:
        self._prompted = self._warned = False
        if not line.strip():
            if self._asks:
                self._show_ask()
        elif self._asks:
            ask = self._asks.popleft()
            decision = DECISIONS.get(line.strip().casefold())
            self._answer(self.peer, ask.id, Answer(decision) if decision else Answer("deny", line.strip()))
        elif line.strip() == "/exit":
            self._leave()
        elif self._chat and self._commands.is_now(line):
            self._say(line)
        else:
            self._waiting.append(line)
            if self._turn:
                self.tell("queued")

    def _end_of_input(self) -> None:
        if self._chat:
            self._leave()
        else:
            self._ended = True

    def _leave(self) -> None:
        """Leaving during a turn asks once."""
        if self._turn and not self._warned:
            self._warned = True
            self.tell("A turn is running: once more interrupts it and leaves.")
        elif self._turn:
            self._ended = True
            self._stop_turn()
        else:
            self._left = True

    def _show_ask(self) -> None:
        ask = self._asks[0]
        shown = printable(ask.summary).replace("\n", "\n  ")
        self.tell(f"\n{ask.tool} wants to run:\n  {shown}")
        self._forget_typed_ahead()
        self._prompt("Allow? y once, a always in this session, n no, or say why not: ")

    def _forget_typed_ahead(self) -> None:
        """What was typed before the question was seen cannot be its answer."""
        import termios

        self._line = b""
        try:
            termios.tcflush(self._in.fileno(), termios.TCIFLUSH)
        except termios.error:
            pass

    def _prompt(self, text: str) -> None:
        self._prompted = True
        self._err.write(text)
        self._err.flush()

    # -- the ends

    def _signal(self, number: signal.Signals) -> None:
        if number != signal.SIGINT:
            self._code = 128 + number
            self._ended = True
            if self._turn:
                self._stop_turn()
            else:
                self._left = True
        elif not self._chat:
            self._left = self._code == 130 or not self._turn
            self._code, self._ended = 130, True
            self._stop_turn()
        elif self._turn:
            self._stop_turn()
            self._prompted = False
        elif self._warned:
            self._left = True
        else:
            self._warned = True
            self.tell("\nCtrl-C once more, or Ctrl-D, leaves.")
            self._prompted = False

    def _stop_turn(self) -> None:
        """Interrupt the turn; what was queued behind it is given back, not sent."""
        for text in self._waiting:
            self.tell(f"not sent: {text}")
        self._waiting.clear()
        if self._turn:
            self._interrupt(Inbound("", self.name, self.peer))
        if self._ended:
            self._deadline, self._timeout = time.monotonic() + LAST_WORDS, None

    def _time_is_up(self) -> None:
        if self._timeout is None:
            self._left = True
            return
        self.tell(f"error: not done within {self._timeout:g} s (--timeout): interrupted.")
        self._code, self._ended = self._code or 1, True
        self._stop_turn()

    def _cannot_write(self, error: OSError) -> None:
        """Nobody reads the answer (a closed pipe), or it cannot be stored."""
        self._code = 1
        if not isinstance(error, BrokenPipeError):
            self.tell(f"error: the answer cannot be written ({error.strerror}).")
        # Python flushes stdout once more at its exit: that must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._out.fileno())
