"""The .env reader against python-dotenv, and where it means to differ."""

from __future__ import annotations

import os
from pathlib import Path

import dotenv as oracle
import pytest
from dotenv.parser import parse_stream
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.dotenv import LIMIT, parse, read


@pytest.fixture(autouse=True)
def a_clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """python-dotenv looks at the process's own environment."""
    for name in os.environ:
        if name != "PYTEST_CURRENT_TEST":
            monkeypatch.delenv(name)


def values(text: str, environ: dict[str, str] | None = None) -> dict[str, str | None]:
    found = parse(text, environ or {})
    assert found.problems == []
    return {name: entry.value for name, entry in found.entries.items()}


SAME = [
    "",
    "\n\n# only a comment\n   # and another",
    "A=1",
    "A=1\nB=2\n",
    "A=1\r\nB='x'\r\n\r\nC=3",
    "A=1\rB=2",
    "\ufeffA=1\n",
    "  A = 1  \n\tB\t=\t2\t",
    "export A=1\nexport\tB=2\nexport C\nexport=4\nexporting=5",
    "A",
    "A=1\nA\n",
    "A # nothing\nB=",
    "A=1\nA=2",
    "A=\nB=''\nC=\"\"\nD=   \n",
    "A=1 # comment\nB=1# none\nC=#none\nD= # comment\nE=a #b #c\nF=a\t# comment",
    "A='1 # none' # comment\nB=\"1 # none\"# comment",
    "A=a b  c  \nB=it's\nC=say \"x\"\nD=x='y'",
    r"""A='\'' """,
    r"""A='a\nb\\c\"' """,
    r'''A="a\nb\tc\\n\"d\" \' \x \$ \a\b\f\r\v"''',
    "A=a\\nb\\\nB=2",
    "A='one\ntwo\n'\nB=\"one\n\n# two\"\nC=3",
    "A='one\r\ntwo'\r\nB=2",
    'A="-----BEGIN KEY-----\nabc=\n-----END KEY-----\n" # the key',
    "'A'=1\n'A B'=2\n\"C\"=3",
    "A=1\nB=${A}2\nC=x${A}${B}y\nD=${NONE}\nE=${NONE:-dflt}\nF=${A:-dflt}\nG=$A\nH=${A\nI=${A:x}\nJ=${}",
    "A='1'\nB='${A}'\nC=\"${A}\"\nD=${B:-a b:c}\nE=${NONE:-}\nF=${NONE:-${A}}\nG=\\${A}",
    "A=${A}x\nA=${A}y\nB\nC=${B:-dflt}\nD=\nE=${D:-dflt}",
    "ÄÖ=é\n日本=語\U0001f600\nA=‘x’",
    "A=1\u00a0\nB=x\u00a0#c\n\u2003C=3\nD=a\u2028b\nE=a\x0bb",
    "A-B=1\nC.D=2\n3=4\nE:=5\n=",
    "A=1=2==3\nB==",
    'LLM_EXTRA={"temperature": 0.2, "stop": ["#"]}',
    "URL=https://h/v1?x=1&y=2#frag",
    "A='x'y\nB=2",
    "A B=1\nC=2",
    "set A=1\nB: 2\nC=3",
    "'A=1\nB=2",
    "=1\n==\nA=1",
    "export =1\nA=1",
]


def compare(folder: Path, text: str) -> None:
    path = folder / ".env"
    path.write_bytes(text.encode())
    with open(path, encoding="utf-8") as file:
        errors = sum(binding.error for binding in parse_stream(file))
    found = read(path, {})
    if any("never closed" in problem for problem in found.problems):
        assert errors
        return
    assert {name: entry.value for name, entry in found.entries.items()} == dict(oracle.dotenv_values(path))
    assert len(found.problems) == errors


@pytest.mark.parametrize("text", SAME)
def test_a_file_means_what_it_means_to_python_dotenv(tmp_path: Path, text: str) -> None:
    compare(tmp_path, text)


PIECES = ["A", "B", "export ", "=", " = ", "\n", "\r\n", "'", '"', "\\", "\\n", "#", " #", " ", "${A}", "${B:-d}", "${"]
PIECES += ["}", ":-", "é", "\u00a0", "\x0b", "\ufeff", "'a b'", '"a\nb"']
LINES = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["A", "B", "C", "export A", "'B'", " C "]),
    st.sampled_from(["=", " = ", "= ", "=\t"]),
    st.sampled_from(["", "1", "'a b'", '"x\\ny"', "'l1\nl2'", "${A}", "${B:-d e}${C}", "a b", '"${A}-${C}"', "é#x"]),
    st.sampled_from(["", " ", " # comment", "# comment", " trailing"]),
)


