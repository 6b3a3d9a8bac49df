"""The full screen, in a real pseudo-terminal, read through pyte."""

from __future__ import annotations

import os
import random
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from .fullscreen import FullScreen
from .loopback import Loopback, Request, Response, call_stream, event, json_error, text_stream
from .program import WAIT, environment
from .seeing import CALM

ENTER, ESC, UP = "\r", "\x1b", "\x1b[A"
BASH = call_stream(("bash", {"command": "touch made && echo it is done"}))


def chat(folder: Path, server: Loopback | None, *arguments: str, **more: Any) -> FullScreen:
    size = {name: more.pop(name) for name in ("rows", "columns") if name in more}
    env = environment(folder, server.url if server else "", **{"TERM": "xterm-256color", **more})
    screen = FullScreen(folder, *arguments, env=env, **size)
    screen.shows("ready")
    return screen


@pytest.mark.parametrize("term", ["xterm-256color", "linux", "vt100", "screen"])
def test_an_answer_appears_as_it_is_written(tmp_path: Path, term: str) -> None:
    second = threading.Event()
    answer = Response(
        chunks=[event({"content": "Hello"}), event({"content": ", world 😀 馬"}, "stop"), b"data: [DONE]\n\n"],
        between=lambda i: i == 0 and second.wait(WAIT),
    )
    with Loopback([answer]) as server, chat(tmp_path, server, TERM=term) as screen:
        screen.send("hi there" + ENTER)
        screen.shows(r"› hi there")
        screen.shows(r"● Hello\n")
        screen.shows("writing")
        second.set()
        screen.shows("● Hello, world")
        screen.shows("ready")
        screen.send("\x04")
        assert screen.wait() == 0


@pytest.mark.parametrize(("key", "made"), [("y", True), ("a", True), ("n", False), (ESC, False)])
def test_a_tool_that_asks_waits_for_a_key(tmp_path: Path, key: str, made: bool) -> None:
    with Loopback([BASH, text_stream("Well.")]) as server, chat(tmp_path, server) as screen:
        screen.send("go" + ENTER)
        screen.shows("bash wants to run")
        screen.shows(r"\$ touch made")
        assert not (tmp_path / "made").exists()
        press_until(screen, key, "Well")
        assert (tmp_path / "made").exists() is made
        screen.shows("✓ 0|✗ 0")


def press_until(screen: FullScreen, key: str, pattern: str) -> None:
    """A key counts only some time after the question came, and after the last key: press it until it does."""
    screen.shows("Esc = no")
    for _ in range(20):
        screen.pump(CALM)
        screen.send(key)
        try:
            screen.gone("Esc = no", timeout=2 * CALM)
            break
        except AssertionError:
            pass
    screen.shows(pattern)


def test_always_is_asked_once(tmp_path: Path) -> None:
    with Loopback([BASH, text_stream("One."), BASH, text_stream("Two.")]) as server, chat(tmp_path, server) as screen:
        screen.send("go" + ENTER)
        screen.shows("bash wants to run")
        press_until(screen, "a", "One")
        screen.send("again" + ENTER)
        screen.shows("Two")


def test_a_paste_neither_sends_nor_approves(tmp_path: Path) -> None:
    with Loopback([BASH, text_stream("Well.")]) as server, chat(tmp_path, server) as screen:
        screen.send("\x1b[200~two\nlines\n\x1b[201~")
        screen.shows("> two\n  lines")
        assert server.requests == []
        screen.send("\x03go" + ENTER)
        screen.shows("bash wants to run")
        screen.send("\x1b[200~y\n\x1b[201~")
        screen.shows("> y")
        screen.send("y")  # with a draft, a letter is a letter
        screen.shows("> y\n  y")
        assert not (tmp_path / "made").exists()
        screen.send("\x03")
        press_until(screen, "n", "Well")
        assert not (tmp_path / "made").exists()


def test_a_large_paste_is_taken_whole(tmp_path: Path) -> None:
    text = "".join(f"line {number} žluť\n" for number in range(6_000))
    with Loopback([text_stream("Got it.")]) as server, chat(tmp_path, server) as screen:
        writer = threading.Thread(target=screen.send_all, args=(f"\x1b[200~{text}\x1b[201~end",))
        writer.start()
        screen.shows("end")
        writer.join()
        screen.send(ENTER)
        screen.shows("Got it")
        assert server.requests[0].said[-1] == text + "end"


