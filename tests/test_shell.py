"""The `bash` tool, with real processes."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

import pytest

from agentkit.cancel import Cancel
from agentkit.errors import ToolError
from agentkit.toolbox import Scope
from agentkit.tools.processes import in_session
from agentkit.tools.shell import bash, preview

LONG = 30.0  # seconds after which a wait has failed
PYTHON = sys.executable
linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc")


@pytest.fixture
def scope(tmp_path: Path) -> Scope:
    return Scope((tmp_path.resolve(),), environment={"PATH": os.environ["PATH"], "HOME": str(tmp_path)})


@pytest.fixture
def doomed() -> Iterator[list[int]]:
    """Process ids that the test leaves behind."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Signpost:
    """A named pipe: a command writes to it, the test waits for that."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path, self.fd = path, os.open(path, os.O_RDWR)

    def wait(self) -> bytes:
        assert select.select([self.fd], [], [], LONG)[0], "the command did not come this far"
        return os.read(self.fd, 65536)


@pytest.fixture
def signpost(tmp_path: Path) -> Iterator[Signpost]:
    post = Signpost(tmp_path / "signpost")
    yield post
    os.close(post.fd)


def failure(command: str, scope: Scope, timeout: float = LONG) -> str:
    with pytest.raises(ToolError) as caught:
        bash(command, timeout, scope=scope)
    return str(caught.value)


def in_a_thread(work: Callable[[], str]) -> Future[str]:
    future: Future[str] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def alive(pid: int) -> bool:
    done = subprocess.run(["ps", "-p", str(pid), "-o", "stat="], capture_output=True, text=True, check=False)
    return done.stdout.strip()[:1] not in ("", "Z")


def wait_until_dead(pid: int) -> None:
    deadline = time.monotonic() + LONG
    while alive(pid):
        assert time.monotonic() < deadline, f"{pid} still runs"


def named(text: str) -> list[int]:
    """The process ids that a result calls still running."""
    return [int(pid) for pid in re.findall(r"^\[still running: pid (\d+): ", text, re.MULTILINE)]


def script(source: str, *arguments: str) -> str:
    """What a Python program prints, which runs in a process of its own."""
    done = subprocess.run([PYTHON, "-c", source, *arguments], capture_output=True, text=True, timeout=LONG, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


OPEN_FILES = """
import os
def is_open(fd):
    try:
        return bool(os.fstat(fd))
    except OSError:
        return False
