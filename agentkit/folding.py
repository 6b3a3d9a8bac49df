"""Text as YAML 1.2.2 writes it over several lines and in quotes, without the rest of YAML."""

from __future__ import annotations

import re
from collections.abc import Sequence

QUOTED = {"'": re.compile(r"'([^']*(?:''[^']*)*)'"), '"': re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)}

_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U(00[01][0-9A-Fa-f]{5})|(.))", re.DOTALL)
_ESCAPED = {"0": "\0", "a": "\a", "b": "\b", "t": "\t", "\t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r"}
_ESCAPED |= {"e": "\x1b", " ": " ", '"': '"', "/": "/", "\\": "\\", "N": "\x85", "_": "\xa0", "\n": ""}
_ESCAPED |= {"L": "\u2028", "P": "\u2029"}


def folded(lines: Sequence[str], escapes: bool = False) -> str:
    """Stripped lines as one text: a line break is a space, a blank line is a line break (YAML 1.2.2, 6.5).

    escapes: a backslash takes the break behind it away.
    """
    pieces = [lines[0]]
    blank = 0
    for number, line in enumerate(lines[1:], 2):
        if not line and number < len(lines):
            blank += 1
            continue
        before = pieces[-1]
        if escapes and (len(before) - len(before.rstrip("\\"))) % 2:
            pieces[-1:] = before[:-1], "\n" * blank, line
        else:
            pieces += "\n" * blank or " ", line
        blank = 0
    return "".join(pieces)


def folded_block(lines: list[str]) -> str:
    """The same in a block, where the breaks around indented lines stay (YAML 1.2.2, 8.1.3)."""
    pieces: list[str] = []
    blank = 0
    indented = True  # so that blank lines in front count as they are
    for line in lines:
        if not line.strip(" "):
            blank += 1
            continue
        was, indented = indented, line[0] in " \t"
        breaks = blank + (was or indented) if pieces else blank
        pieces += "\n" * breaks or " " * bool(pieces), line
        blank = 0
    return "".join(pieces)


def unquoted(found: re.Match[str]) -> str:
    """The text between quotes: folded, escapes replaced."""
    quote, text = found[0][0], found[1]
    if "\n" in text:
        first, *middle, last = text.split("\n")
        text = folded([first.rstrip(), *(line.strip() for line in middle), last.lstrip()], escapes=quote == '"')
    if quote == "'":
        return text.replace("''", "'")
    if "\\" in text:
        text = _ESCAPE.sub(_character, text)
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _character(escape: re.Match[str]) -> str:
    code = escape[1] or escape[2] or escape[3]
    if code:
        return chr(int(code, 16)) if int(code, 16) <= 0x10FFFF else escape[0]
    return _ESCAPED.get(escape[4], escape[0])
