"""How wide text is on a terminal, and where it breaks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from unicodedata import category, east_asian_width

TAB = 4
_ZWJ, _VS16 = "\u200d", "\ufe0f"


def clusters(text: str) -> Iterator[tuple[str, int]]:
    """What a person sees as one character each, with its width in cells: marks stay with their letter."""
    cluster, cells = "", 0
    joined = False
    for character in text:
        size = _cells(character)
        pair = _is_flag(character) and len(cluster) == 1 and _is_flag(cluster)
        if cluster and (size == 0 or joined or pair):
            cluster += character
            if character == _VS16 or pair:
                cells = 2
        else:
            if cluster:
                yield cluster, cells
            cluster, cells = character, size
        joined = character == _ZWJ
    if cluster:
        yield cluster, cells


def width(text: str) -> int:
    """The cells a line of text takes."""
    return len(text) if text.isascii() else sum(cells for _, cells in clusters(text))


def clip(text: str, cells: int) -> str:
    """As much of the beginning as fits; never half a wide character."""
    if text.isascii():
        return text[: max(0, cells)]
    kept = []
    for cluster, size in clusters(text):
        cells -= size
        if cells < 0:
            break
        kept.append(cluster)
    return "".join(kept)


def wrap(text: str, cells: int) -> list[str]:
    """The rows of a text, broken between words where they fit, anywhere where not. Every row advances, even in one
    column; spaces at a break are dropped."""
    rows: list[str] = []
    for line in text.expandtabs(TAB).split("\n"):
        rows += _wrap_line(line, max(1, cells))
    return rows


def _wrap_line(line: str, cells: int) -> list[str]:
    rows: list[str] = []
    while True:
        head = clip(line, cells) or next((cluster for cluster, _ in clusters(line)), "")
        rest = line[len(head) :]
        if not rest:
            return [*rows, line]
        if not rest.startswith(" ") and (space := _last_break(head)) > 0:
            head, rest = line[:space], line[space:]
        rows.append(head.rstrip() if head.strip() else head)
        line = rest.lstrip(" ")


def _last_break(head: str) -> int:
    """Where the last word of a row begins; 0: the row is one word."""
    found = re.search(r"\S+$", head)
    return found.start() if found and head[: found.start()].strip() else 0


@lru_cache(maxsize=4096)
def _cells(character: str) -> int:
    if category(character) in ("Mn", "Me", "Cf") and character != "\u00ad":
        return 0
    if 0x1160 <= ord(character) <= 0x11FF or 0x1F3FB <= ord(character) <= 0x1F3FF:
        return 0  # a vowel or final within a Hangul syllable, a skin tone
    return 2 if east_asian_width(character) in "WF" else 1


def _is_flag(character: str) -> bool:
    return 0x1F1E6 <= ord(character) <= 0x1F1FF
