"""The full screen as a person sees it: what stands where, in which colours, read cell by cell through pyte."""

from __future__ import annotations

import json
import os
import re
import threading
from pathlib import Path

import pytest

from .beating import HOURLY
from .fullscreen import FullScreen
from .loopback import Loopback, Request, Response, event, json_error, text_stream
from .program import WAIT, environment, settled
from .seeing import USAGE, called, colours, hanging, leave, looks, storm, streaming
from .test_tui import BASH, ENTER, ESC, chat, press_until

# -- the header


@pytest.mark.parametrize(("rows", "seen"), [(16, True), (15, False), (5, False)])
def test_the_header_is_there_from_sixteen_rows_on(tmp_path: Path, rows: int, seen: bool) -> None:
    (tmp_path / "shop").mkdir()
    folder = settled(tmp_path / "shop")
    with Loopback([text_stream("fine")]) as server:
        env = environment(tmp_path, server.url, TERM="xterm-256color")
        with FullScreen(folder, "--session", "fix-login", env=env, rows=rows) as screen:
            screen.shows("ready")
            screen.send("hi" + ENTER)
            screen.shows("fine")
            screen.shows("ready")
            header = r"\A agentkit  assistant · m · ~/shop +#fix-login  ask\n"
            if seen:
                screen.shows(header)
                assert "assistant · m" not in screen.text.partition("\n")[2]
            else:
                screen.shows(r"ready +assistant · m")
                assert "agentkit" not in screen.text
            screen.resize(rows + 16, 80)
            screen.shows(header)


def test_the_header_tells_what_was_allowed_at_once_and_until_it_is_taken_back(tmp_path: Path) -> None:
    hold = threading.Event()
    replies = [BASH, Response(before_headers=hold, chunks=text_stream("Well.").chunks)]
    with Loopback(replies) as server, chat(settled(tmp_path), server) as screen:
        screen.send("go" + ENTER)
        press_until(screen, "a", "always allowed by you")
        screen.shows(r"\A agentkit [^\n]*ask · bash: allowed\n")
        hold.set()
        screen.shows("● Well")
        screen.send("/approvals revoke bash" + ENTER)
        screen.shows("bash asks again")
        screen.gone(r"bash: allowed")


def test_what_runs_unasked_is_seen_in_a_narrow_window_whatever_the_conversation_is_called(tmp_path: Path) -> None:
    label = "a-long-label-" * 4 + "end"
    replies = [BASH, text_stream("Well.")]
    with (
        Loopback(replies) as server,
        chat(settled(tmp_path), server, "--session", label, rows=16, columns=40) as screen,
    ):
        screen.send("go" + ENTER)
        screen.shows("Esc = no")
        press_until(screen, "a", "● Well")
        screen.shows(r"\A[^\n]*#a-long[^\n]* ask · bash: allowed\n")


# -- what is written


def test_markdown_takes_form_while_it_is_written(tmp_path: Path) -> None:
    answer, gates = streaming(
        "# The plan\n\nIt is **pl",
        "um** and `code`, see [the page](http://example.com/a).\n- one\n  - within\n1. first\n\n```pyth",
        "on\nx = 1\n",
        "```\n\n| a | b |\n|---|---|\n| c | d |\n\n> said\n\n<b>raw</b>\n\n- [x] done\n- [ ] to do\n\nthe end",
    )
    with Loopback([answer]) as server, chat(settled(tmp_path), server, rows=40) as screen:
        screen.send("go" + ENTER)
        screen.shows(r"● The plan\n(.|\n)*  It is \*\*pl\n")
        looks(screen, "The plan", bold=True)
        gates[0].set()
        screen.shows(r"  It is plum and code, see the page <http://example\.com/a>\.\n")
        screen.shows(r"\n  • one\n    • within\n  1\. first\n\n  ┌ pyth\n")
        looks(screen, "plum", bold=True)
        looks(screen, "code", fg="green")
        looks(screen, "http://example.com/a", fg="blue", underscore=True)
        gates[1].set()
        screen.shows(r"┌ python\n  │ x = 1\n")
        looks(screen, "x = 1", fg="green")
        above = screen.text[screen.text.index("›") : screen.text.index("┌ python")]
        gates[2].set()
        screen.shows(r"│ x = 1\n  └")
        screen.shows(r"a  b\n(.*\n)?  c  d\n\n  │ said\n\n  <b>raw</b>\n\n  ☑ done\n  ☐ to do\n\n  the end")
        assert above in screen.text
        gates[3].set()
        screen.shows("ready")
        assert above in screen.text


