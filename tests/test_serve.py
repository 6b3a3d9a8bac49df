"""`agentkit serve` and `agentkit status`, in real processes, with a real client."""

from __future__ import annotations

import json
import re
import signal
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from .loopback import Loopback, json_error, text_stream
from .program import Terminal, agentkit, environment
from .serving import answer, call, say, serving


def test_it_serves_until_it_is_told_to_end_and_can_be_asked_how_it_stands(tmp_path: Path) -> None:
    with Loopback([text_stream("Hello!")]) as server:
        env = environment(tmp_path, server.url)
        with serving(tmp_path, env) as served:
            answer = served.ask("send", text="hi")
            assert answer["result"]["reply"] == "Hello!"
            served.wait_for("answered by m in")
            asked = agentkit(tmp_path, "status", env={**env, "GATEWAY_PORT": served.port})
            assert asked.returncode == 0 and re.search(r"^model +m$", asked.stdout, re.MULTILINE)
            assert served.token not in "".join(served.told)
            assert served.end() == 0
    assert (tmp_path / "workspace" / ".agents" / "assistant" / "AGENT.md").exists()


def test_what_happens_is_told_as_json_for_programs(tmp_path: Path) -> None:
    with Loopback([text_stream("Hello!")]) as server:
        env = {**environment(tmp_path, server.url), "GATEWAY_TOKEN": "a-token-of-mine-0123456789"}
        with serving(tmp_path, env, "--gateway", "--log-json") as served:
            assert served.ask("send", text="hi")["result"]["reply"] == "Hello!"
            served.wait_for('"done"')
            assert served.end(signal.SIGINT) == 130
    told = [json.loads(each) for each in served.told]
    assert all({"time", "type", "session", "turn"} <= each.keys() for each in told)
    assert [each["type"] for each in told if each["type"] != "notice"] == ["turn_started", "done"]
    assert any("GATEWAY_TOKEN" in each["text"] for each in told if each["type"] == "notice")
    assert not (served.workspace / ".state" / "gateway.token").exists()


def test_it_ends_though_nobody_reads_what_it_tells(tmp_path: Path) -> None:
    with (
        Loopback(lambda request, index: text_stream("x" * 100_000)) as server,
        serving(tmp_path, {**environment(tmp_path, server.url), "GATEWAY_TOKEN": "t" * 32}, "--log-json") as served,
    ):
        served.stop_reading()
        for _ in range(5):
            assert "result" in served.ask("send", text="hi")
        assert served.end() == 0


def test_what_was_not_told_is_counted_for_who_reads_again(tmp_path: Path) -> None:
    with (
        Loopback(lambda request, index: text_stream("x" * 300_000)) as server,
        serving(tmp_path, environment(tmp_path, server.url), "--log-json") as served,
    ):
        served.stop_reading()
        for number in range(8):
            assert "result" in served.ask("send", text="hi", peer_id=f"p{number}")
        served.read_on()
        gap = json.loads(served.wait_for("events were not told"))
        assert gap["type"] == "notice" and int(gap["text"].split()[0]) >= 4
        assert 3 <= sum(json.loads(each)["type"] == "done" for each in served.told) < 8
        before = len(served.told)
        served.ask("send", text="hi")
        assert served.end() == 0
    assert any(json.loads(each)["type"] == "done" for each in served.told[before:])


def test_status_tells_a_refusal_from_nobody_being_there(tmp_path: Path) -> None:
    env = {**environment(tmp_path), "GATEWAY_HOST": "localhost"}
    with serving(tmp_path, environment(tmp_path)) as served:
        there = {**env, "GATEWAY_PORT": served.port}
        for more, words in (
            ({"GATEWAY_TOKEN": "another-token-0123456789"}, "has another token"),
            ({"GATEWAY_HOST": "0.0.0.0"}, "HTTP 403"),
        ):
            asked = agentkit(tmp_path, "status", env={**there, **more})
            assert asked.returncode == 1 and words in asked.stderr and "Nothing" not in asked.stderr
            assert "another-token" not in asked.stderr and asked.stderr.count("\n") == 1
    with Loopback([]) as server:
        port = server.url.rsplit(":", 1)[1].partition("/")[0]
        asked = agentkit(tmp_path, "status", env={**env, "GATEWAY_PORT": port})
        assert asked.returncode == 1 and "no gateway of agentkit" in asked.stderr


@pytest.mark.parametrize("held", ["a secret of somebody's\nwith lines", "short", "", "x" * 5000])
def test_what_is_no_token_is_never_shown(tmp_path: Path, held: str) -> None:
    file = tmp_path / "workspace" / ".state" / "gateway.token"
    file.parent.mkdir(parents=True)
    file.write_text(held)
    asked = agentkit(tmp_path, "status", env={**environment(tmp_path), "GATEWAY_PORT": "1"})
    assert asked.returncode == 1 and "is no token" in asked.stderr
    assert "secret" not in asked.stderr and "xxx" not in asked.stderr


def test_where_nobody_serves_status_says_what_to_do(tmp_path: Path) -> None:
    env = {**environment(tmp_path), "GATEWAY_TOKEN": "a-token-of-mine-0123456789", "GATEWAY_PORT": "1"}
    asked = agentkit(tmp_path, "status", env=env)
    assert asked.returncode == 1 and "agentkit serve" in asked.stderr and asked.stderr.count("\n") == 1
    asked = agentkit(tmp_path, "status", env=environment(tmp_path))
    assert asked.returncode == 1 and "gateway.token" in asked.stderr and "agentkit serve" in asked.stderr