def test_esc_interrupts_a_stalled_stream_and_the_chat_goes_on(tmp_path: Path) -> None:
    stalled = Response(chunks=[event({"content": "Hel"})], end="hang")
    with Loopback([stalled, text_stream("fine")]) as server, chat(tmp_path, server) as screen:
        screen.send("go" + ENTER)
        screen.shows("● Hel")
        screen.send(ESC)
        screen.shows("interrupted")
        screen.shows("● Hel")
        screen.shows("ready")
        screen.send("again" + ENTER)
        screen.shows("● fine")


def test_a_message_sent_while_the_agent_works_is_queued_in_sight(tmp_path: Path) -> None:
    release = threading.Event()

    def script(request: Request, index: int) -> Response:
        return text_stream("second") if index else Response(before_headers=release, chunks=text_stream("first").chunks)

    with Loopback(script) as server, chat(tmp_path, server) as screen:
        screen.send("one" + ENTER)
        screen.shows("waiting")
        screen.send("two" + ENTER)
        screen.shows("queued: two")
        release.set()
        screen.shows(r"● first(\n|.)*› two(\n|.)*● second")
        screen.gone("queued")


def test_an_error_is_a_card_with_the_cure(tmp_path: Path) -> None:
    with Loopback([json_error(401, "Incorrect API key")]) as server, chat(tmp_path, server) as screen:
        screen.send("hi" + ENTER)
        screen.shows(r"✗ auth\n[^\n]*key[^\n]*(\n[^\n]+)*LLM_API_KEY")


def test_the_transcript_scrolls_and_stays_where_it_is(tmp_path: Path) -> None:
    lines = "\n".join(f"row {number}" for number in range(100))
    with Loopback([text_stream(lines), text_stream("more")]) as server, chat(tmp_path, server) as screen:
        screen.send("go" + ENTER)
        screen.shows("row 99")
        screen.send("\x1b[5~\x1b[5~")
        screen.gone("row 99")
        screen.shows("row 57\n")
        screen.send("\x1b[<64;1;1M")
        screen.send("\x1b[6~" * 9)
        screen.shows("row 99")
        screen.send("\x1b[5~" * 20)
        screen.shows("› go")


def test_resizing_while_it_streams_loses_nothing(tmp_path: Path) -> None:
    words = [event({"content": f"word{number} "}) for number in range(200)]
    answer = Response(chunks=[*words, event({}, "stop")], gap=0.005)
    with Loopback([answer]) as server, chat(tmp_path, server) as screen:
        screen.send("go" + ENTER)
        screen.shows("word5 ")
        for rows, columns in ((12, 40), (24, 80), (5, 20), (2, 3), (1, 1), (40, 120), (12, 40), (24, 80)):
            screen.resize(rows, columns)
        screen.shows("word199")
        screen.shows("ready")
        assert len(screen.text.splitlines()) <= 24


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP, "exit", "ctrl-c twice", "tools"])
def test_on_every_way_out_the_terminal_is_as_it_was(tmp_path: Path, how: Any) -> None:
    (tmp_path / "broken.py").write_text("this is not python")
    with Loopback(lambda request, index: Response(chunks=[event({"content": "Hel"})], end="hang")) as server:
        env = environment(tmp_path, server.url, TERM="xterm-256color")
        arguments = ("--tools", "broken.py") if how == "tools" else ()
        with FullScreen(tmp_path, *arguments, env=env) as screen:
            before = screen.modes()
            if how == "exit":
                screen.shows("ready")
                screen.send("/exit" + ENTER)
            elif how == "ctrl-c twice":
                screen.shows("ready")
                screen.send("\x03")
                screen.shows("Ctrl-C once more leaves")
                screen.send("\x03")
            elif how != "tools":
                screen.shows("ready")
                screen.send("go" + ENTER)
                screen.shows("● Hel")
                os.kill(screen.pid, how)
            expected = {"exit": 0, "ctrl-c twice": 0, "tools": 2}.get(how, 128 + how if isinstance(how, int) else 0)
            assert screen.wait() == expected
            assert screen.modes()[:4] == before[:4]
            for mode in ("\x1b[?2004l", "\x1b[?1000l", "\x1b[?1049l"):
                assert mode in screen.screen
            assert ("cannot start" in screen.screen) is (how == "tools")
            assert "Traceback" not in screen.screen


