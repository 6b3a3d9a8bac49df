"""The parts of the full screen that need none: keys, the editor, widths and wrapping, the transcript, the view."""

from __future__ import annotations

import random
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wcwidth import wcswidth

from agentkit.channels.tui.chat import Chat
from agentkit.channels.tui.editor import Editor
from agentkit.channels.tui.keys import Key, Keys
from agentkit.channels.tui.transcript import Block, ToolBlock, Transcript
from agentkit.channels.tui.view import View, layout
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


@settings(derandomize=True, max_examples=300)
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


@settings(derandomize=True, max_examples=300)
@given(st.text(alphabet="ab 馬\u0301😀\n\u200d", max_size=60), st.integers(-1, 12))
def test_wrapping_always_advances_and_loses_nothing_but_spaces(text: str, cells: int) -> None:
    rows = wrap(text, cells)
    assert "".join(rows).replace(" ", "") == text.replace("\n", "").replace(" ", "")
    for row in rows:
        assert width(row) <= max(1, cells) or len([*clusters(row)]) == 1


def test_clipping_never_halves_a_wide_character() -> None:
    assert (clip("馬馬", 3), clip("abc", 2), clip("abc", 0), clip("馬", 1)) == ("馬", "ab", "", "")


# -- the editor


def typed(*names: str) -> Editor:
    """An editor after these keys; what is no name of a key is typed."""
    editor = Editor()
    for name in names:
        assert editor.key(Key(name)) or editor.key(Key("text", name))
    return editor


@pytest.mark.parametrize(
    ("pressed", "text", "cursor"),
    [
        (["abc"], "abc", 3),
        (["abc", "left", "x"], "abxc", 3),
        (["abc", "home", "x", "end", "y"], "xabcy", 5),
        (["abc", "C-a", "delete"], "bc", 0),
        (["abc", "backspace"], "ab", 2),
        (["", "backspace", "delete", "left", "right"], "", 0),
        (["z\u030c", "backspace"], "", 0),
        (["a😀", "left", "backspace"], "😀", 0),
        (["one two", "C-w"], "one ", 4),
        (["one two", "C-w", "C-w", "C-y"], "one ", 4),
        (["one two", "left", "C-u"], "o", 0),
        (["one two", "C-a", "C-k", "C-y", "C-y"], "one twoone two", 14),
        (["one two", "M-b", "x"], "one xtwo", 5),
        (["one two", "C-a", "M-f", "x"], "onex two", 4),
        (["a", "M-enter", "b", "C-j", "c"], "a\nb\nc", 5),
        (["one", "C-j", "three", "up", "x"], "onex\nthree", 4),
        (["one", "C-j", "three", "home", "up", "down", "x"], "one\nxthree", 5),
        (["ab", "C-j", "cd", "up", "C-k"], "abcd", 2),
    ],
)
def test_keys_edit_the_line(pressed: list[str], text: str, cursor: int) -> None:
    editor = typed(*pressed)
    assert (editor.text, editor.cursor) == (text, cursor)


def test_up_and_down_go_through_what_was_said_and_come_back_to_the_draft() -> None:
    editor = Editor()
    for message in ("one", "two", "two"):
        editor.key(Key("text", message))
        assert editor.take() == message
    editor.key(Key("text", "draft"))
    seen = []
    for key in ("up", "up", "up", "down", "down", "down"):
        editor.key(Key(key))
        seen.append(editor.text)
    assert seen == ["two", "one", "one", "two", "draft", "draft"]


def test_what_is_typed_or_pasted_is_cleaned() -> None:
    editor = Editor()
    editor.key(Key("paste", "a\x1b[31mred\x07\n\u202eb"))
    assert "\x1b" not in editor.text and "\u202e" not in editor.text and "\n" in editor.text


PRESSED = (
    ["a", "馬", "z\u030c", "left", "right", "up", "down", "home", "end", "backspace", "delete"]
    + [f"C-{letter}" for letter in "jkuwy"]
    + ["M-b", "M-f"]
)


@settings(derandomize=True, max_examples=200)
@given(st.lists(st.sampled_from(PRESSED)))
def test_the_cursor_never_leaves_the_text(pressed: list[str]) -> None:
    editor = typed(*pressed)
    assert 0 <= editor.cursor <= len(editor.text)


# -- the transcript and the view


