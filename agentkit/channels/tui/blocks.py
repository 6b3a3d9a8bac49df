"""What stands in the transcript: messages, answers, notes, failures, and the cards of tools.

A conversation that goes on makes a block for each of its messages at once, and most are never drawn: making one costs
next to nothing, and its text is cleaned, split and wrapped when that is first needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import chain

from .block import MARGIN, Block, clean, counted, one_line, short, told
from .card import ToolCard
from .markdown import Markdown
from .style import Row
from .wrap import hang, wrap

__all__ = ["Answer", "Block", "Failure", "Note", "Said", "ToolCard"]

LONG = 12  # lines that a message may have before it is folded
KEPT = 8  # lines of one that is folded
TALL = 40  # rows that a message may take

_LEVELS = {"warn": "notice bold", "error": "error bold"}

# A line end or an escape sequence that may go on in the next piece of a stream.
_OPEN = re.compile(r"(?:\r|(?:\x1b\[|\x9b)[0-?]*[ -/]*|\x1b[ -/]*)\Z")
_LONGEST_OPEN = 32


class Said(Block):
    """What a person said, as it was typed."""

    folded = True
    _plain: str | None = None
    _lines: list[str] | None = None

    def __init__(self, text: str) -> None:
        self._text = text

    @property
    def plain(self) -> str:
        if self._plain is None:
            self._plain = self._text = clean(self._text)
        return self._plain

    @property
    def foldable(self) -> bool:
        return bool(self._shown(self._columns)[1])

    def _rows(self, columns: int) -> Sequence[Row]:
        rows, hidden = self._shown(columns)
        if hidden and self.folded:
            return [*_hung("›", "user", rows), *told(f"… {hidden} hidden · Ctrl-O shows them", "dim", columns)]
        return _hung("›", "user", chain.from_iterable(wrap(line, columns - MARGIN) for line in self._split()))

    def _shown(self, columns: int) -> tuple[list[str], str]:
        """The rows that stay when it is folded, and how much that hides; empty: nothing."""
        lines, room = self._split(), max(1, (columns or 80) - MARGIN)
        kept = 0
        rows: list[str] = []
        for line in lines if len(lines) <= LONG else lines[:KEPT]:
            wrapped = wrap(line[: TALL * 4 * room], room)
            if rows and len(rows) + len(wrapped) > TALL:
                break
            rows, kept = rows + wrapped, kept + 1
        if len(rows) > TALL:  # the first line alone
            rows = rows[:KEPT]
            return rows, f"{sum(map(len, lines)) - sum(map(len, rows)):,} characters"
        return rows, counted(len(lines) - kept) if kept < len(lines) else ""

    def _split(self) -> list[str]:
        if self._lines is None:
            self._lines = self.plain.strip("\n").split("\n")
        return self._lines


class Answer(Block):
    """What the model says, as Markdown, while it says it or as a whole."""

    whole = True  # False: it breaks off
    _text = ""  # all that has been taken, as long as it is not drawn
    _held = ""  # the end of what came, if that may go on
    _markdown: Markdown | None = None

    def __init__(self, text: str = "") -> None:
        self._came = [text]

    def add(self, text: str) -> None:
        """More of it has come; cut anywhere."""
        self._came.append(text)

    @property
    def text(self) -> str:
        """Its source, as it came but for what would act on a terminal."""
        self._take()
        return self._text if self._markdown is None else self._markdown.text

    @property
    def code(self) -> list[str]:
        """The contents of its fenced code blocks."""
        return self._made().code if "```" in self.text or "~~~" in self.text else []

    @property
    def plain(self) -> str:
        """The source, and where words are emphasised within, that without the marks too: a person looks for either."""
        text = self.text
        bare = text.replace("*", "").replace("`", "")
        return text if len(bare) == len(text) else f"{text}\n{bare}"

    def rows(self, columns: int) -> Sequence[Row]:
        return self._made().rows(max(1, columns))

    def _made(self) -> Markdown:
        self._take()
        if self._markdown is None:
            self._markdown = Markdown("●", "assistant")
            self._markdown.add(self._text)
            self._text = ""
        return self._markdown

    def _take(self) -> None:
        if not self._came:
            return
        text = self._held + "".join(self._came)
        self._came.clear()
        self._held = ""
        if not text.isprintable() and (unfinished := _OPEN.search(text, max(0, len(text) - _LONGEST_OPEN))):
            text, self._held = text[: unfinished.start()], unfinished[0]
        text = clean(text)
        if self._markdown is None:
            self._text += text
        else:
            self._markdown.add(text)


class Note(Block):
    """Something to know that is no part of an answer. level: of a Notice."""

    def __init__(self, text: str, level: str = "info") -> None:
        self._text, self._level = text, level

    @property
    def plain(self) -> str:
        return clean(self._text)

    def _rows(self, columns: int) -> Sequence[Row]:
        return _hung("◦", _LEVELS.get(self._level, "notice"), hang(self.plain.strip("\n"), columns - MARGIN))


class Failure(Block):
    """A turn that failed. category: of the error; message: with what to do next; log: a path, or empty."""

    def __init__(self, category: str, message: str, log: str = "") -> None:
        self._category, self._message, self._log = category, message, log

    @property
    def plain(self) -> str:
        log = f"log: {self._log}" if self._log else ""
        return clean("\n".join(filter(None, (self._words, self._message, log))))

    @property
    def _words(self) -> str:
        return "unknown error" if self._category == "unknown" else self._category.replace("_", " ")

    def _rows(self, columns: int) -> Sequence[Row]:
        head = short(one_line(f"✗ {self._words}"), columns)
        rows: list[Row] = [(), ((head, "error bold"),)]
        if message := clean(self._message).strip("\n"):
            rows += told(message, "", columns)
        return rows + told(one_line(f"log: {self._log}"), "dim", columns) if self._log else rows


def _hung(glyph: str, style: str, texts: Iterable[str]) -> list[Row]:
    """Rows behind a glyph, with a margin as wide as that."""
    rows: list[Row] = [()]
    for text in texts:
        rows.append(((f"  {text}", ""),) if len(rows) > 1 else ((glyph, style), (f" {text}", "")))
    return rows
