"""What it costs to build the system prompt anew when nothing has changed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from agentkit import Node, Store
from agentkit.agents import Agents
from agentkit.app import BUILT_IN
from agentkit.approval import Approvals
from agentkit.archive import Archive
from agentkit.command import Commands
from agentkit.session import Session
from agentkit.settings import Settings
from agentkit.store import State
from agentkit.toolbox import Scope
from agentkit.workspace import Workspace

from .figures import Measured, against, figure
from .measure import in_turns

SKILLS, MEMORIES = 150, 1_000
TIMES = 10  # in a round


def _fill(agent: Path) -> None:
    """An agent with that many skills and memories."""
    for number in range(SKILLS):
        folder = agent / "skills" / f"skill-{number}"
        folder.mkdir(parents=True)
        description = f"Does the thing that has the number {number}. Use when: somebody asks for number {number}."
        (folder / "SKILL.md").write_text(f"---\nname: skill-{number}\ndescription: {description}\n---\nDo it.\n")
    (agent / "memory").mkdir()
    for number in range(MEMORIES):
        text = f"---\ntldr: What was said on day {number} about the plan.\n---\n# Day {number}\n\nMuch was said.\n"
        (agent / "memory" / f"day-{number}.md").write_text(text)
    (agent / "AGENT.md").write_text("You are a helpful assistant.\n")


def _session(workspace: Workspace, cwd: Path) -> Session:
    """A session of the agent, as App makes it."""
    settings = Settings("m", "http://127.0.0.1:9/v1", "", 128_000)
    tools = {each.name: each for each in BUILT_IN}
    agents = Agents(workspace, lambda: settings, "", tools, Approvals(), Scope((cwd,)), lambda: {})
    store = Store(state=State("agent:assistant:direct:me", "assistant", "m", "cli"))
    return Session(store, Archive(cwd / "s"), agents.model, lambda each: agents.turn(each, Node()), Commands())


def _bare(agent: Path) -> None:
    """A look at the same files that only finds and stats them."""
    with os.scandir(agent / "memory") as entries:
        for entry in entries:
            entry.stat()
    with os.scandir(agent / "skills") as entries:
        for entry in entries:
            os.stat(f"{entry.path}/SKILL.md")
    os.stat(agent / "AGENT.md")


def _cpu(action: Callable[[], object]) -> Callable[[], float]:
    """Gives the CPU of the action, in ms."""

    def measured() -> float:
        started = time.process_time()
        for _ in range(TIMES):
            action()
        return (time.process_time() - started) * 1000 / TIMES

    return measured


@figure("prompt warm", bar=2.0)
def warm() -> Measured:
    """CPU of prompt, tools and turn with 150 skills and 1,000 memories, unchanged, against scandir + stat of them"""
    with TemporaryDirectory() as made:
        cwd = Path(made)
        agent_folder = cwd / "workspace" / ".agents" / "assistant"
        _fill(agent_folder)
        session = _session(Workspace(cwd / "workspace", cwd, cwd), cwd)
        started = time.process_time()
        session.prepare()
        cold = (time.process_time() - started) * 1000
        assert len(session.store.context.system) > 100_000, "not all the files are in the prompt"
        ours, floor = in_turns(31, _cpu(session.prepare), _cpu(lambda: _bare(agent_folder)))
    return replace(against(ours, floor, "ms"), note=f"cold: {cold:.0f} ms")
