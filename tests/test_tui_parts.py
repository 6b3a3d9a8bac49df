"""The parts of the full screen that need none: keys, widths and wrapping, the view."""

from __future__ import annotations

import random
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wcwidth import wcswidth

from agentkit.channels.tui.blocks import Said
from agentkit.channels.tui.chat import Chat
from agentkit.channels.tui.keys import Key, Keys
from agentkit.channels.tui.pager import Pager
from agentkit.channels.tui.question import CALM
from agentkit.channels.tui.view import View
from agentkit.channels.tui.wrap import clip, clusters, width, wrap
from agentkit.events import Ask, Interrupted


def keys(data: bytes) -> list[Key]:
    """The keys, the same whether the bytes come at once or one by one, texts joined."""
    whole, single = Keys(), Keys()
    at_once = [*whole.feed(data), *whole.flush()]
    one_by_one = [key for byte in data for key in single.feed(bytes([byte]))] + single.flush()
    assert joined(one_by_one) == joined(at_once)
    return at_once


def joined(keys: list[Key]) -> list[Key]:
    result: list[Key] = []
    for key in keys:
        if key.name == "text" and result and result[-1].name == "text":
            result[-1] = Key("text", result[-1].text + key.text)
        else:
            result.append(key)
    return result


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"\r", ["enter"]),
        (b"\n", ["C-j"]),
        (b"\t\x7f\x08", ["tab", "backspace", "backspace"]),
        (b"\x01\x05\x0b\x15\x17", ["C-a", "C-e", "C-k", "C-u", "C-w"]),
        (b"\x1b[A\x1b[B\x1b[C\x1b[D", ["up", "down", "right", "left"]),
        (b"\x1bOA\x1bOH\x1bOF\x1bOP", ["up", "home", "end", "f1"]),
        (b"\x1b[H\x1b[F\x1b[1~\x1b[4~\x1b[7~\x1b[8~", ["home", "end"] * 3),
        (b"\x1b[3~\x1b[5~\x1b[6~", ["delete", "pgup", "pgdn"]),
        (b"\x1b[1;5C\x1b[1;3D\x1b[1;2A\x1b[3;5~", ["C-right", "M-left", "S-up", "C-delete"]),
        (b"\x1b\r\x1b\n\x1bb\x1b\x7f", ["M-enter", "M-C-j", "M-b", "M-backspace"]),
        (b"\x1b[13;2u\x1b[27;2;13~\x1b[97;5u", ["M-enter", "M-enter", "C-a"]),
        (b"\x1b", ["esc"]),
        (b"\x1b\x1b", ["esc", "esc"]),
        (b"\x1b\x1b[A", ["esc", "up"]),
        (b"\x1b[<64;10;5M\x1b[<65;10;5M\x1b[<0;1;1M\x1b[<0;1;1m", ["wheel-up", "wheel-down"]),
        (b"\x1b[I\x1b[O\x1b[?1;2c\x1b[99~\x1b[<;M", []),
    ],
)
def test_bytes_become_keys(data: bytes, names: list[str]) -> None:
    assert [key.name for key in keys(data)] == names


def test_text_comes_whole_however_it_is_cut() -> None:
    assert joined(keys("žluť 馬 😀".encode())) == [Key("text", "žluť 馬 😀")]
    assert joined(keys(b"a\xffb\xe9\x80c")) == [Key("text", "a\ufffdb\ufffdc")]
    assert keys("\x1bé".encode()) == [Key("M-é")]


def test_a_paste_is_one_key_with_its_lines() -> None:
    assert keys(b"\x1b[200~a\r\nb\rc\x1b[A\n\x1b[201~d") == [Key("paste", "a\nb\nc\x1b[A\n"), Key("text", "d")]


def test_an_esc_waits_for_what_may_follow() -> None:
    parser = Keys()
    assert parser.feed(b"\x1b") == [] and parser.patience == 0.05
    assert parser.feed(b"[A") == [Key("up")] and parser.patience is None
    assert parser.flush() == []


@settings(max_examples=300)
@given(st.lists(st.one_of(st.binary(max_size=20), st.sampled_from([b"\x1b", b"\x1b[", b"\x1b[200~", b"\x1b[201~"]))))
def test_no_bytes_break_the_decoder(pieces: list[bytes]) -> None:
    parser = Keys()
    for piece in pieces:
        parser.feed(piece)
        parser.flush()
    parser.feed(b"\r")
    assert parser.feed(b"\x1b[201~\x1b[201~\rx")[-1].name in ("text", "paste")


