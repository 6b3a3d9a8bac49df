"""The full-screen program in a pseudo-terminal, seen through pyte: what a person would see, cell by cell."""

from __future__ import annotations

import fcntl
import itertools
import re
import struct
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyte

from .program import WAIT, Terminal


class Display(pyte.Screen):
    """pyte's screen with what ncurses also uses on xterm-256color: SU, SD and REP, and faint text, as a colour."""

    last = " "

    def draw(self, data: str) -> None:
        self.last = data[-1:] or self.last
        super().draw(data)

    def repeat_last(self, count: int = 1) -> None:
        super().draw(self.last * (count or 1))

    def select_graphic_rendition(self, *attributes: int, **private: bool) -> None:
        super().select_graphic_rendition(*attributes, **private)
        if 2 in attributes and self.cursor.attrs.fg == "default":
            self.cursor.attrs = self.cursor.attrs._replace(fg="dim")

    def scroll_up(self, count: int = 1) -> None:
        _, bottom = self.margins or (0, self.lines - 1)
        kept = self.cursor.y
        for _ in range(count or 1):
            self.cursor.y = bottom
            self.index()
        self.cursor.y = kept

    def scroll_down(self, count: int = 1) -> None:
        top, _ = self.margins or (0, self.lines - 1)
        kept = self.cursor.y
        for _ in range(count or 1):
            self.cursor.y = top
            self.reverse_index()
        self.cursor.y = kept


class Stream(pyte.ByteStream):
    csi: ClassVar[Mapping[str, str]] = {
        **pyte.ByteStream.csi,
        "S": "scroll_up",
        "T": "scroll_down",
        "b": "repeat_last",
    }
    events = frozenset(itertools.chain(pyte.ByteStream.events, ("scroll_up", "scroll_down", "repeat_last")))


FRAME = 2026 << 5  # synchronized output, as pyte keeps private modes


class FullScreen(Terminal):
    """`text` is the screen as it stands; what is waited for is looked for between frames, as a person sees it."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        env: Mapping[str, str],
        program: Sequence[str] = ("-m", "agentkit"),
        rows: int = 24,
        columns: int = 80,
    ) -> None:
        self.display = Display(columns, rows)
        self._stream = Stream(self.display)
        self._stream.use_utf8 = True
        self._size = rows, columns
        super().__init__(folder, *arguments, env=env, program=program)
        self._tell_size()

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.display.display)

    def resize(self, rows: int, columns: int) -> None:
        self._size = rows, columns
        self.display.resize(rows, columns)
        self._tell_size()

    def shows(self, pattern: str, timeout: float = WAIT) -> str:
        """Wait until the screen matches; returns what matched."""
        deadline = time.monotonic() + timeout
        while FRAME in self.display.mode or not (found := re.search(pattern, self.text)):
            if not self._read(deadline):
                raise AssertionError(f"{pattern!r} did not come; the screen is\n{self.text}")
        return found[0]

    def gone(self, pattern: str, timeout: float = WAIT) -> None:
        """Wait until the screen does not match."""
        deadline = time.monotonic() + timeout
        while FRAME in self.display.mode or re.search(pattern, self.text):
            if not self._read(deadline):
                raise AssertionError(f"{pattern!r} is still there; the screen is\n{self.text}")

    def modes(self) -> list[Any]:
        """The terminal's settings."""
        return termios.tcgetattr(self.fd)

    def _tell_size(self) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", *self._size, 0, 0))

    def _taken(self, data: bytes) -> None:
        self._stream.feed(data)
