"""What the screen shows, as rows: the transcript, a strip for what waits, the status line, the input. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from ...records import dataclass, field
from .editor import Editor
from .screen import Row
from .transcript import Transcript
from .wrap import clip, clusters, width

STRIP = 8  # rows at most
SMALLEST = (5, 20)  # rows and columns that make sense


@dataclass
class View:
    """The state that is drawn. strip: rows between transcript and status line, an approval or queued messages;
    status: its left end, and the parts of its right end, of which the first give way where there is no room."""

    transcript: Transcript = field(default_factory=Transcript)
    editor: Editor = field(default_factory=Editor)
    strip: Sequence[Row] = ()
    status: tuple[str, Sequence[str]] = ("", ())
    separator: str = " · "
    whole: bool = False  # was all of the strip on the screen when it was last composed?

    def heights(self, height: int, columns: int) -> tuple[int, int, int]:
        """Rows of the transcript, the strip and the input."""
        typed, _, _ = layout(self.editor.text, self.editor.cursor, columns - 2)
        entry = min(len(typed), max(1, height // 3))
        strip = min(len(self.strip), STRIP, max(0, height - entry - 2))
        return height - strip - 1 - entry, strip, entry

    def compose(self, height: int, columns: int) -> tuple[list[Row], tuple[int, int] | None]:
        """All rows of the screen, and where the cursor stands."""
        self.whole = False
        if height < SMALLEST[0] or columns < SMALLEST[1]:
            return [((clip("too small", columns), ""),)], None
        above, strip, entry = self.heights(height, columns)
        self.whole = strip == len(self.strip)
        rows = self.transcript.window(columns, above)
        rows = [*rows, *[()] * (above - len(rows))]
        rows += self.strip[:strip]
        rows.append(self._status(columns))
        typed, row, column = layout(self.editor.text, self.editor.cursor, columns - 2)
        first = min(max(0, row - entry + 1), len(typed) - entry)
        for number, text in enumerate(typed[first : first + entry], first):
            rows.append(((">" if number == 0 else " ", "user"), (f" {text}", "")))
        return rows, (height - entry + row - first, column + 2)

    def _status(self, columns: int) -> Row:
        left, parts = self.status
        left = clip(left, columns - 2)
        while parts and width(left + self.separator.join(parts)) > columns - 4:
            parts = parts[1:]
        right = self.separator.join(parts)
        gap = columns - width(left) - width(right) - 2
        return ((f" {left}{' ' * gap}{right} ", "status"),)


@lru_cache(maxsize=2)
def layout(text: str, cursor: int, columns: int) -> tuple[list[str], int, int]:
    """The rows of a text being edited, broken anywhere, and the cursor's row and column."""
    columns = max(1, columns)
    rows: list[str] = []
    at, start = (0, 0), 0
    for line in text.replace("\t", " ").split("\n"):
        mine = _broken(line, columns)
        left = cursor - start
        if 0 <= left <= len(line):
            row = 0
            while left > len(mine[row]) or (left == len(mine[row]) and row + 1 < len(mine)):
                left, row = left - len(mine[row]), row + 1
            at = len(rows) + row, width(mine[row][:left])
        rows += mine
        start += len(line) + 1
    if at[1] >= columns:  # behind the last cell of a row: the next character begins another
        at = at[0] + 1, 0
        rows.insert(at[0], "")
    return rows, *at


def _broken(line: str, columns: int) -> list[str]:
    """A line cut into rows; put together they are the line again."""
    if line.isascii():
        return [line[at : at + columns] for at in range(0, len(line), columns)] or [""]
    rows, cells = [""], 0
    for cluster, size in clusters(line):
        if cells + size > columns and cells:
            rows.append("")
            cells = 0
        rows[-1] += cluster
        cells += size
    return rows
