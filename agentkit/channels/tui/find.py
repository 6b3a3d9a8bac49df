"""Looking for words in the transcript: which blocks have them, where the next ones are, and how they stand out."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from .block import Block
from .style import Row, Span
from .transcript import Transcript
from .wrap import width

Found = tuple[int, int]  # where an occurrence begins, and where it ends

# What a row may have between two words of the text, or within a long one, that the text has not.
_BETWEEN = re.compile(r"[\s│]+")


class Find:
    """A search, which moves the view to what it finds. Capitals do not matter."""

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._query = ""
        self._folded = ""
        self._matches: list[int] = []  # the blocks that have it, by index
        self._place = -1  # in these, of the one that is shown
        self._at: Block | None = None  # which that is
        self._row = 0

    @property
    def query(self) -> str:
        return self._query

    @query.setter
    def query(self, query: str) -> None:
        """Look for this: the nearest one upwards from what is in view is shown, else the last of all."""
        self._query, self._folded = query, query.casefold()
        self._scan()
        self._show_nearest()

    @property
    def count(self) -> int:
        """How many blocks have it."""
        return len(self._matches)

    @property
    def position(self) -> int:
        """Which of these is shown, from 1; 0: none."""
        return self._place + 1

    def next(self) -> None:
        """Go to the next one downwards; after the last comes the first."""
        self._go(1)

    def previous(self) -> None:
        """Go to the next one upwards; before the first comes the last."""
        self._go(-1)

    def marked(self, rows: Sequence[Row]) -> list[Row]:
        """These rows, with everything that is looked for in the style `match` besides its own."""
        if not self._folded:
            return list(rows)
        return [_marked(row, found) if (found := occurrences(_text(row), self._folded)) else row for row in rows]

    def _scan(self) -> None:
        """Look through everything: also what has come or grown since is found."""
        folded = self._folded
        blocks = self._transcript.blocks if folded else ()
        self._matches = [at for at, block in enumerate(blocks) if folded in block.plain.casefold()]
        self._place = -1

    def _show_nearest(self) -> None:
        """Go upwards from the bottom of the view."""
        self._at = None
        if not self._matches:
            return
        _, (lowest, row) = self._transcript.edges()
        place = bisect_right(self._matches, lowest) - 1
        if place >= 0 and self._matches[place] == lowest:
            rows = self._rows(self._transcript.blocks[lowest])
            if above := [each for each in rows if each <= row]:
                return self._show(place, above[-1])
            place -= bool(rows)  # what is below is not upwards; what is hidden is here
        self._enter(place, last=True)

    def _go(self, step: int) -> None:
        """To the next match in a block that is not in view with the one before, else to the next block."""
        self._scan()
        blocks = self._transcript.blocks
        at = next((at for at in reversed(self._matches) if blocks[at] is self._at), None)
        if at is None:
            return self._show_nearest()
        top, bottom = self._transcript.edges()
        rows = self._rows(blocks[at])
        if step < 0:
            ahead = [row for row in rows if row < self._row and (at, row) < top]
        else:
            ahead = [row for row in rows if row > self._row and (at, row) > bottom]
        if ahead:
            self._show(bisect_left(self._matches, at), ahead[-1 if step < 0 else 0])
        else:
            self._enter(bisect_left(self._matches, at) + step, last=step < 0)

    def _enter(self, place: int, last: bool) -> None:
        """Go to the first or the last match in a block, and unfold it if that is hidden."""
        place %= len(self._matches)
        block = self._transcript.blocks[self._matches[place]]
        rows = self._rows(block)
        if not rows and block.folded and block.foldable:
            block.folded = False
            rows = self._rows(block)
        self._show(place, (rows or [min(1, len(block.rows(self._transcript.columns)) - 1)])[-1 if last else 0])

    def _show(self, place: int, row: int) -> None:
        self._place, self._row = place, row
        self._at = self._transcript.blocks[self._matches[place]]
        self._transcript.show((self._matches[place], row))

    def _rows(self, block: Block) -> list[int]:
        """The rows of a block that have it, or have its beginning where it goes on in the next one."""
        texts = [_text(row).casefold() for row in block.rows(self._transcript.columns)]
        if rows := [at for at, text in enumerate(texts) if self._folded in text]:
            return rows
        wanted = _BETWEEN.sub("", self._folded)
        joined, begins = "", []
        parts = [_BETWEEN.sub("", text) for text in texts]
        for part in parts:
            begins.append(len(joined))
            joined += part
        starts = [found.start() for found in re.finditer(re.escape(wanted), joined)] if wanted else []
        return sorted({bisect_right(begins, start) - 1 for start in starts})


def occurrences(text: str, folded: str) -> list[Found]:
    """Where `folded`, which is casefolded and not empty, stands in a text; a letter is never parted from its marks."""
    if text.isascii():
        lower, origin = text.lower(), list(range(len(text)))
    else:
        pieces = [character.casefold() for character in text]
        lower = "".join(pieces)
        origin = [at for at, piece in enumerate(pieces) for _ in piece]
    found: list[Found] = []
    at = lower.find(folded)
    while at >= 0:
        begin, end = origin[at], origin[at + len(folded) - 1] + 1
        while begin > 0 and not width(text[begin]):
            begin -= 1
        while end < len(text) and not width(text[end]):
            end += 1
        found.append((begin, end))
        at = lower.find(folded, at + len(folded))
    return found


def _marked(row: Row, found: Sequence[Found]) -> Row:
    """The pieces of a row, cut where an occurrence begins or ends."""
    marked: list[Span] = []
    before = 0
    for text, style in row:
        at = 0
        for begin, end in found:
            begin, end = max(begin - before, at), min(end - before, len(text))
            if begin >= end:
                continue
            marked += [(text[at:begin], style)] * (begin > at)
            marked.append((text[begin:end], f"{style} match".strip()))
            at = end
        marked += [(text[at:], style)] * (at < len(text))
        before += len(text)
    return marked


def _text(row: Row) -> str:
    return "".join(text for text, _ in row)
