"""Long texts folded to one character each: what stands for them in a draft, and what they are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

FIRST, LAST = 0x10F800, 0x10FFFD  # characters for private use, of the last plane
_CHIP = re.compile(f"[{chr(FIRST)}-{chr(LAST)}]")


class Chips:
    """Each stays known as long as there are free ones: what was sent, or waits to be, may come back."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}  # by chip, the oldest first
        self._chips: dict[str, str] = {}  # by text: folding one again makes no other chip
        self._labels: dict[str, str] = {}

    @property
    def labels(self) -> Mapping[str, str]:
        """What is shown for each chip."""
        return self._labels

    def get(self, chip: str) -> str | None:
        """The text that a chip stands for; None: it is none."""
        return self._texts.get(chip)

    def full(self, text: str) -> str:
        """A text with what is folded in its place, exactly."""
        return _CHIP.sub(lambda chip: self._texts.get(chip[0], chip[0]), text)

    def fold(self, text: str, used: Sequence[str]) -> str | None:
        """The chip for a text. used: texts whose chips must stay; None: they have all that there are."""
        if text in self._chips:
            return self._chips[text]
        chip = chr(FIRST + len(self._texts))
        if chip > chr(LAST):
            kept = {each for other in used for each in _CHIP.findall(other)}
            free = next((each for each in self._texts if each not in kept), None)
            if free is None:
                return None
            del self._chips[self._texts.pop(free)]
            chip = free
        lines = count(text)
        size = f"{lines:,} lines" if lines > 1 else f"{len(text):,} character{'s' * (len(text) != 1)}"
        self._texts[chip], self._chips[text] = text, chip
        self._labels[chip] = f"[paste {ord(chip) - FIRST + 1}: {size}]"
        return chip


def count(text: str) -> int:
    """The lines of a text; a line feed at its end begins none."""
    return text.count("\n") + (not text.endswith("\n"))


def has_chip(text: str) -> bool:
    """Is there a character that is a chip, or could be taken for one?"""
    return _CHIP.search(text) is not None


def without(text: str, instead: str) -> str:
    """A text with something else in place of each chip."""
    return _CHIP.sub(instead, text)