def shown(transcript: Transcript, columns: int = 20, height: int = 5) -> list[str]:
    return ["".join(text for text, _ in row) for row in transcript.window(columns, height)]


def test_a_block_that_grows_is_the_same_as_one_made_at_once() -> None:
    text = "some words that wrap\nand another line, too\n\nend"
    whole, grown = Block("*", "", text), Block("*", "")
    for character in text:
        grown.add(character)
        grown.rows(12)
    assert grown.rows(12) == whole.rows(12)
    assert grown.rows(30) == whole.rows(30)


def test_the_window_scrolls_within_its_ends_and_stays_when_more_comes() -> None:
    transcript = Transcript()
    assert shown(transcript) == []
    transcript.scroll(3, 20, 5)
    transcript.blocks += [Block("*", "", f"block {number}") for number in range(10)]
    transcript.to_end()
    assert shown(transcript)[-1] == "* block 9"
    transcript.scroll(4, 20, 5)
    assert shown(transcript)[-1] == "* block 7"
    transcript.blocks.append(Block("*", "", "new"))
    assert shown(transcript)[-1] == "* block 7"
    transcript.scroll(1000, 20, 5)
    assert shown(transcript)[1] == "* block 0"
    transcript.to_end()
    transcript.scroll(3, 20, 5)
    transcript.scroll(-3, 20, 5)
    assert transcript.at_end
    transcript.scroll(1000, 20, 5)
    transcript.blocks.insert(3, Block("*", "", "put between"))
    assert shown(transcript)[1] == "* block 0"
    transcript.scroll(-1000, 20, 5)
    assert transcript.at_end and shown(transcript)[-1] == "* new"


def test_a_tool_shows_its_first_lines_and_counts_the_rest() -> None:
    block = ToolBlock("bash", "make test", "#")
    block.finish(True, "\n".join(f"line {number}" for number in range(20)), "ok", 1.25)
    rows = ["".join(text for text, _ in row) for row in block.rows(40)]
    assert rows[1].startswith("# bash  make test") and rows[1].endswith("ok 1.2s")
    assert rows[2] == "  | line 0" and rows[-1] == "  | ... 15 more lines"


def test_a_question_is_seen_only_once_it_was_drawn_whole_and_each_one_anew() -> None:
    chat = Chat("assistant", "m", 1000)
    chat.said("go", "turn")
    chat.event(Ask("bash", "ls", turn="turn"))
    chat.compose(4, 40)
    chat.drawn(1.0)
    assert chat.seen == 0.0
    chat.compose(24, 40)
    chat.drawn(2.0)
    assert chat.seen == 2.0
    chat.event(Interrupted("", turn="turn"))
    chat.event(Ask("bash", "ls", turn="next"))
    assert chat.seen == 0.0


@pytest.mark.parametrize(
    ("text", "cursor", "columns", "expected"),
    [
        ("", 0, 5, ([""], 0, 0)),
        ("abc", 3, 5, (["abc"], 0, 3)),
        ("abcde", 5, 5, (["abcde", ""], 1, 0)),
        ("abcdef", 5, 5, (["abcde", "f"], 1, 0)),
        ("a\nb", 2, 5, (["a", "b"], 1, 0)),
        ("a\n", 2, 5, (["a", ""], 1, 0)),
        ("馬馬馬", 2, 5, (["馬馬", "馬"], 1, 0)),
    ],
)
def test_the_cursor_stands_where_the_next_character_goes(
    text: str, cursor: int, columns: int, expected: tuple[list[str], int, int]
) -> None:
    assert layout(text, cursor, columns) == expected


@settings(derandomize=True, max_examples=150)
@given(st.text(alphabet="ab 馬\n", max_size=200), st.integers(1, 30), st.integers(1, 90), st.data())
def test_every_size_of_screen_is_filled_exactly(text: str, height: int, columns: int, data: st.DataObject) -> None:
    view = View(status=("left " * 9, ["right " * 3] * 3), strip=[(("strip", ""),)] * data.draw(st.integers(0, 12)))
    view.transcript.blocks.append(Block("*", "", text))
    view.editor.insert(text)
    view.editor.cursor = data.draw(st.integers(0, len(text)))
    rows, cursor = view.compose(height, columns)
    assert len(rows) in (1, height)
    if cursor is not None:
        assert len(rows) == height and 0 <= cursor[0] < height and 0 <= cursor[1] < columns
