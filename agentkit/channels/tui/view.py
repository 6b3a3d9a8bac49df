"""The screen put together, as rows: header, transcript, strip, status line, input. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...records import dataclass, field
from .editor import Editor
from .layout import layout
from .pager import Pager
from .style import Row
from .transcript import Transcript
from .wrap import clip, width

STRIP = 8  # rows at most
SMALLEST = (5, 20)  # rows and columns that make sense
HEADER = 16  # rows from which on there is one

Cursor = tuple[int, int]


@dataclass
class Heights:
    """Rows of each part."""

    header: int
    transcript: int
    strip: int
    entry: int


@dataclass
class View:
    """What is drawn. header, status: made for a width; strip: what waits, made for a width; entry, label: what is
    being edited, and what stands before it; placeholder: what is shown where nothing is typed; marked: has what is
    looked for stand out; page: in place of transcript and strip."""

    header: Callable[[int], Row]
    status: Callable[[int, bool, bool], Row]
    strip: Callable[[int], Sequence[Row]]
    marked: Callable[[Sequence[Row]], Sequence[Row]]
    placeholder: Callable[[], str] = str
    transcript: Transcript = field(default_factory=Transcript)
    entry: Editor = field(default_factory=Editor)
    label: str = ">"
    page: Pager | None = None
    whole: bool = False  # was all of the strip on the screen when it was last composed?

    def heights(self, height: int, columns: int) -> Heights:
        """How a screen of that size is divided; the transcript has what is left."""
        typed, _, _ = self._entry(columns)
        entry = min(len(typed), max(1, height // 3))
        header = 1 if height >= HEADER else 0
        room = max(0, height - header - entry - 2)
        strip = 0 if self.page else min(len(self.strip(columns)), STRIP, room)
        return Heights(header, height - header - strip - 1 - entry, strip, entry)

    def compose(self, height: int, columns: int) -> tuple[list[Row], Cursor | None]:
        """All rows of the screen, and where the cursor stands."""
        self.whole = False
        if height < SMALLEST[0] or columns < SMALLEST[1]:
            return [((clip("too small", columns), ""),)], None
        parts = self.heights(height, columns)
        rows: list[Row] = [self.header(columns)] * parts.header
        if self.page is not None:
            rows += self.page.rows(columns, parts.transcript)
        else:
            shown = self.marked(self.transcript.window(columns, parts.transcript))
            rows += [*shown, *[()] * (parts.transcript - len(shown))]
            strip = self.strip(columns)
            self.whole = parts.strip == len(strip)
            rows += strip[: parts.strip]
        rows.append(self.status(columns, self.whole or self.page is not None, parts.header > 0))
        typed, row, column = self._entry(columns)
        first = min(max(0, row - parts.entry + 1), len(typed) - parts.entry)
        margin = width(self.label)
        for number, spans in enumerate(typed[first : first + parts.entry], first):
            rows.append(((self.label if number == 0 else " " * margin, "user"), (" ", ""), *spans))
        if not self.entry.text and (hint := self.placeholder()):
            rows[-1] = ((self.label, "user"), (" ", ""), (clip(hint, columns - margin - 1), "dim"))
        return rows, (height - parts.entry + row - first, column + margin + 1)

    def _entry(self, columns: int) -> tuple[list[Row], int, int]:
        """The rows of what is edited, and the cursor in them."""
        entry = self.entry
        return layout(entry.text, entry.cursor, columns - width(self.label) - 1, tuple(entry.labels.items()))
