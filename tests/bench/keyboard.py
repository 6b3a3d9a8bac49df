"""What a person waits for at the keyboard: a letter to appear, a long conversation to scroll."""

from __future__ import annotations

import json
import os
import random
import select
import time
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

from ..fullscreen import FullScreen
from ..program import Terminal, environment, settled
from .figures import Measured, figure
from .screen import PASSAGE, written
from .server import Server

KEYS = 200
MESSAGES = 100_000
PAGES = 60

# The program, which counts what a key to scroll costs, until the frame that shows it is drawn.
SCROLLED = """
import json, time
from agentkit.channels.tui.app import Tui
from agentkit.channels.tui.controls import Controls

press, draw, began, taken = Controls.press, Tui._draw, [], []

def pressed(self, keys):
    began[:] = [time.perf_counter()] if keys[0].name in ("pgup", "C-home", "C-end") else []
    press(self, keys)

def drawn(self):
    draw(self)
    if began:
        taken.append(time.perf_counter() - began.pop())

Controls.press, Tui._draw = pressed, drawn
from agentkit.__main__ import main
code = main(["--session", "long"])
with open("taken", "w") as file:
    json.dump(taken, file)
"""


@figure("screen keystroke", bar=20)
def keystroke() -> Measured:
    """milliseconds from a key to its letter on the terminal, p99 of 200, while Markdown streams"""
    text = "".join(PASSAGE.format(n=n) for n in range(600))
    words = [text[at : at + 8] for at in range(0, len(text), 8)]
    rng, taken = random.Random(1), []
    with TemporaryDirectory() as made, Server([written(words, 0.2)]) as server:  # for a minute
        env = environment(Path(made), server.url, TERM="xterm-256color")
        with FullScreen(Path(made), env=env) as screen:
            screen.shows("ready")
            screen.send("go\r")
            screen.shows("writing")
            for number in range(KEYS):
                screen.pump(rng.uniform(0.02, 0.08))
                taken.append(_seen(screen, chr(0x3B1 + number % 17)) * 1000)  # α to ρ: nothing else writes them
                if number % 17 == 16:
                    screen.send("\x15")
    return Measured(quantiles(taken, n=100)[98], "ms", note=f"median {median(taken):.1f}, longest {max(taken):.1f} ms")


def _seen(screen: Terminal, letter: str) -> float:
    """Press a letter; returns the seconds until the terminal gets it."""
    data, wanted = b"", letter.encode()
    began = time.perf_counter()
    screen.send(letter)
    while wanted not in data:
        if not select.select([screen.fd], [], [], 10)[0]:
            raise RuntimeError(f"{letter} did not come")
        data += os.read(screen.fd, 65536)
    return time.perf_counter() - began


@figure("screen scroll", bar=5)
def scroll() -> Measured:
    """milliseconds from a key to its frame, in a conversation of 100,000 messages"""
    with TemporaryDirectory() as made:
        folder = settled(Path(made))
        at = folder / "workspace" / "sessions" / "agent:assistant:direct:cli-user" / "long.jsonl"
        at.parent.mkdir(parents=True)
        with at.open("w") as file:
            for number in range(MESSAGES):
                role = "assistant" if number % 2 else "user"
                file.write(json.dumps({"role": role, "content": PASSAGE.format(n=number)}) + "\n")
        env = environment(folder, "http://127.0.0.1:9/v1", TERM="xterm-256color")
        began = time.perf_counter()
        with FullScreen(folder, env=env, program=("-c", SCROLLED)) as screen:
            screen.shows("This goes on with long", timeout=120)
            opened = time.perf_counter() - began
            for key in ("\x1b[5~", "\x1b[1;5H", "\x1b[1;5F"):
                for _ in range(PAGES):
                    screen.send(key)
                    screen.pump(0.03)
            screen.send("\x04")
            screen.wait()
        taken = [1000 * each for each in json.loads((folder / "taken").read_text())]
    note = f"p99 {quantiles(taken, n=100)[98]:.1f} ms of {len(taken)}; opened in {opened:.1f} s"
    return Measured(median(taken), "ms", note=note)
