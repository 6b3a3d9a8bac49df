"""A long text in pieces that a channel takes: cut where it hurts least, with code blocks that stay code blocks.

A length is counted in Unicode code points, as Discord counts its 2,000 (discord/discord-api-docs#1315), and Python too.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

ROOM = 8  # the part of a piece, as a divisor, that must be left for code beside the lines that open and close its block

# A code block begins and ends with marks of three or more. It is one where CommonMark 0.31 has it (section 4.5), in
# lists and quotes too, and where Discord alone does: behind text, and indented by more than that.
_RUNS = re.compile("`{3,}|~{3,}")
_CONTAINERS = re.compile(r"[ \t]*(?:(?:>|(?:[-*+]|[0-9]{1,9}[.)])(?=[ \t]))[ \t]*)*")
_QUOTE = re.compile(r"(?:\n[ \t]*>[^\n]*)*")
_LANGUAGE = re.compile(r"[A-Za-z0-9_+.#-]+")
_BLANKS = re.compile(r"\s*")
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")

JOINER = "\u200d"


class _Fence(NamedTuple):
    """A code block. Its opening line is at `start`, or its marks where they stand behind text, the code at `body`, the
    closing line, or marks, from `end` to `after`, which both are behind the text where there is none; opening, closing:
    the lines to go on with it, and to break it off; quote: what a line of code begins with in a quote."""

    start: int
    body: int
    end: int
    after: int
    opening: str
    closing: str
    quote: str

    def head(self, text: str, at: int) -> str:
        """What a piece begins with that goes on with it there."""
        return f"{self.opening}\n" + (self.quote if text[at - 1] != "\n" else "")


class _Cut(NamedTuple):
    """A piece ends at `stop`, the next one begins at `go`; fence: the code block that is cut, if any."""

    stop: int
    go: int
    fence: _Fence | None


def pieces(text: str, limit: int | None) -> list[str]:
    """The text in pieces of at most `limit` characters (None: one piece), none of them blank; a blank text has none.

    It is cut between paragraphs or around a code block, else between lines, else between words, else anywhere but
    inside of what is seen as one character. A code block that is cut is closed, and opened again, with its language,
    in the next piece; only where the limit is too small for that it is cut like any other text. White space at a cut
    is dropped, but not in a code block; nothing else is. Takes time in proportion to the text's length. Raises
    ValueError for a limit below 1.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"a piece of at most {limit} characters holds nothing")
    if not text.strip():
        return []
    if limit is None or len(text) <= limit:
        return [text]
    fences = _fences(text, limit)
    found: list[str] = []
    at = text.rfind("\n", 0, _past_blanks(text, 0)) + 1
    first = 0  # of the fences that are not behind us
    while at < len(text):
        while first < len(fences) and fences[first].after <= at:
            first += 1
        inside = fences[first] if first < len(fences) and fences[first].body <= at else None
        head = inside.head(text, at) if inside else ""
        if len(text) - at <= limit and (last := _last(text, at, head, inside)) is not None and len(last) <= limit:
            if text[at:].strip():
                found.append(last)
            break
        cut = _cut(text, at, limit - len(head), fences, first)
        if cut.fence:
            found.append(f"{head}{text[at : cut.stop]}\n{cut.fence.closing}")
        elif body := text[at : cut.stop].rstrip():
            found.append(head + body)
        at = cut.go
    return found


def _last(text: str, at: int, head: str, inside: _Fence | None) -> str:
    """All the rest. A block that was opened again is closed, even where the text never did."""
    if inside is None or inside.end <= len(text):
        return head + text[at:]
    return f"{head}{text[at:].rstrip()}\n{inside.closing}"


