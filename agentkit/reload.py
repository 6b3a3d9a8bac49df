"""What is read anew while a server runs, when it is told to: and what of it is wrong, or wants a restart."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from . import log as logs
from .app import App
from .errors import SettingsError
from .plans import ALONE, EMPTY
from .routes import PERIOD, Routes
from .settings import Settings, load

log = logging.getLogger("agentkit")

OWN = ("log_level", "env_file", "demo")  # of the settings: what is read anew, or is none that is set


def reload(app: App, stated: Stated) -> None:
    """Look at all files that count at once; one line says what was found, and one each what is wrong with it."""
    logs.reopen()
    restart, problems = stated.look()
    beside, routes, agents = app.beside, app.agents.routes, app.agents.workspace.agents
    now = Routes(app.workspace / "routes.json", lambda: agents().keys(), app.agents.usual)
    if (now.bindings(), now.problems()) != (routes.bindings(), routes.problems()):
        time.sleep(PERIOD)  # those in force are looked at no more often
    beside.cron.refresh()
    skipped = [f"agent {agent}: {why}" for agent, why in beside.heartbeats.idle() if why not in (EMPTY, ALONE)]
    problems += [*beside.problems(), *routes.problems(), *skipped]
    for each in problems:
        log.warning("%s", each)
    files = {
        "CRON.json": f"jobs: {len(beside.cron.jobs.look().jobs)}",
        "routes.json": f"bindings: {len(routes.bindings())}",
        "HEARTBEAT.md": f"sessions: {len(beside.heartbeats.plans())}",
    }
    found = ", ".join(f"{name} ({what})" for name, what in files.items())
    wrong = f" Problems: {len(problems)}." if problems else ""
    later = f" A restart is needed for {', '.join(restart)}." if restart else ""
    log.info("Read anew: %s.%s Agents, skills and memories count from the next turn on.%s", found, wrong, later)


class Stated:
    """The settings as the environment and the env file state them. used: those that we began with."""

    def __init__(self, used: Settings) -> None:
        self._file = used.env_file
        if self._file == Path.cwd() / ".env":
            self._file = None  # it need not be there
        try:
            self._first = load(os.environ, Path.cwd(), env_file=self._file)
        except SettingsError:  # what is wrong there was said better on the command line
            self._first = used
        self._follows = self._first.log_level == used.log_level  # nor was that

    def look(self) -> tuple[list[str], list[str]]:
        """Take LOG_LEVEL over; returns which others are not as they were, and what is wrong with them."""
        try:
            now = load(os.environ, Path.cwd(), env_file=self._file)
        except SettingsError as error:
            return [], [f"{each} (until that is put right, the settings stay as they were)" for each in error.problems]
        except OSError:
            return [], ["the working directory is gone: the settings stay as they were"]
        if self._follows:
            logs.set_level(now.log_level)
        before = vars(self._first)
        return [_variable(name) for name, value in vars(now).items() if name not in OWN and value != before[name]], []


def _variable(name: str) -> str:
    """What a setting is called where it is set."""
    return "LLM_API_KEY_<n>" if name == "llm_more_profiles" else name.upper()
