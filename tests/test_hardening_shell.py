"""What commands do to whoever runs them; test_shell.py has what they do otherwise."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from agentkit.cancel import Cancel
from agentkit.errors import ToolError
from agentkit.toolbox import Scope
from agentkit.tools.processes import in_session
from agentkit.tools.shell import LIMIT, bash

from .fullscreen import FullScreen
from .loopback import Loopback, call_stream, text_stream
from .program import agentkit, environment, settled
from .serving import serving
from .test_shell import alive, linux, named, wait_until_dead


@pytest.fixture
def scope(tmp_path: Path) -> Scope:
    (tmp_path / "here").mkdir()
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    return Scope(((tmp_path / "here").resolve(),), environment=environ)


@pytest.fixture
def doomed() -> Iterator[list[int]]:
    """Process ids that the test leaves behind."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def outcome(command: str, scope: Scope, timeout: float = 30.0) -> str:
    """What the model reads."""
    try:
        return str(bash(command, timeout, scope=scope))
    except ToolError as error:
        return str(error)


ENDED = [
    # Nobody types: what reads finds the end.
    ("head -c 1 | wc -c | tr -d ' '", "0"),
    (f"{sys.executable} -c 'input()' 2>&1 | tail -1", "EOFError: EOF when reading a line"),
    ("exec 2>&1; read -t 5 x; echo $?", "1"),
    ("test -t 0 || test -t 1 || test -t 2 || echo none", "none"),
    ("select x in a b; do echo $x; done 2>/dev/null; echo over", r"\s*over"),
    # Exit codes as shells have them.
    ("exit 256", ""),
    ("exit -1", r"\[exit 255\]"),
    ("(exit 300)", r"\[exit 44\]"),
    ("set -e; false; echo never", r"\[exit 1\]"),
    ("exec no-such-program", r"(?s).*\[exit 127\]"),
    ("echo 'never closed", r"(?s).*\[exit [12]\]"),
    # Signals to itself, and to its whole group.
    ("kill -9 0", r"\[killed by SIGKILL\]"),
    ("kill -TERM -$$", r"\[killed by SIGTERM\]"),
    ("trap 'echo told; exit 9' TERM; kill $$; sleep 5", r"told\n\[exit 9\]"),
    ("trap '' TERM HUP INT QUIT PIPE; kill $$; kill -INT $$; kill -HUP $$; echo alive", "alive"),
    # It takes away what it stands on.
    ("cd ..; rm -r here; cd here 2>/dev/null || echo gone", "gone"),
    ("PATH=; ls", r"(?s).*\[exit 127\]"),
    ("unset PATH HOME PWD; echo on", "on"),
    ("ulimit -n 3; exec 9>x; echo $?", r"(?s).*1\]?"),
    ("exec >&- 2>&-; sleep 0.1; exit 4", r"\[exit 4\]"),
    ("exec <&- >&- 2>&-; exit 0", ""),
    # What it writes is no terminal's business, nor is what is no text.
    (r"printf '\033]0;t\007\033[2J\033P1$r\033\\\033[?1049h\033]52;c;AAAA\007 x\r\n'", r" x"),
    (r"printf '\302\233 \302\205 \342\200\256 \363\240\201\201 y'", r"[^\x80-\x9f\u202e\U000e0041]* y"),
    ("wall hello 2>/dev/null; reset 2>/dev/null; clear 2>/dev/null; echo on", r"on"),
]


@pytest.mark.parametrize(("command", "told"), ENDED)
def test_a_command_ends_and_what_it_did_is_told(command: str, told: str, scope: Scope) -> None:
    said = outcome(command, scope).removesuffix("\n")
    assert re.fullmatch(told, said), said
    assert said.isprintable() or set(said) <= {*"\n\t", *filter(str.isprintable, said)}


def test_a_folder_that_a_command_took_away_is_named_by_the_next(scope: Scope) -> None:
    outcome("cd ..; rm -r here", scope)
    assert re.fullmatch(
        r"the working directory .*/here cannot be entered: No such file or directory", outcome("ls", scope)
    )


def test_random_bytes_are_told_as_text(scope: Scope) -> None:
    said = outcome("head -c 20000 /dev/urandom", scope)
    said.encode()
    assert len(said) <= LIMIT + 100 and not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", said)


@linux
@pytest.mark.parametrize("size", [200_000, 3_000_000])
def test_a_command_too_long_for_the_system_is_told_what_to_do(size: int, scope: Scope) -> None:
    assert "write it to a file" in outcome("true " + "x" * size, scope)
    assert outcome(
        f"head -c {size} /dev/zero | tr '\\0' x > file; sh file 2>/dev/null; wc -c < file", scope
    ).strip() == str(size)


def test_hundreds_of_megabytes_are_cut_and_counted(scope: Scope) -> None:
    said = outcome("head -c 300000000 /dev/zero | tr '\\0' x", scope)
    assert re.fullmatch(r"x{15000}\n\[\.\.\. 299,970,000 bytes cut \.\.\.\]\nx{15000}", said)