def test_what_a_failover_voids_is_taken_off_the_screen_and_the_model_that_answers_is_named(tmp_path: Path) -> None:
    hold = threading.Event()

    def script(request: Request, index: int) -> Response:
        if request.json["model"] == "spare":
            return text_stream("Right.", usage=USAGE)
        chunks = [event({"content": "Wrong beginning"}), b'data: {"error": {"message": "gone", "code": 404}}\n\n']
        return Response(chunks=chunks, between=lambda i: i == 0 and hold.wait(WAIT))

    with Loopback(script) as server, chat(settled(tmp_path), server, LLM_FALLBACK_MODELS="spare") as screen:
        screen.send("go" + ENTER)
        screen.shows("● Wrong beginning")
        hold.set()
        screen.shows("● Right")
        screen.shows("ready")
        screen.shows("spare for m")
        assert "Wrong" not in screen.text
        screen.shows("◦ Profile 0 failed for m ")


def test_a_notice_never_splits_what_is_being_written(tmp_path: Path) -> None:
    answer, gates = streaming("The first half, ", "and the second.")
    with Loopback([answer]) as server, chat(settled(tmp_path), server) as screen:
        screen.send("go" + ENTER)
        screen.shows("● The first half")
        screen.send("/approvals" + ENTER)
        screen.shows("Nothing is always allowed")
        gates[0].set()
        screen.shows("● The first half, and the second")
        gates[1].set()
        screen.shows("ready")
        screen.shows(r"› /approvals\n\n◦ Nothing")


def test_what_was_written_before_an_interruption_stays_and_is_marked(tmp_path: Path) -> None:
    with Loopback([hanging("Half an ans")]) as server, chat(settled(tmp_path), server) as screen:
        screen.send("go" + ENTER)
        screen.shows("● Half an ans")
        screen.send(ESC)
        screen.shows(r"● Half an ans\n\n◦ interrupted\n")
        screen.shows("ready")


def test_the_card_of_a_tool_that_was_interrupted_says_so(tmp_path: Path) -> None:
    replies = called("bash", command="echo begun; sleep 100")
    with Loopback(replies) as server, chat(settled(tmp_path), server, TOOL_APPROVAL="trust") as screen:
        screen.send("go" + ENTER)
        screen.shows(r"⚙ bash  echo begun; sleep 100 +…")
        screen.shows("running bash")
        screen.send(ESC)
        screen.shows(r"⚙ bash  echo begun; sleep 100 +✗ ")
        screen.shows("◦ interrupted")
        screen.shows("ready")


# -- colours and signs


LOOK = [
    *called("bash", last=False, command="echo fine"),
    *called("bash", last=False, command="exit 3"),
    *called("edit_file", last=False, path="a.txt", old="old words", new="new words"),
    text_stream("Use `run` as in [docs](http://example.com):\n```\ncode here\n```\n"),
]


def looked(folder: Path, server: Loopback, **more: str) -> FullScreen:
    """A chat in which all of that has come about."""
    (settled(folder) / "a.txt").write_text("kept\nold words\n")
    screen = chat(folder, server, rows=40, TOOL_APPROVAL="trust", **more)
    screen.send("go" + ENTER)
    screen.shows("code here(.|\n)*ready")
    screen.send("/approvals" + ENTER)
    screen.shows("Nothing is always allowed")
    return screen


