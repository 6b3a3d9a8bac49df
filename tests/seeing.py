"""What tests of the full screen have in common: answers that wait, and how the cells look."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from .fullscreen import FullScreen
from .loopback import Response, call_stream, event, text_stream
from .program import WAIT

CALM = 0.5  # seconds, longer than a question has to be seen, or a letter waits for another
USAGE = {"prompt_tokens": 1500, "completion_tokens": 2, "total_tokens": 1502}
PASTE = "\x1b[200~{}\x1b[201~"  # a paste


def streaming(*pieces: str) -> tuple[Response, list[threading.Event]]:
    """An answer that goes on with its next piece when the next of these is set."""
    gates = [threading.Event() for _ in pieces]

    def wait(index: int) -> None:
        if index < len(gates):
            gates[index].wait(WAIT)

    return Response(chunks=[*(event({"content": each}) for each in pieces), event({}, "stop")], between=wait), gates


def hanging(text: str) -> Response:
    return Response(chunks=[event({"content": text})], end="hang")


def called(name: str, last: bool = True, **arguments: Any) -> list[Response]:
    return [call_stream((name, arguments)), *([text_stream("Well.")] * last)]


def editor(folder: Path, script: str) -> str:
    """Somebody's editor; what it does to the file `$2`."""
    path = folder / "my editor"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return f"'{path}' -w"


def cells(screen: FullScreen, words: str) -> list[Any]:
    """The cells of the lowest row that has these words; empty: there is none."""
    display = screen.display
    for y in reversed(range(display.lines)):
        row = [display.buffer[y][x] for x in range(display.columns)]
        at = "".join((each.data or "\0")[0] for each in row).find(words)
        if at >= 0:
            return row[at : at + len(words)]
    return []


def looks(screen: FullScreen, words: str, **look: Any) -> None:
    """Wait until words stand there, and look like this."""
    deadline = time.monotonic() + WAIT
    while not (found := cells(screen, words)) or any(
        getattr(cell, name) != value for cell in found for name, value in look.items()
    ):
        assert time.monotonic() < deadline, f"{words!r} is no {look} but {found[:1]}; the screen is\n{screen.text}"
        screen.pump(0.05)


def colours(screen: FullScreen) -> set[tuple[str, str]]:
    """The colours of all cells, where they are not reversed: before and behind."""
    display = screen.display
    every = [display.buffer[y][x] for y in range(display.lines) for x in range(display.columns)]
    return {(each.fg, each.bg) for each in every if not each.reverse}


def leave(screen: FullScreen) -> None:
    screen.shows("ready")
    screen.send("\x04")
    assert screen.wait() == 0


def storm(screen: FullScreen) -> None:
    """Another size again and again; 80x24 at the end."""
    for rows, columns in ((12, 40), (24, 80), (5, 20), (3, 80), (1, 1), (60, 200), (12, 40), (7, 33), (30, 100)):
        screen.resize(rows, columns)
        screen.pump(0.02)
    screen.resize(24, 80)
