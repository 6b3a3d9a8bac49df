"""The transcript: its blocks as rows of any width, the window over them, and finding words in it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.channels.tui.block import Block
from agentkit.channels.tui.blocks import Answer, Failure, Note, Said, ToolCard
from agentkit.channels.tui.find import Find, occurrences
from agentkit.channels.tui.style import Row
from agentkit.channels.tui.transcript import Transcript
from agentkit.channels.tui.wrap import width


class Counted(Block):
    """A stand-in of so many rows, which counts how often it is asked for them."""

    asked = 0

    def __init__(self, name: str, size: int = 2) -> None:
        self.name, self.size = name, size

    def rows(self, columns: int) -> Sequence[Row]:
        Counted.asked += 1
        return [(), *(((f"{self.name}.{number}", ""),) for number in range(1, self.size))]

    @property
    def plain(self) -> str:
        return self.name


def text(row: Row) -> str:
    return "".join(text for text, _ in row)


def texts(block: Block, columns: int = 80) -> list[str]:
    """All rows but the empty first one."""
    first, *rows = block.rows(columns)
    assert list(first) == []
    return [text(row).rstrip() for row in rows]


def shown(transcript: Transcript, columns: int = 20, height: int = 5) -> list[str]:
    return [text(row) for row in transcript.window(columns, height)]


def numbered(count: int, word: str = "line") -> str:
    return "\n".join(f"{word} {number}" for number in range(1, count + 1))


def filled(*sizes: int) -> Transcript:
    transcript = Transcript()
    for number, size in enumerate(sizes):
        transcript.add(Counted(f"b{number}", size))
    return transcript


def card(output: str, ok: bool = True, seconds: float | None = 2.1) -> ToolCard:
    made = ToolCard("bash", "pytest -q tests/x.py")
    made.finish(ok, output, seconds)
    return made


# -- blocks


def test_what_a_person_said_hangs_behind_its_glyph() -> None:
    said = Said("some words that wrap\nnext")
    assert texts(said, 12) == ["› some words", "  that wrap", "  next"]
    assert list(said.rows(12)[1]) == [("›", "user"), (" some words", "")]
    assert not said.foldable


@pytest.mark.parametrize(("lines", "rows", "hidden"), [(12, 12, ""), (13, 9, "5 lines"), (132, 9, "124 lines")])
def test_a_long_message_is_folded_to_its_beginning(lines: int, rows: int, hidden: str) -> None:
    said = Said(numbered(lines))
    assert len(texts(said)) == rows
    assert said.foldable == bool(hidden)
    if hidden:
        assert texts(said)[-1] == f"  … {hidden} hidden · Ctrl-O shows them"
        assert said.rows(80)[-1][0][1] == "dim"
        said.folded = False
        assert len(texts(said)) == lines and said.foldable


def test_a_message_of_one_endless_line_is_folded_too() -> None:
    said = Said("word " * 10_000)
    assert len(texts(said)) == 9 and texts(said)[-1].endswith("characters hidden · Ctrl-O shows them")
    said.folded = False
    assert len(texts(said)) > 600


def test_a_message_of_long_lines_is_folded_by_lines() -> None:
    said = Said("\n".join(["word " * 80] * 20))
    assert texts(said, 42)[-1] == "  … 16 lines hidden · Ctrl-O shows them"


def test_an_answer_that_grows_is_the_same_as_one_made_at_once() -> None:
    source = "# Title\n\nsome *words* that wrap\r\n- one\x1b[1m\n\n```python\nx = 1\n```\nend"
    whole, grown = Answer(source), Answer()
    for character in source:
        grown.add(character)
        grown.rows(12)
    assert [list(row) for row in grown.rows(12)] == [list(row) for row in whole.rows(12)]
    assert grown.text == whole.text and "\r" not in whole.text and "\x1b" not in whole.text
    assert whole.code == ["x = 1"] and "words that" in whole.plain and not whole.foldable


@pytest.mark.parametrize(
    ("ok", "output", "seconds", "end", "body"),
    [
        (True, "", 2.1, "✓ 2.1s", []),
        (True, "fine\n", None, "✓", ["fine"]),
        (False, "", None, "✗", []),
        (False, "oh\n[exit 1]", 2.1, "✗ exit 1 · 2.1s", ["oh"]),
        (False, "oh\n[exit status 127]", 2.1, "✗ exit 127 · 2.1s", ["oh"]),
        (False, "[killed by SIGKILL]", 0.04, "✗ killed by SIGKILL · 0.0s", []),
        (False, "interrupted", None, "✗ interrupted", []),
        (
            False,
            "a\n[still running: pid 7: make]\n[timed out after 5 s: timeout may be up to 3600]",
            5.0,
            "✗ timed out after 5 s · 5.0s",
            ["a", "[still running: pid 7: make]", "[timed out after 5 s: timeout may be up to 3600]"],
        ),
        (False, "no such file: x.py", 0.1, "✗ 0.1s", ["no such file: x.py"]),
        (True, "[exit 1]", 0.1, "✓ 0.1s", ["[exit 1]"]),
    ],
)
def test_a_card_says_at_its_right_end_how_it_went(
    ok: bool, output: str, seconds: float | None, end: str, body: list[str]
) -> None:
    made = card(output, ok, seconds)
    head, *rows = texts(made, 60)
    assert head.startswith("⚙ bash  pytest") and head.endswith(f"  {end}") and width(head) == 60
    assert rows == [f"  │ {line}" for line in body]
    assert made.rows(60)[1][-1] == (end, "ok" if ok else "error")


def test_a_card_that_runs_says_so() -> None:
    assert texts(ToolCard("bash", "make"), 20) == ["⚙ bash  make       …"]


@pytest.mark.parametrize("columns", [20, 24, 30, 40, 60])
def test_the_right_end_is_there_in_any_width(columns: int) -> None:
    made = ToolCard("bash", "a command with very many words " * 9)
    made.finish(False, "x\n[exit 1]", 2.1)
    head, *rows = texts(made, columns)
    assert head.endswith("2.1s") and width(head) == columns and "…" in head
    assert ("exit 1" in head) != ("  exit 1" in rows)


def test_a_folded_card_shows_the_first_lines_and_of_a_failure_the_last() -> None:
    good, bad = card(numbered(43)), card(f"{numbered(43)}\n[exit 1]", ok=False)
    hidden = "  │ … 38 lines hidden · Ctrl-O shows them"
    assert texts(good)[1:] == [*(f"  │ line {number}" for number in range(1, 6)), hidden]
    assert texts(bad)[1:] == [*(f"  │ line {number}" for number in range(39, 44)), hidden]
    for each in (good, bad):
        assert each.foldable
        each.folded = False
        assert texts(each)[1:] == [f"  │ line {number}" for number in range(1, 44)] and each.foldable


def test_no_line_gives_way_to_the_words_that_it_is_hidden() -> None:
    assert texts(card(numbered(6)))[1:] == [f"  │ line {number}" for number in range(1, 7)]
    assert not card(numbered(6)).foldable


def test_long_lines_are_clipped_when_folded_and_wrapped_when_not() -> None:
    made = ToolCard("bash", "echo " + "z" * 40)
    made.finish(True, "\tabc" + "x" * 40, None)
    assert texts(made, 30)[0] == "⚙ bash  echo zzzzzzzzzzzzzz… ✓".replace("z… ✓", "…  ✓")
    assert texts(made, 30)[1:] == ["  │     abc" + "x" * 18 + "…"] and made.foldable
    made.folded = False
    assert "".join(texts(made, 30)[1:]).replace("  │ ", "").replace(" ", "") == "echo" + "z" * 40 + "abc" + "x" * 40


def test_who_decided_stands_in_the_head_or_has_a_row() -> None:
    made = card("", seconds=1.0)
    made.decided("allowed by you")
    assert texts(made, 60)[0].endswith("  allowed by you · ✓ 1.0s") and len(texts(made, 60)) == 1
    head, row = texts(made, 40)
    assert head.endswith("✓ 1.0s") and row == "  allowed by you" and made.rows(40)[2][0][1] == "dim"


def test_a_change_is_shown_in_its_colours_and_not_what_its_tool_says_when_it_was_made() -> None:
    made = ToolCard("edit_file", "x.py")
    made.change("@@ -1,2 +1,2 @@\n context\n-\told\n+\tnew")
    assert [row[-1][1] for row in made.rows(60)[2:]] == ["hunk", "dim", "removed", "added"]
    made.finish(True, "Edited x.py.", 0.1)
    assert texts(made)[1:] == ["  │ @@ -1,2 +1,2 @@", "  │  context", "  │ -   old", "  │ +   new"]
    assert not made.foldable
    made.finish(False, "refused by the person", 0.1)
    assert texts(made)[-1] == "  │ refused by the person"
    made.change("\n".join(f"+{number}" for number in range(30)))
    assert texts(made)[-2:] == ["  │ … 20 lines hidden · Ctrl-O shows them", "  │ refused by the person"]
    assert len(texts(made)) == 13


def test_a_huge_output_is_drawn_by_its_visible_part() -> None:
    made = card("0123456789 " * 500_000 + "\n" + "short\n" * 1_000_000)
    rows = made.rows(80)
    assert len(rows) == 8 and max(width(text(row)) for row in rows) <= 80
    assert made.rows(80) is rows


def test_notes_and_failures_say_what_they_have_to() -> None:
    assert list(Note("sent").rows(40)[1]) == [("◦", "notice"), (" sent", "")]
    assert Note("sent", "warn").rows(40)[1][0] == ("◦", "notice bold")
    failure = Failure("rate_limit", "Too many requests: wait a minute.", "/x/agentkit.log")
    assert texts(failure, 24) == [
        "✗ rate limit",
        "  Too many requests:",
        "  wait a minute.",
        "  log: /x/agentkit.log",
    ]
    assert [row[0][1] for row in failure.rows(24)[1:]] == ["error bold", "", "", "dim"]
    assert texts(Failure("unknown", "")) == ["✗ unknown error"]


WILD = st.text(alphabet="ab /馬\u0301👩\u200d\n\t\x1b[1m\r\u202e*`|-", max_size=80)


@settings(max_examples=150)
@given(WILD, WILD, st.integers(1, 30), st.booleans(), st.booleans())
def test_no_row_is_wider_than_the_screen_and_nothing_in_it_acts(
    some: str, more: str, columns: int, ok: bool, folded: bool
) -> None:
    made = ToolCard(some, more)
    made.change(more)
    made.decided(some)
    made.finish(ok, some * 5 + "\n[exit 1]", 12345.6)
    for block in (Said(some * 9), Answer(some + more), Note(some, "warn"), Failure("auth", some, more), made):
        block.folded = folded
        first, *rows = block.rows(columns)
        assert list(first) == []
        for row in rows:
            assert width(text(row)) <= columns
            assert not set("\x1b\r\n\t\u202e") & set(text(row))


def test_a_block_is_made_without_looking_at_its_text() -> None:
    """Blocks keep what they were given until they are drawn or searched."""
    huge = "x\x1b[1m" * 1_000_000
    made = [Said(huge), Answer(huge), Note(huge), Failure("auth", huge, ""), ToolCard("bash", huge)]
    assert all(any(value is huge or value == [huge] for value in vars(each).values()) for each in made)


# -- the window


def test_the_window_scrolls_within_its_ends_and_stays_when_more_comes() -> None:
    transcript = Transcript()
    assert shown(transcript) == [] and transcript.at_end
    transcript.scroll(3, 20, 5)
    transcript.to_start()
    assert not transcript.toggle(20, 5)
    for number in range(10):
        transcript.add(Note(f"block {number}"))
    assert shown(transcript)[-1] == "◦ block 9"
    transcript.scroll(4, 20, 5)
    before = shown(transcript)
    assert before[-1] == "◦ block 7"
    transcript.add(Note("new"))
    assert shown(transcript) == before and transcript.new == 1 and not transcript.at_end
    transcript.scroll(1000, 20, 5)
    assert shown(transcript)[1] == "◦ block 0"
    transcript.scroll(-1000, 20, 5)
    assert transcript.at_end and transcript.new == 0 and shown(transcript)[-1] == "◦ new"
    transcript.to_start()
    assert shown(transcript)[1] == "◦ block 0" and not transcript.at_end
    transcript.to_end()
    assert shown(transcript)[-1] == "◦ new"
    transcript.clear()
    assert shown(transcript) == [] and transcript.at_end and not transcript.blocks


def test_a_view_that_holds_everything_is_at_its_end() -> None:
    transcript = filled(2, 2)
    transcript.to_start()
    assert len(shown(transcript)) == 4 and transcript.at_end


def test_what_is_put_or_taken_above_and_below_moves_nothing() -> None:
    transcript = filled(*[2] * 10)
    blocks = list(transcript.blocks)
    shown(transcript)
    transcript.scroll(8, 20, 5)
    before = shown(transcript)
    assert before[-1] == "b5.1"
    transcript.add_before(blocks[1], Counted("above"))
    transcript.add_before(blocks[8], Counted("below"))
    transcript.add(Counted("last"))
    assert shown(transcript) == before and transcript.new == 2
    transcript.remove(blocks[0])
    transcript.remove(blocks[9])
    assert shown(transcript) == before and transcript.new == 2
    transcript.scroll(-2, 20, 5)
    assert shown(transcript)[-1] == "b6.1"


def test_a_view_whose_block_is_taken_goes_on_with_what_was_below() -> None:
    transcript = filled(2, 9, 9, 2)
    transcript.scroll(13, 20, 5)
    assert shown(transcript)[0] == "b1.2"
    transcript.remove(transcript.blocks[1])
    assert shown(transcript) == ["", "b2.1", "b2.2", "b2.3", "b2.4"]


def test_a_block_that_is_not_there_any_more_is_no_trouble() -> None:
    transcript, gone = filled(2), Counted("gone")
    transcript.remove(gone)
    transcript.add_before(gone, Counted("new"))
    assert shown(transcript)[-1] == "new.1"


def test_what_was_seen_below_is_not_new_any_more() -> None:
    transcript = filled(*[2] * 10)
    transcript.scroll(6, 20, 5)
    for number in range(4):
        transcript.add(Counted(f"new{number}"))
    assert transcript.new == 4
    transcript.scroll(-10, 20, 5)
    assert shown(transcript)[-1] == "new1.1" and transcript.new == 2


def test_a_change_of_width_keeps_the_place_and_coming_back_restores_it() -> None:
    transcript = Transcript()
    for number in range(9):
        transcript.add(Said(f"{number} " + "word " * 60))
    transcript.scroll(17, 60, 6)
    before = shown(transcript, 60, 6)
    for columns in (59, 31, 20, 33, 120, 45):
        shown(transcript, columns, 6)
    assert shown(transcript, 60, 6) == before


def test_an_answer_that_grows_in_view_moves_nothing() -> None:
    transcript, answer = filled(*[2] * 5), Answer(numbered(20))
    transcript.add(answer)
    transcript.scroll(10, 30, 5)
    before = shown(transcript, 30, 5)
    answer.add("\nmore\nand more")
    assert shown(transcript, 30, 5) == before


def test_folding_keeps_the_head_where_it_is() -> None:
    transcript = filled(*[2] * 5)
    made = card(numbered(43))
    transcript.add(made)
    transcript.add(Counted("after"))
    before = shown(transcript, 60, 12)
    at = next(at for at, row in enumerate(before) if row.startswith("⚙"))
    assert transcript.toggle(60, 12)
    unfolded = shown(transcript, 60, 12)
    assert unfolded[: at + 1] == before[: at + 1] and unfolded[-1] == f"  │ line {11 - at}" and not transcript.at_end
    assert transcript.toggle(60, 12)
    assert shown(transcript, 60, 12) == before and transcript.at_end
    transcript.toggle(60, 12)
    transcript.scroll(-20, 60, 12)
    assert transcript.toggle(60, 12)
    assert any(row.startswith("⚙") for row in shown(transcript, 60, 12))


def test_the_lowest_that_can_be_folded_is_and_only_what_is_in_view() -> None:
    transcript, first, second = Transcript(), card(numbered(20)), card(numbered(20))
    for block in (first, second, *[Note("x")] * 20):
        transcript.add(block)
    assert not transcript.toggle(60, 10)
    transcript.to_start()
    assert transcript.toggle(60, 30) and first.folded and not second.folded
    transcript.to_start()
    assert transcript.toggle(60, 9) and not first.folded  # of the second one only the empty row is in view


def test_the_last_answer_and_its_last_code_can_be_copied() -> None:
    transcript = Transcript()
    assert transcript.last_answer == transcript.last_code == ""
    for block in (Answer("```\nold\n```\n```c\nint x;\n  y\n```"), Answer("*bye*"), Answer(), Note("done")):
        transcript.add(block)
    assert transcript.last_answer == "*bye*" and transcript.last_code == "int x;\n  y"


MOVES = st.lists(
    st.tuples(st.sampled_from(["scroll", "add", "before", "remove", "start", "end", "size"]), st.integers())
)


@settings(max_examples=200)
@given(st.lists(st.integers(1, 7), max_size=12), MOVES)
def test_the_window_is_full_or_holds_everything_whatever_happens(
    sizes: list[int], moves: list[tuple[str, int]]
) -> None:
    transcript, height = filled(*sizes), 5
    for what, number in moves:
        blocks = transcript.blocks
        if what == "scroll":
            transcript.scroll(number % 41 - 20, 20, height)
        elif what == "add" or not blocks:
            transcript.add(Counted(f"n{number}", number % 5 + 1))
        elif what == "before":
            transcript.add_before(blocks[number % len(blocks)], Counted("p", number % 5 + 1))
        elif what == "remove":
            transcript.remove(blocks[number % len(blocks)])
        elif what == "size":
            height = number % 9
        else:
            transcript.to_start() if what == "start" else transcript.to_end()
        total = sum(len(block.rows(20)) for block in transcript.blocks)
        assert len(transcript.window(20, height)) == min(height, total)
        assert 0 <= transcript.new <= len(transcript.blocks)


@settings(max_examples=200)
@given(st.lists(st.integers(1, 7), min_size=20, max_size=30), st.integers(0, 15), st.integers(1, 15), st.integers(1, 9))
def test_scrolling_up_and_down_comes_back(sizes: list[int], from_end: int, rows: int, height: int) -> None:
    transcript = filled(*sizes)
    room = max(0, sum(sizes) - height)
    first = min(from_end, room)
    transcript.scroll(first, 20, height)
    before = shown(transcript, 20, height)
    rows = min(rows, room - first)
    transcript.scroll(rows, 20, height)
    transcript.add(Counted("late"))
    transcript.scroll(-rows, 20, height)
    after = shown(transcript, 20, height)
    assert after == before or (first == rows == 0 and after[-1] == "late.1")


def test_work_does_not_grow_with_the_number_of_blocks() -> None:
    asked = []
    for count in (100, 20_000):
        transcript = filled(*[2] * count)
        Counted.asked = 0
        last = transcript.blocks[-1]
        for _ in range(5):
            transcript.scroll(20, 80, 24)
            transcript.window(80, 24)
        transcript.add_before(last, Counted("note"))
        transcript.toggle(80, 24)
        transcript.to_start()
        transcript.window(80, 24)
        transcript.scroll(-20, 80, 24)
        transcript.window(80, 24)
        transcript.remove(last)
        transcript.to_end()
        transcript.window(80, 24)
        asked.append(Counted.asked)
    assert asked[0] == asked[1]


# -- finding


def spoken(*messages: str) -> Transcript:
    transcript = Transcript()
    for message in messages:
        transcript.add(Said(message))
    return transcript


def test_the_nearest_match_upwards_is_shown_and_then_the_others_in_turn() -> None:
    transcript = spoken("the Cat", *["dog"] * 20, "a cat", *["dog"] * 20, "no CAT", *["dog"] * 20)
    shown(transcript)
    find = Find(transcript)
    assert (find.count, find.position) == (0, 0)
    find.query = "cat"
    seen = [(find.position, find.count, next(row for row in shown(transcript) if "at" in row.lower()))]
    for step in (find.previous, find.previous, find.previous, find.next, find.next):
        step()
        seen.append((find.position, find.count, next(row for row in shown(transcript) if "at" in row.lower())))
    no, a, the = (3, 3, "› no CAT"), (2, 3, "› a cat"), (1, 3, "› the Cat")
    assert seen == [no, a, the, no, the, a]
    find.query = "nowhere"
    before = shown(transcript)
    find.next()
    find.previous()
    assert (find.count, find.position) == (0, 0) and shown(transcript) == before
    find.query = ""
    assert find.count == 0 and find.marked([(("cat", ""),)]) == [(("cat", ""),)]


def test_what_is_in_view_is_found_without_moving_and_what_is_below_last() -> None:
    transcript = spoken(*["dog"] * 20, "cat", "dog", "dog", *["dog"] * 20, "cat below")
    transcript.to_start()
    shown(transcript, 20, 5)
    transcript.scroll(-40, 20, 5)
    before = shown(transcript, 20, 5)
    find = Find(transcript)
    find.query = "CAT"
    assert find.position == 1 and shown(transcript, 20, 5) == before
    find.previous()
    assert find.position == 2 and "› cat below" in shown(transcript, 20, 5)


def test_a_match_in_a_hidden_part_is_unfolded() -> None:
    transcript, made = spoken("hello"), card(numbered(20) + "\nneedle\n" + numbered(20))
    transcript.add(made)
    for _ in range(20):
        transcript.add(Note("x"))
    shown(transcript, 60, 8)
    find = Find(transcript)
    find.query = "needle"
    assert not made.folded and "  │ needle" in shown(transcript, 60, 8) and not transcript.at_end


def test_a_visible_match_leaves_the_block_folded() -> None:
    transcript, made = Transcript(), card(numbered(20))
    transcript.add(made)
    shown(transcript, 60, 12)
    Find(transcript).query = "line 2"
    assert made.folded


def test_every_match_of_a_long_answer_is_come_by() -> None:
    transcript = spoken("needle")
    transcript.add(Answer("\n".join("a needle" if number in (2, 40, 80) else f"{number}" for number in range(100))))
    shown(transcript, 40, 10)
    find = Find(transcript)
    find.query = "needle"
    positions = []
    for _ in range(4):
        assert any("needle" in row for row in shown(transcript, 40, 10))
        positions.append(find.position)
        find.previous()
    assert find.count == 2 and positions == [2, 2, 2, 1]


def test_words_that_are_wrapped_or_emphasised_are_found() -> None:
    transcript = spoken("some words that stand on two rows", *["x"] * 20)
    transcript.add(Answer("this is **very** important"))
    shown(transcript, 14, 5)
    find = Find(transcript)
    find.query = "words that"
    assert find.count == 1 and any("words" in row for row in shown(transcript, 14, 5))
    find.query = "very important"
    assert find.count == 1


def test_what_comes_while_one_looks_is_found_too() -> None:
    transcript = spoken("cat", *["dog"] * 9)
    shown(transcript)
    find = Find(transcript)
    find.query = "cat"
    transcript.add(Said("another cat"))
    find.next()
    assert (find.position, find.count) == (2, 2)
    transcript.remove(transcript.blocks[-1])
    find.next()
    assert (find.position, find.count) == (1, 1)


@pytest.mark.parametrize(
    ("row", "query", "expected"),
    [
        ([("a cat sat", "")], "cat", [("a ", ""), ("cat", "match"), (" sat", "")]),
        ([("Cat", "bold code")], "cAT", [("Cat", "bold code match")]),
        ([("x c", "bold"), ("at y", "")], "cat", [("x ", "bold"), ("c", "bold match"), ("at", "match"), (" y", "")]),
        ([("a", ""), ("b", "dim"), ("c", "")], "abc", [("a", "match"), ("b", "dim match"), ("c", "match")]),
        ([("aaa", "")], "aa", [("aa", "match"), ("a", "")]),
        ([("cat cat", "")], "cat", [("cat", "match"), (" ", ""), ("cat", "match")]),
        ([("Straße", "")], "STRASSE", [("Straße", "match")]),
        ([("Straße!", "")], "s", [("S", "match"), ("tra", ""), ("ß", "match"), ("e!", "")]),
        ([("cafe\u0301s", "")], "cafe", [("cafe\u0301", "match"), ("s", "")]),
        ([("馬馬", "link")], "馬", [("馬", "link match"), ("馬", "link match")]),
        ([("dog", "")], "cat", [("dog", "")]),
        ([], "cat", []),
    ],
)
def test_what_is_looked_for_stands_out(row: Row, query: str, expected: Row) -> None:
    find = Find(Transcript())
    find.query = query
    assert [list(each) for each in find.marked([row])] == [list(expected)]


@settings(max_examples=200)
@given(st.lists(st.tuples(st.text(alphabet="abAß馬\u0301", max_size=6), st.sampled_from(["", "dim"]))), WILD)
def test_marking_changes_no_text(row: list[tuple[str, str]], query: str) -> None:
    find = Find(Transcript())
    find.query = query
    (marked,) = find.marked([row])
    assert text(marked) == text(row)
    if query:
        assert all(begin < end for begin, end in occurrences(text(row), query.casefold()))