STUBBORN = [
    "yes",
    "trap '' TERM INT HUP QUIT; yes",
    "trap 'echo no' TERM; while :; do sleep 100; done",
    "kill -STOP $$",
    "(trap '' TERM; sleep 100) & trap '' TERM; wait",
    "exec >&- 2>&- <&-; sleep 100",
    "sleep 100 | (exec >&-; exit 3)",
    "exec 2>&1; exec 1>/dev/null; sleep 100",
    f"{sys.executable} -c 'import signal, time; signal.pthread_sigmask(0, range(1, 65)); time.sleep(100)'",
    "for i in 1 2 3 4 5 6 7 8 9; do (trap '' TERM; exec sleep 100) & done; wait",
    "set -m; (trap '' TERM; sleep 100) & (trap '' TERM; sleep 100) & wait",
]


@pytest.mark.parametrize("command", STUBBORN)
def test_out_of_time_nothing_is_left_of_what_does_not_want_to_end(command: str, scope: Scope) -> None:
    said = outcome(f"echo $$; {command}", scope, 0.2)
    assert "[timed out after 0.2 s: timeout may be up to 3600]" in said and len(said) < LIMIT + 1000
    leader = int(said.split()[0])
    wait_until_dead(leader)
    assert in_session(leader) == {}


STAYING = [
    "(sleep 1000 &); echo begun",
    "sh -c 'sleep 1000 & exit'; echo begun",
    "sleep 1000 & disown; echo begun",
    "coproc sleep 1000; echo begun",
    "exec <&- >&- 2>&-; sleep 1000 & exit 0",
    "nohup sh -c 'exec sleep 1000' >/dev/null 2>&1 </dev/null & echo begun",
    pytest.param("setsid sh -c 'exec sleep 1000 2>/dev/null' & echo begun", marks=linux),
    pytest.param("(setsid sh -c '(exec sleep 1000 2>/dev/null) &' &); echo begun", marks=linux),
]


@pytest.mark.parametrize("command", STAYING)
def test_what_goes_on_is_named_however_it_was_let_go(command: str, scope: Scope, doomed: list[int]) -> None:
    said = outcome(command, scope)
    doomed += named(said)
    assert len(doomed) == 1 and "sleep 1000" in said and alive(doomed[0])


@pytest.mark.parametrize("delay", [0, 0.001, 0.003, 0.006, 0.012, 0.03, 0.3])
def test_interrupted_at_any_moment_it_ends_and_leaves_nothing(delay: float, scope: Scope) -> None:
    """While the process is made, while it runs, while its last output is awaited."""
    for command in ("echo $$; trap '' TERM; sleep 100", "echo $$; (trap '' TERM; exec sleep 0.5 2>&-) & exit"):
        own = Scope(scope.roots, environment=scope.environment, cancel=Cancel())
        timer = threading.Timer(delay, own.cancel.set)
        timer.start()
        said = outcome(command, own)
        timer.join()
        if pid := re.match(r"\d+", said):
            wait_until_dead(int(pid[0]))
            assert in_session(int(pid[0])) == {} or "still running" in said
        assert "interrupted" in said or delay > 0.1  # by then the second may be over


# -- the program itself


def killing(how: str) -> Loopback:
    return Loopback([call_stream(("bash", {"command": f"{how} $PPID; sleep 100"})), text_stream("I am here.")])


@pytest.mark.parametrize(("how", "code"), [("kill", 143), ("kill -HUP", 129), ("kill -INT", 130), ("kill -9", -9)])
def test_a_command_that_ends_the_program_leaves_its_conversation_whole(tmp_path: Path, how: str, code: int) -> None:
    home = settled(tmp_path)
    with killing(how) as server:
        env = environment(home, server.url, TOOL_APPROVAL="trust")
        done = agentkit(home, "run", "--session", "talk", "go", env=env)
        assert done.returncode == code and "Traceback" not in done.stderr
        again = agentkit(home, "run", "--session", "talk", "and now?", env=env)
        assert again.returncode == 0 and again.stdout == "I am here.\n"
        said = [each["role"] for each in server.requests[-1].json["messages"]]
        assert said == ["system", "user", "assistant", "tool", "assistant", "user"]


def test_a_command_that_ends_the_program_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    home = settled(tmp_path)
    with killing("kill") as server:
        env = environment(home, server.url, TOOL_APPROVAL="trust", TERM="xterm-256color")
        with FullScreen(home, env=env) as screen:
            screen.shows("ready")
            screen.send("go\r")
            assert screen.wait() == 143
            assert screen.screen.rindex("\x1b[?1049l") and "goes on with this conversation" in screen.screen


def test_a_command_that_ends_the_server_lets_it_end_in_order(tmp_path: Path) -> None:
    home = settled(tmp_path)
    script = [call_stream(("bash", {"command": "kill $PPID; echo done"})), text_stream("I am here.")]
    with Loopback(script) as server:
        env = environment(home, server.url, TOOL_APPROVAL="trust")
        with serving(home, env, "--gateway") as served:
            assert served.ask("send", text="go")["result"]["reply"] == "I am here."
            assert served.wait() == 0
            assert "agentkit has ended" in "".join(served.told)