def _cut(text: str, at: int, room: int, fences: list[_Fence], first: int) -> _Cut:
    """Where to cut what follows `at`, which does not fit into `room` characters; fences[first:] are not behind it."""
    far = at + room
    ahead = first
    while ahead < len(fences) and fences[ahead].start <= far:
        ahead += 1
    line: tuple[int, _Fence | None] | None = None  # the last place between lines, and the code block there, if any
    here = text.rfind("\n", at, far + 1)
    while here >= 0:
        while ahead > first and fences[ahead - 1].start > here:
            ahead -= 1
        before = fences[ahead - 1] if ahead > first else None
        if before and here < before.after:
            if before.body <= here <= far - len(before.closing) - 1:
                line = line or (here, before)
        else:
            at_block = (before and before.after == here) or (ahead < len(fences) and fences[ahead].start == here + 1)
            if at_block or _BLANK_LINE.match(text, here):
                return _Cut(here, _past_blanks(text, here), None)
            line = line or (here, None)
        here = text.rfind("\n", at, here)
    if line is None:
        return _cut_line(text, at, far, fences[first] if first < len(fences) else None)
    here, fence = line
    if fence is None:
        return _Cut(here, _past_blanks(text, here), None)
    if here + 1 == fence.end:  # all that is left of the block is its closing line: the one that is added stands for it
        return _Cut(here, _past_blanks(text, fence.after), fence)
    return _Cut(here, here + 1, fence)


def _cut_line(text: str, at: int, far: int, fence: _Fence | None) -> _Cut:
    """Where to cut a line that is too long: between words, else between characters."""
    if fence is None or fence.start > at:
        far = min(far, fence.start) if fence else far
        low = _BLANKS.match(text, at, far).end()  # type: ignore[union-attr]  # it always matches
        for here in range(far, low, -1):
            if text[here].isspace():
                return _Cut(here, _past_blanks(text, here), None)
        here = _between_characters(text, low, far)
        return _Cut(here, _past_blanks(text, here), None)
    far -= len(fence.closing) + 1
    start = max(at, fence.body)
    low = _BLANKS.match(text, start, far).end()  # type: ignore[union-attr]
    for here in range(far, low, -1):
        if text[here - 1].isspace():
            return _Cut(here, here, fence)
    here = _between_characters(text, start, far)
    return _Cut(here, here, fence)


def _between_characters(text: str, low: int, far: int) -> int:
    """The last place up to `far`, but behind `low`, that is not inside of what is seen as one character; `far` where
    there is none. The common cases of Unicode's rules for grapheme clusters (UAX 29), not all of them."""
    for here in range(far, low, -1):
        if not _joined(text, low, here):
            return here
    return far


def _joined(text: str, low: int, here: int) -> bool:
    before, after = text[here - 1], text[here]
    if after < "\u0300":
        return before == "\r" and after == "\n"
    if JOINER in (before, after) or after == "\u200c" or unicodedata.category(after)[0] == "M":
        return True
    if _is_flag(after):  # two of them are a flag
        start = here
        while start > low and _is_flag(text[start - 1]):
            start -= 1
        return (here - start) % 2 == 1
    # Skin tones, the tags of regional flags, and the later letters of a Korean syllable.
    return (
        "\U0001f3fb" <= after <= "\U0001f3ff" or "\U000e0020" <= after <= "\U000e007f" or "\u1160" <= after <= "\u11ff"
    )


