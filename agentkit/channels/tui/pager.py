"""Something to read, in place of the transcript, until Esc: the keys there are, all of what is to be decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .block import short
from .keys import Key
from .style import Row
from .wrap import clip, width

STEPS = {"up": -1, "C-p": -1, "wheel-up": -3, "down": 1, "C-n": 1, "wheel-down": 3}
CLOSING = ("esc", "enter", "f1", "C-c", "C-g")


class Pager:
    """title: of one row; made: gives all rows for a width; hint: what Esc does."""

    def __init__(self, title: str, made: Callable[[int], Sequence[Row]], hint: str = "Esc closes") -> None:
        self._title, self._made, self._hint = title, made, hint
        self._rows: Sequence[Row] = ()
        self._columns = 0
        self._top = 0

    def rows(self, columns: int, height: int) -> list[Row]:
        """Exactly `height` rows, the title among them."""
        if columns != self._columns:
            self._columns, self._rows = columns, self._made(max(1, columns - 1))
        room = max(0, height - 1)
        self._top = max(0, min(self._top, len(self._rows) - room))
        shown = self._rows[self._top : self._top + room]
        below = len(self._rows) - self._top - len(shown)
        hint = f"{f'{below} more below · ' if below else ''}{self._hint}"
        title = short(self._title, max(0, columns - width(hint) - 3))
        gap = " " * max(1, columns - width(title) - width(hint) - 2)
        head: Row = ((clip(f" {title}{gap}{hint} ", columns), "selected"),)
        rows: list[Row] = [head, *([(" ", ""), *row] for row in shown)]
        return [*rows, *[()] * (height - len(rows))][:height]

    def key(self, key: Key, page: int) -> bool:
        """Take a key; False where it closes this. page: rows that are shown."""
        if key.name in CLOSING or (key.name == "text" and key.text in ("q", "?")):
            return False
        if key.name == "pgup" or (key.name == "text" and key.text == "b"):
            self._top -= page - 2
        elif key.name == "pgdn" or (key.name == "text" and key.text == " "):
            self._top += page - 2
        elif key.name in ("home", "C-home"):
            self._top = 0
        elif key.name in ("end", "C-end"):
            self._top = len(self._rows)
        else:
            self._top += STEPS.get(key.name, 0)
        return True
