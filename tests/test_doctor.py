"""What the doctor finds in a setup that is wrong in one way, and the cure that it names."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentkit.checks import Finding, ways
from agentkit.doctor import _guarded, _side_by_side
from agentkit.settings import Settings

from .loopback import Loopback, Request, Response, call_stream, json_answer, json_error, text_stream
from .program import Terminal, agentkit, environment, settled

SPENT = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
KEY = "sk-canary-0123456789"  # as environment() has it


def good(window: int = 32_000, tools: bool = True, name: str = "m") -> Callable[[Request, int], Response]:
    """A server of one model."""

    def answer(request: Request, index: int) -> Response:
        if request.path == "/v1/models":
            return json_answer({"data": [{"id": name, "max_model_len": window}]})
        if request.method == "GET":
            return json_error(404, "not found")
        if request.json["model"] != name:
            return json_error(404, f"The model {request.json['model']} does not exist", code="model_not_found")
        if "tools" in request.json and tools:
            return call_stream(("report", {"word": "ready"}), usage=SPENT)
        return text_stream("1, ", "2", usage=SPENT)

    return answer


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def doctor(folder: Path, *arguments: str, url: str = "", **more: Any) -> tuple[int, str]:
    """The exit code, and what was said."""
    env = environment(folder, url, GATEWAY_PORT=more.pop("GATEWAY_PORT", free_port()), **more)
    done = agentkit(folder, "doctor", *arguments, env=env)
    assert "Traceback" not in done.stdout + done.stderr and KEY not in done.stdout + done.stderr
    return done.returncode, done.stdout


def cure(said: str, words: str) -> str:
    """The line behind the one that matches."""
    found = re.search(rf"^(?:warn|FAIL)  [^\n]*(?:{words})[^\n]*\n      ([^\n]+)$", said, re.MULTILINE)
    assert found, f"{words!r} is not there:\n{said}"
    return found[1]


def test_a_setup_in_which_nothing_is_wrong_is_told_so(tmp_path: Path) -> None:
    settled(tmp_path)
    with Loopback(good()) as server:
        code, said = doctor(tmp_path, url=server.url)
    assert code == 0 and "\n0 failed, 0 to look at," in said, said
    for words in ("settings from the environment", "1 models", "m: answers", "32,000 tokens", "agents: assistant"):
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


@pytest.mark.parametrize(
    ("answer", "words", "what_to_do"),
    [
        (good(window=8192), "it takes 8,192 tokens", "LLM_CONTEXT_WINDOW=8192"),
        (good(tools=False), "did not call the tool", "--jinja"),
        (good(name="m-large"), "m: .*(?:exist|know)", "m-large"),
        (lambda request, index: json_error(401, f"Incorrect API key provided: {KEY}"), "key", "LLM_API_KEY"),
        (lambda request, index: json_error(402, "Insufficient credits"), "credit|account|paid|balance|quota", "."),
        (
            lambda request, index: Response(chunks=[b"<html>hi</html>"], framing="length"),
            "JSON|answer",
            "LLM_BASE_URL|server",
        ),
        (lambda request, index: json_error(503, "overloaded"), "m: ", "."),
    ],
)
def test_what_a_server_does_wrong_is_named_with_its_cure(
    tmp_path: Path, answer: Callable[[Request, int], Response], words: str, what_to_do: str
) -> None:
    with Loopback(answer) as server:
        code, said = doctor(settled(tmp_path), url=server.url)
    assert re.search(what_to_do, cure(said, words)), said
    assert code == ("FAIL" in said)


def test_a_server_that_is_not_there_is_said_to_be_none(tmp_path: Path) -> None:
    code, said = doctor(tmp_path, url=f"http://127.0.0.1:{free_port()}/v1")
    assert code == 1 and "start the server" in cure(said, "no connection to 127.0.0.1")
    code, said = doctor(tmp_path, url="http://nowhere.invalid/v1")
    assert code == 1 and "LLM_BASE_URL" in cure(said, "nowhere.invalid is not known")


def test_each_key_and_each_model_is_tried(tmp_path: Path) -> None:
    with Loopback(good()) as first, Loopback(good(window=64_000)) as second:
        more = {"LLM_API_KEY_2": "sk-second-0123456789", "LLM_BASE_URL_2": second.url, "LLM_FALLBACK_MODELS": "other"}
        code, said = doctor(settled(tmp_path), url=first.url, **more)
    assert code == 0, said
    assert len(re.findall(r"^ok    key [02] at .*: answers", said, re.MULTILINE)) == 2
    assert len(re.findall(r"^warn  key [02] at .*, other: ", said, re.MULTILINE)) == 2
    assert "sk-second" not in said


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
        ({"TZ": "Nowhere/Land"}, "is no time zone"),
    ],
)
def test_what_is_odd_about_the_terminal_is_named(tmp_path: Path, more: dict[str, str], words: str) -> None:
    env = environment(tmp_path, GATEWAY_PORT=free_port(), NO_COLOR="1", **more)
    with Terminal(tmp_path, "doctor", env=env) as terminal:
        said = terminal.expect(r"fine\.")
        assert terminal.wait() == 0
    assert cure(said.replace("\r\n", "\n"), words)
    if "LC_ALL" in more:
        assert said.isascii()


def test_on_a_terminal_the_levels_have_colours_and_in_a_pipe_none(tmp_path: Path) -> None:
    with Terminal(tmp_path, "doctor", env=environment(tmp_path, TERM="xterm-256color")) as terminal:
        assert "\x1b[32mok" in terminal.expect(r"fine\.")
        assert terminal.wait() == 0
    assert "\x1b" not in doctor(tmp_path)[1]


@pytest.mark.parametrize(
    ("answer", "level", "words"),
    [
        (json_answer({"name": "kit", "flags": 1 << 19}), "ok", "knows the bot kit"),
        (json_answer({"name": "kit", "flags": 0}), "FAIL", "message content"),
        (json_error(401, "401: Unauthorized"), "FAIL", "refuses"),
        (json_answer(["odd"]), "warn", "not understood"),
        (Response(chunks=[b"<html>"], framing="length"), "warn", "not understood"),
        (json_error(500, "no"), "FAIL", "cannot be asked"),
    ],
)
def test_what_discord_says_of_the_bot(answer: Response, level: str, words: str) -> None:
    token = "MTA-canary-0123456789.abcdef.0123456789-0123456789"
    settings = Settings("m", "http://127.0.0.1:9", "", 1000, discord_bot_token=token, discord_allowed_users=("1",))
    with Loopback(lambda request, index: answer) as server:
        found = list(ways.discord(settings, f"{server.url}/applications/@me"))
        assert server.requests[0].headers["authorization"] == f"Bot {token}"
    assert [each for each in found if each.level == level and words in each.words], found
    assert token not in str(found)


def test_a_check_that_fails_itself_is_a_finding_and_the_others_go_on() -> None:
    def broken() -> Any:
        yield Finding("ok", "so far")
        raise RuntimeError("odd")

    found = list(_side_by_side({"one": broken, "two": lambda: iter([Finding("ok", "fine")])}))
    assert [each.words for each in found] == ["so far", "one: the check itself failed (RuntimeError: odd)", "fine"]
    assert [each.level for each in _guarded("x", broken)] == ["ok", "FAIL"]
