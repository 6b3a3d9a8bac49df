"""Emphasis, code and links within one line of Markdown, as CommonMark has them; what is not closed stays as written."""

from __future__ import annotations

import re
from bisect import bisect_right
from unicodedata import category

from .style import Span

# Past this many characters a line is data more likely than prose.
LONGEST = 2000

_STYLES = ("bold", "italic", "strike", "code", "link")
_TOKEN = re.compile(
    r"\\[!-/:-@\[-`{-~]|`+|\*+|_+|~+|!?\[|\]"
    r"|<(?:[A-Za-z][A-Za-z0-9+.-]{1,31}:[^\s<>]*|[^\s<>@]+@[^\s<>@]+)>"
    r"|(?<![A-Za-z0-9])https?://(?:\[[0-9A-Fa-f:.]+\])?[^\s<>\[\]`\"|\u3000-\u303f\uff00-\uffef]+"
)
# Spaces are few and counted: any number of them in several places would be tried in every combination.
_TARGET = re.compile(
    r"\( {0,3}(?:<([^<>]*)>|([^\s()<][^\s()]*(?:\([^\s()]*\)[^\s()]*)*|))"
    r"(?: {1,3}(?:\"[^\"]*\"|'[^']*'|\([^()]*\)))? {0,3}\)"
)
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")


class _Piece:
    """Literal text, the styles that end before it and those that begin after it."""

    __slots__ = ("begins", "ends", "style", "text")

    def __init__(self, text: str, style: str = "") -> None:
        self.text, self.style = text, style
        self.ends: tuple[str, ...] = ()
        self.begins: tuple[str, ...] = ()


class _Run(_Piece):
    """Markers of one kind in a row, of which some may open or close a style; the others are its text."""

    __slots__ = ("closes", "opens", "size")

    def __init__(self, text: str, opens: bool, closes: bool) -> None:
        super().__init__(text)
        self.size, self.opens, self.closes = len(text), opens, closes

    def fits(self, closer: _Run) -> bool:
        """Whether `closer` may close this one (CommonMark 0.31, emphasis rules 9 and 10)."""
        if self.text[0] != closer.text[0]:
            return False
        either_way = (self.opens and self.closes) or (closer.opens and closer.closes)
        return not either_way or (self.size + closer.size) % 3 != 0 or self.size % 3 == closer.size % 3 == 0


def inline(line: str) -> list[Span]:
    """One line of Markdown, without what makes it a heading or a list item, as styled pieces.

    Links are shown as `text <url>`; HTML and entities are shown as they are. A line over 2,000 characters is one plain
    piece.
    """
    if len(line) > LONGEST or _TOKEN.search(line) is None:
        return [(line, "")] if line else []
    return _Reader(line).spans()


