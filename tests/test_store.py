"""The store keeps a conversation fit for the next request, whatever happened to a turn."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from agentkit.events import Answer, Ask, Event, Notice, Text
from agentkit.node import Run
from agentkit.store import Context, State, Store


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def calls(*ids: str) -> dict[str, Any]:
    made = [{"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}} for id in ids]
    return {"role": "assistant", "content": "", "tool_calls": made}


def result(id: str, text: str = "ok") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": text}


def said(store: Store) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in store.context.messages]


def test_a_call_without_a_result_gets_one_that_says_so() -> None:
    store = Store()
    for message in (user("go"), calls("a", "b"), result("b")):
        store.append(message)
    store.settle()
    assert said(store) == [("user", "go"), ("assistant", ""), ("tool", "ok"), ("tool", "[interrupted]")]
    assert store.context.messages[-1]["tool_call_id"] == "a"


def test_settling_twice_changes_nothing() -> None:
    store = Store()
    store.append(user("go"))
    store.append(calls("a"))
    store.settle("[interrupted]")
    before = said(store)
    store.settle("[interrupted]")
    assert said(store) == before


def test_a_message_without_an_answer_is_closed() -> None:
    store = Store()
    store.append(user("hello"))
    store.settle("[no answer: network]")
    assert said(store) == [("user", "hello"), ("assistant", "[no answer: network]")]


def test_before_a_request_the_question_is_left_open() -> None:
    store = Store()
    store.append(user("hello"))
    store.settle()
    assert said(store) == [("user", "hello")]


def test_a_result_that_no_call_waits_for_is_dropped() -> None:
    store = Store()
    for message in (user("go"), calls("a"), result("a"), result("a"), result("b")):
        store.append(message)
    assert [message["role"] for message in store.context.messages] == ["user", "assistant", "tool"]


@pytest.mark.parametrize("kept", range(8))
def test_a_conversation_that_breaks_off_anywhere_is_made_whole(kept: int) -> None:
    whole = [user("1"), calls("a", "b"), result("a"), result("b"), calls("c"), result("c"), user("2"), calls("d")]
    store = Store(Context(messages=whole[: kept + 1]))
    store.settle("[interrupted]")
    store.append(user("next"))
    assert_matched(store.context.messages)
    roles = [message["role"] for message in store.context.messages]
    assert ("user", "user") not in itertools.pairwise(roles)


def assert_matched(messages: list[dict[str, Any]]) -> None:
    open_ids: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            open_ids.remove(message["tool_call_id"])
        else:
            assert open_ids == []
            open_ids = [call["id"] for call in message.get("tool_calls", ())]
    assert open_ids == []


def test_messages_are_stamped_with_the_time() -> None:
    store = Store()
    store.append(user("hello"))
    assert store.context.messages[0]["at"][10] == "T"


def test_a_fork_shares_cancel_and_publishes_only_notices() -> None:
    events: list[Event] = []
    store = Store(
        state=State("key", "assistant", "m"), run=Run(events.append, lambda ask: Answer("allow"), Store().run.cancel)
    )
    store.append(user("secret"))
    fork = store.fork("Summarise.")
    fork.run.publish(Text("not shown"))
    fork.run.publish(Notice("shown"))
    assert events == [Notice("shown")]
    assert fork.run.ask(Ask("bash", "ls")).decision == "deny"
    assert fork.run.cancel is store.run.cancel
    assert (fork.context.system, fork.context.messages, fork.state.session) == ("Summarise.", [], "key")
    fork.append(user("scratch"))
    assert len(store.context.messages) == 1
