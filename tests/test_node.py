"""Node and Flow: prep → exec → post, with try, cancel and events written once."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from agentkit import Flow, Node, Store
from agentkit.cancel import Cancel
from agentkit.errors import Cancelled
from agentkit.events import Answer, Ask, Event, Notice, Text
from agentkit.node import Run


class Watched:
    """A Run that keeps what was published and answers every question alike."""

    def __init__(self, answer: Answer = Answer("allow")) -> None:
        self.events: list[Event] = []
        self.cancel = Cancel()
        self.store = Store(run=Run(self.events.append, lambda ask: answer, self.cancel))


class Shout(Node):
    def prep(self, store: Store) -> str:
        return str(store.context.messages[-1]["content"])

    def exec(self, inputs: str) -> Generator[Event, Any, str]:
        yield Notice("shouting")
        return inputs.upper()

    def post(self, store: Store, inputs: str, result: str) -> str:
        store.append({"role": "assistant", "content": result})
        return result


def test_a_node_reads_works_and_writes() -> None:
    watched = Watched()
    watched.store.append({"role": "user", "content": "hello"})
    assert Shout().run(watched.store) == "HELLO"
    assert watched.store.context.messages[-1]["content"] == "HELLO"
    assert watched.events == [Notice("shouting")]


def test_a_node_is_tested_by_iterating_its_exec() -> None:
    steps = Shout().exec("hi")
    assert next(steps) == Notice("shouting")
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value == "HI"


def test_exec_may_be_a_plain_function() -> None:
    class Double(Node):
        def prep(self, store: Store) -> int:
            return 21

        def exec(self, inputs: int) -> int:
            return inputs * 2

    assert Double().run(Store()) == 42


def test_a_question_is_answered_where_it_is_asked() -> None:
    class Careful(Node):
        def exec(self, inputs: None) -> Generator[Event, Answer, str]:
            answer = yield Ask("bash", "rm -rf build")
            return answer.decision

    assert Careful().run(Watched(Answer("deny")).store) == "deny"


def test_rescue_turns_an_error_into_a_result() -> None:
    class Fragile(Node):
        def exec(self, inputs: None) -> None:
            raise ValueError("no")

        def rescue(self, inputs: None, error: Exception) -> str:
            return f"rescued: {error}"

    assert Fragile().run(Store()) == "rescued: no"


def test_without_a_rescue_the_error_goes_up_and_nothing_is_written() -> None:
    class Fragile(Shout):
        def exec(self, inputs: str) -> Generator[Event, Any, str]:
            yield Text("half")
            raise ValueError("no")

    watched = Watched()
    watched.store.append({"role": "user", "content": "hello"})
    with pytest.raises(ValueError, match="no"):
        Fragile().run(watched.store)
    assert len(watched.store.context.messages) == 1


def test_cancel_between_two_events_reaches_exec_which_may_still_return_what_it_has() -> None:
    watched = Watched()

    class Streams(Node):
        def exec(self, inputs: None) -> Generator[Event, Any, list[str]]:
            shown: list[str] = []
            try:
                for word in ("one", "two", "three"):
                    yield Text(word)
                    shown.append(word)
                    if word == "two":
                        watched.cancel.set()
            except Cancelled:
                pass
            return shown

        def post(self, store: Store, inputs: None, result: list[str]) -> None:
            store.append({"role": "assistant", "content": " ".join(result)})

    with pytest.raises(Cancelled):
        Streams().run(watched.store)
    assert watched.events == [Text("one"), Text("two")]
    assert watched.store.context.messages[-1]["content"] == "one two"


def test_a_cancelled_node_does_not_start() -> None:
    watched = Watched()
    watched.cancel.set()
    watched.store.append({"role": "user", "content": "hello"})
    with pytest.raises(Cancelled):
        Shout().run(watched.store)
    assert watched.events == []


def test_a_notice_is_still_published_after_cancel() -> None:
    watched = Watched()

    class LeavesSomething(Node):
        def exec(self, inputs: None) -> Generator[Event, Any, None]:
            watched.cancel.set()
            yield Notice("left something behind")

    with pytest.raises(Cancelled):
        LeavesSomething().run(watched.store)
    assert watched.events == [Notice("left something behind")]


def test_a_generator_is_closed_when_publishing_fails() -> None:
    closed = []

    class Holds(Node):
        def exec(self, inputs: None) -> Generator[Event, Any, None]:
            try:
                yield Text("x")
            finally:
                closed.append(True)

    def full(event: Event) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        Holds().run(Store(run=Run(full, lambda ask: Answer("deny"), Cancel())))
    assert closed == [True]


def test_a_flow_runs_nodes_on_the_same_store() -> None:
    class Twice(Flow):
        def walk(self, store: Store, inputs: None) -> str:
            Shout().run(store)
            return str(Shout().run(store)) + "!"

    watched = Watched()
    watched.store.append({"role": "user", "content": "hello"})
    assert Twice().run(watched.store) == "HELLO!"
    assert len(watched.store.context.messages) == 3


def test_whatever_blocks_is_woken_by_cancel_and_not_after_it_has_gone_on() -> None:
    cancel, calls = Cancel(), []
    with cancel.on_set(lambda: calls.append("gone")):
        pass
    with cancel.on_set(lambda: calls.append("here")):
        cancel.set()
        cancel.set()
    with cancel.on_set(lambda: calls.append("late")):
        pass
    assert calls == ["here", "late"]
