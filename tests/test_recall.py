"""What was typed before: kept across runs and processes, whatever happens to its file, and found again."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from agentkit.channels.tui.recall import FULL, KEPT, LARGEST, LONGEST, History, Search

ROOT = Path(__file__).parent.parent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a workspace that nothing was saved in yet."""
    return tmp_path / "workspace" / ".state" / "history"


def made(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines))


def history(path: Path, *entries: str) -> History:
    made = History(lambda: path)
    for each in entries:
        made.remember(each)
    return made


def test_what_was_typed_is_there_in_the_next_run(path: Path) -> None:
    path.parent.parent.mkdir()
    old_mask = os.umask(0)
    try:
        history(path, "one", "two\nlines", "žluť 馬", "\x1b[31m\x00", "\ud800")
    finally:
        os.umask(old_mask)
    assert history(path).entries == ["one", "two\nlines", "žluť 馬", "\x1b[31m\x00", "\ud800"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.read_text().splitlines()[:3] == ['"one"', '"two\\nlines"', '"žluť 馬"']


def test_nothing_empty_and_nothing_twice_in_a_row(path: Path) -> None:
    path.parent.parent.mkdir()
    history(path, "one", "one", "", " \n", "two")
    assert history(path, "two", "one").entries == ["one", "two", "one"]


def test_without_a_file_it_is_kept_in_memory() -> None:
    kept = History()
    for number in range(KEPT + 9):
        kept.remember(str(number))
    kept.save()
    assert kept.entries == [str(number) for number in range(9, KEPT + 9)]


def test_a_folder_for_it_is_made_only_in_a_workspace_that_is_there(path: Path) -> None:
    kept = history(path, "one")
    kept.save()
    assert kept.entries == ["one"] and not path.parent.parent.exists()
    path.parent.parent.mkdir()
    kept.remember("two")
    assert history(path).entries == ["one", "two"]


def test_what_was_typed_before_the_place_was_known_is_saved_once(path: Path) -> None:
    made(path, '"before"\n')
    places: list[Path | None] = [None]
    kept = History(lambda: places[0])
    kept.remember("one")
    places[0] = path
    kept.save()
    assert kept.entries == history(path).entries == ["before", "one"]


@pytest.mark.parametrize("block", ["state is a file", "history is a folder", "history is a fifo", "history is a link"])
def test_what_cannot_be_written_is_kept_back_and_tried_again(path: Path, block: str) -> None:
    path.parent.mkdir(parents=True)
    outside = path.parent.parent / "outside"
    outside.write_text("")
    if block == "state is a file":
        path.parent.rmdir()
        path.parent.write_text("")
    elif block == "history is a folder":
        path.mkdir()
    elif block == "history is a fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(outside)
    kept = history(path, "one", "two")
    assert kept.entries == ["one", "two"] and outside.read_text() == ""
    wrong = path.parent if block == "state is a file" else path
    wrong.rmdir() if wrong.is_dir() else wrong.unlink()
    kept.save()
    assert history(path).entries == ["one", "two"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only_is_no_error(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.parent.chmod(0o500)
    kept = history(path, "one")
    assert kept.entries == ["one"] and not path.exists()
    path.parent.chmod(0o700)
    kept.save()
    assert history(path).entries == ["one"]


def test_a_full_disk_leaves_no_half_line(path: Path) -> None:
    program = """
import pathlib, resource, signal, sys
from agentkit.channels.tui.recall import History
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
history = History(lambda: pathlib.Path(sys.argv[1]))
history.remember("fits")
resource.setrlimit(resource.RLIMIT_FSIZE, (20, resource.RLIM_INFINITY))
history.remember("does not fit into what is left")
print(pathlib.Path(sys.argv[1]).read_text(), end="")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
history.save()
"""
    path.parent.parent.mkdir()
    run = subprocess.run([sys.executable, "-c", program, path], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.stderr) == ('"fits"\n', "")
    assert history(path).entries == ["fits", "does not fit into what is left"]


def test_a_file_that_another_process_holds_makes_nobody_wait_for_long(path: Path) -> None:
    made(path, *(f'"{number}"\n' for number in range(FULL + 1)))
    with path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        kept = history(path, "one")
        assert len(kept.entries) == KEPT and kept.entries[-1] == "one"
        assert "one" not in path.read_text()
    kept.save()
    assert history(path).entries[-2:] == [str(FULL), "one"]


DAMAGED = [
    '"cut off',
    "{}",
    "17",
    "null",
    '""',
    "\0\0\0\0",
    "[" * 100_000,
    "9" * 10_000,
    "nonsense",
    '"a" "b"',
    '"\ttab"',
]


@pytest.mark.parametrize("line", [each.encode() for each in DAMAGED] + [b'"\xff"', b"\xff\xfe"])
def test_damaged_lines_are_passed_over_and_none_takes_another_with_it(path: Path, line: bytes) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b'"one"\n' + line + b'\n\n"two"\n' + line)
    assert history(path, "three").entries == ["one", "two", "three"]
    assert history(path).entries == ["one", "two", "three"]


def test_a_very_long_entry_stays_in_memory(path: Path) -> None:
    path.parent.parent.mkdir()
    kept = history(path, "x" * LONGEST, "y" * (LONGEST + 1), "z")
    assert [len(each) for each in kept.entries] == [LONGEST, LONGEST + 1, 1]
    assert [len(each) for each in history(path).entries] == [LONGEST, 1]


def test_a_file_that_has_grown_long_is_rewritten_with_its_last_entries(path: Path) -> None:
    made(path, *(f'"{number}"\nnonsense\n' for number in range(FULL)))
    os.chmod(path, 0o644)
    expected = [str(number) for number in range(FULL - KEPT, FULL)]
    assert history(path).entries == expected
    assert [json.loads(line) for line in path.read_text().splitlines()] == expected
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert history(path, "new").entries == [*expected[1:], "new"]


def test_a_file_of_up_to_two_thousand_lines_is_left_alone(path: Path) -> None:
    made(path, *(f'"{number}"\n' for number in range(FULL)))
    before = path.stat()
    assert history(path).entries == [str(number) for number in range(FULL - KEPT, FULL)]
    assert path.stat().st_ino == before.st_ino and path.stat().st_size == before.st_size


@pytest.mark.parametrize("filling", ['"' + "x" * 50_000 + '"\n', "\0" * 50_000])
def test_a_file_that_has_grown_large_is_rewritten_once(path: Path, filling: str) -> None:
    made(path, *[filling] * 100, '\n"last"\n')
    assert history(path).entries[-1] == "last"
    assert path.stat().st_size <= LARGEST // 2
    before = path.stat().st_ino
    assert history(path).entries[-1] == "last"
    assert path.stat().st_ino == before


WRITER = """
import pathlib, sys
from agentkit.channels.tui.recall import History
history = History(lambda: pathlib.Path(sys.argv[1]))
for number in range(300):
    history.remember(f"{sys.argv[2]} {number}")
for _ in range(20):  # a busy machine may keep the others from letting go in time
    history.save()
"""
REWRITER = """
import pathlib, sys
from agentkit.channels.tui.recall import FULL, History
path = pathlib.Path(sys.argv[1])
print("ready", flush=True)
while not pathlib.Path(sys.argv[2]).exists():
    with path.open("ab") as file:  # lines that nobody misses
        file.write(bytes([10]) * (FULL + 1))
    History(lambda: path).entries
"""


def test_no_entry_is_lost_when_processes_append_and_another_rewrites(path: Path) -> None:
    path.parent.parent.mkdir()
    made(path, '"first"\n')
    before = path.open()  # kept open, or its number could be another file's
    end = path.parent.parent / "end"
    rewriter = subprocess.Popen([sys.executable, "-c", REWRITER, path, end], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert rewriter.stdout is not None and rewriter.stdout.readline() == b"ready\n"
        writers = [subprocess.Popen([sys.executable, "-c", WRITER, path, name], cwd=ROOT) for name in ("a", "b")]
        for writer in writers:
            assert writer.wait(60) == 0
        end.touch()
        assert rewriter.wait(60) == 0
    finally:
        rewriter.kill()
        rewriter.communicate()
    found = [json.loads(line) for line in path.read_text().splitlines()]
    with before:
        assert found[0] == "first" and path.stat().st_ino != os.fstat(before.fileno()).st_ino
    for name in ("a", "b"):
        assert [each for each in found if each.startswith(name)] == [f"{name} {number}" for number in range(300)]


# -- search


def test_a_search_goes_back_from_the_latest_and_forth_again() -> None:
    kept = History()
    for each in ("make test", "make Docs", "git log", "make test", "run Make"):
        kept.remember(each)
    search = Search(kept)
    assert search.match is None and not search.failing
    search.query = "make"
    seen = [search.match]
    for go in (search.older, search.older, search.older, search.newer, search.newer, search.newer):
        go()
        seen.append(search.match)
    assert seen == ["run Make", "make test", "make Docs", "make Docs", "make test", "run Make", "run Make"]


@pytest.mark.parametrize(
    ("query", "match", "failing"),
    [
        ("docs", "Docs two", False),
        ("Docs", "Docs two", False),
        ("DOCS", None, True),
        ("docs o", "docs one", False),
        ("Žl", "Žluť", False),
        ("žl", "Žluť", False),
        (".*", None, True),
        ("", None, False),
    ],
)
def test_capitals_matter_where_the_query_has_one(query: str, match: str | None, failing: bool) -> None:
    kept = History()
    for each in ("Žluť", "docs one", "Docs two"):
        kept.remember(each)
    search = Search(kept)
    search.query = query
    assert (search.match, search.failing) == (match, failing)
    search.older()
    search.newer()
    search.query = "docs"
    assert search.match == "Docs two"
