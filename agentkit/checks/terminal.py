"""The terminal: does it show a full screen, and all characters?"""

from __future__ import annotations

import locale
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec

from . import Case, Finding, ok, warn

ROWS, COLUMNS = 12, 40  # from which on the full screen is of use
PATIENCE = 2.0  # seconds that tmux has to answer
ESCAPE = 100  # milliseconds that Esc may take
PLAIN = "agentkit chats line by line"


def check(case: Case) -> Iterator[Finding]:
    yield from _screen(case)
    yield from _language()


def _screen(case: Case) -> Iterator[Finding]:
    if not (sys.stdin and sys.stdout and sys.stdin.isatty() and sys.stdout.isatty()):
        yield ok(f"no terminal here: {PLAIN}")
        return
    if find_spec("_curses") is None:
        cure = "install a Python that has it: Linux distributions have it in their package of Python's library"
        yield warn(f"this Python was built without curses: {PLAIN}", cure)
        return
    name = case.environ.get("TERM", "")
    colors = _colors()
    if colors is None:
        cure = "TERM=xterm-256color, where the terminal is one; or apt install ncurses-term"
        yield warn(f"the terminal {name or '(TERM is not set)'} is not known: {PLAIN}", cure)
        return
    columns, rows = os.get_terminal_size(sys.stdout.fileno())
    if not (rows and columns):
        yield warn("the terminal does not tell its size: 80x24 is taken", "stty rows 24 cols 80, or what it has")
    elif rows < ROWS or columns < COLUMNS:
        yield warn(f"the terminal has {columns}x{rows} cells", f"make it {COLUMNS}x{ROWS} at least, or use --plain")
    else:
        what = f"{colors} colours" if colors else "no colours"
        off = ", which NO_COLOR switches off" if colors and case.environ.get("NO_COLOR") else ""
        yield ok(f"terminal: {name}, {columns}x{rows}, {what}{off}")
    yield from _inner(case, name)


def _colors() -> int | None:
    """How many it has; None: it cannot show a full screen."""
    import curses

    try:
        curses.setupterm(fd=sys.stdout.fileno())
        return max(curses.tigetnum("colors"), 0) if curses.tigetstr("cup") else None
    except curses.error:
        return None


def _inner(case: Case, name: str) -> Iterator[Finding]:
    """tmux and screen, which are terminals in a terminal."""
    inner = "tmux" if case.environ.get("TMUX") else "screen" if case.environ.get("STY") else ""
    if inner and not name.startswith(("tmux", "screen")):
        known = "tmux-256color" if inner == "tmux" else "screen-256color"
        yield warn(f"inside {inner} TERM is {name}: keys and colours may be odd", f"TERM={known}")
    if inner == "tmux" and (waits := _escape_time()) > ESCAPE:
        yield warn(f"tmux holds the Esc key back for {waits} ms", "set -s escape-time 10 in ~/.tmux.conf")


def _escape_time() -> int:
    """In milliseconds; 0: tmux does not tell."""
    try:
        told = subprocess.run(
            ["tmux", "show-options", "-sv", "escape-time"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
        )
        return int(told.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0


def _language() -> Iterator[Finding]:
    charset = locale.nl_langinfo(locale.CODESET)
    if charset.upper().replace("-", "") == "UTF8":
        yield ok("the locale writes UTF-8")
    else:
        cure = "LANG=C.UTF-8 in the environment gives all characters"
        yield warn(f"the locale writes {charset}: other characters are shown as question marks", cure)
