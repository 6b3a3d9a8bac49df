"""What has been said, as a window that scrolls over blocks, however many there are."""

from __future__ import annotations

from collections.abc import Sequence

from ...records import dataclass
from .block import Block
from .blocks import Answer
from .style import Row

USUAL = (80, 24)  # columns and rows of a view that was never drawn
ABOVE = 3  # of the rows of the view, a part of this size is above what is looked for

Place = tuple[int, int]  # a block's index, and a row of it


@dataclass
class _Top:
    """What is at the top of the view. columns, size: the width for which `row` counts, and the rows the block has at
    that; share: how far into the block it is, which stays when the width changes and comes back."""

    block: int
    row: int
    columns: int
    size: int
    share: float


class Transcript:
    """All blocks, and what is seen of them. The view stays where it is whatever comes above or below, unless it is at
    the end, which it follows. Nothing here looks at more blocks than are in view or passed, but to find one that is far
    from the end."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._top: _Top | None = None  # None: the view is at the end
        self._lowest = 0  # the last block that was in view
        self._new: set[int] = set()  # ids of the blocks that have come below the view since it left the end
        self._size = USUAL

    @property
    def blocks(self) -> Sequence[Block]:
        return self._blocks

    @property
    def at_end(self) -> bool:
        return self._top is None

    @property
    def new(self) -> int:
        """How many blocks have come below the view since it left the end."""
        return len(self._new)

    # -- what there is

    def add(self, block: Block) -> None:
        self._blocks.append(block)
        if self._top is not None:
            self._new.add(id(block))

    def add_before(self, block: Block, new: Block) -> None:
        """Put one before another; at the end where that is not here any more."""
        at = self._index(block)
        if at is None:
            return self.add(new)
        self._blocks.insert(at, new)
        if self._top is None:
            return
        self._top.block += at <= self._top.block
        if at <= self._lowest:
            self._lowest += 1
        else:
            self._new.add(id(new))

    def remove(self, block: Block) -> None:
        """Take one back, if it is here. A view that began in it begins with what was below."""
        at = self._index(block)
        if at is None:
            return
        del self._blocks[at]
        self._new.discard(id(block))
        self._lowest -= at <= self._lowest
        if self._top is None:
            return
        if at == self._top.block == len(self._blocks):
            self.to_end()
        elif at == self._top.block:
            self._top = self._placed((at, 0), self._top.columns)
        else:
            self._top.block -= at < self._top.block

    def clear(self) -> None:
        self._blocks.clear()
        self.to_end()

    @property
    def last(self) -> Answer | None:
        """The last answer."""
        return next((each for each in reversed(self._blocks) if isinstance(each, Answer) and each.text), None)

    @property
    def last_answer(self) -> str:
        """Its source; empty: there is none."""
        return self.last.text if self.last else ""

    @property
    def last_code(self) -> str:
        """The last code that an answer shows in a block of its own; empty: there is none."""
        answers = (each for each in reversed(self._blocks) if isinstance(each, Answer))
        return next((each.code[-1] for each in answers if each.code), "")

    # -- what is seen

    def window(self, columns: int, height: int) -> list[Row]:
        """The rows to show, at most `height`."""
        parts = self._parts(columns, height)
        if parts:
            before, self._lowest = self._lowest, parts[-1][0]
            if self._new:
                self._new.difference_update(map(id, self._blocks[before + 1 : self._lowest + 1]))
        return [row for block, first, end in parts for row in self._blocks[block].rows(columns)[first:end]]

    def scroll(self, rows: int, columns: int, height: int) -> None:
        """Up by so many rows, or down where it is negative; not past the ends."""
        if parts := self._parts(columns, height):
            block, first, _ = parts[0]
            self._leave(self._walked((block, first), -rows, columns), columns)
            self._parts(columns, height)

    def to_start(self) -> None:
        if self._blocks:
            self._leave((0, 0), self._size[0])

    def to_end(self) -> None:
        self._top = None
        self._new.clear()

    def toggle(self, columns: int, height: int) -> bool:
        """Fold or unfold the lowest block in view for which that means something; False: there is none. Its first row
        stays where it was as far as possible."""
        parts = self._parts(columns, height)
        below = sum(end - first for _, first, end in parts)
        for index, first, end in reversed(parts):
            below -= end - first
            block = self._blocks[index]
            if end > 1 and block.foldable:  # and not only the empty row before it
                block.folded = not block.folded
                self._leave(self._walked((index, 1), -max(0, below + 1 - first), columns), columns)
                self._parts(columns, height)
                return True
        return False

    def show(self, place: Place) -> None:
        """Have a row in view, for the width and height that were asked for last."""
        top, bottom = self.edges()
        if not top <= place <= bottom:
            columns, height = self._size
            self._leave(self._walked(place, -(height // ABOVE), columns), columns)

    def edges(self) -> tuple[Place, Place]:
        """The first and the last row in view, for the width and height that were asked for last."""
        parts = self._parts(*self._size)
        return (parts[0][:2], (parts[-1][0], parts[-1][2] - 1)) if parts else ((0, 0), (-1, 0))

    @property
    def columns(self) -> int:
        """The width that was asked for last."""
        return self._size[0]

    # -- places

    def _parts(self, columns: int, height: int) -> list[tuple[int, int, int]]:
        """What is in view, from the top: a block, the first of its rows, and the one behind the last. A view that holds
        all there is below is at the end from now on."""
        if height < 1 or not self._blocks:
            return []
        self._size = columns, height
        if (top := self._top) is not None:
            self._fit(top, columns)
            if self._count((top.block, top.row), columns, height + 1) > height:
                return self._down((top.block, top.row), columns, height)
            self.to_end()
        last = len(self._blocks) - 1
        end = (last, self._rows(last, columns) - 1)
        return self._down(self._walked(end, 1 - height, columns), columns, height)

    def _down(self, place: Place, columns: int, height: int) -> list[tuple[int, int, int]]:
        parts: list[tuple[int, int, int]] = []
        block, first = place
        while block < len(self._blocks) and height > 0:
            end = min(self._rows(block, columns), first + height)
            parts.append((block, first, end))
            height -= end - first
            block, first = block + 1, 0
        return parts

    def _count(self, place: Place, columns: int, height: int) -> int:
        return sum(end - first for _, first, end in self._down(place, columns, height))

    def _walked(self, place: Place, rows: int, columns: int) -> Place:
        """So many rows further down, or up where it is negative; not past the ends."""
        block, row = place
        row = min(row, self._rows(block, columns) - 1) + rows
        while row < 0 and block > 0:
            block -= 1
            row += self._rows(block, columns)
        while row >= (size := self._rows(block, columns)):
            if block == len(self._blocks) - 1:
                return block, size - 1
            block, row = block + 1, row - size
        return block, max(0, row)

    def _leave(self, place: Place, columns: int) -> None:
        """Have the view begin here."""
        self._top = self._placed(place, columns)

    def _placed(self, place: Place, columns: int) -> _Top:
        size = self._rows(place[0], columns)
        return _Top(*place, columns, size, (place[1] + 0.5) / size)

    def _fit(self, top: _Top, columns: int) -> None:
        """At another width the same share of the block is above the view; at the same one, the same row."""
        size = self._rows(top.block, columns)
        if columns != top.columns:
            top.row, top.columns, top.size = min(int(top.share * size), size - 1), columns, size
        elif size != top.size:
            top.row, top.size = min(top.row, size - 1), size
            top.share = (top.row + 0.5) / size

    def _rows(self, block: int, columns: int) -> int:
        return len(self._blocks[block].rows(columns))

    def _index(self, block: Block) -> int | None:
        """Looked for from the end, where things happen."""
        return next((at for at in range(len(self._blocks) - 1, -1, -1) if self._blocks[at] is block), None)
