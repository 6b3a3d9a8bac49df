"""What is going on, as the screen tells it: events go in, blocks, the strip and the status line come out."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from ...events import (
    ENDINGS,
    Ask,
    Compacted,
    Done,
    Error,
    Event,
    Failover,
    Heard,
    Interrupted,
    Notice,
    Thinking,
    ToolFinished,
    ToolStarted,
    TurnStarted,
)
from ...printable import printable
from ...store import is_occasion, typed
from ..wording import compacted, failover, heard, in_words
from .screen import Row, unicode
from .transcript import Block, ToolBlock
from .view import View
from .wrap import wrap

ASK_ROWS = 5  # of what is to be decided, beside the transcript
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
SPIN = 0.1  # seconds a picture of the spinner stays

GLYPHS = {"user": "›", "assistant": "●", "tool": "⚙", "ok": "✓", "failed": "✗", "notice": "◦"}
ASCII = {"user": ">", "assistant": "*", "tool": "#", "ok": "ok", "failed": "x", "notice": "-"}


class Chat:
    """agent, model: names for the status line; window: the model's context in tokens. Everything else is set as it
    happens; `view` is what is drawn."""

    def __init__(self, agent: str, model: str, window: int) -> None:
        self.agent, self.model, self.window = agent, model, window
        self.used = ""  # the model that has answered last
        self._glyphs, self._spinner = (GLYPHS, SPINNER) if unicode() else (ASCII, "|/-\\")
        self.view = View(separator=" · " if unicode() else " - ")
        self.ready = False
        self.turn = ""  # the id of the one that runs
        self._began = 0.0
        self._state = ""
        self.tokens = 0
        self.trouble = ""  # why not all is saved
        self.locked = False  # another process has the conversation
        self.waiting: deque[str] = deque()  # messages that are not sent yet
        self.asks: deque[Ask] = deque()
        self.seen = 0.0  # when the first of them came on the screen, whole; 0: not yet
        self.hint = ""  # in the status line, until the next key
        self._answer: Block | None = None
        self._said: Block | None = None  # by the person here, while it is not being answered yet
        self._theirs: set[str] = set()  # turns of other channels
        self._tools: dict[str, ToolBlock] = {}
        self._wrapped: tuple[str, int, list[str]] = ("", 0, [])  # an Ask's summary, for its id and a width
        self._spelled_out = ""  # the id of the Ask that the transcript holds

    @property
    def spins(self) -> bool:
        return bool(self.turn) and not self.asks

    def compose(self, height: int, columns: int) -> tuple[list[Row], tuple[int, int] | None]:
        """The rows of the screen, and where the cursor stands."""
        self.view.strip = self._question(self.asks[0], columns) if self.asks else self._queue()
        self.view.status = self._status()
        return self.view.compose(height, columns)

    def drawn(self, now: float) -> None:
        """What was composed is on the screen."""
        if self.asks and self.view.whole:
            self.seen = self.seen or now

    def said(self, text: str, turn: str) -> None:
        """The person has said something; turn: the id of the turn that it begins, empty for none."""
        if turn:
            self.turn, self._began, self._state = turn, time.monotonic(), "waiting"
        said = self._add("user", text, style="user")
        self._said = said if turn else self._said

    def write(self, text: str) -> None:
        """More of the answer."""
        self._state, self._said = "writing", None
        if self._answer is None:
            self._answer = self._add("assistant", "", style="assistant")
        self._answer.add(text)

    def event(self, event: Event) -> None:
        """Everything but text, which comes in bulk."""
        blocks = self.view.transcript.blocks
        if event.turn == self.turn:
            self._said = None
        if isinstance(event, Thinking):
            self._state = "thinking"
        elif isinstance(event, TurnStarted):
            self.model, self.used = event.model, ""
        elif isinstance(event, ToolStarted):
            self._state, self._answer = f"running {event.name}", None
            self._tools[event.id] = ToolBlock(event.name, in_words(event.arguments), self._glyphs["tool"])
            blocks.append(self._tools[event.id])
        elif isinstance(event, ToolFinished):
            self._state = "waiting"
            if block := self._tools.pop(event.id, None):
                block.finish(event.ok, event.output, self._glyphs["ok" if event.ok else "failed"], event.seconds)
        elif isinstance(event, Ask):
            self.asks.append(event)
        elif isinstance(event, Failover):
            self._void(event)
        elif isinstance(event, Compacted):
            self._note(Block(self._glyphs["notice"], "notice", compacted(event)))
        elif isinstance(event, Heard):
            self._theirs.add(event.turn)
            self._note(Block(self._glyphs["notice"], "notice", heard(event)))
        elif isinstance(event, Notice):
            style = "error" if event.level == "error" else "notice"
            self._note(Block(self._glyphs["notice"], style, event.text, body="" if style == "notice" else style))
        elif isinstance(event, ENDINGS):
            self._end(event)

    def recall(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """What was said before, in a conversation that goes on."""
        blocks = self.view.transcript.blocks
        tools: dict[str, ToolBlock] = {}
        for each in messages:
            content = str(each.get("content") or "")
            if each["role"] == "tool":
                ok = each.get("ok", True)
                if block := tools.pop(each["tool_call_id"], None):
                    block.finish(ok, content, self._glyphs["ok" if ok else "failed"])
                continue
            kind = "user" if each["role"] == "user" else "assistant"
            if content and each.get("by"):
                if not is_occasion(each):
                    self._add("notice", f"{each['by']}: {content}", style="notice")
            elif content:
                self._add(kind, typed(each), style=kind)
            if each.get("interrupted"):
                self._add("notice", "interrupted", style="notice")
            for call in each.get("tool_calls") or ():
                arguments = in_words(json.loads(call["function"]["arguments"]))
                tools[call["id"]] = ToolBlock(call["function"]["name"], arguments, self._glyphs["tool"])
                blocks.append(tools[call["id"]])
        for block in tools.values():
            block.finish(False, "interrupted", self._glyphs["failed"])

    def _void(self, event: Failover) -> None:
        """What was shown of the reply is taken back."""
        self._state = "waiting"
        if self._answer is not None:
            self.view.transcript.remove(self._answer)
            self._answer = None
        if said := failover(event):
            self._note(Block(self._glyphs["notice"], "notice", said))

    def _note(self, notice: Block) -> None:
        """Beside the answer: never in the middle of what is being written, nor between question and answer."""
        blocks, before = self.view.transcript.blocks, self._answer or self._said
        blocks.insert(blocks.index(before) if before else len(blocks), notice)

    def _end(self, event: Event) -> None:
        if isinstance(event, Error):
            self._close(event, "failed", event.message, style="error", body="error")
        elif isinstance(event, Interrupted):
            if event.text and event.turn in self._theirs:
                self._close(event, "assistant", event.text, style="assistant")
            self._close(event, "notice", "interrupted", style="notice")
        elif isinstance(event, Done) and event.text and not (self._answer and event.turn == self.turn):
            kind = "assistant" if event.model else "notice"
            self._close(event, kind, event.text, style=kind)
        self._theirs.discard(event.turn)
        if event.turn == self.turn:  # and not a command that ran beside the turn
            self.turn, self._state, self._answer, self.seen = "", "", None, 0.0
            self.asks.clear()
            self._tools.clear()

    def _close(self, event: Event, glyph: str, text: str, style: str, body: str = "") -> None:
        """What a turn ends with; of another channel's, it goes where that was told of."""
        if event.turn in self._theirs:
            self._note(Block(self._glyphs[glyph], style, text, body=body))
        else:
            self._add(glyph, text, style, body)

    def _add(self, glyph: str, text: str, style: str, body: str = "") -> Block:
        block = Block(self._glyphs[glyph], style, text, body=body)
        self.view.transcript.blocks.append(block)
        return block

    # -- what is around the transcript

    def _queue(self) -> list[Row]:
        return [((f"  queued: {printable(text)}".replace("\n", " "), "dim"),) for text in self.waiting]

    def _question(self, ask: Ask, columns: int) -> list[Row]:
        """What is to be decided. What is too long for the strip is in the transcript as a whole, and its last row
        here too: it may say that there is more."""
        if self._wrapped[:2] != (ask.id, columns):
            self._wrapped = ask.id, columns, wrap(printable(ask.summary), max(1, columns - 2))
        shown = self._wrapped[2]
        if len(shown) > ASK_ROWS:
            if ask.id != self._spelled_out:
                self._spelled_out = ask.id
                asked = Block("?", "ask", f"{ask.tool} wants to run:\n{ask.summary}")
                self.view.transcript.blocks.append(asked)
            more = f"... {len(shown) - ASK_ROWS + 1} more rows, all of them above: PgUp"
            shown = [*shown[: ASK_ROWS - 2], more, shown[-1]]
        of_person = ask.tool.startswith("/")  # a command, and not a tool: nothing is allowed for ever
        rows: list[Row] = [((ask.tool if of_person else f"{ask.tool} wants to run", "ask"),)]
        rows += [(("  ", "ask"), (row, "")) for row in shown]
        if self.view.editor.text:
            return [*rows, (("Ctrl-C clears the line, then decide   Esc no", "ask"),)]
        keys = "y yes   n no   Esc no" if of_person else "y once   a always in this session   n no   Esc no"
        return [*rows, ((keys, "ask"),)]

    def _status(self) -> tuple[str, Sequence[str]]:
        used = f"{_short(self.tokens)}/{_short(self.window)}" if self.tokens else ""
        trouble = "read only" if self.locked else "not saved" if self.trouble else ""
        left = self.hint or self._doing()
        if not self.view.transcript.at_end:
            left += f"{self.view.separator}more below: PgDn"
        model = f"{self.used} for {self.model}" if self.used not in ("", self.model) else self.model
        return left, [each for each in (self.agent, model, used, trouble) if each]

    def _doing(self) -> str:
        if self.asks:
            queued = f"{self.view.separator}{len(self.waiting)} queued" if self.waiting else ""
            return f"your decision{queued}" if self.view.whole else "your decision: make the window larger"
        if not self.turn:
            return "ready" if self.ready else "starting"
        seconds = time.monotonic() - self._began
        spinner = self._spinner[int(seconds / SPIN) % len(self._spinner)]
        return f"{spinner} {self._state} {seconds:.0f}s{self.view.separator}Esc stops"


def _short(tokens: int) -> str:
    return str(tokens) if tokens < 1000 else f"{tokens / 1000:.1f}k" if tokens < 100_000 else f"{tokens // 1000}k"
