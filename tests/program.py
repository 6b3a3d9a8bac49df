"""The program as a user runs it: in a process of its own, through pipes or in a real pseudo-terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).parent.parent
WAIT = 20.0


def environment(home: Path, url: str = "", **more: str) -> dict[str, str]:
    """What a user's shell holds; url: the model's endpoint, empty for none (the demo model)."""
    basic = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT), "TERM": "xterm", "LANG": "C.UTF-8"}
    llm = {
        "LLM_BASE_URL": url,
        "LLM_API_KEY": "sk-canary-0123456789",
        "LLM_MODEL": "m",
        "LLM_CONTEXT_WINDOW": "32000",
    }
    return {**basic, **(llm if url else {}), **more}


def settled(folder: Path) -> Path:
    """A folder that somebody has chatted in: its workspace is there, so that nothing is said of it. Returns it."""
    agent = folder / "workspace" / ".agents" / "assistant" / "AGENT.md"
    agent.parent.mkdir(parents=True)
    agent.write_text("You are terse.")
    return folder


def agentkit(
    folder: Path, *arguments: str, env: Mapping[str, str], stdin: str | bytes | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it to its end; without `stdin` it gets none."""
    given = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        [sys.executable, "-m", "agentkit", *arguments],
        cwd=folder,
        env=env,
        input=given if given is not None else b"",
        capture_output=True,
        timeout=WAIT * 3,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


class Terminal:
    """The program in a pseudo-terminal; `screen` is all it has written so far."""

    def __init__(
        self, folder: Path, *arguments: str, env: Mapping[str, str], program: Sequence[str] = ("-m", "agentkit")
    ) -> None:
        self.screen = ""
        self.code: int | None = None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execve(sys.executable, [sys.executable, *program, *arguments], dict(env))

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)

    def expect(self, pattern: str, timeout: float = WAIT) -> str:
        """Wait until what was written since the last `expect` matches; returns that much of it."""
        deadline = time.monotonic() + timeout
        while not (found := re.search(pattern, self.screen)):
            if not self._read(deadline):
                raise AssertionError(f"{pattern!r} did not come; the screen has {self.screen!r}")
        seen, self.screen = self.screen[: found.end()], self.screen[found.end() :]
        return seen

    def send(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def send_all(self, data: str | bytes) -> None:
        """Send more than the terminal takes at once; somebody else reads meanwhile."""
        left = data.encode() if isinstance(data, str) else data
        while left:
            left = left[os.write(self.fd, left[:1024]) :]

    def pump(self, seconds: float) -> None:
        """Take what comes within that time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._read(deadline):
            pass

    def wait(self, timeout: float = WAIT) -> int:
        """The exit code."""
        deadline = time.monotonic() + timeout
        while self._read(deadline):
            pass
        if time.monotonic() >= deadline:
            raise AssertionError(f"it did not end; the screen has {self.screen!r}")
        _, status = os.waitpid(self.pid, 0)
        self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self.fd], [], [], max(0.0, deadline - time.monotonic()))
        try:
            data = os.read(self.fd, 65536) if ready else b""
        except OSError:  # its end is closed
            data = b""
        self.screen += data.decode("utf-8", "replace")
        self._taken(data)
        return bool(data)

    def _taken(self, data: bytes) -> None:
        """For a terminal that understands what it is sent."""


def children(pid: int) -> Sequence[int]:
    """The processes that `pid` has started and that still run (Linux)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found
