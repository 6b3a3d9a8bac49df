"""What a process has: threads, file descriptors by what they are, memory; and which processes there are (Linux)."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

ONCE = 1  # that is begun when it is first needed, and stays: a timer, the log; of a leak there would be more
GROWTH = 0.5  # of the resident memory
ROOM = 40.0  # MB of it, at least: conversations grow, and the allocator keeps what it had
CONVERSATION = "a conversation"
KEPT_ALIVE = "a connection that is kept alive"


class Census(NamedTuple):
    """threads: how many; files: how many descriptors there are of what; rss: resident memory, in MB; zombies: children
    that nobody has waited for."""

    threads: int
    files: Counter[str]
    rss: float
    zombies: int

    @property
    def words(self) -> str:
        return f"{self.threads} threads, {sum(self.files.values())} descriptors, {self.rss:.0f} MB"


def taken(pid: int, ports: Collection[int] = ()) -> Census:
    """ports: of servers, connections to which may be kept for the next request. Raises OSError where the process is
    gone."""
    root = Path(f"/proc/{pid}")
    status = (root / "status").read_text()
    threads, rss = (int(re.findall(rf"^{name}:\s+(\d+)", status, re.MULTILINE)[0]) for name in ("Threads", "VmRSS"))
    sockets, files = _sockets(root), Counter[str]()
    for each in (root / "fd").iterdir():
        with suppress(OSError):
            target = os.readlink(each)
            files[_kind(target, sockets, ports)] += 1
    return Census(threads, files, rss / 1024, len(list(_children(pid, "Z"))))


def least(pid: int, ports: Collection[int], seconds: float, wanted: Census | None = None) -> Census:
    """The smallest of what it has within a while, for some of it comes and goes; wanted: enough when it has come."""
    deadline, found = time.monotonic() + seconds, taken(pid, ports)
    while time.monotonic() < deadline and not (wanted and not compared(wanted, found)):
        time.sleep(0.1)
        found = min(found, taken(pid, ports), key=lambda each: each.threads + sum(each.files.values()))
    return found


def with_all_open(census: Census, sessions: int) -> Census:
    """The same where each session has its conversation open: those that were only looked at may have none."""
    files = Counter({**census.files, CONVERSATION: max(sessions, census.files[CONVERSATION])})
    return census._replace(files=files)


def compared(before: Census, after: Census) -> list[str]:
    """What there is more of than there was, in lines."""
    found = []
    if after.threads > before.threads + ONCE:
        found.append(f"there are {after.threads} threads, and were {before.threads}")
    for kind in sorted(after.files):
        if kind != KEPT_ALIVE and after.files[kind] > before.files[kind] + ONCE:
            found.append(f"there are {after.files[kind]} descriptors of {kind}, and were {before.files[kind]}")
    if after.rss > before.rss + max(ROOM, before.rss * GROWTH):
        found.append(f"it takes {after.rss:.0f} MB, and took {before.rss:.0f}")
    if after.zombies:
        found.append(f"{after.zombies} children were not waited for")
    return found


def strays(folder: Path) -> Iterable[str]:
    """The processes that have that folder as their own, or below it, in words."""
    for each in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if Path(os.readlink(each / "cwd")).is_relative_to(folder):
                command = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                yield f"{each.name} {command.strip()[:100]}"


def _children(pid: int, state: str) -> Iterable[int]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if fields[0] == state and int(fields[1]) == pid:
                yield int(stat.parent.name)


def _sockets(root: Path) -> dict[str, int]:
    """The ports at the other end, by inode."""
    found = {}
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (root / "net" / name).read_text().splitlines()[1:]:
                fields = line.split()
                found[fields[9]] = int(fields[2].rpartition(":")[2], 16)
    return found


def _kind(target: str, sockets: dict[str, int], ports: Collection[int]) -> str:
    """What a descriptor is of."""
    if target.startswith("socket:"):
        other = sockets.get(target[8:-1])
        return KEPT_ALIVE if other in ports else "a socket" if other is None else "a connection"
    if ":" in target and not target.startswith("/"):
        return target.partition(":")[0]
    # A file is told by the name it has now: conversations are renamed, logs are rotated.
    return CONVERSATION if "/sessions/" in target else re.sub(r"\.log\.\d+( \(deleted\))?\Z", ".log", target)
