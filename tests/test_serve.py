"""`agentkit serve` and `agentkit status`, in real processes, with a real client."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.sync.client import connect

from .loopback import Loopback, text_stream
from .program import WAIT, agentkit, environment


class Serving:
    """A process that serves; `said` is what it has told."""

    def __init__(self, folder: Path, env: dict[str, str], *arguments: str) -> None:
        self.said: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "agentkit", "serve", "--port", "0", *arguments],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.port = re.search(r"127\.0\.0\.1:(\d+)", self.wait_for("The gateway listens"))[1]  # type: ignore[index]
        self.token = (folder / "workspace" / ".state" / "gateway.token").read_text().strip()

    def wait_for(self, words: str) -> str:
        """The line that holds the words."""
        assert self._process.stderr
        for line in self._process.stderr:
            self.said.append(line)
            if words in line:
                return line
        raise AssertionError(f"it has ended with {self._process.wait(WAIT)}, and told {self.said}")

    def ask(self, method: str, **params: object) -> dict[str, object]:
        headers = {"Authorization": f"Bearer {self.token}"}
        with connect(f"ws://127.0.0.1:{self.port}", additional_headers=headers, proxy=None) as client:
            client.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
            answer: dict[str, object] = json.loads(client.recv(WAIT))
            return answer

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self._process.poll() is None:
            self._process.send_signal(number)
        code = self._process.wait(WAIT)
        if self._process.stderr:
            self._process.stderr.close()
        return code


@contextmanager
def serving(folder: Path, env: dict[str, str], *arguments: str) -> Iterator[Serving]:
    made = Serving(folder, env, *arguments)
    try:
        yield made
    finally:
        made.end(signal.SIGKILL)


def test_it_serves_until_it_is_told_to_end_and_can_be_asked_how_it_stands(tmp_path: Path) -> None:
    with Loopback([text_stream("Hello!")]) as server:
        env = environment(tmp_path, server.url)
        with serving(tmp_path, env) as served:
            answer = served.ask("send", text="hi")
            assert answer["result"]["reply"] == "Hello!"  # type: ignore[index]
            served.wait_for("answered by m in")
            asked = agentkit(tmp_path, "status", env={**env, "GATEWAY_PORT": served.port})
            assert asked.returncode == 0 and re.search(r"^model +m$", asked.stdout, re.MULTILINE)
            assert served.token not in "".join(served.said)
            assert served.end() == 0
    assert (tmp_path / "workspace" / ".agents" / "assistant" / "AGENT.md").exists()


def test_what_happens_is_told_as_json_for_programs(tmp_path: Path) -> None:
    with Loopback([text_stream("Hello!")]) as server:
        env = {**environment(tmp_path, server.url), "GATEWAY_TOKEN": "a-token-of-mine-0123456789"}
        process = subprocess.Popen(
            [sys.executable, "-m", "agentkit", "serve", "--gateway", "--port", "0", "--log-json"],
            cwd=tmp_path,
            env=env,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr
        record = json.loads(process.stderr.readline())
        assert record["type"] == "notice" and "GATEWAY_TOKEN" in record["text"]
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT) == 130
        process.stderr.close()
    assert not (tmp_path / "workspace" / ".state" / "gateway.token").exists()


def test_it_ends_though_nobody_reads_what_it_tells(tmp_path: Path) -> None:
    with (
        Loopback(lambda request, index: text_stream("x" * 100_000)) as server,
        serving(tmp_path, environment(tmp_path, server.url), "--log-json") as served,
    ):
        for _ in range(5):
            assert "result" in served.ask("send", text="hi")
        assert served.end() == 0


def test_what_was_not_told_is_counted_for_who_reads_again(tmp_path: Path) -> None:
    with (
        Loopback(lambda request, index: text_stream("x" * 300_000)) as server,
        serving(tmp_path, environment(tmp_path, server.url), "--log-json") as served,
    ):
        for number in range(8):
            assert "result" in served.ask("send", text="hi", peer_id=f"p{number}")
        gap = json.loads(served.wait_for("events were not told"))
        assert gap["type"] == "notice" and int(gap["text"].split()[0]) >= 4
        told = [json.loads(each) for each in served.said]
        assert 3 <= sum(each["type"] == "done" for each in told) < 8
        served.ask("send", text="hi")
        assert json.loads(served.wait_for('"done"'))["type"] == "done"
        assert served.end() == 0


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
    assert asked.returncode == 2 and "is no token" in asked.stderr
    assert "secret" not in asked.stderr and "xxx" not in asked.stderr


def test_where_nobody_serves_status_says_what_to_do(tmp_path: Path) -> None:
    env = {**environment(tmp_path), "GATEWAY_TOKEN": "a-token-of-mine-0123456789", "GATEWAY_PORT": "1"}
    asked = agentkit(tmp_path, "status", env=env)
    assert asked.returncode == 1 and "agentkit serve" in asked.stderr and asked.stderr.count("\n") == 1
    asked = agentkit(tmp_path, "status", env=environment(tmp_path))
    assert asked.returncode == 2 and "gateway.token" in asked.stderr


def test_a_port_that_is_taken_and_an_address_for_all_without_a_token_are_refused(tmp_path: Path) -> None:
    env = environment(tmp_path)
    with serving(tmp_path, env) as served:
        taken = agentkit(tmp_path, "serve", "--port", served.port, "--workspace", str(tmp_path / "other"), env=env)
        assert taken.returncode == 2 and served.port in taken.stderr
    for wrong in (["--host", "0.0.0.0"], ["--port", "99999"]):
        assert agentkit(tmp_path, "serve", *wrong, env=env).returncode == 2


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