def test_a_thread_that_fails_leaves_the_screen_whole_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import threading\nfrom agentkit import tool\n\n@tool\ndef boom() -> str:\n"
        '    """Fails in a thread of its own, and prints."""\n'
        "    print('stray words')\n"
        "    thread = threading.Thread(target=lambda: 1 / 0)\n    thread.start()\n    thread.join()\n    return 'ok'\n"
    )
    with (
        Loopback([call_stream(("boom", {})), text_stream("Still here.")]) as server,
        chat(tmp_path, server, "--tools", "mine.py") as screen,
    ):
        screen.send("go" + ENTER)
        screen.shows("Still here")
        screen.shows("ZeroDivisionError")
        assert "Traceback" not in screen.screen and "stray words" not in screen.screen


def test_random_bytes_leave_it_alive(tmp_path: Path) -> None:
    noise = random.Random(7).randbytes(12_000)
    for leaves in (b"\x03", b"\x04", b"\x07", b"\x1a"):  # or gives the terminal to somebody else
        noise = noise.replace(leaves, b"")
    with Loopback(lambda request, index: text_stream("ok")) as server, chat(tmp_path, server) as screen:
        writer = threading.Thread(target=screen.send_all, args=(noise,))
        writer.start()
        while writer.is_alive():
            screen.pump(0.05)
        screen.send("\x1b[201~" + ESC)
        screen.pump(0.2)
        screen.send("\x03still alive?")
        screen.shows("still alive\\?")


def test_ctrl_z_is_survived_where_nobody_can_bring_it_back(tmp_path: Path) -> None:
    with Loopback([text_stream("fine")]) as server, chat(tmp_path, server) as screen:
        screen.send("\x1ahi" + ENTER)
        screen.shows("● fine")


def test_a_dumb_terminal_gets_the_plain_chat(tmp_path: Path) -> None:
    with (
        Loopback([text_stream("fine")]) as server,
        FullScreen(tmp_path, env=environment(tmp_path, server.url, TERM="dumb")) as screen,
    ):
        screen.expect("> $")
        screen.send("hi\n")
        screen.expect("fine")


def test_history_brings_a_message_back(tmp_path: Path) -> None:
    with Loopback(lambda request, index: text_stream(f"answer {index}")) as server, chat(tmp_path, server) as screen:
        screen.send("first" + ENTER)
        screen.shows("answer 0")
        screen.send(UP)
        screen.shows("> first")
        screen.send(" again" + ENTER)
        screen.shows("answer 1")
        assert server.requests[1].said[-1] == "first again"


def test_a_small_terminal_is_usable(tmp_path: Path) -> None:
    with Loopback([text_stream("x " * 100)]) as server, chat(tmp_path, server, rows=12, columns=40) as screen:
        screen.send("hi" + ENTER)
        screen.shows("x x x")
        screen.shows("ready")


# -- what an attack has found


def test_no_character_hides_the_end_of_what_is_to_be_decided(tmp_path: Path) -> None:
    command = "echo harmless # " + "\U0001f3fd" * 120 + "; echo the end of it"
    replies = [call_stream(("bash", {"command": command})), text_stream("Well.")]
    with Loopback(replies) as server, chat(tmp_path, server, rows=40) as screen:
        screen.send("go" + ENTER)
        screen.shows("bash wants to run")
        screen.shows("the end of it(.|\\n)*y once")


def test_a_long_question_has_its_last_row_in_the_strip_and_all_of_it_on_a_page(tmp_path: Path) -> None:
    command = "\n".join(f"echo line {number}" for number in range(40))
    replies = [call_stream(("bash", {"command": command})), text_stream("Well.")]
    with Loopback(replies) as server, chat(tmp_path, server) as screen:
        screen.send("go" + ENTER)
        screen.shows(r"… 37 more rows · \? shows them")
        screen.shows(r"cwd [^\n]*\n[^\n]*y once")
        screen.pump(0.5)
        screen.send("?")
        screen.shows("bash wants to run +\\d+ more below")
        screen.gone("y once")
        screen.send("\x1b[6~" * 2)
        screen.shows("echo line 39\n +cwd|echo line 39")
        screen.send("y")  # while it is looked at, a letter decides nothing
        screen.send(ESC)
        screen.shows("y once")
        assert not server.requests[1:]
        press_until(screen, "n", "Well")


def test_nothing_is_decided_while_the_question_cannot_be_seen(tmp_path: Path) -> None:
    with Loopback([BASH, text_stream("Well.")]) as server, chat(tmp_path, server) as screen:
        screen.resize(4, 19)
        screen.shows("too small")
        screen.send("go" + ENTER)
        server.wait_for_requests(1)
        screen.pump(0.6)
        screen.send("y")
        screen.pump(0.2)
        screen.resize(24, 80)
        screen.shows("bash wants to run")
        assert not (tmp_path / "made").exists()
        press_until(screen, "y", "Well")
        assert (tmp_path / "made").exists()