def test_each_kind_of_line_has_its_colour_and_the_background_stays(tmp_path: Path) -> None:
    with Loopback(LOOK) as server, looked(tmp_path, server) as screen:
        looks(screen, "›", fg="cyan", bold=True)
        looks(screen, "⚙ edit_file", fg="brown")
        looks(screen, "✓ 0", fg="green")
        looks(screen, "✗ exit 3", fg="red")
        looks(screen, "◦", fg="magenta")
        looks(screen, "run", fg="green")
        looks(screen, "code here", fg="green")
        looks(screen, "http://example.com", fg="blue", underscore=True)
        looks(screen, " ready", reverse=True)
        assert {behind for _, behind in colours(screen)} == {"default"}


@pytest.mark.parametrize("more", [{"NO_COLOR": "1"}, {"TERM": "vt100"}])
def test_without_colours_attributes_have_to_do(tmp_path: Path, more: dict[str, str]) -> None:
    with Loopback(LOOK) as server, looked(tmp_path, server, **more) as screen:
        looks(screen, "›", bold=True)
        looks(screen, "http://example.com", underscore=True)
        looks(screen, " ready", reverse=True)
        assert colours(screen) <= {("default", "default"), ("dim", "default")}
        assert not re.search(r"\x1b\[(\d+;)*[349]\d(;\d+)*m", screen.screen.replace("\x1b[39;49m", ""))


def test_a_posix_locale_gets_ascii_signs_for_everything(tmp_path: Path) -> None:
    with Loopback([*LOOK]) as server, looked(tmp_path, server, LC_ALL="POSIX") as screen:
        screen.shows(r"(?m)^# bash  exit 3 +x exit 3 - 0\.\ds$")
        screen.shows(r"(?m)^# bash  echo fine +\+ 0\.\ds$")
        screen.shows(r"(?m)^\* Use run as in docs <http://example\.com>:$")
        screen.shows(r"(?m)^- Nothing is always allowed")
        assert screen.text.isascii()


# -- sizes


def test_a_window_that_is_too_small_says_so_and_comes_back(tmp_path: Path) -> None:
    with Loopback([text_stream("fine")]) as server, chat(settled(tmp_path), server) as screen:
        screen.send("hi" + ENTER)
        screen.shows("● fine")
        screen.send("my draft")
        for rows, columns in ((4, 80), (24, 19), (4, 19)):
            screen.resize(rows, columns)
            screen.shows(r"\Atoo small\s*\Z")
            screen.resize(5, 20)
            screen.shows("> my draft")
        screen.resize(24, 80)
        screen.shows(r"● fine(.|\n)*ready(.|\n)*> my draft")


def test_an_answer_that_streams_through_a_storm_of_sizes_is_whole(tmp_path: Path) -> None:
    words = [event({"content": f"word{number} "}) for number in range(300)]
    with (
        Loopback([Response(chunks=[*words, event({}, "stop")], gap=0.003)]) as server,
        chat(settled(tmp_path), server) as screen,
    ):
        screen.send("go" + ENTER)
        screen.shows("word5 ")
        storm(screen)
        screen.shows("word299(.|\n)*ready")
        screen.resize(50, 80)
        screen.shows("› go(.|\n)*word299")
        said = screen.text.partition("●")[2].partition("ready")[0]
        assert re.findall(r"word\d+", said) == [f"word{number}" for number in range(300)]


# -- how things stand


def test_an_error_names_its_kind_the_cure_and_the_log(tmp_path: Path) -> None:
    with Loopback([json_error(401, "Incorrect API key")]) as server, chat(settled(tmp_path), server) as screen:
        screen.send("hi" + ENTER)
        screen.shows(r"✗ auth\n(  [^\n]+\n)+  log:(.|\n)*ready")
        looks(screen, "✗ auth", fg="red", bold=True)
        log = "".join(line.strip() for line in screen.text.partition("log:")[2].splitlines())
        assert log.startswith(str(tmp_path / "workspace" / ".state" / "agentkit.log"))


