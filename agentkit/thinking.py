"""Reasoning that a server sends inside the answer, between <think> and </think> at its very beginning."""

from __future__ import annotations

from .events import Text, Thinking

OPEN, CLOSE = "<think>", "</think>"

Piece = tuple[type[Text] | type[Thinking], str]


class ThinkTags:
    """Pieces of content in, pieces of text and of thinking out; what might be half a tag is held back.

    Only a tag at the beginning counts: later ones, and a closing tag alone, are what the model wrote.
    """

    def __init__(self) -> None:
        self._state = "start"  # -> inside -> after, or straight to text
        self._held = ""

    def feed(self, content: str) -> list[Piece]:
        """Take the next piece of content."""
        if self._state == "text":
            return [(Text, content)]
        self._held += content
        if self._state == "start":
            head = self._held.lstrip()
            if OPEN.startswith(head) and len(head) < len(OPEN):
                return []
            if not head.startswith(OPEN):
                return self._as_text(self._held)
            self._state, self._held = "inside", head[len(OPEN) :]
        pieces: list[Piece] = []
        if self._state == "inside":
            thought, closed, after = self._held.partition(CLOSE)
            if not closed:
                keep = _overlap(thought, CLOSE)
                self._held = thought[len(thought) - keep :]
                return [(Thinking, thought[: len(thought) - keep])]
            pieces.append((Thinking, thought))
            self._state, self._held = "after", after
        if text := self._held.lstrip():  # the blank lines behind the tag belong to it
            pieces += self._as_text(text)
        return pieces

    def finish(self) -> list[Piece]:
        """What was held back when the content ended."""
        kind = Thinking if self._state == "inside" else Text
        held, self._held = self._held, ""
        return [(kind, held)] if held and self._state != "after" else []

    def _as_text(self, text: str) -> list[Piece]:
        self._state, self._held = "text", ""
        return [(Text, text)]


def _overlap(text: str, tag: str) -> int:
    """How many characters at the end of `text` may be the beginning of `tag`."""
    return next((size for size in range(min(len(tag) - 1, len(text)), 0, -1) if text.endswith(tag[:size])), 0)
