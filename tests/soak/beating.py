"""What goes on by itself, as often as files allow: heartbeats in each session, jobs of every kind, and whether what
they said has arrived."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from agentkit.channel import TERMINAL

from ..discord_server import ANN
from .account import LETTER, Account
from .stage import NOBODY

HEARTBEAT = "---\ninterval: 60\nactive_hours: 0, 24\n---\nSay what is new."
SECONDS = 1.0  # the shortest time between two runs of a job
IN_FLIGHT = 2.0  # seconds before a crash in which a letter may have left us and not arrived: nobody acknowledges it


def write(workspace: Path, discord: bool) -> None:
    """The files. Two clients, c00 and c01, get letters; discord: Ann does too."""
    (workspace / ".agents" / "assistant" / "HEARTBEAT.md").write_text(HEARTBEAT)
    soon = (datetime.now().astimezone() + timedelta(seconds=5)).isoformat(timespec="seconds")
    every = {"kind": "every", "every_seconds": SECONDS}
    slower = {"kind": "every", "every_seconds": 5 * SECONDS}
    jobs = [
        _event("tick-ws", every, "websocket", "c00"),
        _turn("ask-ws", every, "websocket", "c01"),
        _turn("ask-cli", slower, "cli", "cli-user"),
        _event("tick-cli", slower, "cli", "cli-user"),
        _event("minutely", {"kind": "cron", "expr": "* * * * *"}, "websocket", "c00"),
        {**_event("once", {"kind": "at", "at": soon}, "websocket", "c01"), "delete_after_run": True},
        _event("nobody", slower, "websocket", NOBODY),
    ]
    if discord:
        jobs.append(_turn("ask-discord", slower, "discord", f"user:{ANN}"))
    (workspace / "CRON.json").write_text(json.dumps({"jobs": jobs}, indent=1))


def _event(id: str, schedule: dict[str, Any], channel: str, to: str) -> dict[str, Any]:
    return _job(id, schedule, channel, to, {"kind": "system_event", "text": f"event of {id}"})


def _turn(id: str, schedule: dict[str, Any], channel: str, to: str) -> dict[str, Any]:
    return _job(id, schedule, channel, to, {"kind": "agent_turn", "message": f"This is job {id}: say what is new."})


def _job(id: str, schedule: dict[str, Any], channel: str, to: str, payload: dict[str, Any]) -> dict[str, Any]:
    return {"id": id, "schedule": schedule, "payload": payload, "channel": channel, "to": to}


# -- what has come of it


def runs(workspace: Path) -> list[dict[str, Any]]:
    """All runs of jobs, of which the oldest may be gone."""
    found = []
    for name in ("cron-runs.1.jsonl", "cron-runs.jsonl"):
        path = workspace / ".state" / name
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                found.append(json.loads(line))
            except ValueError:  # it was torn by a crash
                continue
    return found


def shown(workspace: Path, account: Account) -> set[str]:
    """The letters that a chat has shown, and so written into its conversation, each once, and those that wait."""
    ids: Counter[str] = Counter()
    found = set()
    for path in (workspace / "sessions").glob("*cli-user/*.jsonl"):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            ids[record.get("letter", "")] += 1
            found |= {*LETTER.findall(record.get("content") or "")} if record.get("letter") else set()
    for id in ids:
        if id and ids[id] > 1 + len(account.crashes):
            account.complain(f"letter {id} is in the chat {ids[id]} times")
    for path in (workspace / ".state" / "outbox").glob("*.json"):
        record = json.loads(path.read_text())
        found |= {*LETTER.findall(record["texts"][0])} if record["channel"] == TERMINAL else set()
    account.note("letters shown in the terminal", len(ids) - ("" in ids))
    return found


def check(workspace: Path, account: Account) -> None:
    """Every letter has come, and none more often than the process was ended; no run has its effect twice."""
    most = 1 + len(account.crashes) + len(account.endings)
    ids, arrived = defaultdict(set), shown(workspace, account)
    for id, texts in account.letters.items():
        for marker in LETTER.findall(texts[0]):
            ids[marker].add(id)
            arrived.add(marker)
        if len(texts) > most:
            account.complain(f"letter {id} came {len(texts)} times: {texts[0][:80]!r}")
        if len({*texts}) > 1:
            account.complain(f"letter {id} came with different words: {texts!r}"[:300])
    for marker, known in ids.items():
        if len(known) > 1:
            account.complain(f"{marker} was said in {len(known)} letters: {', '.join(sorted(known))}")
    _check_runs(runs(workspace), arrived, account)


def _check_runs(found: list[dict[str, Any]], arrived: set[str], account: Account) -> None:
    dues = Counter((each["job"], each["due_at"]) for each in found if each["status"] == "ok" and each["due_at"])
    for (job, due), times in dues.items():
        if times > 1:
            account.complain(f"job {job} was done {times} times for {due}")
    for each in found:
        account.note(f"runs of jobs that were {each['status']}")
        if each["status"] != "ok" or not each["job"].startswith("ask-"):
            continue
        ended = (each["started_at"] or 0.0) + each["seconds"]
        excused = any(ended <= crash <= ended + IN_FLIGHT for crash in account.crashes)
        if (missing := {*LETTER.findall(each["text"])} - arrived) and not excused:
            account.complain(f"job {each['job']}: {', '.join(missing)} has never arrived, since {time.ctime(ended)}")
    ticks = sum(each["status"] == "ok" and each["job"] == "tick-ws" for each in found)
    came = sum(texts[0] == "event of tick-ws" for texts in account.letters.values())
    slack = len(account.crashes) * (1 + IN_FLIGHT / SECONDS)
    if not ticks - slack <= came <= ticks + slack:
        account.complain(f"job tick-ws was done {ticks} times, and {came} letters of it came")
