"""Make the picture of the screen that the README shows: `python -m tests.picture [FILE]`, from the repository's root.

It is no drawing: the program runs in a pseudo-terminal, talks to a scripted model, and what stands on the screen then
is written as SVG, cell by cell.
"""

from __future__ import annotations

import os
import sys
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.sax.saxutils import escape

from .fullscreen import Display, FullScreen
from .loopback import Loopback, Response, call_stream, event
from .program import environment, settled

PICTURE = Path(__file__).parent / "screen.svg"
CELL, LINE, MARGIN = 8.4, 18, 14  # pixels
BACK, FORE = "#16181d", "#d7dae0"
COLORS = {
    "default": FORE,
    "dim": "#848a96",
    "red": "#f07178",
    "green": "#a5d66f",
    "brown": "#e6c26b",
    "blue": "#82aaff",
    "magenta": "#c792ea",
    "cyan": "#7fdbe6",
}

# Stands in for the real one, which would take longer to say as much.
PYTEST = """#!/bin/sh
for n in $(seq 1 38); do echo "tests/test_login.py line $n"; done
echo "    def test_login(client):"
echo "        client.post('/login', data=ANNA)"
echo ">       assert client.get('/account').status_code == 200"
echo "E       AssertionError: 401 != 200"
echo "1 failed in 1.84s"
sleep 0.4
exit 1
"""
ANSWER = """The cookie is dropped, because `SameSite` is **Strict**:
```python
resp.set_cookie("sid", sid, samesite="Lax")
```
1. Change `auth.py:41` as above
2. """


def main(path: Path = PICTURE) -> None:
    """Run the chat and write its picture."""
    first = call_stream(("bash", {"command": "pytest -q tests/test_login.py"}), text="I'll run the test first.")
    second = Response(chunks=[event({"content": piece}) for piece in ANSWER.splitlines(keepends=True)], end="hang")
    with TemporaryDirectory() as made, Loopback([first, second]) as server:
        home = Path(made)
        folder = settled(home / "src" / "shop")
        stub = home / "bin" / "pytest"
        stub.parent.mkdir()
        stub.write_text(PYTEST)
        stub.chmod(0o755)
        env = environment(home, server.url, TERM="xterm-256color", LLM_MODEL="gpt-4.1")
        env["PATH"] = f"{stub.parent}{os.pathsep}{env['PATH']}"
        with FullScreen(folder, "--session", "fix-login", env=env) as screen:
            screen.shows("ready")
            screen.send("why does test_login fail?\r")
            screen.shows("bash wants to run")
            screen.pump(0.5)  # a question is not answered before it could be read
            screen.send("y")
            screen.shows("2\\.")
            screen.send("also add a regression test\r")
            screen.shows("queued")
            screen.send("and tell me which browsers need it")
            screen.shows("browsers need it")
            path.write_text(svg(screen.display), encoding="utf-8")


def svg(display: Display) -> str:
    """What a terminal shows."""
    width, height = display.columns * CELL + 2 * MARGIN, display.lines * LINE + 2 * MARGIN
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" font-size="14"'
        " font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace\">",
        f'<rect width="100%" height="100%" rx="8" fill="{BACK}"/>',
    ]
    for y in range(display.lines):
        cells = [(x, display.buffer[y][x]) for x in range(display.columns)]
        for look, group in groupby(cells, key=lambda cell: cell[1]._replace(data="")):
            run = list(group)
            text = "".join(each.data for _, each in run)
            left, top = MARGIN + run[0][0] * CELL, MARGIN + y * LINE
            fore, back = COLORS.get(look.fg, FORE), BACK
            if look.reverse:
                fore, back = back, fore
                out.append(
                    f'<rect x="{left:.1f}" y="{top}" width="{len(run) * CELL:.1f}" height="{LINE}" fill="{back}"/>'
                )
            words = text.strip()
            if not words:
                continue
            left += (len(text) - len(text.lstrip())) * CELL
            style = ' font-weight="bold"' * look.bold + ' font-style="italic"' * look.italics
            style += ' text-decoration="underline"' * look.underscore
            out.append(
                f'<text x="{left:.1f}" y="{top + LINE - 5}" fill="{fore}"{style} xml:space="preserve"'
                f' textLength="{len(words) * CELL:.1f}">{escape(words)}</text>'
            )
    return "\n".join((*out, "</svg>", ""))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
