"""Text from elsewhere, made safe to show."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.printable import printable

ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text\twith a tab\n", "plain text\twith a tab\n"),
        ("Grüße, 世界 👩‍👩‍👧 é می‌خواهم", "Grüße, 世界 👩‍👩‍👧 é می‌خواهم"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[38;2;1;2;3mrgb\x1b[?25l", "rgb"),
        ("\x1b[>0c\x1b[ q.", "."),
        ("\x9b31mred", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://a.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9d0;title\x9ctext", "text"),
        ("\x1bPq#0;2;0\x1b\\after", "after"),
        ("\x1b_payload\x1b\\after", "after"),
        ("\x1b^private\x1b\\after", "after"),
        ("\x1b(B\x1b)0text\x1b=\x1b7", "text"),
        ("\x1bcreset", "reset"),
        ("end\x1b", "end"),
        ("end\x1b[", "end"),
        ("one\r\ntwo\rthree\r\r\nfour", "one\ntwo\nthree\nfour"),
        ("a\x00b\x08c\x07d\x7fe\x85f", "a\ufffdb\ufffdc\ufffdd\ufffde\ufffdf"),
        ("\u202egpj.exe\u202c \u2066x\u2069 \u200ey\u200f\u061c", "gpj.exe x y"),
        ("in\u200bvis\u2060ible\ufeff", "invisible"),
        ("\U000e0041\U000e0042tags", "tags"),
        ("line\u2028next\u2029last", "line\nnext\nlast"),
        ("lone \ud800 half", "lone \ufffd half"),
    ],
)
def test_nothing_that_acts_or_misleads_is_left(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_text_cannot_hide_behind_a_sequence_that_never_ends() -> None:
    assert printable("\x1b]0;rm -rf /\nls\x07") == "0;rm -rf /\nls\ufffd"


def test_a_sequence_inside_another_leaves_none() -> None:
    assert printable("\x1b\x1b[31m[31mx") == "[31mx"


def test_plain_text_is_handed_back_as_it_is() -> None:
    text = "a line\n" * 1000
    assert printable(text) is text


@given(st.text(st.sampled_from("\x1b[]P^_\\;0m \x07\x9b\x9c\x9d\x90\r\nab\u202e\ud800")))
def test_whatever_comes_in_what_goes_out_is_safe_and_stays_the_same(text: str) -> None:
    shown = printable(text)
    assert not ACTING.search(shown)
    assert printable(shown) == shown


@pytest.mark.parametrize(
    "piece", ["\x1b]", "\x1b]a", "\x1b[", "\x1b[1", "\x1bPa", "\x9d", "\x9da", "\x1b\x9d", "\r", "\x1b "]
)
def test_a_megabyte_of_beginnings_takes_no_longer_than_other_text(piece: str) -> None:
    assert not ACTING.search(printable(piece * (1_000_000 // len(piece))))  # a quadratic scan would take hours