def test_a_paste_without_an_end_does_not_keep_the_keyboard() -> None:
    parser = Keys()
    assert parser.feed(b"\x1b[200~half") == [] and parser.patience == 1.0
    assert parser.flush() == [Key("paste", "half")]
    assert parser.feed(b"x") == [Key("text", "x")]


def test_old_mouse_reports_are_not_typed() -> None:
    assert joined(keys(b"a\x1b[M !!b")) == [Key("text", "ab")]


# -- widths


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("abc", 3),
        ("žluť", 4),
        ("z\u030cx", 2),
        ("馬", 2),
        ("😀", 2),
        ("👩\u200d💻", 4),
        ("👍🏽", 4),
        ("❤\ufe0f", 1),
        ("", 0),
    ],
)
def test_widths_are_what_curses_counts(text: str, cells: int) -> None:
    assert width(text) == cells


def test_widths_agree_with_wcwidth_for_single_characters() -> None:
    rng = random.Random(1)
    ranges = [(0x20, 0x7E), (0xA1, 0x24F), (0x370, 0x58F), (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0x1F600, 0x1F64F)]
    for first, last in ranges:
        for _ in range(50):
            character = "a" + chr(rng.randint(first, last))
            if unicodedata.category(character[1]) != "Cn":  # unassigned ones mean nothing yet
                assert width(character) == wcswidth(character), hex(ord(character[1]))


@pytest.mark.parametrize(
    ("text", "cells", "rows"),
    [
        ("", 5, [""]),
        ("one two three", 7, ["one two", "three"]),
        ("one two three", 8, ["one two", "three"]),
        ("abcdefgh", 3, ["abc", "def", "gh"]),
        ("a abcdefgh", 4, ["a", "abcd", "efgh"]),
        ("馬馬馬", 3, ["馬", "馬", "馬"]),
        ("馬馬", 1, ["馬", "馬"]),
        ("a\n\nb", 5, ["a", "", "b"]),
        ("  indented text", 10, ["  indented", "text"]),
        ("\tx", 8, ["    x"]),
        ("z\u030cz\u030c", 1, ["z\u030c", "z\u030c"]),
    ],
)
def test_text_wraps_between_words(text: str, cells: int, rows: list[str]) -> None:
    assert wrap(text, cells) == rows


@settings(max_examples=300)
@given(st.text(alphabet="ab 馬\u0301😀\n\u200d", max_size=60), st.integers(-1, 12))
def test_wrapping_always_advances_and_loses_nothing_but_spaces(text: str, cells: int) -> None:
    rows = wrap(text, cells)
    assert "".join(rows).replace(" ", "") == text.replace("\n", "").replace(" ", "")
    for row in rows:
        assert width(row) <= max(1, cells) or len([*clusters(row)]) == 1


def test_clipping_never_halves_a_wide_character() -> None:
    assert (clip("馬馬", 3), clip("abc", 2), clip("abc", 0), clip("馬", 1)) == ("馬", "ab", "", "")


# -- the view


def test_a_question_is_decided_only_once_it_was_drawn_whole_for_a_moment_and_each_one_anew() -> None:
    chat = Chat()
    chat.said("go", "turn")
    chat.event(Ask("bash", "ls", turn="turn"))
    questions = chat.questions
    questions.drawn(1.0, whole=False)
    assert not questions.may_be_decided(9.0)
    questions.drawn(2.0, whole=True)
    questions.drawn(2.2, whole=True)
    assert not questions.may_be_decided(2.0 + CALM / 2) and questions.may_be_decided(2.0 + CALM * 2)
    questions.drawn(3.0, whole=False)
    assert not questions.may_be_decided(9.0)
    questions.drawn(4.0, whole=True)
    chat.event(Ask("bash", "pwd", turn="turn"))
    assert questions.take().summary == "ls" and not questions.may_be_decided(9.0)
    questions.drawn(10.0, whole=True)
    assert questions.may_be_decided(11.0)
    chat.event(Interrupted("", turn="turn"))
    chat.event(Ask("bash", "ls", turn="next"))
    assert not questions.may_be_decided(20.0)