def test_a_port_that_is_taken_and_an_address_for_all_without_a_token_are_refused(tmp_path: Path) -> None:
    env = environment(tmp_path)
    with serving(tmp_path, env) as served:
        taken = agentkit(tmp_path, "serve", "--port", served.port, "--workspace", str(tmp_path / "other"), env=env)
        assert taken.returncode == 2 and served.port in taken.stderr
    for wrong in (["--host", "0.0.0.0"], ["--port", "99999"]):
        assert agentkit(tmp_path, "serve", *wrong, env=env).returncode == 2


def test_status_tells_what_runs_and_what_went_wrong_in_80_columns_wherever_it_listens(tmp_path: Path) -> None:
    gate = threading.Event()
    with Loopback(lambda request, index: text_stream("ok", before_headers=gate)) as server, ExitStack() as stack:
        env = environment(tmp_path, server.url)
        served = stack.enter_context(serving(tmp_path, env))
        clients = [stack.enter_context(served.client()) for _ in range(2)]
        for client in clients:
            say(client, "send", text="hi")
        while not call(clients[1], "status")["result"]["waiting"]:
            pass
        asked = agentkit(tmp_path, "status", env={**env, "COLUMNS": "300"})  # its port is in no setting
        assert asked.returncode == 0 and all(len(line) <= 80 for line in asked.stdout.splitlines())
        for row in (
            rf"agentkit +\S+, process {served.process.pid}, up \d+ s",
            rf"gateway +ws://127\.0\.0\.1:{served.port}, clients: 2",
            r"turns +1 running, 1 waiting\n {12}agent:assistant:direct:websocket-user  running \d+ s, 1 waiting",
            r"letters +0 waiting, 0 failed",
            r"last error +none",
        ):
            assert re.search(rf"^{row}$", asked.stdout, re.MULTILINE), asked.stdout
        gate.set()
        assert [answer(each)["result"]["reply"] for each in clients] == ["ok", "ok"]


def test_status_tells_the_last_error_and_the_tokens_of_today(tmp_path: Path) -> None:
    answers = [text_stream("ok", usage={"prompt_tokens": 1000, "total_tokens": 1234}), json_error(401, "no such key")]
    with Loopback(answers) as server:
        env = environment(tmp_path, server.url)
        with serving(tmp_path, env) as served:
            assert "result" in served.ask("send", text="hi")
            assert "error" in served.ask("send", text="hi")
            served.wait_for("failed (auth)")
            asked = agentkit(tmp_path, "status", env=env)
    assert re.search(r"^tokens +1,234 today, of which unasked: 0$", asked.stdout, re.MULTILINE)
    assert re.search(
        r"^last error +\d\d:\d\d:\d\d: agent:assistant:direct:websocket-user: failed", asked.stdout, re.MULTILINE
    )


def test_clients_that_come_go_or_are_refused_are_told_of(tmp_path: Path) -> None:
    with serving(tmp_path, environment(tmp_path)) as served:
        served.ask("status")
        served.match(r"a client at 127\.0\.0\.1:\d+ is connected, clients: 1")
        served.match(r"a client at 127\.0\.0\.1:\d+ has left, clients: 0")
        served.token = "another-token-0123456789"
        with pytest.raises(Exception, match="401"):
            served.ask("status")
        served.match(r"refused a client at 127\.0\.0\.1:\d+: That is not the token")
        assert "another-token" not in "".join(served.told)


def test_where_a_chat_has_the_workspace_status_says_so(tmp_path: Path) -> None:
    env = {**environment(tmp_path), "GATEWAY_TOKEN": "a-token-of-mine-0123456789", "GATEWAY_PORT": "1"}
    with Terminal(tmp_path, "--plain", env=env) as chat:
        chat.send("hello\n")
        chat.expect("hello there|You said|demo")
        lock, pause = tmp_path / "workspace" / ".state" / "lock", threading.Event()
        while not (lock.exists() and str(chat.pid) in lock.read_text()):
            pause.wait(0.01)
        asked = agentkit(tmp_path, "status", env=env)
        assert asked.returncode == 1 and f"Process {chat.pid}, a chat, has the workspace: say /gateway" in asked.stderr


@pytest.mark.parametrize("words", ["start", "status", "stop"])
def test_a_chat_opens_and_closes_the_gateway(tmp_path: Path, words: str) -> None:
    env = {**environment(tmp_path), "GATEWAY_PORT": "0"}
    said = agentkit(tmp_path, env=env, stdin=f"hello\n/gateway\n/gateway {words}\n/gateway stop\n/gateway now\n")
    assert re.search(r"The gateway listens at ws://127\.0\.0\.1:\d+; the token is in .*gateway\.token", said.stdout)
    assert ("is closed" in said.stdout) and "It is /gateway" in said.stderr
    assert ("not open" in said.stderr) == (words == "stop")


def test_a_gateway_that_cannot_be_opened_can_be_tried_again(tmp_path: Path) -> None:
    env = environment(tmp_path)
    with serving(tmp_path, env) as served:
        other = {**env, "GATEWAY_PORT": served.port, "WORKSPACE_DIR": str(tmp_path / "other")}
        said = agentkit(tmp_path, env=other, stdin="hello\n/gateway\n/gateway\n")
    assert said.returncode == 1 and said.stderr.count(served.port) == 2
