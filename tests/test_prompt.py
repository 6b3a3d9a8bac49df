"""The system prompt: seven layers in their order, short, and the same bytes until something changes."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from agentkit.prompt import Layer, layers, text
from agentkit.workspace import Agent, Files, Memory, Skill, Workspace

CWD = Path("/home/u/project")
HOME = CWD / "workspace/.agents/a"
DAY = date(2026, 3, 1)

A = Agent("a", HOME, "You are a.", "a")
FULL = Files(
    "## Tools\n\nUse them.",
    (
        Skill("commit", "Use when: asked", HOME / "skills/commit/SKILL.md"),
        Skill("my-skill", "does", HOME / "skills/My Skill/SKILL.md"),
        Skill("far", "away", Path("/home/u/.agents/skills/far/SKILL.md")),
    ),
    (Memory("m", "what m says", HOME / "memory/m.md"), Memory("n n", "n", HOME / "memory/n n.md")),
    (("workspace/.agents/a/USER.md", "The user is U."), ("AGENTS.md", "# Rules\n\nBe good.")),
)


def built(
    agent: Agent = A,
    files: Files = FULL,
    *,
    model: str = "m-1",
    channel: str = "cli",
    cwd: Path = CWD,
    day: date = DAY,
) -> list[Layer]:
    return layers(agent, files, model=model, channel=channel, cwd=cwd, day=day)


def test_the_seven_layers_are_there_in_their_order() -> None:
    assert [layer.name for layer in built()] == [
        "identity",
        "tool guidelines",
        "skills",
        "memory",
        "bootstrap",
        "runtime",
        "channel",
    ]


def test_the_whole_prompt() -> None:
    assert (
        text(built())
        == """\
You are a.

## Tools

Use them.

## Skills

Before a task that one of these fits, read its file.

workspace/.agents/a/skills/NAME/SKILL.md:
- commit: Use when: asked
- my-skill (workspace/.agents/a/skills/My Skill/SKILL.md): does

/home/u/.agents/skills/NAME/SKILL.md:
- far: away

## Memory

When one of these matters, read its file with read_file.

- m (workspace/.agents/a/memory/m.md): what m says
- n n (workspace/.agents/a/memory/n n.md): n

## workspace/.agents/a/USER.md

The user is U.

## AGENTS.md

# Rules

Be good.

## Runtime

You are: a, on the model m-1, in the channel cli
Working directory: /home/u/project
Today: Sunday, 2026-03-01

Your answers are shown in a terminal, as Markdown."""
    )


def test_what_is_not_there_takes_no_room() -> None:
    found = built(Agent("a", HOME, "", "a"), Files())
    assert [layer.name for layer in found if layer.text] == ["runtime", "channel"]
    assert "\n\n\n" not in text(found)


def test_an_agent_with_a_name_of_its_own_is_called_by_it() -> None:
    assert "You are: The One (a), on the model" in text(built(A._replace(name="The One")))


@pytest.mark.parametrize(
    ("channel", "word"), [("cli", "terminal"), ("discord", "2,000 characters"), ("gateway", "API"), ("mine", "API")]
)
def test_each_channel_has_its_hint(channel: str, word: str) -> None:
    assert word in built(channel=channel)[-1].text


def test_a_path_that_is_no_text_or_no_line_harms_nothing() -> None:
    files = Files("", (), (Memory("m", "t", HOME / "memory/a\nb\udcff.md"),))
    prompt = text(built(files=files, cwd=Path("/x\udcff")))
    assert prompt.encode()
    assert "memory/a?b?.md" in prompt


def test_two_looks_at_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace", tmp_path)
    workspace.make()

    def prompt() -> str:
        agent = workspace.agents()["assistant"]
        return text(built(agent, workspace.files(agent), cwd=tmp_path))

    first = prompt()
    assert prompt() == first
    memory = tmp_path / "workspace/.agents/assistant/memory/new.md"
    memory.write_text("TLDR: something new")
    changed = prompt()
    assert "- new (workspace/.agents/assistant/memory/new.md): something new" in changed
    memory.unlink()
    assert prompt() == first


def test_what_stays_while_the_files_do_is_made_once() -> None:
    one, other = built(day=date(2026, 3, 1)), built(day=date(2026, 3, 2), channel="discord", model="m-2")
    assert all(before.text is after.text for before, after in zip(one[:5], other[:5], strict=True))
    assert all(before.text != after.text for before, after in zip(one[5:], other[5:], strict=True))


@pytest.mark.parametrize("made", [False, True])
def test_the_prompt_of_a_fresh_workspace_is_short(tmp_path: Path, made: bool) -> None:
    workspace = Workspace(tmp_path / "workspace", tmp_path)
    if made:
        workspace.make()
    agent = workspace.agents()["assistant"]
    found = built(agent, workspace.files(agent), cwd=tmp_path)
    assert all(layer.text for layer in found if layer.name != "bootstrap")
    assert len(text(found).encode()) <= 2_000
