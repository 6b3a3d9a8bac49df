"""What the files of an agent's folder say: AGENT.md, SKILL.md, memories. Pure; each reader raises ValueError for text
that it cannot use, which says what is wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from . import frontmatter
from .names import agent_id
from .records import dataclass

LONGEST_NAME = 64  # characters of a skill's, as in the open format (agentskills.io/specification)
LONGEST_DESCRIPTION = 1024  # characters, likewise
LONGEST_TLDR = 200  # characters

DM_SCOPES = ("main", "per-peer", "per-channel-peer", "per-account-channel-peer")

_TLDR = re.compile(r"[\s>#*_-]*tl;?dr[*_]*\s*(?::[\s*_]*(.*))?", re.IGNORECASE)


class Agent(NamedTuple):
    """prompt: its AGENT.md without front matter; name: what people call it; model: empty for the usual one; dm_scope:
    one of DM_SCOPES; tools: those it may use, None for all; denied_tools: those that it may not."""

    id: str
    folder: Path
    prompt: str
    name: str
    model: str = ""
    dm_scope: str = "per-peer"
    tools: tuple[str, ...] | None = None
    denied_tools: tuple[str, ...] = ()


class Skill(NamedTuple):
    """path: of its SKILL.md."""

    name: str
    description: str
    path: Path


class Memory(NamedTuple):
    """tldr: one line that says what the file at `path` holds."""

    name: str
    tldr: str
    path: Path


@dataclass(frozen=True, eq=False)
class Files:
    """What an agent's folder held at one moment. It equals only itself, so that what is made of it can be kept by it.

    guidelines: its TOOLS.md; bootstrap: for each file its path, as it is shown, and its text.
    """

    guidelines: str = ""
    skills: tuple[Skill, ...] = ()
    memories: tuple[Memory, ...] = ()
    bootstrap: tuple[tuple[str, str], ...] = ()


def agent(path: str, text: str) -> Agent:
    """The agent that an AGENT.md makes of its folder."""
    folder = Path(path).parent
    id = agent_id(folder.name)
    if not id:
        raise ValueError("its folder's name has no letter from a to z and no digit: rename it")
    fields, prompt = _read(text)
    scope = _line(fields, "dm_scope") or "per-peer"
    if scope not in DM_SCOPES:
        raise ValueError(f"dm_scope is {scope[:80]}: make it one of {', '.join(DM_SCOPES)}")
    return Agent(
        id,
        folder,
        prompt.strip(),
        _line(fields, "name") or id,
        _line(fields, "model"),
        scope,
        _names(fields, "tools"),
        _names(fields, "denied_tools") or (),
    )


def skill(path: str, text: str) -> Skill:
    """The skill that a SKILL.md describes. A name is made one word of small letters, as the open format has it."""
    file = Path(path)
    fields, _ = _read(text)
    name = "-".join((_line(fields, "name") or file.parent.name).lower().split())
    if not re.fullmatch(rf"\w[\w.:+-]{{,{LONGEST_NAME - 1}}}", name):
        raise ValueError(f"its name is {name[:80]!r}: make it at most {LONGEST_NAME} letters, digits and dashes")
    description = _line(fields, "description")
    if not description:
        raise ValueError("it has no description: say in its front matter when to use it (description: ...)")
    return Skill(name, _cut(description, LONGEST_DESCRIPTION), file)


def memory(path: str, text: str) -> Memory:
    """The memory that a file is. Its TLDR is in the front matter (`tldr`, `summary`, `description`), or in a line that
    begins with it, or else it is the first line."""
    file = Path(path)
    name = _joined(file.stem)
    fields, body = _read(text)
    given = (fields.get(key) for key in ("tldr", "summary", "description"))
    written = next((line for each in given if isinstance(each, str) and (line := _joined(each))), "")
    return Memory(name, _cut(written or _tldr(body) or name, LONGEST_TLDR), file)


def _tldr(body: str) -> str:
    """The line of a text that says what it holds; "" for a blank text."""
    lines = [stripped for line in body.splitlines() if (stripped := line.strip())]
    for number, line in enumerate(lines):
        if found := _TLDR.fullmatch(line):
            said = found[1] or next(iter(lines[number + 1 : number + 2]), "")
            return _joined(said.removesuffix("**") if said.count("**") % 2 else said.lstrip("#"))
    return next((bare for line in lines if (bare := _joined(line.lstrip("#")))), "")


def _read(text: str) -> frontmatter.Document:
    """The front matter, where `Denied-Tools` is denied_tools, and the rest."""
    fields, body = frontmatter.parse(text)
    return frontmatter.Document({key.casefold().replace("-", "_"): value for key, value in fields.items()}, body)


def _line(fields: dict[str, Any], key: str) -> str:
    """A text as one line; "" where there is none."""
    value = fields.get(key, "")
    if not isinstance(value, str):
        raise ValueError(f"{key} is a {'list' if isinstance(value, list) else 'map'}: make it text")
    return _joined(value)


def _names(fields: dict[str, Any], key: str) -> tuple[str, ...] | None:
    """A list of names, or text with commas between them; None where nothing is written."""
    value = fields.get(key, "")
    if isinstance(value, str):
        return tuple(re.split(r"[\s,]+", value.strip(", \t\n"))) if value.strip(", \t\n") else None
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"{key} is not a list of names: write it as in [read_file, grep]")
    return tuple(name for each in value if (name := each.strip()))


def _joined(text: str) -> str:
    return " ".join(text.split())


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"
