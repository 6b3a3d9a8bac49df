"""What the files of the workspace say: agents, skills, bindings, jobs, heartbeats, as the program itself reads them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path

from .. import memory, prompt
from ..approval import Unasked
from ..beats import Beats
from ..contacts import Contacts
from ..cron import Cron
from ..jobs import Jobs
from ..names import agent_id
from ..plans import Plans
from ..routes import Routes
from ..settings import Settings
from ..store import Context, State, Store
from ..timetable import cron_tool
from ..toolbox import Scope, Tool
from ..tools import TOOLS
from ..usetool import Toolbox
from ..workspace import SAMPLE, Agent, Files, Workspace
from . import Case, Finding, fail, ok, split, warn

CURE = "put that file right: until then the rest counts"
FULL, MOST = 0.25, 0.6  # of the context window, that the prompt and the tools may take before it is much, and too much


def check(case: Case) -> Iterator[Finding]:
    if os.path.lexists(case.workspace) and not case.workspace.is_dir():
        return  # which is said where the disk is looked at
    workspace = open_workspace(case)
    agents = workspace.agents()
    files = {agent.id: workspace.files(agent) for agent in agents.values()}
    jobs = Jobs(case.workspace / "CRON.json").look()
    for each in (*workspace.notices(), *_wrong(case.workspace, agents), *jobs.problems):
        yield warn(*split(each, CURE))
    for job in jobs.jobs:
        if job.agent_id and agent_id(job.agent_id) not in agents:
            yield warn(f"CRON.json, job {job.id}: there is no agent {job.agent_id}", f"there are {', '.join(agents)}")
    yield ok(f"agents: {', '.join(agents)}; jobs: {len(jobs.jobs)}")
    if case.settings is not None:
        yield from _settings(case.settings, agents)
        for agent in agents.values():
            yield from _agent(case, case.settings, agent, files[agent.id])


def open_workspace(case: Case) -> Workspace:
    home = case.environ.get("HOME")
    return Workspace(case.workspace, case.cwd, Path(home) if home else None)


def _wrong(root: Path, agents: Mapping[str, Agent]) -> list[str]:
    """What bindings and heartbeats cannot be used."""
    usual = SAMPLE if SAMPLE in agents else next(iter(agents))
    found = [*Routes(root / "routes.json", lambda: agents.keys(), lambda: usual).problems()]
    nowhere = root / ".state" / "none"  # who was spoken to, and when, is of no matter here
    Plans(root / ".agents", Beats(nowhere, lambda: 0.0), Contacts(nowhere), found.append).read()
    return found


def _settings(settings: Settings, agents: Mapping[str, Agent]) -> Iterator[Finding]:
    if settings.default_agent and agent_id(settings.default_agent) not in agents:
        yield fail("DEFAULT_AGENT names no agent", f"there are {', '.join(agents)}")
    if set(settings.unattended_tools) - _tools().keys():  # what was pasted there may be a key: not shown
        cure = f"there are {', '.join(sorted(_tools()))}, and those of --tools"
        yield warn("UNATTENDED_TOOLS names tools that are not built in", cure)


def _agent(case: Case, settings: Settings, agent: Agent, files: Files) -> Iterator[Finding]:
    tools = _tools()
    if unknown := sorted({*(agent.tools or ()), *agent.denied_tools} - tools.keys()):
        words = f"the agent {agent.id} names tools that are not built in: {', '.join(unknown)}"
        yield warn(words, f"there are {', '.join(sorted(tools))}, and those of --tools")
    window = settings.llm_context_window
    if settings.demo or not case.stands("LLM_"):
        return
    layers = prompt.layers(
        agent, files, model=agent.model or settings.llm_model, channel="cli", cwd=case.cwd, day=date.today()
    )
    allowed = {
        name: each
        for name, each in tools.items()
        if (agent.tools is None or name in agent.tools) and name not in agent.denied_tools
    }
    schemas = Toolbox(allowed, Unasked(), Scope((case.cwd,))).schemas
    taken = Store(Context(prompt.text(layers), schemas), State()).tokens
    words = f"the prompt and tools of {agent.id} take about {taken:,} of LLM_CONTEXT_WINDOW's {window:,} tokens"
    cure = "take a larger window, or shorten its files: /prompt shows what each part takes"
    if taken > MOST * window:
        yield fail(words, cure)
    elif taken > FULL * window:
        yield warn(words, cure)
    else:
        yield ok(words)


def _tools() -> dict[str, Tool]:
    """Those built in, by name."""

    def cron() -> Cron:
        raise AssertionError("nobody calls it here")

    return {each.name: each for each in (*TOOLS, memory.remember, cron_tool(cron))}
