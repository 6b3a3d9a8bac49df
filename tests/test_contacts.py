"""Who was here last: what the meta.json of each session says."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from agentkit.archive import Archive
from agentkit.contacts import Contact, Contacts
from agentkit.names import encoded

KEY = "agent:assistant:direct:cli-user"
WHEN = 1_800_000_000.0
META: dict[str, Any] = {
    "session": KEY,
    "channel": "cli",
    "peer": "cli-user",
    "to": "cli-user",
    "at": "2027-01-15T08:00:00+00:00",
}
WRONG: list[Any] = [None, 5, "", [], {}]


def write(folder: Path, content: Any, name: str = encoded(KEY)) -> Path:
    path = folder / name / "meta.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def test_whoever_has_spoken_is_found_with_where_they_are_reached(tmp_path: Path) -> None:
    archive = Archive(tmp_path / encoded(KEY))
    archive.folder.mkdir()
    archive.note("talk", "discord", "1001", "channel:5001", KEY)
    [found] = Contacts(tmp_path).since(0.0)
    assert found == Contact(KEY, "assistant", "discord", "1001", "channel:5001", found.at)
    assert found.at > WHEN - 366 * 86_400


def test_they_come_in_the_order_they_spoke_the_last_one_first_and_older_ones_do_not(tmp_path: Path) -> None:
    for day, id in ((10, "a"), (15, "c"), (12, "b")):
        key = f"agent:{id}:main"
        write(tmp_path, {**META, "session": key, "at": f"2027-01-{day}T08:00:00+00:00"}, encoded(key))
    assert [each.agent for each in Contacts(tmp_path).since(0.0)] == ["c", "b", "a"]
    assert [each.agent for each in Contacts(tmp_path).since(WHEN - 3.5 * 86_400)] == ["c", "b"]
    assert [each.agent for each in Contacts(tmp_path).since(WHEN)] == ["c"]


def test_a_change_is_seen_and_so_is_a_folder_that_goes(tmp_path: Path) -> None:
    contacts = Contacts(tmp_path / "sessions")
    assert contacts.since(0.0) == []
    path = write(tmp_path / "sessions", META)
    assert [each.to for each in contacts.since(0.0)] == ["cli-user"]
    path.with_name("other").write_text(json.dumps({**META, "channel": "discord", "to": "channel:7"}))
    path.with_name("other").rename(path)
    assert [(each.channel, each.to) for each in contacts.since(0.0)] == [("discord", "channel:7")]
    path.unlink()
    assert contacts.since(0.0) == []


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe{}", b"[" * 100_000, {},
        *({**META, name: value} for name in META for value in WRONG),
        {**META, "at": "yesterday"}, {**META, "at": "0001-01-01"}, {**META, "session": "agent:"},
        {**META, "session": "agent::x"}, {**META, "session": "other:assistant:x"},
        {**META, "session": "agent:assistant:direct:somebody-else"},
    ],
)  # fmt: skip
def test_a_damaged_meta_names_nobody_and_costs_no_other(tmp_path: Path, content: Any) -> None:
    write(tmp_path, content)
    write(tmp_path, {**META, "session": "agent:b:main"}, encoded("agent:b:main"))
    (tmp_path / "stray").write_text("no folder")
    assert [each.session for each in Contacts(tmp_path).since(0.0)] == ["agent:b:main"]


def test_a_copy_of_a_sessions_folder_is_not_that_session(tmp_path: Path) -> None:
    write(tmp_path, META)
    write(tmp_path, {**META, "to": "elsewhere"}, f"{encoded(KEY)} (copy)")
    assert [each.to for each in Contacts(tmp_path).since(0.0)] == ["cli-user"]


def test_a_pipe_in_place_of_the_file_makes_nobody_wait(tmp_path: Path) -> None:
    (tmp_path / encoded(KEY)).mkdir()
    os.mkfifo(tmp_path / encoded(KEY) / "meta.json")
    assert Contacts(tmp_path).since(0.0) == []
