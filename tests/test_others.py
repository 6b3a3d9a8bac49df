"""What a terminal tells of turns that other channels have begun in the session it shows."""

from __future__ import annotations

import pytest

from agentkit.channels.others import Others
from agentkit.events import (
    Ask,
    Compacted,
    Done,
    Error,
    Event,
    Failover,
    Heard,
    Interrupted,
    Notice,
    Text,
    Thinking,
    ToolFinished,
    ToolStarted,
    TurnStarted,
)

HERE, ELSEWHERE = "agent:a:main", "agent:b:main"
HEARD = Heard("discord", "Ann", "hello")
DONE = Done("hi", "m", {}, 0.1)
PIECES = [
    TurnStarted("a", "m"),
    Text("h"),
    Thinking("hm"),
    ToolStarted("1", "ls", {}),
    ToolFinished("1", "ls", True, "", 0.1),
    Failover("network", 0, "m", 1.0, "profile 1"),
    Compacted(2, 1),
]


def told(others: Others, *events: Event, turn: str, session: str = HERE) -> list[Event]:
    """What is told, without where it belongs."""
    found = [others.told(each.stamped(session, turn)) for each in events]
    return [each.stamped("", "") for each in found if each is not None]


@pytest.fixture
def others() -> Others:
    made = Others(lambda: HERE)
    made.exclude("own")
    return made


def test_all_of_an_own_turn_is_told(others: Others) -> None:
    events = [*PIECES, Ask("bash", "$ ls"), Notice("n"), DONE]
    assert told(others, *events, turn="own") == events and "own" not in others


@pytest.mark.parametrize("ending", [DONE, Error("network", "gone"), Interrupted("h")])
def test_of_theirs_it_is_what_was_said_and_how_it_ended(others: Others, ending: Event) -> None:
    assert told(others, HEARD, *PIECES, Notice("n"), ending, turn="t") == [HEARD, Notice("n"), ending]
    assert "t" in others
    assert told(others, Notice("late"), DONE, turn="t") == []


def test_what_they_are_asked_is_told_as_no_question(others: Others) -> None:
    _, asked = told(others, HEARD, Ask("bash", "$ ls"), turn="t")
    assert isinstance(asked, Notice) and asked.text == "bash wants to run, Ann (discord) decides: $ ls"
    others.told(HEARD.stamped(HERE, "u"))
    again = others.told(Ask("bash", "$ ls").stamped(HERE, "u"))
    assert again is not None and (again.session, again.turn) == (HERE, "u")


def test_another_session_is_not_told_of_not_even_when_it_is_shown_later() -> None:
    shown = HERE
    others = Others(lambda: shown)
    assert told(others, HEARD, turn="t", session=ELSEWHERE) == []
    shown = ELSEWHERE
    assert told(others, Notice("n"), DONE, turn="t", session=ELSEWHERE) == []


def test_what_was_begun_to_be_told_is_told_to_its_end() -> None:
    shown = HERE
    others = Others(lambda: shown)
    assert told(others, HEARD, turn="t") == [HEARD]
    shown = ELSEWHERE
    assert told(others, Text("h"), DONE, turn="t") == [DONE]


def test_what_belongs_to_no_turn_is_told(others: Others) -> None:
    assert told(others, Notice("a letter"), turn="", session="") == [Notice("a letter")]


def test_while_an_answer_is_written_the_rest_is_kept_in_order_and_own_turns_go_on() -> None:
    writing = True
    others = Others(lambda: HERE, lambda: writing)
    others.exclude("own")
    assert told(others, HEARD, DONE, turn="t") == [] and told(others, Notice("a letter"), turn="") == []
    assert told(others, Text("h"), Notice("n"), turn="own") == [Text("h"), Notice("n")]
    assert list(others.kept()) == []
    writing = False
    assert told(others, Notice("later"), turn="") == []
    kept = [each.stamped("", "") for each in others.kept()]
    assert kept == [HEARD, DONE, Notice("a letter"), Notice("later")] and list(others.kept()) == []


def test_what_is_kept_is_told_only_until_the_next_answer_begins() -> None:
    writing = True
    others = Others(lambda: HERE, lambda: writing)
    assert told(others, Notice("one"), Notice("two"), turn="", session="") == []
    writing = False
    kept = others.kept()
    assert next(kept) == Notice("one")
    writing = True
    assert list(kept) == []
