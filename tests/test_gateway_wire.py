"""What may come over the wire of the gateway, and how it ends."""

from __future__ import annotations

import gc
import json
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from agentkit import tool
from agentkit.command import Command, Order

from .gateway import Client, Gate, Program, Terminal, echo, frame, raw, rest
from .loopback import Request, Response, call_stream, text_stream
from .program import WAIT
from .test_rpc import NO_JSON, NO_OBJECTS, request


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    with Program(tmp_path, echo) as program:
        yield program


# -- the wire

EXAMPLES = [
    ('{"jsonrpc": "2.0", "method": "foobar", "id": "1"}', {"code": -32601, "id": "1"}),
    ('{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]', {"code": -32700, "id": None}),
    ('{"jsonrpc": "2.0", "method": 1, "params": "bar"}', {"code": -32600, "id": None}),
    ('[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"}, {"jsonrpc": "2.0", "method"\n]',
     {"code": -32700, "id": None}),
    ("[]", {"code": -32600, "id": None}),
]  # fmt: skip


def test_malformed_requests_are_answered_and_the_connection_goes_on(program: Program) -> None:
    malformed = [*NO_JSON, *NO_OBJECTS, *(text for text, _ in EXAMPLES), request(id="{}"), request(params="1")]
    assert len(malformed) >= 40
    with Client(program) as client:
        for form in (str, str.encode):
            for text in malformed:
                client.socket.send(form(text))
                answer = json.loads(client.socket.recv(WAIT))
                assert answer["jsonrpc"] == "2.0" and answer["error"]["code"] in (-32700, -32600, -32601), text
                assert client.call("status")


def test_the_examples_of_the_standard_are_answered_over_the_wire(program: Program) -> None:
    with Client(program) as client:
        for text, expected in EXAMPLES:
            client.socket.send(text)
            answer = json.loads(client.socket.recv(WAIT))
            assert {"code": answer["error"]["code"], "id": answer["id"]} == expected
        client.socket.send("[1,2,3]")
        assert [each["error"]["code"] for each in json.loads(client.socket.recv(WAIT))] == [-32600] * 3
        client.socket.send('[{"jsonrpc":"2.0","method":"status"},{"jsonrpc":"2.0","method":"foobar"}]')
        batch = [
            request(method='"send"', params='{"text":"hi"}', id="1"),
            '{"foo": "boo"}',
            request(method='"x"', id="2"),
        ]
        client.socket.send(f"[{','.join(batch)}]")
        answers = json.loads(client.socket.recv(WAIT))  # the notifications before it have none
        assert answers[0]["result"]["reply"] == "You said: hi"
        assert [each["error"]["code"] for each in answers[1:]] == [-32600, -32601]
        assert sorted(each["id"] for each in answers if each["id"]) == [1, 2]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(b"\xff\xfe"), 1007),
        (frame(b"x" * (1 << 20) + b"x"), 1009),
        (frame(b"", length=1 << 40), 1009),
        (b"\x01\x02\x03 no frame at all", 1002),
        (b"GET / HTTP/1.1\r\n\r\n", 1002),
        (frame(b"x", opcode=3), 1002),
        (b"\xff" * 100, 1002),
    ],
)
def test_frames_that_are_none_close_their_own_connection_only(program: Program, data: bytes, code: int) -> None:
    with Client(program) as client, raw(program) as made:
        made.sendall(data)
        assert struct.pack("!H", code) in rest(made)
        assert client.call("send", text="hi")["reply"] == "You said: hi"


def test_binary_frames_are_answered_like_text(program: Program) -> None:
    with Client(program) as client:
        client.socket.send(request(method='"send"', params='{"text":"hi"}').encode())
        assert client.answer(7)["result"]["reply"] == "You said: hi"
        client.socket.send(b"\x00\xff")
        assert json.loads(client.socket.recv(WAIT))["error"]["code"] == -32700


def test_a_message_in_many_pieces_is_one(program: Program) -> None:
    with Client(program) as client:
        client.socket.send(list(request(method='"send"', params='{"text":"hi"}')))
        assert client.answer(7)["result"]["reply"] == "You said: hi"


def test_half_a_frame_and_half_a_handshake_leave_nothing_behind(program: Program) -> None:
    with raw(program) as made, socket.create_connection(program.gateway.address) as opening:
        made.sendall(frame(b"x" * 100)[:50])
        opening.sendall(b"GET / HTTP/1.1\r\nHost: local")
        with Client(program) as client:
            assert client.call("send", text="hi")["reply"] == "You said: hi"
    program.settled(lambda: program.gateway.clients == 0)
    program.settled(lambda: not [each for each in threading.enumerate() if each.name == "gateway client"])


@pytest.mark.parametrize("data", [b"", b"\r\n\r\n", b"\x16\x03\x01", b"SSH-2.0-x\r\n", b"GET " + b"x" * 100_000])
def test_what_speaks_another_protocol_is_sent_away(program: Program, data: bytes) -> None:
    with socket.create_connection(program.gateway.address, timeout=WAIT) as made:
        made.sendall(data)
        made.shutdown(socket.SHUT_WR)
        rest(made)
    with Client(program) as client:
        assert client.call("status")


