"""A tool call in the transcript: what is done, who decided about it, how it went, and what came out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import chain

from .block import MARGIN, Block, clean, counted, cut, fits, one_line, short, told
from .style import Row, Span
from .wrap import TAB, chop, width

OUTPUT_LINES = 5  # of what came out, that stay when it is folded
CHANGE_LINES = 10  # of a diff: the first ones are context
BAR = ("  │ ", "dim")

_CHANGES = {"+": "added", "-": "removed", "@": "hunk"}

# How a command ended that did not go well, as the shell tool's last line tells; what is behind it is advice.
_ENDING = re.compile(
    r"\[?(?:exit (?:status )?(?P<status>-?\d+)|(?P<words>killed by [\w ]+|timed out[^:\]]*|interrupted))\]?"
)


class ToolCard(Block):
    """A tool call: what is done, who decided about it, how it went, and what came out. name, arguments: in words."""

    folded = True
    _words = ""
    _diff: Sequence[str] = ()
    _ok: bool | None = None  # None: it is running
    _raw = _ending = ""
    _named: str | None = None  # its name and arguments, to be searched
    _clean = True  # is what came out printable already?
    _seconds: float | None = None
    _output: Sequence[str] | None = None  # lines; None: not split yet

    def __init__(self, name: str, arguments: str) -> None:
        self.name, self._arguments = name, arguments

    def decided(self, words: str) -> None:
        """Somebody has allowed or refused it."""
        self._words = one_line(words)
        self._changed()

    def change(self, text: str) -> None:
        """What it is about to do, as a unified diff."""
        self._diff = _split(clean(text))
        self._changed()

    def finish(self, ok: bool, output: str, seconds: float | None = None) -> None:
        """It is over; seconds: how long it took, where that is known."""
        self._ok, self._raw, self._seconds, self._output = ok, output, seconds, None
        self._clean = False
        self._changed()

    @property
    def plain(self) -> str:
        if self._named is None:
            self._named = clean(f"{self.name}  {self._arguments}")
        if self._words or self._diff:
            return "\n".join((self._named, self._words, *self._diff, self._came()))
        return f"{self._named}\n{self._came()}"

    @property
    def foldable(self) -> bool:
        columns = self._columns or 80
        room = max(1, columns - width(BAR[0]))
        return self._is_cut(columns) or any(
            hidden > 0 or not all(fits(line, room) for line, _ in kept) for kept, hidden in self._kept()
        )

    def _rows(self, columns: int) -> Sequence[Row]:
        head, below = self._head(columns)
        rows: list[Row] = [(), head]
        room = max(1, columns - width(BAR[0]))
        if not self.folded:
            below = [(one_line(self._arguments), "")] * self._is_cut(columns) + below
            body = [(row, style) for line, style in self._body() for row in chop(line.expandtabs(TAB), room)]
        else:
            body = []
            for lines, hidden in self._kept():
                body += [(short(line, room), style) for line, style in lines]
                if hidden:
                    body.append((short(f"… {counted(hidden)} hidden · Ctrl-O shows them", room), "dim"))
        for text, style in below:
            rows += told(text, style, columns)
        rows += [(BAR, span) for span in body]
        return rows

    def _head(self, columns: int) -> tuple[Row, list[Span]]:
        """The first row, and what belongs into it but has no room there."""
        lead, arguments = one_line(f"⚙ {self.name}"), one_line(self._arguments)
        below: list[Span] = []
        self._split()
        right = self._state(self._ending)
        if self._ending and width(f"{lead}  …  {right[0]}") > columns:
            right = self._state("")
            below.append((self._ending, "error"))
        ends = [right]
        if self._words and width(f"{lead}  {arguments}  {self._words} · {right[0]}") <= columns:
            ends = [(f"{self._words} · ", "dim"), right]
        elif self._words:
            below.insert(0, (self._words, "dim"))
        room = max(0, columns - sum(width(text) for text, _ in ends) - MARGIN)
        lead = short(lead, room)
        arguments = short(f"  {arguments}" if arguments else "", room - width(lead))
        fill = room + MARGIN - width(lead + arguments)
        return cut([(lead, "tool"), (arguments + " " * fill, ""), *ends], columns), below

    def _is_cut(self, columns: int) -> bool:
        """Are the arguments too long for the first row?"""
        return not self._head(columns)[0][1][0].lstrip().startswith(one_line(self._arguments).lstrip())

    def _state(self, ending: str) -> Span:
        if self._ok is None:
            return "…", "dim"
        how = filter(None, (ending, "" if self._seconds is None else f"{self._seconds:.1f}s"))
        return f"{'✓' if self._ok else '✗'} {' · '.join(how)}".rstrip(), "ok" if self._ok else "error"

    def _body(self) -> Iterable[Span]:
        """All lines, with their styles. What a change that was made says besides is told by its diff."""
        output = () if self._diff and self._ok else self._split()
        return chain(map(_coloured, self._diff), ((line, "dim") for line in output))

    def _kept(self) -> list[tuple[list[Span], int]]:
        """The lines of the change, and of the output, that stay when it is folded, and how many of each do not: of what
        failed the last ones tell most. No line gives way to the words that it is hidden."""
        diff, output = self._diff, () if self._diff and self._ok else self._split()
        changed, came = diff, output
        if len(diff) > CHANGE_LINES + 1:
            changed = diff[:CHANGE_LINES]
        if len(output) > OUTPUT_LINES + 1:
            came = output[:OUTPUT_LINES] if self._ok else output[-OUTPUT_LINES:]
        return [
            ([*map(_coloured, changed)], len(diff) - len(changed)),
            ([(line, "dim") for line in came], len(output) - len(came)),
        ]

    def _split(self) -> Sequence[str]:
        """The lines of the output, without the one that the first row tells."""
        if self._output is None:
            lines = _split(self._came())
            self._ending = ""
            if not self._ok and lines and (found := _ENDING.match(lines[-1])):
                self._ending = f"exit {found['status']}" if found["status"] else found["words"].strip()
                if found.end() == len(lines[-1]):
                    lines.pop()
            self._output = lines
        return self._output

    def _came(self) -> str:
        if not self._clean:
            self._raw, self._clean = clean(self._raw), True
        return self._raw


def _split(text: str) -> list[str]:
    text = text.rstrip().lstrip("\n")
    return text.split("\n") if text else []


def _coloured(line: str) -> Span:
    """A line of a diff."""
    return line, _CHANGES.get(line[:1], "dim")
