"""What a start costs: the version, one whole question, the first request."""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from ..loopback import text_stream
from ..program import environment
from .answers import packets
from .figures import Measured, against, figure
from .measure import Usage, in_turns, process
from .server import Server

MODULE = [sys.executable, "-m", "agentkit"]
SCRIPT = "import sys; from agentkit.__main__ import main; sys.argv = ['agentkit', '--version']; sys.exit(main())"

# The same question, asked by hand.
BARE = """
import sys, requests
body = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": True}
response = requests.Session().post(sys.argv[1] + "/chat/completions", json=body, stream=True)
print(response.content.decode())
"""


def _version(*command: str) -> Measured:
    """CPU of printing the version."""
    with TemporaryDirectory() as made:
        folder = Path(made)
        env = environment(folder)
        ours, floor = in_turns(
            15,
            lambda: process(command, folder, env).cpu * 1000,
            lambda: process([sys.executable, "-I", "-c", "pass"], folder, env).cpu * 1000,
        )
    return against(ours, floor, "ms")


@figure("start version", bar=3.5)
def version() -> Measured:
    """CPU of `python -m agentkit --version`, against `python -I -c pass`"""
    return _version(*MODULE, "--version")


@figure("start version script", bar=3.5)
def version_script() -> Measured:
    """CPU of `agentkit --version`, against `python -I -c pass`"""
    return _version(sys.executable, "-c", SCRIPT)


@cache
def _hello() -> tuple[list[Usage], list[Usage], bytes]:
    """`agentkit run hello`, the same with bare requests, and the body of the former's request."""
    answer = text_stream("Hello", " there", usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})
    runs: tuple[list[Usage], list[Usage]] = ([], [])
    with TemporaryDirectory() as made, Server([packets(answer)]) as server:
        folder = Path(made)
        env = environment(folder, server.url)

        def run(kind: int, *command: str) -> float:
            usage = process(command, folder, env)
            assert "Hello" in usage.stdout, usage
            runs[kind].append(usage)
            return usage.cpu

        in_turns(15, lambda: run(0, *MODULE, "run", "hello"), lambda: run(1, sys.executable, "-c", BARE, server.url))
    return runs[0][1:], runs[1][1:], server.first_body


@figure("run cpu", bar=1.5)
def run_cpu() -> Measured:
    """CPU of `agentkit run hello`, against a script that does the same request with requests"""
    ours, bare, _ = _hello()
    return against([each.cpu * 1000 for each in ours], [each.cpu * 1000 for each in bare], "ms")


@figure("run memory", bar=34)
def run_memory() -> Measured:
    """peak memory of `agentkit run hello`"""
    ours, bare, _ = _hello()
    note = f"the bare script: {median(each.rss for each in bare):.1f} MiB"
    return Measured(median(each.rss for each in ours), "MiB", note=note)


@figure("request body", bar=6_000)
def request_body() -> Measured:
    """the first request's whole body, with the sample agent"""
    return Measured(len(_hello()[2]), "bytes")


@figure("request schemas", bar=2_500)
def request_schemas() -> Measured:
    """the tools' schemas in it"""
    tools = json.loads(_hello()[2])["tools"]
    size = len(json.dumps(tools, ensure_ascii=False, separators=(",", ":")).encode())
    return Measured(size, "bytes", note=f"{len(tools)} tools")
