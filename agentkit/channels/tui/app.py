"""The full-screen chat. The main thread owns the screen: it waits for keys and its mailbox, and draws from state."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ...channel import AnswerAsk, Dispatch
from ...command import Commands
from ...events import (
    ENDINGS,
    Answer,
    Ask,
    Decision,
    Done,
    Error,
    Event,
    Inbound,
    Interrupted,
    Notice,
    Text,
    Thinking,
    ToolFinished,
    ToolStarted,
    TurnStarted,
)
from ...printable import printable
from ...settings import Settings
from ..mailbox import Mailbox, Signals
from ..wording import in_words
from .keys import Key, Keys
from .screen import Row, opened, unicode
from .transcript import Block, ToolBlock
from .view import View
from .wrap import wrap

FRAME = 1 / 30  # seconds between two frames at the least
CALM = 0.3  # seconds an approval is on screen before a key can answer it
DECISIONS: dict[str, Decision] = {"y": "allow", "a": "always", "n": "deny"}
SCROLLS = {"pgup": (1, 0), "pgdn": (-1, 0), "wheel-up": (0, 3), "wheel-down": (0, -3)}  # pages and rows
SIGNALS = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGTSTP,
    signal.SIGCONT,
    signal.SIGWINCH,
)
ASK_ROWS = 5  # of what is to be decided, beside the transcript
LAST_WORDS = 2.0  # seconds an interrupted turn has to end before the program leaves
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
SPIN = 0.1  # seconds a picture of the spinner stays

GLYPHS = {"user": "›", "assistant": "●", "tool": "⚙", "ok": "✓", "failed": "✗", "notice": "◦"}
ASCII = {"user": ">", "assistant": "*", "tool": "#", "ok": "ok", "failed": "x", "notice": "-"}


class Running(Protocol):
    """What the screen needs of the App, once that is built."""

    commands: Commands
    settings: Settings

    def start(self) -> None: ...
    def tokens(self, inbound: Inbound) -> int: ...
    def interrupt(self, inbound: Inbound) -> bool: ...


class Tui:
    """agent, model: names for the status line; window: the model's context in tokens; stray: a descriptor for what
    would otherwise spoil the screen."""

    name = "cli"
    peer = "cli-user"
    can_ask = True
    ask_limit: float | None = None

    def __init__(self, agent: str, model: str, window: int, stray: int) -> None:
        self._agent, self._model, self._window, self._stray = agent, model, window, stray
        self._glyphs, self._spinner = (GLYPHS, SPINNER) if unicode() else (ASCII, "|/-\\")
        self._mail = Mailbox()
        self._keys = Keys()
        self._view = View(separator=" · " if unicode() else " - ")
        self._app: Running | None = None
        self._failure: Exception | None = None
        self._waiting: deque[str] = deque()
        self._turn = ""
        self._turn_began = 0.0
        self._state = ""
        self._tokens = 0
        self._asks: deque[Ask] = deque()
        self._seen = 0.0  # when the first of them came on the screen, whole; 0: not yet
        self._typed = 0.0  # when keys last came
        self._answer_block: Block | None = None
        self._tools: dict[str, ToolBlock] = {}
        self._hint = ""  # in the status line, until the next key
        self._dirty = True
        self._drawn = 0.0
        self._deadline: float | None = None
        self._leaving = self._left = False
        self._exiting = False
        self._wrapped: tuple[str, int, list[str]] = ("", 0, [])  # an Ask's summary, for its id and a width
        self._spelled_out = ""  # the id of the Ask that the transcript holds
        self._code = 0

    # -- as a Channel

    def start(self, dispatch: Dispatch, answer: AnswerAsk) -> None:
        self._dispatch, self._answer = dispatch, answer

    def show(self, event: Event) -> None:
        self._mail.put(event)

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
        for text in self._waiting:
            print(f"not sent: {printable(text)}", file=sys.stderr)
        if self._failure is not None:
            raise self._failure
        return self._code

    def _build(self, build: Callable[[], Running]) -> None:
        try:
            app = build()
            app.start()
            self._mail.put(app)
        except Exception as error:  # the top of this thread: the main one decides
            self._mail.put(error)

    def _wait(self) -> None:
        """Sleep until there is something to do, do it, and draw when it is time."""
        timeout = self._timeout(time.monotonic())
        # Until the next frame is due, what comes in waits: many small pieces cost no more than a few large ones.
        sources: list[int | Mailbox | Signals] = [
            self._screen.keys,
            self._signals,
            *(() if self._dirty else (self._mail,)),
        ]
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
        if self._spins and now - self._drawn >= SPIN:
            self._dirty = True
        if self._dirty and now - self._drawn >= FRAME and not self._left:
            self._draw()

    def _timeout(self, now: float) -> float | None:
        waits = []
        if self._keys.patience is not None:
            waits.append(self._typed + self._keys.patience - now)
        if self._dirty:
            waits.append(self._drawn + FRAME - now)
        elif self._spins:
            waits.append(self._drawn + SPIN - now)
        if self._deadline is not None:
            waits.append(self._deadline - now)
        return max(0.0, min(waits)) if waits else None

    def _draw(self) -> None:
        self._view.strip = self._strip()
        self._view.status = self._status()
        self._screen.draw(*self._view.compose(*self._screen.size))
        self._dirty, self._drawn = False, time.monotonic()
        if self._asks and self._view.whole:
            self._seen = self._seen or self._drawn

    @property
    def _spins(self) -> bool:
        return bool(self._turn) and not self._asks

    def _take_mail(self) -> None:
        pieces: list[str] = []
        for item in self._mail.take():
            if isinstance(item, Text):
                pieces.append(item.text)
                continue
            self._write(pieces)
            self._take(item)
        self._write(pieces)

    def _write(self, pieces: list[str]) -> None:
        """More of the answer; empties the list."""
        if not pieces:
            return
        self._state, self._dirty = "writing", True
        if self._answer_block is None:
            self._answer_block = Block(self._glyphs["assistant"], "assistant")
            self._view.transcript.blocks.append(self._answer_block)
        self._answer_block.add("".join(pieces))
        pieces.clear()

    def _take(self, item: Any) -> None:
        self._dirty = True
        if isinstance(item, Event):
            self._event(item)
        elif isinstance(item, Exception):
            self._failure, self._left = item, True
        else:
            self._app = item
            self._model, self._window = item.settings.llm_model, item.settings.llm_context_window
            threading.excepthook = self._thread_failed(threading.excepthook)
            self._send_next()

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
            hinted, self._hint = bool(self._hint), ""
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
                hint, self._hint = self._hint, ""
                self._key(key, hinted=bool(hint))

    def _decide(self, key: Key, alone: bool) -> bool:
        """A key that answers the approval on screen. A letter does so only on an empty line, when it came alone (a
        paste without brackets does not), and once all of the question could be seen for a moment."""
        if not self._asks:
            return False
        if key.name == "esc":
            self._settle_ask("deny")
            return True
        if key.name != "text" or self._view.editor.text or not set(key.text.lower()) <= DECISIONS.keys():
            return False
        if alone and len(key.text) == 1 and self._seen and time.monotonic() - self._seen >= CALM:
            self._settle_ask(DECISIONS[key.text.lower()])
        return True

    def _settle_ask(self, decision: Decision) -> None:
        ask, self._seen = self._asks.popleft(), 0.0
        self._answer(self.peer, ask.id, Answer(decision))

    def _key(self, key: Key, hinted: bool) -> None:
        editor, transcript = self._view.editor, self._view.transcript
        if key.name in SCROLLS:
            rows, columns = self._screen.size
            page = self._view.heights(rows, columns)[0]
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
        else:
            editor.key(key)

    def _enter(self) -> None:
        text = self._view.editor.text
        if not text.strip():
            return
        self._view.transcript.to_end()
        self._view.editor.take()
        if text.strip() == "/exit":
            self._ask_to_leave(not self._turn or self._exiting, "/exit")
            self._exiting = True
        elif self._app and self._app.commands.is_now(text):
            self._say(text)
        else:
            self._waiting.append(text)
            self._send_next()

    def _send_next(self) -> None:
        while self._app and self._waiting and not self._turn and not self._leaving:
            self._say(self._waiting.popleft())

    def _say(self, text: str) -> None:
        assert self._app is not None
        inbound = Inbound(text, self.name, self.peer)
        if not self._app.commands.is_now(text):
            self._turn, self._turn_began, self._state = inbound.turn, time.monotonic(), "waiting"
            self._exiting = False
        self._view.transcript.blocks.append(Block(self._glyphs["user"], "user", text))
        self._dispatch(inbound)

    # -- stopping and leaving

    def _interrupt(self) -> bool:
        """Stop the turn; what is queued behind it comes back into the input line."""
        if not self._turn or not self._app:
            return False
        if self._waiting and not self._leaving:
            editor = self._view.editor
            editor.text = "\n".join((*self._waiting, *([editor.text] if editor.text else [])))
            editor.cursor = len(editor.text)
            self._waiting.clear()
        self._app.interrupt(Inbound("", self.name, self.peer))
        return True

    def _interrupt_or_leave(self, hinted: bool = False) -> None:
        if not self._interrupt():
            self._ask_to_leave(hinted, "Ctrl-C")

    def _ask_to_leave(self, sure: bool, key: str) -> None:
        """Leaving asks once, with the key that would do it; Ctrl-D on an idle line does not."""
        if sure or (key == "Ctrl-D" and not self._turn):
            self._leave()
        else:
            self._hint = f"{key} once more leaves"

    def _leave(self) -> None:
        again, self._leaving = self._leaving, True
        if not self._interrupt() or again:
            self._left = True
        self._deadline = time.monotonic() + LAST_WORDS

    # -- events

    def _event(self, event: Event) -> None:
        blocks = self._view.transcript.blocks
        if isinstance(event, Thinking):
            self._state = "thinking"
        elif isinstance(event, TurnStarted):
            self._model = event.model
        elif isinstance(event, ToolStarted):
            self._state, self._answer_block = f"running {event.name}", None
            self._tools[event.id] = ToolBlock(event.name, in_words(event.arguments), self._glyphs["tool"])
            blocks.append(self._tools[event.id])
        elif isinstance(event, ToolFinished):
            self._state = "waiting"
            if block := self._tools.pop(event.id, None):
                block.finish(event.ok, event.output, event.seconds, self._glyphs["ok" if event.ok else "failed"])
        elif isinstance(event, Ask):
            self._asks.append(event)
        elif isinstance(event, Notice):
            style = "error" if event.level == "error" else "notice"
            # Never in the middle of what is being written.
            at = blocks.index(self._answer_block) if self._answer_block else len(blocks)
            blocks.insert(at, Block(self._glyphs["notice"], style, event.text, body="" if style == "notice" else style))
        elif isinstance(event, ENDINGS):
            self._end(event)

    def _end(self, event: Event) -> None:
        blocks = self._view.transcript.blocks
        if isinstance(event, Error):
            blocks.append(Block(self._glyphs["failed"], "error", event.message, body="error"))
        elif isinstance(event, Interrupted):
            blocks.append(Block(self._glyphs["notice"], "notice", "interrupted"))
        elif isinstance(event, Done) and event.text and not (self._answer_block and event.turn == self._turn):
            glyph, style = ("assistant", "assistant") if event.model else ("notice", "notice")
            blocks.append(Block(self._glyphs[glyph], style, event.text))
        if self._app:
            self._tokens = self._app.tokens(Inbound("", self.name, self.peer))
        if event.turn != self._turn:
            return  # a command that ran beside the turn
        self._turn, self._state, self._answer_block = "", "", None
        self._asks.clear()
        self._tools.clear()
        if self._leaving:
            self._left = True
        self._send_next()

    # -- what is around the transcript

    def _strip(self) -> list[Row]:
        if self._asks:
            return self._question(self._asks[0])
        queued: list[Row] = [((f"  queued: {printable(text)}".replace("\n", " "), "dim"),) for text in self._waiting]
        return queued

    def _question(self, ask: Ask) -> list[Row]:
        """What is to be decided. What is too long for the strip is in the transcript as a whole, and its last row
        here too: it may say that there is more."""
        if self._wrapped[:2] != (ask.id, self._screen.size[1]):
            shown = wrap(printable(ask.summary), max(1, self._screen.size[1] - 2))
            self._wrapped = ask.id, self._screen.size[1], shown
        shown = self._wrapped[2]
        rows: list[Row] = [((f"{ask.tool} wants to run", "ask"),)]
        if len(shown) > ASK_ROWS:
            if ask.id != self._spelled_out:
                self._spelled_out = ask.id
                summary = f"{ask.tool} wants to run:\n{ask.summary}"
                self._view.transcript.blocks.append(Block("?", "ask", summary))
            more = f"... {len(shown) - ASK_ROWS + 1} more rows, all of them above: PgUp"
            shown = [*shown[: ASK_ROWS - 2], more, shown[-1]]
        rows += [(("  ", "ask"), (row, "")) for row in shown]
        if self._view.editor.text:
            return [*rows, (("Ctrl-C clears the line, then decide   Esc no", "ask"),)]
        return [*rows, (("y once   a always in this session   n no   Esc no", "ask"),)]

    def _status(self) -> tuple[str, Sequence[str]]:
        used = f"{_short(self._tokens)}/{_short(self._window)}" if self._tokens else ""
        left = self._hint or self._doing()
        if not self._view.transcript.at_end:
            left += f"{self._view.separator}more below: PgDn"
        return left, [each for each in (self._agent, self._model, used) if each]

    def _doing(self) -> str:
        if self._asks:
            return "your decision" if self._view.whole else "your decision: make the window larger"
        if not self._turn:
            return "ready" if self._app else "starting"
        seconds = time.monotonic() - self._turn_began
        spinner = self._spinner[int(seconds / SPIN) % len(self._spinner)]
        return f"{spinner} {self._state} {seconds:.0f}s{self._view.separator}Esc stops"


def _short(tokens: int) -> str:
    return str(tokens) if tokens < 1000 else f"{tokens / 1000:.1f}k" if tokens < 100_000 else f"{tokens // 1000}k"
