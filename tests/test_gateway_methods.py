"""What programs set up and look at through the gateway: bindings, agents, sessions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentkit.envelope import Letter, NobodyThere

from .gateway import TOKEN, USER, Client, Gate, Program, echo
from .loopback import call_stream, text_stream


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    with Program(tmp_path, echo) as program:
        yield program


def test_bindings_are_made_listed_and_removed_in_the_file(program: Program) -> None:
    with Client(program) as client:
        made = client.call("bindings.set", agent_id="assistant", match_key="peer_id", match_value="7", priority=3)
        expected = {"agent_id": "assistant", "tier": 1, "match_key": "peer_id", "match_value": "7", "priority": 3}
        assert made == expected == client.call("bindings.set", **made)
        assert client.call("bindings.list") == [made]
        assert json.loads((program.workspace / "routes.json").read_text()) == [made]
        assert client.call("bindings.remove", match_key="peer_id", match_value="7") == {"removed": 1}
        assert client.call("bindings.remove", match_key="peer_id", match_value="7") == {"removed": 0}
        assert client.call("bindings.set", agent_id="assistant", match_key="default")["match_value"] == "*"
        assert client.call("bindings.remove", match_key="default") == {"removed": 1}
        assert client.call("bindings.list") == []


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"agent_id": "nobody", "match_key": "channel", "match_value": "x"}, -32004),
        ({"agent_id": "assistant", "match_key": "colour", "match_value": "x"}, -32602),
        ({"agent_id": "assistant", "match_key": "channel"}, -32602),
        ({"agent_id": "assistant", "match_key": "channel", "match_value": ""}, -32602),
        ({"agent_id": "assistant", "match_key": "channel", "match_value": "x", "tier": 1}, -32602),
        ({"agent_id": "assistant", "match_key": "channel", "match_value": "x", "priority": 10**18}, -32602),
        ({"agent_id": "assistant", "match_key": "channel", "match_value": "x", "priority": 1.5}, -32602),
    ],
)
def test_what_is_no_binding_changes_nothing(program: Program, params: dict[str, Any], code: int) -> None:
    with Client(program) as client:
        assert client.error("bindings.set", **params)["code"] == code
        assert client.error("bindings.remove", match_key="colour", match_value="x")["code"] == -32602
        assert client.error("bindings.remove", match_key="channel")["code"] == -32602
    assert not (program.workspace / "routes.json").exists()


def test_a_broken_file_of_bindings_is_told_and_stays(program: Program) -> None:
    path = program.workspace / "routes.json"
    path.write_text("[{")
    with Client(program) as client:
        error = client.error("bindings.set", agent_id="assistant", match_key="channel", match_value="x")
        assert error["code"] == -32603 and "line 1" in error["data"]["problem"]
    assert path.read_text() == "[{"


def test_an_agent_that_is_registered_answers_until_the_program_ends(program: Program) -> None:
    with Client(program) as client:
        made = client.call("agents.register", id="Café Bot", prompt="You are a café.", name="The: café", tools=[])
        assert (made["id"], made["name"], made["tools"]) == ("cafe-bot", "The: café", [])
        assert [each["id"] for each in client.call("agents.list")] == ["assistant", "cafe-bot"]
        assert client.call("send", text="hi", agent_id="cafe-bot")["session_key"].startswith("agent:cafe-bot:")
        assert (
            "You are a café." in program.model.requests[-1].said[0] and "tools" not in program.model.requests[-1].json
        )
        assert client.error("agents.register", id="cafe-bot", prompt="x", persist=True)["code"] == -32005
    assert not (program.workspace / ".agents" / "cafe-bot").exists()


def test_an_agent_that_is_persisted_has_a_folder_like_any_other(program: Program) -> None:
    prompt = "---\nYou are ops.\n---\n"
    with Client(program) as client:
        made = client.call("agents.register", id="ops", prompt=prompt, model="m2", persist=True, denied_tools=["bash"])
        assert client.call("agents.list")[1] == made
        client.call("send", text="hi", agent_id="ops")
        for persist in (True, False):
            assert client.error("agents.register", id="OPS", prompt="x", persist=persist)["code"] == -32005
    file = program.workspace / ".agents" / "ops" / "AGENT.md"
    assert prompt.strip() in file.read_text() and prompt.strip() in program.model.requests[-1].said[0]
    assert program.model.requests[-1].json["model"] == "m2"
    assert sorted(each.name for each in program.workspace.iterdir() if each.name.endswith(".tmp")) == []


@pytest.mark.parametrize(
    "make", [lambda path: path.mkdir(), lambda path: path.touch(), lambda path: path.symlink_to("x")]
)
def test_nothing_is_ever_overwritten_by_an_agent(program: Program, make: Callable[[Path], None]) -> None:
    path = program.workspace / ".agents" / "ops"
    make(path)
    before = path.lstat()
    with Client(program) as client:
        assert client.error("agents.register", id="ops", prompt="x", persist=True)["code"] == -32005
    assert path.lstat() == before


@pytest.mark.parametrize(
    "params",
    [
        {"id": "../..", "prompt": "x"},
        {"id": "", "prompt": "x"},
        {"id": "a", "prompt": " "},
        {"id": "a", "prompt": "\ud800"},
        {"id": "a", "prompt": "x", "name": "\ud800"},
        {"id": "a", "prompt": "x", "dm_scope": "all"},
        {"id": "a", "prompt": "x", "tools": "bash"},
    ],
)
def test_what_is_no_agent_is_refused(program: Program, params: dict[str, Any]) -> None:
    with Client(program) as client:
        for persist in (True, False):
            assert client.error("agents.register", **params, persist=persist)["code"] == -32602
        assert len(client.call("agents.list")) == 1
    assert [each.name for each in (program.workspace / ".agents").iterdir()] == ["assistant"]


def test_sessions_are_listed_with_what_they_hold(program: Program) -> None:
    peers = ("ann", "Bea: 50% Zoë", "x" * 250)
    with Client(program) as client:
        keys = [client.call("send", text="hi", peer_id=peer)["session_key"] for peer in peers]
        client.call("send", text="more", peer_id="ann")
        listed = client.call("sessions.list")
        assert [each["messages"] for each in listed] == [4, 2, 2]
        assert [each["session_key"] for each in listed if "shortened" not in each] == [keys[0], keys[1]]
        assert {each["agent_id"] for each in listed} == {"assistant"}
        assert all(each["conversation"] and "T" in each["last_used"] for each in listed)
        (long,) = [each for each in listed if "shortened" in each]
        for key in (long["session_key"], keys[2]):
            assert len(client.call("sessions.history", session_key=key)["messages"]) == 2
        assert len(client.call("sessions.list", limit=1)) == 1
        for limit in (0, -1, 1001, 10**30):
            assert client.error("sessions.list", limit=limit)["code"] == -32602


def test_history_is_what_people_and_the_agent_have_said(tmp_path: Path) -> None:
    answers = [call_stream(("glob", {"pattern": "*.none"}), text="Let me look."), text_stream("Nothing.")]
    with Program(tmp_path, answers) as program, Client(program) as client:
        client.call("send", text="look")
        history = client.call("sessions.history", session_key=USER)
        assert [(each["role"], each["text"]) for each in history["messages"]] == [
            ("user", "look"),
            ("assistant", "Let me look."),
            ("assistant", "Nothing."),
        ]
        assert history["messages"][-1]["model"] == "m" and history["earlier"] == 0
        assert client.call("sessions.history", session_key=USER, limit=1)["earlier"] == 2
        assert history["conversation"] == client.call("sessions.list")[0]["conversation"]


def test_history_is_never_more_than_a_client_takes(program: Program) -> None:
    with Client(program) as client:
        for _ in range(3):
            client.call("send", text="\U0001f600" * 80_000)
        history = client.call("sessions.history", session_key=USER)
        assert 0 < len(history["messages"]) < 6 and history["earlier"] == 6 - len(history["messages"])
        assert "characters more" in history["messages"][-1]["text"]


def test_a_client_that_comes_back_finds_the_answer(tmp_path: Path) -> None:
    gate = Gate()
    with Program(tmp_path, gate) as program:
        with Client(program) as client:
            client.ask("send", text="hello")
            program.model.wait_for_requests(1)
        gate.open()
        with Client(program) as client:
            program.settled(lambda: client.call("status")["busy"] == 0)
            texts = [each["text"] for each in client.call("sessions.history", session_key=USER)["messages"]]
    assert texts == ["hello", "You said: hello"]


def test_status_tells_how_things_stand_and_no_secret(program: Program) -> None:
    with Client(program) as client:
        status = client.call("status")
        assert (
            status["model"] == "m"
            and status["clients"] == 1
            and status["agents"] == ["assistant"]
            and "websocket" in status["channels"]
        )
        described = client.call("rpc.discover")
    names = [each["name"] for each in described["methods"]]
    assert {"auth", "send", "approve", "sessions.history", "agents.register", "rpc.discover"} <= set(names)
    (send,) = [each for each in described["methods"] if each["name"] == "send"]
    assert [each["name"] for each in send["params"]][:2] == ["text", "channel"]
    assert TOKEN not in json.dumps([status, described]) and "sk-canary" not in json.dumps([status, described])


def letter(text: str, to: str = "websocket-user") -> Letter:
    return Letter("00000000000000-0000.1", "websocket", to, text, 1, 1, 0.0, 0, 0.0, "")


def test_a_letter_goes_to_the_clients_of_whom_it_is_for(program: Program) -> None:
    with Client(program) as client, Client(program) as other:
        with pytest.raises(NobodyThere):
            program.gateway.send(letter("hello"))
        client.call("send", text="hi")
        other.call("send", text="hi", peer_id="other")
        program.gateway.send(letter("The kettle is on."))
        assert client.said("letter")["text"] == "The kettle is on."
        with pytest.raises(NobodyThere):
            program.gateway.send(letter("hello", to="nobody"))
        other.call("status")
        assert other.events == []
    program.settled(lambda: program.gateway.clients == 0)
    with pytest.raises(NobodyThere):
        program.gateway.send(letter("too late"))
