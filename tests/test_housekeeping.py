"""What programs see and set off of that which happens by itself: jobs, heartbeats, letters."""

from __future__ import annotations

import json
import os
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from agentkit import App
from agentkit.housekeeping import Housekeeping
from agentkit.rpc import RpcError

from .gateway import USER, Client, Program, echo
from .loopback import Request, Response, text_stream
from .program import WAIT

LATER = {"kind": "at", "at": "2199-01-01T00:00:00Z"}


def scheduled(program: Program, *jobs: dict[str, object], age: float = 0.0) -> None:
    """age: for how many seconds they have been in the file."""
    file = program.workspace / "CRON.json"
    file.write_text(json.dumps({"jobs": list(jobs)}))
    os.utime(file, (time.time() - age, time.time() - age))
    program.app.beside.cron.refresh()


def job(id: str, **more: object) -> dict[str, object]:
    payload = {"kind": "system_event", "text": f"{id} is due"}
    return {"id": id, "schedule": LATER, "payload": payload, **more}


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path, echo)


def test_a_job_is_listed_triggered_and_its_words_arrive(program: Program) -> None:
    with program, Client(program) as client:
        assert client.call("cron.list") == []
        client.call("send", text="hello")
        scheduled(program, job("one", name="The first"), job("two", enabled=False))
        first, second = client.call("cron.list")
        assert (first["id"], first["name"], first["last"], first["running"]) == ("one", "The first", None, False)
        assert datetime.fromisoformat(first["next"]).year >= 2198
        assert second["enabled"] is False and second["next"] is None
        assert client.call("cron.trigger", id="one") == {"id": "one", "begun": True}
        assert client.said("letter")["text"] == "one is due"
        program.settled(lambda: client.call("cron.list")[0]["last_status"] == "ok")
        said = client.call("sessions.history", session_key=USER)["messages"]
        assert said[-1]["text"] == "one is due"
        assert client.error("cron.trigger", id="three")["code"] == -32004


def test_a_heartbeat_is_told_of_and_set_off(program: Program) -> None:
    with program, Client(program) as client:
        assert client.call("heartbeat.status")["sessions"] == []
        assert client.error("heartbeat.trigger", session_key=USER)["code"] == -32004
        client.call("send", text="hello")
        assert client.error("heartbeat.trigger", session_key=USER)["code"] == -32004  # no HEARTBEAT.md
        (program.workspace / ".agents" / "assistant" / "HEARTBEAT.md").write_text("Look after the queue.")
        found = client.call("heartbeat.status")
        assert found["state"] == "running"
        (session,) = found["sessions"]
        assert (session["session_key"], session["interval"], session["last"]) == (USER, 1800.0, None)
        beat = client.call("heartbeat.trigger", session_key=USER)
        assert beat["session_key"] == USER and beat["text"].endswith("Look after the queue.")
        said = client.call("sessions.history", session_key=USER)["messages"]
        assert said[-1]["text"] == beat["text"]


def test_letters_and_the_whole_are_told_of(program: Program) -> None:
    with program, Client(program) as client:
        stats = client.call("delivery.stats")
        assert (stats["pending"], stats["failed"], stats["destinations"]) == (0, 0, [])
        program.app.outbox.put("discord", "user:1", "hi")
        program.settled(lambda: bool(client.call("delivery.stats")["destinations"][0]["error"]))
        (waiting,) = client.call("delivery.stats")["destinations"]
        assert (waiting["channel"], waiting["to"], waiting["next"]) == ("discord", "user:1", None)
        found = client.call("status")
        assert found["background"] == "here" and found["letters_pending"] == 1 and found["overdue"] == []
        assert datetime.fromisoformat(found["last_tick"]).year >= 2026


def test_what_a_heartbeat_says_that_a_program_has_set_off_reaches_who_spoke_there(program: Program) -> None:
    with program, Client(program) as bridge, Client(program) as other:
        (program.workspace / ".agents" / "assistant" / "HEARTBEAT.md").write_text("Look after the queue.")
        bridge.call("send", text="hello", peer_id="ann")
        beat = other.call("heartbeat.trigger", session_key="agent:assistant:direct:ann")
        assert bridge.said("letter")["text"] == beat["text"]