def test_letters_that_come_together_decide_nothing_and_esc_refuses_beside_a_draft(tmp_path: Path) -> None:
    with Loopback([BASH, text_stream("Well.")]) as server, chat(tmp_path, server) as screen:
        screen.send("go" + ENTER)
        screen.shows("bash wants to run")
        screen.pump(0.5)
        screen.send("yy")
        screen.pump(0.2)
        assert not (tmp_path / "made").exists()
        screen.send("my draft")
        screen.shows("Ctrl-C clears the line")
        screen.send(ESC)
        screen.shows("Well")
        screen.shows("> my draft")
        assert not (tmp_path / "made").exists()


def test_a_command_answers_while_an_answer_streams(tmp_path: Path) -> None:
    stalled = Response(chunks=[event({"content": "Hel"})], end="hang")
    with Loopback([stalled]) as server, chat(tmp_path, server) as screen:
        screen.send("go" + ENTER)
        screen.shows("● Hel")
        screen.send("/approvals" + ENTER)
        screen.shows("Nothing is always allowed")
        screen.send("/exit" + ENTER)
        screen.shows("once more leaves")
        screen.send("/exit" + ENTER)
        assert screen.wait() == 0


def test_a_sequence_that_comes_in_two_parts_while_text_streams_is_one_key(tmp_path: Path) -> None:
    words = Response(chunks=[event({"content": f"word{number}\n"}) for number in range(400)], gap=0.005, end="hang")
    with Loopback([words]) as server, chat(tmp_path, server) as screen:
        screen.send("go" + ENTER)
        screen.shows("word60")
        screen.send("\x1b")
        screen.pump(0.02)
        screen.send("[5~")
        screen.shows("more below")
        assert "interrupted" not in screen.text


def test_what_was_queued_is_printed_when_one_leaves(tmp_path: Path) -> None:
    stalled = Response(chunks=[event({"content": "Hel"})], end="hang")
    with Loopback([stalled]) as server, chat(tmp_path, server) as screen:
        screen.send("go" + ENTER)
        screen.shows("● Hel")
        screen.send("and this" + ENTER)
        screen.shows("queued: and this")
        screen.send("\x04")
        screen.shows("once more leaves")
        screen.send("\x04")
        assert screen.wait() == 0
        assert "not sent: and this" in screen.screen


def test_a_tool_gets_neither_the_keys_nor_the_screen(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import subprocess, sys\nfrom agentkit import tool\n\n@tool\ndef rude() -> str:\n"
        '    """Reads and writes as it likes."""\n'
        "    subprocess.run('echo SPOILT; echo SPOILT >&2; cat', shell=True)\n    return repr(sys.stdin.read())\n"
    )
    with (
        Loopback([call_stream(("rude", {})), text_stream("Still here.")]) as server,
        chat(tmp_path, server, "--tools", "mine.py") as screen,
    ):
        screen.send("go" + ENTER)
        screen.shows("Still here")
        screen.send("typed")
        screen.shows("> typed")
        assert "SPOILT" not in screen.screen


def test_stray_words_are_in_the_log(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from agentkit import tool\n\n@tool\ndef loud() -> str:\n"
        '    """Prints."""\n    print("STRAY", flush=True)\n    return "ok"\n'
    )
    with (
        Loopback([call_stream(("loud", {})), text_stream("Still here.")]) as server,
        chat(tmp_path, server, "--tools", "mine.py", "--log-level", "debug") as screen,
    ):
        screen.send("go" + ENTER)
        screen.shows("Still here")
        screen.send("\x04")
        assert screen.wait() == 0
    assert "STRAY" in (tmp_path / "workspace" / ".state" / "agentkit.log").read_text()


def test_a_locale_without_unicode_gets_ascii(tmp_path: Path) -> None:
    with Loopback([text_stream("plain words")]) as server, chat(tmp_path, server, LC_ALL="C") as screen:
        screen.send("hi" + ENTER)
        screen.shows(r"\* plain words")
        screen.shows("> hi")


def test_the_size_of_the_terminal_counts_and_not_what_the_environment_says(tmp_path: Path) -> None:
    with Loopback([]) as server, chat(tmp_path, server, LINES="10", COLUMNS="40") as screen:
        screen.shows(r"(?m)^ agentkit  assistant · m · ~ {40,}ask$")


