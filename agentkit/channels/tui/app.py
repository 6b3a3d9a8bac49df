"""The full-screen chat. The main thread owns the screen: it waits for keys and its mailbox, and draws from state."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ...channel import TERMINAL, AnswerAsk, Dispatch
from ...command import Command, Commands
from ...events import ENDINGS, Answer, Event, Inbound, Notice, Text, ToolFinished
from ..mailbox import Mailbox, Signals
from ..others import Others
from ..wording import unasked
from .bars import SPIN, Bars
from .chat import Chat
from .controls import Controls
from .elsewhere import Edited, Elsewhere, Stopped
from .farewell import farewell
from .keys import Keys
from .orders import commands
from .recall import History
from .screen import opened
from .talk import Talk, warning

if TYPE_CHECKING:
    from ...completion import Completion
    from ...envelope import Letter
    from ...session import View
    from ...settings import Settings
    from ...store import Message
    from ...surroundings import Surroundings

FRAME = 1 / 28  # seconds between two frames at the least: a few more come with what is typed
KEY_FRAME = 1 / 125  # the same where keys have come
LOOK = 60  # seconds after which things may stand otherwise without a word
SIGNALS = [getattr(signal, f"SIG{name}") for name in ["INT", "TERM", "HUP", "QUIT", "TSTP", "CONT", "WINCH"]]


class Running(Protocol):
    """What the screen needs of the App, once that is built."""

    commands: Commands
    workspace: Path

    @property
    def settings(self) -> Settings: ...

    def start(self) -> None: ...
    def open(self, inbound: Inbound) -> None: ...
    def view(self, inbound: Inbound) -> View: ...
    def surroundings(self, inbound: Inbound) -> Surroundings: ...
    def past(self, inbound: Inbound) -> list[Message]: ...
    def complete(self, inbound: Inbound, text: str, cursor: int) -> Completion: ...
    def interrupt(self, inbound: Inbound) -> bool: ...


class Tui:
    """agent, model: names for the bars; window: the model's context in tokens; stray: a descriptor for what would
    otherwise spoil the screen; options: with which the program was started, but for those that choose a
    conversation."""

    name = TERMINAL
    limit: int | None = None
    peer = "cli-user"
    can_ask = True
    ask_limit: float | None = None

    def __init__(self, agent: str, model: str, window: int, stray: int, options: Sequence[str] = ()) -> None:
        self._options = options
        self._stray = stray
        self._mail = Mailbox()
        self._keys = Keys()
        self._chat, self._bars = Chat(), Bars(agent, model, window)
        self._history = History(self._history_file)
        self._others = Others(lambda: self._loaded[0])
        self._controls = Controls(self, self._chat, self._bars, self._history)
        self._me = partial(Inbound, channel=self.name, peer=self.peer)
        self.talk = Talk(self._me, self._chat, self._bars, self._others, self._controls.editor)
        self.commands: list[Command] = commands(lambda: self._screen, self._chat.transcript)
        self._app: Running | None = None
        self._failure: Exception | None = None
        self._elsewhere: Elsewhere | None = None  # while it has the terminal nothing is drawn, and no key is read
        self._typed = 0.0  # when keys last came
        self._dirty = True
        self._drawn = 0.0
        self._code = 0
        self._loaded: tuple[str, int] = ("", 0)  # which conversation is on the screen, see View
        self._usual = ""  # who answers where nobody else was asked for
        self._look_at: float | None = None  # when things stand otherwise by themselves, in seconds since the epoch

    # -- as a Channel

    def start(self, dispatch: Dispatch, answer: AnswerAsk) -> None:
        self._dispatch, self._answer = dispatch, answer

    def show(self, event: Event) -> None:
        self._mail.put(event)

    def send(self, letter: Letter) -> None:
        self.show(Notice(unasked(letter.by, letter.text)))

    def stop(self) -> None:
        pass

    # -- the main thread

    def loop(self, build: Callable[[], Running]) -> int:
        """Show the screen at once, build the app beside it, chat; returns the exit code. Raises what `build` raises."""
        with opened(self._stray) as screen:
            self._screen = screen
            self._signals = Signals(*SIGNALS)
            screen.resized()
            self._draw()
            threading.Thread(target=self._build, args=(build,), name="build", daemon=True).start()
            while not self.talk.left:
                self._wait()
            if self._elsewhere is not None:
                self._elsewhere.end()
        self._history.save()
        if self._failure is not None:
            raise self._failure
        unsent = [each.message for each in self._chat.waiting]
        farewell(self._bars.session, self._usual, self._options, self._chat.transcript.last, unsent)
        return self._code

    def _build(self, build: Callable[[], Running]) -> None:
        try:
            app = build()
            app.start()
            app.open(self._me(""))
            self._mail.put(app)
        except Exception as error:  # the top of this thread: the main one decides
            self._mail.put(error)

    def _wait(self) -> None:
        """Sleep until there is something to do, do it, and draw when it is time."""
        timeout = self._timeout(time.monotonic())
        sources: list[int | Mailbox | Signals] = [self._signals]
        if self._elsewhere is None:
            sources.append(self._screen.keys)
        # Until the next frame is due, what comes in waits: many small pieces cost no more than a few large ones.
        if not self._dirty:
            sources.append(self._mail)
        ready, _, _ = select.select(sources, [], [], timeout)
        for number in self._signals.take():
            self._dirty = True
            self._signal(number)
        self._take_mail()
        now = time.monotonic()
        if self._screen.keys in ready and self._elsewhere is None:
            self._typed = now
            self._read()
        elif self._keys.patience is not None and now - self._typed >= self._keys.patience:
            self._press(self._keys.flush())
        if self._controls.settle(now):
            self._dirty = True
        if self.talk.deadline is not None and now >= self.talk.deadline:
            self.talk.left = True
        if self._look_at is not None and time.time() >= self._look_at:
            self._dirty = True
            self._look()
        if self._spins and now - self._drawn >= SPIN:
            self._dirty = True
        if self._dirty and now >= self._next_frame() and not self.talk.left:
            self._draw()

    @property
    def _spins(self) -> bool:
        return bool(self._chat.turn) and not self._chat.questions and self._elsewhere is None

    def _next_frame(self) -> float:
        """When the screen may be drawn again, in monotonic seconds: what was typed is seen at once."""
        return self._drawn + (KEY_FRAME if self._typed > self._drawn else FRAME)

    def _timeout(self, now: float) -> float | None:
        waits = []
        if self._keys.patience is not None:
            waits.append(self._typed + self._keys.patience - now)
        if self._dirty:
            waits.append(self._next_frame() - now)
        elif self._spins:
            waits.append(self._drawn + SPIN - now)
        if self.talk.deadline is not None:
            waits.append(self.talk.deadline - now)
        if self._look_at is not None:
            waits.append(self._look_at - time.time())
        if (due := self._controls.due) is not None:
            waits.append(due - now)
        return max(0.0, min(waits)) if waits else None

    def _draw(self) -> None:
        view = self._controls.view
        self._dirty, self._drawn = False, time.monotonic()
        if self._elsewhere is None:
            self._screen.draw(*view.compose(*self._screen.size))
            self._chat.questions.drawn(time.monotonic(), view.whole)

    def _take_mail(self) -> None:
        pieces: list[str] = []
        for item in self._mail.take():
            if isinstance(item, Event) and (item := self._others.told(item)) is None:
                continue
            if isinstance(item, Text):
                pieces.append(item.text)
                continue
            self._write(pieces)
            self._take(item)
        self._write(pieces)

    def _write(self, pieces: list[str]) -> None:
        """What has come of the answer, at once; empties the list."""
        if pieces:
            self._chat.write("".join(pieces))
            self._dirty = True
            pieces.clear()

    def _take(self, item: Any) -> None:
        self._dirty = True
        if isinstance(item, Event):
            self._event(item)
        elif isinstance(item, Exception):
            self._failure, self.talk.left = item, True
        elif isinstance(item, Stopped):
            os.kill(os.getpid(), signal.SIGSTOP)
        elif isinstance(item, Edited):
            self._edited(item)
        else:
            self._begin(item)

    def _event(self, event: Event) -> None:
        ends = isinstance(event, ENDINGS)
        if ends or isinstance(event, (Notice, ToolFinished)):  # a tool may be always allowed now
            self._look(event.turn if ends else "")  # what is loaded comes before the words that say so
        self._chat.event(event)
        self._controls.told()
        if ends:
            self.talk.ended(event)

    def _begin(self, app: Running) -> None:
        """The program is there."""
        self._app = app
        self._usual = app.settings.default_agent or "assistant"
        self._bars.window = app.settings.llm_context_window
        self._chat.log = app.workspace / ".state" / "agentkit.log"
        self._look()
        threading.excepthook = self._thread_failed(threading.excepthook)
        self.talk.begin(app, self._dispatch)

    def _look(self, turn: str = "") -> None:
        """How things stand now, and what was said in a conversation that was opened; turn: the one that has ended. What
        another channel opens is not shown while a turn of this one goes on: it may be part of that."""
        if self._app is None:
            return
        me, chat, first = self._me(""), self._chat, self._bars.session is None
        session = self._bars.session = self._app.view(me)
        around = self._bars.around = self._app.surroundings(me)
        now, beat = time.time(), around.next_beat
        self._look_at = min(now + LOOK, beat + 1) if beat is not None and beat + 1 > now else now + LOOK
        chat.model, chat.used = session.model, session.used
        if session.loaded != self._loaded:
            self._loaded = session.loaded
            if session.messages and chat.turn in ("", turn):
                chat.recall(self._app.past(me))
                if first:
                    chat.event(Notice(f"This goes on with {session.conversation}."))

    def _thread_failed(
        self, log: Callable[[threading.ExceptHookArgs], object]
    ) -> Callable[[threading.ExceptHookArgs], None]:
        """A thread's last words go to the log, and a line of them to the screen."""

        def hook(args: threading.ExceptHookArgs) -> None:
            log(args)
            if args.exc_type is not SystemExit:
                name = args.thread.name if args.thread else "?"
                what = f"{args.exc_type.__name__}: {args.exc_value}"
                self._mail.put(
                    Notice(f"The thread {name} failed ({what}); with LOG_LEVEL=debug the log has it.", "error")
                )

        return hook

    def _signal(self, number: signal.Signals) -> None:
        self._chat.questions.hidden()
        if number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            self._code = 128 + number
            self.talk.leave()
        elif self._elsewhere is not None or self.talk.leaving:
            pass  # they are meant for whoever has the terminal, which may be gone
        elif number == signal.SIGWINCH:
            self._screen.resized()
        elif number == signal.SIGTSTP:
            self._screen.suspend()
        elif number == signal.SIGCONT:  # stopped in a way that nobody could answer: the shell has had the terminal
            self._screen.enter()
        else:
            hint, self._bars.hint = self._bars.hint, ""
            if not self.talk.interrupt():
                self.talk.ask_to_leave("Ctrl-C", sure=hint == warning("Ctrl-C"))

    # -- what keys have the program do

    @property
    def size(self) -> tuple[int, int]:
        return self._screen.size

    def decide(self, answer: Answer) -> None:
        self._answer(self.peer, self._chat.decide(answer.decision), answer)

    def complete(self, text: str, cursor: int) -> Completion | None:
        return self._app.complete(self._me(""), text, cursor) if self._app else None

    def suspend(self) -> None:
        self._screen.suspend()

    def redraw(self) -> None:
        self._screen.resized()

    def edit(self) -> None:
        try:
            self._elsewhere = Elsewhere(self._controls.editor.message, os.environ, self._screen.lend, self._mail.put)
        except OSError as error:
            why = ": ".join(filter(None, (error.strerror, error.filename)))
            self._bars.hint = f"no editor ({why}): set EDITOR to one that is there"

    def _edited(self, edited: Edited) -> None:
        self._elsewhere = None
        self._chat.questions.hidden()
        self._screen.take_back()
        if edited.trouble:
            self._bars.hint = f"the draft is as it was: {edited.trouble}"
        elif edited.text != self._controls.editor.message:  # else what is folded stays so
            self._controls.put(edited.text)

    def _read(self) -> None:
        try:
            data = os.read(self._screen.keys, 1 << 16)
        except OSError:
            data = b""
        if data:
            self._press(self._keys.feed(data))
        else:  # the terminal is gone
            self.talk.leave()

    def _press(self, keys: list[Any]) -> None:
        if keys:
            self._dirty = True
            self._controls.press(keys)

    def _history_file(self) -> Path | None:
        return self._app.workspace / ".state" / "history" if self._app else None
