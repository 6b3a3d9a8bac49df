"""What has been said, as rows of any width: blocks that are wrapped once, and a window that scrolls over them."""

from __future__ import annotations

from ...printable import printable
from .screen import Row
from .wrap import clip, width, wrap

OUTPUT_LINES = 5  # of a tool's result
LAST = 1 << 40  # a row beyond all: the last one there is


class Block:
    """One thing that was said. Lines that are complete are wrapped once; the open one each time it grows."""

    def __init__(self, glyph: str, style: str, text: str = "", *, body: str = "") -> None:
        self._glyph, self._style, self._body = glyph, style, body
        self._lines: list[str] = []
        self._tail = ""
        self._wrapped: list[str] = []
        self._tail_rows: list[str] | None = None
        self._columns = 0
        self.add(text)

    def add(self, text: str) -> None:
        """More of it has come."""
        *lines, self._tail = (self._tail + printable(text)).split("\n")
        self._lines += lines
        self._tail_rows = None
        if self._columns:
            for line in lines:
                self._wrapped += wrap(line, self._columns)

    def rows(self, columns: int) -> list[Row]:
        """All of it, with an empty row before."""
        if columns - 2 != self._columns:
            self._columns = max(1, columns - 2)
            self._wrapped = [row for line in self._lines for row in wrap(line, self._columns)]
            self._tail_rows = None
        if self._tail_rows is None:
            self._tail_rows = wrap(self._tail, self._columns) if self._tail else []
        rows: list[Row] = [()]
        for number, text in enumerate((*self._wrapped, *self._tail_rows)):
            rows.append(((self._glyph if number == 0 else " ", self._style), (f" {text}", self._body)))
        return rows


class ToolBlock:
    """A tool call: what is done, how it went, and the first lines of what came out."""

    def __init__(self, name: str, arguments: str, glyph: str) -> None:
        self._head, self._arguments, self._glyph = name, arguments, glyph
        self._state: tuple[str, str] = ("", "")
        self._output: list[str] = []

    def finish(self, ok: bool, output: str, glyph: str, seconds: float | None = None) -> None:
        """The call is over; seconds: how long it took, where that is known."""
        self._state = (glyph if seconds is None else f"{glyph} {seconds:.1f}s", "ok" if ok else "error")
        self._output = printable(output).strip("\n").split("\n") if output.strip() else []

    def rows(self, columns: int) -> list[Row]:
        state, style = self._state
        head = f" {self._head}  "
        room = max(0, columns - width(self._glyph + head) - width(state) - 2)
        shown = clip(self._arguments, room)
        fill = " " * (room - width(shown) + 1)
        rows: list[Row] = [(), ((self._glyph, "tool"), (head, "tool"), (shown, ""), (fill, ""), (state, style))]
        for line in self._output[:OUTPUT_LINES]:
            rows.append((("  | ", "dim"), (clip(line.expandtabs(4), columns - 4), "dim")))
        if (more := len(self._output) - OUTPUT_LINES) > 0:
            rows.append(((f"  | ... {more} more line{'s' * (more > 1)}", "dim"),))
        return rows


class Transcript:
    """All blocks, and how far the view is scrolled: kept as a block and its row, so that what comes below, or is put
    before a block, moves nothing."""

    def __init__(self) -> None:
        self.blocks: list[Block | ToolBlock] = []
        self._bottom: tuple[Block | ToolBlock, int] | None = None  # what is at the bottom; None: the end

    @property
    def at_end(self) -> bool:
        return self._bottom is None

    def to_end(self) -> None:
        self._bottom = None

    def remove(self, block: Block | ToolBlock) -> None:
        """Take a block back; a view that ended in it ends in the one before."""
        at = self.blocks.index(block)
        del self.blocks[at]
        if self._bottom is not None and self._bottom[0] is block:
            self._bottom = (self.blocks[at - 1], LAST) if at else None

    def window(self, columns: int, height: int) -> list[Row]:
        """The rows to show, at most `height`."""
        return self._rows_up_to(*self._place(columns), columns, height)

    def scroll(self, rows: int, columns: int, height: int) -> None:
        """Up by so many rows, or down where it is negative; not past the ends."""
        if not self.blocks:
            return
        block, row = self._place(columns)
        row -= rows
        while row < 0 and block > 0:
            block -= 1
            row += len(self.blocks[block].rows(columns))
        while block < len(self.blocks) and row >= (size := len(self.blocks[block].rows(columns))):
            block, row = block + 1, row - size
        row = max(row, 0)
        self._bottom = (self.blocks[block], row) if (block, row) < self._end(columns) else None
        if rows > 0:
            missing = height - len(self._rows_up_to(block, row, columns, height))
            if missing > 0:  # the beginning is at the top: no further
                self.scroll(-missing, columns, height)

    def _place(self, columns: int) -> tuple[int, int]:
        if self._bottom is None:
            return self._end(columns)
        shown, row = self._bottom
        block = next(at for at in range(len(self.blocks) - 1, -1, -1) if self.blocks[at] is shown)
        return block, min(row, len(shown.rows(columns)) - 1)

    def _end(self, columns: int) -> tuple[int, int]:
        last = len(self.blocks) - 1
        return last, len(self.blocks[last].rows(columns)) - 1 if self.blocks else -1

    def _rows_up_to(self, block: int, row: int, columns: int, height: int) -> list[Row]:
        rows: list[Row] = []
        while block >= 0 and len(rows) < height:
            mine = self.blocks[block].rows(columns)
            mine = mine[: row + 1] if row >= 0 else mine
            rows = [*mine[-(height - len(rows)) :], *rows]
            block, row = block - 1, -1
        return rows
