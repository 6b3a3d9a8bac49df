"""Markdown as rows: what each thing looks like, that it never matters how the text came, and what it costs."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable
from types import FrameType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wcwidth import wcwidth

from agentkit.channels.tui.inline import inline
from agentkit.channels.tui.markdown import Markdown
from agentkit.channels.tui.style import Row
from agentkit.channels.tui.wrap import chop, spread, width, wrap


def made(source: str) -> Markdown:
    text = Markdown("●", "assistant")
    text.add(source)
    return text


def flat(rows: list[Row]) -> list[str]:
    return ["".join(text for text, _ in row).rstrip() for row in rows]


def shown(source: str, columns: int = 40) -> list[str]:
    """The rows without the empty one at the top, the glyph and the margin."""
    rows = made(source).rows(columns)
    assert rows[0] == () and (len(rows) == 1 or rows[1][0] == ("● ", "assistant"))
    assert all(not row or width(row[0][0]) == 2 for row in rows)
    return [text[2:] for text in flat(rows[1:])]


def work(function: Callable[[], object]) -> int:
    """How many calls of functions it takes: a measure that no other load on the machine changes."""
    count = 0

    def called(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += 1

    sys.setprofile(called)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


# -- within a line


@pytest.mark.parametrize(
    ("line", "spans"),
    [
        ("", []),
        ("plain", [("plain", "")]),
        ("**b** __b__", [("b", "bold"), (" ", ""), ("b", "bold")]),
        ("*i* _i_", [("i", "italic"), (" ", ""), ("i", "italic")]),
        ("***both***", [("both", "bold italic")]),
        ("**a *b* c**", [("a ", "bold"), ("b", "bold italic"), (" c", "bold")]),
        ("*a **b***", [("a ", "italic"), ("b", "bold italic")]),
        ("~~gone~~ ~one~ ~~~three~~~", [("gone", "strike"), (" ~one~ ~~~three~~~", "")]),
        ("snake_case_name 2*3*4", [("snake_case_name 2", ""), ("3", "italic"), ("4", "")]),
        ("a * b * c ** d", [("a * b * c ** d", "")]),
        ("**open *and `open", [("**open *and `open", "")]),
        ("`a *b*` ``c`d``", [("a *b*", "code"), (" ", ""), ("c`d", "code")]),
        ("`` ` `` ` `", [("`", "code"), (" ", ""), (" ", "code")]),
        (r"`\` \`x\`", [("\\", "code"), (" `x`", "")]),
        (r"\*no\* \a \\", [(r"*no* \a " + "\\", "")]),
        ("**`c`**", [("c", "bold code")]),
        ("**中文。**后", [("中文。", "bold"), ("后", "")]),
        ("<b>x</b> &amp; a < b", [("<b>x</b> &amp; a < b", "")]),
    ],
)
def test_emphasis_and_code_are_styled_and_what_is_open_stays(line: str, spans: list[tuple[str, str]]) -> None:
    assert inline(line) == spans


@pytest.mark.parametrize(
    ("line", "spans"),
    [
        ("[a](http://x.org)", [("a <http://x.org>", "link")]),
        ("[http://x.org](http://x.org)", [("http://x.org", "link")]),
        ("[a](<b c>) [d](e 'title')", [("a <b c>", "link"), (" ", ""), ("d <e>", "link")]),
        ("[a](u(1)) ![i](p.png)", [("a <u(1)>", "link"), (" ", ""), ("i <p.png>", "link")]),
        ("[](u) [a]()", [("<u>", "link"), (" ", ""), ("a", "link")]),
        ("[**b** `c`](u)", [("b", "bold link"), (" ", "link"), ("c", "link code"), (" <u>", "link")]),
        ("**[a](u)**", [("a <u>", "bold link")]),
        ("*a [b* c](u)", [("*a ", ""), ("b* c <u>", "link")]),
        ("[a [b](u) c](v)", [("[a ", ""), ("b <u>", "link"), (" c](v)", "")]),
        ("[a] [a][b] x[1](", [("[a] [a][b] x[1](", "")]),
        ("<https://x.org> <me@x.org>", [("https://x.org", "link"), (" ", ""), ("me@x.org", "link")]),
        ("see https://x.org/a_b_c.", [("see ", ""), ("https://x.org/a_b_c", "link"), (".", "")]),
        ("(http://x.org/a_(b))", [("(", ""), ("http://x.org/a_(b)", "link"), (")", "")]),
        ("**http://x.org**", [("http://x.org", "bold link")]),
        ("见https://x.org。好", [("见", ""), ("https://x.org", "link"), ("。好", "")]),
        ("http:// xhttp://y", [("http:// xhttp://y", "")]),
    ],
)
def test_links_show_where_they_lead(line: str, spans: list[tuple[str, str]]) -> None:
    assert inline(line) == spans


def test_a_very_long_line_is_taken_as_it_is() -> None:
    line = "**b** " * 400
    assert inline(line) == [(line, "")]


HOSTILE = [
    "*a ",
    "[",
    "`",
    "_a",
    "[a](",
    "![a](b",
    "**a *b ",
    "*a_b",
    "a* ",
    "[](<",
    '[a](b "',
    "<a:",
    "~~a ",
    "\\",
    "_*",
]


@pytest.mark.parametrize("piece", [*HOSTILE, "https://x)", "[a](b)", "(", "*a **a ", "] ", "[a]( "])
def test_no_line_costs_more_than_its_length(piece: str) -> None:
    short, long = ((piece * 500)[:size] for size in (400, 1600))
    inline(short)
    assert work(lambda: inline(long)) < 6 * work(lambda: inline(short)) + 200


@settings(max_examples=300)
@given(st.text(alphabet="ab *_~`[]()<>!\\.:/h馬", max_size=60))
def test_a_line_keeps_its_letters(line: str) -> None:
    letters = [character for text, _ in inline(line) for character in text if character in "ab馬"]
    assert letters == [character for character in line if character in "ab馬"] or "](" in line


# -- whole texts


@pytest.mark.parametrize(
    ("source", "rows"),
    [
        ("one\ntwo", ["one", "two"]),
        ("\n\na\n\n\n \nb\n\n", ["a", "", "b"]),
        ("# One #\n###### *Six*\n#no\n#", ["One", "Six", "#no", ""]),
        ("a\\\nb  \nc\\\\", ["a", "b", "c\\"]),
        ("- a\n* b\n+ c\n-no\n-", ["• a", "• b", "• c", "-no", "•"]),
        ("1. a\n  2) b\n\n10. c", ["1. a", "  2) b", "", "10. c"]),
        ("- [ ] a\n- [x] b\n1. [X] c\n- [y]", ["☐ a", "☑ b", "1. ☑ c", "• [y]"]),
        ("- a\n  more\n    - b\n\n      more", ["• a", "  more", "    • b", "", "      more"]),
        ("- a\n    - b\n        - *c*", ["• a", "    • b", "        • c"]),
        ("> a\n>> *b*\n> > - c\n>\n>\nd", ["│ a", "│ │ b", "│ │ • c", "│", "d"]),
        ("- > a\n  > b", ["• │ a", "  │ b"]),
        ("    code *as* is\n\n\tx", ["    code *as* is", "", "    x"]),
        ("**not a list**\n* * *", ["not a list", "─" * 38]),
        ("- a ---\n* ---", ["• a ---", "• " + "─" * 36]),
        ("T\n===\nU\n---", ["T", "─" * 38, "U", "─" * 38]),
        ("```py\n*x*\n\n\n  y\n```\nz", ["┌ py", "│ *x*", "│", "│", "│   y", "└", "z"]),
        ("```\nopen\n``", ["┌", "│ open", "│ ``"]),
        ("~~~~ sh -x\n~~~\n~~~~~", ["┌ sh", "│ ~~~", "└"]),
        ("````\n```\n````", ["┌", "│ ```", "└"]),
        ("``` no`fence", ["``` no`fence"]),
        ("1. a\n   ```\n   b\n     c\n   ```\n   d", ["1. a", "   ┌", "   │ b", "   │   c", "   └", "   d"]),
        ("- ```\n  b\n  ```", ["• ┌", "  │ b", "  └"]),
        ("> ```\n> b\nc", ["│ ┌", "│ │ b", "│ └", "c"]),
        ("<div>\n&lt;", ["<div>", "&lt;"]),
    ],
)
def test_each_thing_has_its_look(source: str, rows: list[str]) -> None:
    assert shown(source) == rows


@pytest.mark.parametrize(
    ("source", "columns", "rows"),
    [
        ("- one two three", 9, ["• one", "  two", "  three"]),
        ("10. one two", 9, ["10. one", "    two"]),
        ("> one two", 9, ["│ one", "│ two"]),
        ("- [x] one two", 10, ["☑ one", "  two"]),
        ("```\nab cdefgh\n\ta\n```", 9, ["┌", "│ ab cd", "│ efgh", "│     a", "└"]),
        ("```\n馬馬馬\n```", 9, ["┌", "│ 馬馬", "│ 馬", "└"]),
        ("a  b  馬馬馬", 8, ["a  b", "馬馬馬"]),
    ],
)
def test_what_is_too_wide_hangs_under_its_beginning(source: str, columns: int, rows: list[str]) -> None:
    assert shown(source, columns) == rows


def test_styles_tell_what_is_what() -> None:
    rows = made("# T *i*\n> `q`\n---\n```py\nx\n```").rows(10)[1:]
    assert rows == [
        (("● ", "assistant"), ("T ", "bold heading"), ("i", "bold heading italic")),
        (("  ", ""), ("│ ", "quote"), ("q", "code")),
        (("  ", ""), ("─" * 8, "dim")),
        (("  ", ""), ("┌ py", "dim")),
        (("  ", ""), ("│ ", "dim"), ("x", "code")),
        (("  ", ""), ("└", "dim")),
    ]


# -- tables

TABLE = "| Name | Qty | Note |\n|:-|-:|:-:|\n| a | 1 | `x\\|y` |\n| bb | 22\n| 馬 | 3 | c | d |\n"


@pytest.mark.parametrize(
    ("source", "columns", "rows"),
    [
        (
            TABLE + "after",
            30,
            ["Name  Qty  Note", "─" * 16, "a       1   x|y", "bb     22", "馬      3  c | d", "after"],
        ),
        (
            TABLE,
            14,
            ["Name: a", "Qty: 1", "Note: x|y", "", "Name: bb", "Qty: 22", "", "Name: 馬", "Qty: 3", "Note: c | d"],
        ),
        ("| a |\n|---|\n| 1 |\n\n| no |", 20, ["a", "─", "1", "", "| no |"]),
        ("a | b\n--|--\n1 | 2", 20, ["a  b", "────", "1  2"]),
        ("a | b\n--|--|--", 20, ["a | b", "--|--|--"]),
        ("a | b\nc", 20, ["a | b", "c"]),
        ("> a | b\n> --|--\n> 1 | 2\n3 | 4", 20, ["│ a  b", "│ ────", "│ 1  2", "3 | 4"]),
        ("- | a | b |\n  |---|---|\n  | 1 | 2 |", 20, ["• a  b", "  ────", "  1  2"]),
        ("| aaaaaa | bbbbbb |\n|-|-|", 12, ["aaaaaa", "bbbbbb"]),
        ("| aaaaaa | bbbbbb |\n|-|-|\n||\n| 1", 12, ["·", "", "aaaaaa: 1"]),
    ],
)
def test_tables_are_aligned_or_one_record_for_each_row(source: str, columns: int, rows: list[str]) -> None:
    assert shown(source, columns) == rows


def test_the_head_of_a_table_is_bold_and_its_cells_keep_their_styles() -> None:
    rows = made("| a | *b* |\n|-|-|\n| `1` | 2 |").rows(20)
    assert rows[1][1:] == (("a", "bold"), ("  ", ""), ("b", "bold italic"))
    assert rows[3][1:] == (("1", "code"), ("  ", ""), ("2", ""))


def test_a_long_table_is_not_laid_out_again_for_each_row() -> None:
    text = made("| a | b |\n|---|---|\n")
    costs = []
    for number in range(1200):
        text.add(f"| `{number % 10}` | **x")
        text.rows(40)
        text.add("** |\n")
        costs.append(work(lambda: text.rows(40)))
    assert sum(costs[-100:]) < 3 * sum(costs[100:200])
    assert flat(text.rows(40))[-1] == "  9  x"


# -- while it comes

PIECES = [
    *(
        "a",
        "b c",
        " ",
        "\n",
        "\n\n",
        "# ",
        "- ",
        "1. ",
        "  ",
        "    ",
        "> ",
        "```",
        "~~~",
        "`",
        "**",
        "*",
        "_",
        "|",
        "\\",
    ),
    *(
        "| a | b |\n|---|:-:|\n",
        "| x | 馬 |\n",
        "|-|",
        "[a](b)",
        "---",
        "[ ] ",
        "\t",
        "e\u0301",
        "👩\u200d💻",
        "http://x",
    ),
    *("long " * 30, "x" * 50, "| " + "wide " * 9 + "|\n", "y" * 2001, "z " * 1001),
]


@settings(max_examples=50)
@given(st.lists(st.sampled_from(PIECES), max_size=25), st.data())
def test_how_the_text_came_makes_no_difference(pieces: list[str], data: st.DataObject) -> None:
    source = "".join(pieces)
    grown = Markdown("●", "assistant")
    widths = [data.draw(st.sampled_from([1, 2, 5, 9, 17, 40, 80])) for _ in range(4)]
    at, turn = 0, 0
    while at < len(source):
        size = 1 if len(source) < 300 else 1 + (at * 7) % 90
        grown.add(source[at : at + size])
        at, turn = at + size, turn + 1
        columns = widths[turn // 9 % 4]
        rows = grown.rows(columns)
        if turn % 9 == 0:
            assert rows == made(source[:at]).rows(columns)
    for columns in {*widths, 3, 30}:
        whole = made(source)
        assert grown.rows(columns) == whole.rows(columns)
        assert grown.code == whole.code and grown.text == source
        for row in whole.rows(columns):
            assert sum(width(text) for text, _ in row) <= columns
            assert not any("\n" in text or "\t" in text or not text for text, _ in row)


def test_a_table_is_the_same_whether_it_came_by_the_character_or_at_once() -> None:
    source = (
        "| n | text |\n|--:|---|\n" + "".join(f"| {n} | `c{n}` **{'x' * (n % 30)}** |\n" for n in range(120)) + "end"
    )
    for columns in (12, 33, 80):
        grown = Markdown("●", "assistant")
        for at, character in enumerate(source):
            grown.add(character)
            if at % 3 == 0:
                grown.rows(columns)
        assert grown.rows(columns) == made(source).rows(columns)


def test_rows_that_have_settled_stay_the_very_same() -> None:
    text = made("# T\n- a\n\n```\nx\ny\n")
    before = [*text.rows(40)]
    for piece in ("z", "\n```\n", "more | or\n", "less"):
        text.add(piece)
        assert all(new is old for new, old in zip(text.rows(40), before, strict=False))
    assert text.rows(40) is text.rows(40)


def test_a_line_costs_the_same_at_the_end_as_at_the_start() -> None:
    lines = [
        "## Title\n",
        "- *item* one\n",
        "\n",
        "text `code` https://x.org and more of it\n",
        "```\n",
        "x = 1\n",
        "```\n",
    ]
    text = Markdown("●", "assistant")

    def feed(first: int, last: int) -> None:
        for number in range(first, last):
            text.add(lines[number % len(lines)])
            text.rows(60)

    start = work(lambda: feed(0, 700))
    feed(700, 19300)
    assert work(lambda: feed(19300, 20000)) < 1.2 * start


@pytest.mark.parametrize("begin", ["", "```\n", "> - "])
def test_an_endless_line_costs_the_same_at_the_end_as_at_the_start(begin: str) -> None:
    text = made(begin + "word " * 500)

    def feed(count: int) -> None:
        for _ in range(count):
            text.add("and 馬 more words " * 20)
            text.rows(60)

    feed(5)
    start = work(lambda: feed(20))
    feed(200)
    assert work(lambda: feed(20)) < 1.5 * start
    assert text.rows(60) == made(text.text).rows(60)


@pytest.mark.parametrize(
    "piece", [*HOSTILE, "> ", "- ", "1. ", "#", "|", "|-", "| ", "\t", " ", "=", "\u0301", "\u200d", "馬"]
)
def test_no_text_makes_it_crash_or_crawl(piece: str) -> None:
    for source in (piece * 900, (piece * 40 + "\n") * 12):
        text = Markdown("●", "assistant")

        def come(source: str = source, text: Markdown = text) -> None:
            for at in range(0, len(source), 500):
                text.add(source[at : at + 500])
                text.rows(20)

        assert work(come) < 300 * len(source) + 20_000
        for columns in (-1, 0, 1, 2, 3, 5, 200):
            assert all(sum(width(part) for part, _ in row) <= max(1, columns) for row in text.rows(columns))


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("no", []),
        ("```py\na\n\tb  \n\n```\n~~~\nc", ["a\n\tb  \n", "c"]),
        ("- ```\n  a\n     b\n  ```", ["a\n   b"]),
        ("> ```\n> a\n>  b\n> ```", ["a\n b"]),
        ("```\n``` x\n```", ["``` x"]),
        ("```", [""]),
    ],
)
def test_code_is_kept_exactly(source: str, code: list[str]) -> None:
    assert made(source).code == code


# -- wrapping and widths


@settings(max_examples=300)
@given(st.lists(st.text(alphabet="ab 馬\u0301😀\t\u200d", max_size=9), max_size=8), st.integers(-1, 12))
def test_spread_breaks_where_wrap_does(texts: list[str], cells: int) -> None:
    rows = spread([(text, str(number)) for number, text in enumerate(texts)], cells)
    assert ["".join(text for text, _ in row) for row in rows] == wrap("".join(texts), cells)
    for number, text in enumerate(texts):
        kept = "".join(part for row in rows for part, style in row if style == str(number))
        assert kept.replace(" ", "") == text.replace("\t", "").replace(" ", "")


@settings(max_examples=200)
@given(st.text(alphabet="ab 馬\u0301\u200d", max_size=40), st.integers(2, 12))
def test_chopping_loses_nothing(text: str, cells: int) -> None:
    rows = chop(text, cells)
    assert "".join(rows) == text and all(width(row) <= cells for row in rows)


# Where ours is another than wcwidth's, and why: ours is what the C library, and so curses, counts.
BESIDE = "Mc"  # marks that take a cell of their own beside their letter
NOW_WIDE = "☰☱☲☳☴☵☶☷⚊⚋⚌⚍⚎⚏"  # wide only since Unicode 16
FLAGS = "".join(map(chr, range(0x1F1E6, 0x1F200)))  # the letters of flags, each by itself
FILLERS = "\u3164\uffa0"  # letters of Hangul that are seen as space
SEPARATORS = "\u2028\u2029"  # never printed: they have become line feeds before


def test_every_assigned_character_is_as_wide_as_wcwidth_says() -> None:
    differing = []
    for point in range(0x20, sys.maxunicode + 1):
        character = chr(point)
        kind = unicodedata.category(character)
        if kind in ("Cn", "Cc", "Cs", "Co", BESIDE) or character in NOW_WIDE + FLAGS + FILLERS + SEPARATORS:
            continue
        if 0x1D300 <= point <= 0x1D376:  # symbols of Tai Xuan Jing and counting rods: wide only since Unicode 16
            continue
        if width("a" + character) - 1 != wcwidth(character):
            differing.append(hex(point))
    assert differing == []