def test_a_client_that_never_reads_is_dropped_and_the_others_do_not_notice(tmp_path: Path) -> None:
    def script(request: Request, index: int) -> Response:
        return text_stream(*["x" * 10_000] * 1500) if request.said[-1] == "flood" else echo(request, index)

    with Program(tmp_path, script) as program, Client(program) as client, raw(program) as made:
        program.settled(lambda: program.gateway.clients == 2)
        params = '{"text":"flood","stream":true,"peer_id":"flood"}'
        made.sendall(frame(request(method='"send"', params=params).encode()))
        while program.gateway.clients == 2:
            assert client.call("send", text="hi")["reply"] == "You said: hi"
        program.settled(lambda: client.call("status")["busy"] == 0)
        history = client.call("sessions.history", session_key="agent:assistant:direct:flood")
        assert [each["role"] for each in history["messages"]] == ["user", "assistant"]
        assert "x" * 100 in history["messages"][1]["text"] and client.call("status")


# -- the end


def test_the_gateway_stops_while_a_turn_runs_and_the_turn_goes_on(tmp_path: Path) -> None:
    gate = Gate()
    terminal = Terminal()
    with Program(tmp_path, gate, channels=[terminal]) as program:
        with Client(program) as client, Client(program) as idle:
            id = client.ask("send", text="hello", stream=True)
            program.model.wait_for_requests(1)
            program.settled(lambda: program.gateway.clients == 2)
            program.app.remove("websocket")
            assert client.answer(id)["error"]["code"] == -32003
            assert client.closed()[0] == idle.closed()[0] == 1001
        with pytest.raises(OSError):
            Client(program)
        gate.open()
        assert terminal.ended.wait(WAIT)
        (file,) = program.workspace.glob("sessions/*/*.jsonl")
        assert "You said: hello" in file.read_text()


def test_a_program_that_ends_tells_its_clients(tmp_path: Path) -> None:
    gate = Gate()
    with ExitStack() as stack:
        program = stack.enter_context(Program(tmp_path, gate))
        client = stack.enter_context(Client(program))
        ids = [client.ask("send", text=f"{number}") for number in range(3)]
        program.model.wait_for_requests(1)
        program.app.stop()
        assert [client.answer(id)["error"]["code"] for id in ids] == [-32003] * 3
        assert client.closed()[0] == 1001


def test_clients_that_do_not_answer_cannot_hold_back_the_end(tmp_path: Path) -> None:
    with ExitStack() as stack:
        program = stack.enter_context(Program(tmp_path, echo))
        made, _ = stack.enter_context(raw(program)), stack.enter_context(raw(program))
        stack.enter_context(socket.create_connection(program.gateway.address))
        made.sendall(frame(b"x" * 100)[:50])
        program.settled(lambda: program.gateway.clients == 2)
        stopper = threading.Thread(target=program.gateway.stop)
        stopper.start()
        stopper.join(WAIT)
        assert not stopper.is_alive()
        assert struct.pack("!H", 1001) in rest(made)


def test_a_client_may_stop_the_gateway_that_it_is_connected_to(tmp_path: Path) -> None:
    running: list[Program] = []

    @tool
    def stop() -> str:
        """Stop the gateway."""
        running[0].gateway.stop()
        return "stopped"

    def script(request: Request, index: int) -> Response:
        return text_stream("done") if request.json["messages"][-1]["role"] == "tool" else call_stream(("stop", {}))

    with Program(tmp_path, script, tools=[stop]) as program, Client(program) as client:
        running.append(program)
        id = client.ask("send", text="stop")
        assert client.answer(id)["error"]["code"] == -32003
        assert client.closed()[0] == 1001


def test_a_command_may_stop_the_gateway_that_it_comes_through(tmp_path: Path) -> None:
    with Program(tmp_path, echo) as program, Client(program) as client, Client(program) as other:

        def stop(order: Order) -> str:
            program.gateway.stop()
            return "stopped"

        program.settled(lambda: program.gateway.clients == 2)
        program.app.commands.table["leave"] = Command("leave", "", "", stop, now=True)
        assert client.error("send", text="/leave")["code"] == -32003
        assert client.closed()[0] == other.closed()[0] == 1001
        program.settled(lambda: not [each for each in threading.enumerate() if each.name.startswith("gateway")])


def test_connections_that_end_leave_no_thread_and_no_file_behind(program: Program) -> None:
    def files() -> int:
        return len(os.listdir("/dev/fd"))

    def round_() -> None:
        with Client(program) as client:
            client.call("send", text="hi", stream=True)
        program.settled(lambda: not [each for each in threading.enumerate() if each.name.startswith("gateway c")])

    round_()
    threads, before = threading.active_count(), files()
    for _ in range(10):
        round_()
    program.settled(lambda: threading.active_count() <= threads and files() <= before)


def test_a_gateway_that_is_opened_and_closed_leaves_nothing_open(tmp_path: Path) -> None:
    def files() -> int:
        gc.collect()
        return len(os.listdir("/dev/fd"))

    with Program(tmp_path, echo) as program:
        program.reopen()
        before = files()
        for _ in range(10):
            program.reopen()
        assert files() < before + 10  # a pipe each would be 20
