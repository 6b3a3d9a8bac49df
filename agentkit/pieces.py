"""A long text in pieces that a channel takes: cut where it hurts least, with code blocks that stay code blocks.

A length is counted in Unicode code points, as Discord counts its 2,000 (discord/discord-api-docs#1315), and Python too.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

ROOM = 8  # the part of a piece, as a divisor, that must be left for code beside the lines that open and close its block

# A fence as CommonMark 0.31 has it (section 4.5): up to three spaces, three or more marks; the rest of the line.
_MARKS = re.compile(r"^( {0,3})(`{3,}|~{3,})([^\n]*)", re.MULTILINE)
_BLANKS = re.compile(r"\s*")
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")

JOINER = "\u200d"


class _Fence(NamedTuple):
    """A code block. Its opening line is at `start`, the code at `body`, the closing line from `end` to `after`, which
    both are behind the text where there is none; opening, closing: the lines to go on with it, and to break it off."""

    start: int
    body: int
    end: int
    after: int
    opening: str
    closing: str


class _Cut(NamedTuple):
    """A piece ends at `stop`, the next one begins at `go`; fence: the code block that is cut, if any."""

    stop: int
    go: int
    fence: _Fence | None


def pieces(text: str, limit: int | None) -> list[str]:
    """The text in pieces of at most `limit` characters (None: one piece), none of them blank; a blank text has none.

    It is cut between paragraphs or around a code block, else between lines, else between words, else anywhere but
    inside of what is seen as one character. A code block that is cut is closed, and opened again, with its language,
    in the next piece; only where the limit is too small for that it is cut like any other text. White space at a cut
    is dropped, but not in a code block; nothing else is. Takes time in proportion to the text's length. Raises
    ValueError for a limit below 1.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"a piece of at most {limit} characters holds nothing")
    if not text.strip():
        return []
    if limit is None or len(text) <= limit:
        return [text]
    fences = _fences(text, limit)
    found: list[str] = []
    at = text.rfind("\n", 0, _past_blanks(text, 0)) + 1
    first = 0  # of the fences that are not behind us
    while at < len(text):
        while first < len(fences) and fences[first].after <= at:
            first += 1
        inside = fences[first] if first < len(fences) and fences[first].body <= at else None
        head = f"{inside.opening}\n" if inside else ""
        if len(text) - at <= limit and (last := _last(text, at, head, inside)) is not None and len(last) <= limit:
            if text[at:].strip():
                found.append(last)
            break
        cut = _cut(text, at, limit - len(head), fences, first)
        if cut.fence:
            found.append(f"{head}{text[at : cut.stop]}\n{cut.fence.closing}")
        elif body := text[at : cut.stop].rstrip():
            found.append(head + body)
        at = cut.go
    return found


def _last(text: str, at: int, head: str, inside: _Fence | None) -> str:
    """All the rest. A block that was opened again is closed, even where the text never did."""
    if inside is None or inside.end <= len(text):
        return head + text[at:]
    return f"{head}{text[at:].rstrip()}\n{inside.closing}"


def _cut(text: str, at: int, room: int, fences: list[_Fence], first: int) -> _Cut:
    """Where to cut what follows `at`, which does not fit into `room` characters; fences[first:] are not behind it."""
    far = at + room
    ahead = first
    while ahead < len(fences) and fences[ahead].start <= far:
        ahead += 1
    line: tuple[int, _Fence | None] | None = None  # the last place between lines, and the code block there, if any
    here = text.rfind("\n", at, far + 1)
    while here >= 0:
        while ahead > first and fences[ahead - 1].start > here:
            ahead -= 1
        before = fences[ahead - 1] if ahead > first else None
        if before and here < before.after:
            if before.body <= here <= far - len(before.closing) - 1:
                line = line or (here, before)
        else:
            at_block = (before and before.after == here) or (ahead < len(fences) and fences[ahead].start == here + 1)
            if at_block or _BLANK_LINE.match(text, here):
                return _Cut(here, _past_blanks(text, here), None)
            line = line or (here, None)
        here = text.rfind("\n", at, here)
    if line is None:
        return _cut_line(text, at, far, fences[first] if first < len(fences) else None)
    here, fence = line
    if fence is None:
        return _Cut(here, _past_blanks(text, here), None)
    if here + 1 == fence.end:  # all that is left of the block is its closing line: the one that is added stands for it
        return _Cut(here, _past_blanks(text, fence.after), fence)
    return _Cut(here, here + 1, fence)


