"""Names of people's choosing as names of files: safe, the same twice, never two people in one folder."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.names import LONGEST, LONGEST_KEY, agent_id, encoded, slug


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("notes", "notes"),
        ("Release 2.0", "Release-2.0"),
        ("../x", "x"),
        ("a/b", "a-b"),
        ("/etc/passwd", "etc-passwd"),
        ("..", ""),
        ("", ""),
        (" \t\n", ""),
        ("---", ""),
        (".hidden", "hidden"),
        ("-rf", "rf"),
        ("_private_", "_private_"),
        ("ends.", "ends"),
        ("a - b", "a-b"),
        ("a\\b:c*d?e\"f<g>h|i'j", "a-b-c-d-e-f-g-h-i-j"),
        ("a\x00b\x1b[31mc", "a-b-31mc"),
        ("naïve café", "naïve-café"),
        ("日本語の名前", "日本語の名前"),
        ("हिन्दी", "हिन्दी"),
        ("\u0301accent", "accent"),
        ("❤️", ""),
        ("a\ud800b", "a-b"),
        ("a\u202eb", "a-b"),
        ("CON", "CON_"),
        ("con.txt", "con_.txt"),
        ("nul", "nul_"),
        ("Com1.tar.gz", "Com1_.tar.gz"),
        ("lpt³", "lpt³_"),
        (" CON ", "CON_"),
        ("control", "control"),
        ("console.log", "console.log"),
        ("com", "com"),
    ],
)
def test_a_slug_keeps_what_can_stand_in_a_name(typed: str, name: str) -> None:
    assert slug(typed) == name


def test_a_slug_is_composed_so_that_one_word_is_one_file() -> None:
    assert slug("cafe\u0301") == slug("caf\u00e9") == "caf\u00e9"


def test_a_slug_is_cut_in_characters_and_in_bytes_but_never_inside_one() -> None:
    assert slug("x" * 300) == "x" * 64
    assert slug("x" * 300, longest=1000) == "x" * LONGEST
    assert slug("日" * 300, longest=1000) == "日" * 50
    assert slug("a" * 63 + " b") == "a" * 63
    assert slug("CONTROL", longest=3) == "CO_"
    assert slug("COM1 port", longest=4) == "COM_"
    assert slug("COM1.x", longest=6) == "COM1_"


@given(st.text(), st.integers(4, 80))
def test_a_slug_is_always_a_safe_name_and_its_own_slug(typed: str, longest: int) -> None:
    name = slug(typed, longest)
    assert len(name) <= longest
    assert len(name.encode()) <= LONGEST
    assert not name.startswith((".", "-")) and not name.endswith((".", "-"))
    assert not re.search(r"[\x00-\x1f/\\:*?\"<>|~\s]", name)
    assert not re.match(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)", name)
    assert unicodedata.is_normalized("NFC", name)
    assert slug(name, longest) == name


@given(
    st.lists(st.sampled_from(["CON", "com1", "LPT¹", *".-_ /x\u0301\ufe0fé日"]), max_size=8).map("".join),
    st.integers(2, 8),
)
def test_a_slug_of_nasty_characters_is_its_own_slug(typed: str, longest: int) -> None:
    name = slug(typed, longest)
    assert slug(name, longest) == name
    assert not re.match(r"(?i)(con|com1|lpt¹)(\.|$)", name)


@pytest.mark.parametrize(
    ("typed", "id"),
    [
        ("assistant", "assistant"),
        ("My Agent!", "my-agent"),
        ("  Research & Writing  ", "research-writing"),
        ("a_b-c", "a_b-c"),
        ("-x", "x"),
        ("_x", "x"),
        ("Café Déjà", "cafe-deja"),
        ("STRASSE straße", "strasse-strasse"),
        ("../../etc", "etc"),
        ("9lives", "9lives"),
        ("助手", ""),
        ("", ""),
        ("\ud800", ""),
        ("x" * 100, "x" * 64),
    ],
)
def test_an_agents_id_is_plain(typed: str, id: str) -> None:
    assert agent_id(typed) == id


@given(st.text())
def test_an_agents_id_is_always_one_and_its_own_id(typed: str) -> None:
    id = agent_id(typed)
    assert id == "" or re.fullmatch("[a-z0-9][a-z0-9_-]{0,63}", id)
    assert agent_id(id) == id


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("agent:assistant:direct:cli-user", "agent:assistant:direct:cli-user"),
        ("agent:a:direct:discord:123", "agent:a:direct:discord:123"),
        ("agent:a:direct:Bob", "agent:a:direct:%42ob"),
        ("a/b", "a%2Fb"),
        ("..", "%2E."),
        (".hidden", "%2Ehidden"),
        ("a%2fb", "a%252fb"),
        ("é", "%C3%A9"),
        ("e\u0301", "e%CC%81"),
        ("a~b", "a%7Eb"),
        ("a\n", "a%0A"),
        ("", "%"),
        ("\ud83d", "%ED%A0%BD"),
    ],
)
def test_a_session_key_is_encoded_where_a_file_system_could_mistake_it(key: str, name: str) -> None:
    assert encoded(key) == name


def test_long_keys_with_the_same_beginning_have_different_names() -> None:
    one, other = encoded("a" * 5000 + "1"), encoded("a" * 5000 + "2")
    assert one != other
    assert len(one) == len(other) == LONGEST_KEY
    assert encoded("a" * LONGEST_KEY) == "a" * LONGEST_KEY


@given(st.text(st.characters()), st.text(st.characters()))
def test_no_two_keys_share_a_name_whatever_the_file_system_folds(one: str, other: str) -> None:
    def as_folded(name: str) -> str:
        return unicodedata.normalize("NFKC", name).casefold()

    assert (as_folded(encoded(one)) == as_folded(encoded(other))) == (one == other)


@given(st.text(st.sampled_from("aA%2F.~é\ud83d\ude00😀/"), max_size=200))
def test_the_name_of_a_key_is_one_plain_component(key: str) -> None:
    name = encoded(key)
    assert re.fullmatch(r"[a-z0-9:_@+=%~A-F-][a-z0-9:_@+=.%~A-F-]*", name)
    assert len(name) <= LONGEST_KEY
    assert Path("/x", name).parent == Path("/x")
