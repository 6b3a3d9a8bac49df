"""The settings: where they come from, what is wrong with them, what is misspelt, who else can read them."""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from .. import dotenv
from ..invocation import command
from ..settings import VARIABLES
from . import Case, Finding, fail, ok, warn

KNOWN = [each.name for each in VARIABLES]
FAMILIES = ("LLM_", "GATEWAY_", "DISCORD_")
NUMBERED = re.compile(r"LLM_(?:API_KEY|BASE_URL)_[0-9]+")
SECRET = re.compile(r"LLM_API_KEY.*|GATEWAY_TOKEN|DISCORD_BOT_TOKEN")
# How alike a name must be to one of ours: less where it is clearly meant for us.
ALIKE, NEAR = 0.8, 0.6
OTHERS = ("OPENAI_API_KEY", "OPENROUTER_API_KEY", "ANTHROPIC_API_KEY", "GROQ_API_KEY", "MISTRAL_API_KEY")


def check(case: Case) -> Iterator[Finding]:
    path = case.cwd / (case.env_file or ".env")
    file: dict[str, str] = {}
    if os.path.isfile(path):
        entries = dotenv.read(path, case.environ).entries
        file = {name: each.value for name, each in entries.items() if each.value is not None}
    for each in case.problems:
        yield fail(*_problem(each))
    yield from _origins(case, path, file)
    if case.settings is not None and not case.problems:
        yield from _model(case)
    for name in dict.fromkeys((*case.environ, *file)):
        yield from _misspelt(name, name in file)
    if os.path.isfile(path):
        yield from _readers(path)
    elif case.problems or (case.settings is not None and case.settings.demo):
        yield from _elsewhere(case)


def _problem(text: str) -> tuple[str, str]:
    """What is wrong, and what to do about it."""
    what, found, example = text.rpartition("; for example ")
    if found:
        return what, f"{example}, for example; {command('init')} asks for what is needed"
    what, _, cure = text.partition(": ")
    return what, cure or "the README lists the settings"


def is_ours(name: str) -> bool:
    return name in KNOWN or bool(NUMBERED.fullmatch(name))


def _origins(case: Case, path: Path, file: Mapping[str, str]) -> Iterator[Finding]:
    for where, found in (("the environment", case.environ), (path.name, file)):
        if names := [_named(name, text) for name, text in found.items() if _counts(name, text)]:
            yield ok(f"set in {where}: {', '.join(names)}")
    for name, text in file.items():
        outside = case.environ.get(name)
        if outside is not None and _counts(name, outside) and outside.strip() != text.strip():
            yield warn(f"{name} in {path.name} does not count: the environment has another one", f"unset {name}")


def _counts(name: str, text: str) -> bool:
    """Blank is unset; only a key may be empty on purpose."""
    return is_ours(name) and (bool(text.strip()) or name.startswith("LLM_API_KEY"))


def _named(name: str, text: str) -> str:
    """A setting without its value: of a secret it tells how long it is, as half a key was pasted, mostly."""
    if not SECRET.fullmatch(name):
        return name
    return f"{name} ({len(text.strip())} characters)" if text.strip() else f"{name} (empty: none needed)"


def _model(case: Case) -> Iterator[Finding]:
    settings = case.settings
    assert settings is not None
    if not settings.demo:
        yield ok(f"the model is {settings.llm_model}, at {settings.llm_base_url}")
        return
    yield ok(f"no model is set: agentkit runs on its built-in demo model ({command('init')} sets one)")
    if other := next((name for name in OTHERS if case.environ.get(name)), ""):
        cure = f"LLM_API_KEY is what it reads: {command('init')} sets it"
        yield warn(f"{other} is set, which agentkit does not read", cure)


def _misspelt(name: str, in_file: bool) -> Iterator[Finding]:
    """A name that looks as if it were meant for us. In the environment there are those of many programs."""
    if is_ours(name):
        return
    upper = re.sub(r"\W+", "_", name).upper()
    family = next((each for each in FAMILIES if upper.startswith(each)), "")
    known = [each for each in KNOWN if each.startswith(family)]
    near = get_close_matches(upper, known, 1, NEAR if family else ALIKE)
    if near:
        yield warn(f"{name} is no setting of agentkit", f"is {near[0]} meant?")
    elif family and in_file:
        yield warn(f"{name} is no setting of agentkit", f"the settings in {family}* are {', '.join(known)}")


def _readers(path: Path) -> Iterator[Finding]:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        words = f"others on this machine can read {path.name}, which may hold keys (mode {mode:04o})"
        yield warn(words, f"chmod 600 {shlex.quote(str(path))}")
    else:
        yield ok(f"{path.name} can be read by you only")


def _elsewhere(case: Case) -> Iterator[Finding]:
    """A file that is not read, because it lies further up."""
    for folder in case.cwd.parents:
        if os.path.isfile(found := folder / ".env"):
            cure = f"cd {shlex.quote(str(folder))}, or {command('--env-file', str(found))}"
            yield warn(f"{found} is not read: only .env in the folder you start from is", cure)
            return
