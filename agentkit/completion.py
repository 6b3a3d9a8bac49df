"""What may stand at the cursor: the choices for what somebody has begun to type, and which of them fit."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple
from unicodedata import normalize

MOST = 200  # choices that are offered at once


class Choice(NamedTuple):
    """text: as it is inserted; hint: what tells it from the others, in a few words, empty for none."""

    text: str
    hint: str = ""


class Completion(NamedTuple):
    """A choice takes the place of the text from `start` to the cursor. is_cut: there is more than `choices` tells."""

    start: int
    choices: list[Choice]
    is_cut: bool = False


def fitting(typed: str, choices: Iterable[str | Choice], start: int) -> Completion:
    """The choices that begin with what was typed, or else those that have it within, in the order they came in."""
    all_of_them = [Choice(each) if isinstance(each, str) else each for each in choices]
    wanted = folded(typed)
    found = [each for each in all_of_them if folded(each.text).startswith(wanted)]
    found = found or [each for each in all_of_them if wanted in folded(each.text)]
    return Completion(start, [*islice(found, MOST)], len(found) > MOST)


def folded(text: str) -> str:
    """The same for all that people take for the same: capital or not, accents composed or not."""
    return text.casefold() if text.isascii() else normalize("NFC", text).casefold()
