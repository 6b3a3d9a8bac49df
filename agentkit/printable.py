"""Text from elsewhere, made safe to show: on a terminal it cannot act, to a reader it is what it seems."""

from __future__ import annotations

import re

# A quick look decides: most text holds nothing of the kind. Both are compiled when they are first needed: a start that
# shows a line of plain text does without.
_SUSPECT = (
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)

# Every part stops at the next control character at the latest, and an unfinished sequence loses only its introducer:
# the work stays linear, and no text can hide behind a sequence that never ends.
_UNSAFE = r"""(?x)
      (?P<newline> \r+\n? | [\u2028\u2029] )
    | (?P<nothing>
          (?: \x1b[\]PX^_] | [\x90\x98\x9d-\x9f] )                  # OSC, DCS, SOS, PM, APC: up to BEL or ST
          (?: [^\x00-\x1f\x7f-\x9f]* (?: \x07 | \x1b\\ | \x9c ) )?
        | (?: \x1b\[ | \x9b ) [0-?]* [ -/]* [@-~]?                  # CSI
        | \x1b [ -/]* [0-~]?                                        # the other escapes
        | [\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]
      )
    | [\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]
    """


def printable(text: str) -> str:
    """`text` without anything that acts on a terminal or misleads the eye; line feeds and tabs stay.

    Escape sequences (ECMA-48), bidirectional controls, tag characters and invisible spaces are dropped, carriage
    returns become line feeds, other control characters and lone surrogates become U+FFFD. The joiners U+200C and
    U+200D stay: scripts and emoji need them.
    """
    if text.isprintable() or re.search(_SUSPECT, text) is None:
        return text
    return re.sub(_UNSAFE, _safe, text)


def _safe(found: re.Match[str]) -> str:
    if found["newline"]:
        return "\n"
    return "" if found["nothing"] else "\ufffd"


def span(seconds: float) -> str:
    """How long something takes, in the unit that fits."""
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} minutes" if seconds < 7200 else f"{round(seconds / 3600)} hours"