def a_view(strip: int = 0, text: str = "", label: str = ">", page: Pager | None = None) -> View:
    """One whose bars tell what they were asked for."""
    view = View(
        header=lambda columns: (("header", "bold"), (" " * (columns - 6), "")),
        status=lambda columns, whole, has_header: ((f"status {whole:d}{has_header:d}".ljust(columns), "status"),),
        strip=lambda columns: [((f"strip {number}"[:columns], ""),) for number in range(strip)],
        marked=lambda rows: rows,
        label=label,
        page=page,
    )
    view.transcript.add(Said("what was said"))
    view.entry.insert(text)
    return view


def drawn(view: View, height: int, columns: int = 40) -> list[str]:
    rows, _ = view.compose(height, columns)
    return ["".join(text for text, _ in row).rstrip() for row in rows]


@settings(max_examples=200)
@given(
    st.text(alphabet="ab \u99ac\u0301\n", max_size=200),
    st.integers(1, 30),
    st.integers(1, 90),
    st.integers(0, 12),
    st.sampled_from([">", "find>", "history>"]),
    st.booleans(),
    st.data(),
)
def test_every_size_of_screen_is_filled_exactly(
    text: str, height: int, columns: int, strip: int, label: str, has_page: bool, data: st.DataObject
) -> None:
    view = a_view(
        strip,
        text,
        label,
        Pager("Keys", lambda columns: [[(clip("a line of the page", columns), "")]] * 20) if has_page else None,
    )
    view.transcript.add(Said(text))
    view.entry.cursor = data.draw(st.integers(0, len(view.entry.text)))
    rows, cursor = view.compose(height, columns)
    assert all(width("".join(text for text, _ in row)) <= columns for row in rows)
    assert len(rows) == (height if cursor else 1)
    assert (cursor is None) == (height < 5 or columns < 20)
    if cursor is not None:
        parts = view.heights(height, columns)
        assert parts.header + parts.transcript + parts.strip + 1 + parts.entry == height
        assert parts.transcript >= 1 and parts.entry <= max(1, height // 3) and parts.strip <= 8
        assert height - parts.entry <= cursor[0] < height and len(label) < cursor[1] < columns


def test_there_is_a_header_where_there_is_room() -> None:
    assert drawn(a_view(), 16)[0] == "header"
    assert "header" not in drawn(a_view(), 15)
    assert [drawn(a_view(), height)[-2] for height in (16, 15)] == ["status 11", "status 10"]


@pytest.mark.parametrize(("height", "columns"), [(4, 80), (24, 19), (1, 1), (4, 3)])
def test_a_screen_that_is_too_small_says_so(height: int, columns: int) -> None:
    view = a_view(strip=1)
    rows, cursor = view.compose(height, columns)
    assert ([[*row] for row in rows], cursor) == ([[("too small"[:columns], "")]], None)
    assert not view.whole


def test_the_strip_gives_way_to_what_is_typed_and_it_is_known_whether_all_of_it_is_seen() -> None:
    view = a_view(strip=3)
    assert drawn(view, 10)[-5:] == ["strip 0", "strip 1", "strip 2", "status 10", ">"]
    assert view.whole
    assert drawn(view, 5)[1:] == ["strip 0", "strip 1", "status 00", ">"]
    assert not view.whole
    assert drawn(a_view(strip=12), 30)[-10:-1] == [*(f"strip {number}" for number in range(8)), "status 01"]


def test_a_page_stands_in_place_of_transcript_and_strip() -> None:
    view = a_view(strip=3, text="draft", page=Pager("Keys", lambda columns: [[("Enter sends", "code")]]))
    rows = drawn(view, 16)
    assert rows[0] == "header" and rows[1].startswith(" Keys") and rows[2] == " Enter sends"
    assert rows[-2:] == ["status 11", "> draft"]
    assert not any("strip" in row or "said" in row for row in rows) and not view.whole


def test_what_is_typed_scrolls_with_its_cursor_and_the_label_stands_before_its_first_row() -> None:
    view = a_view(text="\n".join("abcdef"), label="find>")
    assert drawn(view, 9)[-4:] == ["status 10", "      d", "      e", "      f"]
    view.entry.cursor = 0
    _, cursor = view.compose(9, 40)
    assert drawn(view, 9)[-3:] == ["find> a", "      b", "      c"] and cursor == (6, 6)
