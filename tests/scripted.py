"""A session as App builds it, with a scripted model in place of a server, and no channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agentkit import Node, Store
from agentkit.approval import Approvals
from agentkit.archive import Archive
from agentkit.cancel import Cancel
from agentkit.command import Commands
from agentkit.compact import Compact
from agentkit.events import Answer, Decision, Event, Inbound, Notice
from agentkit.history import commands
from agentkit.node import Run
from agentkit.session import Opening, Session
from agentkit.store import Context, State
from agentkit.toolbox import Scope, Tool
from agentkit.turn import Turn
from agentkit.usetool import Toolbox
from agentkit.wire import Reply, assistant

Rule = Callable[[Context], Reply]


def echo(context: Context) -> Reply:
    """Answers what was said last; in short, where it is to summarise."""
    return Reply(f"You said: {context.messages[-1]['content'][:80]}" if context.tools else "In short: they talked.")


class Scripted(Node):
    """A model that answers by a rule; `seen` holds what it was sent."""

    def __init__(self, rule: Rule = echo) -> None:
        self.rule = rule
        self.seen: list[list[str]] = []

    def prep(self, store: Store) -> Context:
        store.settle()
        self.seen.append([str(each["content"]) for each in store.context.messages])
        return store.context

    def exec(self, inputs: Context) -> Reply:
        return self.rule(inputs)

    def post(self, store: Store, inputs: Any, result: Reply) -> Reply:
        store.append({**assistant(result), "model": store.state.model})
        return result


def session(
    folder: Path,
    model: Scripted,
    tools: Sequence[Tool] = (),
    *,
    window: int = 100_000,
    opening: Opening = Opening(),
) -> Session:
    """window: tokens; conversations are in folder/sessions."""
    toolbox = Toolbox({each.name: each for each in tools}, Approvals("trust"), Scope((folder.resolve(),)))
    made: list[Session] = []

    def told(text: str) -> None:
        made[0].store.run.publish(Notice(text, "warn"))

    def prepare(session: Session) -> Turn:
        session.store.context.tools = [{"type": "function"}, *toolbox.schemas]
        return Turn(model, toolbox, 50, Compact(model))

    table = Commands(commands(toolbox.scope, lambda: model))
    store = Store(state=State("key", "assistant", "m", "cli", "ann", window))
    archive = Archive(folder / "sessions", tell=told)
    made.append(Session(store, archive, lambda session: "m", prepare, table, opening))
    return made[0]


def say(session: Session, text: str, decision: Decision = "allow") -> list[Event]:
    """One message; returns its events, the last of which ends it."""
    events: list[Event] = []
    session.take(Inbound(text, "cli", "ann"), Run(events.append, lambda ask: Answer(decision), Cancel()))
    return events