def _is_flag(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _past_blanks(text: str, at: int) -> int:
    """Where a piece begins after a cut: behind the white space, but before the indentation of a new line."""
    end = _BLANKS.match(text, at).end()  # type: ignore[union-attr]
    line = text.rfind("\n", at, end)
    return end if line < 0 or end == len(text) else line + 1


def _fences(text: str, limit: int) -> list[_Fence]:
    """The code blocks of a text that can be closed and opened again within the limit."""
    found: list[_Fence] = []
    line = _Line(text)
    opened: _Opened | None = None
    for run in _RUNS.finditer(text):
        line.take(run)
        if opened is not None and run.start() > opened.until:
            opened = None  # its quote has ended before it was closed
        if opened is not None and (closed := opened.closed(line)) is not None:
            found += _carried(opened, *closed, limit)
            opened = None
        elif opened is None or (opened.doubtful and line.is_named()):
            opened = line.opened() or opened
    if opened is not None and not opened.doubtful:
        found += _carried(opened, len(text) + 1, len(text) + 1, limit)
    return found


class _Opened(NamedTuple):
    """A block that is open. before: what stands before the marks in the lines that are added; until: where its quote
    ends; doubtful: it is none unless something closes it; the others as in _Fence."""

    start: int
    body: int
    before: str
    marks: str
    language: str
    until: int
    doubtful: bool
    inline: bool

    def closed(self, line: _Line) -> tuple[int, int] | None:
        """Where its closing line begins and ends, if the marks there close it."""
        before, marks = line.before, line.marks
        if self.inline:
            if marks[0] != "`" or line.is_named():
                return None
            return (line.at if before is None or before.strip() else line.start), line.at + len(marks)
        if before is None or before.strip(" \t>") or not marks.startswith(self.marks) or line.rest().strip():
            return None
        near = _width(before) <= _width(self.before) + 3
        return (line.start, line.end) if near and before.count(">") == self.before.count(">") else None


class _Line:
    """The line of the marks that are looked at. at, marks: those; start, end: the line's; before: what stands before
    them, if it is nothing but indentation and the marks of quotes and lists, else None."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.at, self.marks = 0, ""
        self.before: str | None = None
        self.start, self.end = 0, -1
        self._in_span = False  # of code within the line
        self._quote_end = -1

    def take(self, run: re.Match[str]) -> None:
        """Look at these marks, the next ones of the text."""
        self.at, self.marks, self.before = run.start(), run[0], None
        if self.at > self.end:
            self.start = self._text.rfind("\n", max(0, self.end), self.at) + 1
            end = self._text.find("\n", self.at)
            self.end = len(self._text) if end < 0 else end
            self._in_span = False
            before = _CONTAINERS.match(self._text, self.start, self.at)
            if before is not None and before.end() == self.at:
                self.before = before[0]

    def rest(self) -> str:
        """What follows the marks."""
        return self._text[self.at + len(self.marks) : self.end]

    def is_named(self) -> bool:
        """Can they only open a block, since they are followed by a language, and nothing else?"""
        return self._is_fence() and bool(_LANGUAGE.fullmatch(self.rest().rstrip()))

    def opened(self) -> _Opened | None:
        """The block that they open, if any."""
        if self._in_span:
            self._in_span = self.marks[0] != "`"
        elif self._is_fence():
            return self._fence(self.before or "")
        elif self.marks[0] == "`" and self._has("`"):
            self._in_span = self._has("```")
        elif self.marks[0] == "`" and self.end < len(self._text):
            return self._inline()
        return None

    def _has(self, marks: str) -> bool:
        return self._text.find(marks, self.at + len(self.marks), self.end) >= 0

    def _is_fence(self) -> bool:
        return self.before is not None and (self.marks[0] == "~" or not self._has("`"))

    def _fence(self, before: str) -> _Opened:
        if ">>> " in before:  # for Discord a quote of all that follows
            return self._inline()
        inert = re.sub(r"[^>\s]", " ", before)  # a list has one item, not one for each piece
        doubtful = ">" in before or (not before.strip() and _width(before) > 3)
        until = self._end_of_quote() if ">" in before else len(self._text)
        language = "".join(self.rest().split()[:1])
        return _Opened(self.start, self.end + 1, inert, self.marks, language, until, doubtful, False)

    def _inline(self) -> _Opened:
        rest = self.rest().strip()
        language = rest if _LANGUAGE.fullmatch(rest) else ""
        return _Opened(self.at, self.end + 1, "", self.marks, language, len(self._text), True, True)

    def _end_of_quote(self) -> int:
        if self.start > self._quote_end:
            self._quote_end = _QUOTE.match(self._text, self.end).end()  # type: ignore[union-attr]  # it always matches
        return self._quote_end


def _width(indentation: str) -> int:
    """In columns, where a tab goes to the next multiple of 4, as in CommonMark 0.31 (section 2.2)."""
    return len(indentation.expandtabs(4))


def _carried(opened: _Opened, end: int, after: int, limit: int) -> list[_Fence]:
    """A block that is known, where the limit is not too small for it."""
    before = opened.before
    closing = before + opened.marks
    quote = before[: before.rfind(">") + 1]
    quote += " " if quote else ""
    for opening in (closing + opened.language, closing):
        shortest = max(1, limit // ROOM) + len(closing) + len(quote) + 2
        if len(opening) + shortest <= limit and opened.body - opened.start + len(closing) + 2 <= limit:
            return [_Fence(opened.start, opened.body, end, after, opening, closing, quote)]
    return []
