"""What every block of the transcript is, and the rows that they are made of."""

from __future__ import annotations

from collections.abc import Sequence

from ...printable import printable
from .style import Row, Span
from .wrap import TAB, clip, width, wrap

MARGIN = 2  # cells
NARROW = 8  # columns below which not everything fits beside a margin


class Block:
    """One thing in the transcript. folded: are its long parts hidden? It means something only where it is foldable."""

    folded: bool = False
    _columns = 0  # for which it was drawn last; 0: not yet
    _drawn: tuple[int, bool, Sequence[Row]] = (0, False, ())

    def rows(self, columns: int) -> Sequence[Row]:
        """All of it, an empty row first, none wider than `columns`. Until something changes these are the same."""
        columns = max(1, columns)
        made_for, folded, rows = self._drawn
        if made_for != columns or folded != self.folded:
            self._columns = columns
            rows = self._rows(columns)
            if columns < NARROW:
                rows = [cut(row, columns) for row in rows]
            self._drawn = (columns, self.folded, rows)
        return rows

    @property
    def plain(self) -> str:
        """All its text, to be searched."""
        raise NotImplementedError

    @property
    def foldable(self) -> bool:
        """Is there anything to hide or to show?"""
        return False

    def _rows(self, columns: int) -> Sequence[Row]:
        raise NotImplementedError

    def _changed(self) -> None:
        self._drawn = Block._drawn


def short(text: str, cells: int) -> str:
    """As much of the beginning of a line as fits, and … where that is not all."""
    if fits(text, cells):
        return text.expandtabs(TAB)
    return f"{clip(text[: _most(cells)].expandtabs(TAB), cells - 1)}…" if cells > 0 else ""


def fits(text: str, cells: int) -> bool:
    """Is there room for all of a line? Of an endless one only the beginning is looked at."""
    return len(text) <= _most(cells) and width(text.expandtabs(TAB)) <= cells


def told(text: str, style: str, columns: int) -> list[Row]:
    """A text below the first row, wrapped within the margin."""
    return [((f"  {row}", style),) for row in wrap(text, columns - MARGIN)]


def clean(text: str) -> str:
    """A text from elsewhere made printable; at a fifth of the cost where it is so already, as most are."""
    return text if text.replace("\n", " ").isprintable() else printable(text)


def counted(count: int) -> str:
    """So many lines, in words."""
    return f"{count:,} line{'s' * (count != 1)}"


def one_line(text: str) -> str:
    """A text from elsewhere, for a row that it shares."""
    return clean(text).replace("\n", " ").replace("\t", " ")


def cut(row: Row, cells: int) -> list[Span]:
    """As much of a row as fits."""
    kept: list[Span] = []
    for text, style in row:
        kept.append((clip(text, cells), style))
        cells -= width(kept[-1][0])
    return kept


def _most(cells: int) -> int:
    """Characters that so many cells take at most; marks are without width."""
    return 4 * max(0, cells) + 64
