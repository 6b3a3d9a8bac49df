"""How wide text is on a terminal, and where it breaks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from unicodedata import category, east_asian_width

TAB = 4


def clusters(text: str) -> Iterator[tuple[str, int]]:
    """What a person sees as one character each, with its width in cells: marks stay with their letter.

    The width is the sum of its parts, as the C library and so curses counts: a terminal that draws a joined emoji in
    two cells leaves a gap, but nothing is ever written over anything else.
    """
    cluster, cells, joined = "", 0, False
    for character in text:
        size = _cells(character)
        if cluster and (size == 0 or joined):
            cluster, cells = cluster + character, cells + size
        else:
            if cluster:
                yield cluster, cells
            cluster, cells = character, size
        joined = character == "\u200d"
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
    at = 0
    while True:
        ahead = line[at : at + 4 * cells + 64]
        head = clip(ahead, cells) or next((cluster for cluster, _ in clusters(ahead)), "")
        end = at + len(head)
        if end >= len(line):
            return [*rows, line[at:]]
        if line[end] != " " and (space := _last_break(head)) > 0:
            head, end = head[:space], at + space
        rows.append(head.rstrip() if head.strip() else head)
        while end < len(line) and line[end] == " ":
            end += 1
        at = end


def _last_break(head: str) -> int:
    """Where the last word of a row begins; 0: the row is one word."""
    found = re.search(r"\S+$", head)
    return found.start() if found and head[: found.start()].strip() else 0


@lru_cache(maxsize=4096)
def _cells(character: str) -> int:
    if category(character) in ("Mn", "Me", "Cf") and character != "\u00ad":
        return 0
    if 0x1160 <= ord(character) <= 0x11FF:
        return 0  # a vowel or final within a Hangul syllable
    return 2 if east_asian_width(character) in "WF" else 1
