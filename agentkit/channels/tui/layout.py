"""A text that is being edited, as rows, and where its cursor stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from .style import Row, Span
from .wrap import clip, clusters, width

Labels = tuple[tuple[str, str], ...]  # characters that stand for more, and what is shown in their place

# Letters that take one cell each and never join, as most text has them: it is cut without looking at each one.
_PLAIN = re.compile("[ -~\u00a0-\u00ac\u00ae-\u02ff\u0391-\u03a1\u03a3-\u03ff\u0400-\u0482\u048a-\u052f]*")

# What the cursor passes in one step: its text, its cells, what stands on the screen for it, and the style of that.
_Piece = tuple[str, int, str, str]


@lru_cache(maxsize=2)
def layout(text: str, cursor: int, columns: int, labels: Labels = ()) -> tuple[list[Row], int, int]:
    """The rows, broken anywhere but within a label, and the cursor's row and column.

    No row is wider than `columns`; where the cursor stands behind the last cell of one, another begins. Tabs are shown
    as one space. Two calls are remembered: a frame asks twice. A key costs what its line costs, and next to nothing for
    the others: a line of a million characters takes about 10 ms, or most of a second where they are wide or have marks.
    """
    columns = max(1, columns)
    start = text.rfind("\n", 0, cursor) + 1
    end = text.find("\n", cursor)
    end = len(text) if end < 0 else end
    mine, sizes = _broken(text[start:end], columns, labels)
    left, row = cursor - start, 0
    while left > sizes[row] or (left == sizes[row] and row + 1 < len(mine)):
        left, row = left - sizes[row], row + 1
    column = sum(cells for _, cells, _, _ in _pieces(text[cursor - left : cursor], columns, labels))
    rows = _rows(text[: start - 1], columns, labels) if start else []
    row += len(rows)
    rows = [*rows, *mine]
    if column >= columns:
        row, column = row + 1, 0
        rows.insert(row, ())
    if end < len(text):
        rows += _rows(text[end + 1 :], columns, labels)
    return rows, row, column


@lru_cache(maxsize=4)
def _rows(text: str, columns: int, labels: Labels) -> list[Row]:
    """The rows of lines that the cursor is not in: while it stays in its line, what is above and below is the same."""
    return [row for line in text.split("\n") for row in _broken(line, columns, labels)[0]]


def _broken(line: str, columns: int, labels: Labels) -> tuple[list[Row], list[int]]:
    """The rows of a line, and how many characters each has."""
    line = line.replace("\t", " ")
    return _plain(line, columns) if _PLAIN.fullmatch(line) else _mixed(line, columns, labels)


def _plain(line: str, columns: int) -> tuple[list[Row], list[int]]:
    """The same for a line in which every character takes one cell."""
    if len(line) <= columns:
        return [((line, ""),) if line else ()], [len(line)]
    rows: list[Row] = [((line[at : at + columns], ""),) for at in range(0, len(line), columns)]
    return rows, [*[columns] * (len(rows) - 1), len(line) - columns * (len(rows) - 1)]


def _mixed(line: str, columns: int, labels: Labels) -> tuple[list[Row], list[int]]:
    """The same for any line."""
    row: list[Span] = []
    rows: list[Row] = [row]
    sizes = [0]
    cells, run = 0, ""
    for text, size, shown, style in _pieces(line, columns, labels):
        is_full = cells + size > columns and cells > 0
        if run and (is_full or style):
            row.append((run, ""))
            run = ""
        if is_full:
            row = []
            rows.append(row)
            sizes.append(0)
            cells = 0
        if style:
            row.append((shown, style))
        else:
            run += shown
        sizes[-1] += len(text)
        cells += size
    if run:
        row.append((run, ""))
    return rows, sizes


def _pieces(line: str, columns: int, labels: Labels) -> Iterator[_Piece]:
    """A line taken apart. What is wider than a row has to be shown otherwise: a label is clipped, characters that
    belong together are taken one by one, and one that is wider by itself becomes a sign."""
    chips = {chip: label for chip, label in labels if chip in line}
    for part in _parted(line, "".join(chips)):
        if part in chips:
            label = clip(chips[part], columns)
            yield part, width(label), label, "chip"
            continue
        for cluster, size in clusters(part):
            if size <= columns:
                yield cluster, size, cluster, ""
                continue
            for character in cluster:
                single = width(character)
                yield character, min(single, columns), character if single <= columns else "…", ""


def _parted(line: str, chips: str) -> list[str]:
    """A line cut before and behind each of these characters: marks that follow do not belong to it."""
    return [part for part in re.split(f"([{re.escape(chips)}])", line) if part] if chips else [line]