@settings(max_examples=300)
@given(st.lists(LINES, max_size=6).map("\n".join))
def test_sensible_files_mean_what_they_mean_to_python_dotenv(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    compare(tmp_path_factory.getbasetemp(), text)


@settings(max_examples=500)
@given(st.lists(st.sampled_from(PIECES), max_size=20).map("".join))
def test_senseless_files_mean_what_they_mean_to_python_dotenv(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    compare(tmp_path_factory.getbasetemp(), text)


def test_the_environment_wins_in_references_as_with_override_off_in_python_dotenv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "A=file\nB=${A} ${C} ${C:-default}\nC=late"
    (tmp_path / ".env").write_text(text)
    monkeypatch.setenv("A", "outside")
    expected = oracle.main.DotEnv(tmp_path / ".env", override=False, encoding="utf-8").dict()
    assert values(text, {"A": "outside"}) == expected
    assert expected["B"] == "outside  default"


def test_entries_know_the_line_they_begin_on() -> None:
    found = parse("\n# x\nA=1\nB='1\n2\n3'\n\n\nC=3\nA=4", {})
    assert {name: entry.line for name, entry in found.entries.items()} == {"A": 10, "B": 4, "C": 9}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('A=1\n\nB="x', 3, "never closed"),
        ("A='it\\'s\nB=2\nC=3", 1, "never closed"),
        ('A="x\\"', 1, "never closed"),
        ('A=1\nB="x" y', 2, "after its closing quote"),
        ("A=1\nsome text", 2, "after its name"),
        ("A=1\n\n\n=x", 4, "NAME=value"),
        ("A='1\n2'\nB C", 3, "NAME=value"),
        ("A=1\nB=\0", 2, "NUL"),
    ],
)
def test_a_line_that_cannot_be_read_is_named_with_the_reason(text: str, line: int, words: str) -> None:
    (problem,) = parse(text, {}, "x.env").problems
    assert problem.startswith(f"x.env line {line} ")
    assert words in problem


def test_every_broken_line_is_named_in_one_go_and_the_others_are_taken() -> None:
    found = parse("a b\nA=1\nc d\nB=2", {})
    assert [problem.split(" is ")[0] for problem in found.problems] == [".env line 1", ".env line 3"]
    assert set(found.entries) == {"A", "B"}


def test_problems_never_show_what_the_line_holds() -> None:
    for text in ("sk-secret sk-secret", 'A="sk-secret', 'A="sk-secret" sk-secret', "A=sk-secret\0"):
        assert "secret" not in "".join(parse(text, {}).problems)


def test_a_file_that_is_something_else_is_not_listed_line_by_line() -> None:
    assert len(parse("no settings here\n" * 1000, {}).problems) == 11


def test_values_that_double_with_every_line_end_in_a_problem() -> None:
    found = parse("A=xxxxxxxxxx\n" + "A=${A}${A}\n" * 60, {})
    (problem,) = found.problems
    assert "line 19 grows beyond 4 MiB" in problem


def test_many_references_to_a_long_value_in_one_line_end_in_a_problem() -> None:
    assert "line 2 grows" in parse(f"A={'x' * 100_000}\nB={'${A}' * 100_000}", {}).problems[0]


@pytest.mark.parametrize(
    "text",
    [
        "A=x" + " " * 1_000_000 + "y",
        'A="' + "\\n" * 500_000,
        "A=" + "${" * 500_000 + ":x}",
        "A=" + "${a:-" * 200_000,
        "A=" + "${a:x" * 200_000 + "}",
        "A='x\n" * 200_000,
        "export " * 150_000,
        "\n" * 1_000_000 + "A=1",
        "=" * 1_000_000,
    ],
    ids=lambda text: repr(text[:8]),
)
def test_a_megabyte_is_read_in_one_pass(text: str) -> None:
    parse(text, {})  # quadratic work would take from minutes to hours here


def test_a_folder_a_pipe_a_loop_of_links_and_nothing_are_problems_and_never_wait(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name, words in [
        ("folder", "is a folder"),
        ("pipe", "is a pipe"),
        ("loop", "cannot be read"),
        ("none", "not exist"),
        ("\0", "NUL"),
    ]:
        (problem,) = read(tmp_path / name, {}, "that").problems
        assert problem.startswith("that ") and words in problem


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / ".env").touch(mode=0)
    assert "Permission denied" in read(tmp_path / ".env", {}).problems[0]


def test_bytes_that_are_not_utf8_are_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"A=1\r\nB=\xe4\r\n")
    assert read(path, {}).problems == [".env line 2 is not UTF-8: save the file as UTF-8 text"]
    path.write_text("A=1\n", encoding="utf-16")
    assert "line 1 is not UTF-8" in read(path, {}).problems[0]
    path.write_text("A=1\n", encoding="utf-16-le")
    assert "NUL" in read(path, {}).problems[0]


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    with open(tmp_path / ".env", "wb") as file:
        file.truncate(LIMIT * 1000)
    assert "larger than 4 MiB" in read(tmp_path / ".env", {}).problems[0]


def test_no_file_at_all_can_be_asked_for_with_dev_null() -> None:
    found = read(Path(os.devnull), {})
    assert (found.entries, found.problems) == ({}, [])
