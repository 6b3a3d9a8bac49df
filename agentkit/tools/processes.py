"""What runs on this machine: who belongs to a session, who holds the other end of a pipe. /proc on Linux, else `ps`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

from ..printable import printable

NAME_LENGTH = 120  # characters of a command line
PF_EXITING = 0x4  # linux/sched.h: it has begun to end; its memory is given up before its files are


def in_session(leader: int) -> dict[int, str]:
    """The living processes of a session, its groups among them, with their command lines."""
    found = {}
    for pid in _processes():
        with suppress(OSError):
            if os.getsid(pid) == leader and (line := _command_line(pid)):
                found[pid] = line
    return found


def holding(output: int) -> dict[int, str]:
    """The processes that have the other end of a pipe open, with their command lines; only Linux tells."""
    found: dict[int, str] = {}
    if sys.platform == "linux":
        pipe = f"pipe:[{os.fstat(output).st_ino}]"
        for pid in _processes():
            if pid != os.getpid() and pipe in _open_files(pid) and (line := _command_line(pid)):
                found[pid] = line
    return found


def _open_files(pid: int) -> Iterator[str]:
    with suppress(OSError):  # ended, or another user's
        for name in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                yield os.readlink(f"/proc/{pid}/fd/{name}")


def _processes() -> list[int]:
    if sys.platform == "linux":
        with suppress(OSError):
            return [int(name) for name in os.listdir("/proc") if name.isdigit()]
        return []
    return [int(name) for name in _ps("-A", "-o", "pid=").split()]


def _command_line(pid: int) -> str:
    """In one line and not too long; empty: it is dead or dying."""
    line = ""
    if sys.platform == "linux":
        with suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
            # proc(5): "pid (name) state ppid pgrp session tty tpgid flags ...", and the name may hold anything.
            name, _, rest = file.read().partition(b"(")[2].rpartition(b")")
            state, *fields = rest.split()
            if state in (b"Z", b"X") or int(fields[5]) & PF_EXITING:
                return ""
            with open(f"/proc/{pid}/cmdline", "rb") as words:
                # Empty in the middle of an exec, of a program that is well alive.
                found = words.read(8 * NAME_LENGTH).replace(b"\0", b" ").strip() or name
            line = found.decode("utf-8", "replace")
    else:
        line = _ps("-p", str(pid), "-o", "command=")
    line = " ".join(printable(line).split())
    return line if len(line) <= NAME_LENGTH else f"{line[:NAME_LENGTH]}..."


def _ps(*options: str) -> str:
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(["ps", *options], check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=1)
        return done.stdout.decode("utf-8", "replace")
    return ""
