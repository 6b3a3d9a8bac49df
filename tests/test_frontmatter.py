"""Front matter as people write it: understood as YAML would, forgiving where YAML is not, exact about what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.frontmatter import Document, Malformed, parse


def fields(source: str) -> dict[str, Any]:
    return parse(f"---\n{source}\n---\nbody").fields


@pytest.mark.parametrize(
    "text", ["", "just text", "# Title\n---\nx", "\n---\na: b\n---\n", "----\na: b\n", "--- a\n", " ---\n"]
)
def test_text_that_does_not_begin_with_a_line_of_dashes_is_all_body(text: str) -> None:
    assert parse(text) == Document({}, text)


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("---\na: b\n---\nbody\n", "body\n"),
        ("---\na: b\n---\n\n  body\n---\nmore", "\n  body\n---\nmore"),
        ("---\na: b\n---", ""),
        ("---  \na: b\n---\t\nbody", "body"),
        ("\ufeff---\na: b\n---\nbody", "body"),
        ("---\r\na: b\r\n---\r\nbody\r\nmore", "body\r\nmore"),
        ("---\ra: b\r---\rbody", "body"),
    ],
)
def test_the_body_is_what_follows_as_it_is(text: str, body: str) -> None:
    assert parse(text) == Document({"a": "b"}, body)


def test_front_matter_may_be_empty() -> None:
    assert parse("---\n---\nbody") == Document({}, "body")
    assert parse("---\n\n# nothing\n---\nbody") == Document({}, "body")


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("a: text", "text"),
        ("a:   text   ", "text"),
        ("a:\ttext", "text"),
        ("a:", ""),
        ("a: # comment", ""),
        ("a: text # comment", "text"),
        ("a: C# and x#y", "C# and x#y"),
        ("a: true", "true"),
        ("a: 1.50", "1.50"),
        ("a: Use when: the user asks, e.g. fix: or feat: in a commit", None),
        ("a: http://x.y:80/z", "http://x.y:80/z"),
        ("a: *", "*"),
        ("a: &b !c @d `e` %f", "&b !c @d `e` %f"),
        ('a: it\'s "quoted" inside', 'it\'s "quoted" inside'),
        ("a: -b", "-b"),
        ("a: 'it''s # no: comment'  # comment", "it's # no: comment"),
        ("a: ''", ""),
        (r'a: "tab\t line\n quote\" slash\\ \x41\u00e9\U0001f600"', 'tab\t line\n quote" slash\\ Aé😀'),
        (r'a: "C:\Users\q \d"', "C:\\Users\\q \\d"),
        (r'a: "\ud83d\ude00 \ud83d"', "😀 \ufffd"),
        (r'a: "\U00200000"', "\\U00200000"),
        ('a: "  kept  "', "  kept  "),
        ("a: plain\n  goes on: here\n   and here\n\n  new paragraph", "plain goes on: here and here\nnew paragraph"),
        ("a:\n  begins below\n  and goes on", "begins below and goes on"),
        ("a: one # comment\n  # comment\n  two", "one two"),
        ("a: 'one\n  two\n\n  three'", "one two\nthree"),
        ('a: "one \\\n  two"', "one two"),
        ("a: |\n  one\n    two\n\n  # three\nb: c", "one\n  two\n\n# three\n"),
        ("a: |-\n  one\n  two\n\n", "one\ntwo"),
        ("a: |+\n  one\n", "one\n\n"),
        ("a: >\n  one\n  two\n\n  three\n    four\n  five", "one two\nthree\n  four\nfive\n"),
        ("a: >- # comment\n\n  one\n  two", "\none two"),
        ("a: |2-\n    one\n  two", "  one\ntwo"),
        ("a: |", ""),
        ("a: |\n  x\n  \ty", "x\n\ty\n"),
        ("a: [x, \"y, z\", 'w', ]", ["x", "y, z", "w"]),
        ("a: []", []),
        ("a: [Bash(git:*), Use when: x]", ["Bash(git:*)", "Use when: x"]),
        ("a: [\n  x, # one\n  y\n  z\n]", ["x", "y z"]),
        ("a: [[x], {b: c, d}]", [["x"], {"b": "c", "d": ""}]),
        ('a: {"b":1, c: {d: [e]}, f: "}"}', {"b": "1", "c": {"d": ["e"]}, "f": "}"}),
        ('a:\n  {\n    "b": { "c": ["d",], },\n  }', {"b": {"c": ["d"]}}),
        ("a:\n  - x\n  - 'y'\n  -\n  - Use when: z", ["x", "y", "", "Use when: z"]),
        ("a:\n- x\n- y\nb: c", ["x", "y"]),
        ("a:\n  - b: c\n    d: e\n  - - f\n    - g\n  - |\n    h", [{"b": "c", "d": "e"}, ["f", "g"], "h\n"]),
        ("a:\n  b: c\n  # comment\n\n  d:\n    e: f\n  'g h': i", {"b": "c", "d": {"e": "f"}, "g h": "i"}),
    ],
)
def test_values_are_read_as_they_are_meant(source: str, read: Any) -> None:
    assert fields(source)["a"] == (source[3:] if read is None else read)


def test_keys_stay_as_they_are_written() -> None:
    keys = "allowed-tools: a\nUse when: b\n'c: d': e\n\"f\": g\nh:i: j\nÄ : k"
    assert list(fields(keys)) == ["allowed-tools", "Use when", "c: d", "f", "h:i", "Ä"]


def test_all_keys_may_be_indented_alike() -> None:
    assert fields("  a: b\n  c: d") == {"a": "b", "c": "d"}


@pytest.mark.parametrize(
    ("source", "line", "word"),
    [
        ("a: b\njust text", 3, "key: value"),
        ("a:b", 2, "key: value"),
        ("- a\n- b", 2, "key: value"),
        ("a: b\n\n# comment\na: c", 5, "second time"),
        ("x:\n  a: b\n  a: c", 4, "second time"),
        ("x: {a: b, a: c}", 2, "second time"),
        ("\ta: b", 2, "tab"),
        ("a:\n\tb: c", 3, "tab"),
        ("a: b\n  \tc", 3, "tab"),
        ("a: |\n\tb", 3, "tab"),
        ('a: "b', 2, "quote"),
        ("a: 'b\nc: 'd'", 2, "quote"),
        ("a: 'b' c", 2, "behind its closing '"),
        ("a: [b, c\nd: e", 2, "bracket"),
        ("a: [b] c", 2, "behind its closing ]"),
        ("a: [b}", 2, "unexpected }"),
        ("a: {[b]: c}", 2, "bracket"),
        ("a: {b: [}", 2, "unexpected }"),
        ("a: [", 2, "bracket"),
        ("a: ['b]", 2, "quote"),
        ("a: > text", 2, "next line"),
        ("a: 'b'\n  c: d", 3, "indented"),
        ("  a: b\nc: d", 3, "indented"),
        ("a:\n    b: c\n  d: e", 4, "indented"),
        ("a:\n  - 'b'\n    - c", 4, "indented"),
        ("a: " + "[" * 1000, 2, "more than 32"),
        ("a: " + "{b: " * 1000, 2, "more than 32"),
        ("a:\n  " + "- " * 1000, 3, "more than 32"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(source: str, line: int, word: str) -> None:
    with pytest.raises(Malformed, match=rf"^line {line}: .*{word}"):
        fields(source)


@pytest.mark.parametrize("text", ["---", "---\n", "---\na: b\n", "---\na: b\n ---\n", "---\nA thematic break."])
def test_front_matter_that_never_ends_is_malformed(text: str) -> None:
    with pytest.raises(Malformed, match=r"^line 1: .*closes"):
        parse(text)


PIECES = [
    "a",
    "b: ",
    ": ",
    "- ",
    "\n",
    "\n  ",
    "\t",
    "'",
    '"',
    "\\",
    "\\x41",
    "[",
    "]",
    "{",
    "}",
    ",",
    "#",
    " #",
    "|",
    ">",
    "|-",
]
PIECES += ["---", "\n---\n", "\r", "é", "\0", "\ud800", "?", "&", "*", "\ufeff", "\x85", "\u2028", "2"]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_whatever_the_text_it_is_read_or_malformed(text: str) -> None:
    try:
        read = parse(f"---\n{text}\n---\n")
    except Malformed as error:
        assert str(error).startswith("line ")
    else:
        assert all(isinstance(key, str) for key in read.fields)


@pytest.mark.parametrize(
    "source",
    [
        "a: " + " " * 300_000 + "b",
        "a: 'b" * 60_000,
        'a: "' + "\\" * 300_001,
        "a: '" + "''" * 150_000,
        "a: [" + '"x",\n' * 60_000 + "]",
        "a: [" + "x \n" * 100_000 + "]",
        "a: {" + "".join(f"k{n}:\n" for n in range(40_000)) + "}",
        "a: " + "# " * 150_000,
        "a: " + ": " * 150_000,
        "a: |\n" + "\n" * 300_000 + "  x",
        "a: x\n" + "\n" * 300_000 + "  y",
        "".join(f"k{n}: v\n" for n in range(40_000)),
        "a:\n" + "- 'x'\n" * 50_000,
        "a:\n" + "  - k: v\n" * 40_000,
        "a: >\n" + "  x\n\n" * 60_000,
    ],
)
def test_the_work_grows_with_the_length_only(source: str) -> None:
    """Each of these takes well under a second; work that grew with the square would take minutes."""
    try:
        assert fields(source)
    except Malformed:
        pass
