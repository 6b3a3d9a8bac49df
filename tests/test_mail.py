"""Letters of the outbox in the running program: who delivers them, and where they are shown."""

from __future__ import annotations

import re
from pathlib import Path

from agentkit.outbox import Outbox

from .loopback import Loopback, text_stream
from .program import Terminal, agentkit, environment, settled
from .test_agents import Talk
from .test_agents import talk as talk


def letter(folder: Path, text: str, channel: str = "cli", to: str = "cli-user") -> str:
    """Have one wait in a workspace in which nobody is; returns its id."""
    outbox = Outbox(folder / "workspace" / ".state" / "outbox", lambda letter: None, lambda channel: None)
    return outbox.put(channel, to, text)[0]


def test_what_waits_for_the_terminal_is_shown_when_a_chat_is_opened_and_is_gone_then(tmp_path: Path) -> None:
    letter(settled(tmp_path), "The build is green.")
    env = environment(tmp_path)
    with Terminal(tmp_path, "--plain", env=env) as terminal:
        terminal.expect("The build is green.")
        while True:  # it is shown before that is written down
            terminal.send("/delivery\n")
            terminal.expect(r"delivery  running; pending: ")
            if terminal.expect(r"\d+, sent: \d+, failed: 0") == "0, sent: 1, failed: 0":
                break
        terminal.send("/exit\n")
        assert terminal.wait() == 0
    assert list((tmp_path / "workspace" / ".state" / "outbox").glob("*.json")) == []


def test_one_question_delivers_nothing_and_shows_what_waits(tmp_path: Path) -> None:
    id = letter(settled(tmp_path), "Later.", "discord", "7")
    with Loopback([text_stream("ok")]) as server:
        env = environment(tmp_path, server.url)
        assert agentkit(tmp_path, "run", "hi", env=env).stdout == "ok\n"
        shown = agentkit(tmp_path, "run", "/delivery", env=env).stdout
    assert "pending: 1" in shown and "discord:7" in shown
    assert (tmp_path / "workspace" / ".state" / "outbox" / f"{id.partition('.')[0]}.json").exists()


def test_a_letter_to_a_channel_that_there_is_not_is_given_up_with_the_reason(talk: Talk) -> None:
    talk.write("workspace/.agents/assistant/AGENT.md", "You are terse.")
    id = letter(talk.folder, "hello", "pigeon", "7")
    listener = talk.begin()
    while "failed: 1" not in listener.answer("/delivery"):
        pass
    failed = listener.answer("/delivery failed")
    assert re.search(rf"^{id}  pigeon:7  there is no channel pigeon: hello$", failed, re.MULTILINE)
    assert "/delivery failed lists them" in listener.refusal("/delivery retry 1234")
    assert listener.answer(f"/delivery retry {id}") == "Tried again now: 1."
    assert "It is /delivery" in listener.refusal("/delivery now")
    assert "stopped" in listener.answer("/delivery stop") and "running" in listener.answer("/delivery start")


def test_who_holds_the_lock_stands_in_it(tmp_path: Path) -> None:
    with Terminal(settled(tmp_path), "--plain", env=environment(tmp_path)) as terminal:
        terminal.expect("> ")
        lock = tmp_path / "workspace" / ".state" / "lock"
        assert lock.read_text().split() == [str(terminal.pid), "cli"]
        with Terminal(tmp_path, "--plain", env=environment(tmp_path)) as other:
            other.expect(rf"process {terminal.pid}")
