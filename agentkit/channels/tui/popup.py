"""What there is to choose from at the cursor: which one is selected, its rows, and the draft when it is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...printable import printable
from .block import short
from .wrap import clip, width

if TYPE_CHECKING:
    from ...completion import Choice, Completion
    from .style import Row

MARGIN = "  "


class Popup:
    """completion: what there is, for the text with the cursor at that index."""

    def __init__(self, completion: Completion, text: str, cursor: int) -> None:
        self._start, self._choices, self._is_cut = completion
        self._text, self._cursor = text, cursor
        self._selected = self._top = 0

    def __len__(self) -> int:
        return len(self._choices)

    def next(self) -> None:
        """Select the one below; below the last one is the first."""
        self._selected = (self._selected + 1) % max(1, len(self._choices))

    def previous(self) -> None:
        """Select the one above; above the first one is the last."""
        self._selected = (self._selected - 1) % max(1, len(self._choices))

    @property
    def choice(self) -> Choice:
        """The selected one. Raises IndexError where there is none."""
        return self._choices[self._selected]

    @property
    def common(self) -> str:
        """What all choices begin with, or what was typed, where that says more."""
        typed = self._text[self._start : self._cursor]
        if self._is_cut or not self._choices:
            return typed
        texts = [each.text for each in self._choices]
        first, last, same = min(texts), max(texts), 0  # what these two have in common, all have
        while first[same : same + 1] == last[same : same + 1] != "":
            same += 1
        return first[:same] if same > len(typed) else typed

    def completed(self) -> tuple[str, int]:
        """The text with what is clear already, and the cursor behind it."""
        return self._with(self.common)

    def applied(self, choice: Choice) -> tuple[str, int]:
        """The text with a choice in it, and the cursor behind it."""
        return self._with(choice.text)

    def rows(self, columns: int, height: int) -> list[Row]:
        """At most `height` rows of at most `columns` cells, the selected choice among them."""
        if columns < 1 or height < 1:
            return []
        count = len(self._choices)
        has_more = count > height or (self._is_cut and height > 1)
        shown = min(count, max(1, height - has_more))
        self._top = min(max(self._top, self._selected - shown + 1), self._selected, count - shown)
        column = min(max((width(_line(each.text)) for each in self._choices), default=0), columns // 2)
        rows = [self._row(at, column, columns) for at in range(self._top, self._top + shown)]
        if has_more and height > 1:
            rows.append(((clip(f"{MARGIN}{self._rest(count - shown)}", columns), "dim"),))
        return rows

    def _row(self, at: int, column: int, columns: int) -> Row:
        """column: cells of the texts, so that hints stand below one another, but for those beside very wide ones."""
        choice, style = self._choices[at], "selected" if at == self._selected else "popup"
        text = clip(f"{MARGIN}{_line(choice.text)}", columns)
        fill = columns - width(text)
        hint = _line(choice.hint)
        gap = min(max(len(MARGIN) + column - width(text), 0) + len(MARGIN), fill) if hint else fill
        hint = short(hint, fill - gap)
        row = [(text + " " * gap, style)]
        if hint:
            hint += " " * (fill - gap - width(hint))
            row.append((hint, f"{style} dim"))
        return row

    def _rest(self, count: int) -> str:
        """How many are not shown."""
        if not self._is_cut:
            return f"… {count} more"
        return f"… more than {count} more" if count else "… more"

    def _with(self, inserted: str) -> tuple[str, int]:
        rest = self._text[self._cursor :]
        if inserted.endswith(" ") and rest.startswith(" "):
            rest = rest[1:]
        return self._text[: self._start] + inserted + rest, self._start + len(inserted)


def _line(text: str) -> str:
    """Text from elsewhere, on one line."""
    return printable(text).replace("\n", " ").replace("\t", " ")
