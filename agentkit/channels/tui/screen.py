"""The terminal as a place to draw on: opened, drawn on by cells, and given back on every way out. Main thread only."""

from __future__ import annotations

import contextlib
import curses
import os
import signal
import sys
from collections.abc import Iterator, Sequence

from .wrap import clip, width

# A piece of a row: its text and the name of a style.
Span = tuple[str, str]
Row = Sequence[Span]

# Bracketed paste, and the wheel (buttons in SGR form). Terminals that do not know them ignore them.
MODES = b"\x1b[?2004h\x1b[?1000h\x1b[?1006h"
MODES_OFF = b"\x1b[?1006l\x1b[?1000l\x1b[?2004l"

_COLORS = {
    "user": (curses.COLOR_CYAN, curses.A_BOLD),
    "tool": (curses.COLOR_YELLOW, 0),
    "ok": (curses.COLOR_GREEN, 0),
    "error": (curses.COLOR_RED, 0),
    "notice": (curses.COLOR_MAGENTA, 0),
    "ask": (curses.COLOR_YELLOW, curses.A_BOLD),
    "dim": (-1, curses.A_DIM),
    "status": (-1, curses.A_REVERSE),
}


def capable() -> bool:
    """Can this terminal show a full screen? `TERM=dumb` gets through initscr, so its abilities are asked for first."""
    if not (sys.stdin and sys.stdout and sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    try:
        curses.setupterm(fd=sys.stdout.fileno())
        return bool(curses.tigetstr("cup"))
    except (curses.error, OSError):
        return False


class Screen:
    """Made by `opened`. Coordinates are cells, from the top left."""

    def __init__(self) -> None:
        self._fd = sys.stdout.fileno()
        self._window = curses.initscr()
        self._styles: dict[str, int] = {}
        self._setup()

    def _setup(self) -> None:
        curses.noecho()
        curses.raw()
        curses.nonl()
        self._window.keypad(False)
        curses.typeahead(-1)
        with contextlib.suppress(curses.error):
            curses.start_color()
            curses.use_default_colors()
        colored = curses.has_colors() and not os.environ.get("NO_COLOR")
        for number, (name, (color, attribute)) in enumerate(_COLORS.items(), 1):
            if colored and color >= 0:
                curses.init_pair(number, color, -1)
                attribute |= curses.color_pair(number)
            self._styles[name] = attribute
        self._send(MODES)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self._window.getmaxyx()

    def draw(self, rows: Sequence[Row], cursor: tuple[int, int] | None) -> None:
        """Show these rows from the top, and the cursor at (row, column), or none."""
        self._window.erase()
        for y, row in enumerate(rows):
            x = 0
            for text, style in row:
                x += self._put(y, x, text, style)
        with contextlib.suppress(curses.error):
            curses.curs_set(0 if cursor is None else 1)
        if cursor is not None:
            height, columns = self.size
            self._window.move(min(cursor[0], height - 1), min(cursor[1], columns - 1))
        self._window.refresh()

    def _put(self, y: int, x: int, text: str, style: str) -> int:
        """Write as much as fits; returns the cells it took."""
        height, columns = self.size
        if y >= height or x >= columns:
            return 0
        text = clip(text, columns - x)
        with contextlib.suppress(curses.error):  # the last cell is written, and then the cursor has nowhere to go
            self._window.addstr(y, x, text, self._styles.get(style, 0))
        return width(text)

    def resized(self) -> None:
        """The terminal has another size now."""
        columns, rows = os.get_terminal_size(self._fd)
        curses.resizeterm(max(1, rows), max(1, columns))
        self._window.clearok(True)

    def close(self) -> None:
        """Give the terminal back."""
        self._send(MODES_OFF)
        with contextlib.suppress(curses.error):
            curses.endwin()

    def suspend(self) -> None:
        """Stop the program, as Ctrl-Z does; comes back when it goes on."""
        self.close()
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(0, signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, handler)
        self._window.refresh()
        self._setup()
        self.resized()

    def _send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(self._fd, data)


@contextlib.contextmanager
def opened(log: int) -> Iterator[Screen]:
    """The screen, within the `with`. What else is written to stdout or stderr meanwhile goes to the file `log`."""
    stdout, stderr = sys.stdout, sys.stderr
    kept = os.dup(2)
    screen = Screen()
    try:
        os.dup2(log, 2)
        with open(os.dup(log), "w", buffering=1, errors="replace") as stray:
            sys.stdout = sys.stderr = stray
            yield screen
    finally:
        sys.stdout, sys.stderr = stdout, stderr
        screen.close()
        os.dup2(kept, 2)
        os.close(kept)
