"""Of all processes of a workspace one does the background work; another takes over when that one has left."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

import pytest

from agentkit.background import Background
from agentkit.envelope import Letter
from agentkit.outbox import Outbox
from agentkit.pigeonhole import Pigeonhole

from .program import Terminal, agentkit, environment, settled
from .test_serve import serving

WAIT = 20.0


class Process:
    """What a process has of it: what is told, and what it has delivered."""

    def __init__(self, state: Path) -> None:
        self.told: SimpleQueue[str] = SimpleQueue()
        self.sent: SimpleQueue[str] = SimpleQueue()

        def send(letter: Letter) -> None:
            self.sent.put(letter.text)

        self.outbox = Outbox(state / "outbox", send, lambda channel: None)
        self.background = Background(state, "test", self.outbox.start, self.outbox.stop, self.told.put)


@pytest.fixture
def made(tmp_path: Path) -> Callable[[], Process]:
    state = tmp_path / "workspace" / ".state"
    state.parent.mkdir()
    return lambda: Process(state)


def test_the_second_one_stands_by_and_takes_over_when_the_first_has_ended(made: Callable[[], Process]) -> None:
    first, second = made(), made()
    for _ in range(2):
        first.background.begin()
        second.background.begin()
    assert first.background.runs and not first.background.elsewhere() and first.told.empty()
    assert not second.background.runs and second.background.elsewhere() == str(os.getpid())
    assert re.search(rf"process {os.getpid()}", second.told.get(timeout=WAIT)) and second.told.empty()
    first.background.end(2.0)
    assert "has left" in second.told.get(timeout=WAIT)
    assert second.background.runs and not first.background.runs and not second.background.elsewhere()
    second.background.end(2.0)


def test_one_that_has_ended_does_not_take_over(made: Callable[[], Process]) -> None:
    first, second, third = made(), made(), made()
    first.background.begin()
    second.background.begin()
    second.background.end(2.0)
    first.background.end(2.0)
    third.background.begin()
    while not third.background.runs:  # the second one had the lock for a moment
        third.told.get(timeout=WAIT)  # that another has it, then that it has left
    assert not second.background.runs
    third.background.end(2.0)


def test_who_takes_over_delivers_what_the_other_has_left_each_once(made: Callable[[], Process]) -> None:
    first, second = made(), made()
    first.background.begin()
    second.background.begin()
    first.outbox.pause()
    first.outbox.put("cli", "me", "one")
    assert second.outbox.stats().pending == 1
    first.outbox.put("cli", "me", "two")
    second.outbox.put("cli", "me", "three")
    assert second.outbox.stats().pending == 3
    first.background.end(2.0)
    assert [second.sent.get(timeout=WAIT) for _ in range(3)] == ["one", "two", "three"]
    second.background.end(2.0)
    assert second.sent.empty() and first.sent.empty()


def test_without_a_workspace_nothing_is_done_and_nothing_is_made(tmp_path: Path) -> None:
    process = Process(tmp_path / "workspace" / ".state")
    process.background.begin()
    assert not process.background.runs and not process.background.elsewhere()
    process.background.end(2.0)
    assert not (tmp_path / "workspace").exists()


def test_a_chat_beside_another_says_who_does_it_and_takes_over_when_that_one_is_killed(tmp_path: Path) -> None:
    env = environment(tmp_path, GATEWAY_PORT="0")
    with Terminal(settled(tmp_path), "--plain", env=env) as first:
        first.expect("> $")
        with Terminal(tmp_path, "--plain", env=env) as second:
            second.expect(rf"process {first.pid}\.")
            second.send("/gateway\n")
            second.expect(rf"process {first.pid} does the background work[^\n]*")
            second.send("/delivery retry all\n")
            second.expect(rf"Process {first.pid} delivers the letters")
            os.kill(first.pid, signal.SIGKILL)
            second.expect(rf"Process {first.pid} has left")
            second.send("/gateway\n")
            second.expect("listens at ws://")


def test_a_server_beside_a_chat_does_not_start_and_says_why(tmp_path: Path) -> None:
    with Terminal(settled(tmp_path), "--plain", env=environment(tmp_path)) as chat:
        chat.expect("> $")
        served = agentkit(tmp_path, "serve", "--port", "0", env=environment(tmp_path))
        assert served.returncode == 2 and f"process {chat.pid} does" in served.stderr


def letters(state: Path, *texts: str) -> list[str]:
    """Put letters for the terminal, as a process without one does; returns their names."""
    outbox = Outbox(state / "outbox", lambda letter: None, lambda channel: None)
    for text in texts:
        outbox.put("cli", "cli-user", text)
    return sorted(each.name for each in (state / "outbox").glob("*.json"))


def test_letters_for_the_terminal_are_shown_beside_a_process_that_has_none(tmp_path: Path) -> None:
    state, shown = tmp_path / "workspace" / ".state", list[str]()
    headless = [True]
    hole = Pigeonhole(state, lambda letter: shown.append(letter.text), lambda: headless[0])
    hole.look()
    letters(state, "one", "two")
    Outbox(state / "outbox", lambda letter: None, lambda channel: None).put("discord", "1", "not for me")
    headless[0] = False
    hole.look()
    assert shown == []
    headless[0] = True
    hole.look()
    hole.look()
    assert shown == ["one", "two"] and len(list((state / "outbox").glob("*.json"))) == 1


def test_a_chat_beside_a_server_shows_what_came_for_the_terminal_before_it(tmp_path: Path) -> None:
    env = environment(tmp_path)
    letters(settled(tmp_path) / "workspace" / ".state", "the build is done")
    with serving(tmp_path, env), Terminal(tmp_path, "--plain", env=env) as chat:
        chat.expect("the build is done")


def test_one_question_says_that_nobody_delivers(tmp_path: Path) -> None:
    said = agentkit(settled(tmp_path), "run", "/delivery", env=environment(tmp_path))
    assert said.returncode == 0 and said.stdout.startswith("delivery  not running; pending: 0")
