"""Whom the gateway lets in, and where it listens."""

from __future__ import annotations

import logging
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from agentkit import App
from agentkit.channels.access import address
from agentkit.channels.websocket import Gateway
from agentkit.errors import SettingsError
from agentkit.settings import Settings

from .gateway import BEARER, TOKEN, Client, Program, echo
from .loopback import Loopback
from .program import WAIT
from .test_rpc import request


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    with Program(tmp_path, echo) as program:
        yield program


# -- who is let in


def refused(program: Program, headers: dict[str, str], path: str = "/", **how: Any) -> tuple[int, str]:
    """The status and body that a request to connect is refused with."""
    url = program.gateway.url + path
    with (
        pytest.raises(InvalidStatus) as caught,
        connect(url, additional_headers=headers, proxy=None, open_timeout=WAIT, **how),
    ):
        pass
    response = caught.value.response
    return response.status_code, (response.body or b"").decode()


def upgrade(program: Program, *headers: str, path: str = "/") -> bytes:
    """The status line of the answer to a request written by hand."""
    lines = [f"GET {path} HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    lines += ["Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==", *headers, "", ""]
    with socket.create_connection(program.gateway.address, timeout=WAIT) as raw:
        raw.sendall("\r\n".join(lines).encode())
        return raw.makefile("rb").readline()


@pytest.mark.parametrize(
    "value",
    [
        "Bearer wrong",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Bearer",
        "Bearer ",
        TOKEN,
        f"Basic {TOKEN}",
        "x" * 4000,
    ],
)
def test_a_wrong_token_is_refused(program: Program, value: str) -> None:
    status, body = refused(program, {"Authorization": value})
    assert status == 401 and TOKEN not in body


@pytest.mark.parametrize("value", [f"bearer {TOKEN}", f"BEARER  {TOKEN} "])
def test_the_scheme_may_be_written_as_one_likes(program: Program, value: str) -> None:
    with Client(program, {"Authorization": value}) as client:
        assert client.call("status")


def test_the_token_may_be_the_first_message(program: Program) -> None:
    with Client(program, {}) as client:
        assert client.call("auth", token=TOKEN) is True
        assert client.call("send", text="hi")["reply"] == "You said: hi"
        assert client.call("auth", token=TOKEN) is True
        assert client.error("auth", token="wrong")["code"] == -32001


STATUS, WRONG = request(method='"status"'), request(method='"auth"', params='{"token":"wrong"}')


@pytest.mark.parametrize(
    "message",
    [
        WRONG,
        request(method='"auth"', params='{"token":"\\ud800"}'),
        request(method='"auth"', params='{"token":""}'),
        request(method='"auth"', params="{}"),
        request(method='"send"', params='{"text":"hi"}'),
        STATUS,
        request(method='"nonsense"'),
        request(method='"rpc.discover"'),
        "garbage",
        "[]",
        f"[{STATUS}]",
        f"[{WRONG},{STATUS}]",
        b"\xff",
    ],
)
def test_before_the_token_nothing_is_done_and_the_connection_is_closed(program: Program, message: str | bytes) -> None:
    with Client(program, {}) as client:
        client.socket.send(message)
        answers = client.read()
        for answer in answers if isinstance(answers, list) else [answers]:
            assert answer["error"]["code"] in (-32001, -32600, -32602, -32700)
            if "hi" in str(message) or "status" in str(message) or "wrong" in str(message):
                assert answer["error"]["code"] == -32001
        assert client.closed()[0] == 1008
    assert program.model.requests == [] and program.gateway.clients == 0


def test_before_the_token_a_notification_is_no_way_in_either(program: Program) -> None:
    with Client(program, {}) as client:
        client.socket.send('{"jsonrpc":"2.0","method":"send","params":{"text":"hi"}}')
        assert client.closed()[0] == 1008
    assert program.model.requests == []


@pytest.mark.parametrize("path", [f"/?token={TOKEN}", f"/x?access_token={TOKEN}"])
def test_a_token_in_the_address_is_refused(program: Program, path: str) -> None:
    assert refused(program, {}, path)[0] == 400
    assert refused(program, BEARER, path)[0] == 400


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "", "http://localhost", "https://a.example.evil.example"]
)
def test_a_web_page_is_refused_unless_it_is_listed(tmp_path: Path, origin: str) -> None:
    with Program(tmp_path, echo, origins=("https://a.example",)) as program:
        for headers in ({**BEARER, "Origin": origin}, {"Origin": origin}):
            assert refused(program, headers)[0] == 403
        assert b" 403 " in upgrade(program, "Host: localhost", "Origin: https://a.example", f"Origin: {origin}")
        with Client(program, {"Origin": "https://a.example"}) as client:  # a page can set no other header
            assert client.call("auth", token=TOKEN) and client.call("status")


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "0.0.0.0"),
        *("", "localhost@evil.example", "evil.example localhost", "[::2]", "[localhost]x", "2130706433", "localhost/"),
    ],
)
def test_another_host_is_refused(program: Program, host: str) -> None:
    assert b" 403 " in upgrade(program, f"Host: {host}", f"Authorization: Bearer {TOKEN}")


def test_a_request_has_one_host(program: Program) -> None:
    authorised = f"Authorization: Bearer {TOKEN}"
    assert b" 403 " in upgrade(program, authorised)
    assert b" 403 " in upgrade(program, "Host: localhost", "Host: evil.example", authorised)
    assert b" 401 " in upgrade(program, "Host: localhost", authorised, "Authorization: Bearer wrong")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "localhost.", "127.0.0.1:9999", "127.1.2.3", "[::1]:80"])