print([fd for fd in range(500) if is_open(fd)])
"""

SCRIPT = """
import os, resource, sys, threading
from pathlib import Path
from agentkit.errors import ToolError
from agentkit.toolbox import Scope
from agentkit.tools.shell import bash
scope = Scope((Path(sys.argv[1]),), environment=dict(os.environ))
"""


def test_it_asks_and_its_schema_is_short() -> None:
    assert bash.asks and not bash.read_only
    assert bash.parameters["required"] == ["command"]
    assert len(json.dumps(bash.schema)) < 300


def test_a_person_sees_the_whole_command_and_where_it_runs(scope: Scope) -> None:
    command = "make test \\\n  && " + "echo long; " * 500
    assert preview(command, scope=scope) == f"$ {command}\ncwd {scope.cwd}"


def test_a_person_sees_what_a_screen_would_hide(scope: Scope) -> None:
    shown = preview("rm -rf x \x1b[2K\rls \u202etxt\u200b é", scope=scope)
    assert shown.splitlines()[0] == r"$ rm -rf x \x1b[2K\rls \u202etxt\u200b é"


def test_nobody_is_asked_about_a_command_that_cannot_run(scope: Scope) -> None:
    with pytest.raises(ToolError, match="empty"):
        preview(" ", scope=scope)


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("true", ""),
        ("echo hello", "hello\n"),
        ("printf hello", "hello"),
        ("for i in 1 2 3; do echo out$i; echo err$i >&2; done", "out1\nerr1\nout2\nerr2\nout3\nerr3\n"),
        ("cat; read x; wc -c | tr -d ' '", "0\n"),
        ("pwd -P", "{cwd}\n"),
        ("cat <<END\nfirst\nsecond\nEND", "first\nsecond\n"),
        ("echo é 漢字 🎉", "é 漢字 🎉\n"),
        ("exit 3 | true", ""),
        ("true -x; echo 'it''s' \"$0\" | grep -c sh", "1\n"),
        (r"printf '\033[31mred\033[0m \033]0;title\007plain\033[2J\n'", "red plain\n"),
        (r"printf ' 10%%\r 50%%\r100%%\ndone\r\n'", " 10%\n 50%\n100%\ndone\n"),
        (r"printf '\377\376a\200\n'", "\ufffd\ufffda\ufffd\n"),
        (r"printf 'a\0b\010c\n'", "a\ufffdb\ufffdc\n"),
    ],
)
def test_a_command_that_ends_well_gives_its_output(command: str, output: str, scope: Scope) -> None:
    assert bash(command, scope=scope) == output.replace("{cwd}", str(scope.cwd))


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("exit 1", "[exit 1]"),
        ("false", "[exit 1]"),
        ("echo out; echo err >&2; exit 255", "out\nerr\n[exit 255]"),
        ("printf unfinished; exit 2", "unfinished\n[exit 2]"),
        ("echo before; kill -KILL $$", "before\n[killed by SIGKILL]"),
        ("kill -SEGV $$", "[killed by SIGSEGV]"),
        ("(exit 7)", "[exit 7]"),
        ("exec >&- 2>&-; sleep 0.3; exit 3", "[exit 3]"),
    ],
)
def test_a_command_that_fails_says_how_after_its_output(command: str, text: str, scope: Scope) -> None:
    assert failure(command, scope) == text


@linux
def test_a_signal_without_a_name_is_told_by_its_number(scope: Scope) -> None:
    assert failure("kill -40 $$", scope) == "[killed by signal 40]"


@pytest.mark.parametrize("command", ["no-such-program", "if", "-x", "--help", "+e", "/"])
def test_what_is_no_command_is_the_shells_to_explain(command: str, scope: Scope) -> None:
    assert re.search(r"\n\[exit (2|126|127)\]$", failure(command, scope))


@pytest.mark.parametrize("timeout", [0, -1, 3601, float("nan"), float("inf"), float("-inf"), 10**400])
def test_a_time_limit_out_of_bounds_is_refused_with_the_bounds(timeout: float, scope: Scope) -> None:
    assert "more than 0 and at most 3600 seconds" in failure("echo > ran", scope, timeout)
    assert not (scope.cwd / "ran").exists()


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("echo a\0b", "NUL"),
        ("echo \ud800", "cannot be handed to the shell"),
        ("true " + "x" * 5_000_000, "write it to a file"),
    ],
)
def test_a_command_that_cannot_be_started_is_told_in_a_sentence(command: str, text: str, scope: Scope) -> None:
    message = failure(command, scope)
    assert text in message and len(message) < 200


def test_a_working_directory_that_is_gone_is_named(scope: Scope) -> None:
    gone = scope.cwd / "gone"
    assert str(gone) in failure("true", Scope((gone,), environment=scope.environment))
    gone.write_text("a file")
    assert str(gone) in failure("true", Scope((gone,), environment=scope.environment))


def test_without_a_shell_it_says_so(scope: Scope) -> None:
    assert "neither bash nor sh" in failure("true", Scope(scope.roots, environment={"PATH": str(scope.cwd)}))


def test_where_there_is_no_bash_sh_runs_the_command(scope: Scope) -> None:
    (scope.cwd / "sh").symlink_to("/bin/sh")
    assert bash("echo hello", scope=Scope(scope.roots, environment={"PATH": str(scope.cwd)})) == "hello\n"


def test_the_environment_is_what_it_was_given_and_no_more(scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_API_KEY", "canary")
    given = {**scope.environment, "EXTRA": "two\nlines", "TERM": "xterm", "PAGER": "less"}
    seen = bash(
        f"exec {PYTHON} -c 'import json, os; print(json.dumps(dict(os.environ)))'",
        scope=Scope(scope.roots, environment=given),
    )
    added = {"PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE", "__CF_USER_TEXT_ENCODING"}  # the shell's and Python's own
    kept = {name: value for name, value in json.loads(seen).items() if name not in added}
    assert kept == {**given, "TERM": "dumb", "PAGER": "cat", "GIT_PAGER": "cat"}


def test_the_command_has_a_session_of_its_own_and_no_terminal(scope: Scope) -> None:
    seen = bash(f"exec {PYTHON} -c 'import os; print(os.getpid(), os.getpgrp(), os.getsid(0))'", scope=scope).split()
    assert len(set(seen)) == 1 and int(seen[0]) != os.getsid(0)
    assert failure("exec < /dev/tty", scope)


def test_no_open_file_reaches_the_command(scope: Scope) -> None:
    (scope.cwd / "look.py").write_text(OPEN_FILES)
    with open(scope.cwd / "held", "w") as held:
        os.set_inheritable(held.fileno(), True)
        assert bash(f"exec {PYTHON} look.py", scope=scope) == "[0, 1, 2]\n"


@pytest.mark.parametrize("command", ["sleep 1000", "trap '' TERM; while :; do sleep 1000; done"])
def test_out_of_time_it_is_ended_and_says_so_after_the_output_so_far(command: str, scope: Scope) -> None:
    text = failure(f"echo $$; {command}", scope, 0.5)
    assert re.fullmatch(r"\d+\n\[timed out after 0.5 s: .*3600\]", text)
    wait_until_dead(int(text.split()[0]))


@pytest.mark.parametrize(
    "command",
    [
        "echo $$ > {post}; sleep 1000",
        "echo $$ > {post}; exec sleep 1000",
        "trap '' TERM; echo $$ > {post}; while :; do sleep 1000; done",
        "echo $$ > {post}; yes",
        "echo $$ > {post}; yes | cat",
        "sleep 1000 & echo $! > {post}; wait",
        "sleep 1000 & echo $! > {post}",
        "sleep 1000 >/dev/null 2>&1 & echo $! > {post}; wait",
        "timeout 1000 sleep 1000 & echo $! > {post}; wait",
        "set -m; sleep 1000 & echo $! > {post}; wait",
        "set -m; (trap '' TERM; echo $BASHPID > {post}; while :; do sleep 1000; done) & wait",
        "(trap '' TERM; echo $BASHPID > {post}; exec sleep 1000 >/dev/null 2>&1) & wait",
        "(sleep 0.1; echo $$ > {post}) & kill -STOP $$",
    ],
)
def test_cancelled_from_another_thread_all_that_it_started_is_ended_at_once(
    command: str, scope: Scope, signpost: Signpost
) -> None:
    result = in_a_thread(lambda: bash("echo begun; " + command.format(post=signpost.path), 3600, scope=scope))
    pid = int(signpost.wait())
    scope.cancel.set()
    with pytest.raises(ToolError, match=r"(?s)^begun\n.*\[interrupted\]$") as caught:
        result.result(LONG)
    assert not named(str(caught.value))
    wait_until_dead(pid)


def test_a_command_that_tidies_up_when_told_to_end_has_the_time_to(scope: Scope, signpost: Signpost) -> None:
    command = (
        f"trap 'echo told > {signpost.path}; exit' TERM; echo begun > {signpost.path}; while :; do sleep 0.01; done"
    )
    result = in_a_thread(lambda: bash(command, 3600, scope=scope))
    signpost.wait()
    scope.cancel.set()
    assert signpost.wait() == b"told\n"
    with pytest.raises(ToolError, match="interrupted"):
        result.result(LONG)


def test_cancelled_before_it_starts_it_does_not(scope: Scope) -> None:
    scope.cancel.set()
    assert "interrupted" in failure("echo > ran", scope)
    assert not (scope.cwd / "ran").exists()


@pytest.mark.parametrize(
    "command",
    [
        "sleep 1000 & echo begun",
        "nohup sleep 1000 > log 2>&1 < /dev/null & echo begun",
        "sleep 1000 >/dev/null 2>&1 & echo begun",
        "set -m; sleep 1000 & echo begun",
        pytest.param("setsid sleep 1000 & echo begun", marks=linux),
        pytest.param("setsid -f sleep 1000 2>/dev/null; echo begun", marks=linux),
    ],
)
def test_what_goes_on_in_the_background_is_named_and_left_alone(command: str, scope: Scope, doomed: list[int]) -> None:
    text = bash(command, 3600, scope=scope)
    doomed += named(text)
    assert re.search(r"^begun$", text, re.MULTILINE)
    assert len(doomed) == 1 and "sleep 1000" in text
    assert alive(doomed[0])


def test_a_command_that_fails_names_the_background_before_its_status(scope: Scope, doomed: list[int]) -> None:
    text = failure("sleep 1000 & exit 4", scope)
    doomed += named(text)
    assert re.fullmatch(r"\[still running: pid \d+: sleep 1000\]\n\[exit 4\]", text)


@linux
def test_out_of_time_a_process_with_a_session_of_its_own_is_named(scope: Scope, doomed: list[int]) -> None:
    text = failure("setsid sleep 1000 & sleep 1000", scope, 0.5)
    doomed += named(text)
    assert len(doomed) == 1 and "[timed out" in text and alive(doomed[0])


def test_many_processes_in_the_background_are_counted(scope: Scope, doomed: list[int]) -> None:
    text = bash("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1000 & echo $!; done", scope=scope)
    doomed += map(int, re.findall(r"^\d+$", text, re.MULTILINE))
    assert len(named(text)) == 10 and text.endswith("\n[still running: 2 more]")


def test_what_the_background_writes_shortly_after_the_end_is_not_lost(scope: Scope) -> None:
    assert bash("(sleep 0.2; echo late) & echo early", scope=scope) == "early\nlate\n"


def test_a_process_in_the_background_can_go_on_writing(scope: Scope, signpost: Signpost, doomed: list[int]) -> None:
    text = bash(f"(while echo noise; do echo tick > {signpost.path}; sleep 0.01; done) & echo begun", scope=scope)
    doomed += named(text)
    assert len(doomed) >= 1
    signpost.wait()  # what it wrote until now
    for _ in range(5):
        assert signpost.wait().startswith(b"tick")


@pytest.mark.parametrize(
    ("source", "head", "cut", "tail"),
    [
        ("'a' * 100_000", "a" * 15_000, "70,000", "a" * 15_000),
        ("'a' * 30_001", "a" * 15_000, "1", "a" * 15_000),
        ("'é' * 40_000", "é" * 15_000, "20,000", "é" * 15_000),
        ("'x' + '🎉' * 100_000", "x" + "🎉" * 14_999, "280,004", "🎉" * 15_000),
        ("'🎉' * 1_000_000 + 'xy'", "🎉" * 15_000, "3,880,008", "🎉" * 14_998 + "xy"),
        ("'b' + 'a' * 9_999_998 + 'c'", "b" + "a" * 14_999, "9,970,000", "a" * 14_999 + "c"),
    ],
)
def test_of_long_output_beginning_and_end_stay_and_what_is_cut_is_counted(
    source: str, head: str, cut: str, tail: str, scope: Scope
) -> None:
    program = f"import sys; sys.stdout.buffer.write(({source}).encode())"
    assert bash(f'{PYTHON} -X utf8 -c "{program}"', scope=scope) == f"{head}\n[... {cut} bytes cut ...]\n{tail}"


def test_output_of_just_the_limit_is_not_cut(scope: Scope) -> None:
    program = "import sys; sys.stdout.buffer.write(('é' * 30_000).encode())"
    assert bash(f'{PYTHON} -X utf8 -c "{program}"', scope=scope) == "é" * 30_000


@pytest.mark.parametrize("command", ["cat /dev/zero", "cat /dev/urandom"])
def test_output_without_end_takes_little_memory(command: str, scope: Scope) -> None:
    source = """
