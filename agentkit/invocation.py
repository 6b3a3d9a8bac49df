"""How this program was started, as one types it: for the commands that it tells people to type."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence

NAME = "agentkit"


def command(*arguments: str, started: str | None = None, path: Sequence[str] | None = None) -> str:
    """A command line of this program. started: sys.argv[0]; path: the folders of PATH, for tests."""
    started = sys.argv[0] if started is None else started
    path = os.get_exec_path() if path is None else path
    base = os.path.basename(started)
    if base == NAME:
        words = [NAME if os.path.dirname(os.path.abspath(started)) in map(os.path.abspath, path) else started]
    elif base.endswith((".py", ".pyz")) and base != "__main__.py":  # one file, or a bot of somebody's own
        words = ["python3", started]
    else:
        words = [NAME]
    return shlex.join((*words, *arguments))
