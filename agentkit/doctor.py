"""`agentkit doctor`: what is wrong, and what to do about it; one line for each thing it has looked at."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from . import log
from .checks import Case, Finding, Level, content, disk, endpoint, machine, setup, terminal, ways
from .checks.together import Check, side_by_side
from .errors import SettingsError
from .settings import VARIABLES, Settings, load

PATIENCE = 55.0  # seconds that all checks together may take
SLOW = 1.0  # seconds from which on it is said how long one took
COLORS: Mapping[Level, str] = {"ok": "\x1b[32m", "warn": "\x1b[33m", "FAIL": "\x1b[31m"}


def doctor(environ: Mapping[str, str], cwd: Path, env_file: Path | None, overrides: Mapping[str, str]) -> int:
    """Look at everything, and say it; returns the exit code: 0 nothing fails, 1 something does, 2 the settings are
    broken, so that nothing else starts.

    env_file, overrides: as `settings.load` has them.
    """
    case = _case(environ, cwd, env_file, overrides)
    # What goes wrong in a check itself is told there; a workspace that is not there is not made for it.
    examples = [each.example for each in VARIABLES]
    secrets = [each for each in (case.settings.secrets if case.settings else ()) if each not in examples]
    log.start(case.workspace, "error", secrets)
    colored = sys.stdout.isatty() and not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"
    count: dict[Level, int] = {"ok": 0, "warn": 0, "FAIL": 0}
    try:
        for found in side_by_side(_checks(case), PATIENCE):
            count[found.level] += 1
            _say(found, colored)
        print(f"\n{count['FAIL']} failed, {count['warn']} to look at, {count['ok']} fine.", flush=True)
    except BrokenPipeError:  # nobody reads on
        return 1
    return 2 if case.problems else 1 if count["FAIL"] else 0


def _case(environ: Mapping[str, str], cwd: Path, env_file: Path | None, overrides: Mapping[str, str]) -> Case:
    """With settings that are broken, the rest of them is of use."""
    problems: tuple[str, ...] = ()
    settings = None
    try:
        settings = load(environ, cwd, env_file=env_file, overrides=overrides)
    except SettingsError as error:
        problems = error.problems
        settings = _rest(environ, cwd, env_file, {**overrides, **_mended(problems)})
    workspace = (settings and settings.workspace_dir) or cwd / "workspace"
    return Case(environ, cwd, env_file, workspace, settings, problems)


def _rest(
    environ: Mapping[str, str], cwd: Path, env_file: Path | None, overrides: Mapping[str, str]
) -> Settings | None:
    """The settings as far as they can be read: where the file or what belongs together is broken, without either."""
    bare, others = _without_models(environ), _without_models(overrides)
    for from_environ, file, given in ((environ, env_file, overrides), (bare, Path(os.devnull), others)):
        try:
            return load(from_environ, cwd, env_file=file, overrides=given)
        except SettingsError:
            continue
    return None


def _without_models(values: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in values.items() if not name.startswith("LLM_")}


def _mended(problems: tuple[str, ...]) -> dict[str, str]:
    """Something that can be read, for each setting that something is wrong with."""
    examples = {each.name: each.example for each in VARIABLES}
    names = [found[0] for each in problems if (found := re.match(r"[A-Z_]+[0-9]*", each))]
    return {name: examples[known] for name in names if (known := re.sub("[0-9]+$", "<n>", name)) in examples}


def _checks(case: Case) -> dict[str, Check]:
    """In an order in which one explains the next."""
    topics = (setup, machine, terminal, disk, content)
    checks: dict[str, Check] = {each.__name__.rpartition(".")[2]: partial(each.check, case) for each in topics}
    settings = case.settings
    if settings is None:
        return checks
    if case.stands("GATEWAY_"):
        checks["gateway"] = partial(ways.gateway, case, settings)
    for each in settings.profiles if case.stands("LLM_") and not settings.demo else ():
        checks[f"LLM_API_KEY_{each.number}" if each.number else "LLM_API_KEY"] = partial(
            endpoint.check, case, settings, each
        )
    if settings.discord_bot_token and case.stands("DISCORD_"):
        checks["Discord"] = partial(ways.discord, settings)
    return checks


def _say(found: Finding, colored: bool) -> None:
    """In letters that whoever reads it can show."""
    encoding = sys.stdout.encoding or "ascii"
    level = f"{COLORS[found.level]}{found.level:4}\x1b[0m" if colored else f"{found.level:4}"
    took = f" ({found.seconds:.1f} s)" if found.seconds > SLOW else ""
    lines = [f"{level}  {log.one_line(found.words)}{took}"]
    if found.cure:
        lines.append(f"      {log.one_line(found.cure)}")
    print("\n".join(lines).encode(encoding, "replace").decode(encoding), flush=True)
