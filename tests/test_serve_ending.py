"""How a server ends, reloads, and speaks with what supervises it: signals at any moment, in real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from agentkit.cancel import Cancel
from agentkit.lanes import Lanes

from .loopback import Loopback, Response, call_stream, event, text_stream
from .program import ROOT, WAIT, agentkit, environment
from .serving import USER, Serving, answer, call, say, serving

LIMIT = 10.0  # seconds that it may take to end, whatever happens

TOOLS = """
import logging, threading, time
from agentkit import tool

@tool
def deaf() -> str:
    \"\"\"Never looks whether it is to stop.\"\"\"
    while True:
        time.sleep(0.05)

@tool
def locked() -> str:
    \"\"\"Waits for what never comes.\"\"\"
    lock = threading.Lock()
    with lock:
        lock.acquire()

@tool
def keeps() -> str:
    \"\"\"Leaves a thread behind that the interpreter would wait for, and what works in the lane hangs.\"\"\"
    threading.Thread(target=time.sleep, args=(600,), daemon=False).start()
    time.sleep(600)

@tool
def hangs() -> str:
    \"\"\"Nobody can log any more.\"\"\"
    for each in logging.getLogger().handlers:
        each.acquire()
    time.sleep(600)
"""


class Model:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def __call__(self, request: object, index: int) -> Response:
        return text_stream("Here", " I am", before_headers=self.go)


@contextmanager
def world(folder: Path, script: object, *arguments: str, **env: str) -> Iterator[tuple[Loopback, Serving]]:
    with (
        Loopback(script) as model,  # type: ignore[arg-type]
        serving(folder, environment(folder, model.url, **env), *arguments) as served,
    ):
        yield model, served


def said(served: Serving) -> list[dict[str, object]]:
    """The messages of all conversations."""
    files = sorted(served.workspace.glob("sessions/*/*.jsonl"))
    return [json.loads(line) for each in files for line in each.read_text().splitlines()]


def test_what_runs_may_end_by_itself_and_nothing_more_is_begun(tmp_path: Path) -> None:
    script = Model()
    with ExitStack() as stack:
        model, served = stack.enter_context(world(tmp_path, script))
        running, queued, late = (stack.enter_context(served.client()) for _ in range(3))
        say(running, "send", text="one")
        model.wait_for_requests(1)
        say(queued, "send", text="two")
        while not call(late, "status")["result"]["waiting"]:
            pass
        served.send(signal.SIGTERM)
        assert answer(queued)["error"]["code"] == -32003  # at once, and not when the one before it is done
        assert call(late, "status")["result"]["ending"] is True
        assert call(late, "send", text="three", peer_id="other")["error"]["code"] == -32003
        script.go.set()
        assert answer(running)["result"]["reply"] == "Here I am"
        assert served.wait() == 0
        assert [each["content"] for each in said(served)] == ["one", "Here I am"]  # the others are to be said again
    served.wait_for("agentkit ends: SIGTERM")
    served.wait_for("and are refused: 1")
    assert USER in served.wait_for("to end by itself")
    assert re.search(r"agentkit has ended: SIGTERM, after .+, in \d+\.\d s", served.told[-1])
    assert "".join(served.told) == served.log


def test_what_does_not_end_by_itself_is_interrupted_and_saved(tmp_path: Path) -> None:
    begun = Response(chunks=[event({"role": "assistant", "content": "So far"})], end="hang")
    with world(tmp_path, [begun]) as (model, served):
        with served.client() as client:
            say(client, "send", text="one")
            model.wait_for_requests(1)
            code, seconds = served.ended_in()
            error = answer(client)["error"]
        assert (code, error["code"], error["data"]["category"]) == (0, -32003, "interrupted")
        assert seconds < LIMIT
        assert (error["data"]["text"], said(served)[-1]["content"]) == ("So far", "So far")
        assert said(served)[-1]["interrupted"] is True
    assert USER in served.wait_for("interrupted, as it has not ended by itself")


@pytest.mark.parametrize(("first", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_waiting(
    tmp_path: Path, first: signal.Signals, code: int, second: signal.Signals
) -> None:
    with world(tmp_path, Model()) as (model, served), served.client() as client:
        say(client, "send", text="one")
        model.wait_for_requests(1)
        served.send(first)
        served.wait_for("to end by itself")
        served.send(second)
        assert answer(client)["error"]["code"] == -32003
        assert served.wait() == code
        assert [each["content"] for each in said(served)] == ["one", "[interrupted]"]
    served.wait_for(f"agentkit has ended: {first.name}")


@pytest.mark.parametrize("tool", ["deaf", "locked", "keeps", "hangs"])
def test_no_tool_can_hold_up_the_end(tmp_path: Path, tool: str) -> None:
    (tmp_path / "mine.py").write_text(TOOLS)
    with world(tmp_path, [call_stream((tool, {}))], "--tools", "mine.py") as (_, served), served.client() as client:
        say(client, "send", text="go")
        served.wait_for(f"calls {tool}")
        served.send(signal.SIGTERM)
        if tool != "hangs":
            served.wait_for("to end by itself")
        served.send(signal.SIGINT)
        assert served.wait(LIMIT) in ((0, 130) if tool == "hangs" else (0,))  # which of them came first cannot be seen
        assert said(served)[0]["content"] == "go"


def test_fifty_clients_that_wait_are_all_answered(tmp_path: Path) -> None:
    with ExitStack() as stack:
        model, served = stack.enter_context(world(tmp_path, Model()))
        clients = [stack.enter_context(served.client()) for _ in range(50)]
        for number, client in enumerate(clients):
            say(client, "send", text="hi", peer_id=f"p{number % 25}")
        model.wait_for_requests(16)
        while served.ask("status")["result"]["waiting"] < 34:
            pass
        served.send(signal.SIGTERM)
        served.wait_for("and are refused: 34")
        served.send(signal.SIGTERM)
        assert [answer(each)["error"]["code"] for each in clients] == [-32003] * 50
        assert served.wait() == 0


def test_a_client_that_never_reads_does_not_hold_up_the_end(tmp_path: Path) -> None:
    big = ["x" * 200_000] * 15
    with world(tmp_path, lambda request, index: text_stream(*big)) as (_, served), served.client() as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for number in range(5):
            say(client, "send", text="hi", stream=True, peer_id=f"p{number}")
        served.wait_for("answered by m", 5)
        assert served.end() == 0


def test_a_letter_that_nobody_is_there_for_is_kept(tmp_path: Path) -> None:
    schedule, payload = {"kind": "every", "every_seconds": 90_000}, {"kind": "system_event", "text": "It is time."}
    job = {"id": "news", "name": "news", "schedule": schedule, "payload": payload, "channel": "websocket", "to": "ann"}
    with world(tmp_path, []) as (_, served):
        assert served.end() == 0
    table = {"jobs": [job]}
    (served.workspace / "CRON.json").write_text(json.dumps(table))
    with world(tmp_path, []) as (_, served):
        assert "result" in (begun := served.ask("cron.trigger", id="news")), begun
        served.wait_for("job news: ok")
        assert served.ask("status")["result"]["letters_pending"] == 1
        assert served.end() == 0
    assert len([*(served.workspace / ".state" / "outbox").glob("*.json")]) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_comes_while_it_begins_ends_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    with serving(tmp_path, environment(tmp_path), waits=False) as served:
        served.wait_for("agentkit 0")  # its first line
        assert served.end(number) == (130 if number == signal.SIGINT else 0)
    served.wait_for("agentkit has ended")


def test_a_server_that_cannot_begin_says_why_and_ends(tmp_path: Path) -> None:
    with world(tmp_path, []) as (_, served):
        other = agentkit(tmp_path, "serve", "--port", served.port, "--workspace", "other", env=environment(tmp_path))
    assert other.returncode == 2 and "agentkit cannot start" in other.stderr.splitlines()[-2]


def test_sighup_reads_files_anew_and_says_what_is_wrong_with_them(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MAX_TURNS=4\nLOG_LEVEL=info\n")
    with world(tmp_path, []) as (_, served):
        served.send(signal.SIGHUP)
        assert "Problems" not in served.wait_for("Read anew") and "restart" not in served.told[-1]
        workspace = served.workspace
        (workspace / "CRON.json").write_text('{"jobs": [')
        (workspace / "routes.json").write_text("[3]")
        (workspace / ".agents" / "assistant" / "HEARTBEAT.md").write_text("---\ninterval: often\n---\nLook.\n")
        (workspace / ".state" / "agentkit.log").rename(workspace / ".state" / "yesterday")
        (tmp_path / ".env").write_text("MAX_TURNS=5\nLOG_LEVEL=debug\nGATEWAY_PORT=1\n")
        served.send(signal.SIGHUP)
        told = served.wait_for("Read anew", 2)
        assert "Problems: 3." in told and "A restart is needed for MAX_TURNS, GATEWAY_PORT." in told
        for name in ("CRON.json is broken", "routes.json", "HEARTBEAT.md"):
            served.wait_for(name)
        assert "Read anew" in served.log  # which is a new file
        (tmp_path / ".env").write_text("MAX_TURNS=many\n")
        for name in ("CRON.json", "routes.json", ".agents/assistant/HEARTBEAT.md"):
            (workspace / name).unlink()
        served.send(signal.SIGHUP)
        assert "Problems: 1." in served.wait_for("Read anew", 3)
        assert "MAX_TURNS" in served.wait_for("until that is put right")
        assert served.end() == 0


def test_sighup_again_and_again_interrupts_nothing_and_never_ends_it(tmp_path: Path) -> None:
    with ExitStack() as stack:
        _, served = stack.enter_context(world(tmp_path, lambda request, index: text_stream(*"answer", gap=0.02)))
        clients = [stack.enter_context(served.client()) for _ in range(10)]
        over = threading.Event()

        def hang_up() -> None:
            while not over.wait(0.002) and served.process.poll() is None:
                served.send(signal.SIGHUP)

        sender = threading.Thread(target=hang_up)
        sender.start()
        for number, client in enumerate(clients):
            say(client, "send", text="hi", peer_id=f"p{number}")
        assert [answer(each)["result"]["reply"] for each in clients] == ["answer"] * 10
        served.wait_for("Read anew", 2)
        code = served.end()  # in the midst of it
        over.set()
        sender.join()
        assert code == 0


@pytest.mark.parametrize("abstract", [False, True] if sys.platform == "linux" else [False])
def test_systemd_hears_how_it_stands(tmp_path: Path, abstract: bool) -> None:
    name = f"@agentkit-test-{os.getpid()}-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(WAIT)
        manager.bind(f"\0{name[1:]}" if abstract else name)
        (tmp_path / "mine.py").write_text(
            "import os\nfrom agentkit import tool\n@tool\ndef see() -> str:\n"
            '    """See the environment."""\n    return str(os.environ.get("NOTIFY_SOCKET"))\n'
        )
        script = [call_stream(("see", {})), text_stream("ok")]
        with world(tmp_path, script, "--tools", "mine.py", NOTIFY_SOCKET=name) as (model, served):
            assert re.fullmatch(rb"READY=1\nSTATUS=ws://127\.0\.0\.1:\d+", manager.recv(4096))
            served.ask("send", text="hi")
            assert model.requests[1].json["messages"][-1]["content"] == "None"  # no child may speak for it
            served.send(signal.SIGHUP)
            assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=\d+", manager.recv(4096))
            assert manager.recv(4096) == b"READY=1"
            assert served.end() == 0
            assert manager.recv(4096) == b"STOPPING=1"


def test_a_supervisor_that_is_gone_is_no_reason_to_fail(tmp_path: Path) -> None:
    with world(tmp_path, [], NOTIFY_SOCKET=str(tmp_path / "nobody")) as (_, served):
        served.wait_for("NOTIFY_SOCKET cannot be told")
        assert served.end() == 0


def test_what_is_closed_begins_nothing_and_waits_as_long_as_nobody_is_in_a_hurry() -> None:
    lanes, gate, hurry, seen = Lanes(), threading.Event(), Cancel(), []
    begun = threading.Event()

    def work(cancel: Cancel) -> None:
        begun.set()
        gate.wait(WAIT)
        seen.append(cancel.is_set)

    lanes.get("a").put(work)
    assert begun.wait(WAIT)
    lanes.get("a").put(lambda cancel: seen.append(cancel.is_set))
    lanes.close()
    assert lanes.running() == ["a"] and not lanes.get("b").offer(work)
    assert not lanes.wait(0.01, hurry)
    waiting = threading.Thread(target=lanes.wait, args=(WAIT * 10, hurry))
    waiting.start()
    hurry.set()
    waiting.join(WAIT)
    assert not waiting.is_alive()
    gate.set()
    assert lanes.wait(WAIT, Cancel()) and seen == [False, True]


FOSTERED = """
import os, signal, sys, time
from agentkit.firstborn import foster

