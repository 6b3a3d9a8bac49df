"""A long text in pieces: within the limit, cut where it hurts least, nothing lost, code blocks whole."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.pieces import pieces

LINE = "the quick brown fox jumps"

PROSE = st.text(alphabet="ab \n\t.é\u0301👍🏽🇩🇪\u200d", max_size=300)
MARKED = st.lists(
    st.sampled_from(
        ["```", "```++", "````", "~~~", "   ```", "```\n```", "a b", "", "  x", "word " * 9, "`", "y" * 40]
    ),
    max_size=40,
).map("\n".join)


def bare(text: str) -> str:
    return "".join(text.split())


def code(text: str) -> list[tuple[str, str]]:
    """The lines of code in a text, each with the language of its block; fails on a block that is not closed."""
    found, opened, language = [], "", ""
    for line in text.split("\n"):
        marks = re.match(r" {0,3}(`{3,}|~{3,})(.*)", line)
        if opened:
            if marks and marks[1].startswith(opened) and not marks[2].strip():
                opened = ""
            else:
                found.append((language, line))
        elif marks:
            opened, language = marks[1], marks[2].strip()
    assert not opened, text
    return found


def test_a_text_that_fits_is_left_as_it_is() -> None:
    assert pieces("  hello\n\n", 9) == ["  hello\n\n"]


def test_without_a_limit_there_is_one_piece() -> None:
    assert pieces("word " * 5000, None) == ["word " * 5000]


@pytest.mark.parametrize("limit", [None, 1, 2000])
@pytest.mark.parametrize("text", ["", " ", "\n" * 5000, "\u3000\t"])
def test_a_blank_text_has_no_pieces(text: str, limit: int | None) -> None:
    assert pieces(text, limit) == []


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_that_nothing_fits_into_is_refused(limit: int) -> None:
    with pytest.raises(ValueError):
        pieces("hello", limit)


@pytest.mark.parametrize(
    "text, limit, expected",
    [
        ("one\n\ntwo\nthree four", 14, ["one", "two\nthree four"]),
        ("one\ntwo three", 10, ["one", "two three"]),
        ("one two three", 8, ["one two", "three"]),
        ("one two three", 7, ["one two", "three"]),
        ("abcdefgh", 3, ["abc", "def", "gh"]),
        ("one\n \t\n\n\ntwo three", 12, ["one", "two three"]),
        ("one\r\n\r\ntwo\r\nthree four", 16, ["one", "two\r\nthree four"]),
        ("- one\n  - two\n  - three", 14, ["- one\n  - two", "  - three"]),
        ("\n\n\n  one\ntwo", 6, ["  one", "two"]),
        ("one   \n", 4, ["one"]),
        ("a\u3000b", 2, ["a", "b"]),
    ],
)
def test_it_is_cut_at_a_paragraph_then_a_line_then_a_word_then_anywhere(
    text: str, limit: int, expected: list[str]
) -> None:
    assert pieces(text, limit) == expected


@pytest.mark.parametrize(
    "seen", ["e\u0301", "👍🏽", "👨\u200d👩\u200d👧", "🇩🇪", "\r\n", "❤\ufe0f", "\u1112\u1161\u11ab"]
)
def test_what_is_seen_as_one_character_is_not_cut(seen: str) -> None:
    parts = pieces("a" + f"{seen}x" * 40, 10)
    assert all(each.count(seen[0]) == each.count(seen) for each in parts)


def test_flags_in_a_row_are_cut_between_two_flags() -> None:
    assert pieces("🇩🇪🇫🇷🇮🇹", 5) == ["🇩🇪🇫🇷", "🇮🇹"]


def test_more_marks_than_fit_are_cut_all_the_same() -> None:
    assert "".join(pieces("e" + "\u0301" * 50, 10)) == "e" + "\u0301" * 50


def test_characters_are_counted_as_code_points() -> None:
    assert pieces("😀" * 2000, 2000) == ["😀" * 2000]


def test_a_code_block_that_is_cut_is_closed_and_opened_again_with_its_language() -> None:
    text = "```python\n" + "\n".join(f"x = {n}" for n in range(6)) + "\n```"
    assert pieces(text, 32) == [
        "```python\nx = 0\nx = 1\nx = 2\n```",
        "```python\nx = 3\nx = 4\nx = 5\n```",
    ]


@pytest.mark.parametrize("fence", ["```", "~~~", "`````", "~~~~", "  ```", "   ~~~"])
def test_every_kind_of_fence_is_closed_and_opened_with_its_own_marks(fence: str) -> None:
    text = f"{fence}sh -x\n" + "\n".join(f"{LINE} ``` ~~~ {n}" for n in range(9)) + f"\n{fence}"
    parts = pieces(text, 150)
    assert len(parts) > 2
    assert all(each.startswith(f"{fence}sh") and each.endswith(f"\n{fence}") for each in parts)


def test_a_code_block_that_fits_is_not_torn() -> None:
    block = "```\n" + "\n\n".join(["code"] * 10) + "\n```"
    assert pieces(f"{LINE}\n\n{LINE}:\n{block}\n{LINE}", 94) == [f"{LINE}\n\n{LINE}:", f"{block}\n{LINE}"]


def test_white_space_in_code_stays_where_it_is_cut() -> None:
    lines = ["def f():", "", "", "    return 1", "", "    # end  ", ""] * 20
    parts = pieces("```py\n" + "\n".join(lines) + "\n```", 60)
    assert [line for each in parts for line in code(each)] == [("py", line) for line in lines]


def test_a_long_line_of_code_keeps_its_spaces() -> None:
    parts = pieces("```\n" + "ab  cd " * 30 + "\n```", 40)
    assert "".join(line for each in parts for _, line in code(each)) == "ab  cd " * 30


def test_no_block_is_left_empty_by_a_cut() -> None:
    for limit in range(20, 90):
        for each in pieces(f"{LINE}\n```py\nx = 1\n" + "y = 2\n" * 12 + f"```\n{LINE}", limit):
            assert "```py\n```" not in each


def test_a_block_that_nobody_closed_is_closed_where_it_was_cut() -> None:
    parts = pieces("```py\n" + "x = 1\n" * 20, 40)
    assert [line for each in parts for line in code(each)] == [("py", "x = 1")] * 20


def test_marks_that_are_no_fence_are_text() -> None:
    text = f"    ```\n{LINE}\n{LINE}\n```a`b\n{LINE}\n``\n{LINE}"
    assert bare("".join(pieces(text, 40))) == bare(text)


def test_a_fence_longer_than_the_limit_is_cut_like_any_text() -> None:
    text = "`" * 3000 + "\ncode\n" + "`" * 3000
    assert bare("".join(pieces(text, 2000))) == bare(text)


@pytest.mark.parametrize(
    ("before", "opening", "closing", "again"),
    [
        ("1. First:\n\n", "    ```bash", "    ```", "    ```bash"),
        ("- a\n   - b\n", "     ```bash", "     ```", "     ```bash"),
        ("1. First:\n", "\t```bash", "\t```", "\t```bash"),
        ("1. First:\n", "      ```bash", "```", "      ```bash"),
        ("", "- ```bash", "  ```", "  ```bash"),
        ("", "10) ~~~bash", "    ~~~", "    ~~~bash"),
        ("", "> ```bash", "> ```", "> ```bash"),
        ("", ">> - ```bash", ">>   ```", ">>   ```bash"),
        ("Said:\n", ">>> ```bash", "```", "```bash"),
        ("", "Run: ```bash", "```", "```bash"),
        ("", "- Run: ```bash", "  ```", "```bash"),
        ("Use ``` or `` ``` ``, or ```this```:\n", "``` bash", "```", "```bash"),
    ],
)
@pytest.mark.parametrize("limit", [70, 100, 400])
def test_code_in_lists_quotes_and_behind_text_is_closed_and_opened_again(
    before: str, opening: str, closing: str, again: str, limit: int
) -> None:
    quote = re.match("(?:>(?!>> ))*", opening)[0]  # type: ignore[index]
    lines = [f"{quote} echo step {n}" for n in range(90)]
    parts = pieces(before + "\n".join([opening, *lines, closing, "", *["done " * 5] * 9]), limit)
    assert max(map(len, parts)) <= limit
    cut = [each for each in parts if each.split("\n")[0] == again]
    assert len(cut) > 2 and all(each.split("\n")[-1].strip(" \t>") == again.strip(" \t>")[:3] for each in cut[:-1])
    assert [line for each in parts for line in each.split("\n") if "echo" in line] == lines
    assert "done" in parts[-1] and ("```" not in parts[-1] or parts[-1] in cut)


def test_a_long_line_of_quoted_code_stays_in_its_quote() -> None:
    parts = pieces("> ```\n> " + "ab " * 60 + "\n> ```\nend", 50)
    assert all(line.startswith("> ") or line == "end" for each in parts for line in each.split("\n"))
    assert bare("".join(parts)).replace(">", "").replace("`", "") == "ab" * 60 + "end"


@pytest.mark.parametrize(
    "text",
    [
        "Use ``` to fence.",
        "``` `x` ```",
        "> ```py\n> x = 1\nno more of it",
        "    ```\ncode by its indentation",
        "-```\n- a",
    ],
)
def test_marks_that_open_nothing_leave_the_block_after_them_whole(text: str) -> None:
    block = "```py\n" + "\n".join(f"x = {n}" for n in range(40)) + "\n```"
    first, *others = pieces(f"{text}\n\n{block}", 100)
    assert first == text
    assert [line for each in others for line in code(each)] == [("py", f"x = {n}") for n in range(40)]


BLOCKS = st.lists(
    st.sampled_from(
        [
            "word " * 12,
            "",
            "a\nb\nc",
            "say ```x``` and `y`",
            "```++\n{}\n```",
            "1. Do:\n\n    ```++\n    {}\n    ```",
            "- ```\n  {}\n  ```",
            "> ```++\n> {}\n> ```",
            "Run: ```++\n{}\n``` and so on",
            "Run: ```{}```",
        ]
    ),
    max_size=12,
)


@given(BLOCKS, st.integers(1, 90), st.integers(60, 200))
@settings(max_examples=150)
def test_every_piece_has_as_many_marks_that_open_as_that_close(blocks: list[str], size: int, limit: int) -> None:
    text = "\n".join(each.replace("{}", "x" * size) for each in blocks)
    parts = pieces(text, limit)
    assert all(each.strip() and len(each) <= limit for each in parts)
    assert re.sub("[^a-zA-Z]", "", "".join(parts)) == re.sub("[^a-zA-Z]", "", text)
    if "Run: ```x" not in text:
        assert all(each.count("```") % 2 == 0 for each in parts)


@pytest.mark.parametrize("limit", [*range(16, 40), 60, 100, 200])
def test_all_code_arrives_in_its_language_within_any_limit(limit: int) -> None:
    rng = random.Random(limit)
    blocks = [[("js", "z" * rng.randrange(limit - 12) + str(n)) for n in range(9)] for _ in range(20)]
    text = "\n".join("\n".join(["hi", "```js", *(line for _, line in each), "```"]) for each in blocks)
    parts = pieces(text, limit)
    assert max(map(len, parts)) <= limit
    whole = "".join(line for each in parts for _, line in code(each))
    assert whole == "".join(line for each in blocks for _, line in each)
    assert {language for each in parts for language, _ in code(each)} == {"js"}


@given(PROSE, st.integers(1, 60))
@settings(max_examples=150)
def test_nothing_of_a_text_is_lost_but_white_space(text: str, limit: int) -> None:
    parts = pieces(text, limit)
    assert bare("".join(parts)) == bare(text)
    assert all(each.strip() and len(each) <= limit for each in parts)


@given(MARKED, st.integers(1, 60))
@settings(max_examples=150)
def test_nothing_but_fences_is_added_to_a_text_with_code(text: str, limit: int) -> None:
    parts = pieces(text, limit)
    assert all(each.strip() and len(each) <= limit for each in parts)
    assert re.sub("[^a-z]", "", "".join(parts)) == re.sub("[^a-z]", "", text)


@pytest.mark.parametrize(
    "text",
    [
        "x" * 10**6,
        "a b" * 333_333,
        "a\n" * 500_000,
        "```\n" * 250_000,
        "```py\n" + "\n" * 10**6,
        " " * 10**6 + "x",
        "``` " * 250_000,
        "~~~ " * 250_000,
        "a ```\n" * 160_000,
        "> ```\n> a\n" * 100_000,
        "> ```py\n" * 120_000,
        "> ```\n" + "> a\n" * 200_000 + "b",
        "- " * 500_000 + "```",
        "    ```x\n" * 100_000,
    ],
    ids=lambda text: repr(text[:10]),
)
def test_a_megabyte_is_done_in_a_moment(text: str) -> None:
    assert max(map(len, pieces(text, 2000))) <= 2000
