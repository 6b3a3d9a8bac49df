"""The input line: what keys do to it, long pastes folded to chips, and how it is laid out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.channels.tui.chips import FIRST, LAST
from agentkit.channels.tui.editor import Editor
from agentkit.channels.tui.keys import Key
from agentkit.channels.tui.layout import Labels, layout
from agentkit.channels.tui.recall import History
from agentkit.channels.tui.wrap import width
from agentkit.printable import printable

CHIP = chr(FIRST)
LONG = "line\n" * 6


def typed(*names: str) -> Editor:
    """An editor after these keys; what is no name of a key is typed."""
    editor = Editor()
    press(editor, *names)
    return editor


def press(editor: Editor, *names: str) -> None:
    for name in names:
        assert editor.key(Key(name)) or editor.key(Key("text", name))


def paste(editor: Editor, text: str) -> None:
    assert editor.key(Key("paste", text))


# -- keys


@pytest.mark.parametrize(
    ("pressed", "text", "cursor"),
    [
        (["abc"], "abc", 3),
        (["abc", "left", "x"], "abxc", 3),
        (["abc", "C-b", "C-b", "C-f", "x"], "abxc", 3),
        (["abc", "home", "x", "end", "y"], "xabcy", 5),
        (["abc", "C-a", "delete"], "bc", 0),
        (["abc", "C-a", "C-d", "C-e", "C-d"], "bc", 2),
        (["abc", "backspace"], "ab", 2),
        (["", "backspace", "delete", "left", "right"], "", 0),
        (["z\u030c", "backspace"], "", 0),
        (["a", "C-j", "z\u030c", "left", "backspace"], "az\u030c", 1),
        (["👩\u200d💻", "left", "x"], "x👩\u200d💻", 1),
        (["a😀", "left", "backspace"], "😀", 0),
        (["one two", "C-w"], "one ", 4),
        (["one two  ", "C-w"], "one ", 4),
        (["one a-b/c", "C-w"], "one ", 4),
        (["   ", "C-w"], "", 0),
        (["one two", "left", "C-u"], "o", 0),
        (["a", "M-enter", "b", "C-j", "c"], "a\nb\nc", 5),
        (["one", "C-j", "three", "up", "x"], "onex\nthree", 4),
        (["one", "C-j", "three", "home", "up", "down", "x"], "one\nxthree", 5),
        (["馬馬", "C-j", "abc", "up", "x"], "馬x馬\nabc", 2),
        (["ab", "C-j", "cd", "up", "C-k"], "abcd", 2),
    ],
)
def test_keys_edit_the_line(pressed: list[str], text: str, cursor: int) -> None:
    editor = typed(*pressed)
    assert (editor.text, editor.cursor) == (text, cursor)


@pytest.mark.parametrize("key", ["M-b", "C-left", "M-left"])
@pytest.mark.parametrize(
    ("text", "stops"),
    [
        ("one two", [4, 0]),
        ("one, (two)  ", [6, 0]),
        ("snake_case", [6, 0]),
        ("a.b\nc", [4, 2, 0]),
        ("z\u030ca", [0]),
        ("❤\ufe0fab", [2, 0]),
        ("नमस्ते जी", [7, 0]),
        ("...", [0]),
        ("žluť 馬2", [5, 0]),
    ],
)
def test_backwards_words_are_runs_of_letters_and_digits(key: str, text: str, stops: list[int]) -> None:
    editor = typed(text)
    seen = []
    for _ in stops:
        press(editor, key)
        seen.append(editor.cursor)
    assert seen == stops


@pytest.mark.parametrize("key", ["M-f", "C-right", "M-right"])
@pytest.mark.parametrize(
    ("text", "stops"),
    [
        ("one two", [3, 7, 7]),
        ("  (one), two", [6, 12]),
        ("snake_case", [5, 10]),
        ("a.b\nc", [1, 3, 5]),
        ("z\u030ca b", [3, 5]),
        ("...", [3]),
    ],
)
def test_forwards_words_are_runs_of_letters_and_digits(key: str, text: str, stops: list[int]) -> None:
    editor = typed(text, "home", "up", "home")
    editor.cursor = 0
    seen = []
    for _ in stops:
        press(editor, key)
        seen.append(editor.cursor)
    assert seen == stops


@pytest.mark.parametrize(
    ("pressed", "text"),
    [
        (["one two", "C-w", "C-w", "C-y"], "one two"),
        (["one two", "M-backspace", "M-backspace", "C-y"], "one two"),
        (["one two", "C-a", "M-d", "M-d", "C-y"], "one two"),
        (["one two", "C-a", "C-delete", "C-y", "C-y"], "oneone two"),
        (["one two", "C-a", "C-k", "C-y", "C-y"], "one twoone two"),
        (["ab cd", "M-b", "C-k", "C-u", "C-y"], "ab cd"),
        (["ab cd", "M-b", "C-u", "C-k", "C-y"], "ab cd"),
        (["a", "C-j", "b", "up", "C-a", "C-k", "C-k", "C-k", "C-y"], "a\nb"),
        (["one two", "C-w", "left", "C-k", "C-y", "C-y"], "one  "),
        (["one two", "C-w", "C-y", "C-w", "C-y"], "one two"),
        (["one", "C-w", "x", "C-w", "C-y"], "x"),
        (["one", "C-u", "C-u", "C-k", "C-w", "M-d", "C-y"], "one"),
        (["C-y"], ""),
    ],
)
def test_cuts_in_a_row_come_back_as_one_text(pressed: list[str], text: str) -> None:
    assert typed(*pressed).text == text


@pytest.mark.parametrize(
    ("pressed", "change", "text"),
    [
        (["one two", "C-w"], lambda editor: editor.insert("x"), "one x"),
        (["one two", "C-w"], lambda editor: editor.restore("three"), "three"),
        (["a b\\c", "left", "C-k"], Editor.newline_after_backslash, "a b\n"),
    ],
)
def test_what_changes_the_text_between_two_cuts_keeps_them_apart(
    pressed: list[str], change: Callable[[Editor], object], text: str
) -> None:
    editor = typed(*pressed)
    change(editor)
    press(editor, "C-w", "C-y")
    assert editor.text == text


@pytest.mark.parametrize("name", ["C-c", "f5", "M-x", "esc", "enter", "tab", "M-é", "C-space", "wheel-up", "S-up"])
def test_other_keys_are_left_to_others(name: str) -> None:
    editor = typed("abc")
    assert not editor.key(Key(name)) and (editor.text, editor.cursor) == ("abc", 3)


@pytest.mark.parametrize(
    ("before", "behind", "text"),
    [
        ("a\\", "", "a\n"),
        ("a\\", "b", "a\nb"),
        ("a\\\\", "", None),
        ("a\\\\\\", "", "a\\\\\n"),
        ("a", "\\", None),
        ("", "", None),
        ("\\", "", "\n"),
        ("a\n\\", "", "a\n\n"),
    ],
)
def test_a_backslash_before_the_cursor_becomes_a_new_line(before: str, behind: str, text: str | None) -> None:
    editor = Editor()
    editor.insert(before + behind)
    editor.cursor = len(before)
    assert editor.newline_after_backslash() == (text is not None)
    assert (editor.text, editor.cursor) == (before + behind if text is None else text, len(before))


def test_up_and_down_go_through_what_was_said_and_come_back_to_the_draft() -> None:
    editor = Editor()
    for message in ("one", "two", "two"):
        editor.key(Key("text", message))
        assert editor.take() == message
    press(editor, "draft ")
    paste(editor, LONG)
    draft, seen = editor.text, []
    for key in ("up", "C-p", "up", "down", "C-n", "down"):
        press(editor, key)
        seen.append(editor.text)
    assert seen == ["two", "one", "one", "two", draft, draft]
    assert editor.message == f"draft {LONG}"


def test_what_is_changed_in_an_earlier_message_is_still_there_on_the_way_back() -> None:
    editor = Editor()
    for message in ("one", "two"):
        editor.remember(message)
    press(editor, "draft", "up", "!", "up", "?")
    paste(editor, LONG)
    press(editor, "down")
    assert editor.text == "two!"
    press(editor, "up")
    assert editor.message == f"one?{LONG}"
    press(editor, "down", "down")
    assert editor.text == "draft"
    press(editor, "up")
    assert editor.take() == "two!"
    press(editor, "up", "up", "up")
    assert editor.text == "one"


def test_earlier_messages_that_turn_up_late_are_found_behind_those_of_this_run(tmp_path: Path) -> None:
    (tmp_path / "history").write_text('"before"\n')
    places: list[Path | None] = [None]
    editor = Editor(History(lambda: places[0]))
    press(editor, "one")
    editor.take()
    press(editor, "up")
    places[0] = tmp_path / "history"
    press(editor, "up")
    assert editor.text == "before"
    press(editor, "down", "down")
    assert editor.text == ""


def test_what_is_remembered_meanwhile_is_the_next_that_up_finds() -> None:
    editor = Editor()
    editor.remember("one")
    press(editor, "up", "!")
    editor.remember("queued")
    press(editor, "up")
    assert editor.text == "queued"
    press(editor, "down")
    assert editor.text == "one!"


def test_what_is_typed_or_pasted_is_cleaned() -> None:
    editor = Editor()
    paste(editor, "a\x1b[31mred\x07\n\u202eb")
    assert "\x1b" not in editor.text and "\u202e" not in editor.text and "\n" in editor.text
    press(editor, "\x1b[31mx\r\ny")
    assert editor.text.endswith("x\ny")


PRESSED = (
    ["a", "馬", "z\u030c", "\u200d", " ", CHIP, "left", "right", "up", "down", "home", "end", "backspace", "delete"]
    + [f"C-{letter}" for letter in "abdefjknpuwy"]
    + ["M-b", "M-f", "M-d", "M-backspace", "paste"]
)


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PRESSED), max_size=40))
def test_the_cursor_never_leaves_the_text_and_chips_stay_whole(pressed: list[str]) -> None:
    editor = Editor()
    for number, name in enumerate(pressed):
        if name == "paste":
            paste(editor, f"{LONG}{number}")
        else:
            press(editor, name)
        assert 0 <= editor.cursor <= len(editor.text)
        assert all(each in editor.labels for each in editor.text if each >= CHIP)
        if number % 7 == 6:
            editor.take()


@pytest.mark.parametrize("keys", [["C-w"], ["M-b"], ["M-f"], ["C-u"], ["up"], ["left"], ["backspace"], ["x"]])
@pytest.mark.parametrize("text", ["a" * 200_000 + " ", " " * 200_000 + ".", "a b " * 50_000, "ž" * 200_000 + "\n-"])
def test_no_key_takes_long_in_a_long_text(keys: list[str], text: str) -> None:
    """What grew with the square of the length would take minutes here."""
    editor = Editor()
    editor.insert(text)
    press(editor, *keys * 3)


# -- chips


@pytest.mark.parametrize(
    ("pasted", "label"),
    [
        ("a\n" * 6, "[paste 1: 6 lines]"),
        ("a\nb\nc\nd\ne\nf", "[paste 1: 6 lines]"),
        ("a\r\n" * 1234, "[paste 1: 1,234 lines]"),
        ("a\r" * 7, "[paste 1: 7 lines]"),
        ("x" * 501, "[paste 1: 501 characters]"),
        ("x" * 2033 + "\n", "[paste 1: 2,034 characters]"),
        ("x" * 600 + "\ny", "[paste 1: 2 lines]"),
        (CHIP, "[paste 1: 1 character]"),
        (f"ab{chr(LAST)}", "[paste 1: 3 characters]"),
    ],
)
def test_a_long_paste_is_one_character_with_a_label(pasted: str, label: str) -> None:
    editor = typed("see ")
    paste(editor, pasted)
    press(editor, "!")
    assert len(editor.text) == 6 and editor.labels[editor.text[4]] == label
    assert editor.message == "see " + pasted.replace("\r\n", "\n").replace("\r", "\n") + "!"
    assert editor.typed == "see  !"


@pytest.mark.parametrize("pasted", ["a\n" * 5, "a\nb\nc\nd\ne", "x" * 500, "", "\n\n"])
def test_a_short_paste_stays_what_it_is(pasted: str) -> None:
    editor = Editor()
    paste(editor, pasted)
    assert editor.text == editor.message == editor.typed == pasted


@pytest.mark.parametrize(
    "pasted",
    ["\x1b[31mred\x1b[0m\x00\x07\u202e\ufeff\u200b\n" * 6, f"{CHIP}\n{chr(LAST)}" * 9, "\x00" * 600, "\ud800" * 600],
)
def test_what_was_pasted_is_sent_to_the_letter(pasted: str) -> None:
    editor = Editor()
    paste(editor, pasted)
    assert editor.message == pasted and len(editor.text) == 1
    assert editor.take() == pasted
    press(editor, "up")
    assert editor.message == pasted and len(editor.text) == 1


def test_five_million_characters_are_pasted_edited_around_and_sent() -> None:
    pasted = "line of a log \x1b[31m馬\n" * 250_000
    editor = typed("see ")
    paste(editor, pasted)
    for _ in range(100):
        press(editor, "x", "left", "M-b", "C-e", "C-w", "C-y")
        layout(editor.text, editor.cursor, 78, tuple(editor.labels.items()))
    assert editor.take() == f"see {pasted}" + "x" * 100


def test_a_typed_character_that_looks_like_a_chip_is_one_for_itself() -> None:
    editor = Editor()
    paste(editor, LONG)
    press(editor, editor.text)
    assert len(editor.text) == 2 and editor.message == LONG + editor.text[0]


def test_chips_are_moved_over_cut_and_deleted_as_one() -> None:
    editor = typed("a ")
    paste(editor, LONG)
    press(editor, "left", "left", "right", "right")
    assert editor.cursor == 3
    press(editor, "C-w", "C-y", "C-y")
    assert editor.message == f"a {LONG}{LONG}"
    press(editor, "backspace", "M-b", "delete")
    assert editor.text == "a "
    press(editor, "C-y", "\u0301", "backspace")
    assert editor.message == f"a {LONG}"
    press(editor, "left", "\u200d", "end", "backspace")
    assert editor.message == "a \u200d"


def test_a_chip_counts_with_its_label_when_the_cursor_goes_up_and_down() -> None:
    editor = typed("0123456789012345678901234567", "C-j")
    paste(editor, LONG)
    label = editor.labels[editor.text[-1]]
    press(editor, "up")
    assert editor.cursor == len(label)
    press(editor, "down")
    assert editor.cursor == len(editor.text)


def test_each_chip_is_a_word() -> None:
    editor = typed("see")
    paste(editor, LONG)
    paste(editor, "other\n" * 9)
    press(editor, "M-b")
    assert editor.cursor == 4
    press(editor, "M-backspace")
    assert editor.message == "see" + "other\n" * 9
    press(editor, "M-d", "C-y")
    assert editor.message == f"see{LONG}" + "other\n" * 9
    press(editor, "M-b", "M-b", "M-b")
    assert editor.cursor == 0
    press(editor, "M-f", "M-f", "M-f")
    assert editor.cursor == 5


def test_a_chip_at_the_cursor_is_unfolded_and_folded_again() -> None:
    editor = typed("a")
    assert not editor.unfold()
    paste(editor, "\x1b[31mred\n" * 6)
    press(editor, "b")
    assert not editor.unfold()
    press(editor, "left", "left")
    assert editor.unfold()
    assert editor.text == "a" + "red\n" * 6 + "b" and editor.cursor == len(editor.text) - 1
    press(editor, "C-a")
    assert editor.unfold()
    assert editor.message == "a" + "\x1b[31mred\n" * 6 + "b" and editor.cursor == 1
    assert editor.unfold()
    press(editor, "x")
    assert not editor.unfold()
    assert editor.message == "a" + "red\n" * 6 + "xb"


def test_the_second_of_two_chips_is_unfolded_before_the_first_is_folded_again() -> None:
    editor = Editor()
    paste(editor, LONG)
    paste(editor, "x\n" * 9)
    raw = editor.text
    press(editor, "left")
    assert editor.unfold() and editor.text == LONG + raw[1]
    assert editor.unfold() and editor.text == LONG + "x\n" * 9
    assert editor.unfold() and editor.text == LONG + raw[1]
    editor.clear()
    assert not editor.unfold()


def test_what_cannot_be_seen_stays_folded() -> None:
    editor = Editor()
    paste(editor, "\u200b" * 600)
    assert not editor.unfold()
    assert editor.message == "\u200b" * 600


def test_what_is_cut_or_waits_keeps_its_chips() -> None:
    editor = Editor()
    paste(editor, LONG)
    raw = editor.text
    editor.take()
    paste(editor, "other\n" * 9)
    press(editor, "C-u")
    editor.restore(f"{raw} again")
    press(editor, "C-a", "C-y", "C-e")
    assert editor.message == "other\n" * 9 + LONG + " again"


def test_there_are_always_chips_for_another_paste() -> None:
    editor = Editor()
    paste(editor, LONG)
    press(editor, "C-w")
    for number in range(LAST - FIRST + 50):
        paste(editor, f"{LONG}{number}")
        assert editor.take() == f"{LONG}{number}"
    press(editor, "C-y")
    assert editor.message == LONG
    for number in range(LAST - FIRST + 50):
        paste(editor, f"{LONG}{number}")
    assert len(editor.labels) == LAST - FIRST + 1
    assert [each for each in editor.message.split("line\n") if each] == [str(each) for each in range(2095)]


def test_going_up_to_a_long_message_makes_one_chip_however_often() -> None:
    editor = Editor()
    for text in ("word " * 1000, "short"):
        editor.remember(text)
    for _ in range(50):
        press(editor, "up", "up", "down", "down")
    press(editor, "up", "up")
    assert editor.message == "word " * 1000 and len(editor.labels) == 1


def test_what_comes_back_from_elsewhere_is_shown_safely_and_sent_exactly() -> None:
    editor = Editor()
    editor.insert("one\r\ntwo")
    assert editor.text == "one\ntwo"
    editor.clear()
    editor.insert("\x1b]0;title\x07")
    assert len(editor.text) == 1 and editor.message == "\x1b]0;title\x07"


PIECES = st.one_of(
    st.tuples(st.just("text"), st.text(alphabet=f"ab 馬\n{CHIP}{chr(LAST)}", min_size=1, max_size=4)),
    st.tuples(st.just("paste"), st.text(alphabet=f"a\r\n\x1b\x00{CHIP}", max_size=14)),
    st.tuples(st.just("paste"), st.text(alphabet="a\r\n\x1b[m\x00馬", max_size=4).map(lambda text: text + "\n" * 6)),
)


@settings(max_examples=300)
@given(st.lists(st.tuples(PIECES, st.integers(0, 5)), max_size=12))
def test_a_message_is_what_was_inserted_where_it_was(steps: list[tuple[tuple[str, str], int]]) -> None:
    editor = Editor()
    model: list[str] = []  # what each character of the text stands for
    for (name, text), lefts in steps:
        editor.key(Key(name, text))
        lines = text.replace("\r\n", "\n").replace("\r", "\n")
        is_chip = any(FIRST <= ord(each) <= LAST for each in text)
        if name == "paste":
            is_chip = is_chip or lines.count("\n") + (not lines.endswith("\n")) > 5
            inserted = [lines] if is_chip else [*printable(lines)]
        else:
            inserted = [text] if is_chip else [*text]
        at = editor.cursor - len(inserted)
        model[at:at] = inserted
        for _ in range(lefts):
            editor.key(Key("left"))
    assert editor.message == "".join(model)
    assert len(editor.text) == len(model)


# -- the layout


def shown(text: str, cursor: int, columns: int, labels: Labels = ()) -> tuple[list[str], int, int]:
    rows, row, column = layout(text, cursor, columns, labels)
    return ["".join(piece for piece, _ in each) for each in rows], row, column


@pytest.mark.parametrize(
    ("text", "cursor", "columns", "expected"),
    [
        ("", 0, 5, ([""], 0, 0)),
        ("abc", 3, 5, (["abc"], 0, 3)),
        ("abcde", 5, 5, (["abcde", ""], 1, 0)),
        ("abcdef", 5, 5, (["abcde", "f"], 1, 0)),
        ("a\nb", 2, 5, (["a", "b"], 1, 0)),
        ("a\n", 2, 5, (["a", ""], 1, 0)),
        ("abcde\nf", 5, 5, (["abcde", "", "f"], 1, 0)),
        ("a\tb", 2, 5, (["a b"], 0, 2)),
        ("馬馬馬", 2, 5, (["馬馬", "馬"], 1, 0)),
        ("z\u030cz\u030c", 4, 1, (["z\u030c", "z\u030c", ""], 2, 0)),
        ("žluť", 4, 3, (["žlu", "ť"], 1, 1)),
        ("馬a", 1, 1, (["…", "a"], 1, 0)),
        ("👩\u200d👩\u200d👩", 5, 4, (["👩\u200d👩\u200d", "👩"], 1, 2)),
        ("abc", 3, 0, (["a", "b", "c", ""], 3, 0)),
    ],
)
def test_the_cursor_stands_where_the_next_character_goes(
    text: str, cursor: int, columns: int, expected: tuple[list[str], int, int]
) -> None:
    assert shown(text, cursor, columns) == expected


LABELS = ((CHIP, "[one]"), (chr(LAST), "[another]"))


@pytest.mark.parametrize(
    ("text", "cursor", "columns", "expected"),
    [
        (f"a{CHIP}b", 2, 10, (["a[one]b"], 0, 6)),
        (f"a{CHIP}b", 1, 10, (["a[one]b"], 0, 1)),
        (f"abc{CHIP}d", 3, 6, (["abc", "[one]d"], 1, 0)),
        (f"{CHIP}{chr(LAST)}", 2, 9, (["[one]", "[another]", ""], 2, 0)),
        (f"a{CHIP}b", 3, 3, (["a", "[on", "b"], 2, 1)),
        (f"{CHIP}\u0301", 2, 9, (["[one]\u0301"], 0, 5)),
        (f"a\n{CHIP}", 3, 9, (["a", "[one]"], 1, 5)),
    ],
)
def test_labels_stand_whole_where_they_fit(
    text: str, cursor: int, columns: int, expected: tuple[list[str], int, int]
) -> None:
    assert shown(text, cursor, columns, LABELS) == expected


def test_a_label_has_a_style_of_its_own() -> None:
    rows, _, _ = layout(f"ab{CHIP}c", 0, 20, LABELS)
    assert [[*row] for row in rows] == [[("ab", ""), ("[one]", "chip"), ("c", "")]]


@settings(max_examples=300)
@given(st.text(alphabet=f"ab žя馬\u0301😀\n\u200d\t{CHIP}", max_size=40), st.integers(-1, 12), st.data())
def test_no_row_is_too_wide_and_nothing_is_lost(text: str, columns: int, data: st.DataObject) -> None:
    cursor = data.draw(st.integers(0, len(text)))
    rows, row, column = shown(text, cursor, columns, LABELS)
    assert all(width(each) <= max(1, columns) for each in rows)
    assert 0 <= row < len(rows) and 0 <= column < max(1, columns)
    if columns >= 5:
        expected = text.replace("\t", " ").replace("\n", "").replace(CHIP, "[one]")
        assert "".join(rows) == expected
        before = "".join(rows[:row])
        assert expected.startswith(before)