def test_thinking_and_running_are_told_with_a_spinner_and_seconds(tmp_path: Path) -> None:
    think = Response(chunks=[event({"reasoning_content": "hm"})], end="hang")
    with Loopback([*called("bash", last=False, command="read x < pipe"), think]) as server:
        os.mkfifo(tmp_path / "pipe")
        with chat(settled(tmp_path), server, TOOL_APPROVAL="trust") as screen:
            screen.send("go" + ENTER)
            screen.shows(r"\n [⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] running bash \d+s · Esc stops")
            (tmp_path / "pipe").write_text("go on\n")
            screen.shows(r"\n [⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] thinking \d+s · Esc stops")


def test_the_status_line_tells_tokens_heartbeat_cron_and_gateway(tmp_path: Path) -> None:
    folder = settled(tmp_path)
    (folder / "workspace" / ".agents" / "assistant" / "HEARTBEAT.md").write_text(HOURLY)
    daily = {"kind": "every", "every_seconds": 86_400, "anchor": "2026-01-01T00:00:00+00:00"}
    job = {"id": "a", "name": "a", "enabled": True, "schedule": daily, "payload": {"kind": "system_event", "text": "x"}}
    (folder / "workspace" / "CRON.json").write_text(json.dumps({"jobs": [job]}))
    script = [text_stream("One."), text_stream("Two.", usage=USAGE)]
    with Loopback(script) as server, chat(folder, server, columns=120, GATEWAY_PORT="0") as screen:
        screen.send("hi" + ENTER)
        screen.shows("● One")
        screen.shows(r"ready .*cron 1 · ctx ~\d+% \d+/32\.0k")
        screen.send("/heartbeat" + ENTER)
        screen.shows(r"ready .*cron 1 · hb \d\d:\d\d · ctx ~\d+% \d+/32\.0k")
        screen.send("/gateway" + ENTER)
        screen.shows("The gateway listens")
        screen.shows(r"ready .*gateway 0 · cron 1 · hb ")
        screen.send("hi" + ENTER)
        screen.shows("● Two")
        screen.shows(r"ready .*ctx 4% 1\.5k/32\.0k")


# -- the end


def test_the_end_prints_the_last_answer_and_a_command_that_really_goes_on(tmp_path: Path) -> None:
    with Loopback([text_stream("It is **plum**."), text_stream("Still plum.")]) as server:
        with chat(settled(tmp_path), server) as screen:
            screen.send("what is it?" + ENTER)
            screen.shows("● It is plum")
            leave(screen)
            left = screen.screen.rpartition("\x1b[?1049l")[2]
        command = re.search(r"agentkit (.*) goes on with this conversation", left)
        assert "It is **plum**." in left and command, left
        with chat(tmp_path, server, *command[1].split()) as screen:
            screen.shows("● It is plum")
            screen.send("and now?" + ENTER)
            screen.shows("● Still plum")
        assert server.requests[-1].said[1:3] == ["what is it?", "It is **plum**."]


def test_the_command_at_the_end_names_the_agent_that_was_switched_to(tmp_path: Path) -> None:
    second = settled(tmp_path) / "workspace" / ".agents" / "second" / "AGENT.md"
    second.parent.mkdir()
    second.write_text("---\nname: second\n---\nYou are loud.")
    with Loopback([text_stream("It is plum."), text_stream("Still plum.")]) as server:
        with chat(tmp_path, server) as screen:
            screen.send("/switch second" + ENTER)
            screen.shows(r"\A agentkit  second")
            screen.send("what is it?" + ENTER)
            screen.shows("● It is plum")
            leave(screen)
        command = re.search(r"agentkit (--agent second .*) goes on with this conversation", screen.screen)
        assert command, screen.screen
        with chat(tmp_path, server, *command[1].split()) as screen:
            screen.shows(r"\A agentkit  second(.|\n)*● It is plum")
