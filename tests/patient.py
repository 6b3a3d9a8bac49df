"""A patient for the doctor: a server that is well, the program called as a user does, the cure that it names."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .loopback import Request, Response, call_stream, json_answer, json_error, text_stream
from .program import agentkit, environment

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


@contextmanager
def dead_port() -> Iterator[int]:
    """A port of this machine that nobody listens at, nor can meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def doctor(folder: Path, *arguments: str, url: str = "", **more: Any) -> tuple[int, str]:
    """The exit code, and what was said."""
    env = environment(folder, url, **{"GATEWAY_PORT": "0", **more})
    done = agentkit(folder, "doctor", *arguments, env=env)
    assert "Traceback" not in done.stdout + done.stderr and KEY not in done.stdout + done.stderr
    return done.returncode, done.stdout


def cure(said: str, words: str) -> str:
    """The line behind the one that matches."""
    found = re.search(rf"^(?:warn|FAIL)  [^\n]*(?:{words})[^\n]*\n      ([^\n]+)$", said, re.MULTILINE)
    assert found, f"{words!r} is not there:\n{said}"
    return found[1]
