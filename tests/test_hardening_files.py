"""Each file of a workspace, damaged in every way: the program starts, says so once, and goes on."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from agentkit import App
from agentkit.events import Done, Notice
from agentkit.past import read
from agentkit.session import Opening
from agentkit.settings import Settings
from agentkit.store import Store
from agentkit.wire import Reply, request

from .loopback import Loopback, text_stream
from .program import agentkit, environment, settled
from .test_hardening_injection import Model, Person

NOW = datetime.now().astimezone()
ASSISTANT = ".agents/assistant"
KEY = "agent:assistant:direct:cli-user"
MINE = f"sessions/{KEY}"
JOB = {"id": "a", "name": "A", "schedule": {"kind": "every", "every_seconds": 90_000, "anchor": NOW.isoformat()}}
MESSAGES = [
    {"n": 1, "role": "user", "content": "hello", "at": NOW.isoformat()},
    {"n": 2, "role": "assistant", "content": "Hi.", "model": "m"},
]
META = {
    "session": KEY,
    "channel": "cli",
    "peer": "cli-user",
    "to": "cli-user",
    "at": NOW.isoformat(),
    "used": {"cli": "talk"},
}
STANDING = {"due": 1e10, "started": None, "failures": 0, "off": "", "written": "", "last_at": 1e9, "last_status": "ok"}
REST = {"category": "rate_limit", "since": 1.0, "until": 2.0, "times": 1}
PROFILE = {"rests": {"m": REST}, "used": 0.0, "failures": {"rate_limit": 1}, "changed": 1.0}
BEAT = {"at": 1e9, "status": "ok", "said": "20ace54d84580c5a", "said_at": 1e9}
RUN = {"job": "a", "status": "ok", "due": None, "started": NOW.isoformat(), "seconds": 0.1, "tokens": 7, "text": "Hi"}
SPENT = {"model": "m", "requests": 1, "prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "background": True}
LETTER = {"channel": "discord", "to": "7", "parts": 1, "at": 1e9, "part": 1, "attempts": 0, "next": 0.0, "tried": 0.0}
LETTER |= {"error": "", "nonce": "", "reply": "", "by": "cron A", "session": "", "texts": ["It is time."]}


def lines(*values: object) -> str:
    return "".join(f"{json.dumps(each)}\n" for each in values)


# What a person may write and edit, and what the program has for itself.
THEIRS = {
    f"{ASSISTANT}/AGENT.md": "---\nname: Anna\ntools: [read_file]\n---\nYou are terse.\n",
    f"{ASSISTANT}/TOOLS.md": "Use few.\n",
    f"{ASSISTANT}/HEARTBEAT.md": "---\ninterval: 1h\nactive_hours: 0, 24\n---\nThe oven?\n",
    f"{ASSISTANT}/USER.md": "She bakes.\n",
    f"{ASSISTANT}/BOOTSTRAP.md": "Begin.\n",
    f"{ASSISTANT}/memory/eggs.md": '---\ntldr: "eggs"\n---\nTwo.\n',
    f"{ASSISTANT}/skills/bake/SKILL.md": "---\nname: bake\ndescription: Bakes.\n---\nBake.\n",
    "routes.json": json.dumps([{"agent_id": "assistant", "match_key": "channel", "match_value": "cli"}]),
    "CRON.json": json.dumps({"jobs": [{**JOB, "payload": {"kind": "agent_turn", "message": "Look."}}]}),
    f"{MINE}/talk.jsonl": lines(*MESSAGES),
    "../AGENTS.md": "Be kind.\n",
}
OURS = {
    f"{MINE}/current": "talk",
    f"{MINE}/meta.json": json.dumps(META),
    ".state/profiles.json": json.dumps({"8c746e1f1d325796": PROFILE}),
    ".state/profiles.lock": "",
    f".state/usage/{NOW:%Y-%m-%d}.jsonl": lines(SPENT, SPENT),
    ".state/heartbeat.json": json.dumps({KEY: BEAT}),
    ".state/cron-state.json": json.dumps({"a": STANDING}),
    ".state/cron-runs.jsonl": lines(RUN, RUN),
    ".state/cron-wanted/00000000000000000001-00000000": "nobody",
    ".state/outbox/0660e8c7ea090e-e707.json": json.dumps(LETTER),
    ".state/outbox/failed/0660e8c7ea9fd1-a48d.json": json.dumps(LETTER),
    ".state/lock": "1\ncli\n",
    ".state/terminal.lock": "",
    ".state/agentkit.log": "2026-01-01 00:00:00 info  a line\n",
}
FILES = {**THEIRS, **OURS}

BYTES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "a blank": lambda data: b" \n\t\n",
    "binary": lambda data: bytes(range(256)) * 40,
    "zeros": lambda data: bytes(len(data)),
    "half": lambda data: data[: len(data) // 2],
    "no last byte": lambda data: data.rstrip()[:-1],
    "twice": lambda data: data + data,
    "a byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "UTF-16": lambda data: data.decode().encode("utf-16"),
    "Latin-1": lambda data: data + "é".encode("latin-1"),
    "other line ends": lambda data: data.replace(b"\n", b"\r\n"),
    "null": lambda data: b"null",
    "a number": lambda data: b"7",
    "an array": lambda data: b"[1, [2], {}, null]",
    "NaN": lambda data: b'{"jobs": NaN, "bindings": NaN, "n": Infinity}',
    "a huge number": lambda data: b'{"jobs": 1' + b"0" * 5000 + b"}",
    "a deep one": lambda data: b'{"jobs": ' + b"[" * 100_000,
    "deep front matter": lambda data: b"---\nname: " + b"[" * 50_000 + b"\n---\n",
    "lone surrogates": lambda data: b'{"jobs": "\\ud800", "role": "user", "content": "\\udfff", "n": 9}\n',
    "a key twice": lambda data: b'{"jobs": [], "jobs": {}, "bindings": [], "bindings": 3, "n": 1, "n": 2}',
    "a terminal's": lambda data: b"\x1b]0;title\x07\x1b[2J\x1b[31m" + data,
    "long": lambda data: b"x" * 2_000_000,
}


def folder(path: Path) -> None:
    (path / "in it").mkdir(parents=True)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def listening(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the path of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


KINDS = {"a folder": folder, "a FIFO": fifo, "a socket": listening, "a dangling link": dangling, "a loop": loop}
KINDS["an endless device"] = device


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        path = tmp_path / "w" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "w" / ".state").chmod(0o700)
    yield tmp_path / "w"


def talks(workspace: Path) -> list[str]:
    """The program starts, answers twice and ends; what it told of."""
    person = Person()
    settings = Settings("m", "http://127.0.0.1:9/v1", "", 32_000, workspace_dir=workspace)
    app = App(
        settings,
        [person],
        model=Model(lambda context: Reply("fine")),
        opening=Opening("talk"),
        environ={"PATH": "/bin"},
    )
    app.start()
    try:
        for _ in range(2):
            ending = person.say("hello")
            assert isinstance(ending, Done) and ending.text == "fine", ending
        for command in ("/cron", "/heartbeat", "/delivery", "/usage", "/list", "/status", "/agents"):
            person.say(command)
    finally:
        app.stop()
    return [each.text for each in person.events if isinstance(each, Notice)]


def looks(told: list[str], *names: str, most: int = 2) -> None:
    """Nothing is told twice, or in more than a few lines, and nothing acts on a terminal."""
    for name in names:
        about = [each for each in told if Path(name).name in each]
        assert len(about) == len({*about}) <= most, about
    assert not any("\x1b" in each or "Traceback" in each for each in told)


def state(path: Path) -> tuple[int, bytes | str]:
    info = path.lstat()
    if path.is_symlink():
        return info.st_mode, os.readlink(path)
    return info.st_mode, path.read_bytes() if path.is_file() else b""


def test_as_it_is_nothing_is_told_of(workspace: Path) -> None:
    told = talks(workspace)
    assert not [each for each in told if any(Path(name).name in each for name in FILES)], told


@pytest.mark.parametrize("damage", BYTES)
@pytest.mark.parametrize("name", THEIRS)
def test_a_damaged_file_of_somebodys_stops_nobody_and_stays_as_it_is(workspace: Path, name: str, damage: str) -> None:
    path = workspace / name
    path.write_bytes(BYTES[damage](path.read_bytes()))
    before = path.read_bytes()
    looks(talks(workspace), name, most=4)  # a line for each entry of a table that is no good
    after = path.read_bytes()
    assert after.startswith(before) if name.endswith(".jsonl") else after == before


@pytest.mark.parametrize("damage", BYTES)
def test_all_that_the_program_keeps_for_itself_may_be_damaged(workspace: Path, damage: str) -> None:
    for name in OURS:
        path = workspace / name
        path.write_bytes(BYTES[damage](path.read_bytes()))
    looks(talks(workspace), *OURS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [each for each in THEIRS if not each.startswith(MINE)])
def test_something_else_in_the_place_of_a_file_stops_nobody(workspace: Path, name: str, kind: str) -> None:
    path = workspace / name
    path.unlink()
    KINDS[kind](path)
    before = state(path)
    looks(talks(workspace), name)
    assert state(path) == before


@pytest.mark.parametrize("kind", KINDS)
def test_something_else_in_the_place_of_all_that_the_program_keeps_stops_nobody(workspace: Path, kind: str) -> None:
    for name in OURS:
        (workspace / name).unlink()
        KINDS[kind](workspace / name)
    looks(talks(workspace), *OURS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", [".state", ".state/outbox", ".state/usage", ".agents/assistant/memory", ".agents/assistant/skills"]
)
def test_something_else_in_the_place_of_a_folder_stops_nobody(workspace: Path, name: str, kind: str) -> None:
    if name == ".state" and kind == "a loop":
        pytest.skip("is in test_hardening_open.py")
    if kind != "a folder":
        shutil.rmtree(workspace / name)
        KINDS[kind](workspace / name)
    looks(talks(workspace), name, most=5)


@pytest.mark.parametrize("part", range(1, 20))
def test_files_that_end_too_early_stop_nobody(workspace: Path, part: int) -> None:
    cut = {}
    for name in FILES:
        path = workspace / name
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * part // 20])
        cut[name] = path.read_bytes()
    looks(talks(workspace), *FILES)
    assert all((workspace / name).read_bytes().startswith(cut[name]) for name in THEIRS)


WRONG = [None, True, -1, 1e300, "x", [], {}, [[]], {"a": 1}, "9" * 400]


def places(value: object, way: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """The way to each value in a JSON value, itself too."""
    yield way
    for key, each in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(each, (*way, key))


def changed(value: Any, way: tuple[Any, ...], to: object) -> Any:
    if not way:
        return to
    copy = value.copy()
    copy[way[0]] = changed(value[way[0]], way[1:], to)
    return copy


@pytest.mark.parametrize("number", range(60))
def test_a_value_of_a_wrong_type_in_any_place_stops_nobody(workspace: Path, number: int) -> None:
    """All files at once, each in another place: in sixty steps each place had two wrong values at least."""
    before = {}
    for at, name in enumerate(each for each in FILES if each.endswith((".json", ".jsonl"))):
        first, *rest = (workspace / name).read_text().splitlines(keepends=True)
        ways = [*places(json.loads(first))]
        wrong = changed(
            json.loads(first), ways[number % len(ways)], WRONG[(number + at + number // len(ways)) % len(WRONG)]
        )
        (workspace / name).write_text("".join((f"{json.dumps(wrong)}\n", *rest)))
        before[name] = (workspace / name).read_bytes()
    looks(talks(workspace), *before)
    assert all((workspace / name).read_bytes().startswith(before[name]) for name in before.keys() & THEIRS.keys())


def test_files_of_fifty_megabytes_stop_nobody(workspace: Path) -> None:
    theirs, ours = workspace / "huge", workspace / "huger"
    for path in (theirs, ours):
        path.write_bytes(b'{"jobs": [')
        os.truncate(path, 50 << 20)
    for name in FILES.keys() - {f"{MINE}/talk.jsonl"}:
        (workspace / name).unlink()
        os.link(theirs if name in THEIRS else ours, workspace / name)
    before = theirs.stat()
    looks(talks(workspace), *FILES)
    assert theirs.stat() == before


@pytest.mark.parametrize("name", [".state", "sessions"])
def test_a_link_to_itself_in_place_of_a_folder_of_the_workspace_stops_nobody(tmp_path: Path, name: str) -> None:
    home = settled(tmp_path)
    (home / "workspace" / name).symlink_to(name)
    with Loopback([text_stream("I am here.")]) as server:
        done = agentkit(home, "run", "hello", env=environment(home, server.url))
    assert (done.returncode, done.stdout) == (0, "I am here.\n"), done.stderr[-300:]


def test_a_workspace_that_is_a_link_to_itself_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "workspace").symlink_to("workspace")
    done = agentkit(tmp_path, "run", "hello", env=environment(tmp_path))
    assert done.returncode == 2 and "agentkit cannot start" in done.stderr and "Traceback" not in done.stderr


STRANGE = [
    {"role": "user", "content": "hello", "tool_calls": "bash"},
    {"role": "user", "content": "hello", "tool_calls": 3},
    {"role": "user", "content": "hello", "tool_calls": [{}]},
    {"role": "user", "content": "hello", "tool_call_id": "a"},
    {"role": "tool", "content": "hello", "tool_call_id": "a", "tool_calls": [[]]},
    {"role": "assistant", "content": "hello", "tool_call_id": 3},
]


@pytest.mark.parametrize("line", STRANGE)
def test_a_line_with_what_belongs_to_another_role_stops_no_conversation(line: dict[str, object]) -> None:
    """Neither the next request nor /history, now and in each run to come."""
    call = {"id": "a", "type": "function", "function": {"name": "bash", "arguments": "{}"}}
    before = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    data = "".join(f"{json.dumps({**each, 'n': n})}\n" for n, each in enumerate((*before, line), 1)).encode()
    store = Store()
    said = read(data)
    store.context.messages += said.seen
    store.settle()
    for each in request("m", "", store.context.messages, [], {})["messages"]:
        assert "tool_calls" not in each or each["role"] == "assistant"
        assert "tool_call_id" not in each or each["role"] == "tool"
