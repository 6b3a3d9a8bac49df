"""Who may approve what an agent wants to do for a client of the gateway."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentkit import tool
from agentkit.events import Ask, Inbound

from .gateway import USER, Client, Program, Terminal
from .loopback import Request, Response, call_stream, text_stream
from .program import WAIT


@tool(asks=True)
def launch(code: str) -> str:
    """Launch it."""
    return f"launched {code}"


def launching(request: Request, index: int) -> Response:
    """A model that wants to launch, and then says what came of it."""
    last = request.json["messages"][-1]
    return (
        text_stream(f"It says: {last['content']}") if last["role"] == "tool" else call_stream(("launch", {"code": "7"}))
    )


@pytest.fixture
def silo(tmp_path: Path) -> Iterator[Program]:
    with Program(tmp_path, launching, tools=[launch]) as program:
        yield program


def test_the_client_of_a_turn_is_asked_and_its_answer_counts(silo: Program) -> None:
    with Client(silo) as client:
        id = client.ask("send", text="go")
        ask = client.said("ask")
        assert (ask["tool"], ask["request"], ask["session"]) == ("launch", id, USER)
        assert "code: 7" in ask["summary"]
        assert client.call("approve", id=ask["id"], decision="allow") == {"accepted": True}
        assert client.answer(id)["result"]["reply"] == "It says: launched 7"
        assert client.events == []
        assert client.error("approve", id=ask["id"], decision="allow")["code"] == -32004


def test_a_refusal_tells_the_model_why(silo: Program) -> None:
    with Client(silo) as client:
        id = client.ask("send", text="go")
        client.call("approve", id=client.said("ask")["id"], decision="deny", reason="not on Sundays")
        assert "not on Sundays" in client.answer(id)["result"]["reply"]


def test_always_holds_for_that_person_and_session_alone(silo: Program) -> None:
    with Client(silo) as client:
        id = client.ask("send", text="go")
        client.call("approve", id=client.said("ask")["id"], decision="always")
        client.answer(id)
        assert client.call("send", text="again")["reply"] == "It says: launched 7"
        id = client.ask("send", text="go", peer_id="another")
        client.call("approve", id=client.said("ask")["id"], decision="deny")
        assert "refused" in client.answer(id)["result"]["reply"]


def test_another_connection_cannot_answer(silo: Program) -> None:
    with Client(silo) as client, Client(silo) as other:
        id = client.ask("send", text="go")
        ask = client.said("ask")
        refused = other.error("approve", id=ask["id"], decision="allow")
        assert refused["code"] == -32001
        waiting = other.ask("send", text="me too")  # the same person, behind it in the same session
        client.call("approve", id=ask["id"], decision="deny")
        assert "refused" in client.answer(id)["result"]["reply"]
        other.call("approve", id=other.said("ask")["id"], decision="allow")
        assert other.answer(waiting)["result"]["reply"] == "It says: launched 7"


@pytest.mark.parametrize("decision", ["yes", "", None, True, "ALLOW"])
def test_a_decision_is_one_of_three_words(silo: Program, decision: Any) -> None:
    with Client(silo) as client:
        id = client.ask("send", text="go")
        ask = client.said("ask")
        assert client.error("approve", id=ask["id"], decision=decision)["code"] == -32602
        client.call("approve", id=ask["id"], decision="deny")
        client.answer(id)


def test_a_connection_that_ends_has_denied_what_it_was_asked(silo: Program) -> None:
    with Client(silo) as client:
        client.ask("send", text="go")
        client.said("ask")
    with Client(silo) as client:
        silo.settled(lambda: client.call("status")["busy"] == 0)
        messages = client.call("sessions.history", session_key=USER)["messages"]
    assert "refused" in messages[-1]["text"] and "gone" in messages[-1]["text"]


def test_a_question_that_comes_after_its_client_has_gone_is_denied(tmp_path: Path) -> None:
    held = threading.Event()

    def late(request: Request, index: int) -> Response:
        if request.json["messages"][-1]["role"] == "tool":
            return launching(request, index)
        return call_stream(("launch", {"code": "7"}), before_headers=held)

    with Program(tmp_path, late, tools=[launch]) as program:
        with Client(program) as client:
            client.ask("send", text="go")
            program.model.wait_for_requests(1)
        program.settled(lambda: program.gateway.clients == 0)
        held.set()
        with Client(program) as client:
            program.settled(lambda: client.call("status")["busy"] == 0)
            assert "gone" in client.call("sessions.history", session_key=USER)["messages"][-1]["text"]


def test_a_client_that_comes_back_with_the_same_key_is_asked_in_place_of_the_one_before(tmp_path: Path) -> None:
    held = threading.Event()

    def late(request: Request, index: int) -> Response:
        if request.json["messages"][-1]["role"] == "tool":
            return launching(request, index)
        return call_stream(("launch", {"code": "7"}), before_headers=held)

    with Program(tmp_path, late, tools=[launch]) as program:
        with Client(program) as client:
            client.ask("send", text="go", idempotency_key="k")
            program.model.wait_for_requests(1)
        program.settled(lambda: program.gateway.clients == 0)
        with Client(program) as client:
            id = client.ask("send", text="go", idempotency_key="k")
            client.call("status")
            held.set()
            client.call("approve", id=client.said("ask")["id"], decision="allow")
            assert client.answer(id)["result"]["reply"] == "It says: launched 7"


def test_what_somebody_always_allows_in_the_terminal_is_not_allowed_to_programs(tmp_path: Path) -> None:
    terminal = Terminal()
    with Program(tmp_path, launching, tools=[launch], channels=[terminal]) as program:
        terminal.dispatch(Inbound("go", "cli", "cli-user"))
        assert terminal.ended.wait(WAIT)
        with Client(program) as client:
            # In the same session, and in the same name. The terminal sees the question, but cannot answer it.
            id = client.ask("send", text="go", channel="cli", peer_id="cli-user")
            ask = client.said("ask")
            assert ask["session"] == "agent:assistant:direct:cli-user"
            assert any(isinstance(each, Ask) and each.id == ask["id"] for each in terminal.seen)
            client.call("approve", id=ask["id"], decision="deny")
            assert "refused" in client.answer(id)["result"]["reply"]


def test_clients_hear_nothing_of_turns_that_are_not_theirs(tmp_path: Path) -> None:
    terminal = Terminal()
    with Program(tmp_path, launching, tools=[launch], channels=[terminal]) as program, Client(program) as client:
        terminal.dispatch(Inbound("go", "cli", "cli-user"))
        assert terminal.ended.wait(WAIT)
        client.call("status")
        assert client.events == []


def test_an_interrupted_turn_waits_for_no_approval(silo: Program) -> None:
    with Client(silo) as client:
        id = client.ask("send", text="go")
        ask = client.said("ask")
        assert client.call("interrupt", session_key=USER) == {"interrupted": True}
        assert client.answer(id)["error"]["data"]["category"] == "interrupted"
        assert client.error("approve", id=ask["id"], decision="allow")["code"] == -32004
