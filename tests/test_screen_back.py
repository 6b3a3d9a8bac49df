"""Looking back on the full screen: scrolling, finding, unfolding, copying; and the page that shows the keys."""

from __future__ import annotations

import re
from base64 import b64decode
from pathlib import Path

import pytest

from .loopback import Loopback, text_stream
from .program import settled
from .seeing import PASTE, called, cells, looks, streaming
from .test_tui import ENTER, ESC, chat

ROWS = "\n".join(f"row {number}" for number in range(100))


def test_the_wheel_a_page_and_the_ends_are_a_key_away(tmp_path: Path) -> None:
    with Loopback([text_stream(ROWS)]) as server, chat(settled(tmp_path), server) as screen:
        screen.send("go" + ENTER)
        screen.shows("row 99(.|\n)*ready")
        screen.send("\x1b[<64;1;1M")
        screen.shows(r"  row 96\n ready · more below: PgDn")
        screen.send("\x1b[5~")
        screen.shows(r"  row 76\n ready · more below: PgDn")
        screen.send("my draft")
        screen.shows("> my draft")
        screen.shows(r"  row 76\n ready")
        screen.send("\x1b[1;5H")
        screen.shows(r"\A[^\n]*\n\n› go\n")
        screen.send("\x1b[1;5F")
        screen.shows(r"  row 99\n ready  ")


def test_the_view_stays_where_it_is_while_an_answer_comes(tmp_path: Path) -> None:
    answer, gates = streaming(ROWS, "\nmore\n", "the end")
    script = [answer, text_stream("the next")]
    with Loopback(script) as server, chat(settled(tmp_path), server) as screen:
        screen.send("go" + ENTER)
        screen.shows("row 98")
        screen.send("and then" + ENTER)
        screen.shows("queued")
        screen.send("\x1b[5~\x1b[5~")
        screen.gone("row 98")
        screen.shows("more below")
        seen = screen.text.splitlines()[1:15]
        for gate in gates:
            gate.set()
        screen.shows("2 new below")
        screen.shows("ready · 2 new below")
        assert screen.text.splitlines()[1:15] == seen
        screen.send("\x1b[1;5F")
        screen.shows(r"the end\n\n› and then\n\n● the next\n")
        screen.gone("below")


def test_words_are_found_in_the_transcript_and_stand_out(tmp_path: Path) -> None:
    with Loopback([text_stream(ROWS), text_stream("No row here")]) as server, chat(settled(tmp_path), server) as screen:
        screen.send("go" + ENTER)
        screen.shows("row 99(.|\n)*ready")
        screen.send("again" + ENTER)
        screen.shows("● No row here(.|\n)*ready")
        screen.send("\x06")
        screen.shows("find>")
        screen.send("ROW 4")
        screen.shows(r"1 of 1 · Enter, then n and N")
        screen.shows("row 4")
        looks(screen, "row 4", reverse=True)
        screen.send(ENTER)
        screen.shows("n older, N newer")
        screen.send("n" * 3)
        screen.pump(0.1)
        screen.send(ESC)
        screen.gone("find>")
        assert not [each for each in cells(screen, "row 4") if each.reverse]
        screen.send("\x06nowhere to be found")
        screen.shows("nothing found")


def test_a_card_and_a_long_message_are_unfolded_and_folded(tmp_path: Path) -> None:
    replies = called("bash", command="seq 101 130")
    said = "\n".join(f"said {number}" for number in range(20))
    with Loopback(replies) as server, chat(settled(tmp_path), server, rows=60, TOOL_APPROVAL="trust") as screen:
        screen.send(PASTE.format(said))
        screen.shows("paste 1")
        screen.send(ENTER)
        screen.shows("● Well(.|\n)*ready")
        screen.shows(r"said 7\n  … 12 lines hidden · Ctrl-O shows them\n")
        screen.shows(r"│ 105\n  │ … 25 lines hidden · Ctrl-O shows them\n")
        screen.send("\x0f")
        screen.shows(r"│ 129\n  │ 130\n")
        screen.send("\x0f")
        screen.shows("… 25 lines hidden")
        screen.resize(12, 80)
        screen.send("\x1b[1;5H")
        screen.shows("› said 0")
        screen.send("\x0f")
        screen.shows("said 8")
        screen.resize(60, 80)
        screen.shows(r"said 19\n")


def test_the_last_answer_or_its_code_goes_to_the_clipboard(tmp_path: Path) -> None:
    answer = "It is ž:\n```\nx = 1\ny = 2\n```\nand no more."
    with Loopback([text_stream(answer)]) as server, chat(settled(tmp_path), server) as screen:
        screen.send("/copy" + ENTER)
        screen.shows("There is no answer yet")
        screen.send("go" + ENTER)
        screen.shows("and no more(.|\n)*ready")
        screen.send("/copy" + ENTER)
        screen.shows("Copied 6 lines")
        screen.send("/copy code" + ENTER)
        screen.shows("Copied 2 lines")
        copied = re.findall("\x1b\\]52;c;([^\x07]*)\x07", screen.screen)
        assert [b64decode(each).decode() for each in copied] == [answer, "x = 1\ny = 2"]
        screen.send("/copy that" + ENTER)
        screen.shows("It is /copy, /copy last or /copy code")


def test_the_mouse_is_given_to_the_terminal_and_taken_back(tmp_path: Path) -> None:
    with Loopback([]) as server, chat(settled(tmp_path), server) as screen:
        assert "\x1b[?1000h" in screen.screen
        screen.send("/mouse" + ENTER)
        screen.shows("The mouse is the terminal's")
        assert "\x1b[?1000l" in screen.screen
        screen.screen = ""
        screen.send("/mouse on" + ENTER)
        screen.shows("The wheel scrolls here")
        assert "\x1b[?1000h" in screen.screen


@pytest.mark.parametrize("key", ["?", "\x1bOP", "\x1b[11~"])
def test_the_keys_are_shown_on_a_page(tmp_path: Path, key: str) -> None:
    with Loopback([]) as server, chat(settled(tmp_path), server) as screen:
        screen.send(key)
        screen.shows(r"\n Keys +(\d+ more below · )?Esc closes\n Enter +send")
        screen.send("\x1b[6~")
        screen.shows("F1, . on an empty line +these keys")
        screen.send(ESC)
        screen.gone("these keys")
        screen.send("why?")
        screen.shows("> why\\?")
