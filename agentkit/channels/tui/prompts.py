"""What is typed elsewhere than in the draft: what to find, what was said before, why not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ...printable import printable
from .editor import Editor
from .find import Find
from .keys import Key
from .recall import Search
from .style import Row
from .wrap import clip

SHOWN = 4  # lines of what was said before
CANCEL = ("esc", "C-c", "C-g")


class Prompt(Protocol):
    """label: what stands before the line; entry: the line."""

    label: str
    entry: Editor

    def key(self, key: Key) -> bool:
        """Take a key; False where this is over then."""

    def strip(self, columns: int) -> Sequence[Row]:
        """What is shown above the status line."""

    @property
    def hint(self) -> str:
        """For the status line."""


class Finding:
    """Looks for words in the transcript: as they are typed, then with n and N."""

    label = "find>"

    def __init__(self, find: Find) -> None:
        self.entry, self._find = Editor(), find
        self._browsing = False

    def key(self, key: Key) -> bool:
        if key.name in CANCEL or (self._browsing and key.name == "text" and key.text == "q"):
            return False
        if key.name in ("enter", "C-f", "up") or (self._browsing and key.name == "text" and key.text == "n"):
            if self._browsing or key.name != "enter":
                self._find.previous()
            self._browsing = bool(self.entry.text)
            return self._browsing
        if key.name == "down" or (self._browsing and key.name == "text" and key.text == "N"):
            self._find.next()
            return True
        if self._browsing and key.name == "text":
            return True  # it is no letter of what is looked for any more
        before = self.entry.text
        self.entry.key(key)
        if self.entry.text != before:
            self._browsing = False
            self._find.query = self.entry.message
        return True

    def strip(self, columns: int) -> Sequence[Row]:
        return ()

    @property
    def hint(self) -> str:
        keys = "n older, N newer, Esc ends" if self._browsing else "Enter, then n and N; Esc ends"
        if not self.entry.text:
            return "what to find; Esc ends"
        return f"{self._find.position} of {self._find.count} · {keys}" if self._find.count else "nothing found"


class Recalling:
    """Looks for what was typed before, the latest first. take: gets what was chosen."""

    label = "history>"

    def __init__(self, search: Search, take: Callable[[str], None]) -> None:
        self.entry, self._search, self._take = Editor(), search, take

    def key(self, key: Key) -> bool:
        search = self._search
        if key.name in CANCEL:
            return False
        if key.name in ("enter", "tab", "right", "C-e", "end"):
            if search.match is not None:
                self._take(search.match)
            return False
        if key.name in ("C-r", "up", "C-p"):
            search.older()
        elif key.name in ("C-s", "down", "C-n"):
            search.newer()
        else:
            self.entry.key(key)
            search.query = self.entry.message
        return True

    def strip(self, columns: int) -> Sequence[Row]:
        lines = printable(self._search.match or "").split("\n")
        shown: list[Row] = [((clip(f"  {line.expandtabs(4)}", columns), ""),) for line in lines[:SHOWN]]
        more = len(lines) - SHOWN
        return [*shown, ((f"  … {more} more lines", "dim"),)] if more > 0 else shown

    @property
    def hint(self) -> str:
        return "nothing like it" if self._search.failing else "Enter takes it, C-r older, C-s newer, Esc ends"


class Reasoning:
    """Why a call is refused, in words. tell: gets them."""

    label = "why not>"

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.entry, self._tell = Editor(), tell

    def key(self, key: Key) -> bool:
        if key.name in CANCEL:
            return False
        if key.name == "enter":
            self._tell(self.entry.message.strip())
            return False
        self.entry.key(key)
        return True

    def strip(self, columns: int) -> Sequence[Row]:
        return ()

    @property
    def hint(self) -> str:
        return "Enter refuses with this reason, Esc goes back"
