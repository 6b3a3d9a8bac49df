"""How wide text is on a terminal, and where it breaks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from unicodedata import category, east_asian_width

from .style import Span

TAB = 4

_COLUMNS = re.compile(r" *\S+(?: \S+)* {2,}(?=\S)")  # a column of words, and the gap behind it

# Format characters that are seen: the soft hyphen, and the signs written before or around a number.
_SIGNS = frozenset("\u00ad\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")


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
    return [line[start:end] for line in text.expandtabs(TAB).split("\n") for start, end in breaks(line, cells)]


def spread(spans: Sequence[Span], cells: int) -> list[list[Span]]:
    """The rows of one line of styled pieces: the breaks are those of `wrap`, the styles stay with their text."""
    spans = _untabbed(spans)
    line = "".join(text for text, _ in spans)
    ranges = breaks(line, cells)
    if len(ranges) == 1:
        return [[span for span in spans if span[0]]]
    rows: list[list[Span]] = []
    index, before = 0, 0  # the first piece that may reach into the row, and where it begins
    for start, end in ranges:
        row: list[Span] = []
        while index < len(spans) and before < end:
            text, style = spans[index]
            if kept := text[max(0, start - before) : end - before]:
                row.append((kept, style))
            if before + len(text) > end:
                break
            index, before = index + 1, before + len(text)
        rows.append(row)
    return rows


def hang(text: str, cells: int) -> list[str]:
    """The rows of a text like `wrap`, each line of it hanging: what does not fit stands below where the line begins,
    or below the second column, where it has two."""
    rows: list[str] = []
    for line in text.expandtabs(TAB).split("\n"):
        found = _COLUMNS.match(line)
        indent = width(found[0]) if found else 0
        if not 0 < indent <= cells // 2:
            indent = min(len(line) - len(line.lstrip(" ")) + 4 * bool(found), cells // 2)
        first, *_ = wrap(line, cells)
        rows.append(first)
        if rest := line[len(first) :].lstrip(" "):
            rows += [" " * indent + row for row in wrap(rest, cells - indent)]
    return rows


def chop(text: str, cells: int) -> list[str]:
    """The rows of one line in which every space counts: broken wherever a row is full, with nothing dropped."""
    return [text[start:end] for start, end in breaks(text, cells, words=False)]


def breaks(line: str, cells: int, words: bool = True) -> list[tuple[int, int]]:
    """Where each row of a line without tabs begins and ends. A row depends only on what is behind the one before: all
    rows but the last stay as they are when the line grows.

    With `words` rows break between words and spaces at a break are dropped; without, each row is filled.
    """
    cells = max(1, cells)
    ranges: list[tuple[int, int]] = []
    at = 0
    while True:
        end = at + _fitting(line, at, cells)
        if end >= len(line):
            return [*ranges, (at, len(line))]
        head = line[at:end]
        if words and line[end] != " " and (space := _last_break(head)) > 0:
            head, end = head[:space], at + space
        ranges.append((at, at + len(head.rstrip() or head)) if words else (at, end))
        while words and end < len(line) and line[end] == " ":
            end += 1
        at = end


def _fitting(line: str, at: int, cells: int) -> int:
    """How many characters of a row fit; at least one, and where not even the first that belong together do, some."""
    ahead = line[at : at + 4 * cells + 64]
    if head := clip(ahead, cells):
        return len(head)
    size, used = 0, 0
    for character in next((cluster for cluster, _ in clusters(ahead)), ""):
        used += _cells(character)
        if size and used > cells:
            break
        size += 1
    return size


def _last_break(head: str) -> int:
    """Where the last word of a row begins; 0: the row is one word."""
    if head[-1].isspace():
        return 0
    words = head.rsplit(None, 1)
    return len(head) - len(words[-1]) if len(words) > 1 else 0


def _untabbed(spans: Sequence[Span]) -> Sequence[Span]:
    """The pieces with their tabs as spaces, up to the next tab stop of the whole line."""
    if not any("\t" in text for text, _ in spans):
        return spans
    result: list[Span] = []
    column = 0
    for text, style in spans:
        lead = column % TAB
        result.append(((" " * lead + text).expandtabs(TAB)[lead:], style))
        column += len(result[-1][0])
    return result


@lru_cache(maxsize=4096)
def _cells(character: str) -> int:
    if character not in _SIGNS and category(character) in ("Mn", "Me", "Cf"):
        return 0
    point = ord(character)
    if 0x1160 <= point <= 0x11FF or 0xD7B0 <= point <= 0xD7FF:
        return 0  # a vowel or final within a Hangul syllable
    if 0x4DC0 <= point <= 0x4DFF:
        return 2  # the hexagrams: as the C library has them, and Unicode since 16
    return 2 if east_asian_width(character) in "WF" else 1
