"""Agents found as plain files: `.agents/<id>/AGENT.md` in the workspace, or the sample the package carries."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from pkgutil import get_data
from typing import NamedTuple

from .errors import SettingsError

SAMPLE = "assistant"
LONGEST = 1 << 20  # bytes of an agent's file


def folder(given: Path | None, cwd: Path) -> Path:
    """The workspace: `given` is made if need be, ./workspace only when there is something to write.

    Raises SettingsError where it cannot be a folder.
    """
    if given is None:
        return cwd / "workspace"
    try:
        given.mkdir(exist_ok=True)
    except FileNotFoundError:
        raise SettingsError(
            [f"WORKSPACE_DIR: {given.parent} does not exist. Make it, or name another folder."]
        ) from None
    except OSError as error:
        if not os.path.isdir(given):
            why = error.strerror or str(error)
            raise SettingsError([f"WORKSPACE_DIR: {given} cannot be a folder ({why}). Name another one."]) from None
    return given


class Agent(NamedTuple):
    """prompt: the text of its AGENT.md."""

    id: str
    prompt: str


def agent(workspace: Path, id: str = SAMPLE) -> Agent:
    """The agent of that id; the sample one where the workspace has none that can be read."""
    try:
        return Agent(id, _text(workspace / ".agents" / id / "AGENT.md"))
    except (OSError, ValueError):
        return Agent(SAMPLE, sample(f".agents/{SAMPLE}/AGENT.md").decode())


def _text(path: Path) -> str:
    """The text of a file, if it is one: a FIFO in its place must not make anybody wait."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"{path} is not a regular file")
        return file.read(LONGEST).decode("utf-8-sig")


def sample(path: str) -> bytes:
    """A file of the sample workspace: in the package, or beside it in a checkout. Works inside a zipapp too."""
    try:
        found = get_data("agentkit", f"sample/{path}")
    except OSError:
        found = None
    return found if found is not None else (Path(__file__).parent.parent / "workspace" / path).read_bytes()
