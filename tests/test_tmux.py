"""The full screen in tmux, a terminal that nobody here has written."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .loopback import Loopback, call_stream, text_stream
from .program import WAIT, environment, settled

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="no tmux here")

ANSWER = "# Found\n\nIt is **plum**:\n\n- one\n- two\n\n```python\nprint('plum')\n```\n"


class Pane:
    """A window of a tmux server of its own."""

    def __init__(self, folder: Path, url: str, columns: int, rows: int, **more: str) -> None:
        settings = folder / "tmux.conf"
        settings.write_text("set -g remain-on-exit on\n")  # what is left on the screen can be seen
        self._server = ["tmux", "-S", str(folder / "tmux"), "-f", str(settings)]
        env = {**environment(folder, url), **more}
        env.pop("TERM", None)
        term = more.get("TERM", "screen-256color")
        words = [f"{name}={value}" for name, value in env.items() if name != "TERM"]
        command = ["env", "-i", *words, f"TERM={term}", sys.executable, "-m", "agentkit"]
        size = ["-x", str(columns), "-y", str(rows)]
        subprocess.run([*self._server, "new-session", "-d", *size, "-c", str(folder), *command], env=env, check=True)

    def keys(self, *names: str) -> None:
        subprocess.run([*self._server, "send-keys", *names], check=True)

    def resize(self, columns: int, rows: int) -> None:
        subprocess.run([*self._server, "resize-window", "-x", str(columns), "-y", str(rows)], check=True)

    @property
    def text(self) -> str:
        shown = subprocess.run([*self._server, "capture-pane", "-p"], capture_output=True, text=True, check=True)
        return shown.stdout

    def shows(self, pattern: str) -> None:
        deadline, never = time.monotonic() + WAIT, threading.Event()
        while not re.search(pattern, self.text):
            assert time.monotonic() < deadline, f"{pattern!r} did not come; the screen is\n{self.text}"
            never.wait(0.05)  # tmux does not tell when it has drawn

    def end(self) -> None:
        subprocess.run([*self._server, "kill-server"], check=False, capture_output=True)


@pytest.fixture
def server() -> Iterator[Loopback]:
    replies = [call_stream(("bash", {"command": "echo done"}), text="I'll look."), text_stream(ANSWER)]
    with Loopback(replies) as running:
        yield running


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (40, 12), (120, 40)])
def test_a_chat_in_tmux_asks_answers_and_is_resized(tmp_path: Path, server: Loopback, columns: int, rows: int) -> None:
    pane = Pane(settled(tmp_path), server.url, columns, rows)
    try:
        pane.shows("ready")
        pane.keys("look for it", "Enter")
        pane.shows("bash wants to run")
        threading.Event().wait(0.5)  # a question is not answered before it could be read
        pane.keys("y")
        pane.shows(r"│ print\('plum'\)")
        pane.shows(" • two")
        pane.resize(70, 20)
        pane.shows("#|ready")
        pane.shows(r"│ print\('plum'\)")
        pane.keys("C-d")
        pane.shows("goes on with this conversation")
    finally:
        pane.end()


@pytest.mark.parametrize("more", [{"TERM": "vt100"}, {"NO_COLOR": "1"}, {"LC_ALL": "POSIX", "LANG": "POSIX"}])
def test_poor_terminals_show_the_same(tmp_path: Path, server: Loopback, more: dict[str, str]) -> None:
    pane = Pane(settled(tmp_path), server.url, 80, 24, **more)
    try:
        pane.shows("ready")
        pane.keys("look for it", "Enter")
        pane.shows("bash wants to run")
        threading.Event().wait(0.5)
        pane.keys("n")
        pane.shows(r"[│|] print\('plum'\)")
        pane.shows("refused by you")
    finally:
        pane.end()
