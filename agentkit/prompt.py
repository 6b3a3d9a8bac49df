"""The system prompt, in seven layers; pure. Nothing in it changes from turn to turn but what its sources do, so that
providers' caches hold and a local server does not read it all again: of the time it has the day only."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from .workspace import Agent, Files, Skill, shown

HINTS = {
    "cli": "Your answers are shown in a terminal, as Markdown.",
    "discord": "Your answers are shown on Discord, as Markdown without tables: at most 2,000 characters a message.",
}
API = "Your answers go to a program, through an API."


class Layer(NamedTuple):
    """A part of the prompt; text: "" where there is nothing to say."""

    name: str
    text: str


def layers(agent: Agent, files: Files, *, model: str, channel: str, cwd: Path, day: date) -> list[Layer]:
    """The seven, in their order. model: the one that answers; channel: the name of the one it answers in."""
    tools, skills, memory, bootstrap = _lasting(files, cwd)
    name = agent.id if agent.name == agent.id else f"{agent.name} ({agent.id})"
    runtime = (
        "## Runtime\n\n"
        f"You are: {name}, on the model {model}, in the channel {channel}\n"
        f"Working directory: {shown(cwd, Path())}\n"
        f"Today: {day:%A, %Y-%m-%d}"
    )
    return [
        Layer("identity", agent.prompt),
        tools,
        skills,
        memory,
        bootstrap,
        Layer("runtime", runtime),
        Layer("channel", HINTS.get(channel, API)),
    ]


def light(agent: Agent, files: Files, cwd: Path) -> list[Layer]:
    """The least that will do where nobody has asked: who it is, and what it remembers."""
    return [Layer("identity", agent.prompt), _lasting(files, cwd)[2]]


def text(layers: Iterable[Layer]) -> str:
    """The whole prompt."""
    return "\n\n".join(layer.text for layer in layers if layer.text)


@lru_cache(maxsize=32)
def _lasting(files: Files, cwd: Path) -> tuple[Layer, Layer, Layer, Layer]:
    """The layers that stay while the files do."""
    bootstrap = "\n\n".join(f"## {name}\n\n{text}" for name, text in files.bootstrap)
    return (
        Layer("tool guidelines", files.guidelines),
        Layer("skills", _skills(files, cwd)),
        Layer("memory", _memory(files, cwd)),
        Layer("bootstrap", bootstrap),
    )


def _skills(files: Files, cwd: Path) -> str:
    if not files.skills:
        return ""
    lines = ["## Skills", "", "Before a task that one of these fits, read its file."]
    folders: dict[Path, list[Skill]] = {}
    for skill in files.skills:
        folders.setdefault(skill.path.parent.parent, []).append(skill)
    for folder, skills in folders.items():
        lines += "", f"{shown(folder / 'NAME' / 'SKILL.md', cwd)}:"
        for each in skills:
            path = "" if each.path.parent.name == each.name else f" ({shown(each.path, cwd)})"
            lines.append(f"- {each.name}{path}: {each.description}")
    return "\n".join(lines)


def _memory(files: Files, cwd: Path) -> str:
    if not files.memories:
        return ""
    lines = [f"- {each.name} ({shown(each.path, cwd)}): {each.tldr}" for each in files.memories]
    return "\n".join(["## Memory", "", "When one of these matters, read its file with read_file.", "", *lines])
