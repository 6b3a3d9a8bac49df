"""How long an interrupted turn takes to end: told by a method, and by Ctrl-C in a real terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from agentkit import tool
from agentkit.events import Event, Interrupted, Text
from agentkit.tools import TOOLS

from ..loopback import Loopback, Response, call_stream, event
from ..program import WAIT, Terminal, environment
from .conversation import Conversation
from .figures import Measured, figure

ROUNDS = 7
BAR = 200  # ms

TOOL_THAT_NEVER_LOOKS = '''
from pathlib import Path
from threading import Event
from agentkit import tool

@tool
def never_looks() -> str:
    """Blocks."""
    Path("begun").touch()
    Event().wait(60)
'''


@dataclass(frozen=True)
class State:
    """Where a turn is when it is interrupted. answer: what the model says, made anew for each request; sign: by what
    it is known that the turn is there: the request, the text, or the file `begun`."""

    name: str
    answer: Callable[[], Response]
    sign: str


STATES = (
    State("before the headers", lambda: Response(before_headers=threading.Event()), "request"),
    State("stalled stream", lambda: Response(chunks=[event({"content": "Hel"})], end="hang"), "text"),
    State("bash sleep", lambda: call_stream(("bash", {"command": "touch begun; sleep 1000"})), "file"),
    State("tool that never looks", lambda: call_stream(("never_looks", {})), "file"),
)


def _wait_for_file(path: Path) -> None:
    deadline = time.monotonic() + WAIT
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} was not made")
        time.sleep(0.005)
    path.unlink()


def _measured(seconds: list[float]) -> Measured:
    return Measured(median(seconds) * 1000, "ms", note=f"the longest of {len(seconds)}: {max(seconds) * 1000:.1f} ms")


def _told_once(state: State, server: Loopback, folder: Path, number: int) -> float:
    release, text = threading.Event(), threading.Event()
    ending: list[Event] = []

    @tool
    def never_looks() -> str:
        """Blocks."""
        (folder / "begun").touch()
        release.wait(60)
        return "too late"

    def publish(event: Event) -> None:
        if isinstance(event, Text):
            text.set()

    conversation = Conversation(server.url, folder, [*TOOLS, never_looks], publish=publish)
    lane = threading.Thread(target=lambda: ending.append(conversation.say("go")), daemon=True)
    lane.start()
    server.wait_for_requests(number)
    if state.sign == "text":
        text.wait(WAIT)
    elif state.sign == "file":
        _wait_for_file(folder / "begun")
    started = time.perf_counter()
    conversation.cancel.set()
    lane.join(WAIT)
    spent = time.perf_counter() - started
    release.set()
    assert [type(each) for each in ending] == [Interrupted], ending
    return spent


def _told(state: State) -> Measured:
    """From cancel.set() to the end of Turn.run."""
    with TemporaryDirectory() as folder, Loopback(lambda request, index: state.answer()) as server:
        seconds = [_told_once(state, server, Path(folder), number) for number in range(1, ROUNDS + 1)]
    return _measured(seconds)


def _typed(state: State) -> Measured:
    """From Ctrl-C to the word "interrupted" on the screen."""
    seconds = []
    with TemporaryDirectory() as made, Loopback(lambda request, index: state.answer()) as server:
        folder = Path(made)
        (folder / "mine.py").write_text(TOOL_THAT_NEVER_LOOKS)
        env = environment(folder, server.url, TOOL_APPROVAL="trust")
        with Terminal(folder, "--plain", "--tools", "mine.py", env=env) as terminal:
            for number in range(1, ROUNDS + 1):
                terminal.expect("> $")
                terminal.send("go\n")
                server.wait_for_requests(number)
                if state.sign == "text":
                    terminal.expect("Hel")
                elif state.sign == "file":
                    _wait_for_file(folder / "begun")
                started = time.perf_counter()
                terminal.send("\x03")
                terminal.expect("interrupted")
                seconds.append(time.perf_counter() - started)
    return _measured(seconds)


for _state in STATES:
    figure(f"interrupt {_state.name}", bar=BAR, what="from cancel.set() to the end of Turn.run")(partial(_told, _state))
for _state in STATES:
    figure(f"ctrl-c {_state.name}", bar=BAR, what='from Ctrl-C in a terminal to "interrupted"')(partial(_typed, _state))
