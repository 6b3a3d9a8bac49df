"""App: builds everything from the settings, starts it, stops it. The only file that knows everyone."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from . import approval, prompt, workspace
from .approval import Approvals, Asker
from .cancel import Cancel
from .channel import Channel
from .client import Client
from .command import Command, Commands
from .errors import Cancelled, CommandError
from .events import Answer, Ask, Error, Event, Inbound, Interrupted, Notice
from .lanes import Lanes
from .llm import LLMCall
from .node import Run
from .session import Session
from .settings import Settings, child_environment
from .store import Context, State, Store
from .toolbox import Scope, Tool
from .tools import TOOLS
from .turn import Turn
from .usetool import Toolbox

if TYPE_CHECKING:
    from .demo import Demo

log = logging.getLogger("agentkit")

DEMO = """This is the built-in demo model: it shows how agentkit works, but understands nothing.
To connect a real one, set LLM_BASE_URL, LLM_API_KEY, LLM_MODEL and LLM_CONTEXT_WINDOW, in the environment or in .env;
for example LLM_BASE_URL=https://api.openai.com/v1 LLM_API_KEY=sk-... LLM_MODEL=gpt-4o LLM_CONTEXT_WINDOW=128000"""


class App:
    """One running agentkit.

    tools: beside the built-in ones, or in place of one with the same name; channels: start() starts them;
    environ: what child processes get, without our keys.
    """

    def __init__(
        self,
        settings: Settings,
        channels: Sequence[Channel] = (),
        tools: Iterable[Tool] = (),
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        cwd = Path.cwd()
        self.settings = settings
        self.workspace = workspace.folder(settings.workspace_dir, cwd)
        self.channels = {channel.name: channel for channel in channels}
        self.approvals = Approvals(settings.tool_approval)
        self.commands = Commands(
            [
                Command("help", "", "this list", lambda inbound, rest: self.commands.help(), now=True),
                Command("stop", "", "interrupt the answer or the tool that runs", self._stop, now=True),
                *approval.commands(self.approvals, self.session_key),
                Command("exit", "", "leave", _not_here, now=True),
            ]
        )
        self._tools = {each.name: each for each in (*TOOLS, *tools)}
        state, sessions = self.workspace / ".state", self.workspace / "sessions"
        closed = (state, settings.env_file) if settings.env_file else (state,)
        self._scope = Scope(
            roots=(cwd.resolve(), self.workspace.resolve()),
            closed=tuple(path.resolve() for path in closed),
            unwritable=(sessions.resolve(),),
            environment=child_environment(environ, settings),
        )
        self._lanes = Lanes(settings.max_turns)
        self._sessions: dict[str, Session] = {}
        self._demo: Demo | None = None
        self._client: Client | None = None

    # -- life

    def start(self) -> None:
        """Start the demo model, where nothing else is set, and the channels."""
        if self.settings.demo:
            from .demo import CONTEXT_WINDOW, MODEL, Demo  # most people have a model: it need not be loaded

            self._demo = Demo()
            url, window = self._demo.start(), CONTEXT_WINDOW
            self.settings = replace(self.settings, llm_base_url=url, llm_model=MODEL, llm_context_window=window)
        settings = self.settings
        self._client = Client(
            settings.llm_base_url, settings.llm_api_key, timeout=settings.llm_timeout, direct=self._demo is not None
        )
        for channel in self.channels.values():
            channel.start(self.dispatch, partial(self.approvals.answer, channel.name))
        if self._demo:
            self._publish(Notice(DEMO))

    def stop(self, timeout: float = 2.0) -> None:
        """Interrupt what runs, wait for it (in seconds), and end the channels."""
        self._lanes.stop(timeout)
        for channel in self.channels.values():
            channel.stop()
        if self._client:
            self._client.close()
        if self._demo:
            self._demo.stop()

    # -- one message

    def dispatch(self, inbound: Inbound) -> None:
        """Take a message; returns at once. Its events go to the channels, the last one ends its turn."""
        key = self.session_key(inbound)

        def publish(event: Event) -> None:
            self._publish(event.stamped(key, inbound.turn))

        if self.commands.is_now(inbound.text) and (ending := self.commands.answer(inbound)) is not None:
            publish(ending)
            return

        def work(cancel: Cancel) -> None:
            run = Run(publish, lambda ask: self._ask(ask, inbound, publish, cancel), cancel)
            try:
                self._session(key).take(inbound, run)
            except Cancelled:
                publish(Interrupted(""))
            except BaseException as error:  # whatever it is, the sender must hear that this is the end
                publish(_failed(error))
                raise

        try:
            self._lanes.get(key).put(work)
        except RuntimeError as error:
            publish(_failed(error))

    def interrupt(self, inbound: Inbound) -> bool:
        """Stop the turn that runs in this sender's session, as /stop does; was there one?"""
        return self._lanes.get(self.session_key(inbound)).interrupt()

    def tokens(self, inbound: Inbound) -> int:
        """How much of the context this sender's conversation took in its last request; 0: unknown."""
        session = self._sessions.get(self.session_key(inbound))
        return session.tokens if session else 0

    def session_key(self, inbound: Inbound) -> str:
        """Who talks to which agent."""
        return f"agent:{workspace.SAMPLE}:direct:{inbound.peer}"

    def _session(self, key: str) -> Session:
        """Called in the session's lane."""
        if key not in self._sessions:
            assert self._client is not None
            toolbox = Toolbox(self._tools, self.approvals, self._scope)
            turn = Turn(LLMCall(self._client, self.settings.llm_extra), toolbox, self.settings.max_model_calls)
            store = Store(Context(tools=toolbox.schemas), State(key, workspace.SAMPLE, self.settings.llm_model))
            self._sessions[key] = Session(store, turn, self.commands, self._system)
        return self._sessions[key]

    def _system(self) -> str:
        return prompt.build(workspace.agent(self.workspace).prompt, self._scope.cwd, date.today())

    def _publish(self, event: Event) -> None:
        for channel in self.channels.values():
            try:
                channel.show(event)
            except Exception:  # somebody else's code: the other channels still hear of it
                log.exception("the channel %s could not show an event", channel.name)

    def _ask(self, ask: Ask, inbound: Inbound, publish: Callable[[Event], None], cancel: Cancel) -> Answer:
        """Have the sender, and nobody else, decide."""
        channel = self.channels.get(inbound.channel)
        if channel is None or not channel.can_ask:
            cure = "--yes allows it for one run, TOOL_APPROVAL in general"
            publish(Notice(f"{ask.tool} was refused: nobody is there to be asked ({cure}).", "warn"))
            return Answer("deny", "nobody is there to be asked")
        who = Asker(self.session_key(inbound), inbound.channel, inbound.peer)
        return self.approvals.ask(ask, who, publish, cancel, channel.ask_limit)

    def _stop(self, inbound: Inbound, rest: str) -> str:
        if not self.interrupt(inbound):
            raise CommandError("Nothing is running.")
        return "Interrupted."


def _failed(error: BaseException) -> Error:
    cure = "Say it again; the log tells more."
    return Error("unknown", f"agentkit itself failed ({type(error).__name__}: {error}). {cure}"[:300])


def _not_here(inbound: Inbound, rest: str) -> str:
    raise CommandError("It is /exit alone, and for the terminal.")