bash("true", scope=scope)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    bash(sys.argv[2], 0.7, scope=scope)
except ToolError as error:
    assert str(error)[-60:].count("timed out after 0.7 s") == 1 and len(str(error)) < 31_000
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    kib = int(script(SCRIPT + source, str(scope.cwd), command)) / (1024 if sys.platform == "darwin" else 1)
    assert kib < 20_000


@linux
def test_no_file_no_thread_and_no_zombie_is_left(scope: Scope, doomed: list[int]) -> None:
    def held() -> tuple[set[str], set[threading.Thread], list[str]]:
        listed = subprocess.run(["ps", "-A", "-o", "ppid=,stat="], capture_output=True, text=True, check=True).stdout
        zombies = [line for line in listed.splitlines() if line.split()[0] == str(os.getpid()) and "Z" in line]
        return set(os.listdir("/proc/self/fd")), set(threading.enumerate()), zombies

    before = held()
    for command, timeout in [("true", 9.0), ("exit 1", 9), ("sleep 1000", 0.1), ("x" * 5_000_000, 9), ("exec >&-", 9)]:
        with suppress(ToolError):
            bash(command, timeout, scope=scope)
    doomed += named(bash("sleep 1000 & setsid sleep 1000 & true", scope=scope))
    assert len(doomed) == 2
    assert held() == before


