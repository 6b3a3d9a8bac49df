"""The full-screen chat. The main thread owns the screen: it waits for keys and its mailbox, and draws from state."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from ...channel import TERMINAL, AnswerAsk, Dispatch
from ...command import Commands, is_command
from ...events import (
    ENDINGS,
    Answer,
    Decision,
    Event,
    Inbound,
    Notice,
    Text,
)
from ...printable import printable
from ...session import View
from ...settings import Settings
from ...store import Message
from ..mailbox import Mailbox, Signals
from ..others import Others
from ..wording import WAY_BACK
from .chat import SPIN, Chat
from .keys import Key, Keys
from .screen import opened

if TYPE_CHECKING:
    from ...envelope import Letter

FRAME = 1 / 30  # seconds between two frames at the least
CALM = 0.3  # seconds an approval is on screen before a key can answer it
DECISIONS: dict[str, Decision] = {"y": "allow", "a": "always", "n": "deny"}
SCROLLS = {"pgup": (1, 0), "pgdn": (-1, 0), "wheel-up": (0, 3), "wheel-down": (0, -3)}  # pages and rows
SIGNALS = [getattr(signal, f"SIG{name}") for name in ["INT", "TERM", "HUP", "QUIT", "TSTP", "CONT", "WINCH"]]
LAST_WORDS = 2.0  # seconds an interrupted turn has to end before the program leaves


class Running(Protocol):
    """What the screen needs of the App, once that is built."""

    commands: Commands
    settings: Settings

    def start(self) -> None: ...
    def open(self, inbound: Inbound) -> None: ...
    def view(self, inbound: Inbound) -> View: ...
    def past(self, inbound: Inbound) -> list[Message]: ...
    def complete(self, inbound: Inbound, text: str) -> tuple[str, list[str]]: ...
    def interrupt(self, inbound: Inbound) -> bool: ...


class Tui:
    """agent, model: names for the status line; window: the model's context in tokens; stray: a descriptor for what
    would otherwise spoil the screen."""

    name = TERMINAL
    limit: int | None = None
    peer = "cli-user"
    can_ask = True
    ask_limit: float | None = None

    def __init__(self, agent: str, model: str, window: int, stray: int) -> None:
        self._stray = stray
        self._mail = Mailbox()
        self._keys = Keys()
        self._chat = Chat(agent, model, window)
        self._app: Running | None = None
        self._others = Others(lambda: self._loaded[0])
        self._failure: Exception | None = None
        self._typed = 0.0  # when keys last came
        self._dirty = True
        self._drawn = 0.0
        self._exiting = False  # /exit was typed during this turn
        self._deadline: float | None = None
        self._leaving = self._left = False
        self._code = 0
        self._loaded = ("", 0)  # which conversation is on the screen, see View

    # -- as a Channel

    def start(self, dispatch: Dispatch, answer: AnswerAsk) -> None:
        self._dispatch, self._answer = dispatch, answer

    def show(self, event: Event) -> None:
        self._mail.put(event)

    def send(self, letter: Letter) -> None:
        self.show(Notice(letter.text))

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
            while not self._left:
                self._wait()
        for text in self._chat.waiting:
            print(f"not sent: {printable(text)}", file=sys.stderr)
        if self._chat.waiting:
            print(WAY_BACK, file=sys.stderr)
        if self._failure is not None:
            raise self._failure
        return self._code

    def _build(self, build: Callable[[], Running]) -> None:
        try:
            app = build()
            app.start()
            app.open(Inbound("", self.name, self.peer))
            self._mail.put(app)
        except Exception as error:  # the top of this thread: the main one decides
            self._mail.put(error)

    def _wait(self) -> None:
        """Sleep until there is something to do, do it, and draw when it is time."""
        timeout = self._timeout(time.monotonic())
        # Until the next frame is due, what comes in waits: many small pieces cost no more than a few large ones.
        sources: list[int | Mailbox | Signals] = [self._screen.keys, self._signals]
        if not self._dirty:
            sources.append(self._mail)
        ready, _, _ = select.select(sources, [], [], timeout)
        for number in self._signals.take():
            self._dirty = True
            self._signal(number)
        self._take_mail()
        now = time.monotonic()
        if self._screen.keys in ready:
            self._typed = now
            self._read()
        elif self._keys.patience is not None and now - self._typed >= self._keys.patience:
            self._press(self._keys.flush())
        if self._deadline is not None and now >= self._deadline:
            self._left = True
        if self._chat.spins and now - self._drawn >= SPIN:
            self._dirty = True
        if self._dirty and now - self._drawn >= FRAME and not self._left:
            self._draw()

    def _timeout(self, now: float) -> float | None:
        waits = []
        if self._keys.patience is not None:
            waits.append(self._typed + self._keys.patience - now)
        if self._dirty:
            waits.append(self._drawn + FRAME - now)
        elif self._chat.spins:
            waits.append(self._drawn + SPIN - now)
        if self._deadline is not None:
            waits.append(self._deadline - now)
        return max(0.0, min(waits)) if waits else None

    def _draw(self) -> None:
        self._screen.draw(*self._chat.compose(*self._screen.size))
        self._dirty, self._drawn = False, time.monotonic()
        self._chat.drawn(self._drawn)

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
            if isinstance(item, ENDINGS):
                self._look(item.turn)  # what is loaded comes before the words that say so
            self._chat.event(item)
            if isinstance(item, ENDINGS):
                self._ended()
        elif isinstance(item, Exception):
            self._failure, self._left = item, True
        else:
            self._app = item
            self._chat.window = item.settings.llm_context_window
            self._look()
            self._chat.ready = True
            threading.excepthook = self._thread_failed(threading.excepthook)
            self._send_next()

    def _ended(self) -> None:
        """A turn is over, or a command that ran beside it."""
        if self._leaving and not self._chat.turn:
            self._left = True
        self._send_next()

    def _look(self, turn: str = "") -> None:
        """How the session stands now, and what was said in a conversation that was opened; turn: the one that has
        ended. What another channel opens is not shown while a turn of this one goes on: it may be part of that."""
        if self._app is None:
            return
        me = Inbound("", self.name, self.peer)
        chat, view = self._chat, self._app.view(me)
        chat.agent, chat.model, chat.used, chat.tokens = view.agent, view.model, view.used, view.tokens
        chat.trouble, chat.locked = view.trouble, view.locked
        if view.loaded != self._loaded:
            self._loaded = view.loaded
            if view.messages and chat.turn in ("", turn):
                chat.recall(self._app.past(me))
                if not chat.ready:
                    chat.event(Notice(f"This goes on with {view.conversation}."))

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
        if number == signal.SIGWINCH:
            self._screen.resized()
        elif number == signal.SIGTSTP:
            self._screen.suspend()
        elif number == signal.SIGCONT:  # stopped in a way that nobody could answer: the shell has had the terminal
            self._screen.enter()
        elif number == signal.SIGINT:
            hinted, self._chat.hint = bool(self._chat.hint), ""
            self._interrupt_or_leave(hinted)
        else:
            self._code = 128 + number
            self._leave()

    # -- keys

    def _read(self) -> None:
        try:
            data = os.read(self._screen.keys, 1 << 16)
        except OSError:
            data = b""
        if data:
            self._press(self._keys.feed(data))
        else:  # the terminal is gone
            self._leave()

    def _press(self, keys: list[Key]) -> None:
        for key in keys:
            self._dirty = True
            if not self._decide(key, alone=len(keys) == 1):
                hint, self._chat.hint = self._chat.hint, ""
                self._key(key, hinted=bool(hint))

    def _decide(self, key: Key, alone: bool) -> bool:
        """A key that answers the approval on screen. A letter does so only on an empty line, when it came alone (a
        paste without brackets does not), and once all of the question could be seen for a moment."""
        if not self._chat.asks:
            return False
        if key.name == "esc":
            self._settle_ask("deny")
            return True
        if key.name != "text" or self._chat.view.editor.text or not set(key.text.lower()) <= DECISIONS.keys():
            return False
        if alone and len(key.text) == 1 and self._chat.seen and time.monotonic() - self._chat.seen >= CALM:
            self._settle_ask(DECISIONS[key.text.lower()])
        return True

    def _settle_ask(self, decision: Decision) -> None:
        ask, self._chat.seen = self._chat.asks.popleft(), 0.0
        self._answer(self.peer, ask.id, Answer(decision))

    def _key(self, key: Key, hinted: bool) -> None:
        editor, transcript = self._chat.view.editor, self._chat.view.transcript
        if key.name in SCROLLS:
            rows, columns = self._screen.size
            page = self._chat.view.heights(rows, columns)[0]
            pages, lines = SCROLLS[key.name]
            transcript.scroll(pages * (page - 1) + lines, columns, page)
        elif key.name == "enter":
            self._enter()
        elif key.name == "esc":
            self._interrupt()
        elif key.name == "C-c":
            if editor.text:
                editor.clear()
            else:
                self._interrupt_or_leave(hinted)
        elif key.name == "C-d" and not editor.text:
            self._ask_to_leave(hinted, "Ctrl-D")
        elif key.name == "C-d":
            editor.delete()
        elif key.name == "C-z":
            self._screen.suspend()
        elif key.name == "C-l":
            self._screen.resized()
        elif key.name == "tab":
            self._complete()
        else:
            editor.key(key)

    def _enter(self) -> None:
        text = self._chat.view.editor.text
        if not text.strip():
            return
        self._chat.view.transcript.to_end()
        self._chat.view.editor.take()
        if text.strip() == "/exit":
            self._ask_to_leave(not self._chat.turn or self._exiting, "/exit")
            self._exiting = True
        elif self._app and self._app.commands.is_now(text):
            self._say(text)
        else:
            self._chat.waiting.append(text)
            self._send_next()

    def _complete(self) -> None:
        """Complete the name of a command or skill, as far as it is clear."""
        editor = self._chat.view.editor
        if self._app is not None:
            editor.text, found = self._app.complete(Inbound("", self.name, self.peer), editor.text)
            editor.cursor = len(editor.text) if found else editor.cursor
            self._chat.hint = "  ".join(found) if len(found) > 1 else ""

    def _send_next(self) -> None:
        while self._app and self._chat.waiting and not self._chat.turn and not self._leaving:
            self._say(self._chat.waiting.popleft())

    def _say(self, text: str) -> None:
        assert self._app is not None
        inbound = Inbound(text, self.name, self.peer)
        self._others.exclude(inbound.turn)
        now = self._app.commands.is_now(text)
        if not now:
            self._exiting = False
        self._chat.said(text, "" if now else inbound.turn)
        self._dispatch(inbound)

    # -- stopping and leaving

    def _interrupt(self) -> bool:
        """Stop the turn; what is queued behind it comes back into the input line."""
        if not self._chat.turn or not self._app:
            return False
        if self._chat.waiting and not self._leaving:
            self._take_back()
        self._app.interrupt(Inbound("", self.name, self.peer))
        return True

    def _take_back(self) -> None:
        """What is queued comes back into the input line; where a command is among it, which would not survive being
        joined with others, Up brings it back."""
        editor, waiting = self._chat.view.editor, self._chat.waiting
        if any(is_command(text) for text in waiting) and len(waiting) + bool(editor.text) > 1:
            for text in waiting:
                editor.remember(text)
            self._chat.hint = "what was queued is not sent: Up brings it back"
        else:
            editor.text = "\n".join((*waiting, *([editor.text] if editor.text else [])))
            editor.cursor = len(editor.text)
        waiting.clear()

    def _interrupt_or_leave(self, hinted: bool = False) -> None:
        if not self._interrupt():
            self._ask_to_leave(hinted, "Ctrl-C")

    def _ask_to_leave(self, sure: bool, key: str) -> None:
        """Leaving asks once, with the key that would do it; Ctrl-D on an idle line does not."""
        if sure or (key == "Ctrl-D" and not self._chat.turn):
            self._leave()
        else:
            self._chat.hint = f"{key} once more leaves"

    def _leave(self) -> None:
        again, self._leaving = self._leaving, True
        if not self._interrupt() or again:
            self._left = True
        self._deadline = time.monotonic() + LAST_WORDS
