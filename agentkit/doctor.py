"""`agentkit doctor`: what is wrong, and what to do about it; one line for each thing it has looked at."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue

from .checks import Case, Finding, Level, disk, endpoint, machine, setup, ways
from .errors import SettingsError
from .printable import printable
from .settings import Settings, load

log = logging.getLogger("agentkit")

PATIENCE = 55.0  # seconds that all servers together may take
COLORS: Mapping[Level, str] = {"ok": "\x1b[32m", "warn": "\x1b[33m", "FAIL": "\x1b[31m"}

Check = Callable[[], Iterator[Finding]]


def doctor(environ: Mapping[str, str], cwd: Path, env_file: Path | None, overrides: Mapping[str, str]) -> int:
    """Look at everything, and say it; returns the exit code: 0 nothing fails, 1 something does, 2 the settings are
    broken, so that nothing starts.

    env_file, overrides: as `settings.load` has them.
    """
    case = _case(environ, cwd, env_file, overrides)
    count: dict[Level, int] = {"ok": 0, "warn": 0, "FAIL": 0}
    for found in _findings(case):
        count[found.level] += 1
        _say(found)
    print(f"\n{count['FAIL']} failed, {count['warn']} to look at, {count['ok']} fine.")
    return 2 if case.problems else 1 if count["FAIL"] else 0


def _case(environ: Mapping[str, str], cwd: Path, env_file: Path | None, overrides: Mapping[str, str]) -> Case:
    stated = Path(overrides.get("WORKSPACE_DIR") or environ.get("WORKSPACE_DIR") or "workspace")
    try:
        settings = load(environ, cwd, env_file=env_file, overrides=overrides)
    except SettingsError as error:
        return Case(environ, cwd, env_file, cwd / stated.expanduser(), None, error.problems)
    return Case(environ, cwd, env_file, settings.workspace_dir or cwd / "workspace", settings)


def _findings(case: Case) -> Iterator[Finding]:
    here: dict[str, Check] = {
        topic.__name__.rpartition(".")[2]: partial(topic.check, case) for topic in (setup, machine, disk)
    }
    for name, check in here.items():
        yield from _guarded(name, check)
    if case.settings is not None:
        yield from _guarded("gateway", partial(ways.gateway, case.settings))
        yield from _side_by_side(_remote(case.settings))


def _remote(settings: Settings) -> dict[str, Check]:
    """What others are asked for."""
    found: dict[str, Check] = {}
    for each in () if settings.demo else settings.profiles:
        found[f"key {each.number}"] = partial(endpoint.check, settings, each)
    if settings.discord_bot_token:
        found["Discord"] = partial(ways.discord, settings)
    return found


def _side_by_side(checks: Mapping[str, Check]) -> Iterator[Finding]:
    """All at once, each in a thread; what is not there in time is said to be late."""
    boxes: dict[str, SimpleQueue[Finding | None]] = {}
    for name, check in checks.items():
        boxes[name] = SimpleQueue()
        threading.Thread(target=_into, args=(boxes[name], name, check), name=name, daemon=True).start()
    deadline = time.monotonic() + PATIENCE
    for name, box in boxes.items():
        try:
            while (found := box.get(timeout=max(0.0, deadline - time.monotonic()))) is not None:
                yield found
        except Empty:
            yield Finding(
                "FAIL", f"{name}: not done after {PATIENCE:.0f} s", "try again; look at the network and the proxy"
            )


def _into(box: SimpleQueue[Finding | None], name: str, check: Check) -> None:
    for found in _guarded(name, check):
        box.put(found)
    box.put(None)


def _guarded(name: str, check: Check) -> Iterator[Finding]:
    """A check that fails itself is a finding too."""
    try:
        yield from check()
    except Exception as error:  # whatever is odd about this machine, the other checks are worth having
        log.exception("the check %s failed", name)
        words = f"{name}: the check itself failed ({type(error).__name__}: {error})"
        yield Finding("FAIL", words, "this is a mistake in agentkit: the other checks count")


def _say(found: Finding) -> None:
    encoding = sys.stdout.encoding or "ascii"
    colored = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
    level = f"{COLORS[found.level]}{found.level:4}\x1b[0m" if colored else f"{found.level:4}"
    lines = [f"{level}  {_line(found.words)}", *([f"      {_line(found.cure)}"] if found.cure else [])]
    print("\n".join(lines).encode(encoding, "replace").decode(encoding), flush=True)


def _line(text: str) -> str:
    return " ".join(printable(text).split())