def test_it_comes_back_after_it_was_stopped_from_outside(tmp_path: Path) -> None:
    with Loopback([text_stream("fine")]) as server, chat(tmp_path, server) as screen:
        os.kill(screen.pid, signal.SIGSTOP)
        os.waitpid(screen.pid, os.WUNTRACED)
        os.kill(screen.pid, signal.SIGCONT)
        screen.send("hi" + ENTER)
        screen.shows("● fine")


def test_interrupted_twice_from_outside_it_leaves(tmp_path: Path) -> None:
    with Loopback([]) as server, chat(tmp_path, server) as screen:
        os.kill(screen.pid, signal.SIGINT)
        screen.shows("once more leaves")
        os.kill(screen.pid, signal.SIGINT)
        assert screen.wait() == 0


def test_a_resumed_chat_shows_what_was_said(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("plum")
    replies = [call_stream(("read_file", {"path": "a.txt"})), text_stream("It is plum."), text_stream("Still plum.")]
    with Loopback(replies) as server:
        with chat(tmp_path, server) as screen:
            screen.send("what is in a.txt?" + ENTER)
            screen.shows("● It is plum")
            screen.shows("ready")
            screen.send("\x04")
            assert screen.wait() == 0
        with chat(tmp_path, server, "--resume") as screen:
            screen.shows(r"› what is in a\.txt\?")
            screen.shows(r"⚙ read_file  a\.txt +✓")
            screen.shows("● It is plum")
            screen.send("and now?" + ENTER)
            screen.shows("● Still plum")
            assert screen.text.count("It is plum") == 1
        assert server.requests[-1].said[1] == "what is in a.txt?"


def test_a_conversation_that_is_loaded_comes_onto_the_screen(tmp_path: Path) -> None:
    replies = [text_stream("First answer."), text_stream("Second answer.")]
    with Loopback(replies) as server, chat(tmp_path, server, "--session", "alpha") as screen:
        screen.send("one" + ENTER)
        screen.shows("First answer")
        screen.shows("ready")
        screen.send("/new beta" + ENTER)
        screen.shows("A new conversation begins: beta")
        screen.send("two" + ENTER)
        screen.shows("Second answer")
        screen.shows("ready")
        screen.send("/load al" + ENTER)
        screen.shows("This is alpha")
        screen.shows("First answer[^§]*First answer")


def test_a_chat_that_cannot_be_saved_says_so_in_the_status_line(tmp_path: Path) -> None:
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "sessions").write_text("in the way")
    with Loopback([text_stream("fine")]) as server, chat(tmp_path, server) as screen:
        screen.send("hi" + ENTER)
        screen.shows("● fine")
        screen.shows("Nothing is saved")
        screen.shows("not saved")


def test_tab_completes_a_command(tmp_path: Path) -> None:
    with Loopback([]) as server, chat(tmp_path, server) as screen:
        screen.send("/sta\t")
        screen.shows("> /status")
        screen.send("\x03/s\t")
        screen.shows(r"/save +give (.|\n)*/skill (.|\n)*/switch ")
        screen.send("k\t")
        screen.shows("(?m)> /skill$")
        screen.send(ENTER)
        screen.shows("/commit  Commit changes")
        screen.send("/comm\t")
        screen.shows("> /commit")


def test_queued_commands_are_not_joined_into_one(tmp_path: Path) -> None:
    stalled = Response(chunks=[event({"content": "Hel"})], end="hang")
    with Loopback([stalled, text_stream("fine")]) as server, chat(tmp_path, server) as screen:
        screen.send("go" + ENTER)
        screen.shows("● Hel")
        screen.send("/new other" + ENTER)
        screen.send("hello you" + ENTER)
        screen.shows("queued: hello you")
        screen.send(ESC)
        screen.shows("interrupted")
        screen.shows("Up brings it back")
        screen.send(UP)
        screen.shows("> hello you")
        screen.send(UP)
        screen.shows("> /new other")


def test_an_interrupted_answer_and_a_failed_tool_come_back_as_they_were(tmp_path: Path) -> None:
    replies = [
        call_stream(("read_file", {"path": "nowhere"})),
        Response(chunks=[event({"content": "It is n"})], end="hang"),
    ]
    with Loopback(replies) as server:
        with chat(tmp_path, server) as screen:
            screen.send("look" + ENTER)
            screen.shows("● It is n")
            screen.send(ESC)
            screen.shows("interrupted")
            screen.shows("ready")
            screen.send("\x04")
            assert screen.wait() == 0
        with chat(tmp_path, server, "--resume") as screen:
            screen.shows(r"⚙ read_file  nowhere +✗")
            screen.shows(r"● It is n\n\n◦ interrupted")
            screen.shows("This goes on with 20")
