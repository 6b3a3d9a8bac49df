"""Canaries in every place of a secret: none of them is ever written or shown where nobody has asked for it."""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path

import pytest

from agentkit.cancel import Cancel
from agentkit.client import Client
from agentkit.errors import LLMError

from .fullscreen import FullScreen
from .loopback import Answer, Loopback, Redirect, Request, Response, call_stream, event, json_error, text_stream
from .program import agentkit, environment, settled

KEYS = {
    "LLM_API_KEY": "canary/zero+0123456789abcdef",
    "LLM_API_KEY_1": "canary-one-0123456789abcdef",
    "GATEWAY_TOKEN": "canary-gateway-0123456789abcdef0123",
    "DISCORD_BOT_TOKEN": "MTAcanary.discord.0123456789abcdef",
}
IN_FILE = "canary-file-0123456789abcdef"
CANARIES = (*KEYS.values(), IN_FILE)
KEY = KEYS["LLM_API_KEY"]


def shown(text: str) -> list[str]:
    """The canaries in a text, or enough of one to guess by."""
    text = text.replace("\\/", "/").replace("%2F", "/").replace("%2B", "+")
    return [each for each in CANARIES if each in text or each[:14] in text or each[-12:] in text]


def written(folder: Path, *but: str) -> list[tuple[str, list[str]]]:
    """The files below a folder that hold canaries."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in but]
    found = [(str(path.relative_to(folder)), shown(path.read_bytes().decode("utf-8", "replace"))) for path in files]
    return [each for each in found if each[1]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with an env file that has a key too."""
    (tmp_path / ".env").write_text(f"LLM_API_KEY_2={IN_FILE}\n")
    return settled(tmp_path)


def environ(home: Path, url: str) -> dict[str, str]:
    return environment(home, url, **KEYS, LOG_LEVEL="debug", TOOL_APPROVAL="trust", LLM_TIMEOUT="20")


def key_of(request: Request) -> str:
    return request.headers["authorization"].removeprefix("Bearer ")


# -- what tools see


LOOK = r"""
env; set; export -p; declare -p; cat /proc/self/environ | tr '\0' '\n'; sh -c env; (env); env -0 | tr '\0' '\n'
exec 9>&1; ls -l /proc/self/fd; cat /proc/self/cmdline; cat /proc/self/mountinfo >/dev/null
nohup env 2>/dev/null; xargs env </dev/null; bash -lc env; bash -ic env 2>/dev/null; true
"""


def test_nothing_that_a_command_is_given_holds_a_key(home: Path) -> None:
    looking = [
        ("bash", {"command": LOOK}),
        (
            "bash",
            {"command": f"{sys.executable} -c 'import os; print(dict(os.environ), os.listdir(\"/proc/self/fd\"))'"},
        ),
        ("grep", {"pattern": "canary", "path": "."}),
        ("grep", {"pattern": "c[a]nary", "path": "workspace"}),
        ("read_file", {"path": ".env"}),
        ("read_file", {"path": "/proc/self/environ"}),
    ]
    with Loopback([call_stream(*looking), text_stream("I have looked.")]) as server:
        done = agentkit(home, "run", "--json", "look", env=environ(home, server.url))
        assert done.returncode == 0, done.stderr
        assert "PATH=" in done.stdout and done.stdout.count('"tool_finished"') == len(looking)
        assert shown(done.stdout + done.stderr) == [] and written(home, ".env") == []
        sent = "".join(each.body.decode() for each in server.requests)
        assert shown(sent) == []


# -- what servers say


def echoes(key: str) -> list[Answer]:
    """A server's words, with the key it was given in them."""
    half = len(key) // 2
    return [
        json_error(401, f"Incorrect API key provided: {key}. You can find it at https://example.org/keys."),
        json_error(401, f"Bad key {key[:-4]}", code=key),
        json_error(401, "no", headers={"WWW-Authenticate": f'Bearer realm="{key}"', "Retry-After": key, "X-Key": key}),
        Response(401, "application/json", chunks=[json.dumps({"error": key}).replace("/", "\\/").encode()]),
        Response(
            403, "text/plain", chunks=[f"Authorization: Bearer {key[:half]}".encode(), f"{key[half:]}\n".encode()]
        ),
        Response(403, "text/html", chunks=[f"<html><title>Denied</title>{key}<p>{key}</html>".encode()]),
        Response(
            400, "application/json", chunks=[json.dumps({"headers": {"Authorization": f"Bearer {key}"}}).encode()]
        ),
        Response(404, f"text/plain; charset={key}", chunks=[("x" * 3990 + key).encode()]),
        Response(chunks=[event({"content": "I sa"}), f'data: {{"error": {{"message": "key {key}"}}}}\n\n'.encode()]),
        Response(chunks=[event({"content": "I sa"}), f"event: error\ndata: {key}\n\n".encode()]),
        Response(200, "text/html", chunks=[f"<html><title>{key}</title></html>".encode()]),
        Response(200, "text/plain", chunks=[f"proxy: {key}".encode()]),
        Redirect(f"http://127.0.0.1:9/v1/{key}", 307),
        Redirect(f"nonsense://{key}@example.org/{key}", 307),
        [f"HTTP/1.1 {key} {key}\r\n\r\n".encode()],
        [f"{key} {key}\r\n{key}: {key}\r\n\r\n".encode()],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + f"{key}\r\n{key}".encode()],
    ]


