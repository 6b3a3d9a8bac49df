"""Clients that ask for much at once, that read slowly or not at all, and that crowd the door."""

from __future__ import annotations

import gc
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from agentkit.channels.door import STRANGERS, Door, listen
from agentkit.channels.ear import hear
from agentkit.channels.outlet import LARGEST, ROOM, Backlog, Line, Outlet

from .gateway import TOKEN, Client, Program, echo, frame, raw
from .loopback import Request, Response, text_stream
from .program import WAIT
from .test_rpc import request

LONG = "agent:assistant:direct:long"


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    with Program(tmp_path, echo) as program:
        yield program


# -- what is read all the time


def long_session(program: Program) -> None:
    """A session whose history is as large as an answer can be."""
    folder = program.workspace / "sessions" / LONG
    folder.mkdir(parents=True)
    lines = [{"role": ("user", "assistant")[number % 2], "content": "y" * 4000} for number in range(300)]
    (folder / "main.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in lines))


def test_a_client_that_reads_gets_all_that_it_has_asked_for_at_once(program: Program) -> None:
    long_session(program)
    with Client(program) as client, Client(program) as other:
        ids = [client.ask("sessions.history", session_key=LONG, limit=1000) for _ in range(12)]
        assert other.call("status")
        assert [client.answer(id)["result"]["messages"][-1]["text"] for id in ids] == ["y" * 4000] * 12
        assert list(client.answers) == ids


def test_a_batch_of_large_answers_is_one_large_answer(program: Program) -> None:
    long_session(program)
    params = json.dumps({"session_key": LONG, "limit": 1000})
    with Client(program, max_size=None) as client:
        batch = ",".join(request(method='"sessions.history"', params=params, id=f"{id}") for id in range(100, 110))
        client.socket.send(f"[{batch}]")
        later = client.ask("sessions.history", session_key=LONG, limit=1)
        assert client.answer(later)["result"]["earlier"] == 299 and len(client.answers) == 11


def test_many_long_streams_at_once_come_whole_to_a_client_that_reads(tmp_path: Path) -> None:
    def script(request: Request, index: int) -> Response:
        return text_stream(*["w " * 5000] * 60)

    with Program(tmp_path, script) as program, Client(program, max_queue=None) as client:
        ids = [client.ask("send", text="go", peer_id=f"p{number}", stream=True) for number in range(16)]
        replies = [client.answer(id)["result"]["reply"] for id in ids]
        assert [len(each) for each in replies] == [600_000] * 16
        assert sum(len(each["text"]) for each in client.events if each["type"] == "text") == 16 * 600_000


# -- what is read slowly, or not at all


class Slow:
    """A connection that takes nothing before it is told to; then `taken` counts, and `closed` is what it ends with."""

    def __init__(self) -> None:
        self.may_go_on, self.ended = threading.Event(), threading.Event()
        self.taken = 0
        self.closed: tuple[Any, ...] = ()

    def send(self, data: bytes, text: bool) -> None:
        assert self.may_go_on.wait(WAIT)
        self.taken += len(data)

    def close(self, *why: Any) -> None:
        self.closed = why
        self.ended.set()


@pytest.fixture
def line() -> Iterator[Line]:
    ours, theirs = socket.socketpair()
    with theirs, Line(fileno=ours.detach()) as made:
        yield made


def test_a_client_that_reads_far_too_slowly_is_told_why_it_has_to_go(line: Line) -> None:
    slow, backlog = Slow(), Backlog()
    outlet = Outlet(slow, line, backlog)  # type: ignore[arg-type]
    for _ in range((LARGEST >> 20) + 2):
        outlet.send("x" * (1 << 20))
    assert backlog.add(0) <= 1 << 20, "all but what is being written is forgotten"
    outlet.send("never sent")
    slow.may_go_on.set()
    assert slow.ended.wait(WAIT)
    assert slow.closed[0] == 1013 and "64 MiB" in slow.closed[1] and slow.taken == 1 << 20
    outlet.close()
    outlet.join()
    assert backlog.add(0) == 0


def test_requests_are_read_again_when_enough_is_taken(line: Line) -> None:
    slow = Slow()
    outlet = Outlet(slow, line, Backlog())  # type: ignore[arg-type]
    outlet.wait_for_room()
    for _ in range(3):
        outlet.send("x" * (ROOM // 2))
    waiter = threading.Thread(target=outlet.wait_for_room)
    waiter.start()
    waiter.join(0.05)
    assert waiter.is_alive()
    slow.may_go_on.set()
    waiter.join(WAIT)
    assert not waiter.is_alive()


@pytest.mark.parametrize("end", [Outlet.close, lambda outlet: outlet.end(1001, ""), lambda outlet: outlet.drop("")])
def test_who_waits_for_room_is_woken_by_the_end(line: Line, end: Callable[[Outlet], None]) -> None:
    slow = Slow()
    outlet = Outlet(slow, line, Backlog())  # type: ignore[arg-type]
    outlet.reserve(2 * ROOM)
    waiter = threading.Thread(target=outlet.wait_for_room)
    waiter.start()
    end(outlet)
    waiter.join(WAIT)
    assert not waiter.is_alive()
    slow.may_go_on.set()


def test_a_client_that_asks_for_much_and_reads_nothing_is_dropped(program: Program) -> None:
    long_session(program)
    params = json.dumps({"session_key": LONG, "limit": 1000})
    with Client(program) as client, raw(program) as made:
        program.settled(lambda: program.gateway.clients == 2)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        for _ in range(60):
            made.sendall(frame(request(method='"sessions.history"', params=params).encode()))
        while program.gateway.clients == 2:
            assert client.call("status")


# -- who is there


def test_a_client_that_answers_no_ping_has_gone_and_one_that_does_may_be_silent() -> None:
    def talk(connection: ServerConnection) -> None:
        client = Outlet(connection, connection.socket, Backlog())  # type: ignore[arg-type]
        try:
            while True:
                client.send(str(hear(connection, client, ping=0.1)))
        except ConnectionClosed as error:
            codes.append(error.sent.code if error.sent else 0)
            ended.set()

    codes: list[int] = []
    ended = threading.Event()
    listener, _ = listen("127.0.0.1", 0, alone=True)
    host, port = listener.getsockname()
    server = serve(talk, sock=listener, ping_interval=None, close_timeout=1.0)
    door = Door(listener, server.handler, 10)
    door.open()
    with ExitStack() as stack:
        stack.callback(server.shutdown)
        stack.callback(server.serve_forever)  # it ends at once, for the listener is closed
        stack.callback(door.shut)
        silent = stack.enter_context(connect(f"ws://{host}:{port}", proxy=None, ping_interval=None))
        dead = stack.enter_context(socket.create_connection((host, port)))
        lines = ["GET / HTTP/1.1", "Host: x", "Connection: Upgrade", "Upgrade: websocket"]
        lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==", "", ""]
        dead.sendall("\r\n".join(lines).encode())
        assert ended.wait(WAIT) and codes == [1011]
        silent.send("here")
        assert silent.recv(WAIT) == "here"


# -- the door


def test_clients_that_come_at_once_are_let_in_as_far_as_there_is_room(tmp_path: Path) -> None:
    def come() -> None:
        together.wait(WAIT)
        try:
            let_in.append(Client(program))
        except InvalidStatus as refusal:
            refused.append(refusal.response.status_code)

    let_in: list[Client] = []
    refused: list[int] = []
    together = threading.Barrier(4)
    with Program(tmp_path, echo, max_clients=3) as program, Client(program) as first, Client(program) as second:
        first.call("status"), second.call("status")
        threads = [threading.Thread(target=come) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
        assert len(let_in) == 1 and refused == [503] * 3
        assert let_in[0].call("status")["clients"] == 3
        let_in[0].socket.close()


def test_a_client_that_comes_again_finds_its_place_free(tmp_path: Path) -> None:
    with Program(tmp_path, echo, max_clients=1) as program:
        for _ in range(20):
            with Client(program) as client:
                assert client.call("status")["clients"] == 1


def test_connections_that_say_nothing_take_no_place_from_clients(tmp_path: Path) -> None:
    with Program(tmp_path, echo, max_clients=3) as program, ExitStack() as stack:
        for _ in range(STRANGERS + 10):
            stack.enter_context(socket.create_connection(program.gateway.address))
        clients = [stack.enter_context(Client(program)) for _ in range(3)]
        seen = [each.call("status")["clients"] for each in clients]  # who was answered counts
        assert seen[-1] == 3 and clients[0].call("status")["clients"] == 3


def test_who_says_the_token_later_counts_from_then_on(tmp_path: Path) -> None:
    with Program(tmp_path, echo, max_clients=1) as program, Client(program, {}) as first, Client(program, {}) as second:
        first.call("auth", token=TOKEN)
        assert second.error("auth", token=TOKEN)["code"] == -32002
        assert second.closed()[0] == 1013
        assert first.call("status")["clients"] == 1


def test_many_more_clients_than_strangers_may_come_at_once(program: Program) -> None:
    def come() -> None:
        with Client(program) as client:
            there.append(client.call("status")["clients"])

    there: list[int] = []
    threads = [threading.Thread(target=come) for _ in range(STRANGERS + STRANGERS // 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert len(there) == len(threads)


def test_a_connection_is_not_kept_by_what_it_was_answered(program: Program) -> None:
    def outlets() -> int:
        gc.collect()
        return sum(type(each) is Outlet for each in gc.get_objects())

    before = outlets()
    for number in range(5):
        with Client(program) as client:
            client.call("send", text="hi", idempotency_key=f"k{number}")
            client.error("send", text="/nonsense", idempotency_key=f"e{number}")
            client.error("send", text="/nonsense", idempotency_key=f"e{number}")
    program.settled(lambda: program.gateway.clients == 0)
    program.settled(lambda: outlets() <= before)
