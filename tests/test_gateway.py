"""What programs say through the gateway, and what they are answered: real clients, a real App, a model on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentkit.awaited import Awaited, Hearer
from agentkit.events import Done, Inbound
from agentkit.repeats import KEPT, MOST_KEPT, MOST_TEXT, Key, Repeats

from .gateway import USER, Client, Gate, Program, Terminal, echo
from .loopback import Request, Response, call_stream, json_error, text_stream
from .program import WAIT
from .test_rpc import request


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    with Program(tmp_path, echo) as program:
        yield program


# -- sending


def test_a_message_is_answered_with_who_answers_where_and_for_how_much(program: Program) -> None:
    with Client(program) as client:
        result = client.call("send", text="hello")
    assert result == {
        "agent_id": "assistant",
        "session_key": USER,
        "reply": "You said: hello",
        "usage": {"prompt_tokens": 5, "completion_tokens": 0, "total_tokens": 7},
    }
    assert client.events == []


def test_a_stream_tells_all_that_happens_before_the_result(program: Program) -> None:
    with Client(program) as client:
        id = client.ask("send", text="hello", stream=True, peer_id="ann")
        client.answer(id)
    assert [each["type"] for each in client.events] == ["turn_started", "text", "text", "done"]
    assert {each["session"] for each in client.events} == {"agent:assistant:direct:ann"}
    assert {each["request"] for each in client.events} == {id} and len({each["turn"] for each in client.events}) == 1
    assert "".join(each["text"] for each in client.events if each["type"] == "text") == "You said: hello"


@pytest.mark.parametrize(
    ("id", "written"),
    [('"a\\u00e9"', '"aé"'), *((id, id) for id in ("0", "-7", "1.0", "null", "123456789012345678901234567890"))],
)
def test_events_carry_the_id_of_the_request_as_it_was_written(program: Program, id: str, written: str) -> None:
    with Client(program) as client:
        client.socket.send(request(method='"send"', params='{"text":"x","stream":true}', id=id))
        message = client.socket.recv(WAIT)
        assert isinstance(message, str) and message.endswith(f'"request":{written}}}}}')
        while "result" not in client.read():
            pass


def test_a_notification_has_its_turn_too_and_nobody_is_answered(program: Program) -> None:
    with Client(program) as client:
        client.socket.send('{"jsonrpc":"2.0","method":"send","params":{"text":"first"}}')
        assert client.call("send", text="second")["reply"] == "You said: second"
        texts = [each["text"] for each in client.call("sessions.history", session_key=USER)["messages"]]
    assert texts == ["first", "You said: first", "second", "You said: second"]


def test_messages_of_one_connection_are_answered_in_the_order_they_came(program: Program) -> None:
    with Client(program) as client:
        ids = [client.ask("send", text=f"message {number}") for number in range(15)]
        replies = [client.answer(id)["result"]["reply"] for id in ids]
    assert replies == [f"You said: message {number}" for number in range(15)]
    assert list(client.answers) == ids
    said = [request.said[-1] for request in program.model.requests]
    assert said == [f"message {number}" for number in range(15)]


def test_many_clients_are_answered_each_in_order(program: Program) -> None:
    def talk(number: int) -> None:
        with Client(program) as client:
            ids = [client.ask("send", text=f"{number}-{turn}", peer_id=f"p{number}") for turn in range(5)]
            replies[number] = [client.answer(id)["result"]["reply"] for id in ids]

    replies: dict[int, list[str]] = {}
    threads = [threading.Thread(target=talk, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert replies == {number: [f"You said: {number}-{turn}" for turn in range(5)] for number in range(20)}
    for number in range(20):
        lengths = [len(each.said) for each in program.model.requests if each.said[-1].startswith(f"{number}-")]
        assert lengths == [2, 4, 6, 8, 10]


def test_requests_do_not_wait_for_each_other(tmp_path: Path) -> None:
    gate = Gate()
    with Program(tmp_path, gate) as program, Client(program) as client:
        first = client.ask("send", text="slow")
        program.model.wait_for_requests(1)
        other = client.ask("send", text="aside", peer_id="other")
        assert client.call("status")["busy"] == 2
        assert client.call("sessions.history", session_key=USER)["messages"][0]["text"] == "slow"
        assert client.answers.keys().isdisjoint({first, other})
        gate.open()
        assert client.answer(first)["result"]["reply"] == "You said: slow"
        assert client.answer(other)["result"]["reply"] == "You said: aside"


def test_commands_work_in_the_gateway_too(program: Program) -> None:
    with Client(program) as client:
        listed = client.call("send", text="/agents")
        assert "assistant" in listed["reply"] and listed["usage"]["total_tokens"] == 0
        error = client.error("send", text="/nonsense")
        assert (error["code"], error["data"]["category"]) == (-32000, "bad_request")


def test_who_speaks_decides_who_answers_and_in_which_session(program: Program) -> None:
    with Client(program) as client:
        client.call("agents.register", id="ops", prompt="You are ops.", dm_scope="per-channel-peer", persist=True)
        client.call("bindings.set", agent_id="ops", match_key="guild_id", match_value="g1")
        sent = client.call("send", text="hi", channel="discord", peer_id="7", guild_id="g1")
        assert (sent["agent_id"], sent["session_key"]) == ("ops", "agent:ops:discord:direct:7")
        asked = client.call("send", text="hi", agent_id="Ops", peer_id="7")
        assert (asked["agent_id"], asked["session_key"]) == ("ops", "agent:ops:websocket:direct:7")
    assert ["You are ops." in each.said[0] for each in program.model.requests] == [True, True]


@pytest.mark.parametrize(
    ("params", "parameter"),
    [
        ({}, "text"),
        ({"text": 1}, "text"),
        ({"text": " \n"}, "text"),
        ({"text": "x", "peer_id": 7}, "peer_id"),
        ({"text": "x", "peer_id": "p" * 257}, "peer_id"),
        ({"text": "x", "idempotency_key": "k" * 257}, "idempotency_key"),
        ({"text": "x", "stream": "yes"}, "stream"),
        ({"text": "x", "via": "cli"}, "via"),
        ({"text": "x", "client": None}, "client"),
    ],
)
def test_what_a_send_may_not_say_is_named(program: Program, params: dict[str, Any], parameter: str) -> None:
    with Client(program) as client:
        error = client.error("send", **params)
    assert (error["code"], error["data"]["parameter"]) == (-32602, parameter)
    assert program.model.requests == []


def test_what_is_left_out_may_be_null(program: Program) -> None:
    names = ("channel", "peer_id", "account_id", "guild_id", "agent_id", "idempotency_key", "stream")
    with Client(program) as client:
        assert client.call("send", text="x", **dict.fromkeys(names))["session_key"] == USER


def test_half_a_character_harms_nobody(program: Program) -> None:
    with Client(program) as client:
        client.socket.send(request(method='"send"', params='{"text":"a\\ud800","peer_id":"\\ud800","stream":true}'))
        assert client.answer(7)["result"]["reply"].startswith("You said: a")
        key = client.answers[7]["result"]["session_key"]
        assert client.call("sessions.history", session_key=key)["messages"][0]["role"] == "user"


# -- what goes wrong


def test_a_failed_turn_says_why_and_when_to_try_again(tmp_path: Path) -> None:
    answers = [json_error(401, "bad key"), json_error(429, "slow down", headers={"retry-after": "600"})]
    with Program(tmp_path, answers) as program, Client(program) as client:
        refused = client.error("send", text="one")
        assert (refused["code"], refused["data"]["category"]) == (-32000, "auth")
        client.call("send", text="/profiles reset")
        limited = client.error("send", text="two", stream=True)
        assert (limited["code"], limited["data"]["category"]) == (-32000, "rate_limit")
        assert 0 < limited["data"]["retry_after"] <= 600
        assert client.events[-1]["type"] == "error" and "sk-canary" not in json.dumps([refused, limited, client.events])


def test_a_full_lane_refuses_what_is_too_much_and_takes_it_later(tmp_path: Path) -> None:
    gate = Gate()
    with Program(tmp_path, gate) as program, Client(program) as client:
        ids = [client.ask("send", text="0")]
        program.model.wait_for_requests(1)
        ids += [client.ask("send", text=f"{number}") for number in range(1, 21)]
        full = client.error("send", text="one too many", idempotency_key="k")
        assert full["code"] == -32002
        gate.open()
        assert [client.answer(id)["result"]["reply"] for id in ids] == [f"You said: {each}" for each in range(21)]
        again = client.call("send", text="one too many", idempotency_key="k")
        assert again["reply"] == "You said: one too many"


def test_an_interrupted_turn_gives_what_was_said_so_far(tmp_path: Path) -> None:
    hanging = [text_stream("so far", end="hang")]
    with Program(tmp_path, hanging) as program, Client(program) as client, Client(program) as other:
        id = client.ask("send", text="go", stream=True)
        client.said("text")
        assert other.call("interrupt", session_key=USER) == {"interrupted": True}
        error = client.answer(id)["error"]
        assert error["code"] == -32000
        assert (error["data"]["category"], error["data"]["text"]) == ("interrupted", "so far")
        program.settled(lambda: other.call("status")["busy"] == 0)
        assert other.call("interrupt", session_key=USER) == {"interrupted": False}


def test_what_does_not_exist_is_told(program: Program) -> None:
    with Client(program) as client:
        assert client.error("send", text="x", agent_id="nobody")["code"] == -32004
        assert client.error("send", text="x", agent_id="!?")["code"] == -32004
        assert client.error("interrupt", session_key="agent:x")["code"] == -32004
        assert client.error("sessions.history", session_key="../../etc")["code"] == -32004
        assert client.error("approve", id="none", decision="allow")["code"] == -32004
        assert client.error("cron.lists")["code"] == -32601


# -- idempotency


def test_a_turn_that_goes_in_circles_has_failed(tmp_path: Path) -> None:
    def circles(request: Request, index: int) -> Response:
        return call_stream(("list_dir", {"path": "."}), text="Looking.")

    with Program(tmp_path, circles) as program, Client(program) as client:
        error = client.error("send", text="what is there?", stream=True)
        assert (error["code"], error["data"]["category"]) == (-32000, "unknown")
        assert "list_dir was called 5 times" in error["message"]
        notice, ending = client.events[-2:]
        assert (notice["type"], notice["level"]) == ("notice", "error")
        assert (ending["type"], ending["text"]) == ("done", error["message"])


def test_a_repeated_send_gets_the_first_result(program: Program) -> None:
    with Client(program) as client:
        first = client.call("send", text="once", idempotency_key="k")
    with Client(program) as client:
        assert client.call("send", text="once", idempotency_key="k", stream=True) == first
        assert client.call("send", text="once", idempotency_key="other") == first
    assert len(program.model.requests) == 2


def test_a_repeat_joins_the_turn_that_runs(tmp_path: Path) -> None:
    gate = Gate()
    with Program(tmp_path, gate) as program, Client(program) as one, Client(program) as two:
        ids = [one.ask("send", text="once", idempotency_key="k") for _ in range(5)]
        program.model.wait_for_requests(1)
        joined = [two.ask("send", text="once", idempotency_key="k", stream=True) for _ in range(5)]
        assert two.call("status")["busy"] == 1
        gate.open()
        results = [one.answer(id)["result"] for id in ids] + [two.answer(id)["result"] for id in joined]
        assert results == [results[0]] * 10 and results[0]["reply"] == "You said: once"
        assert {each["request"] for each in two.events if each["type"] == "done"} == set(joined)
        assert len(program.model.requests) == 1


def test_a_key_belongs_to_the_session_of_its_message(program: Program) -> None:
    with Client(program) as client:
        for peer in ("alice", "bob"):
            sent = client.call("send", text=f"I am {peer}", peer_id=peer, idempotency_key="1")
            assert (sent["session_key"], sent["reply"]) == (f"agent:assistant:direct:{peer}", f"You said: I am {peer}")
        assert client.call("send", text="I am alice", peer_id="alice", idempotency_key="1")["reply"].endswith("alice")
    assert len(program.model.requests) == 2


@pytest.mark.parametrize("other", [{"text": "y"}, {"peer_id": "bob"}, {"channel": "z"}, {"guild_id": "g"}])
def test_a_key_that_another_message_of_the_session_has_is_refused(tmp_path: Path, other: dict[str, str]) -> None:
    gate = Gate()
    with Program(tmp_path, gate) as program, Client(program) as client:
        client.call("agents.register", id="all", prompt="x", dm_scope="main")
        first = {"text": "x", "peer_id": "alice", "agent_id": "all", "idempotency_key": "k"}
        id = client.ask("send", **first)
        program.model.wait_for_requests(1)
        refused = [client.error("send", **{**first, **other})]
        gate.open()
        reply = client.answer(id)["result"]
        refused.append(client.error("send", **{**first, **other}))
        for each in refused:
            assert (each["code"], each["data"]["parameter"]) == (-32602, "idempotency_key")
            assert "another message" in each["data"]["problem"]
        assert client.call("send", **first, stream=True) == reply
    assert len(program.model.requests) == 1


def test_a_gateway_that_was_closed_still_knows_what_it_has_answered(program: Program) -> None:
    with Client(program) as client:
        first = client.call("send", text="pay", idempotency_key="k")
    program.reopen()
    with Client(program) as client:
        assert client.call("send", text="pay", idempotency_key="k") == first
    assert len(program.model.requests) == 1


def test_a_turn_that_ends_while_the_gateway_is_closed_is_not_run_again(tmp_path: Path) -> None:
    gate, terminal = Gate(), Terminal()
    with Program(tmp_path, gate, channels=[terminal]) as program:
        with Client(program) as client:
            id = client.ask("send", text="pay", idempotency_key="k")
            program.model.wait_for_requests(1)
            program.app.remove("websocket")
            assert client.answer(id)["error"]["code"] == -32003
        gate.open()
        assert terminal.ended.wait(WAIT)
        program.settled(lambda: list(program.app.channels) == ["cli"])
        program.open()
        with Client(program) as client:
            assert client.call("send", text="pay", idempotency_key="k")["reply"] == "You said: pay"
    assert len(program.model.requests) == 1


def test_a_repeat_after_the_gateway_was_closed_joins_the_turn_that_still_runs(tmp_path: Path) -> None:
    gate = Gate()
    with Program(tmp_path, gate) as program:
        with Client(program) as client:
            client.ask("send", text="pay", idempotency_key="k")
            program.model.wait_for_requests(1)
            program.reopen()
        with Client(program) as client:
            id = client.ask("send", text="pay", idempotency_key="k", stream=True)
            assert client.call("status")["channels"] == ["websocket"]
            gate.open()
            assert client.answer(id)["result"]["reply"] == "You said: pay"
            assert client.events[-1]["type"] == "done"
    assert len(program.model.requests) == 1


def test_duplicates_from_many_threads_at_once_make_one_turn(program: Program) -> None:
    def send() -> None:
        with Client(program) as client:
            together.wait(WAIT)
            replies.append(client.call("send", text="once", idempotency_key="k")["reply"])

    replies: list[str] = []
    together = threading.Barrier(8)
    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert replies == ["You said: once"] * 8 and len(program.model.requests) == 1


def test_a_turn_that_has_failed_is_not_run_again_for_a_repeat(tmp_path: Path) -> None:
    with Program(tmp_path, [json_error(401, "bad key")]) as program, Client(program) as client:
        errors = [client.error("send", text="x", idempotency_key="k") for _ in range(2)]
        assert errors[0] == errors[1] and len(program.model.requests) == 1


class Answering:
    """Turns of which each is over as soon as it is begun; `now` is the time."""

    def __init__(self) -> None:
        self.now, self.turns = 0.0, 0
        self.awaited = Awaited(lambda: False, lambda: self.now)
        self.awaited.start(self._dispatch, lambda peer, id, answer: False)

    def _dispatch(self, inbound: Inbound) -> None:
        self.turns += 1
        self.awaited.show(Done(f"{self.turns}", "m", {}, 0.0).stamped("s", inbound.turn))

    def ask(self, key: str) -> str:
        hearer = Hearer(Deaf(), "1", False)
        reply: str = self.awaited.begin(Inbound("x", "websocket", "p"), "a", Key("s", key), hearer).result(0)["reply"]
        return reply


class Deaf:
    """A client that hears nothing."""

    request = "1"

    def send(self, text: str) -> None:
        pass

    def speaks_for(self, peer: str) -> bool:
        return False

    def reserve(self, size: int) -> None:
        pass


def test_a_result_is_kept_for_an_hour() -> None:
    answering = Answering()
    assert answering.ask("k") == "1"
    answering.now = KEPT - 1
    assert answering.ask("k") == "1" and answering.ask("other") == "2"
    answering.now = KEPT
    assert answering.ask("k") == "3" and answering.ask("other") == "2"


def test_no_more_results_are_kept_than_there_is_room_for() -> None:
    answering = Answering()
    for number in range(MOST_KEPT + 2):
        answering.ask(f"{number}")
    assert answering.ask("2") == "3"
    assert answering.ask("0") == f"{MOST_KEPT + 3}"


def test_long_results_are_kept_as_far_as_there_is_room() -> None:
    repeats = Repeats(lambda: 0.0)
    for number in range(5):
        repeats.keep(Key("s", f"{number}"), b"", {"reply": "x" * (MOST_TEXT // 2)})
    assert [number for number in range(5) if repeats.find(Key("s", f"{number}"), b"")] == [3, 4]
