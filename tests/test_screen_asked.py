"""What the full screen asks before a tool runs: when a key decides, what is shown of it, what is told later."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from .loopback import Loopback, Response, call_stream, text_stream
from .program import settled
from .seeing import CALM, called, editor, leave, looks, storm
from .test_tui import BASH, ENTER, ESC, chat, press_until


def test_a_question_that_went_through_a_storm_of_sizes_has_to_be_seen_anew(tmp_path: Path) -> None:
    with Loopback([BASH, text_stream("Well.")]) as server, chat(settled(tmp_path), server) as screen:
        screen.send("go" + ENTER)
        screen.shows("Esc = no")
        screen.pump(CALM)
        storm(screen)
        screen.shows("Esc = no")
        screen.pump(CALM)
        screen.resize(24, 79)
        screen.send("y")
        screen.pump(CALM)
        assert "Esc = no" in screen.text and not server.requests[1:]
        press_until(screen, "y", "● Well")


@pytest.mark.parametrize(("rows", "columns"), [(5, 20), (7, 20), (8, 80)])
def test_a_question_without_room_is_decided_only_by_no(tmp_path: Path, rows: int, columns: int) -> None:
    command = "\n".join(f"echo line {number}" for number in range(12))
    with (
        Loopback(called("bash", command=command)) as server,
        chat(settled(tmp_path), server, rows=rows, columns=columns) as screen,
    ):
        screen.send("go" + ENTER)
        screen.shows("enlarge to decide")
        screen.pump(CALM)
        screen.send("y")
        screen.pump(CALM)
        assert not server.requests[1:]
        screen.send(ESC)
        screen.shows("● Well")
        assert "refused" in server.requests[1].said[-1]


def test_a_letter_that_was_on_its_way_when_the_question_came_decides_nothing(tmp_path: Path) -> None:
    hold = threading.Event()
    replies = [Response(before_headers=hold, chunks=BASH.chunks), text_stream("Well.")]
    with Loopback(replies) as server, chat(settled(tmp_path), server) as screen:
        screen.send("go" + ENTER)
        screen.shows("waiting")
        hold.set()
        for _ in range(1000):  # somebody types, and the first letter that could count comes too soon
            screen.pump(0.001)
            if "Esc = no" in screen.text:
                break
        screen.send("a")
        screen.pump(CALM)
        screen.shows("Esc = no")
        assert not (tmp_path / "made").exists() and not server.requests[1:]


def test_a_refusal_with_a_reason_reaches_the_model(tmp_path: Path) -> None:
    with Loopback([BASH, text_stream("Well.")]) as server, chat(settled(tmp_path), server) as screen:
        screen.send("go" + ENTER)
        screen.shows("Esc = no")
        screen.pump(CALM)
        screen.send("t")
        screen.shows("(?m)^why not> *$")
        screen.send("not on a Friday" + ENTER)
        screen.shows(r"⚙ bash [^\n]+refused by you · ✗ 0\.0s\n")
        screen.shows("● Well")
        assert "the user refused this call: not on a Friday" in server.requests[1].said[-1]
        assert not (tmp_path / "made").exists()


def test_esc_leaves_the_reason_and_the_question_stays(tmp_path: Path) -> None:
    with Loopback([BASH, text_stream("Well.")]) as server, chat(settled(tmp_path), server) as screen:
        screen.send("go" + ENTER)
        screen.shows("Esc = no")
        screen.pump(CALM)
        screen.send("t")
        screen.shows("why not>")
        screen.send("because y")
        screen.shows("why not> because y")
        screen.send(ESC)
        screen.gone("why not>")
        screen.shows("Esc = no")
        assert not server.requests[1:]
        screen.send(ESC)
        screen.shows("refused by you(.|\n)*● Well")


def test_a_reason_is_not_asked_for_when_the_turn_is_over(tmp_path: Path) -> None:
    with Loopback([BASH]) as server, chat(settled(tmp_path), server) as screen:
        screen.send("go" + ENTER)
        screen.shows("Esc = no")
        screen.pump(CALM)
        screen.send("t")
        screen.shows("why not>")
        os.kill(screen.pid, signal.SIGINT)
        screen.shows("◦ interrupted(.|\n)*ready(.|\n)*\n>")
        screen.gone("why not>|Esc")


@pytest.mark.parametrize("name", ["edit_file", "write_file"])
def test_a_change_is_shown_in_colours_before_and_after(tmp_path: Path, name: str) -> None:
    (settled(tmp_path) / "a.txt").write_text("kept\nold words\n")
    edit = {"path": "a.txt", "old": "old words", "new": "new words"}
    arguments = edit if name == "edit_file" else {"path": "a.txt", "content": "kept\nnew words\n"}
    with Loopback(called(name, **arguments)) as server, chat(tmp_path, server) as screen:
        screen.send("go" + ENTER)
        screen.shows(f"┌ {name} wants to run(.|\n)*Esc = no")
        looks(screen, "-old words", fg="red")
        looks(screen, "+new words", fg="green")
        press_until(screen, "y", "● Well")
        screen.shows("ready")
        looks(screen, "-old words", fg="red")
        looks(screen, "+new words", fg="green")
        looks(screen, "@@", fg="cyan")
        screen.shows(rf"⚙ {name}  a\.txt [^\n]*allowed by you · ✓")
        assert (tmp_path / "a.txt").read_text() == "kept\nnew words\n"


def test_who_decided_is_told_again_when_the_conversation_goes_on(tmp_path: Path) -> None:
    refused = [*called("bash", last=False, command="rm it"), text_stream("Well.")]
    with Loopback([*called("bash", command="echo fine"), *refused]) as server:
        with chat(settled(tmp_path), server) as screen:
            screen.send("go" + ENTER)
            press_until(screen, "y", r"echo fine +allowed by you · ✓(.|\n)*● Well")
            screen.shows("ready")
            screen.send("again" + ENTER)
            screen.shows("rm it")
            press_until(screen, "n", r"rm it +refused by you · ✗(.|\n)*● Well")
            leave(screen)
        with chat(tmp_path, server, "--resume") as screen:
            screen.shows(r"⚙ bash  echo fine +allowed by you · ✓(.|\n)*⚙ bash  rm it +refused by you · ✗")


def test_each_call_of_a_reply_is_asked_about_in_its_turn(tmp_path: Path) -> None:
    both = call_stream(("bash", {"command": "touch one"}), ("bash", {"command": "touch two"}))
    with Loopback([both, text_stream("Well.")]) as server, chat(settled(tmp_path), server) as screen:
        screen.send("go" + ENTER)
        screen.shows(r"\$ touch one(.|\n)*Esc = no")
        screen.pump(CALM)
        screen.send("n")
        screen.shows(r"\$ touch two(.|\n)*Esc = no")
        screen.send("y")  # the second was not there long enough
        screen.pump(CALM)
        screen.shows(r"\$ touch two(.|\n)*Esc = no")
        press_until(screen, "y", "● Well")
        screen.shows(r"touch one +refused by you(.|\n)*touch two +allowed by you")
        assert (tmp_path / "two").exists() and not (tmp_path / "one").exists()


def test_all_of_a_command_is_on_a_page_with_the_question_mark(tmp_path: Path) -> None:
    command = "\n".join(f"echo line {number}" for number in range(12))
    with Loopback(called("bash", command=command)) as server, chat(settled(tmp_path), server) as screen:
        screen.send("go" + ENTER)
        screen.shows("more rows · . shows them(.|\n)*Esc = no")
        screen.send("?")
        screen.shows(r"\A[^\n]+\n bash wants to run +Esc [^\n]+\n \$ echo line 0\n(.*\n)+ cwd /")
        screen.send("?")
        screen.shows("Esc = no")
        screen.send("n")  # it has only just come back
        screen.pump(CALM)
        assert not server.requests[1:]
        press_until(screen, "n", "● Well")


def test_a_command_that_asks_is_no_tool(tmp_path: Path) -> None:
    with Loopback([text_stream("one")]) as server, chat(settled(tmp_path), server, "--session", "alpha") as screen:
        screen.send("hi" + ENTER)
        screen.shows("● one(.|\n)*ready")
        screen.send("/delete alpha" + ENTER)
        screen.shows(r"┌ /delete\n│ Delete the conversation alpha for good\?\n│ y yes   n no\n(.|\n)*Esc = no")
        screen.pump(CALM)
        for letter in "at":  # there is nobody to tell, and nothing to allow for ever
            screen.send(letter)
            screen.pump(CALM)
        screen.send("?")
        screen.shows(r"\n /delete +Esc [^\n]+\n Delete the conversation alpha")
        screen.send(ESC)
        screen.gone("Esc (closes|goes back)")
        press_until(screen, "n", "ready")
        assert list(tmp_path.rglob("alpha.jsonl"))


def test_with_a_question_tab_opens_nothing_that_would_hide_it(tmp_path: Path) -> None:
    with Loopback([BASH, text_stream("Well.")]) as server, chat(settled(tmp_path), server) as screen:
        screen.send("go" + ENTER)
        screen.shows("Esc = no")
        screen.send("/s")
        screen.shows("> /s\n|> /s$")
        screen.send("\t")
        screen.shows(r"\$ touch made(.|\n)*then decide(.|\n)*decide first")
        screen.send(ESC)
        screen.shows("refused by you(.|\n)*● Well(.|\n)*> /s")


def test_a_question_that_came_while_the_editor_was_open_is_seen_first(tmp_path: Path) -> None:
    hold = threading.Event()
    replies = [Response(before_headers=hold, chunks=BASH.chunks), text_stream("Well.")]
    command = editor(tmp_path, "echo OPEN; read line; : > $2")
    with Loopback(replies) as server, chat(settled(tmp_path), server, EDITOR=command) as screen:
        screen.send("go" + ENTER)
        screen.shows("waiting")
        screen.send("\x07")
        screen.shows("OPEN")
        hold.set()
        screen.pump(CALM)
        screen.send("\n")
        screen.shows("Esc = no")
        screen.send("y")
        screen.pump(CALM)
        assert not (tmp_path / "made").exists()
        press_until(screen, "y", "● Well")


@pytest.mark.parametrize(
    "noise", ["\x1b[[A", "\x1bO5A", "\x1bO2A", "\x1b[121;9u", "\x1b[121;1:3u", "\x1bP1+ra\x1b\\\\"]
)
def test_what_terminals_send_that_is_no_letter_decides_nothing(tmp_path: Path, noise: str) -> None:
    with Loopback([BASH, text_stream("Well.")]) as server, chat(settled(tmp_path), server) as screen:
        screen.send("go" + ENTER)
        screen.shows("Esc = no")
        screen.pump(CALM)
        screen.send(noise)
        screen.pump(2 * CALM)
        assert not server.requests[1:] and "allowed" not in screen.text
        screen.send(ESC)
        screen.pump(CALM)
        screen.send(ESC)  # the first one may have closed a page
        screen.shows("● Well")
        assert not (tmp_path / "made").exists()


def test_a_key_that_is_held_decides_one_question_and_types_nothing(tmp_path: Path) -> None:
    again = call_stream(("bash", {"command": "touch second"}))
    with Loopback([BASH, again, text_stream("Well.")]) as server, chat(settled(tmp_path), server) as screen:
        screen.send("go" + ENTER)
        screen.shows("Esc = no")
        screen.pump(CALM)
        screen.send("y")
        screen.shows("touch second(.|\n)*Esc = no")
        for _ in range(40):
            screen.send("y")
            screen.pump(0.03)
        screen.shows(">$")
        assert not (tmp_path / "second").exists()
        press_until(screen, "n", "● Well")
    assert (tmp_path / "made").exists() and not (tmp_path / "second").exists()


def test_a_word_that_is_typed_letter_by_letter_decides_nothing(tmp_path: Path) -> None:
    with Loopback([BASH, text_stream("Well.")]) as server, chat(settled(tmp_path), server) as screen:
        screen.send("go" + ENTER)
        screen.shows("Esc = no")
        screen.pump(CALM)
        for letter in "aardvark":
            screen.send(letter)
            screen.pump(0.1)
        screen.shows("> .*rdvark")
        assert not server.requests[1:] and "allowed" not in screen.text
        screen.send("\x03")
        press_until(screen, "n", "● Well")


def test_a_page_is_closed_with_the_question_that_it_shows(tmp_path: Path) -> None:
    with Loopback([BASH, text_stream("Well.")]) as server, chat(settled(tmp_path), server) as screen:
        screen.send("go" + ENTER)
        screen.shows("Esc = no")
        screen.send("?")
        screen.shows("goes back to decide")
        os.kill(screen.pid, signal.SIGINT)
        screen.shows("interrupted(.|\n)*ready")
        screen.resize(20, 70)
        screen.send("hello")
        screen.shows("> hello")
        screen.send("\x03\x04")


def test_what_waits_behind_a_turn_that_was_stopped_comes_back(tmp_path: Path) -> None:
    hold = threading.Event()
    slow = Response(before_headers=hold, chunks=text_stream("late").chunks)
    with Loopback([slow, text_stream("Well.")]) as server, chat(settled(tmp_path), server) as screen:
        screen.send("go" + ENTER)
        screen.shows("waiting")
        screen.send("rm everything" + ENTER)
        screen.shows("queued: rm everything")
        screen.send("/stop" + ENTER)
        screen.shows("interrupted(.|\n)*ready(.|\n)*> rm everything")
        hold.set()
        screen.send("\x03")
        screen.shows("Ctrl-Y has it back(.|\n)*>$")
        screen.send("\x04")
        assert screen.wait() == 0
    assert not [each for each in server.requests if "rm everything" in each.said]
