"""What each line of Markdown is, given the lines before it: lines in, items out, nothing of how wide the screen is."""

from __future__ import annotations

import re
from typing import NamedTuple

from .inline import LONGEST, inline
from .style import Span
from .wrap import TAB, width


class Line(NamedTuple):
    """A line: what stands before its first row, what before its others (as wide), and its text.

    `kind` is text, blank, rule (its text is nothing), open (of a fence), close, or code (one piece, as it came).
    """

    lead: list[Span]
    hang: list[Span]
    body: list[Span]
    kind: str = "text"


class Head(NamedTuple):
    """The first row of a table; the alignment of each of its columns: left, right or center."""

    lead: list[Span]
    hang: list[Span]
    cells: list[list[Span]]
    align: list[str]


class Cells(list[list[Span]]):
    """A further row of the table, with at most as many cells as the first."""


Item = Line | Head | Cells

# Markers in a row before a line: past them they are taken as text.
_DEEPEST = 16
_BAR: Span = ("│ ", "quote")
_BLANK = Line([], [], [], "blank")
_QUOTE = re.compile(r" *> ?")
_MARKER = re.compile(r"( *)(?:(>) ?|([-*+]|\d{1,9}[.)])(?:( +)|$)(?:\[([ xX])\](?: +|$))?)")
_HEADING = re.compile(r"#{1,6}(?: +|$)")
_FENCE = re.compile(r"(`{3,})([^`]*)$|(~{3,})(.*)$")
_PIPE = re.compile(r"(?<!\\)\|")
_DELIMITER = re.compile(r":?-+:?")
_ALIGN = {"00": "left", "10": "left", "01": "right", "11": "center"}


class _Place:
    """Where the text of a line begins and what stands before it."""

    __slots__ = ("at", "base", "hang", "lead", "listed", "quotes", "verbatim")

    def __init__(self) -> None:
        self.lead: list[Span] = []
        self.hang: list[Span] = []
        self.at = 0
        self.base = 0  # the column behind the last quote marker
        self.quotes = 0
        self.listed = False
        self.verbatim = False

    def before(self, lead: str, hang: str) -> None:
        """More stands before the text."""
        self.lead, self.hang = _before(self.lead, lead), _before(self.hang, hang)


class _Fence(NamedTuple):
    mark: str
    indent: int
    quotes: int
    hang: list[Span]


