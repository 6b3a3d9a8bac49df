"""Turns that nobody watches: they end, they tell no secrets, and strangers get nothing of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from agentkit import App, Node, Store
from agentkit.cancel import Cancel
from agentkit.client import Client
from agentkit.events import Answer
from agentkit.ledger import Ledger
from agentkit.llm import LLMCall
from agentkit.node import Run
from agentkit.settings import Settings
from agentkit.store import State
from agentkit.unattended import Ended, Unattended
from agentkit.wire import Reply

from .loopback import Loopback, call_stream, text_stream
from .program import environment

KEY = "sk-canary-0123456789"


class Says(Node):
    """A model that says this; None: it never comes to an end."""

    def __init__(self, text: str | None) -> None:
        self.text = text

    def prep(self, store: Store) -> Cancel:
        return store.run.cancel

    def exec(self, inputs: Cancel) -> Reply:
        if self.text is None:
            inputs.wait(60)
        return Reply(self.text or "")

    def post(self, store: Store, inputs: Cancel, result: Reply) -> Reply:
        store.append({"role": "assistant", "content": result.text})
        return result


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    with Loopback([text_stream("Hi")]) as server:
        agent = tmp_path / ".agents" / "assistant"
        agent.mkdir(parents=True)
        (agent / "AGENT.md").write_text("You are terse.")
        made = App(Settings("m", server.url, KEY, 32_000, workspace_dir=tmp_path), environ=environment(tmp_path))
        yield made
        made.stop()


def run(app: App, text: str | None, longest: float = 60.0, cancel: Cancel | None = None) -> Ended:
    unattended = Unattended(app.agents, lambda: Says(text), Ledger(), lambda: app.settings, longest)
    return unattended.run(fresh(cancel), "Do it.", light=True)


def fresh(cancel: Cancel | None = None) -> Store:
    watched = Run(lambda event: None, lambda ask: Answer("deny"), cancel or Cancel())
    return Store(state=State("agent:assistant:x", "assistant", model="m"), run=watched)


def test_a_turn_that_does_not_end_is_ended_and_that_is_a_failure(app: App) -> None:
    ended = run(app, None, longest=0.05)
    assert ended.category == "timeout" and "not done within" in ended.why


def test_a_turn_that_is_stopped_is_interrupted(app: App) -> None:
    cancel = Cancel()
    cancel.set()
    assert run(app, None, cancel=cancel).category == "interrupted"


def test_a_turn_that_goes_in_circles_is_a_failure(app: App) -> None:
    with Loopback(lambda request, index: call_stream(("list_dir", {"path": "."}), text="Looking.")) as server:
        circling = LLMCall(Client(server.url))
        unattended = Unattended(app.agents, lambda: circling, Ledger(), lambda: app.settings)
        ended = unattended.run(fresh(), "Do it.", light=True)
    assert (ended.text, ended.category) == ("", "unknown") and "5 times" in ended.why


def test_what_is_said_holds_none_of_our_keys(app: App) -> None:
    assert run(app, f"LLM_API_KEY={KEY}").text == "LLM_API_KEY=[key]"


def spoke(app: App, session: str, channel: str, peer: str, to: str) -> None:
    """Somebody has spoken just now."""
    folder = app.workspace / "sessions" / session
    folder.mkdir(parents=True)
    at = datetime.now().astimezone().isoformat()
    meta = {"session": session, "channel": channel, "peer": peer, "to": to, "at": at}
    (folder / "meta.json").write_text(json.dumps(meta))


@pytest.mark.parametrize(
    ("allowed", "to", "gets"),
    [
        ((), "7", ("cli", "cli-user")),
        (("7",), "7", ("discord", "7")),
        (("8",), "7", ("cli", "cli-user")),
        (("7",), "channel:9", ("cli", "cli-user")),
    ],
    ids=["anybody may talk", "one that is named", "another is named", "in a group"],
)
def test_the_words_of_a_job_that_names_nobody_reach_no_stranger(
    tmp_path: Path, allowed: tuple[str, ...], to: str, gets: tuple[str, str]
) -> None:
    url = "http://127.0.0.1:9/v1"
    settings = Settings("m", url, KEY, 32_000, workspace_dir=tmp_path, discord_allowed_users=allowed)
    app = App(settings, environ=environment(tmp_path))
    spoke(app, "agent:assistant:direct:7", "discord", "7", to)
    record: dict[str, Any] = {"schedule": {"kind": "every", "every_seconds": 60}, "id": "a", "name": "A"}
    job = app.beside.cron.jobs.add({**record, "payload": {"kind": "system_event", "text": "the plan"}})
    assert app.beside.errands.address(job) == gets
    app.stop()