@pytest.mark.parametrize("number", range(len(echoes(""))))
@pytest.mark.parametrize("key", [KEYS["LLM_API_KEY"], KEYS["LLM_API_KEY_1"]])
def test_an_error_says_nothing_of_the_key_that_the_server_quotes(key: str, number: int) -> None:
    with Loopback([echoes(key)[number]] * 3) as server:
        client = Client(server.url, key, timeout=20.0)
        with pytest.raises(LLMError) as caught:
            for _ in client.stream({"model": "m", "messages": []}, Cancel()):
                pass
        client.close()
    error = caught.value
    assert shown("".join((str(error), repr(error), repr(client), error.message, error.detail, repr(vars(error))))) == []
    assert shown("".join(traceback.format_exception(type(error), error, error.__traceback__))) == []


def test_a_program_whose_every_key_is_quoted_tells_none(home: Path) -> None:
    def answer(request: Request, index: int) -> Answer:
        assert key_of(request) in CANARIES
        return echoes(key_of(request))[(0, 1, 3)[index]]

    with Loopback(answer) as server:
        done = agentkit(home, "run", "--json", "hello", env=environ(home, server.url))
        assert len(server.requests) == 3 and {key_of(each) for each in server.requests} <= {*CANARIES}
    assert done.returncode == 1 and '"failover"' in done.stdout and '"error"' in done.stdout
    assert shown(done.stdout + done.stderr) == [] and written(home, ".env") == []


def test_the_screen_shows_no_key_of_an_error(home: Path) -> None:
    def answer(request: Request, index: int) -> Answer:
        return echoes(key_of(request))[0]

    with Loopback(answer) as server, FullScreen(home, env=environ(home, server.url)) as screen:
        screen.shows("ready")
        screen.send("hello\r")
        screen.shows(r"\[key\]")
        assert shown(screen.text) == []
    assert written(home, ".env") == []


# -- what others say

TOOLS = "import os\nraise ValueError('the key is ' + os.environ['LLM_API_KEY'])\n"


def test_a_program_that_cannot_start_tells_no_key(tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text(TOOLS)
    env = environment(tmp_path, "http://127.0.0.1:9/v1", LLM_API_KEY=KEY)
    done = agentkit(settled(tmp_path), "run", "--tools", "tools.py", "hello", env=env)
    assert done.returncode == 2 and KEY not in done.stderr, done.stderr


OWN = """
from agentkit import tool
import os
@tool
def connect() -> str:
    "Connect."
    raise ConnectionError("401 for " + os.environ["LLM_API_KEY"])
"""


def test_what_a_tool_of_ones_own_says_of_our_keys_goes_no_further(tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text(OWN)
    with Loopback([call_stream(("connect", {})), text_stream("Well.")]) as server:
        env = environment(tmp_path, server.url, LLM_API_KEY=KEY)
        done = agentkit(settled(tmp_path), "run", "--json", "--tools", "tools.py", "go", env=env)
        assert done.returncode == 0 and "401 for" in done.stdout
        assert KEY not in "".join(each.body.decode() for each in server.requests)
    assert KEY not in done.stdout + done.stderr


LOOKS = ["tr '\\0' '\\n' < /proc/$PPID/environ", "cat .env", "cat .env >&2; exit 3", "echo x; grep -r canary .env"]


@pytest.mark.parametrize("command", LOOKS)
def test_what_an_allowed_command_has_read_of_our_keys_goes_no_further(tmp_path: Path, command: str) -> None:
    """It can read what its user can; but neither the server of the model nor a file, nor whoever looks on, gets it."""
    home = settled(tmp_path)
    (home / ".env").write_text(f"LLM_API_KEY={KEY}\n")
    with Loopback([call_stream(("bash", {"command": command})), text_stream("Well.")]) as server:
        env = environment(home, server.url, LLM_API_KEY=KEY, TOOL_APPROVAL="trust")
        done = agentkit(home, "run", "--json", "go", env=env)
        assert done.returncode == 0 and '"tool_finished"' in done.stdout
        assert KEY not in "".join(each.body.decode() for each in server.requests)
    assert KEY not in done.stdout + done.stderr
    assert not [path for path in (home / "workspace").rglob("*.jsonl") if KEY in path.read_text()]
