"""The conversations of a session: found by their labels, listed, noted, deleted."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from agentkit.archive import Archive
from agentkit.errors import CommandError
from agentkit.store import Store


def begun(folder: Path, *labels: str) -> Archive:
    """An archive of conversations with two messages each, the last one used last."""
    archive = Archive(folder)
    for at, label in enumerate(labels):
        store, conversation = Store(), archive.new(label)
        store.journal = conversation
        store.append({"role": "user", "content": f"about {label}"})
        store.append({"role": "assistant", "content": "yes", "usage": {"total_tokens": 100 + at}})
        conversation.close()
        os.utime(conversation.path, (1_700_000_000 + at, 1_700_000_000 + at))
    return archive


def test_conversations_are_listed_by_when_they_were_used(tmp_path: Path) -> None:
    entries = begun(tmp_path, "old", "new").entries()
    assert [(each.label, each.messages, each.tokens) for each in entries] == [("new", 2, 101), ("old", 2, 100)]
    assert entries[0].used.timestamp() == 1_700_000_001


def test_a_file_that_has_not_changed_is_not_read_again(tmp_path: Path) -> None:
    archive = begun(tmp_path, "one", "two")
    before = archive.entries()
    path = tmp_path / "one.jsonl"
    info = path.stat()
    with path.open("r+b") as file:  # other contents, in all else the same file
        file.write(b"x" * info.st_size)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert archive.entries() == before
    path.write_text("")
    assert [each.messages for each in archive.entries() if each.label == "one"] == [0]


@pytest.mark.parametrize(
    "said, meant", [("fix", "fix"), ("fix-l", "fix-login"), ("FIX-L", "fix-login"), ("trip to", "trip-to-Rome")]
)
def test_the_beginning_of_a_label_will_do(tmp_path: Path, said: str, meant: str) -> None:
    assert begun(tmp_path, "fix", "fix-login", "trip-to-Rome").find(said) == meant


@pytest.mark.parametrize("said, told", [("fi", "fix-login, fix"), ("nowhere", "no conversation"), ("/", "no conv")])
def test_a_label_that_is_not_clear_is_refused_with_what_there_is(tmp_path: Path, said: str, told: str) -> None:
    with pytest.raises(CommandError, match=told):
        begun(tmp_path, "fix", "fix-login").find(said)


def test_the_current_conversation_is_the_one_noted_last(tmp_path: Path) -> None:
    archive = begun(tmp_path, "one", "two")
    assert archive.current == "two"
    archive.note("one", "cli", "ann")
    assert archive.current == "one"
    assert (tmp_path / "current").read_text() == "one\n"
    meta = json.loads((tmp_path / "meta.json").read_text())
    assert (meta["channel"], meta["peer"], meta["used"]) == ("cli", "ann", {"cli": "one"})


def test_each_channel_remembers_its_own_conversation(tmp_path: Path) -> None:
    archive = begun(tmp_path, "one", "two")
    archive.note("one", "cli", "ann")
    archive.note("two", "discord", "ann")
    again = Archive(tmp_path)
    assert (again.used_in("cli"), again.used_in("discord"), again.used_in("gateway")) == ("one", "two", "")


@pytest.mark.parametrize("name", ["current", "meta.json"])
@pytest.mark.parametrize("content", [b"", b"nobody\n", b"\xff\xfe\0", b"[]", b'{"used": 7}', b'{"used": {"cli": []}}'])
def test_a_broken_note_falls_back_on_the_files_themselves(tmp_path: Path, name: str, content: bytes) -> None:
    archive = begun(tmp_path, "one", "two")
    (tmp_path / name).write_bytes(content)
    assert archive.current == "two"
    assert archive.used_in("cli") == ""
    archive.note("one", "cli", "ann")
    assert (archive.current, archive.used_in("cli")) == ("one", "one")


def test_a_deleted_conversation_takes_its_long_texts_along_and_no_others(tmp_path: Path) -> None:
    archive = begun(tmp_path, "one", "two")
    mine, cut = (archive.new("one").keep(text) for text in ("mine", "mine too"))
    other = archive.new("two").keep("the other's")
    with (tmp_path / "one.jsonl").open("a") as file:
        compaction = {"type": "compaction", "head": [], "first": 1, "shortened": {}, "kept": [cut, "\0", 7]}
        file.write(json.dumps(compaction) + "\n")
        for path in (mine, str(tmp_path / "two.jsonl"), "/etc/passwd"):
            file.write(json.dumps({"role": "user", "content": "x", "kept": path}) + "\n")
    archive.delete("one")
    assert archive.labels() == ["two"]
    assert not Path(mine).exists() and not Path(cut).exists() and Path(other).exists()


def test_a_conversation_that_is_open_elsewhere_is_not_deleted(tmp_path: Path) -> None:
    archive = begun(tmp_path, "one")
    held = Archive(tmp_path).new("one")
    held.open()
    with pytest.raises(CommandError, match="another process"):
        archive.delete("one")
    held.close()
    assert archive.labels() == ["one"]


def test_an_archive_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "nowhere")
    assert (archive.labels(), archive.entries(), archive.current, archive.used_in("cli")) == ([], [], "", "")
