"""Who else on the machine may read what the program keeps: nobody, whatever umask it was started with."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from .fullscreen import FullScreen
from .loopback import Answer, Loopback, Request, call_stream, text_stream
from .program import agentkit, environment, settled
from .seeing import leave
from .serving import USER, serving

CANARIES = {
    "LLM_API_KEY": "sk-canary-zero-0123456789",
    "GATEWAY_TOKEN": "gw-canary-0123456789abcdef0123456789",
    "DISCORD_BOT_TOKEN": "MTA-canary-0123456789.abcdef",
}
USAGE = {"prompt_tokens": 700, "completion_tokens": 20, "total_tokens": 720}


@pytest.fixture(params=[0o000, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def answer(request: Request, index: int) -> Answer:
    said = request.said[-1]
    if said == "at length":
        return call_stream(("bash", {"command": "yes words | head -c 29000"}), usage=USAGE)
    return text_stream(f"The oven is hot: {CANARIES['LLM_API_KEY']}.", usage=USAGE)


def everything(home: Path, env: dict[str, str]) -> None:
    """Each way in is used, and all that goes on by itself."""
    job = {"name": "A", "schedule": {"kind": "every", "every_seconds": 90_000}}
    talk = {"kind": "agent_turn", "message": "Look."}
    tell = {"kind": "system_event", "text": "It is time."}
    jobs = [
        {**job, "id": "a", "payload": talk, "channel": "discord", "to": "7"},
        {**job, "id": "b", "payload": tell, "channel": "websocket", "to": "ann"},
    ]
    (home / "workspace" / "CRON.json").write_text(json.dumps({"jobs": jobs}))
    with serving(home, env, "--gateway", "--log-json") as served:
        assert "result" in served.ask("send", text="hello")
        assert "result" in served.ask("send", text="at length")
        assert "result" in served.ask("heartbeat.trigger", session_key=USER)
        for id in ("a", "b"):
            assert "result" in served.ask("cron.trigger", id=id)
            served.wait_for(f"job {id}: ok")
        assert served.ask("bindings.set", agent_id="assistant", match_key="peer", match_value="7")
        assert served.end() == 0
        assert not any("canary" in each for each in served.told)
    with FullScreen(home, env=env) as screen:
        screen.shows("ready")
        screen.send("hello there\r")
        screen.shows("hot")
        leave(screen)
    assert agentkit(home, "run", "--session", "one", "hello", env=env).returncode == 0


def test_what_the_program_keeps_is_its_users_alone(tmp_path: Path, umask: int) -> None:
    home = settled(tmp_path)
    (home / "workspace" / ".agents" / "assistant" / "HEARTBEAT.md").write_text("---\ninterval: 1h\n---\nThe oven?")
    with Loopback(answer) as server:
        more = {"LOG_LEVEL": "debug", "TOOL_APPROVAL": "trust", "TERM": "xterm-256color", "LLM_CONTEXT_WINDOW": "16000"}
        everything(home, environment(home, server.url, **{**CANARIES, **more}))
    state, sessions = home / "workspace" / ".state", home / "workspace" / "sessions"
    kept = {path: mode(path) for path in (state, *state.rglob("*"))}
    assert {name: oct(bits) for name, bits in kept.items() if bits != (0o700 if name.is_dir() else 0o600)} == {}
    names = {path.name for path in kept}
    assert {"agentkit.log", "profiles.json", "history", "usage", "outbox", "cron-state.json", "lock"} <= names, names
    assert len([*(state / "outbox").glob("*.json"), *(state / "outbox" / "failed").glob("*.json")]) >= 1
    # Sessions too: what was said is nobody else's. The folder of all of them follows the umask, as agents' files do,
    # and tells no more than who has spoken.
    said = {path: mode(path) for path in sessions.rglob("*")}
    assert {name: oct(bits) for name, bits in said.items() if bits != (0o700 if name.is_dir() else 0o600)} == {}
    assert {"results", "current", "meta.json", "one.jsonl"} <= {path.name for path in said}
    # What is told by itself goes without the keys, even where the model writes them.
    for path in (*(state.rglob("*.json*")), state / "agentkit.log"):
        if path.is_file():
            assert "canary" not in path.read_text(), path


OLD = ["agentkit.log", "profiles.json", "history", "cron-state.json", "cron-runs.jsonl", "gateway.token", "lock"]


def test_what_is_there_with_wider_modes_does_not_widen_what_is_written(tmp_path: Path) -> None:
    """A copy of a workspace, a checkout or a backup may have lost its modes."""
    home = settled(tmp_path)
    state = home / "workspace" / ".state"
    with Loopback(answer) as server:
        env = environment(home, server.url, LOG_LEVEL="debug")
        with serving(home, env, "--gateway") as served:
            assert "result" in served.ask("send", text="hello")
            token = served.token
            assert served.end() == 0
        for path in (state, *state.rglob("*")):
            path.chmod(0o777 if path.is_dir() else 0o666)
        with serving(home, env, "--gateway") as served:
            assert served.token == token
            assert "result" in served.ask("send", text="hello again")
            assert served.end() == 0
    wide = {str(path.relative_to(state)): oct(mode(path)) for path in state.rglob("*") if mode(path) & 0o077}
    assert {name for name in wide if name in ("agentkit.log", "gateway.token", "profiles.json")} == set(), wide
