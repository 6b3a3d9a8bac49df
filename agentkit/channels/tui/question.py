"""What waits for a decision, as the strip shows it, and whether a key may decide it yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from ...events import Ask
from ...printable import printable
from .style import Row, Span
from .wrap import clip, spread, width

ROWS = 5  # of what is to be decided; three more are around it
SETTLED = 0.35  # seconds after which nothing has followed a letter: it is no word that somebody types
CALM = 0.3  # seconds that a question is on the screen, and nothing is pressed, before a key can answer it
DIFFS = ("edit_file", "write_file")

# The same in less and less room.
KEYS = (
    "y once   a always {tool} in this session   n no   t no, and tell it why",
    "y once  a always  n no  t no, and why",
    "y once  a always  n no  t why",
    "y/n, a always, t why",
)
KEYS_OF_COMMANDS = ("y yes   n no",)


class Questions:
    """The open ones of the turn that runs, in order; the first is on the screen."""

    def __init__(self) -> None:
        self._asks: deque[Ask] = deque()
        self._seen = 0.0  # monotonic seconds since when the first one is on the screen, whole; 0: it is not
        self._wrapped: tuple[str, int, list[list[Span]]] = ("", 0, [])  # for its id and a width

    def __bool__(self) -> bool:
        return bool(self._asks)

    @property
    def first(self) -> Ask:
        return self._asks[0]

    def add(self, ask: Ask) -> None:
        self._asks.append(ask)

    def clear(self) -> None:
        self._asks.clear()
        self.hidden()

    def take(self) -> Ask:
        """The first one, which is decided; the next has to be seen anew."""
        self.hidden()
        return self._asks.popleft()

    def drawn(self, now: float, whole: bool) -> None:
        """The screen shows the first one now; whole: all of its rows."""
        self._seen = (self._seen or now) if self._asks and whole else 0.0

    def hidden(self) -> None:
        """Something else was on the screen, or it has another size: the first one has to be seen anew."""
        self._seen = 0.0

    def may_be_decided(self, now: float) -> bool:
        """Has a person had the time to see it?"""
        return bool(self._asks) and self._seen > 0 and now - self._seen >= CALM

    @property
    def title(self) -> str:
        """Who asks."""
        return self.first.tool if self.is_of_person else f"{self.first.tool} wants to run"

    @property
    def is_of_person(self) -> bool:
        """Does a command of the person's own ask? Nobody has to be told why not, nor can it be allowed for ever."""
        return self.first.tool.startswith("/")

    def _shortened(self, body: list[list[Span]], room: int) -> list[list[Span]]:
        """What is left out of a long one is left out in the middle: how a command ends, and where it runs, is always
        seen; of a change what is the same before and after."""
        changed = [row for row in body[1:] if _is_changed(row)]
        first, last = body[: ROWS - 3], body[-2:]
        if changed:
            first, last = [body[0], *changed[: ROWS - 3]], changed[ROWS - 3 :][-1:]
        more = f"… {len(body) - len(first) - len(last)} more rows · ? shows them"
        return [*first, [(clip(more, room), "dim")], *last]

    def lines(self) -> list[list[Span]]:
        """All of what is to be decided, a line each."""
        ask = self.first
        return [[(line, _style(line, number, ask.tool))] for number, line in enumerate(_printable(ask))]

    def page(self) -> Callable[[int], list[Row]]:
        """All of what is to be decided, for any width."""
        lines = self.lines()
        return lambda columns: [row for line in lines for row in spread(line, columns)]

    def rows(self, columns: int, busy: str, esc: bool) -> list[Row]:
        """The strip. busy: why letters do not decide now, empty: they do; esc: does Esc?"""
        ask, room = self.first, max(1, columns - 2)
        if self._wrapped[:2] != (ask.id, columns):
            self._wrapped = ask.id, columns, [row for line in self.lines() for row in spread(line, room)]
        body = self._wrapped[2]
        if len(body) > ROWS:
            body = self._shortened(body, room)
        keys = busy or _fitting(KEYS_OF_COMMANDS if self.is_of_person else KEYS, room).format(tool=ask.tool)
        foot = "Esc = no" if busy or columns < 34 else "Esc = no · ? shows all of it"
        return [
            _head(self.title, f"1 of {len(self._asks)} waiting" if len(self._asks) > 1 else "", columns),
            *((("│ ", "ask"), *row) for row in body),
            (("│ ", "ask"), (clip(keys, room), "ask")),
            (("└ ", "ask"), (clip(foot if esc else "", room), "dim")),
        ]


def _is_changed(row: Sequence[Span]) -> bool:
    return any(style in ("added", "removed") for _, style in row)


def _printable(ask: Ask) -> list[str]:
    return printable(ask.summary).expandtabs(4).split("\n")


def _style(line: str, number: int, tool: str) -> str:
    """Of a line of what is asked: a change is shown in colours."""
    if tool not in DIFFS or number == 0:
        return ""
    return {"+": "added", "-": "removed", "@": "hunk"}.get(line[:1], "")


def _fitting(texts: tuple[str, ...], room: int) -> str:
    return next((text for text in texts if width(text) <= room), texts[-1])


def _head(left: str, right: str, columns: int) -> Row:
    left = clip(left, max(0, columns - 2 - width(right) - bool(right)))
    gap = " " * max(0, columns - 2 - width(left) - width(right))
    return (("┌ ", "ask"), (left, "ask"), (gap, ""), (right, "dim"))
