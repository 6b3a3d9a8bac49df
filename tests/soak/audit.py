"""Whether the files hold what was said: every message once, each with its answer, every call with its result; and
whether the logs tell of anything that should not happen."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .account import LOST, MARKER, Account, Message

REFUSED = ("too busy",)  # what was never taken in
BAD = re.compile(r"Traceback \(most recent call last\)|agentkit itself failed|Exception (?:ignored )?in |sk-canary-")
CONTEXT = 600  # characters told around what is bad


def sessions(folder: Path, account: Account) -> None:
    """folder: `sessions`. What is wrong is told to the account."""
    found: Counter[str] = Counter()
    for path in sorted(folder.glob("*/*.jsonl")):
        found.update(_conversation(path, account))
    for marker, message in account.messages.items():
        _message(message, found.pop(marker, 0), account)
    for marker in found:
        account.complain(f"{marker} is in a file, and was never said")


def ends(account: Account) -> None:
    """Every message has ended, once, in a way that has a name."""
    for message in account.messages.values():
        again = 2 if message.key else 1
        if not message.ends and not message.excused:
            account.complain(f"{message.marker}: nothing was heard of it")
        elif len(message.ends) > again and "interrupted" not in message.ends:
            account.complain(f"{message.marker} ended {len(message.ends)} times: {', '.join(message.ends)}")


def logs(text: str, account: Account) -> None:
    """No traceback, no secret, nothing that failed inside."""
    for found in BAD.finditer(text):
        around = text[max(0, found.start() - CONTEXT // 3) : found.end() + CONTEXT]
        account.complain(f"the log tells of {found[0]!r}:\n{around}")
        return


def _message(message: Message, times: int, account: Account) -> None:
    """Is it in the files as often as it should be?"""
    ended = message.ends[0] if message.ends else LOST
    most = 1 + (len(account.crashes) + len(account.endings)) * bool(message.key)
    least = int(ended not in (LOST, "shutting down", *REFUSED) and not message.excused)
    if ended in REFUSED:
        most = 0
    if not least <= times <= most:
        account.complain(f"{message.marker} ({ended}) is in the files {times} times: {message.words!r}")


def _conversation(path: Path, account: Account) -> Iterator[str]:
    """The markers of what people said in it, in order."""
    waiting: list[str] = []  # ids of calls
    latest: dict[str, str] = {}  # by who says it: the marker
    asked = ""  # what has no answer yet
    where = f"{path.parent.name}/{path.name}"
    for number, record in _records(path, account):
        role = record.get("role")
        if role == "tool":
            if record["tool_call_id"] not in waiting:
                account.complain(f"{where}, line {number}: a result that no call waits for")
            else:
                waiting.remove(record["tool_call_id"])
            continue
        if role is None:
            continue
        if waiting:
            account.complain(f"{where}, line {number}: calls without a result before it: {', '.join(waiting)}")
        waiting = [each["id"] for each in record.get("tool_calls") or ()]
        if role == "user":
            if asked:
                account.complain(f"{where}, line {number}: {asked} has no answer, and no word about that")
            asked = ""
            if not record.get("by"):
                markers = MARKER.findall(record["content"])
                asked = markers[0] if markers else f"what is in line {number}"
                for marker in markers[:1]:
                    speaker = marker.rpartition("-")[0]
                    if marker < latest.get(speaker, "") and not account.crashes and not account.endings:
                        account.complain(f"{where}, line {number}: {marker} comes behind {latest[speaker]}")
                    latest[speaker] = marker
                    yield marker
        elif not waiting:
            asked = ""
    if (asked or waiting) and not account.crashes:
        account.complain(f"{where}: it ends without an answer to {asked or waiting}")


def _records(path: Path, account: Account) -> Iterator[tuple[int, dict[str, Any]]]:
    broken = 0
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip(b"\0 "):
            continue
        try:
            yield number, json.loads(line)
        except ValueError:
            broken += 1
    if broken > len(account.crashes):
        account.complain(f"{path.parent.name}/{path.name}: {broken} lines are broken")
