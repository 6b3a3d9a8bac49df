"""The input line: text, a cursor, history. Keys change it; it knows no terminal."""

from __future__ import annotations

import re

from ...printable import printable
from .keys import Key
from .wrap import clusters, width

HISTORY = 500  # messages that Up finds again


class Editor:
    """`text` and `cursor`, an index into it. Several lines are one text with line feeds."""

    def __init__(self) -> None:
        self.text = ""
        self.cursor = 0
        self._killed = ""
        self._history: list[str] = []
        self._at: int | None = None  # where in the history; None: the draft
        self._draft = ""

    def key(self, key: Key) -> bool:
        """Take a key; False where it means nothing here."""
        if key.name in ("text", "paste"):
            self.insert(printable(key.text))
        elif key.name in ("M-enter", "C-j"):
            self.insert("\n")
        elif action := _ACTIONS.get(key.name):
            action(self)
        else:
            return False
        return True

    def insert(self, text: str) -> None:
        self.text = self.text[: self.cursor] + text + self.text[self.cursor :]
        self.cursor += len(text)

    def take(self) -> str:
        """The text as a message; the line is empty then, and Up finds it again."""
        text = self.text
        self.remember(text)
        self.clear()
        return text

    def remember(self, text: str) -> None:
        """Have Up find a text."""
        if text.strip() and self._history[-1:] != [text]:
            self._history = [*self._history, text][-HISTORY:]

    def clear(self) -> None:
        self.text, self.cursor, self._at = "", 0, None

    # -- moving

    def left(self) -> None:
        self.cursor -= self._before()

    def right(self) -> None:
        self.cursor += self._after()

    def home(self) -> None:
        self.cursor = self._line_start()

    def end(self) -> None:
        self.cursor = self._line_end()

    def word_left(self) -> None:
        found = re.search(r"\w+\W*$|\W+$", self.text[: self.cursor])
        self.cursor = found.start() if found else 0

    def word_right(self) -> None:
        found = re.match(r"\W*\w*", self.text[self.cursor :])
        self.cursor += found.end() if found else 0

    def up(self) -> None:
        """The line above, else the message before."""
        start = self._line_start()
        if start == 0:
            self._recall(-1)
        else:
            column = width(self.text[start : self.cursor])
            self.cursor = start - 1
            self._to_column(column)

    def down(self) -> None:
        """The line below, else the message after."""
        end = self._line_end()
        if end == len(self.text):
            self._recall(1)
        else:
            column = width(self.text[self._line_start() : self.cursor])
            self.cursor = end + 1
            self._to_column(column)

    # -- deleting

    def backspace(self) -> None:
        size = self._before()
        self.text = self.text[: self.cursor - size] + self.text[self.cursor :]
        self.cursor -= size

    def delete(self) -> None:
        self.text = self.text[: self.cursor] + self.text[self.cursor + self._after() :]

    def kill_to_end(self) -> None:
        end = self._line_end()
        self._kill(self.cursor, end + 1 if end == self.cursor else end)

    def kill_to_start(self) -> None:
        self._kill(self._line_start(), self.cursor)

    def kill_word(self) -> None:
        found = re.search(r"\S+\s*$|\s+$", self.text[: self.cursor])
        if found:
            self._kill(found.start(), self.cursor)

    def yank(self) -> None:
        self.insert(self._killed)

    def _kill(self, start: int, end: int) -> None:
        if self.text[start:end]:
            self._killed = self.text[start:end]
        self.text, self.cursor = self.text[:start] + self.text[end:], start

    # -- measures

    def _before(self) -> int:
        """The length of the character before the cursor, its marks included."""
        line = self.text[self._line_start() : self.cursor]
        return len([*clusters(line)][-1][0]) if line else min(1, self.cursor)

    def _after(self) -> int:
        line = self.text[self.cursor : self._line_end()]
        return len(next(clusters(line))[0]) if line else min(1, len(self.text) - self.cursor)

    def _line_start(self) -> int:
        return self.text.rfind("\n", 0, self.cursor) + 1

    def _line_end(self) -> int:
        end = self.text.find("\n", self.cursor)
        return len(self.text) if end < 0 else end

    def _to_column(self, column: int) -> None:
        """The character of this line that stands at or before a column."""
        self.cursor = self._line_start()
        for cluster, cells in clusters(self.text[self.cursor : self._line_end()]):
            column -= cells
            if column < 0:
                break
            self.cursor += len(cluster)

    def _recall(self, step: int) -> None:
        at = len(self._history) if self._at is None else self._at
        if self._at is None:
            self._draft = self.text
        to = at + step
        if 0 <= to <= len(self._history) and to != at:
            self._at = to if to < len(self._history) else None
            self.text = self._draft if self._at is None else self._history[to]
            self.cursor = len(self.text)


_ACTIONS = {
    "left": Editor.left, "C-b": Editor.left, "right": Editor.right, "C-f": Editor.right,
    "home": Editor.home, "C-a": Editor.home, "end": Editor.end, "C-e": Editor.end,
    "C-left": Editor.word_left, "M-b": Editor.word_left, "C-right": Editor.word_right, "M-f": Editor.word_right,
    "up": Editor.up, "C-p": Editor.up, "down": Editor.down, "C-n": Editor.down,
    "backspace": Editor.backspace, "delete": Editor.delete,
    "C-k": Editor.kill_to_end, "C-u": Editor.kill_to_start, "C-w": Editor.kill_word, "C-y": Editor.yank,
}  # fmt: skip
