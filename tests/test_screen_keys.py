"""What keys do on the full screen: the queue, the draft, the popup, an editor of one's own, looking back, commands."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import termios
from pathlib import Path

import pytest

from .fullscreen import FullScreen
from .loopback import Loopback, text_stream
from .program import environment, settled
from .seeing import PASTE, editor, hanging, leave, looks, streaming
from .test_tui import BASH, ENTER, ESC, UP, chat

# -- the queue, and what Esc closes


def test_up_edits_a_message_that_is_queued(tmp_path: Path) -> None:
    answer, gates = streaming("The fir", "st.")
    with Loopback([answer, text_stream("The second.")]) as server, chat(settled(tmp_path), server) as screen:
        screen.send("one" + ENTER)
        screen.shows("● The fir")
        screen.send("two" + ENTER)
        screen.shows("queued: two +↑ edits it")
        screen.send(UP)
        screen.shows("(?m)^> two$")
        assert "queued" not in screen.text
        screen.send(" and a half" + ENTER)
        screen.shows("queued: two and a half")
        for gate in gates:
            gate.set()
        screen.shows("● The second")
        assert server.requests[1].said[-1] == "two and a half"


def test_esc_brings_back_what_is_queued_and_nothing_is_sent(tmp_path: Path) -> None:
    with Loopback([hanging("Hel")]) as server, chat(settled(tmp_path), server) as screen:
        screen.send("one" + ENTER)
        screen.shows("● Hel")
        screen.send("two" + ENTER)
        screen.shows("queued: two")
        screen.send("three" + ENTER)
        screen.shows("queued: three")
        screen.send("and a draft" + ESC)
        screen.shows(r"◦ interrupted(.|\n)*ready(.|\n)*> two\n  three\n  and a draft")
        assert len(server.requests) == 1


def test_esc_closes_the_innermost_thing_first(tmp_path: Path) -> None:
    stalled = hanging("Well")
    with Loopback([BASH, stalled]) as server, chat(settled(tmp_path), server) as screen:
        screen.send("go" + ENTER)
        screen.shows("Esc = no")
        screen.send("\x06")
        screen.shows("what to find")
        screen.send(ESC)
        screen.gone("what to find")
        assert "Esc = no" in screen.text
        screen.send(ESC)
        screen.shows("refused by you(.|\n)*● Well(.|\n)*writing")
        screen.send("/s\t")
        screen.shows("/save +give")
        screen.send(ESC)
        screen.gone("/save")
        assert "writing" in screen.text
        screen.send("\x06")
        screen.shows("find>")
        screen.send(ESC)
        screen.gone("find>")
        assert "writing" in screen.text
        screen.send(ESC)
        screen.shows(r"◦ interrupted(.|\n)*ready(.|\n)*> /s")


def test_the_first_ctrl_c_never_leaves_whatever_was_said_before(tmp_path: Path) -> None:
    with Loopback([text_stream("fine")]) as server, chat(settled(tmp_path), server) as screen:
        screen.send("\t")
        screen.shows("nothing to complete here")
        screen.send("\x03")
        screen.shows("Ctrl-C once more leaves")
        screen.send("\x06plum")
        screen.shows("find> plum")
        os.kill(screen.pid, signal.SIGINT)
        screen.shows("Ctrl-C once more leaves")
        screen.send(ESC)
        screen.gone("find>")
        screen.send("hi" + ENTER)
        screen.shows("● fine")


# -- what is typed


def test_what_is_typed_while_it_starts_is_sent_when_it_is_there(tmp_path: Path) -> None:
    with Loopback([text_stream("fine")]) as server:
        env = environment(settled(tmp_path), server.url, TERM="xterm-256color")
        with FullScreen(tmp_path, env=env) as screen:
            screen.shows("starting|ready")
            screen.send("hi" + ENTER)
            screen.shows("› hi\n\n● fine")
            screen.gone("queued")


def test_what_was_said_is_found_again_in_the_next_run_and_is_for_nobody_else(tmp_path: Path) -> None:
    with Loopback(lambda request, index: text_stream(f"answer {index}.")) as server:
        with chat(settled(tmp_path), server) as screen:
            for number, words in enumerate(("plums are blue", "pears are green")):
                screen.send(words + ENTER)
                screen.shows(rf"answer {number}\.(.|\n)*ready")
            leave(screen)
        history = tmp_path / "workspace" / ".state" / "history"
        assert stat.S_IMODE(history.stat().st_mode) == 0o600
        assert [json.loads(line) for line in history.read_text().splitlines()] == ["plums are blue", "pears are green"]
        with chat(tmp_path, server) as screen:
            screen.send(UP)
            screen.shows("> pears are green")
            screen.send(UP)
            screen.shows("> plums are blue")
            screen.send("\x1b[B")
            screen.shows("> pears are green")
            screen.send("\x03\x12")
            screen.shows("history>")
            screen.send("are")
            screen.shows("  pears are green")
            screen.send("\x12")
            screen.shows("  plums are blue")
            screen.send(ENTER)
            screen.shows("> plums are blue")
            screen.send(ENTER)
            screen.shows("answer 2")
            assert server.requests[2].said[-1] == "plums are blue"


def test_a_long_paste_is_one_chip_and_sent_exactly(tmp_path: Path) -> None:
    pasted = "".join(f"\tline {number} žluť  \n" for number in range(40))
    with Loopback([text_stream("Got it.")]) as server, chat(settled(tmp_path), server) as screen:
        screen.send("look: ")
        screen.send(PASTE.format(pasted))
        screen.shows(r"(?m)^> look: \[paste 1: 40 lines\]$")
        looks(screen, "[paste 1: 40 lines]", fg="cyan", reverse=True)
        screen.send(" and say")
        screen.shows("and say")
        screen.send(ENTER)
        screen.shows("● Got it")
        assert server.requests[0].said[-1] == f"look: {pasted} and say"
        screen.send(UP)
        screen.shows(r"(?m)^> \[paste \d|^  \s*line 3\d")


def test_tab_offers_agents_conversations_and_files(tmp_path: Path) -> None:
    folder = settled(tmp_path)
    second = folder / "workspace" / ".agents" / "second" / "AGENT.md"
    second.parent.mkdir()
    second.write_text("---\nname: The other one\n---\nYou are loud.")
    (folder / "notes").mkdir()
    (folder / "notes" / "one.txt").write_text("plum")
    (folder / "notes" / "other.txt").write_text("pear")
    with Loopback([text_stream("one")]) as server, chat(folder, server, "--session", "alpha") as screen:
        screen.send("hi" + ENTER)
        screen.shows("● one(.|\n)*ready")
        screen.send("/switch \t")
        screen.shows(r"\n  assistant\n  second +The other one")
        screen.send("\x1b[B\r")
        screen.shows(r"(?m)^> /switch second ?$")
        screen.send("\x03/load \t")
        screen.shows("(?m)^> /load alpha ?$")
        screen.send("\x03see @no\t")
        screen.shows("> see @notes/")
        screen.send("\t")
        screen.shows(r"\n  @notes/one\.txt(.|\n)*\n  @notes/other\.txt(.|\n)*> see @notes/o")
        screen.send("\t\t")
        looks(screen, "@notes/one.txt", reverse=True)
        screen.send("\x1b[Z")
        looks(screen, "@notes/other.txt", reverse=True)
        screen.send("n")
        screen.shows(r"\n  @notes/one\.txt(.|\n)*> see @notes/on")
        screen.gone("other")
        screen.send("\t")
        screen.shows(r"(?m)^> see @notes/one\.txt ?$")


def test_a_file_goes_along_and_the_screen_shows_what_was_typed(tmp_path: Path) -> None:
    (settled(tmp_path) / "a.txt").write_text("the plum\nis blue\n")
    with Loopback([text_stream("It is plum."), text_stream("Still.")]) as server:
        with chat(tmp_path, server) as screen:
            screen.send("what is in @a.txt?" + ENTER)
            screen.shows(r"◦ attached: a\.txt \(2 lines\)")
            screen.shows(r"› what is in @a\.txt\?(.|\n)*● It is plum(.|\n)*ready")
            assert "is blue" not in screen.text
            assert "the plum\nis blue" in server.requests[0].said[-1]
            leave(screen)
        with chat(tmp_path, server, "--resume") as screen:
            screen.shows(r"› what is in @a\.txt\?\n\n(◦[^\n]*\n\n)*● It is plum")
            assert "is blue" not in screen.text


def test_a_draft_is_edited_in_the_persons_own_editor(tmp_path: Path) -> None:
    command = editor(
        tmp_path, 'stat -c %a "$2" > mode; printf "%s\\n" "$1" >> mode; printf "changed\\nwords\\n" > "$2"'
    )
    with Loopback([text_stream("fine")]) as server, chat(settled(tmp_path), server, EDITOR=command) as screen:
        screen.send("my words\x07")
        screen.shows(r"\A agentkit (.|\n)*> changed\n  words")
        assert (tmp_path / "mode").read_text() == "600\n-w\n"
        screen.send(ENTER)
        screen.shows(r"● fine")
        assert server.requests[0].said[-1] == "changed\nwords"


def test_an_editor_that_changes_nothing_leaves_what_is_folded(tmp_path: Path) -> None:
    command = editor(tmp_path, "echo OPEN; read line")
    pasted = "".join(f"line {number}\n" for number in range(40))
    with Loopback([]) as server, chat(settled(tmp_path), server, EDITOR=command) as screen:
        screen.send(PASTE.format(pasted) + "end")
        screen.shows(r"> \[paste 1: 40 lines\]end")
        screen.send("\x07")
        screen.shows("OPEN")
        screen.resize(20, 60)
        screen.send("\n")
        screen.shows(r"\A agentkit (.|\n)*> \[paste 1: 40 lines\]end")
        assert len(screen.text.splitlines()) == 20


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo lost > $2; exit 1", "the draft is as it was: exit 1 of '/"),
        ("rm $2", "the draft is as it was: .*No such file"),
    ],
)
def test_an_editor_that_fails_leaves_the_draft_as_it_was(tmp_path: Path, script: str, said: str) -> None:
    with Loopback([]) as server, chat(settled(tmp_path), server, EDITOR=editor(tmp_path, script)) as screen:
        screen.send("my words\x07")
        screen.shows(rf"{said}(.|\n)*> my words")


@pytest.mark.parametrize("more", [{"EDITOR": "nothing-like-it"}, {"VISUAL": "/"}, {"EDITOR": "'"}])
def test_an_editor_that_is_missing_is_named_and_the_screen_is_whole(tmp_path: Path, more: dict[str, str]) -> None:
    with Loopback([text_stream("fine")]) as server, chat(settled(tmp_path), server, **more) as screen:
        screen.send("my words\x07")
        screen.shows(rf"\A agentkit (.|\n)*no editor \([^\n]*: {next(iter(more.values()))}\): [^\n]*\n> my words")
        screen.send(ENTER)
        screen.shows("● fine")


def test_what_comes_while_the_editor_is_open_is_there_afterwards(tmp_path: Path) -> None:
    answer, gates = streaming("First. ", "Second. ", "Third.")
    command = editor(tmp_path, "echo OPEN; cat > got; printf new > $2")
    with Loopback([answer]) as server, chat(settled(tmp_path), server, EDITOR=command) as screen:
        screen.send("go" + ENTER)
        screen.shows("● First")
        screen.send("\x07")
        screen.shows("OPEN")
        for gate in gates:
            gate.set()
        server.requests[0].gone.wait(0.1)
        screen.send("typed\n\x04")
        screen.shows(r"\A agentkit (.|\n)*● First\. Second\. Third\.(.|\n)*ready(.|\n)*> new")
        assert "OPEN" not in screen.text
        assert (tmp_path / "got").read_text() == "typed\n"


def test_what_was_typed_for_the_editor_is_not_for_the_chat(tmp_path: Path) -> None:
    command = editor(tmp_path, "echo OPEN; while [ ! -e go ]; do sleep 0.02; done; printf new > $2")
    with Loopback([]) as server, chat(settled(tmp_path), server, EDITOR=command) as screen:
        screen.send("\x07")
        screen.shows("OPEN")
        screen.send("typed\nhello")
        screen.shows("OPEN(.|\n)*hello")  # the terminal echoes: it has them
        (tmp_path / "go").touch()
        screen.shows(r"\A agentkit (.|\n)*ready(.|\n)*> new")
        screen.send("er")
        screen.shows("> newer")
        assert "typed" not in screen.text and not server.requests


def test_both_end_when_it_is_told_to_while_the_editor_is_open(tmp_path: Path) -> None:
    command = editor(tmp_path, "echo $$ > pid; echo OPEN; exec sleep 100")
    with Loopback([]) as server, chat(settled(tmp_path), server, EDITOR=command, TMPDIR=str(tmp_path)) as screen:
        screen.send("my words\x07")
        screen.shows("OPEN")
        os.kill(screen.pid, signal.SIGTERM)
        assert screen.wait() == 128 + signal.SIGTERM
        assert screen.modes()[3] & termios.ICANON  # no raw mode is left
        pid = int((tmp_path / "pid").read_text())
        assert subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True).stdout.strip() in (b"", b"Z")
        assert not list(tmp_path.glob("agentkit-*.md"))
