"""The text side of editing, without files: find and replace, tell what was nearest, show what changes."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from difflib import SequenceMatcher, unified_diff
from itertools import takewhile

from ..errors import ToolError
from .words import visible

LARGEST = 10_000_000  # characters or bytes of a text that is edited, before and after
PLACES = 100_000  # that one call may replace
SHOWN = 2000  # lines of a diff
WIDEST = 2000  # characters of one of them
COMPARED = 5000  # lines among which the nearest is looked for
PAIRS = 1_000_000  # of lines that a diff may compare: more can take minutes


def replaced(text: str, old: str, new: str, everywhere: bool, path: str) -> tuple[str, str]:
    """`text` with `old` replaced by `new`; and which lines of the result that concerns, in words.

    A line feed in `old` stands for the text's own line end, and in `new` is written as such. Raises ToolError unless
    `old` is found exactly once, or with `everywhere` at least once.
    """
    old, new = old.replace("\r\n", "\n"), new.replace("\r\n", "\n")
    if not old:
        raise ToolError("old is empty: give the text to replace, or use write_file for a whole file")
    if old == new:
        raise ToolError("old and new are the same: there is nothing to change")
    flat = text.replace("\r\n", "\n")
    count = flat.count(old)
    starts = [0, *(each.end() for each in re.finditer("\n", flat))]
    if not count:
        raise ToolError(_missing(flat, old, path))
    if count > 1 and not everywhere:
        raise ToolError(
            f"old is found {count} times in {path}, {_in_lines(_places(flat, old, old, starts))}: "
            "give more of the text around it so that it is found once, or set replace_all"
        )
    if count > PLACES or len(text) + count * (len(new) - len(old)) > LARGEST:
        raise ToolError(f"old is found {count} times in {path}: more than can be replaced at once")
    words = f"{count} places, " * (count > 1) + _in_lines(_places(flat, old, new, starts))
    if len(flat) == len(text):
        return flat.replace(old, new), words
    return _replaced_in_mixed(text, flat, old, new, starts), words


def _replaced_in_mixed(text: str, flat: str, old: str, new: str, starts: Sequence[int]) -> str:
    """The same for a text with CRLF in it; `flat` is that text with line feeds only, and where to look."""
    returns = [each.start() - index for index, each in enumerate(re.finditer("\r\n", text))]  # by position in flat
    pieces, done, at = [], 0, flat.find(old)
    while at >= 0:
        end = at + len(old)
        start, stop = (position + bisect_left(returns, position) for position in (at, end))
        ends = re.findall("\r?\n", text[start:stop])
        if not ends:  # the end of this line, or the last there is
            near = min(bisect_right(starts, end), len(starts) - 1)
            position = starts[near] - 1
            crlf = bisect_left(returns, position)
            ends = ["\r\n" if crlf < len(returns) and returns[crlf] == position else "\n"]
        pieces += [text[done:start], _with_ends(new.split("\n"), old.split("\n"), ends)]
        done, at = stop, flat.find(old, end)
    return "".join((*pieces, text[done:]))


def _with_ends(new: list[str], old: list[str], ends: list[str]) -> str:
    """The new lines joined by the ends of the old: where those are mixed, a line that stays keeps its own."""
    room = len(new) - 1
    same = min(_common(old, new), len(ends), room)
    kept = min(_common(old[::-1], new[::-1]), len(ends) - same, room - same)
    between = [ends[min(same, len(ends) - 1)]] * (room - same - kept)
    own = [*ends[:same], *between, *ends[len(ends) - kept :], ""]
    return "".join(line + end for line, end in zip(new, own, strict=True))


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many lines are the same at the beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _places(flat: str, old: str, new: str, starts: Sequence[int]) -> list[tuple[int, int]]:
    """First and last line of the places where `old` is, as they are once `new` is there; of the first few."""
    places: dict[tuple[int, int], None] = {}
    at, index, more = flat.find(old), 0, new.count("\n") - old.count("\n")
    while at >= 0 and len(places) <= 20:
        first = bisect_right(starts, at) + index * more
        places[first, first + new.removesuffix("\n").count("\n")] = None
        at, index = flat.find(old, at + len(old)), index + 1
    return list(places)


def _in_lines(places: Sequence[tuple[int, int]]) -> str:
    shown = [f"{first}" if first == last else f"{first}-{last}" for first, last in places]
    more = ", ..." if len(shown) > 20 else ""
    return ("line " if len(shown) == 1 and "-" not in shown[0] else "lines ") + ", ".join(shown[:20]) + more


def _missing(flat: str, old: str, path: str) -> str:
    """Why `old` was not found, with the lines that come nearest."""
    asked = old.split("\n")
    numbered = all(re.match(r"\s*\d+\t", line) for line in asked if line)
    hint = "leave out the line numbers" if numbered else "give it exactly as it stands in the file"
    lines = flat.split("\n")
    first = next((index for index, line in enumerate(asked) if line.strip()), 0)
    at = _nearest(lines, re.sub(r"^\s*\d+\t", "", asked[first]) if numbered else asked[first])
    if at is None:
        return f"old is not found in {path}, nor any line like it: look with read_file"
    at = max(0, at - first)
    nearest = [f"{n}\t{line[:WIDEST]}" for n, line in enumerate(lines[at : at + min(len(asked), 10)], at + 1)]
    return f"old is not found in {path}: {hint}; nearest are these lines:\n" + "\n".join(nearest)


def _nearest(lines: Sequence[str], wanted: str) -> int | None:
    """The index of the line most like `wanted`; indentation does not count."""
    wanted = wanted.strip()
    if not wanted:
        return None
    for index, line in enumerate(lines):
        if wanted in line:
            return index
    matcher = SequenceMatcher(None, "", wanted[:200], autojunk=False)
    best, at = 0.5, None
    for index, line in enumerate(lines[:COMPARED]):
        matcher.set_seq1(line.strip()[:200])
        if matcher.real_quick_ratio() > best and matcher.quick_ratio() > best and matcher.ratio() > best:
            best, at = matcher.ratio(), index
    return at


def diff(old: str, new: str) -> str:
    """The change as a unified diff without file names; of a huge one the beginning. What a screen would not show is
    escaped."""
    if all(text.count("\r\n") == text.count("\n") for text in (old, new)):
        old, new = old.replace("\r\n", "\n"), new.replace("\r\n", "\n")
    before, after = _lines(old), _lines(new)
    start = max(0, _common(before, after) - 3)
    before, after = before[start:], after[start:]
    spare = max(0, min(_common(before[::-1], after[::-1]), len(before), len(after)) - 3)
    before, after = before[: len(before) - spare], after[: len(after) - spare]
    if len(before) * len(after) <= PAIRS:
        hunks = list(unified_diff(before, after, lineterm=""))[2:]
        return "\n".join(_cut([_shown(line, start) for line in hunks[:SHOWN]], len(hunks)))
    removed = _cut([_shown(f"-{line}", 0) for line in before[: SHOWN // 2]], len(before))
    added = _cut([_shown(f"+{line}", 0) for line in after[: SHOWN // 2]], len(after))
    return "\n".join([f"@@ -{start + 1},{len(before)} +{start + 1},{len(after)} @@", *removed, *added])


def _lines(text: str) -> list[str]:
    """The lines with their ends, so that a missing one at the end of the text counts."""
    lines = text.split("\n")
    return [f"{line}\n" for line in lines[:-1]] + lines[-1:] * bool(lines[-1])


def _shown(line: str, start: int) -> str:
    """A line of a diff; start: lines that come before those it counts."""
    if line.startswith("@@"):
        return re.sub(r"([-+])(\d+)", lambda number: f"{number[1]}{int(number[2]) + start}", line)
    text = line.removesuffix("\n")
    more = f" ... ({len(text) - WIDEST} more characters)" if len(text) > WIDEST else ""
    return visible(text[:WIDEST]) + more + "\n\\ no newline at the end" * (text == line)


def _cut(shown: list[str], count: int) -> list[str]:
    more = count - len(shown)
    return [*shown, f"... ({more} more lines, not shown here)"] if more > 0 else shown
