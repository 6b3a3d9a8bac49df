"""The system prompt, built from its layers; pure."""

from __future__ import annotations

from datetime import date
from pathlib import Path


def build(identity: str, cwd: Path, day: date) -> str:
    """identity: the agent's own text; cwd: the working directory. Only the day is in it, so that it changes once a day
    and servers can keep what they have read of it."""
    return f"{identity.strip()}\n\nWorking directory: {cwd}\nToday: {day:%A, %Y-%m-%d}"
