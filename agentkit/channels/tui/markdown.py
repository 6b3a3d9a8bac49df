"""What a model writes, as rows of any width, while it is being written."""

from __future__ import annotations

from copy import copy

from .inline import LONGEST
from .lines import Cells, Head, Item, Line, Lines
from .style import Row, Span
from .table import Table
from .wrap import TAB, breaks, chop, clip, spread, width

_MARGIN: Span = ("  ", "")
_FRAME: Span = ("│ ", "dim")
_TIGHT = 6  # columns: with more than these there is room for a wide character beside whatever may stand before it


class Markdown:
    """What a model writes, as rows of any width, while it is being written.

    A line is read once it is complete, and laid out once for each width; only the open line, and a table that may
    still go on, are laid out again when more comes. How the text was cut makes no difference to the rows.
    """

    def __init__(self, glyph: str, style: str) -> None:
        """The glyph before its first row, one cell wide, and the style of that glyph."""
        self._glyph: Span = (f"{glyph} ", style)
        self._source: list[str] = []
        self._unread: list[str] = []
        self._tail = ""
        self._lines = Lines()
        self._items: list[Item] = []
        self._columns = 0
        self._laid = 0  # how many of the items are in the rows
        self._rows: list[Row] = [()]
        self._settled = 1  # how many of the rows stay as they are when more comes
        self._table: Table | None = None
        self._table_at = 0
        self._table_beside: tuple[list[Span], list[Span]] = ([], [])
        self._long: tuple[int, list[Row]] = (0, [])  # of an endless open line: how far it is laid out, and the rows

    def add(self, text: str) -> None:
        """More of it, already printable, cut anywhere."""
        if text:
            self._source.append(text)
            self._unread.append(text)

    @property
    def text(self) -> str:
        """The source as it came."""
        if len(self._source) > 1:
            self._source = ["".join(self._source)]
        return "".join(self._source)

    @property
    def code(self) -> list[str]:
        """The contents of its fenced code blocks, exact but for the line feed at the end; the last may be open."""
        self._read()
        blocks: list[list[str]] = []
        for item in (*self._items, *self._open()):
            if isinstance(item, Line) and item.kind == "open":
                blocks.append([])
            elif isinstance(item, Line) and item.kind == "code":
                blocks[-1].append(item.body[0][0])
        return ["\n".join(lines) for lines in blocks]

    def rows(self, columns: int) -> list[Row]:
        """All of it, no row wider than `columns`: an empty row first, then rows with a margin of two cells.

        The list is the object's own: it is only to be read, and only until the next call.
        """
        columns = max(1, columns)
        came = self._read()
        if columns != self._columns:
            self._columns, self._laid, self._settled, self._table = columns, 0, 1, None
            self._long = (0, [])
        elif not came:
            return self._rows
        del self._rows[self._settled :]
        self._settle()
        for item in self._open():
            self._lay_open(item)
        return self._rows

    def _read(self) -> bool:
        """Reads the lines that are complete by now; whether anything came."""
        if not self._unread:
            return False
        *lines, self._tail = (self._tail + "".join(self._unread)).split("\n")
        self._unread.clear()
        for line in lines:
            self._items += self._lines.line(line)
        return True

    def _open(self) -> list[Item]:
        """What is there beyond the complete lines, as it is if nothing more comes."""
        lines = copy(self._lines)
        return [*(lines.line(self._tail) if self._tail else ()), *lines.end()]

    def _settle(self) -> None:
        """Lays out what was read since the last time."""
        if self._laid < len(self._items):
            self._long = (0, [])
        for item in self._items[self._laid :]:
            if isinstance(item, Cells) and self._table:
                self._table.put(item)
                continue
            self._lay_table()
            self._table = None
            if isinstance(item, Head):
                self._begin_table(item)
            elif isinstance(item, Line):
                self._lay(item)
        self._lay_table()
        self._laid = len(self._items)
        self._settled = len(self._rows)

    def _begin_table(self, head: Head) -> None:
        lead, hang, cells = self._beside(head.lead, head.hang)
        self._table, self._table_at, self._table_beside = Table(head, cells), len(self._rows), (lead, hang)

    def _lay_table(self) -> None:
        """Brings the rows of the table up to date."""
        if self._table:
            if self._table.moved:
                del self._rows[self._table_at :]
            self._extend(*self._table_beside, [*self._table.new()], begun=len(self._rows) > self._table_at)

    def _lay_open(self, item: Item) -> None:
        """Lays out what may look different once more came."""
        if isinstance(item, Head):
            self._begin_table(item)
            self._lay_table()
            self._table = None
        elif isinstance(item, Line):
            self._lay(item, growing=True)
        elif self._table:
            anew, rows = self._table.with_open(item)
            if anew:
                del self._rows[self._table_at :]
                self._settled = self._table_at
            self._extend(*self._table_beside, rows, begun=len(self._rows) > self._table_at)

    def _lay(self, line: Line, growing: bool = False) -> None:
        if line.kind == "blank":
            self._rows.append(())
            return
        lead, hang, cells = self._beside(line.lead, line.hang)
        if line.kind == "rule":
            self._extend(lead, hang, [[("─" * cells, "dim")]])
        elif line.kind == "code":
            frame = clip(_FRAME[0], cells // 2)
            lead = hang = [*hang, (frame, _FRAME[1])]
            text = line.body[0][0].expandtabs(TAB)
            if growing and len(text) > LONGEST:
                self._grow(lead, hang, (text, "code"), cells - len(frame), words=False)
            else:
                self._extend(lead, hang, [[(row, "code")] if row else [] for row in chop(text, cells - len(frame))])
        elif growing and len(line.body) == 1 and len(line.body[0][0]) > LONGEST:
            self._grow(lead, hang, line.body[0], cells, words=True)
        else:
            self._extend(lead, hang, spread(line.body, cells))

    def _grow(self, lead: list[Span], hang: list[Span], span: Span, cells: int, words: bool) -> None:
        """Adds the rows of an endless open line: of those it had all but the last are still right."""
        at, done = self._long
        start = len(self._rows)
        self._rows += done
        rest = span[0][at:]
        ranges = breaks(rest, cells, words)
        self._extend(lead, hang, [[(rest[begin:end], span[1])] for begin, end in ranges], begun=bool(done))
        self._long = (at + ranges[-1][0], self._rows[start:-1])

    def _beside(self, lead: list[Span], hang: list[Span]) -> tuple[list[Span], list[Span], int]:
        """What stands before the rows of an item, cut where it leaves too little, and how many cells are left."""
        room = max(1, self._columns - len(_MARGIN[0]))
        taken = sum(width(text) for text, _ in lead)
        if taken > (most := max(room // 2, min(room - 3, 8))):
            lead, hang = _clipped(lead, most), _clipped(hang, most)
            taken = sum(width(text) for text, _ in lead)
        return lead, hang, room - taken

    def _extend(self, lead: list[Span], hang: list[Span], rows: list[list[Span]], begun: bool = False) -> None:
        """Adds the rows of an item, the margin and what stands beside them put before."""
        for row in rows:
            margin = self._glyph if len(self._rows) == 1 else _MARGIN
            made: Row = (margin, *(hang if begun else lead), *row)
            self._rows.append(made if self._columns > _TIGHT else _clipped(made, self._columns))
            begun = True


def _clipped(row: Row, cells: int) -> list[Span]:
    """As much of a row as fits."""
    kept: list[Span] = []
    for text, style in row:
        if part := clip(text, cells):
            kept.append((part, style))
        cells -= width(part)
    return kept