class _Reader:
    """Reads one line from left to right; links are decided at their `]`, emphasis once what holds it is complete."""

    def __init__(self, line: str) -> None:
        self._line = line
        self._pieces: list[_Piece] = []
        self._runs: list[_Run] = []
        # Each open bracket: its piece, where its text begins, how many runs stood before it.
        self._brackets: list[tuple[_Piece, int, int]] = []
        self._linked = 0  # where the last link ended: a bracket before it would hold a link within a link
        self._ticks: dict[int, list[int]] = {}
        for found in re.finditer("`+", line) if "`" in line else ():
            self._ticks.setdefault(len(found[0]), []).append(found.start())

    def spans(self) -> list[Span]:
        at = 0
        while found := _TOKEN.search(self._line, at):
            if found.start() > at:
                self._pieces.append(_Piece(self._line[at : found.start()]))
            at = self._token(found[0], found.start())
        self._pieces.append(_Piece(self._line[at:]))
        _emphasise(self._runs)
        return _styled(self._pieces)

    def _token(self, token: str, at: int) -> int:
        """Takes what a marker at `at` begins; where to go on."""
        end = at + len(token)
        first = token[0]
        if first == "\\":
            self._pieces.append(_Piece(token[1]))
        elif first == "`":
            return self._code(token, at)
        elif first in "*_~":
            self._run(token, at)
        elif first in "![":
            self._pieces.append(_Piece(token))
            self._brackets.append((self._pieces[-1], end, len(self._runs)))
        elif first == "]":
            return self._bracket(at)
        elif first == "<":
            self._pieces.append(_Piece(token[1:-1], "link"))
        else:
            url = _without_punctuation(token)
            self._pieces.append(_Piece(url, "link" if url.partition("//")[2] else ""))
            return at + len(url)
        return end

    def _code(self, ticks: str, at: int) -> int:
        end = at + len(ticks)
        closers = self._ticks.get(len(ticks), [])
        index = bisect_right(closers, at)
        if index == len(closers):
            self._pieces.append(_Piece(ticks))
            return end
        code = self._line[end : closers[index]]
        if code[0] == code[-1] == " " and code.strip():
            code = code[1:-1]
        self._pieces.append(_Piece(code, "code"))
        return closers[index] + len(ticks)

    def _run(self, token: str, at: int) -> None:
        before = self._line[at - 1] if at else " "
        end = at + len(token)
        after = self._line[end] if end < len(self._line) else " "
        opens = not after.isspace() and (not _mark(after) or before.isspace() or _mark(before) or _unspaced(before))
        closes = not before.isspace() and (not _mark(before) or after.isspace() or _mark(after) or _unspaced(after))
        if token[0] == "_":  # never within a word
            opens, closes = opens and (not closes or _mark(before)), closes and (not opens or _mark(after))
        run = _Run(token, opens, closes)
        self._pieces.append(run)
        if (opens or closes) and (token[0] != "~" or len(token) == 2):
            self._runs.append(run)

    def _bracket(self, at: int) -> int:
        opener, start, runs = self._brackets.pop() if self._brackets else (None, 0, 0)
        target = _TARGET.match(self._line, at + 1) if opener else None
        if opener is None or target is None or (opener.text == "[" and start <= self._linked):
            self._pieces.append(_Piece("]"))
            return at + 1
        _emphasise(self._runs[runs:])
        del self._runs[runs:]
        url = _ESCAPE.sub(r"\1", target[1] or target[2] or "")
        text = self._line[start:at]
        if opener.text == "[":
            self._linked = at
        opener.text, opener.begins = "", ("link",)
        shown = "" if not url or text == url else f" <{url}>" if text else f"<{url}>"
        self._pieces += (_Piece(shown), closer := _Piece(""))
        closer.ends = ("link",)
        return target.end()


def _emphasise(runs: list[_Run]) -> None:
    """Gives each run that closes one the nearest that opens (CommonMark 0.31, "process emphasis")."""
    openers: list[_Run] = []
    # Below this place on the stack there is no opener for such a closer: no stretch is searched twice.
    floors: dict[tuple[str, bool, int], int] = {}
    for run in runs:
        kind = (run.text[0], run.opens, run.size % 3)
        while run.closes and run.text:
            floor = floors.get(kind, 0)
            index = next((at for at in range(len(openers) - 1, floor - 1, -1) if openers[at].fits(run)), -1)
            if index < 0:
                floors[kind] = len(openers)
                break
            opener = openers[index]
            size = 2 if len(opener.text) > 1 and len(run.text) > 1 else 1
            style = "strike" if run.text[0] == "~" else "bold" if size == 2 else "italic"
            opener.text, run.text = opener.text[size:], run.text[size:]
            opener.begins += (style,)
            run.ends += (style,)
            del openers[index + bool(opener.text) :]
            floors = {each: min(place, len(openers)) for each, place in floors.items()}
        if run.opens and run.text:
            openers.append(run)


def _styled(pieces: list[_Piece]) -> list[Span]:
    """The pieces with the names of all styles around them, those alike joined."""
    depth = dict.fromkeys(_STYLES, 0)
    spans: list[Span] = []
    around = ""
    for piece in pieces:
        for style in piece.ends:
            depth[style] -= 1
        if piece.ends:
            around = " ".join(style for style in _STYLES if depth[style])
        if piece.text:
            style = f"{around} {piece.style}".strip() if piece.style not in around else around
            if spans and spans[-1][1] == style:
                spans[-1] = (spans[-1][0] + piece.text, style)
            else:
                spans.append((piece.text, style))
        for style in piece.begins:
            depth[style] += 1
        if piece.begins:
            around = " ".join(style for style in _STYLES if depth[style])
    return spans


def _without_punctuation(url: str) -> str:
    """A URL in a sentence ends before its comma, its full stop, its emphasis, and before a `)` it did not open."""
    end = len(url)
    surplus = url.count(")") - url.count("(")
    while end and (url[end - 1] in "?!.,:;*_~'" or (url[end - 1] == ")" and surplus > 0)):
        surplus -= url[end - 1] == ")"
        end -= 1
    return url[:end]


def _mark(character: str) -> bool:
    return category(character)[0] in "PS"


def _unspaced(character: str) -> bool:
    """Whether it is of a script that has no spaces between words: there emphasis may begin and end anywhere."""
    return character >= "\u2e80"