def _cut_line(text: str, at: int, far: int, fence: _Fence | None) -> _Cut:
    """Where to cut a line that is too long: between words, else between characters."""
    if fence is None or fence.start > at:
        low = _BLANKS.match(text, at, far).end()  # type: ignore[union-attr]  # it always matches
        for here in range(far, low, -1):
            if text[here].isspace():
                return _Cut(here, _past_blanks(text, here), None)
        here = _between_characters(text, low, far)
        return _Cut(here, _past_blanks(text, here), None)
    far -= len(fence.closing) + 1
    start = max(at, fence.body)
    low = _BLANKS.match(text, start, far).end()  # type: ignore[union-attr]
    for here in range(far, low, -1):
        if text[here - 1].isspace():
            return _Cut(here, here, fence)
    here = _between_characters(text, start, far)
    return _Cut(here, here, fence)


def _between_characters(text: str, low: int, far: int) -> int:
    """The last place up to `far`, but behind `low`, that is not inside of what is seen as one character; `far` where
    there is none. The common cases of Unicode's rules for grapheme clusters (UAX 29), not all of them."""
    for here in range(far, low, -1):
        if not _joined(text, low, here):
            return here
    return far


def _joined(text: str, low: int, here: int) -> bool:
    before, after = text[here - 1], text[here]
    if after < "\u0300":
        return before == "\r" and after == "\n"
    if JOINER in (before, after) or after == "\u200c" or unicodedata.category(after)[0] == "M":
        return True
    if _is_flag(after):  # two of them are a flag
        start = here
        while start > low and _is_flag(text[start - 1]):
            start -= 1
        return (here - start) % 2 == 1
    # Skin tones, the tags of regional flags, and the later letters of a Korean syllable.
    return (
        "\U0001f3fb" <= after <= "\U0001f3ff" or "\U000e0020" <= after <= "\U000e007f" or "\u1160" <= after <= "\u11ff"
    )


def _is_flag(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _past_blanks(text: str, at: int) -> int:
    """Where a piece begins after a cut: behind the white space, but before the indentation of a new line."""
    end = _BLANKS.match(text, at).end()  # type: ignore[union-attr]
    line = text.rfind("\n", at, end)
    return end if line < 0 or end == len(text) else line + 1


def _fences(text: str, limit: int) -> list[_Fence]:
    """The code blocks of a text that can be closed and opened again within the limit."""
    found: list[_Fence] = []
    opened: re.Match[str] | None = None
    for each in _MARKS.finditer(text):
        if opened is None:
            if each[2][0] == "~" or "`" not in each[3]:
                opened = each
        elif each[2].startswith(opened[2]) and not each[3].strip():
            found += _carried(opened, each.start(), each.end(), limit)
            opened = None
    if opened is not None:
        found += _carried(opened, len(text) + 1, len(text) + 1, limit)
    return found


def _carried(opened: re.Match[str], end: int, after: int, limit: int) -> list[_Fence]:
    closing = opened[1] + opened[2]
    language = "".join(opened[3].split()[:1])
    for opening in (closing + language, closing):
        shortest = max(1, limit // ROOM) + len(closing) + 2
        if len(opening) + shortest <= limit and len(opened[0]) + len(closing) + 3 <= limit:
            return [_Fence(opened.start(), opened.end() + 1, end, after, opening, closing)]
    return []