class Lines:
    """The lines of one text, one after the other. A shallow copy goes on by itself and leaves the original alone."""

    def __init__(self) -> None:
        self._fence: _Fence | None = None
        # A line that is the head of a table if the next one says so, its cells, the quotes it stands in.
        self._held: tuple[Line, list[str], int] | None = None
        self._table: tuple[int, int] | None = None  # its columns, the quotes it stands in
        self._content = 0  # the column where the text of the last list item begins; 0: there is no list
        self._began = self._gap = False
        self._bare: list[Span] | None = None  # the markers of the last line, where it had nothing else

    def line(self, source: str) -> list[Item]:
        """What becomes of the next complete line."""
        items: list[Item] = []
        if self._fence is not None:
            if (inside := self._code(self._fence, source)) is not None:
                return [inside]
            items.append(self._closed(self._fence))
        line = source.expandtabs(TAB).rstrip()
        if not line:
            self._gap, self._table = self._began, None
            return items + self.end()
        place = self._markers(line)
        text = line[place.at :]
        short = len(line) <= LONGEST and not place.verbatim
        cells = _split(text) if (short or self._table) and "|" in text else []
        if self._table and self._table[1] == place.quotes and cells and not place.listed:
            return [*items, Cells(_parsed(_fitted(cells, self._table[0]), short))]
        self._table = None
        if self._held and (head := self._head(*self._held, place.quotes, cells)):
            return [*items, head]
        items += self.end()
        if text or not place.quotes or place.lead != self._bare:
            if self._gap:
                items.append(_BLANK)
            items.append(self._single(place, text) if short else Line(place.lead, place.hang, [(text, "")]))
            if cells and short and isinstance(last := items[-1], Line) and last.kind == "text":
                self._held = (last, cells, place.quotes)
                items.pop()
        self._began, self._gap, self._bare = True, False, None if text else place.lead
        return items

    def end(self) -> list[Item]:
        """What was held back for a line that would tell what it is."""
        held, self._held = self._held, None
        return [held[0]] if held else []

    def _markers(self, line: str) -> _Place:
        """Takes quote and list markers off the beginning of a line, in any order."""
        place = _Place()
        if self._gap and line[0] != " ":
            self._content = 0
        for _ in range(_DEEPEST):
            at = place.at
            indent = _spaces(line, at)
            place.verbatim = not place.listed and at + indent >= max(place.base, self._content) + 4
            found = None if place.verbatim or at == len(line) or _is_rule(line[at:]) else _MARKER.match(line, at)
            if not found:
                place.before(" " * indent, " " * indent)
                place.at += indent
                break
            place.at = found.end()
            place.before(found[1], found[1])
            if found[2]:
                place.base, place.quotes = place.at, place.quotes + 1
                place.lead, place.hang = [*place.lead, _BAR], [*place.hang, _BAR]
                continue
            place.listed = True
            spaces = len(found[4] or " ")
            self._content = found.end(3) + (spaces if spaces < 5 else 1)
            marker = f"{found[3]} " if found[3][0].isdigit() else "• " if found[5] is None else ""
            marker += "" if found[5] is None else "☐ " if found[5] == " " else "☑ "
            place.before(marker, " " * width(marker))
        return place

    def _single(self, place: _Place, text: str) -> Line:
        """A line that is what it is by itself."""
        lead, hang = place.lead, place.hang
        if found := _FENCE.match(text):
            self._fence = _Fence(found[1] or found[3], place.at - place.base, place.quotes, hang)
            language = (found[2] or found[4] or "").strip().partition(" ")[0]
            return Line(lead, hang, [(f"┌ {language}".rstrip(), "dim")], "open")
        if _is_rule(text):
            return Line(lead, hang, [], "rule")
        if found := _HEADING.match(text):
            title = text[found.end() :]
            if (shorter := title.rstrip("#")) == "" or shorter[-1] == " ":
                title = shorter.rstrip()
            styled = [(part, f"bold heading {style.replace('bold', '')}".strip()) for part, style in inline(title)]
            return Line(lead, hang, styled)
        if (len(text) - len(text.rstrip("\\"))) % 2:
            text = text[:-1].rstrip()  # a hard break: every line is one here
        return Line(lead, hang, inline(text))

    def _code(self, fence: _Fence, source: str) -> Line | None:
        """A line within a fence; None: it is out of the quote that the fence is in."""
        at = 0
        for _ in range(fence.quotes):
            if not (found := _QUOTE.match(source, at)):
                return None
            at = found.end()
        text = _dedented(source[at:], fence.indent)
        bare = text.strip(" \t")
        if bare.startswith(fence.mark) and not bare.strip(fence.mark[0]) and not text.startswith(("    ", "\t")):
            return self._closed(fence)
        return Line(fence.hang, fence.hang, [(text, "code")], "code")

    def _closed(self, fence: _Fence) -> Line:
        self._fence = None
        return Line(fence.hang, fence.hang, [("└", "dim")], "close")

    def _head(self, line: Line, titles: list[str], quotes: int, here: int, cells: list[str]) -> Head | None:
        """The head of a table that was held back, if these are the cells of a delimiter row for it."""
        if here != quotes or len(cells) != len(titles) or not all(map(_DELIMITER.fullmatch, cells)):
            return None
        self._held, self._table = None, (len(cells), quotes)
        align = [_ALIGN[f"{cell[0] == ':':d}{cell[-1] == ':':d}"] for cell in cells]
        return Head(line.lead, line.hang, _parsed(titles, True), align)


def _before(prefix: list[Span], text: str) -> list[Span]:
    """A prefix with more text at its end."""
    if not text:
        return prefix
    if prefix and prefix[-1][1] == "":
        return [*prefix[:-1], (prefix[-1][0] + text, "")]
    return [*prefix, (text, "")]


def _spaces(line: str, at: int) -> int:
    """How many spaces are there."""
    end = at
    while end < len(line) and line[end] == " ":
        end += 1
    return end - at


def _is_rule(text: str) -> bool:
    bare = text.replace(" ", "") if len(text) <= LONGEST else ""
    return len(bare) > 2 and bare[0] in "-*_=" and bare == bare[0] * len(bare)


def _split(text: str) -> list[str]:
    """The cells of a table row."""
    cells = [cell.replace("\\|", "|").strip() for cell in _PIPE.split(text)]
    return cells[not cells[0] : len(cells) - (not cells[-1])] or [""]


def _fitted(cells: list[str], columns: int) -> list[str]:
    """No more cells than the table has columns; what is too much stays readable in the last."""
    return cells if len(cells) <= columns else [*cells[: columns - 1], " | ".join(cells[columns - 1 :])]


def _parsed(cells: list[str], short: bool) -> list[list[Span]]:
    return [inline(cell) if short else [(cell, "")] if cell else [] for cell in cells]


def _dedented(text: str, columns: int) -> str:
    """Text with as much of its indent taken off as there is, up to so many columns."""
    at = column = 0
    while at < len(text) and column < columns and text[at] in " \t":
        column += 1 if text[at] == " " else TAB - column % TAB
        at += 1
    return " " * (column - columns) + text[at:]
