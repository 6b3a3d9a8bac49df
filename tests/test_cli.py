"""The command line, in real processes and pseudo-terminals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from .loopback import Loopback, Request, Response, call_stream, event, json_error, text_stream
from .program import WAIT, Terminal, agentkit, environment, settled

ALLOW = r"Allow\?[^\n]*: $"


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# -- run


def test_run_answers_on_stdout_and_exits(tmp_path: Path) -> None:
    with Loopback([text_stream("Hello", " world")]) as server:
        done = agentkit(settled(tmp_path), "run", "hi", env=environment(tmp_path, server.url))
        assert server.requests[0].json["messages"][-1]["role"] == "user"
        assert server.requests[0].said[-1] == "hi"
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hello world\n", "")


def test_run_with_json_prints_the_events_one_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("plum")
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    replies = [call_stream(("read_file", {"path": "a.txt"})), text_stream("Plum.", usage=usage)]
    with Loopback(replies) as server:
        done = agentkit(settled(tmp_path), "run", "--json", "hi", env=environment(tmp_path, server.url))
    events = lines(done.stdout)
    assert [each["type"] for each in events] == ["turn_started", "tool_started", "tool_finished", "text", "done"]
    assert {each["session"] for each in events} == {"agent:assistant:direct:cli-user"}
    assert len({each["turn"] for each in events}) == 1 and events[0]["turn"]
    started, called, finished, text, end = (
        {k: v for k, v in e.items() if k not in ("session", "turn")} for e in events
    )
    assert started == {"type": "turn_started", "agent": "assistant", "model": "m"}
    assert called == {"type": "tool_started", "id": finished["id"], "name": "read_file", "arguments": {"path": "a.txt"}}
    assert finished["ok"] is True and "plum" in finished["output"] and finished["seconds"] >= 0
    assert text == {"type": "text", "text": "Plum."}
    assert {**end, "seconds": 0} == {"type": "done", "text": "Plum.", "model": "m", "usage": usage, "seconds": 0}


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (["run"], "from a pipe", "from a pipe"),
        (["run", "-"], "all of\nstdin", "all of\nstdin"),
        (["run", "Summarise:", "-"], "text", "Summarise:\n\ntext"),
        (["run", "--", "--odd"], "", "--odd"),
        ([], "hi\n", "hi"),
        (["chat", "--plain"], "hi", "hi"),
        (["run", "//etc is a folder"], "", "/etc is a folder"),
    ],
)
def test_what_is_said_comes_from_the_arguments_or_stdin(
    tmp_path: Path, arguments: list[str], stdin: str, said: str
) -> None:
    with Loopback([text_stream("ok")]) as server:
        done = agentkit(tmp_path, *arguments, env=environment(tmp_path, server.url), stdin=stdin)
        assert server.requests[0].said[-1] == said
    assert (done.returncode, done.stdout) == (0, "ok\n")


def test_bytes_that_are_no_text_are_taken_all_the_same(tmp_path: Path) -> None:
    with Loopback([text_stream("ok")]) as server:
        done = agentkit(tmp_path, env=environment(tmp_path, server.url), stdin=b"\xff\x00\x1b[31m ok \xc3\n")
        assert done.returncode == 0
        assert "ok" in server.requests[0].json["messages"][-1]["content"]


def test_piped_lines_are_messages_and_the_end_of_input_waits_for_all(tmp_path: Path) -> None:
    with Loopback(lambda request, index: text_stream(f"answer {index}")) as server:
        done = agentkit(tmp_path, env=environment(tmp_path, server.url), stdin="one\n\n  \ntwo\nthree")
    assert (done.returncode, done.stdout) == (0, "answer 0\nanswer 1\nanswer 2\n")


def test_one_failed_line_of_several_is_exit_code_one(tmp_path: Path) -> None:
    with Loopback([text_stream("a"), json_error(400, "no"), text_stream("c")]) as server:
        done = agentkit(tmp_path, env=environment(tmp_path, server.url), stdin="one\ntwo\nthree\n")
    assert (done.returncode, done.stdout) == (1, "a\nc\n")
    assert "error: " in done.stderr


@pytest.mark.parametrize("cut", [[event({"content": "Hel"})], [event({"content": "Hel"}), b'data: {"cho']])
def test_a_cut_stream_is_never_printed_as_an_answer(tmp_path: Path, cut: list[bytes]) -> None:
    with Loopback(lambda request, index: Response(chunks=cut, end="clean")) as server:
        done = agentkit(settled(tmp_path), "run", "hi", env=environment(tmp_path, server.url))
    assert (done.returncode, done.stdout) == (1, "")
    assert len(server.requests) == 3
    again = r"note: Profile 0 failed for m \(network\)[^\n]+ again in \d\.\d s\.\n"
    assert re.fullmatch(rf"({again}){{2}}error: [^\n]+\n", done.stderr)


def test_what_an_agent_says_while_it_goes_in_circles_is_not_printed_as_an_answer(tmp_path: Path) -> None:
    with Loopback(lambda request, index: call_stream(("list_dir", {"path": "."}), text="Looking.")) as server:
        done = agentkit(settled(tmp_path), "run", "what is there?", env=environment(tmp_path, server.url))
    assert (done.returncode, done.stdout) == (1, "")
    assert "list_dir was called 5 times" in done.stderr


@pytest.mark.parametrize(("flags", "made"), [(["--yes"], True), (["--no"], False), ([], False)])
def test_without_a_person_a_tool_runs_only_with_yes(tmp_path: Path, flags: list[str], made: bool) -> None:
    with Loopback([call_stream(("bash", {"command": "touch made"})), text_stream("ok")]) as server:
        done = agentkit(tmp_path, "run", *flags, "go", env=environment(tmp_path, server.url))
        result = server.requests[1].json["messages"][-1]["content"]
    assert (done.returncode, (tmp_path / "made").exists()) == (0, made)
    assert ("refused" in result) is not made
    if not flags:
        assert "--yes" in done.stderr


def test_run_gives_up_after_its_timeout(tmp_path: Path) -> None:
    with Loopback([Response(chunks=[event({"content": "Hel"})], end="hang")]) as server:
        done = agentkit(tmp_path, "run", "--timeout", "1", "hi", env=environment(tmp_path, server.url))
    assert (done.returncode, done.stdout) == (1, "")
    assert "1 s" in done.stderr


def test_run_takes_commands_and_refuses_unknown_ones(tmp_path: Path) -> None:
    env = environment(tmp_path, "http://127.0.0.1:9/v1")
    helped = agentkit(tmp_path, "run", "/help", env=env)
    assert helped.returncode == 0
    assert "/stop" in helped.stdout and "/exit" in helped.stdout
    unknown = agentkit(tmp_path, "run", "/hepl", env=env)
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "/help" in unknown.stderr


def test_a_reader_that_goes_away_is_no_disaster(tmp_path: Path) -> None:
    with Loopback([text_stream("x" * 200_000)]) as server:
        command = f"{sys.executable} -m agentkit run hi | head -c 1"
        env = environment(tmp_path, server.url)
        folder = settled(tmp_path)
        done = subprocess.run(["sh", "-c", command], cwd=folder, env=env, capture_output=True, timeout=WAIT)
    assert (done.stdout, done.stderr) == (b"x", b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_an_answer_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with Loopback([text_stream("hello")]) as server, open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "agentkit", "run", "hi"],
            cwd=settled(tmp_path),
            env=environment(tmp_path, server.url),
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=WAIT,
        )
    assert done.returncode == 1
    assert re.fullmatch(rb"error: [^\n]+\n", done.stderr)


@pytest.mark.parametrize("arguments", [["run", "hi"], ["run", "--json", "hi"], ["--version"]])
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_disaster(tmp_path: Path, arguments: list[str], closed: str) -> None:
    with Loopback([text_stream("Hello")]) as server:
        command = f"{sys.executable} -m agentkit {' '.join(arguments)} {closed}"
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=settled(tmp_path),
            env=environment(tmp_path, server.url),
            capture_output=True,
            timeout=WAIT,
        )
    assert (done.returncode, done.stderr) == (0, b"")
    if ">&-" not in closed.replace("2>&-", ""):
        assert b"Hello" in done.stdout or b"agentkit" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_reader_that_stopped_reading_cannot_keep_it(tmp_path: Path, number: signal.Signals) -> None:
    with Loopback([text_stream("x" * 3_000_000)]) as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "agentkit", "run", "hi"],
            cwd=tmp_path,
            env=environment(tmp_path, server.url),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert process.stdout and process.stdout.read(10) == b"x" * 10
        process.send_signal(number)
        assert process.wait(WAIT) == (130 if number == signal.SIGINT else 143)
        process.stdout.close()


def test_a_signal_that_the_parent_ignores_stays_ignored(tmp_path: Path) -> None:
    release = threading.Event()
    answer = Response(before_headers=release, chunks=text_stream("fine").chunks)
    with Loopback([answer]) as server:
        process = subprocess.Popen(
            ["nohup", sys.executable, "-m", "agentkit", "run", "hi"],
            cwd=tmp_path,
            env=environment(tmp_path, server.url),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        server.wait_for_requests(1)
        process.send_signal(signal.SIGHUP)
        release.set()
        assert process.communicate(timeout=WAIT)[0] == b"fine\n"


def test_exit_in_a_pipe_waits_for_its_turn(tmp_path: Path) -> None:
    with Loopback(lambda request, index: text_stream(f"answer {index}")) as server:
        done = agentkit(tmp_path, env=environment(tmp_path, server.url), stdin="one\n/exit\ntwo\n")
    assert (done.returncode, done.stdout) == (0, "answer 0\n")


@pytest.mark.parametrize("code", ["import sys; sys.exit(0)", "print('noise')", "raise KeyError(1)"])
def test_a_tools_file_can_neither_end_the_program_nor_write_into_its_answers(tmp_path: Path, code: str) -> None:
    (tmp_path / "mine.py").write_text(code)
    done = agentkit(tmp_path, "--tools", "mine.py", "run", "hi", env=environment(tmp_path, "http://127.0.0.1:9/v1"))
    assert (done.returncode, done.stdout) == (2, "")


def test_a_working_directory_that_is_gone_is_said(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f"rmdir ../gone && {sys.executable} -m agentkit run hi"
    env = environment(tmp_path, "http://127.0.0.1:9/v1")
    done = subprocess.run(["sh", "-c", command], cwd=gone, env=env, capture_output=True, timeout=WAIT)
    assert done.returncode == 2 and b"cd " in done.stderr and b"Traceback" not in done.stderr


# -- settings and usage


def test_without_settings_the_demo_model_answers_and_says_how_to_connect_a_real_one(tmp_path: Path) -> None:
    done = agentkit(tmp_path, "run", "hello", env=environment(tmp_path))
    assert done.returncode == 0
    assert "demo" in done.stdout.lower() or done.stdout.strip()
    said = done.stderr.splitlines()
    assert len(said) == 4 and "demo" in said[0] and "workspace" in said[3]
    assert all(name in done.stderr for name in ("LLM_BASE_URL", "LLM_API_KEY", "LLM_MODEL", "LLM_CONTEXT_WINDOW"))


def test_each_setting_at_fault_is_named_and_the_exit_code_is_two(tmp_path: Path) -> None:
    env = {**environment(tmp_path), "LLM_MODEL": "m", "LLM_BASE_URL": "localhost:8080", "LLM_TIMEOUT": "soon"}
    done = agentkit(tmp_path, "run", "hi", env=env)
    assert (done.returncode, done.stdout) == (2, "")
    for name in ("LLM_BASE_URL", "LLM_API_KEY", "LLM_CONTEXT_WINDOW", "LLM_TIMEOUT"):
        assert name in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", ""],
        ["run", "two", "words"],
        ["run", "--timeout", "-1", "hi"],
        ["run", "--yes", "--no", "hi"],
        ["--nonsense"],
        ["nonsense"],
        ["--env-file", "missing.env", "run", "hi"],
        ["--workspace", "no/such/parent", "run", "hi"],
        ["--workspace", "file", "run", "hi"],
        ["--log-level", "loud", "run", "hi"],
        ["--tools", "missing.py", "run", "hi"],
        ["--tools", "file", "run", "hi"],
    ],
)
def test_what_makes_no_sense_is_exit_code_two(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "file").write_text("not python!")
    done = agentkit(tmp_path, *arguments, env=environment(tmp_path, "http://127.0.0.1:9/v1"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["run", "--help"]])
def test_version_and_help_work_with_broken_settings(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / ".env").write_bytes(b'\xff\xfe broken "')
    done = agentkit(tmp_path, *arguments, env={**environment(tmp_path), "LLM_MODEL": "half"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "agentkit" in done.stdout


def test_settings_come_from_dot_env_and_the_environment_wins(tmp_path: Path) -> None:
    with Loopback(lambda request, index: text_stream("ok")) as server:
        (tmp_path / ".env").write_text(
            f"LLM_BASE_URL={server.url}\nLLM_API_KEY='sk-from-file'\n"
            "export LLM_MODEL=file # comment\nLLM_CONTEXT_WINDOW=9000\n"
        )
        assert agentkit(tmp_path, "run", "hi", env={**environment(tmp_path), "LLM_MODEL": "mine"}).returncode == 0
        assert server.requests[0].json["model"] == "mine"
        assert server.requests[0].headers["authorization"] == "Bearer sk-from-file"


def test_extra_fields_and_your_own_tools_go_into_the_request(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        'from agentkit import tool\n\n@tool\ndef count_words(path: str) -> str:\n    """Count words."""\n'
        '    return f"{len(open(path).read().split())} words"\n'
    )
    (tmp_path / "text.txt").write_text("one two three")
    replies = [call_stream(("count_words", {"path": "text.txt"})), text_stream("3")]
    with Loopback(replies) as server:
        env = environment(tmp_path, server.url, LLM_EXTRA='{"temperature": 0.2}')
        done = agentkit(tmp_path, "--tools", "mine.py", "run", "how many?", env=env)
        assert server.requests[0].json["temperature"] == 0.2
        assert server.requests[1].json["messages"][-1]["content"] == "3 words"
    assert done.returncode == 0


def test_no_traceback_reaches_a_user_but_the_log_has_it(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        'from agentkit import tool\n@tool\ndef boom() -> str:\n    """Fails."""\n    raise KeyError("inside")\n'
    )
    with Loopback([call_stream(("boom", {})), text_stream("ok")]) as server:
        env = environment(tmp_path, server.url, LOG_LEVEL="debug")
        done = agentkit(tmp_path, "--tools", "mine.py", "run", "go", env=env)
    assert "Traceback" not in done.stdout + done.stderr
    log = tmp_path / "workspace" / ".state" / "agentkit.log"
    assert "KeyError" in log.read_text()
    assert "sk-canary" not in log.read_text()
    assert log.parent.stat().st_mode & 0o777 == 0o700


def test_a_plain_question_leaves_nothing_but_the_workspace_with_its_conversation(tmp_path: Path) -> None:
    with Loopback([text_stream("ok")]) as server:
        done = agentkit(tmp_path, "run", "hi", env=environment(tmp_path, server.url))
    assert re.fullmatch(r"note: Made the workspace [^\n]+\n", done.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["workspace"]
    assert sorted(path.name for path in (tmp_path / "workspace").iterdir()) == [".agents", ".state", "sessions"]
    assert sorted(path.name for path in (tmp_path / "workspace" / ".state").iterdir()) == [
        "profiles.json",
        "profiles.lock",
        "usage",
    ]


def test_a_run_goes_on_with_the_conversation_of_that_label(tmp_path: Path) -> None:
    with Loopback([text_stream("one"), text_stream("two")]) as server:
        for text in ("first", "second"):
            agentkit(tmp_path, "run", "--session", "talk", text, env=environment(tmp_path, server.url))
        assert server.requests[1].said[1:] == ["first", "one", "second"]
    listed = agentkit(tmp_path, "run", "/list", env=environment(tmp_path, server.url))
    assert re.search(r"^\* +talk +4 ", listed.stdout, re.MULTILINE)


def test_a_chat_resumes_where_it_was_left_and_shows_it(tmp_path: Path) -> None:
    env = environment(tmp_path)
    with Loopback([text_stream("It is plum."), text_stream("Plum, as I said.")]) as server:
        env = environment(tmp_path, server.url)
        agentkit(tmp_path, env=env, stdin="what is it?\n")
        done = agentkit(tmp_path, "--resume", env=env, stdin="say it again\n")
        assert server.requests[1].said[1:] == ["what is it?", "It is plum.", "say it again"]
    assert "> what is it?\nIt is plum.\n" in done.stderr and done.stdout == "Plum, as I said.\n"


def test_a_refused_command_is_exit_code_one(tmp_path: Path) -> None:
    for command, code in (("/list", 0), ("/load nowhere", 1), ("/nonsense", 1), ("/delete x", 1), ("/rewind", 1)):
        done = agentkit(tmp_path, "run", command, env=environment(tmp_path, "http://127.0.0.1:9/v1"))
        assert done.returncode == code, done
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--session", "///", "hi"], ["--agent", "nobody", "hi"]])
def test_an_agent_or_label_that_cannot_be_is_exit_code_two(tmp_path: Path, arguments: list[str]) -> None:
    done = agentkit(tmp_path, "run", *arguments, env=environment(tmp_path, "http://127.0.0.1:9/v1"))
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.count("\n") <= 2


def test_a_workspace_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    folder = settled(tmp_path)
    (folder / "workspace" / "sessions").write_text("in the way")
    with Loopback([text_stream("hello")]) as server:
        done = agentkit(folder, "run", "hi", env=environment(tmp_path, server.url))
    assert (done.returncode, done.stdout) == (0, "hello\n") and "Nothing is saved" in done.stderr


# -- in a terminal


def test_the_demo_in_a_terminal_lists_files_and_runs_what_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "plum.txt").write_text("x")
    with Terminal(tmp_path, "--plain", env=environment(tmp_path)) as terminal:
        terminal.expect("demo model")
        terminal.expect("> $")
        terminal.send("list the files here\n")
        terminal.expect("plum.txt")
        terminal.expect("> $")
        for answer, made in (("n", False), ("y", True)):
            terminal.send("run touch made\n")
            assert "touch made" in terminal.expect(ALLOW)
            terminal.send(f"{answer}\n")
            terminal.expect("> $")
            assert (tmp_path / "made").exists() is made
        terminal.send("run echo first\n")
        terminal.expect(ALLOW)
        terminal.send("a\n")
        terminal.expect("> $")
        terminal.send("run touch second\n")
        assert "Allow?" not in terminal.expect("> $")
        assert (tmp_path / "second").exists()
        terminal.send("/approvals\n")
        terminal.expect("bash")
        terminal.send("/exit\n")
        assert terminal.wait() == 0


def test_an_answer_streams_on_a_terminal(tmp_path: Path) -> None:
    seen = threading.Event()
    answer = Response(
        chunks=[event({"content": "first"}), event({"content": " second"}, "stop"), b"data: [DONE]\n\n"],
        between=lambda i: i == 0 and seen.wait(WAIT),
    )
    with (
        Loopback([answer]) as server,
        Terminal(tmp_path, "run", "hi", env=environment(tmp_path, server.url)) as terminal,
    ):
        terminal.expect("first")
        seen.set()
        terminal.expect(" second")
        assert terminal.wait() == 0


def test_escape_sequences_of_the_model_do_not_reach_the_terminal(tmp_path: Path) -> None:
    with (
        Loopback([text_stream("a\x1b]0;owned\x07b", "\x1b", "[31mc")]) as server,
        Terminal(tmp_path, "run", "hi", env=environment(tmp_path, server.url)) as terminal,
    ):
        assert terminal.wait() == 0
        assert "\x1b" not in terminal.screen


def test_what_was_typed_before_a_question_is_not_its_answer(tmp_path: Path) -> None:
    release = threading.Event()

    def script(request: Request, index: int) -> Response:
        if index == 0:
            return Response(before_headers=release, chunks=call_stream(("bash", {"command": "touch made"})).chunks)
        return text_stream("ok")

    with (
        Loopback(script) as server,
        Terminal(tmp_path, "--plain", env=environment(tmp_path, server.url)) as terminal,
    ):
        terminal.expect("> $")
        terminal.send("go\n")
        server.wait_for_requests(1)
        terminal.send("y")  # half a line, typed ahead
        release.set()
        terminal.expect(ALLOW)
        terminal.send("\n")  # an empty line decides nothing: it asks again
        terminal.expect(ALLOW)
        terminal.send("not now\n")
        terminal.expect("> $")
        assert not (tmp_path / "made").exists()
        assert "not now" in server.requests[1].json["messages"][-1]["content"]


TOOL_THAT_NEVER_LOOKS = '''
from agentkit import tool
import threading

@tool
def never_looks() -> str:
    """Blocks."""
    threading.Event().wait(60)
'''


@pytest.mark.parametrize("state", ["before the headers", "stalled stream", "sleep 1000", "never looks"])
def test_ctrl_c_interrupts_and_the_conversation_stays_usable(tmp_path: Path, state: str) -> None:
    (tmp_path / "mine.py").write_text(TOOL_THAT_NEVER_LOOKS)
    first = {
        "before the headers": Response(before_headers=threading.Event()),
        "stalled stream": Response(chunks=[event({"content": "Hel"})], end="hang"),
        "sleep 1000": call_stream(("bash", {"command": "echo begun > begun; sleep 1000"})),
        "never looks": call_stream(("never_looks", {})),
    }[state]
    with (
        Loopback(lambda request, index: text_stream("fine") if index else first) as server,
        Terminal(
            tmp_path, "--plain", "--tools", "mine.py", env=environment(tmp_path, server.url, TOOL_APPROVAL="trust")
        ) as terminal,
    ):
        terminal.expect("> $")
        terminal.send("go\n")
        server.wait_for_requests(1)
        if state != "before the headers":
            terminal.expect({"stalled stream": "Hel"}.get(state, "bash:|never_looks:"))
        terminal.send("\x03")
        terminal.expect("interrupted")
        terminal.expect("> $")
        terminal.send("and now?\n")
        terminal.expect("fine")
        terminal.expect("> $")
        terminal.send("\x04")
        assert terminal.wait() == 0


def test_ctrl_c_on_an_idle_line_asks_once(tmp_path: Path) -> None:
    with Terminal(tmp_path, "--plain", env=environment(tmp_path, "http://127.0.0.1:9/v1")) as terminal:
        terminal.expect("> $")
        terminal.send("\x03")
        terminal.expect("once more")
        terminal.send("\x03")
        assert terminal.wait() == 0


def test_run_interrupted_is_exit_code_130_and_no_process_is_left(tmp_path: Path) -> None:
    stubborn = "trap '' TERM; echo $$ > pid; exec sleep 1000"
    with (
        Loopback([call_stream(("bash", {"command": f"mkfifo begun; ({stubborn}) & wait"}))]) as server,
        Terminal(tmp_path, "run", "--yes", "go", env=environment(tmp_path, server.url)) as terminal,
    ):
        terminal.expect("bash:")
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
            threading.Event().wait(0.01)
        terminal.send("\x03")
        assert terminal.wait() == 130
    with pytest.raises(ProcessLookupError):
        while True:
            os.kill(int((tmp_path / "pid").read_text()), 0)
            threading.Event().wait(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminated_program_ends_its_turn_first(tmp_path: Path, number: signal.Signals) -> None:
    with (
        Loopback([Response(chunks=[event({"content": "Hel"})], end="hang")]) as server,
        Terminal(tmp_path, "--plain", env=environment(tmp_path, server.url)) as terminal,
    ):
        terminal.expect("> $")
        terminal.send("go\n")
        terminal.expect("Hel")
        os.kill(terminal.pid, number)
        assert terminal.wait() == 128 + number
        assert server.requests[0].gone.wait(WAIT)


def test_leaving_during_a_turn_asks_once_and_gives_unsent_messages_back(tmp_path: Path) -> None:
    with (
        Loopback([Response(chunks=[event({"content": "Hel"})], end="hang")]) as server,
        Terminal(tmp_path, "--plain", env=environment(tmp_path, server.url)) as terminal,
    ):
        terminal.expect("> $")
        terminal.send("go\n")
        terminal.expect("Hel")
        terminal.send("and this\n")
        terminal.expect("queued")
        terminal.send("\x04")
        terminal.expect("A turn is running")
        terminal.send("\x04")
        terminal.expect("not sent: and this")
        assert terminal.wait() == 0


def test_a_command_typed_while_an_answer_streams_is_answered(tmp_path: Path) -> None:
    with (
        Loopback([Response(chunks=[event({"content": "Hel"})], end="hang")]) as server,
        Terminal(tmp_path, "--plain", env=environment(tmp_path, server.url)) as terminal,
    ):
        terminal.expect("> $")
        terminal.send("go\n")
        terminal.expect("Hel")
        terminal.send("/approvals\n")
        terminal.expect("Nothing is always allowed")
        terminal.send("/exit\n")
        terminal.expect("once more")
        terminal.send("/exit\n")
        assert terminal.wait() == 0


def test_a_line_that_the_terminal_has_cut_is_not_sent(tmp_path: Path) -> None:
    with (
        Loopback([text_stream("fine")]) as server,
        Terminal(tmp_path, "--plain", env=environment(tmp_path, server.url)) as terminal,
    ):
        terminal.expect("> $")
        terminal.send("A" * 5000 + "\n")
        terminal.expect("not sent: a terminal cuts lines")
        terminal.send("short\n")
        terminal.expect("fine")
        assert len(server.requests) == 1


def test_stop_works_while_a_turn_runs(tmp_path: Path) -> None:
    with (
        Loopback([Response(chunks=[event({"content": "Hel"})], end="hang"), text_stream("fine")]) as server,
        Terminal(tmp_path, "--plain", env=environment(tmp_path, server.url)) as terminal,
    ):
        terminal.expect("> $")
        terminal.send("/stop\n")
        terminal.expect("Nothing is running")
        terminal.send("go\n")
        terminal.expect("Hel")
        terminal.send("/stop\n")
        terminal.expect("interrupted")
        terminal.send("again\n")
        terminal.expect("fine")


def test_a_secret_is_not_in_the_environment_of_a_command(tmp_path: Path) -> None:
    with Loopback([call_stream(("bash", {"command": "env"})), text_stream("ok")]) as server:
        env = environment(
            tmp_path, server.url, OTHER="holds sk-canary-0123456789 too", DISCORD_BOT_TOKEN="canary-token"
        )
        agentkit(tmp_path, "run", "--yes", "go", env=env)
        result = server.requests[1].json["messages"][-1]["content"]
    assert "PATH=" in result
    assert "canary" not in result
