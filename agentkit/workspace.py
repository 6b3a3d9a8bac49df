"""Agents found as plain files: `.agents/<id>/AGENT.md` in the workspace, or the sample the package carries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from pkgutil import get_data

from .errors import SettingsError

SAMPLE = "assistant"


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
        if not given.is_dir():
            why = error.strerror or str(error)
            raise SettingsError([f"WORKSPACE_DIR: {given} cannot be a folder ({why}). Name another one."]) from None
    return given


@dataclass(frozen=True)
class Agent:
    """prompt: the text of its AGENT.md."""

    id: str
    prompt: str


def agent(workspace: Path, id: str = SAMPLE) -> Agent:
    """The agent of that id; the sample one where the workspace has none that can be read."""
    try:
        return Agent(id, (workspace / ".agents" / id / "AGENT.md").read_text("utf-8-sig"))
    except (OSError, ValueError):
        return Agent(SAMPLE, sample(f".agents/{SAMPLE}/AGENT.md").decode())


def sample(path: str) -> bytes:
    """A file of the sample workspace: in the package, or beside it in a checkout. Works inside a zipapp too."""
    try:
        found = get_data("agentkit", f"sample/{path}")
    except OSError:
        found = None
    return found if found is not None else (Path(__file__).parent.parent / "workspace" / path).read_bytes()
