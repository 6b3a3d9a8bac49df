"""How things look: rows of styled pieces, the colours of each style, and our glyphs where there is only ASCII."""

from __future__ import annotations

import curses
from collections.abc import Sequence

# A piece of a row: its text, and the names of its styles, separated by spaces.
Span = tuple[str, str]
Row = Sequence[Span]

# A colour (-1: the terminal's own) and an attribute. Where there are no colours the attribute has to do.
STYLES = {
    "user": (curses.COLOR_CYAN, curses.A_BOLD),
    "assistant": (-1, 0),
    "tool": (curses.COLOR_YELLOW, 0),
    "ok": (curses.COLOR_GREEN, 0),
    "error": (curses.COLOR_RED, 0),
    "notice": (curses.COLOR_MAGENTA, 0),
    "ask": (curses.COLOR_YELLOW, curses.A_BOLD),
    "dim": (-1, curses.A_DIM),
    "status": (-1, curses.A_REVERSE),
    "code": (curses.COLOR_GREEN, 0),
    "link": (curses.COLOR_BLUE, curses.A_UNDERLINE),
    "heading": (-1, curses.A_BOLD),
    "bold": (-1, curses.A_BOLD),
    "italic": (-1, curses.A_ITALIC if hasattr(curses, "A_ITALIC") else curses.A_UNDERLINE),
    "strike": (-1, curses.A_DIM),
    "added": (curses.COLOR_GREEN, 0),
    "removed": (curses.COLOR_RED, 0),
    "hunk": (curses.COLOR_CYAN, 0),
    "quote": (-1, curses.A_DIM),
    "match": (-1, curses.A_REVERSE),
    "chip": (curses.COLOR_CYAN, curses.A_REVERSE),
    "popup": (-1, 0),
    "selected": (-1, curses.A_REVERSE),
}

# Ours only, each as wide as what stands for it.
_PAIRS = "›> ●* ⚙# ✓+ ✗x ◦- •* │| ┌+ └+ ├+ ┬+ ┴+ ┼+ ┐+ ┘+ ─- …. ·- ↑^ ↓v →> ▏| ☐o ☑x ⠋| ⠙/ ⠹- ⠸\\ ⠼| ⠴/ ⠦- ⠧\\ ⠇| ⠏/"
ASCII = str.maketrans({pair[0]: pair[1] for pair in _PAIRS.split()})
