"""The keys there are, in words: what F1 shows, and the README lists."""

from __future__ import annotations

from .style import Row
from .wrap import width, wrap

COLUMN = 26  # cells for the names

KEYS = (
    ("Enter", "send; while the agent works the message waits in sight"),
    ("Alt-Enter, Ctrl-J, \\ Enter", "a new line"),
    ("Esc", "close what is open, refuse a call, interrupt the answer"),
    ("Up, Down, Ctrl-P, Ctrl-N", "earlier messages; Up first has a queued one back"),
    ("Ctrl-R", "find an earlier message"),
    ("Tab", "complete a command or its words, or a file after @"),
    ("@file", "attach a file to the message"),
    ("Ctrl-G", "write the message in $EDITOR"),
    ("PgUp, PgDn, wheel", "scroll; Ctrl-Home, Ctrl-End to the ends"),
    ("Ctrl-F", "find in the transcript, then n and N; within a line the cursor goes on"),
    ("Ctrl-O", "fold or unfold a long output, message or paste"),
    ("Ctrl-A, Ctrl-E, Ctrl-B", "beginning and end of the line, a character back"),
    ("Alt-B, Alt-F, Ctrl-Left, Ctrl-Right", "a word back, a word on"),
    ("Ctrl-W, Ctrl-U, Ctrl-K, Alt-D", "cut the word before, the line before or behind, the word behind"),
    ("Ctrl-Y", "put back what was cut"),
    ("Ctrl-D", "delete a character; on an empty line leave"),
    ("Ctrl-C", "clear the line, interrupt; twice: leave"),
    ("Ctrl-L, Ctrl-Z", "draw anew, suspend"),
    ("y, a, n, t", "a call: once, always, no, no and why; ? shows all of it"),
    ("F1, ? on an empty line", "these keys"),
)


def rows(columns: int) -> list[Row]:
    """A row for each, the names in a column of their own; where there is no room beside them, what they do is below."""
    made: list[Row] = []
    for name, what in KEYS:
        beside = width(name) <= COLUMN and columns >= 2 * COLUMN + 6
        indent = COLUMN + 2 if beside else 4
        first, *more = wrap(what, columns - indent)
        made += (
            [((f"{name:{COLUMN}}  ", "bold"), (first, ""))] if beside else [((name, "bold"),), ((" " * 4 + first, ""),)]
        )
        made += [((" " * indent + row, ""),) for row in more]
    return made
