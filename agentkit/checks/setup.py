"""The settings: what is wrong with them, what is misspelt, who else can read them."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from .. import dotenv
from ..settings import VARIABLES
from . import Case, Finding, fail, ok, warn

OURS = re.compile(
    r"(?:LLM|GATEWAY|DISCORD|UNATTENDED|BACKGROUND|TOOL_APPROVAL|MAX_TURN|MAX_MODEL|WORKSPACE_D|DEFAULT_AG)"
)
NUMBERED = re.compile(r"LLM_(?:API_KEY|BASE_URL)_[0-9]+")
REQUIRED = ("LLM_MODEL", "LLM_BASE_URL", "LLM_API_KEY", "LLM_CONTEXT_WINDOW")
OTHERS = ("OPENAI_API_KEY", "OPENROUTER_API_KEY", "ANTHROPIC_API_KEY", "GROQ_API_KEY", "MISTRAL_API_KEY")


def check(case: Case) -> Iterator[Finding]:
    path = case.env_file or case.cwd / ".env"
    file = dotenv.read(path, case.environ).entries if path.is_file() else {}
    for each in case.problems:
        yield fail(each, "agentkit init asks for each setting; the README lists them all")
    if case.settings is not None:
        yield from _in_force(case, path, file)
    for name in [*(each for each in case.environ if OURS.match(each)), *file]:
        yield from _misspelt(name)
    if file:
        yield from _readers(path)
    elif case.settings is not None and case.settings.demo:
        yield from _elsewhere(case)


def _in_force(case: Case, path: Path, file: Mapping[str, object]) -> Iterator[Finding]:
    settings = case.settings
    assert settings is not None
    if settings.demo:
        yield ok("no model is set: agentkit runs on its built-in demo model (agentkit init sets one)")
        other = next((name for name in OTHERS if case.environ.get(name)), "")
        if other:
            yield warn(
                f"{other} is set, which agentkit does not read", "LLM_API_KEY is what it reads: agentkit init sets it"
            )
        return
    places = {
        name: "the environment" if case.environ.get(name) else path.name if name in file else "" for name in REQUIRED
    }
    told = ", ".join(dict.fromkeys(filter(None, places.values())))
    yield ok(f"settings from {told}: {settings.llm_model} at {settings.llm_base_url}, keys: {_keys(case)}")
    for name, place in places.items():
        if place == "the environment" and name in file:
            yield warn(f"{name} in {path.name} does not count: the environment has it too", f"unset {name}")


def _keys(case: Case) -> str:
    assert case.settings is not None
    lengths = [f"{len(each.api_key)} characters" if each.api_key else "none" for each in case.settings.profiles]
    return ", ".join(lengths)


def _misspelt(name: str) -> Iterator[Finding]:
    known = [each.name for each in VARIABLES]
    if name in known or NUMBERED.fullmatch(name):
        return
    if near := get_close_matches(name, known, 1, 0.8):
        yield warn(f"{name} is no setting of agentkit", f"is {near[0]} meant?")


def _readers(path: Path) -> Iterator[Finding]:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return
    if mode & 0o077:
        yield warn(
            f"others on this machine can read {path.name}, which holds keys (mode {mode:04o})", f"chmod 600 {path}"
        )
    else:
        yield ok(f"{path.name} can be read by you only")


def _elsewhere(case: Case) -> Iterator[Finding]:
    """A file that is not read, because it lies further up."""
    for folder in case.cwd.parents:
        if (folder / ".env").is_file():
            cure = f"cd {folder}, or agentkit --env-file {folder / '.env'}"
            yield warn(f"{folder / '.env'} is not read: only .env in the folder you start from is", cure)
            return
