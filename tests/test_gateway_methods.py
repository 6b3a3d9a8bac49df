"""What programs set up and look at through the gateway: bindings, agents, sessions."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agentkit.channels.outlet import MOST_PEERS
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


def test_many_bindings_are_told_in_parts(program: Program) -> None:
    rows = [{"agent_id": "assistant", "tier": 1, "match_key": "peer_id", "match_value": f"discord:{10**17 + number}"}
            for number in range(10_000)]  # fmt: skip
    (program.workspace / "routes.json").write_text(json.dumps([{**each, "priority": 0} for each in rows]))
    with Client(program) as client:
        for params in ({}, {"limit": 10_000}):
            error = client.error("bindings.list", **params)
            assert error["code"] == -32602 and "limit" in error["data"]["problem"] and "10,000" in str(error)
        found: list[Any] = []
        while part := client.call("bindings.list", limit=3000, offset=len(found)):
            found += part
        assert [each["match_value"] for each in found] == [each["match_value"] for each in rows]
        assert client.call("bindings.list", offset=9_999) == found[-1:]
        assert client.call("bindings.list", limit=0) == client.call("bindings.list", limit=1, offset=10**9) == []
        for wrong in ({"limit": -1}, {"offset": -1}, {"limit": "1"}):
            assert client.error("bindings.list", **wrong)["code"] == -32602


def test_agents_are_told_in_parts_too(program: Program) -> None:
    with Client(program) as client:
        for number in range(3):
            client.call("agents.register", id=f"a{number}", prompt="x", name="n" * 400_000)
        assert "limit" in client.error("agents.list")["data"]["problem"]
        parts = [client.call("agents.list", limit=2, offset=offset) for offset in (0, 2)]
        assert [each["id"] for part in parts for each in part] == ["assistant", "a0", "a1", "a2"]


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Another process that changes routes.json: it has the lock of its folder."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def test_requests_do_not_wait_for_a_change_that_another_process_holds_up(program: Program) -> None:
    with Client(program) as client, Client(program) as other:
        other.call("send", text="hi")
        with held(program.workspace):
            ids = [
                client.ask("bindings.set", agent_id="assistant", match_key="peer_id", match_value=f"{number}")
                for number in range(5)
            ]
            at_once = client.ask("interrupt", session_key=USER)
            assert client.answer(at_once)["result"] == {"interrupted": False}
            assert other.call("send", text="again")["reply"] == "You said: again"
        assert client.answer(ids[-1])["result"]["match_value"] == "4"
        assert list(client.answers) == [at_once, *ids]


def test_messages_behind_a_change_are_begun_after_it_and_in_order(tmp_path: Path) -> None:
    gate = Gate()
    with Program(tmp_path, gate) as program, Client(program) as client:
        client.call("agents.register", id="ops", prompt="x")
        with held(program.workspace):
            client.ask("bindings.set", agent_id="ops", match_key="peer_id", match_value="7")
            listed = client.ask("bindings.list")
            ids = [client.ask("send", text=f"{number}", peer_id="7") for number in range(5)]
            assert client.call("status")["busy"] == 0
            stopped = client.ask("interrupt", session_key="agent:ops:direct:7")
            assert client.call("status") and stopped not in client.answers
        assert client.answer(stopped)["result"] == {"interrupted": True}
        gate.open()
        answers = [client.answer(id) for id in ids]
        assert answers[0]["error"]["data"]["category"] == "interrupted"
        assert [each["result"]["reply"] for each in answers[1:]] == [f"You said: {number}" for number in range(1, 5)]
        assert {each["result"]["agent_id"] for each in answers[1:]} == {"ops"}
        assert len(client.answers[listed]["result"]) == 1


def test_an_agent_and_its_binding_and_its_first_message_may_be_sent_at_once(program: Program) -> None:
    with Client(program) as client:
        client.ask("agents.register", id="new", prompt="x", persist=True)
        client.ask("bindings.set", agent_id="new", match_key="peer_id", match_value="7")
        assert client.call("send", text="hi", peer_id="7")["agent_id"] == "new"
        assert client.call("send", text="hi", agent_id="new")["agent_id"] == "new"


def test_a_gateway_that_stops_while_a_change_is_held_up_says_so(program: Program) -> None:
    with Client(program) as client, held(program.workspace):
        client.ask("bindings.set", agent_id="assistant", match_key="peer_id", match_value="7")
        client.ask("send", text="hi")
        assert client.call("status")
        program.app.remove("websocket")
        assert client.closed()[0] == 1001
    assert program.model.requests == []


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


def test_an_agent_is_made_where_the_folder_of_agents_leads(program: Program) -> None:
    agents = program.workspace / ".agents"
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as other:
        away = Path(other) / "agents"
        away.mkdir()
        (away / "assistant").mkdir()
        (away / "assistant" / "AGENT.md").write_text("You are terse.")
        agents.rename(program.workspace / "old")
        agents.symlink_to(away)
        with Client(program) as client:
            assert client.call("agents.register", id="ops", prompt="x", persist=True)["id"] == "ops"
        assert sorted(each.name for each in away.iterdir()) == ["assistant", "ops"]


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


def test_a_session_can_be_interrupted_by_the_name_in_the_list(tmp_path: Path) -> None:
    gate = Gate()
    with Program(tmp_path, gate) as program, Client(program) as client:
        id = client.ask("send", text="hi", peer_id="p" * 250)
        program.model.wait_for_requests(1)
        (listed,) = client.call("sessions.list")
        assert listed["shortened"]
        assert client.call("interrupt", session_key=listed["session_key"]) == {"interrupted": True}
        assert client.answer(id)["error"]["data"]["category"] == "interrupted"
        program.settled(lambda: client.call("status")["busy"] == 0)
        assert client.call("interrupt", session_key=listed["session_key"]) == {"interrupted": False}
        gate.open()


def test_what_is_no_session_among_their_folders_is_left_out(program: Program) -> None:
    sessions = os.fsencode(program.workspace / "sessions")
    for name in (b"agent:\xff", b"agent:%FF", b"Old copy", b"agent:a:main"):
        os.makedirs(os.path.join(sessions, name))
        path = os.path.join(sessions, name, b"main.jsonl")
        with open(path, "w") as file:
            file.write('{"role":"user","content":"x"}\n')
        os.utime(path, ns=(0, 2**62 * 3 // 2))
    with Client(program) as client:
        (listed,) = client.call("sessions.list")
        assert listed["session_key"] == "agent:a:main" and listed["messages"] == 1


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


def test_of_very_many_people_the_ones_who_spoke_last_get_their_letters(program: Program) -> None:
    with Client(program) as client:
        for number in range(MOST_PEERS):
            client.ask("send", text="/usage", peer_id=f"q{number}")
        client.call("send", text="/usage", peer_id="q0")
        client.call("send", text="/usage", peer_id="one more")
        for peer in ("one more", "q0", f"q{MOST_PEERS - 1}"):
            program.gateway.send(letter("hello", to=peer))
            assert client.said("letter")["to"] == peer
        with pytest.raises(NobodyThere):
            program.gateway.send(letter("hello", to="q1"))
