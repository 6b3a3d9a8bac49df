"""What the full screen costs: its first frame, idling, and a stream of text."""

from __future__ import annotations

import os
import pty
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from ..fullscreen import FullScreen
from ..loopback import text_stream
from ..program import environment
from .answers import packets
from .figures import Measured, Skip, against, figure
from .measure import in_turns
from .server import Server

IDLE = 20.0  # seconds
DELTAS = 20_000
HEAVY = ("requests", "urllib3", "ssl", "websockets", "discord")

# The program up to the moment when it waits for keys for the first time; then it says what it has loaded, and ends.
FIRST = """
import os, sys
from agentkit.channels.tui.app import Tui

def waits(self):
    with open("loaded", "w") as file:
        file.write(" ".join(sys.modules))
    os._exit(0)

Tui._wait = waits
from agentkit.__main__ import main
main([])
"""

# The program, counting its frames and what its main thread spends.
COUNTED = """
import time
from agentkit.channels.tui.screen import Screen

draw, count, began = Screen.draw, [0], [0.0]

def counted(self, *rows):
    count[0] += 1
    draw(self, *rows)

Screen.draw = counted
from agentkit.__main__ import main
code = main([])
with open("spent", "w") as file:
    file.write(f"{count[0]} {time.thread_time()}")
"""


def in_terminal(argv: Sequence[str], folder: Path) -> float:
    """CPU of a program in a pseudo-terminal, in seconds."""
    env = environment(folder, "http://127.0.0.1:9/v1", TERM="xterm-256color")
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execve(argv[0], list(argv), env)
    try:
        while os.read(fd, 65536):
            pass
    except OSError:
        pass  # it has ended
    os.close(fd)
    usage = os.wait4(pid, 0)[2]
    return usage.ru_utime + usage.ru_stime


@figure("screen first frame", bar=7)
def first_frame() -> Measured:
    """CPU until the first frame is drawn and takes keys, against `python -I -c pass`"""
    with TemporaryDirectory() as made:
        folder = Path(made)
        ours, floor = in_turns(
            15,
            lambda: in_terminal([sys.executable, "-c", FIRST], folder) * 1000,
            lambda: in_terminal([sys.executable, "-I", "-c", "pass"], folder) * 1000,
        )
        loaded = (folder / "loaded").read_text().split()
    heavy = [name for name in HEAVY if name in loaded]
    found = against(ours, floor, "ms")
    note = f"loaded before it: {', '.join(heavy) or 'nothing heavy'}"
    return Measured(found.value, found.unit, found.floor, found.ratio, note, held=not heavy)


def switches(pid: int) -> int:
    """How often its threads have gone to sleep of themselves."""
    lines = [line for each in Path(f"/proc/{pid}/task").glob("*/status") for line in each.read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))


def ticks(pid: int) -> float:
    """CPU of a process so far, in milliseconds, as coarse as the kernel counts it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def _idle() -> tuple[int, float, float]:
    """Wake-ups and CPU of an idle chat, and its memory in MiB."""
    if not Path("/proc/self/task").exists():
        raise Skip("no /proc here")
    with TemporaryDirectory() as made:
        env = environment(Path(made), "http://127.0.0.1:9/v1", TERM="xterm-256color")
        with FullScreen(Path(made), env=env) as screen:
            screen.shows("ready")
            screen.pump(1.0)
            status = Path(f"/proc/{screen.pid}/status").read_text()
            memory = next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))
            before, spent = switches(screen.pid), ticks(screen.pid)
            time.sleep(IDLE)  # being idle is what is measured
            return switches(screen.pid) - before, ticks(screen.pid) - spent, memory


@figure("screen idle", bar=5)
def idle() -> Measured:
    """wake-ups of an idle chat in 20 s"""
    wakes, spent, memory = _idle()
    return Measured(
        wakes, "", note=f"{spent:.0f} ms of CPU, {memory:.1f} MiB (bar: 30)", held=memory <= 30 and spent <= 10
    )


def written(words: Sequence[str], pause: float) -> list[bytes | float]:
    """An answer in one packet a word, with a pause in seconds after each hundred."""
    answer: list[bytes | float] = []
    for number, packet in enumerate(packets(text_stream(*words), apart=True)):
        answer += [packet, *[pause] * (number % 100 == 0)]
    return answer


def _streamed(words: Sequence[str]) -> Measured:
    """What the screen's thread spends on an answer, and its frames."""
    with TemporaryDirectory() as made, Server([written(words, 0.01)]) as server:  # over two seconds
        folder = Path(made)
        env = environment(folder, server.url, TERM="xterm-256color")
        with FullScreen(folder, env=env, program=("-c", COUNTED)) as screen:
            screen.shows("ready")
            began = time.monotonic()
            screen.send("go\r")
            screen.shows(words[-1].strip(), timeout=60)
            screen.shows("ready")
            seconds = time.monotonic() - began
            screen.send("\x04")
            screen.wait()
        frames, spent = (folder / "spent").read_text().split()
    each = int(frames) / seconds
    return Measured(float(spent), "s", note=f"{each:.1f} frames/s (bar: 30) over {seconds:.1f} s", held=each <= 31)


@figure("screen stream", bar=0.5)
def stream() -> Measured:
    """CPU seconds of the screen's thread, its start included, while 20,000 deltas come in"""
    return _streamed([f"word{number}" + (" " if number % 12 else "\n") for number in range(DELTAS)])


PASSAGE = """## Step {n}

The **cookie** is dropped because `SameSite` is *Strict*; see [the standard](https://example.org/{n}).

1. Change `auth.py`, where it is set
   - also in the tests
2. Run them

```python
def login(user: str) -> Response:
    if user not in known:
        raise Refused(f"no such user: {{user}}")
    return Response(200, cookie=sign(user))
```

| file | lines |
|:-----|------:|
| auth.py | 41 |

"""


@figure("screen markdown", bar=0.5)
def markdown() -> Measured:
    """the same for 20,000 deltas of Markdown, with code and tables"""
    text = "".join(PASSAGE.format(n=n) for n in range(400))
    size = len(text) // DELTAS + 1
    return _streamed([*(text[at : at + size] for at in range(0, len(text), size)), "\n\nThe end."])
