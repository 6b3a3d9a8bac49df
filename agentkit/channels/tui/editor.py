"""The input line: text, a cursor, what was cut, what was typed before. Keys change it; it knows no terminal."""

from __future__ import annotations

from collections.abc import Mapping

from ...printable import printable
from .chips import Chips, count, has_chip, without
from .keys import Key
from .recall import History
from .words import after, before, word_end, word_start
from .wrap import clusters, width

LINES, CHARACTERS = 5, 500  # of a paste; a longer one is folded
RECALLED = 2000  # characters of an earlier message that comes back unfolded


class Editor:
    """`text` and `cursor`, an index into it. Several lines are one text with line feeds.

    A long paste is one character of the text, a chip: `labels` says what is shown for it, `message` has it in full.
    """

    def __init__(self, history: History | None = None) -> None:
        self.text = ""
        self.cursor = 0
        self._history = history or History()
        self._chips = Chips()
        self._killed = ""
        self._kills = False  # was the last key one that cuts?
        self._back = 0  # how many messages back in the history; 0: the draft
        self._left: dict[int, str] = {}  # what stood there when it was left, by the same number
        self._unfolded = ("", "", 0)  # the text right after something was unfolded; before that, and the cursor then

    def key(self, key: Key) -> bool:
        """Take a key; False where it means nothing here."""
        if cut := _CUTS.get(key.name):
            cut(self)
            return True
        self._kills = False
        if key.name == "paste":
            self._paste(_in_lines(key.text))
        elif key.name == "text":
            self.insert(printable(key.text))
        elif key.name in ("M-enter", "C-j"):
            self._put("\n")
        elif action := _ACTIONS.get(key.name):
            action(self)
        else:
            return False
        return True

    @property
    def message(self) -> str:
        """The text with everything that is folded as it was pasted."""
        return self._chips.full(self.text)

    @property
    def typed(self) -> str:
        """The text without what is folded."""
        return without(self.text, " ")

    @property
    def labels(self) -> Mapping[str, str]:
        """What is shown for each chip."""
        return self._chips.labels

    def insert(self, text: str) -> None:
        """Put a text at the cursor; what could be taken for a chip, or cannot be shown as what it is, is folded."""
        text = _in_lines(text)
        self._put(self._folded(text) if has_chip(text) or text != printable(text) else text)

    def take(self) -> str:
        """The text as a message; the line is empty then, and Up finds it again."""
        message = self.message
        self.remember(message)
        self.clear()
        return message

    def restore(self, text: str) -> None:
        """Have a text of this editor back, folded as it was."""
        self._set(text, len(text))
        self._back, self._left = 0, {}

    def remember(self, text: str) -> None:
        """Have Up find a text; what is in the line is the draft then."""
        self._history.remember(text)
        self._back, self._left = 0, {}

    def clear(self) -> None:
        self.restore("")

    def cut(self) -> None:
        """Clear the line; Ctrl-Y has it back."""
        self._killed = self.text or self._killed
        self.clear()

    def newline_after_backslash(self) -> bool:
        """Put a line feed in place of a backslash before the cursor, as a shell would go on; False: there is none, or
        it is itself behind one."""
        before = self.text[: self.cursor]
        if (len(before) - len(before.rstrip("\\"))) % 2 == 0:
            return False
        self._set(f"{before[:-1]}\n{self.text[self.cursor :]}", self.cursor)
        return True

    def unfold(self) -> bool:
        """Put what is folded before the cursor, or else behind it, in its place, as it can be shown; fold again what
        was unfolded last, if nothing has changed since. False: there is neither."""
        for at in (self.cursor - 1, self.cursor):
            pasted = self._chips.get(self.text[at : at + 1]) if at >= 0 else None
            if pasted is not None and (shown := without(printable(pasted), "\ufffd")):
                old = self.text, self.cursor
                self._set(self.text[:at] + shown + self.text[at + 1 :], at + len(shown))
                self._unfolded = self.text, *old
                return True
        unfolded, text, cursor = self._unfolded
        if is_same := unfolded != "" and unfolded == self.text:
            self._set(text, cursor)
        return is_same

    def _paste(self, text: str) -> None:
        if count(text) > LINES or len(text) > CHARACTERS or has_chip(text):
            self._put(self._folded(text))
        else:
            self._put(printable(text))

    def _folded(self, text: str) -> str:
        """The chip for a text; where there have been too many, the text itself, as it can be shown."""
        used = (self.text, self._killed, self._unfolded[1], *self._left.values())
        return self._chips.fold(text, used) or without(printable(text), "\ufffd")

    def _put(self, text: str) -> None:
        self._set(self.text[: self.cursor] + text + self.text[self.cursor :], self.cursor + len(text))

    def _set(self, text: str, cursor: int) -> None:
        self.text, self.cursor, self._kills = text, cursor, False

    # -- moving

    def left(self) -> None:
        self.cursor = before(self.text, self.cursor)

    def right(self) -> None:
        self.cursor = after(self.text, self.cursor)

    def home(self) -> None:
        self.cursor = self._line_start()

    def end(self) -> None:
        self.cursor = self._line_end()

    def word_left(self) -> None:
        self.cursor = word_start(self.text, self.cursor)

    def word_right(self) -> None:
        self.cursor = word_end(self.text, self.cursor)

    def up(self) -> None:
        """The line above, else the message before."""
        start = self._line_start()
        if start == 0:
            self._recall(1)
        else:
            column = self._column()
            self.cursor = start - 1
            self._to_column(column)

    def down(self) -> None:
        """The line below, else the message after."""
        end = self._line_end()
        if end == len(self.text):
            self._recall(-1)
        else:
            column = self._column()
            self.cursor = end + 1
            self._to_column(column)

    # -- deleting

    def backspace(self) -> None:
        at = before(self.text, self.cursor)
        self._set(self.text[:at] + self.text[self.cursor :], at)

    def delete(self) -> None:
        self._set(self.text[: self.cursor] + self.text[after(self.text, self.cursor) :], self.cursor)

    def kill_to_end(self) -> None:
        end = self._line_end()
        self._kill(self.cursor, end + 1 if end == self.cursor else end)

    def kill_to_start(self) -> None:
        self._kill(self._line_start(), self.cursor)

    def kill_back(self) -> None:
        """To the white space before."""
        head = self.text[: self.cursor].rstrip()
        word = head.rsplit(None, 1)[-1] if head else ""
        self._kill(len(head) - len(word), self.cursor)

    def kill_word(self) -> None:
        self._kill(self.cursor, word_end(self.text, self.cursor))

    def kill_word_back(self) -> None:
        self._kill(word_start(self.text, self.cursor), self.cursor)

    def yank(self) -> None:
        self._put(self._killed)

    def _kill(self, start: int, end: int) -> None:
        """Cut; right after another cut they are one text."""
        if cut := self.text[start:end]:
            before = self._killed if self._kills else ""
            self._killed = cut + before if start < self.cursor else before + cut
            self._set(self.text[:start] + self.text[end:], start)
            self._kills = True

    # -- measures

    def _line_start(self) -> int:
        return self.text.rfind("\n", 0, self.cursor) + 1

    def _line_end(self) -> int:
        end = self.text.find("\n", self.cursor)
        return len(self.text) if end < 0 else end

    def _column(self) -> int:
        """Cells of the line before the cursor."""
        before = self.text[self._line_start() : self.cursor]
        return width("".join(self.labels.get(each, each) for each in before) if has_chip(before) else before)

    def _to_column(self, column: int) -> None:
        """The character of this line that stands at or before a column."""
        end, self.cursor = self._line_end(), self._line_start()
        for cluster, cells in clusters(self.text[self.cursor : end]):
            column -= len(self.labels[cluster]) if cluster in self.labels else cells
            if column < 0:
                break
            self.cursor += len(cluster)

    def _recall(self, step: int) -> None:
        """Go so many messages back in the history. What is changed on the way is still there on the way forth."""
        entries = self._history.entries
        to = self._back + step
        if not 0 <= to <= len(entries):
            return
        self._left[self._back], self._back = self.text, to
        self._set("", 0)
        if (text := self._left.get(to)) is not None:
            self._put(text)
        elif len(entries[-to]) <= RECALLED:
            self.insert(entries[-to])
        else:
            self._put(self._folded(entries[-to]))


def _in_lines(text: str) -> str:
    """A text whose lines end in line feeds."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


_CUTS = {
    "C-k": Editor.kill_to_end, "C-u": Editor.kill_to_start, "C-w": Editor.kill_back, "M-d": Editor.kill_word,
    "C-delete": Editor.kill_word, "M-backspace": Editor.kill_word_back, "C-backspace": Editor.kill_word_back,
}  # fmt: skip
_ACTIONS = {
    "left": Editor.left, "C-b": Editor.left, "right": Editor.right, "C-f": Editor.right,
    "home": Editor.home, "C-a": Editor.home, "end": Editor.end, "C-e": Editor.end,
    "C-left": Editor.word_left, "M-left": Editor.word_left, "M-b": Editor.word_left,
    "C-right": Editor.word_right, "M-right": Editor.word_right, "M-f": Editor.word_right,
    "up": Editor.up, "C-p": Editor.up, "down": Editor.down, "C-n": Editor.down,
    "backspace": Editor.backspace, "delete": Editor.delete, "C-d": Editor.delete, "C-y": Editor.yank,
}  # fmt: skip