def test_this_machine_has_several_names(program: Program, host: str) -> None:
    assert b" 101 " in upgrade(program, f"Host: {host}", f"Authorization: Bearer {TOKEN}")


def test_the_token_is_in_no_log_and_in_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("agentkit", "websockets", "websockets.server"):
        caplog.set_level(logging.DEBUG, logger=name)
    with Program(tmp_path, echo) as program:
        bodies: list[Any] = [
            refused(program, {"Authorization": f"Basic {TOKEN}"}),
            refused(program, {}, f"/?token={TOKEN}"),
        ]
        with Client(program) as client:
            bodies.append(client.error("auth", token=TOKEN[:-1]))
            bodies.append(client.call("rpc.discover"))
        with Client(program, {}) as client:
            client.call("auth", token=TOKEN)
            bodies.append(client.error("nonsense", token=TOKEN))
    mine = [each for each in caplog.records if not each.name.startswith("websockets.client")]
    assert mine and TOKEN[:-1] not in "".join(each.getMessage() for each in mine) + repr(bodies)


def test_a_token_is_made_that_nobody_else_can_read_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "w" / ".state" / "gateway.token"
    with Program(tmp_path, echo, token="") as program:
        token = path.read_text().strip()
        assert len(token) >= 32 and stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert str(path) == program.gateway.token_is_in
        with Client(program, {"Authorization": f"Bearer {token}"}) as client:
            assert client.call("status")
        assert refused(program, {"Authorization": "Bearer "})[0] == 401
    path.chmod(0o644)
    with Program(tmp_path, echo, token=""):
        assert path.read_text().strip() == token and stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("left", ["", "\n", "short", "two words of some length", "\xe9" * 40, "x" * 5000])
def test_what_is_no_token_is_replaced(tmp_path: Path, left: str) -> None:
    path = tmp_path / "w" / ".state" / "gateway.token"
    path.parent.mkdir(parents=True)
    path.write_text(left)
    with Program(tmp_path, echo, token="") as program:
        token = path.read_text().strip()
        assert len(token) == 64 and token != left
        with Client(program, {"Authorization": f"Bearer {token}"}) as client:
            assert client.call("status")


# -- where it listens


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    with Loopback([]) as model:
        app = App(Settings("m", model.url, "k", 32_000, workspace_dir=tmp_path), environ={})
        app.start()
        yield app
        app.stop()


def trouble(app: App, host: str = "127.0.0.1", port: int = 0, token: str = TOKEN) -> str:
    """What it says when it cannot listen."""
    gateway = Gateway(app, host, port, token, (), 10)
    with pytest.raises(SettingsError) as caught:
        gateway.start(app.dispatch, lambda peer, id, answer: False)
    gateway.stop()
    return str(caught.value)


def test_a_port_that_is_taken_is_told(app: App) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = trouble(app, port=taken.getsockname()[1])
    assert "another program has that port" in said and "GATEWAY_PORT" in said


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_other_machines_are_let_in_only_with_a_token_that_somebody_has_chosen(app: App, host: str) -> None:
    assert "GATEWAY_TOKEN" in trouble(app, host, token="")


@pytest.mark.parametrize("host", ["nowhere.invalid", "192.0.2.1", "a" * 300, ""])
def test_an_address_that_is_not_of_this_machine_is_told(app: App, host: str) -> None:
    assert "cannot listen" in trouble(app, host)


def test_it_can_listen_at_all_addresses_with_a_token(tmp_path: Path) -> None:
    with Program(tmp_path, echo, host="0.0.0.0") as program:
        assert b" 101 " in upgrade(program, "Host: 192.0.2.1:80", f"Authorization: Bearer {TOKEN}")
        assert b" 101 " in upgrade(program, f"Host: {socket.gethostname()}", f"Authorization: Bearer {TOKEN}")
        assert b" 403 " in upgrade(program, "Host: evil.example", f"Authorization: Bearer {TOKEN}")


def test_there_are_no_more_clients_than_there_may_be(tmp_path: Path) -> None:
    with Program(tmp_path, echo, max_clients=2) as program:
        with Client(program), Client(program) as second:
            assert refused(program, BEARER)[0] == 503
            assert second.call("status") and program.gateway.clients == 2
        program.settled(lambda: not [each for each in threading.enumerate() if each.name == "gateway client"])
        with Client(program) as client:
            assert client.call("status")


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this system has no such sockets")
def test_all_addresses_are_those_of_both_kinds(tmp_path: Path) -> None:
    with Program(tmp_path, echo, host="::") as program:
        port = program.gateway.address[1]
        for host in ("[::1]", "127.0.0.1"):
            with connect(f"ws://{host}:{port}", additional_headers=BEARER, proxy=None, open_timeout=WAIT):
                pass


@pytest.mark.parametrize(
    ("written", "is_near"),
    [("127.0.0.1", True), ("::1", True), ("::ffff:127.0.0.1", True), ("::ffff:10.0.0.1", False), ("fe80::1%lo", False)],
)
def test_an_address_of_ipv4_in_the_form_of_ipv6_is_that_address(written: str, is_near: bool) -> None:
    assert address(written).is_loopback is is_near


def test_this_machine_may_be_named_by_such_an_address(program: Program) -> None:
    assert b" 101 " in upgrade(program, "Host: [::ffff:127.0.0.1]:80", f"Authorization: Bearer {TOKEN}")
    assert b" 403 " in upgrade(program, "Host: [::ffff:10.0.0.1]", f"Authorization: Bearer {TOKEN}")