@linux
def test_without_free_file_descriptors_it_fails_in_a_sentence_and_keeps_none(scope: Scope) -> None:
    source = """
def held():
    return sorted(os.listdir("/proc/self/fd"))
bash("true", scope=scope)
before, hard = held(), resource.getrlimit(resource.RLIMIT_NOFILE)[1]
for limit in range(3, 20):
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        outcome = repr(bash("echo done", scope=scope))
    except ToolError as error:
        outcome = str(error)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    assert held() == before, outcome
    print(outcome)
"""
    outcomes = script(SCRIPT + source, str(scope.cwd)).splitlines()
    assert set(outcomes) == {"the command could not be started: Too many open files", r"'done\n'"}


@linux
def test_without_a_free_thread_nothing_is_left_running(scope: Scope) -> None:
    source = """
threading.stack_size(1 << 46)
try:
    bash("sleep 1000", scope=scope)
except ToolError as error:
    print(error)
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("no child")
"""
    told = script(SCRIPT + source, str(scope.cwd)).splitlines()
    assert told[0].startswith("the system can start no more processes now") and told[1:] == ["no child"]


def test_many_commands_at_once_each_get_their_own_end(scope: Scope) -> None:
    def start(n: int) -> Future[str]:
        own = Scope(scope.roots, environment=scope.environment, cancel=Cancel())
        return in_a_thread(lambda: bash(f"echo {n}; exec >&-; exit $(({n} % 2))", scope=own))

    for n, result in enumerate([start(n) for n in range(20)]):
        if n % 2:
            with pytest.raises(ToolError, match=rf"^{n}\n\[exit 1\]$"):
                result.result(LONG)
        else:
            assert result.result(LONG) == f"{n}\n"


def test_a_process_that_is_becoming_another_program_is_never_taken_for_gone(scope: Scope, signpost: Signpost) -> None:
    (scope.cwd / "again").write_text(f"echo $$ > {signpost.path}; exec sh once-more\n")
    (scope.cwd / "once-more").write_text("exec sh once-more\n")
    result = in_a_thread(lambda: bash("exec sh again", 3600, scope=scope))
    pid = int(signpost.wait())
    assert all(in_session(pid) for _ in range(2_000))
    scope.cancel.set()
    with pytest.raises(ToolError, match="interrupted"):
        result.result(LONG)
