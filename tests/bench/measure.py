"""How things are measured: whole processes by what the kernel charged them, programs in turns with their floors."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# A process is charged for the memory of the one it was forked from, so a small interpreter starts the measured program.
LAUNCHER = """
import json, os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
code = os.waitstatus_to_exitcode(status)
print("\\n" + json.dumps([code, usage.ru_utime + usage.ru_stime, usage.ru_maxrss]))
"""


@dataclass(frozen=True)
class Usage:
    """What a process has cost. cpu: seconds, user and system; rss: its peak, in MiB; stdout: what it said."""

    cpu: float
    rss: float
    stdout: str


def process(argv: Sequence[str], folder: Path, env: Mapping[str, str]) -> Usage:
    """Run a program to its end; RuntimeError where it failed."""
    launched = subprocess.run(
        [sys.executable, "-I", "-S", "-c", LAUNCHER, *argv],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=True,
    )
    said, _, last = launched.stdout.decode().rstrip("\n").rpartition("\n")
    code, cpu, rss = json.loads(last)
    if code != 0:
        raise RuntimeError(f"{argv} ended with {code}: {said}{launched.stderr.decode()}")
    return Usage(cpu, rss / (2**20 if sys.platform == "darwin" else 2**10), said)


def in_turns(rounds: int, *actions: Callable[[], float]) -> list[list[float]]:
    """What each action gave in each round, A B A B ..., after a first round that only warms up."""
    found: list[list[float]] = [[] for _ in actions]
    for number in range(rounds + 1):
        for action, values in zip(actions, found, strict=True):
            value = action()
            if number:
                values.append(value)
    return found
