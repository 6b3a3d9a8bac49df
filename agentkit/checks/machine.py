"""The machine: Python and its packages, the terminal, the language, the time."""

from __future__ import annotations

import curses
import locale
import os
import platform
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from zoneinfo import ZoneInfo

from .. import __version__
from . import Case, Finding, fail, ok, warn

ROWS, COLUMNS = 12, 40  # from which on the full screen is of use
EASTERN = "Europe/Riga"  # any that only a real database has


def check(case: Case) -> Iterator[Finding]:
    yield ok(f"agentkit {__version__} on Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    yield from _packages(case)
    yield from _terminal(case)
    yield from _language()
    yield from _zones(case)


def _packages(case: Case) -> Iterator[Finding]:
    found = []
    for name in ("requests", "urllib3", "websockets"):
        if find_spec(name) is None:
            yield fail(
                f"the package {name} is not installed", "pip install agentkit, or build agentkit.pyz, which has it"
            )
            continue
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(name)
    yield ok(f"packages: {', '.join(found)}")
    if case.settings is not None and case.settings.discord_bot_token and find_spec("discord") is None:
        yield fail("DISCORD_BOT_TOKEN is set, and discord.py is not installed", "pip install 'agentkit[discord]'")


def _terminal(case: Case) -> Iterator[Finding]:
    if not (sys.stdin and sys.stdout and sys.stdin.isatty() and sys.stdout.isatty()):
        yield ok("no terminal here: agentkit chats line by line")
        return
    name = case.environ.get("TERM", "")
    try:
        curses.setupterm(fd=sys.stdout.fileno())
        capable = bool(curses.tigetstr("cup"))
    except curses.error:
        capable = False
    if not capable:
        cure = "TERM=xterm-256color, where the terminal is one; or apt install ncurses-term"
        yield warn(f"the terminal {name or '(TERM is not set)'} is not known: agentkit chats line by line on it", cure)
        return
    columns, rows = os.get_terminal_size()
    if rows < ROWS or columns < COLUMNS:
        yield warn(f"the terminal has {columns}x{rows} cells", f"make it {COLUMNS}x{ROWS} at least, or use --plain")
    else:
        colors = max(curses.tigetnum("colors"), 0)
        yield ok(f"terminal: {name}, {columns}x{rows}, {'no ' * (not colors)}colours")


def _language() -> Iterator[Finding]:
    charset = locale.nl_langinfo(locale.CODESET)
    if charset.upper().replace("-", "") != "UTF8":
        cure = "LANG=C.UTF-8 in the environment gives all characters"
        yield warn(f"the locale writes {charset}: other than ASCII is shown as question marks", cure)
    else:
        yield ok("the locale writes UTF-8")


def _zones(case: Case) -> Iterator[Finding]:
    try:
        ZoneInfo(EASTERN)
    except Exception:  # whatever is wrong with the files there
        cure = "apt install tzdata, or pip install tzdata"
        yield warn("there is no time zone database: timezone in HEARTBEAT.md and CRON.json cannot be used", cure)
        return
    zone = case.environ.get("TZ", "").removeprefix(":")
    if zone and zone[0].isalpha() and "/" in zone:
        try:
            ZoneInfo(zone)
        except Exception:
            yield warn(f"TZ={zone} is no time zone: UTC is used", "TZ=Europe/Riga has the form")
            return
    yield ok(f"local time: {time.strftime('%Y-%m-%d %H:%M %Z')}")
