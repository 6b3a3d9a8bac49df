"""The program as a process, started over a workspace in which everything is damaged."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from agentkit.channels.access import is_token, kept_token
from agentkit.channels.discord.seen import Seen
from agentkit.channels.tui.recall import History
from agentkit.errors import SettingsError
from agentkit.settings import load

from .loopback import Answer, Loopback, Request, text_stream
from .program import environment
from .serving import serving
from .test_hardening_files import BYTES, FILES, KINDS


def spoil(path: Path, how: str, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if how in BYTES:
        path.write_bytes(BYTES[how](text.encode()))
    else:
        KINDS[how](path)


def answer(request: Request, index: int) -> Answer:
    return text_stream("I am here.")


SERVED = ["empty", "binary", "half", "UTF-16", "an array", "a deep one", "a folder", "a FIFO", "a loop"]


@pytest.mark.parametrize("how", SERVED)
def test_a_server_goes_on_over_whatever_it_finds(tmp_path: Path, how: str) -> None:
    for name, text in FILES.items():
        spoil(tmp_path / "workspace" / name, how, text)
    with Loopback(answer) as server:
        env = environment(tmp_path, server.url, GATEWAY_TOKEN="gw-0123456789abcdef0123456789abcdef")
        with serving(tmp_path, env, "--gateway") as served:
            for _ in range(2):
                assert served.ask("send", text="hello")["result"]["reply"] == "I am here."
            for method in (
                "status",
                "cron.list",
                "heartbeat.status",
                "delivery.stats",
                "bindings.list",
                "sessions.list",
            ):
                assert "result" in served.ask(method), method
            served.send(signal.SIGHUP)
            served.wait_for("Read anew")
            assert served.end() == 0
        told = "".join(served.told)
        assert "Traceback" not in told and "failed" not in told


@pytest.mark.parametrize("how", [*BYTES, *KINDS])
def test_the_smallest_files_are_taken_or_made_anew_or_refused_in_words(tmp_path: Path, how: str) -> None:
    state = tmp_path / "w" / ".state"
    for name, text in (("gateway.token", "0123456789abcdef" * 4), ("discord.seen", "1\n2\n"), ("history", '"one"\n')):
        spoil(state / name, how, text)
    try:
        token = kept_token(state / "gateway.token")
    except OSError as error:
        assert how in KINDS and str(error)
    else:
        assert is_token(token) and kept_token(state / "gateway.token") == token
        assert (state / "gateway.token").stat().st_mode & 0o777 == 0o600
    seen = Seen(state / "discord.seen")
    seen.load()
    assert seen.add(123) and not seen.add(123)
    history = History(lambda: state / "history")
    history.remember("three")
    assert history.entries[-1] == "three"


@pytest.mark.parametrize("how", [*BYTES, *KINDS])
def test_an_env_file_is_read_or_refused_in_words(tmp_path: Path, how: str) -> None:
    text = "LLM_MODEL=m\nLLM_BASE_URL=http://127.0.0.1:9/v1\nLLM_API_KEY=canary-0123456789\nLLM_CONTEXT_WINDOW=8000\n"
    spoil(tmp_path / ".env", how, text)
    try:
        load({"PATH": "/bin"}, tmp_path)
    except SettingsError as error:
        assert error.problems and len(error.problems) < 20
        assert not any("canary" in each or "\x1b" in each or len(each) > 500 for each in error.problems)
