"""What of a reply is to be said, where nobody has asked: a model that has nothing to say answers HEARTBEAT_OK, which
nobody is to see. Pure."""

from __future__ import annotations

import re

from .printable import printable

MARKER = "HEARTBEAT_OK"  # the model's word for: nothing to say
QUIET = 30  # characters beside it that are still nothing to say

# Characters that nobody sees (Default_Ignorable_Code_Point of Unicode 16, DerivedCoreProperties.txt).
_UNSEEN = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
INVISIBLE = re.compile(f"[{_UNSEEN}]")

_HOLE = "\0"  # stands where a marker was; printable text has none
# What may stand inside a marker and not be seen when it is shown: also Markdown's escapes, emphasis, code, spoilers.
_BETWEEN = rf"[{_UNSEEN}\ufffd\\*`~|{_HOLE}]*"
_LETTERS = [f"_(?:{_BETWEEN}_)*" if each == "_" else each for each in MARKER]
_MARKER = re.compile(_BETWEEN.join(_LETTERS) + f"(?:{_BETWEEN}A{_BETWEEN}Y(?![A-Za-z]))?", re.IGNORECASE)
_TAGGED = re.compile(rf"<([a-z][a-z0-9]{{,9}})>\s*{_HOLE}+\s*</\1>", re.IGNORECASE)
_FENCED = re.compile(rf"^[ \t]*(`{{3,}}|~{{3,}})[\w-]*[ \t]*\n[ \t]*{_HOLE}+[ \t]*\n[ \t]*\1[ \t]*$", re.MULTILINE)
_GAP = re.compile(rf"(?<=[.!?…:;]) {_HOLE}+[.!…]*(?=\s|\Z)| {_HOLE}+(?=[\s.,;:!?)]|\Z)")
_OPENING = re.compile(rf"[\s{_HOLE}]*[.,;:!?…]*(?:\s*[–—|-]+(?=\s))?\s*")
_PAIRS = {
    pair[0]: pair[1]
    for pair in ("**", "__", "``", "~~", "||", '""', "''", "()", "[]", "{}", "<>", "“”", "‘’", "„“", "«»")
}
_ROUNDS = 8  # how deep markers may be put into markers, or into tags


def silence(reply: str) -> str:
    """What of a reply is to be said; "" for nothing, which is what MARKER means: alone, or at the start or end with at
    most 30 other characters. From a longer text it is removed, with the marks and quotes around it.

    It is found in any case, with invisible characters or Markdown inside, and as a part of a longer word too (of
    MY_HEARTBEAT_OKAY only MY_ would be left): models run it into the next word, and nobody is to see it.
    """
    text = printable(reply)
    if not _MARKER.search(text) and not _MARKER.search(reply):
        return reply.strip() if INVISIBLE.sub("", text).strip() else ""
    for _ in range(_ROUNDS):
        text, count = _MARKER.subn(_HOLE, text)
        if not count:
            break
        text = _unwrapped(text)
    else:  # nobody writes this by chance
        text = "\n".join(_HOLE if _MARKER.search(line) else line for line in text.split("\n"))
    before, hole, _ = text.partition(_HOLE)
    after = text.rpartition(_HOLE)[2]
    if hole and not (_bare(before) and _bare(after)) and len(_bare(text.replace(_HOLE, ""))) <= QUIET:
        return ""
    lines = _FENCED.sub(_HOLE, text).split("\n")
    return "\n".join(_tidied(line) for line in lines if _HOLE not in line or _bare(line)).strip()


def _bare(text: str) -> str:
    """Without the blanks and the punctuation around it."""
    start, end = 0, len(text)
    while start < end and not text[start].isalnum():
        start += 1
    while start < end and not text[end - 1].isalnum():
        end -= 1
    return text[start:end]


def _unwrapped(text: str) -> str:
    """Without the pairs of marks, quotes and tags around its holes."""
    parts = re.split(f"{_HOLE}+", text)
    for at in range(1, len(parts)):
        left, right = parts[at - 1], parts[at]
        depth = 0
        while depth < min(len(left), len(right)) and _PAIRS.get(left[-1 - depth]) == right[depth]:
            depth += 1
        parts[at - 1], parts[at] = left[: len(left) - depth], right[depth:]
    text = _HOLE.join(parts)
    for _ in range(_ROUNDS):
        text, count = _TAGGED.subn(_HOLE, text)
        if not count:
            break
    return text


def _tidied(line: str) -> str:
    """Without its holes, and what led to them or on from them."""
    if line.lstrip().startswith(_HOLE):
        line = _OPENING.sub("", line, count=1)
    if line.rstrip().endswith(_HOLE):
        line = line.rstrip(f"{_HOLE} \t").rstrip("–—:,;| \t-")
    return _GAP.sub("", line).replace(_HOLE, "")
