"""What the doctor finds in a setup that is wrong in one way, and the cure that it names."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentkit.checks import Finding
from agentkit.checks.together import guarded, side_by_side

from .loopback import Loopback
from .patient import KEY, cure, doctor, good
from .program import Terminal, environment, settled


def test_a_setup_in_which_nothing_is_wrong_is_told_so(tmp_path: Path) -> None:
    settled(tmp_path)
    with Loopback(good()) as server:
        code, said = doctor(tmp_path, url=server.url)
    assert code == 0 and "\n0 failed, 0 to look at," in said, said
    for words in (
        "set in the environment: LLM_BASE_URL, LLM_API_KEY (20",
        "lists: 1",
        "m: it answers",
        "takes 32,000",
        "agents: assistant",
    ):
        assert words in said


def test_without_settings_the_demo_is_fine_and_nobody_is_asked(tmp_path: Path) -> None:
    code, said = doctor(tmp_path, OPENAI_API_KEY=KEY)
    assert code == 0 and "demo" in said and "LLM_API_KEY" in cure(said, "OPENAI_API_KEY is set")
    assert not (tmp_path / "workspace").exists()


def test_broken_settings_are_named_each_and_the_rest_is_looked_at(tmp_path: Path) -> None:
    code, said = doctor(tmp_path, LLM_MODEL="m", LLM_CONTEXT_WINDOW="many", LLM_MODLE="x")
    assert code == 2
    for name in ("LLM_BASE_URL", "LLM_API_KEY", "LLM_CONTEXT_WINDOW"):
        assert re.search(rf"^FAIL  .*{name}", said, re.MULTILINE)
    assert "LLM_MODEL" in cure(said, "LLM_MODLE") and "init" in cure(said, "LLM_BASE_URL") and "workspace" in said


def test_files_that_others_can_read_and_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    folder = settled(tmp_path)
    (folder / ".env").write_text("LOG_LEVEL=info\n")
    (folder / ".env").chmod(0o644)
    state = folder / "workspace" / ".state"
    state.mkdir(mode=0o755)
    (state / "gateway.token").write_text("x")
    (state / "gateway.token").chmod(0o644)
    (folder / "workspace" / "CRON.json").write_text("{]")
    (folder / "workspace" / "routes.json").write_text('[{"agent_id": "nobody", "match_key": "default"}]')
    (folder / "workspace" / ".agents" / "assistant" / "HEARTBEAT.md").write_text("---\ninterval: soon\n---\nlook\n")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    code, said = doctor(folder)
    assert code == 0, said
    assert "chmod 600" in cure(said, r"can read \.env")
    assert "chmod -R go=" in cure(said, r"can read \.state, gateway\.token")
    for words in ("CRON.json", "routes.json|nobody", "HEARTBEAT.md"):
        assert cure(said, words)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_workspace_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir(mode=0o500)
    code, said = doctor(tmp_path, "--workspace", str(tmp_path / "w"))
    assert code == 1 and "WORKSPACE_DIR" in cure(said, "cannot be written")


def test_a_workspace_that_is_no_folder_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "w").write_text("a file")
    code, said = doctor(tmp_path, "--workspace", str(tmp_path / "w"))
    assert code == 1 and "WORKSPACE_DIR" in cure(said, "is no folder")


def test_settings_further_up_are_not_read_and_that_is_said(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LLM_MODEL=m\n")
    (tmp_path / "below").mkdir()
    code, said = doctor(tmp_path / "below")
    assert code == 0 and "--env-file" in cure(said, "is not read")


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, said = doctor(tmp_path, GATEWAY_PORT=str(taken.getsockname()[1]))
    assert code == 0 and "GATEWAY_PORT" in cure(said, "cannot listen")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"TERM": "no-such-terminal"}, "terminal no-such-terminal is not known"),
        ({"TERM": "dumb"}, "terminal dumb is not known"),
        ({"LC_ALL": "POSIX"}, "locale writes"),
        ({"TMUX": "x", "PATH": "/nowhere"}, "inside tmux TERM is xterm"),
        ({"STY": "x"}, "inside screen TERM is xterm"),
        ({"TZ": "Nowhere/Land"}, "is no time zone"),
    ],
)
def test_what_is_odd_about_the_terminal_is_named(tmp_path: Path, more: dict[str, str], words: str) -> None:
    env = environment(tmp_path, GATEWAY_PORT="0", NO_COLOR="1", **more)
    with Terminal(tmp_path, "doctor", env=env) as terminal:
        said = terminal.expect(r"fine\.")
        assert terminal.wait() == ("PATH" in more)
    assert cure(said.replace("\r\n", "\n"), words)
    if "LC_ALL" in more:
        assert said.isascii()


def test_on_a_terminal_the_levels_have_colours_and_in_a_pipe_none(tmp_path: Path) -> None:
    with Terminal(tmp_path, "doctor", env=environment(tmp_path, TERM="xterm-256color")) as terminal:
        assert "\x1b[32mok" in terminal.expect(r"fine\.")
        assert terminal.wait() == 0
    assert "\x1b" not in doctor(tmp_path)[1]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("LLM_MODLE", "LLM_MODEL"),
        ("LLM_KEY", "LLM_API_KEY"),
        ("LLM_URL", "LLM_BASE_URL"),
        ("LLM_APIKEY", "LLM_API_KEY"),
        ("llm_model", "LLM_MODEL"),
        ("DISCORD_TOKEN", "DISCORD_BOT_TOKEN"),
        ("WORKSPACE-DIR", "WORKSPACE_DIR"),
        ("GATEWAY_POTR", "GATEWAY_PORT"),
    ],
)
def test_a_name_that_is_nearly_one_of_ours_is_asked_about(tmp_path: Path, name: str, meant: str) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text(f"{name}=canary\n")
    env_file.chmod(0o600)
    code, said = doctor(tmp_path)
    assert code == 0 and meant in cure(said, f"{name} is no setting") and "canary" not in said


def test_names_of_other_programs_are_left_alone(tmp_path: Path) -> None:
    names = (
        "MODEL",
        "PORT",
        "AGENT",
        "LOG_FILE",
        "TOKEN",
        "DISCOURSE_URL",
        "MAX_JOBS",
        "LLM_API_KEY_3",
        "HTTP_TIMEOUT",
    )
    _, said = doctor(tmp_path, **dict.fromkeys(names, "1"), LLM_BASE_URL_3="http://127.0.0.1:9")
    assert "is no setting" not in said


def test_of_a_broken_file_the_rest_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f'LLM_MODEL=m\nLLM_API_KEY="{KEY}\n')
    code, said = doctor(tmp_path, LLM_BASE_URL_2="http://127.0.0.1:9", TOOL_APPROVAL="never")
    assert code == 2 and "close it" in cure(said, r"\.env line 2") and "LLM_API_KEY_2" in cure(said, "LLM_BASE_URL_2")
    assert "auto" in cure(said, "TOOL_APPROVAL") and "the workspace" in said


def test_the_workspace_of_broken_settings_is_the_one_they_name(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LLM_MODEL=m\nWORKSPACE_DIR=elsewhere\n")
    code, said = doctor(tmp_path)
    assert code == 2 and str(tmp_path / "elsewhere") in said


def test_what_the_environment_overrides_is_said(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LOG_LEVEL=debug\nMAX_TURNS=3\n")
    code, said = doctor(tmp_path, LOG_LEVEL="info", MAX_TURNS="3")
    assert code == 0 and "unset LOG_LEVEL" in cure(said, "LOG_LEVEL in .env does not count") and "unset MAX" not in said


def test_agents_and_tools_that_are_not_there_are_named(tmp_path: Path) -> None:
    folder = settled(tmp_path)
    (folder / "workspace" / ".agents" / "assistant" / "AGENT.md").write_text("---\ntools: bash, fly\n---\nYou fly.")
    (folder / "workspace" / "CRON.json").write_text(
        '{"jobs": [{"id": "j", "agent_id": "nobody", "schedule": {"kind": "every", "every_seconds": 3600}, '
        '"payload": {"kind": "agent_turn", "message": "x"}}]}'
    )
    code, said = doctor(folder, DEFAULT_AGENT="nobody", UNATTENDED_TOOLS="bash,canary")
    assert code == 1 and "assistant" in cure(said, "DEFAULT_AGENT names no agent")
    assert "edit_file" in cure(said, "UNATTENDED_TOOLS") and "--tools" in cure(said, "not built in: fly")
    assert "canary" not in said


@pytest.mark.parametrize(("window", "level"), [("1000", "FAIL"), ("2500", "warn"), ("16000", "ok  ")])
def test_a_window_too_small_for_the_prompt_is_named(tmp_path: Path, window: str, level: str) -> None:
    with Loopback(good(window=1_000_000)) as server:
        code, said = doctor(settled(tmp_path), url=server.url, LLM_CONTEXT_WINDOW=window)
    assert re.search(f"^{level}  the prompt and tools of assistant take about", said, re.MULTILINE), said
    assert code == (level == "FAIL")


def test_the_gateway_of_a_running_agentkit_is_no_trouble(tmp_path: Path) -> None:
    state = settled(tmp_path) / "workspace" / ".state"
    state.mkdir(mode=0o700)
    with socket.create_server(("127.0.0.1", 0)) as taken, open(state / "lock", "w") as lock:
        os.fchmod(lock.fileno(), 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        port = taken.getsockname()[1]
        lock.write(f"4711\nserve\nws://127.0.0.1:{port}\n")
        lock.flush()
        code, said = doctor(tmp_path, GATEWAY_PORT=str(port))
    assert code == 0 and "process 4711 does" in said and f"open at ws://127.0.0.1:{port}" in said
    assert "0 failed, 0 to look at" in said


@pytest.mark.parametrize(
    ("more", "level", "words"),
    [
        ({"GATEWAY_HOST": "0.0.0.0"}, "FAIL", "can be reached from other machines"),
        ({"GATEWAY_HOST": "nowhere.invalid", "GATEWAY_TOKEN": "t" * 32}, "FAIL", "nowhere.invalid"),
        ({"GATEWAY_TOKEN": "short"}, "warn", "has 5 characters"),
    ],
)
def test_a_gateway_that_could_not_be_opened_is_named(
    tmp_path: Path, more: dict[str, str], level: str, words: str
) -> None:
    code, said = doctor(tmp_path, **more)
    assert code == (level == "FAIL") and "GATEWAY_" in said and cure(said, words)


def test_programs_that_are_missing_are_named(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    code, said = doctor(tmp_path, PATH=str(tmp_path / "bin"), EDITOR="canary-editor --wait")
    assert code == 1 and "PATH" in cure(said, "neither bash nor sh") and "EDITOR" in cure(said, "canary-editor")


def test_a_pipe_that_takes_only_ascii_gets_that(tmp_path: Path) -> None:
    odd = tmp_path / "Ä\x1b[31m\u202e"
    odd.mkdir()
    code, said = doctor(odd, PYTHONIOENCODING="ascii", LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
    assert code == 0 and said.isascii() and "\x1b" not in said


def test_who_reads_only_the_first_line_gets_no_complaint(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "agentkit", "doctor"]
    env = environment(tmp_path, GATEWAY_PORT="0")
    with subprocess.Popen(program, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_a_check_that_takes_too_long_is_left_behind() -> None:
    over = threading.Event()

    def slow() -> Iterator[Finding]:
        yield Finding("ok", "so far")
        over.wait(30)
        yield Finding("ok", "too late")

    found = list(side_by_side({"slow": slow, "quick": lambda: iter([Finding("ok", "fine")])}, 0.2))
    over.set()
    assert "slow: not done after 0 s" in [each.words for each in found if each.level == "FAIL"]
    assert "too late" not in [each.words for each in found]


def test_a_check_that_fails_itself_is_a_finding_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Any:
        yield Finding("ok", "so far")
        raise RuntimeError("odd")

    with caplog.at_level(logging.ERROR, "agentkit"):
        found = list(side_by_side({"one": broken, "two": lambda: iter([Finding("ok", "fine")])}, 30.0))
    assert [each.words for each in found] == ["so far", "one: the check itself failed (RuntimeError: odd)", "fine"]
    assert [each.level for each in guarded("x", broken)] == ["ok", "FAIL"]
    assert "the check one failed" in caplog.text
