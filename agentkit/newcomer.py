"""A new agent from the words of a program: what its AGENT.md says, and the folder for it."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree
from typing import Any

from . import agentfiles, atomic
from .agentfiles import Agent
from .files import real
from .watch import LONGEST


def draft(folder: Path, prompt: str, fields: Mapping[str, Any]) -> tuple[Agent, bytes]:
    """The agent whose folder that is to be, and its AGENT.md. fields: of the front matter, those that are None left
    out. Raises ValueError, which says what is wrong."""
    given = {name: value for name, value in fields.items() if value is not None}
    # JSON on one line is YAML too (YAML 1.2.2, section 1.2).
    lines = "".join(f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in given.items())
    text = f"---\n{lines}---\n\n{prompt.strip()}\n"
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise ValueError("half a character is no text") from None
    if len(data) > LONGEST:
        raise ValueError(f"its AGENT.md would be larger than {LONGEST >> 20} MiB")
    return agentfiles.agent(str(folder / "AGENT.md"), text), data


def settle(agent: Agent, data: bytes) -> None:
    """Make the agent's folder, with its AGENT.md in it: all of it or nothing. The folder of all agents must be there.

    Raises FileExistsError where anything has its name, and OSError.
    """
    agents = agent.folder.parent
    if os.path.lexists(agent.folder):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(agent.folder))
    # In there, hidden from whoever looks for agents: beside it may be another file system, if it is a link.
    staged = real(agents) / f".{os.urandom(8).hex()}.tmp"
    try:
        staged.mkdir()
        atomic.replace(staged / "AGENT.md", data)
        try:
            staged.rename(agent.folder)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):  # somebody else was quicker
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(agent.folder)) from None
            raise
    except BaseException:
        rmtree(staged, ignore_errors=True)
        raise
    atomic.sync_folder(agents)
