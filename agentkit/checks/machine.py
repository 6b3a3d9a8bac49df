"""The machine: Python and its packages, the programs that are called, the time."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from zoneinfo import ZoneInfo

from .. import __version__
from . import Case, Finding, fail, ok, warn

PACKAGES = {"requests": (2, 32), "urllib3": (2, 3), "websockets": (16,)}  # the oldest that will do
EDITOR = "vi"  # where the environment names none
ELSEWHERE = "Europe/Riga"  # any zone that only a real database has


def check(case: Case) -> Iterator[Finding]:
    yield ok(f"agentkit {__version__} on Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    yield from _packages(case)
    yield from _programs(case)
    yield from _zones(case)


def _packages(case: Case) -> Iterator[Finding]:
    found = []
    for name, oldest in PACKAGES.items():
        if find_spec(name) is None:
            yield fail(f"the package {name} is not installed", f"{_pip()} install {name}")
            continue
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:  # it came without, as in a zip file
            found.append(name)
            continue
        found.append(f"{name} {version}")
        if tuple(int(each) for each in version.split(".")[:2] if each.isdigit()) < oldest:
            wanted = ".".join(map(str, oldest))
            yield fail(f"{name} {version} is too old", f"{_pip()} install '{name}>={wanted}'")
    if find_spec("discord") is not None:
        found.append("discord.py")
    elif case.settings is not None and case.settings.discord_bot_token:
        yield fail("DISCORD_BOT_TOKEN is set, and discord.py is not installed", f"{_pip()} install discord.py")
    yield ok(f"packages: {', '.join(found)}")


def _pip() -> str:
    return f"{shlex.quote(sys.executable or 'python3')} -m pip"


def _programs(case: Case) -> Iterator[Finding]:
    path = case.environ.get("PATH", os.defpath)
    if shutil.which("bash", path=path) is None:
        if shutil.which("sh", path=path) is None:
            yield fail("there is neither bash nor sh in PATH: no command can be run", f"put them into PATH={path}")
        else:
            yield warn("there is no bash in PATH: commands are run by sh", "install bash: models write for it")
    editor = case.environ.get("VISUAL") or case.environ.get("EDITOR") or EDITOR
    if not (words := editor.split()) or shutil.which(words[0], path=path) is None:
        cure = "EDITOR names one that is, such as nano"
        yield warn(f"the editor {editor} is not there: long messages cannot be written in it", cure)


def _zones(case: Case) -> Iterator[Finding]:
    try:
        ZoneInfo(ELSEWHERE)
    except Exception:  # whatever is wrong with the files there
        cure = f"apt install tzdata, or {_pip()} install tzdata"
        yield warn("there is no time zone database: timezone in HEARTBEAT.md and CRON.json cannot be used", cure)
        return
    zone = case.environ.get("TZ", "").removeprefix(":")
    if zone[:1].isalpha() and "/" in zone:
        try:
            ZoneInfo(zone)
        except Exception:
            yield warn(f"TZ={zone} is no time zone: UTC is used", f"TZ={ELSEWHERE} has the form")
            return
    yield ok(f"local time: {time.strftime('%Y-%m-%d %H:%M %Z')}")
