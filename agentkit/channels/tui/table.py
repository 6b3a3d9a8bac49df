"""A table as rows: columns as wide as they need to be, or a record for each row where the screen is too narrow."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

from .lines import Cells, Head
from .style import Span
from .wrap import spread, width

_BETWEEN = 2  # cells between two columns
_LONG = 50  # rows: past them, one that is still being written does not move the others


class Table:
    """A table that grows, for one width. Rows that were laid out stay right until `moved` says they are not."""

    def __init__(self, head: Head, cells: int) -> None:
        self._head, self._cells = head, cells
        self._rows: list[Cells] = []
        self._widths = _widths(head.cells)
        self._grid = self._fits()
        self._laid = 0
        self.moved = True  # nothing that was laid out of it holds any more

    def put(self, row: Cells) -> None:
        """One more row."""
        self.moved |= self._moves(row)
        self._rows.append(row)
        if self._grid:
            self._widths = self._wider(row)
            self._grid = self._fits()

    def new(self) -> Iterator[list[Span]]:
        """The rows that were not laid out yet, all of them if it has moved."""
        if self.moved:
            self._laid, self.moved = 0, False
            yield from self._top()
        rows, self._laid = self._rows[self._laid :], len(self._rows)
        first = self._laid == len(rows)
        for number, row in enumerate(rows):
            yield from self._row(row, first and number == 0)

    def with_open(self, row: Cells) -> tuple[bool, list[list[Span]]]:
        """Also with a row that is still being written: whether all rows are anew, and the rows or those of this one."""
        if not self._moves(row) or len(self._rows) >= _LONG:
            return False, [*self._row(row, not self._rows)]
        table = Table(self._head, self._cells)
        for each in (*self._rows, row):
            table.put(each)
        self.moved = True
        return True, [*table.new()]

    def _moves(self, row: Cells) -> bool:
        """Whether the rows before look different once this one is there."""
        return self._wider(row) != self._widths if self._grid else not self._rows

    def _wider(self, row: Cells) -> list[int]:
        return [max(pair) for pair in zip_longest(self._widths, _widths(row), fillvalue=0)]

    def _fits(self) -> bool:
        return sum(self._widths) + _BETWEEN * (len(self._widths) - 1) <= self._cells

    def _top(self) -> Iterator[list[Span]]:
        titles = [[(text, _bold(style)) for text, style in cell] for cell in self._head.cells]
        if self._grid:
            yield from self._line(titles)
            yield [("─" * max(1, sum(self._widths) + _BETWEEN * (len(titles) - 1)), "dim")]
        elif not self._rows:
            for title in titles:
                yield from spread(title, self._cells)

    def _row(self, row: Cells, first: bool) -> Iterator[list[Span]]:
        if self._grid:
            yield from self._line(row)
            return
        if not first:
            yield []
        empty = True
        for title, cell in zip(self._head.cells, row, strict=False):
            if cell:
                empty = False
                name = [*((text, _bold(style)) for text, style in title), (": ", "bold")] if title else []
                yield from spread([*name, *cell], self._cells)
        if empty:
            yield [("·", "dim")]

    def _line(self, cells: list[list[Span]]) -> Iterator[list[Span]]:
        """A row of the grid; only one that is still being written may be too wide for it."""
        line: list[Span] = []
        gap = 0  # the spaces before the next cell that has something
        for cell, wide, align in zip(cells, self._widths, self._head.align, strict=False):
            spare = max(0, wide - _width(cell))
            before = {"left": 0, "right": spare, "center": spare // 2}[align]
            if cell:
                line += [(" " * (gap + before), ""), *cell] if gap + before else cell
                gap = spare - before + _BETWEEN
            else:
                gap += spare + _BETWEEN
        yield from [line] if _width(line) <= self._cells else spread(line, self._cells)


def _widths(cells: list[list[Span]]) -> list[int]:
    return [_width(cell) for cell in cells]


def _width(spans: list[Span]) -> int:
    return sum(width(text) for text, _ in spans)


def _bold(style: str) -> str:
    return style if "bold" in style else f"bold {style}".strip()
