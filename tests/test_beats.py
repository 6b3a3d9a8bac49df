"""What is kept of the last heartbeat of each session."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentkit.beats import AGAIN, FORGOTTEN, Beat, Beats

A, B = "agent:a:main", "agent:b:main"


class World:
    def __init__(self, folder: Path) -> None:
        self.path = folder / ".state" / "heartbeat.json"
        self.now = 1_800_000_000.0
        self.beats = self.another()

    def another(self) -> Beats:
        """As another process, or the next one, has it."""
        return Beats(self.path, lambda: self.now)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_what_became_of_a_beat_is_known_to_the_next_process(world: World) -> None:
    world.beats.note(A, "begun", world.now)
    world.now += 5
    world.beats.note(A, "said 3 characters")
    world.beats.said(A, "hot")
    assert world.another().get(A) == world.beats.get(A)
    beat = world.another().get(A)
    assert beat and (beat.at, beat.status, beat.said_at) == (world.now - 5, "said 3 characters", world.now)
    assert world.another().get(B) is None
    assert world.path.stat().st_mode & 0o777 == 0o600 and "hot" not in world.path.read_text()


def test_what_another_process_has_written_meanwhile_counts_and_is_kept(world: World) -> None:
    other = world.another()
    assert other.get(A) is None
    world.beats.note(A, "silent", world.now)
    seen = other.get(A)
    assert seen and seen.status == "silent"
    other.note(B, "silent", world.now)
    world.beats.note(A, "begun", world.now)
    assert {each for each in (A, B) if world.another().get(each)} == {A, B}


@pytest.mark.parametrize(
    ("text", "seconds", "repeated"),
    [
        ("The oven is hot.", 0.0, True),
        (" The  oven\nis hot. ", 60.0, True),
        ("The oven is cold.", 60.0, False),
        ("The oven is hot.", AGAIN - 1, True),
        ("The oven is hot.", AGAIN + 1, False),
        ("The oven is hot.", -60.0, False),  # the clock was set back: what was said then is yet to come
    ],
)
def test_a_text_is_repeated_when_just_that_was_said_within_a_day(
    world: World, text: str, seconds: float, repeated: bool
) -> None:
    world.beats.said(A, "The oven is hot.")
    world.now += seconds
    assert world.beats.is_repeated(A, text) is repeated
    assert not world.beats.is_repeated(B, text)


def test_only_the_last_text_counts(world: World) -> None:
    world.beats.said(A, "one")
    world.beats.said(A, "two")
    assert world.beats.is_repeated(A, "two") and not world.beats.is_repeated(A, "one")


def test_a_beat_of_a_time_that_is_yet_to_come_is_none_but_its_text_is_still_known(world: World) -> None:
    world.beats.note(A, "silent", world.now)
    world.beats.said(A, "hot")
    world.now -= 3600
    assert world.beats.get(A) is None
    world.beats.begin([A], world.now)
    beat = world.beats.get(A)
    assert beat and (beat.at, beat.status) == (world.now, "") and beat.said


def test_what_is_old_is_forgotten(world: World) -> None:
    world.beats.begin([A], world.now)
    world.now += FORGOTTEN
    world.beats.begin([B], world.now)
    assert json.loads(world.path.read_text()).keys() == {B}


GOOD: dict[str, Any] = {"at": 1_799_999_000.0, "status": "silent", "said": "", "said_at": 0.0}
RECORDS: list[Any] = [
                None, [], 5, "x", {}, {**GOOD, "at": "now"}, {**GOOD, "at": None}, {**GOOD, "at": 1e300},
                {**GOOD, "at": float("nan")}, {**GOOD, "status": 5}, {**GOOD, "said": None}, {**GOOD, "said_at": []},
            ]  # fmt: skip


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        *(json.dumps({A: record}).encode() for record in RECORDS),
    ],
)
def test_a_damaged_file_is_as_good_as_none_and_the_next_beat_mends_it(world: World, damaged: bytes) -> None:
    world.path.parent.mkdir()
    world.path.write_bytes(damaged)
    assert world.beats.get(A) is None and not world.beats.is_repeated(A, "x")
    world.beats.note(A, "silent", world.now)
    assert world.another().get(A) == Beat(world.now, "silent")


def test_a_file_cut_off_anywhere_loses_no_more_than_what_it_said(world: World) -> None:
    world.beats.begin([A, B], world.now)
    data = world.path.read_bytes()
    for length in range(len(data)):
        world.path.write_bytes(data[:length])
        assert world.another().get(A) in (None, Beat(world.now))


def test_one_broken_record_does_not_cost_the_others(world: World) -> None:
    world.path.parent.mkdir()
    world.path.write_text(json.dumps({A: 5, B: GOOD}))
    assert world.beats.get(A) is None
    assert world.beats.get(B) == Beat(1_799_999_000.0, "silent")


def test_where_nothing_can_be_written_it_is_known_as_long_as_the_process_lives(world: World) -> None:
    world.path.parent.write_text("a file in place of the folder")
    world.beats.note(A, "silent", world.now)
    assert world.beats.get(A) == Beat(world.now, "silent")
    assert world.another().get(A) is None


def test_a_file_that_was_deleted_is_no_more(world: World) -> None:
    world.beats.note(A, "silent", world.now)
    world.path.unlink()
    assert world.beats.get(A) is None
