"""The terminal as a place to draw on: opened, drawn on by cells, and given back on every way out. Main thread only."""

from __future__ import annotations

import contextlib
import curses
import locale
import os
import signal
import sys
import termios
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .style import ASCII, STYLES, Row
from .wrap import clip, clusters, width

if TYPE_CHECKING:
    from subprocess import Popen

# Bracketed paste, and the wheel (buttons in SGR form). Terminals that do not know them ignore them.
PASTE, PASTE_OFF = b"\x1b[?2004h", b"\x1b[?2004l"
MOUSE, MOUSE_OFF = b"\x1b[?1000h\x1b[?1006h", b"\x1b[?1006l\x1b[?1000l"
# Between these a terminal shows nothing new, so that no frame is seen half drawn (synchronized output, mode 2026).
FRAME, FRAME_END = b"\x1b[?2026h", b"\x1b[?2026l"


def capable() -> bool:
    """Can this terminal show a full screen? `TERM=dumb` gets through initscr, so its abilities are asked for first."""
    if not (sys.stdin and sys.stdout and sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    try:
        curses.setupterm(fd=sys.stdout.fileno())
        return bool(curses.tigetstr("cup"))
    except (curses.error, OSError):
        return False


def unicode() -> bool:
    """Does curses write UTF-8? It follows the locale, whatever encoding Python has chosen for itself."""
    return locale.nl_langinfo(locale.CODESET).upper().replace("-", "") == "UTF8"


class Screen:
    """Made by `opened`. Coordinates are cells, from the top left.

    Descriptors 0, 1 and 2 are no terminal meanwhile, so that nothing but this class can read from it or write to it;
    `keys` is where keys are read. stray: the descriptor that takes what is written all the same.
    """

    def __init__(self, stray: int) -> None:
        self._stray = stray
        self.keys, self._tty, self._stderr = os.dup(0), os.dup(1), os.dup(2)
        self._unicode = unicode()
        self._attributes: dict[str, int] = {}  # by the styles, as they are written in a span
        self._background = curses.COLOR_BLACK
        self._mouse = True
        self._window = curses.initscr()

    def enter(self) -> None:
        """Set the terminal up, also after it was given back."""
        with self._terminal(), contextlib.suppress(curses.error):  # it may be gone
            curses.noecho()
            curses.raw()
            curses.nonl()
            self._window.keypad(False)
            curses.typeahead(-1)
            with contextlib.suppress(curses.error):
                curses.start_color()
                curses.use_default_colors()
                self._background = -1
        self._mix()
        self._send(PASTE + MOUSE * self._mouse)
        self.resized()

    def take_back(self) -> None:
        """The program that had the terminal has ended: what was typed for that one is not for us."""
        with contextlib.suppress(termios.error):
            termios.tcflush(self.keys, termios.TCIFLUSH)
        self.enter()

    def _mix(self) -> None:
        """Work out the attribute of each style. Colours are a help: NO_COLOR (no-color.org) and many terminals do
        without."""
        colored = curses.has_colors() and not os.environ.get("NO_COLOR")
        self._attributes.clear()
        for number, (name, (color, attribute)) in enumerate(STYLES.items(), 1):
            if colored and color >= 0:
                with contextlib.suppress(curses.error):  # a terminal without so many pairs
                    curses.init_pair(number, color, self._background)
                    attribute |= curses.color_pair(number)
            self._attributes[name] = attribute

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
        if cursor is not None:
            height, columns = self.size
            self._window.move(min(cursor[0], height - 1), min(cursor[1], columns - 1))
        self._window.noutrefresh()
        self._send(FRAME)
        with self._terminal():
            with contextlib.suppress(curses.error):
                curses.curs_set(0 if cursor is None else 1)
            curses.doupdate()
        self._send(FRAME_END)

    def _put(self, y: int, x: int, text: str, style: str) -> int:
        """Write as much as fits, and nothing outside of its row; returns the cells it took."""
        height, columns = self.size
        if y >= height or x >= columns:
            return 0
        text = clip(text, columns - x)
        if not self._unicode:
            text = _in_ascii(text)
        attribute = self._attribute(style)
        with contextlib.suppress(curses.error):  # the last cell is written, and then the cursor has nowhere to go
            if text.isascii():
                self._window.addstr(y, x, text, attribute)
            else:  # each character at its own place: should curses count one otherwise, the rest stays where it is
                at = x
                for cluster, cells in clusters(text):
                    self._window.addstr(y, at, cluster, attribute)
                    at += cells
                    if self._window.getyx()[0] != y:
                        break
        return width(text)

    def _attribute(self, style: str) -> int:
        """What a style does; several at once do all they do, in the colour of the last that has one."""
        if style not in self._attributes:
            mixed = 0
            for name in style.split():
                one = self._attributes.get(name, 0)
                mixed = mixed & ~curses.A_COLOR | one if one & curses.A_COLOR else mixed | one
            self._attributes[style] = mixed
        return self._attributes[style]

    def resized(self) -> None:
        """The terminal has another size now, or shows something else."""
        try:
            columns, rows = os.get_terminal_size(self._tty)
        except OSError:  # it is gone
            return
        with self._terminal(), contextlib.suppress(curses.error):
            curses.resizeterm(max(1, rows), max(1, columns))
        self._window.clearok(True)

    def leave(self) -> None:
        """Give the terminal back."""
        self._send(MOUSE_OFF + PASTE_OFF)
        with self._terminal(), contextlib.suppress(curses.error):
            curses.endwin()

    def suspend(self) -> None:
        """Stop the program, as Ctrl-Z does; comes back when it goes on."""
        self.leave()
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(0, signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, handler)
        self.enter()

    def copy(self, text: str) -> None:
        """Have the terminal put a text on the clipboard, where it knows how (OSC 52 of xterm)."""
        from binascii import b2a_base64

        self._send(b"\x1b]52;c;" + b2a_base64(text.encode("utf-8", "replace"), newline=False) + b"\x07")

    @property
    def mouse(self) -> bool:
        """Does the wheel come here? Otherwise the mouse is the terminal's own, to select with."""
        return self._mouse

    @mouse.setter
    def mouse(self, on: bool) -> None:
        self._mouse = on
        self._send(MOUSE if on else MOUSE_OFF)

    def lend(self, argv: Sequence[str]) -> Popen[bytes]:
        """Give the terminal to another program, which begins on it; `take_back` ends that. Raises OSError."""
        from subprocess import Popen

        self.leave()
        try:
            return Popen(argv, stdin=self.keys, stdout=self._tty, stderr=self._tty)
        except OSError:
            self.enter()
            raise

    def close(self) -> None:
        """Give the terminal back, and the descriptors."""
        self.leave()
        for kept, number in ((self.keys, 0), (self._tty, 1), (self._stderr, 2)):
            os.dup2(kept, number)
            os.close(kept)

    @contextlib.contextmanager
    def _terminal(self) -> Iterator[None]:
        """curses writes to descriptor 1: for that moment it is the terminal, though not for a child that is made in
        that very moment."""
        os.dup2(self._tty, 1, inheritable=False)
        try:
            yield
        finally:
            os.dup2(self._stray, 1)

    def _send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(self._tty, data)


def _in_ascii(text: str) -> str:
    """The same in as many cells: our own signs as what looks like them, what others have written as question marks."""
    text = text.translate(ASCII)
    if text.isascii():
        return text
    return "".join(cluster if cluster.isascii() else "?" * cells for cluster, cells in clusters(text))


@contextlib.contextmanager
def opened(stray: int) -> Iterator[Screen]:
    """The screen, within the `with`; what else is written to stdout or stderr meanwhile goes to `stray`."""
    streams = sys.stdout, sys.stderr
    screen = Screen(stray)
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(stray, 2)
        with open(os.dup(stray), "w", buffering=1, errors="replace") as file:
            sys.stdout = sys.stderr = file
            screen.enter()
            yield screen
    finally:
        sys.stdout, sys.stderr = streams
        screen.close()