def test_a_job_is_for_who_has_added_it_whoever_speaks_later(program: Program) -> None:
    with program, Client(program) as ann, Client(program) as bob:
        ann.call("send", text="/cron add at 2199-01-01 09:00 remind me of my secret", peer_id="ann", channel="cli")
        bob.call("send", text="hello", peer_id="bob")
        (made,) = ann.call("cron.list")
        assert (made["channel"], made["to"]) == ("websocket", "ann")
        ann.call("cron.trigger", id=made["id"])
        assert "my secret" in ann.said("letter")["text"]
        bob.call("status")
        assert not [each for each in bob.events if each["type"] == "letter"]


def test_a_client_that_only_reads_what_was_said_gets_the_letters_too(program: Program) -> None:
    with program, Client(program) as first:
        first.call("send", text="hello")
    with program, Client(program) as again:
        program.app.outbox.put("websocket", "websocket-user", "the build is done")
        again.call("sessions.history", session_key=USER)
        letter = again.said("letter")
        assert (letter["text"], letter["session"], letter["turn"]) == ("the build is done", "", "")


def test_where_the_server_counts_no_tokens_the_limit_of_a_day_holds_all_the_same(tmp_path: Path) -> None:
    with Program(tmp_path, lambda request, index: text_stream("Hello there.")) as program, Client(program) as client:
        (program.workspace / ".agents" / "assistant" / "HEARTBEAT.md").write_text("Look after the queue.")
        client.call("send", text="hello")
        assert client.call("status")["tokens_today"] == 0
        client.call("heartbeat.trigger", session_key=USER)
        assert client.call("status")["tokens_today"] > 10


def test_why_a_job_cannot_be_begun_is_told_by_the_code(tmp_path: Path) -> None:
    go_on, begun = threading.Event(), threading.Event()

    def slow(request: Request, index: int) -> Response:
        if any("This is the job" in text for text in request.said):
            begun.set()
            assert go_on.wait(WAIT)
        return text_stream("done")

    with Program(tmp_path, slow) as program, Client(program) as client:
        ask = {"kind": "agent_turn", "message": "Look."}
        scheduled(program, job("slow", payload=ask), job("other"))
        client.call("cron.trigger", id="slow")
        try:
            assert begun.wait(WAIT)
            assert client.error("cron.trigger", id="slow")["code"] == -32002
            assert client.error("cron.trigger", id="none")["code"] == -32004
        finally:
            go_on.set()
        program.settled(lambda: not client.call("cron.list")[0]["running"])
        unwritable(program)
        error = client.error("cron.trigger", id="other")
        assert error["code"] == -32603 and "cannot be written" in error["message"]


def test_where_no_jobs_are_run_setting_one_off_is_an_error_of_this_process(program: Program) -> None:
    with program, Client(program):
        second = App(program.app.settings, environ={"PATH": os.environ["PATH"]})
        with pytest.raises(RpcError) as caught:
            Housekeeping(lambda: second.beside, lambda: second.lanes, second.contacted, second.leave).run_job("one")
        assert caught.value.code == -32603 and "runs no jobs" in caught.value.message


def test_a_job_that_is_late_because_its_start_cannot_be_written_is_overdue(program: Program) -> None:
    with program, Client(program) as client:
        unwritable(program)
        at = datetime.now(timezone.utc) - timedelta(minutes=5)
        scheduled(program, job("late", schedule={"kind": "at", "at": at.isoformat()}), job("later"), age=3600)
        program.settled(lambda: program.app.beside.clock.due()[0][1] > at.timestamp() + 300)
        assert client.call("status")["overdue"] == ["cron late"]
        assert "overdue: cron late" in client.call("send", text="/status")["reply"]
        program.app.beside.cron.pause()
        assert client.call("status")["overdue"] == []


def unwritable(program: Program) -> None:
    """Have no standing of a job written down any more, whoever runs this."""
    state = program.workspace / ".state" / "cron-state.json"
    state.unlink(missing_ok=True)
    state.mkdir()
