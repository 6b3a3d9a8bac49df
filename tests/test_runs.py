"""What became of the jobs, on disk: whatever ends the process or fills the disk, a standing is the old or the new one,
and no run that was noted is lost.

`python -m tests.test_runs FOLDER` tells the story of the crashes, a process of its own because it forks.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.runs import ROTATED, Runs, Standing

from .program import ROOT
from .test_outbox_crash import Ending, in_children

OLD = {"a": Standing(due=1.5e9, written="abc"), "é \ud800": Standing(failures=3, off="it failed", last_status="failed")}
NEW = {"a": Standing(due=1.6e9, started=1.5e9 + 0.25, written="abc", last_at=1.5e9, last_status="ok")}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / ".state"


def note(runs: Runs, job: str = "a", text: str = "It is done.") -> bool:
    return runs.note(job, 1.5e9, 1.5e9 + 0.5, 2.25, "ok", 120, text)


def texts(runs: Runs, n: int = 1_000_000, job: str | None = None) -> list[str]:
    return [each["text"] for each in runs.last(n, job)]


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


# -- how the jobs stand


def test_what_is_saved_is_loaded_again_and_nobody_else_may_read_it(state: Path) -> None:
    runs = Runs(state)
    for standings in ({}, OLD, NEW, {**OLD, **NEW}, OLD):
        runs.save(standings)
        assert Runs(state).load() == (standings, False, ())
    assert state.stat().st_mode & 0o777 == 0o700
    assert (state / "cron-state.json").stat().st_mode & 0o777 == 0o600
    assert names(state) == ["cron-state.json"]


def test_where_nothing_was_saved_nothing_is_damaged_and_nothing_is_made(state: Path) -> None:
    assert Runs(state).load() == ({}, False, ())
    assert Runs(state).last(5) == []
    assert not state.exists()


def test_without_a_workspace_nothing_can_be_saved(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "absent" / ".state")
    with pytest.raises(OSError):
        runs.save(OLD)
    assert note(runs) is False
    assert names(tmp_path) == []


def test_a_file_cut_off_at_any_byte_is_damaged_and_kept_aside(state: Path) -> None:
    Runs(state).save(OLD)
    path, aside = state / "cron-state.json", state / "cron-state.json.broken"
    whole = path.read_bytes()
    for size in range(len(whole) - 1):
        path.write_bytes(whole[:size])
        assert Runs(state).load() == ({}, True, ()), whole[:size]
        assert Runs(state).load() == ({}, True, ())  # whoever ends before something is saved finds the same
        assert aside.read_bytes() == whole[:size]
        Runs(state).save(NEW)
        assert Runs(state).load() == (NEW, False, ())
        assert names(state) == ["cron-state.json", "cron-state.json.broken"]
        aside.unlink()


def test_no_damaged_file_overwrites_an_earlier_one(state: Path) -> None:
    runs = Runs(state)
    for damage in ("one", "two", "three"):
        runs.save(NEW)
        (state / "cron-state.json").write_text(damage)
        for _ in range(2):
            assert runs.load().damaged
    assert [(state / f"cron-state.json.broken{end}").read_text() for end in ("", ".2", ".3")] == ["one", "two", "three"]
    assert len(names(state)) == 4


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"5", b'{"a"', b"\0" * 99, b"\xff", b"[" * 200_000, b"{}{}"])
def test_what_is_no_object_is_damaged(state: Path, content: bytes) -> None:
    state.mkdir()
    (state / "cron-state.json").write_bytes(content)
    assert Runs(state).load() == ({}, True, ())


GOOD = {**vars(OLD["a"])}


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        "x",
        {},
        {name: GOOD[name] for name in GOOD if name != "due"},
        {**GOOD, "due": "soon"},
        {**GOOD, "due": True},
        {**GOOD, "due": float("nan")},
        {**GOOD, "due": float("inf")},
        {**GOOD, "due": 1e300},
        {**GOOD, "started": 10**400},
        {**GOOD, "last_at": -1e300},
        {**GOOD, "failures": None},
        {**GOOD, "failures": -1},
        {**GOOD, "failures": 1.0},
        {**GOOD, "failures": True},
        {**GOOD, "failures": 10**30},
        {**GOOD, "off": None},
        {**GOOD, "written": 5},
        {**GOOD, "last_status": ["ok"]},
    ],
)
def test_a_damaged_entry_among_good_ones_is_named_and_the_others_stay(state: Path, bad: object) -> None:
    state.mkdir()
    (state / "cron-state.json").write_text(json.dumps({"bad": bad, "good": {**GOOD, "later": "unknown"}}))
    assert Runs(state).load() == ({"good": OLD["a"]}, False, ("bad",))


def a_loop(path: Path) -> None:
    path.symlink_to(path)


def a_full_folder(path: Path) -> None:
    path.mkdir()
    (path / "something").touch()


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, a_full_folder, a_loop])
def test_what_is_no_file_is_damaged_and_gives_way(state: Path, make: Callable[[Path], None]) -> None:
    state.mkdir()
    make(state / "cron-state.json")
    for _ in range(2):
        assert Runs(state).load() == ({}, True, ())
    Runs(state).save(NEW)
    assert Runs(state).load() == (NEW, False, ())
    assert os.path.lexists(state / "cron-state.json.broken")


def test_a_link_is_followed_when_it_is_read_and_what_it_leads_to_is_never_changed(tmp_path: Path, state: Path) -> None:
    Runs(state).save(OLD)
    real = tmp_path / "real"
    (state / "cron-state.json").rename(real)
    (state / "cron-state.json").symlink_to(real)
    before = real.read_bytes()
    assert Runs(state).load() == (OLD, False, ())
    Runs(state).save(NEW)
    assert Runs(state).load() == (NEW, False, ())
    assert real.read_bytes() == before


@given(
    st.dictionaries(st.text(max_size=3), st.recursive(st.none() | st.floats() | st.integers() | st.text(), st.lists))
)
def test_whatever_the_file_holds_each_entry_is_whole_or_named(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]
) -> None:
    state = tmp_path_factory.mktemp("state")
    (state / "cron-state.json").write_text(json.dumps({**content, "a": GOOD, "b": {**GOOD, **content}}))
    loaded = Runs(state).load()
    assert loaded.standings["a"] == OLD["a"]
    assert not loaded.damaged
    assert {*loaded.standings, *loaded.lost} == {*content, "a", "b"}
    json.dumps([vars(each) for each in loaded.standings.values()], allow_nan=False)


# -- their runs


def test_a_run_is_noted_with_times_that_people_and_programs_read(state: Path) -> None:
    runs = Runs(state)
    assert runs.note("a", 1.5e9, 1.5e9 + 0.5, 2.25, "failed", 120, "x\n" * 150) is True
    assert runs.note("b", None, None, 0.0, "missed", 0, "") is True
    missed, failed = runs.last(9)
    assert (missed["due"], missed["due_at"], missed["started"], missed["started_at"]) == (None, None, None, None)
    assert failed["text"] == "x\n" * 100
    assert {**failed, "due": 0, "started": 0, "text": 0} == {
        **{"job": "a", "status": "failed", "seconds": 2.25, "tokens": 120, "due_at": 1.5e9, "started_at": 1.5e9 + 0.5},
        **{"due": 0, "started": 0, "text": 0},
    }
    due = datetime.fromisoformat(failed["due"])
    assert due.utcoffset() is not None
    assert due.timestamp() == 1.5e9
    assert (state / "cron-runs.jsonl").stat().st_mode & 0o777 == 0o600
    assert (state / "cron-runs.jsonl").read_text().count("\n") == 2


@pytest.mark.parametrize("odd", [1e300, -1e300, float("nan"), float("inf")])
def test_a_time_that_is_none_breaks_nothing(state: Path, odd: float) -> None:
    runs = Runs(state)
    runs.note("a", odd, odd, 0.0, "ok", 0, "\ud800")
    note(runs, text="next")
    assert texts(runs)[0] == "next"
    assert texts(runs, 1) == ["next"]


def test_the_last_runs_are_given_newest_first_of_all_or_of_one(state: Path) -> None:
    runs = Runs(state)
    for number in range(1_000):
        note(runs, "ab"[number % 2], f"{number} " + "x" * 100)
    assert [each.split()[0] for each in texts(runs, 3)] == ["999", "998", "997"]
    assert [each.split()[0] for each in texts(runs, 3, "a")] == ["998", "996", "994"]
    assert [each.split()[0] for each in texts(runs)] == [str(number) for number in reversed(range(1_000))]
    assert texts(runs, 3, "nobody") == texts(runs, 0) == []


def test_the_file_is_rotated_and_one_old_one_is_kept(state: Path) -> None:
    runs = Runs(state)
    path, older = state / "cron-runs.jsonl", state / "cron-runs.1.jsonl"
    noted: list[str] = []
    while len(noted) < 100 or not older.exists() or path.stat().st_size < ROTATED // 3:
        noted.append(f"{len(noted)} ".ljust(200, "\u2028"))
        assert note(runs, text=noted[-1])
        assert path.stat().st_size <= ROTATED
    assert older.stat().st_size > ROTATED * 0.99
    assert texts(runs) == noted[::-1]
    path.write_bytes(path.read_bytes() + b" " * ROTATED)
    first = len(path.read_text().splitlines())
    note(runs, text="new")
    assert names(state) == ["cron-runs.1.jsonl", "cron-runs.jsonl"]
    assert texts(runs)[0] == "new"
    assert len(texts(runs)) < first + 2


def test_where_there_is_no_way_to_rotate_the_file_grows(state: Path) -> None:
    runs = Runs(state)
    a_full_folder_at = state / "cron-runs.1.jsonl"
    state.mkdir()
    a_full_folder(a_full_folder_at)
    (state / "cron-runs.jsonl").write_bytes(b" " * ROTATED)
    assert note(runs, text="one")
    assert note(runs, text="two")
    assert texts(runs) == ["two", "one"]


def test_runs_that_are_cut_off_at_any_byte_harm_no_other(state: Path) -> None:
    runs = Runs(state)
    for text in ("first", "é second"):
        note(runs, text=text)
    path = state / "cron-runs.jsonl"
    whole = path.read_bytes()
    first = whole.index(b"\n")
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        there = ["first"] * (size >= first) + ["é second"] * (size >= len(whole) - 1)
        assert texts(runs) == there[::-1], whole[:size]
        assert note(runs, text="next")
        assert texts(runs) == ["next", *there[::-1]], whole[:size]


@pytest.mark.parametrize(
    "damage",
    [b"\0" * 5_000, b"\xff\xfe\n", b"x" * 100_000, b"{}\n[]\n5\n", b'{"job": 5, "status": "ok"}\n', b"[" * 99_999],
)
def test_damage_between_runs_is_passed(state: Path, damage: bytes) -> None:
    runs = Runs(state)
    note(runs, text="before")
    with open(state / "cron-runs.jsonl", "ab") as file:
        file.write(damage)
    note(runs, text="after")
    assert texts(runs) == ["after", "before"]


def test_a_file_as_large_as_the_disk_is_not_read_in_full(state: Path) -> None:
    runs = Runs(state)
    state.mkdir()
    for name in ("cron-runs.jsonl", "cron-runs.1.jsonl"):
        (state / name).touch()
        os.truncate(state / name, 1 << 40)
    assert texts(runs) == []
    assert note(runs, text="next")
    assert texts(runs) == ["next"]


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, a_full_folder, a_loop])
def test_what_is_no_file_of_runs_is_never_waited_for(state: Path, make: Callable[[Path], None]) -> None:
    runs = Runs(state)
    state.mkdir()
    make(state / "cron-runs.jsonl")
    make(state / "cron-runs.1.jsonl")
    open_files = len(os.listdir("/dev/fd"))
    assert note(runs) is False
    assert runs.last(5) == []
    assert len(os.listdir("/dev/fd")) == open_files


def test_many_threads_note_side_by_side(state: Path) -> None:
    runs = Runs(state)

    def work(name: str) -> None:
        for number in range(100):
            assert note(runs, name, f"{name}{number}")
            assert runs.last(1, name)[0]["text"] == f"{name}{number}"

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(texts(runs)) == sorted(f"{name}{number}" for name in "abcd" for number in range(100))


# -- a full disk


def full_disk(folder: Path) -> None:
    """In a process of its own, since it cannot write for a while."""
    runs = Runs(folder / ".state")
    runs.save(OLD)
    note(runs, text="before")
    size = (folder / ".state" / "cron-runs.jsonl").stat().st_size
    for room in (0, 1, 40):
        for allowed, work in ((room, False), (size + room, True)):
            resource.setrlimit(resource.RLIMIT_FSIZE, (allowed, resource.RLIM_INFINITY))
            if work:
                assert note(runs, text="no room") is False
            else:
                with pytest.raises(OSError):
                    runs.save(NEW)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert runs.load() == (OLD, False, ())
    note(runs, text="after")
    assert texts(runs) == ["after", "before"]
    assert names(folder / ".state") == ["cron-runs.jsonl", "cron-state.json"]


# -- crashes


def tell(folder: Path, at: int) -> None:
    """Save and note by turns, also where the file is rotated; writes down what was done."""
    state = folder / ".state"
    runs = Runs(state)
    runs.save({})
    (state / "cron-runs.jsonl").write_bytes(b" " * (ROTATED - 900) + b"\n")
    ending = Ending(at)
    for number in range(6):
        runs.save({"a": Standing(due=1e9 + number)})
        ending.note(folder / "saved", str(number))
        assert note(runs, text=str(number))
        ending.note(folder / "noted", str(number))
    ending.note(folder / "calls", str(ending.calls))


def done(path: Path) -> list[int]:
    return [int(each) for each in path.read_text().splitlines()] if path.exists() else []


def check(folder: Path, at: int) -> int:
    """End the process at that call; returns its exit code."""
    folder.mkdir()
    (code,) = in_children(lambda: tell(folder, at))
    saved, noted = len(done(folder / "saved")), len(done(folder / "noted"))
    runs = Runs(folder / ".state")
    standings, damaged, lost = runs.load()
    assert (damaged, lost) == (False, ())
    dues = [each.due for each in standings.values()]
    assert dues == [1e9 + saved] or dues == [1e9 + each for each in range(saved)][-1:], (at, saved, dues)
    found = [int(each) for each in reversed(texts(runs))]
    assert found in (list(range(noted)), list(range(noted + 1))), (at, noted, found)
    assert note(runs, text="99")
    assert [int(each) for each in reversed(texts(runs))] == [*found, 99]
    return code


def main() -> int:
    folder = Path(sys.argv[1])
    (folder / "full").mkdir()
    assert in_children(lambda: full_disk(folder / "full")) == [0]
    assert check(folder / "dry", -1) == 0
    (calls,) = done(folder / "dry" / "calls")
    assert (folder / "dry" / ".state" / "cron-runs.1.jsonl").exists()
    assert calls > 30
    try:
        codes = {check(folder / str(at), at) for at in range(1, calls + 1)}
    except AssertionError:
        traceback.print_exc()
        return 1
    print(f"{calls} calls, the process ended at each of them")
    return 0 if codes == {7} else 1


def test_what_was_saved_and_noted_survives_a_full_disk_and_an_end_at_any_file_call(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.test_runs", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit(main())