code = foster()
if code is not None:
    print("code", code, flush=True)
    sys.exit(0)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
if os.fork() == 0:  # a child whose parent does not wait for it
    sys.exit(0)
print("ready", os.getpid(), os.getppid(), flush=True)
signal.sigwait({signal.SIGTERM})
sys.exit(7)
"""


def test_process_1_passes_signals_on_and_has_the_exit_code_of_its_child() -> None:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", FOSTERED], env=env, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        _, child, parent = first.stdout.readline().split()
        assert int(child) != first.pid == int(parent)
        first.send_signal(signal.SIGTERM)
        assert first.communicate(timeout=WAIT)[0] == "code 7\n" and first.returncode == 0


def test_process_1_tells_of_a_child_that_was_killed() -> None:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", FOSTERED], env=env, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        _, child, _ = first.stdout.readline().split()
        os.kill(int(child), signal.SIGKILL)
        assert first.communicate(timeout=WAIT)[0] == "code 137\n" and first.returncode == 0


def test_what_was_asked_and_answered_and_delivered_is_told(tmp_path: Path) -> None:
    script = [
        call_stream(("bash", {"command": "true"})),
        call_stream(("bash", {"command": "false"})),
        text_stream("ok"),
    ]
    with world(tmp_path, script) as (_, served), served.client() as client:
        say(client, "send", text="go")
        for decision, reason in (("allow", ""), ("deny", "not today")):
            while (asked := json.loads(client.recv(WAIT)).get("params", {})).get("type") != "ask":
                pass
            say(client, "approve", id=asked["id"], decision=decision, reason=reason)
        assert "bash: allow, asked: websocket-user (websocket)" in served.wait_for("bash: allow")
        assert f"{USER}: bash: deny (not today), asked: websocket-user" in served.wait_for("bash: deny")
        served.wait_for("asks whether bash may run: $ false")
        schedule, payload = {"kind": "every", "every_seconds": 90_000}, {"kind": "system_event", "text": "It is time."}
        job = {"id": "news", "name": "news", "schedule": schedule, "payload": payload}
        table = {"jobs": [{**job, "channel": "websocket", "to": "websocket-user"}]}
        (served.workspace / "CRON.json").write_text(json.dumps(table))
        served.ask("cron.trigger", id="news")
        served.match(r"letter \S+ was delivered to websocket-user \(websocket\)")
