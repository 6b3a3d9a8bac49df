"""What was spent, by day and model: noted by all processes, added up, and never a reason to fail."""

from __future__ import annotations

import json
import os
import resource
import stat
from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path

import pytest

from agentkit.ledger import FOLDED, Ledger

from .test_profiles import at_once, process, ready, succeed

USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
PAST = date.today() - timedelta(days=40)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where they are kept, in a workspace that is there."""
    return tmp_path / ".state" / "usage"


def day_of(folder: Path, day: date = PAST) -> Path:
    """The file of a day; its folder is made."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / f"{day}.jsonl"


def lines(number: int, models: Iterable[str] = ("m",)) -> bytes:
    """So many requests of each model."""
    return b"".join(
        json.dumps({"model": model, "requests": 1, **USAGE}).encode() + b"\n" for _ in range(number) for model in models
    )


def spent(number: int) -> dict[str, int]:
    """What so many requests add up to."""
    return {"requests": number, **{name: number * tokens for name, tokens in USAGE.items()}}


def today(ledger: Ledger) -> dict[str, dict[str, int]]:
    """What was spent since the test began, by model; it may have begun yesterday."""
    found: dict[str, dict[str, int]] = {}
    for each in ledger.days().values():
        for model, counted in each.items():
            for name, number in counted.items():
                found.setdefault(model, {}).setdefault(name, 0)
                found[model][name] += number
    return found


# -- adding up


def test_requests_and_tokens_are_added_up_by_model_and_last_a_restart(folder: Path) -> None:
    ledger = Ledger(folder)
    ledger.add("m", USAGE)
    ledger.add("m", USAGE)
    ledger.add("other/model:latest", {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8, "cached": 5})
    for each in (ledger, Ledger(folder)):
        assert today(each) == {
            "m": spent(2),
            "other/model:latest": {"requests": 1, "prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8},
        }


@pytest.mark.parametrize("usage", [None, {}, {"total_tokens": 0}])
def test_a_server_that_counts_nothing_costs_requests_only(folder: Path, usage: dict[str, int] | None) -> None:
    ledger = Ledger(folder)
    ledger.add("m", usage)
    assert today(ledger) == {"m": {"requests": 1, "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}}


@pytest.mark.parametrize("model", ["", "a\nb", "ü \u2028 \x85 \0", "half a pair \udce4", '"}', "x" * 10_000])
def test_a_model_may_have_any_name(folder: Path, model: str) -> None:
    ledger = Ledger(folder)
    ledger.add(model, USAGE)
    ledger.add("m", USAGE)
    assert today(ledger) == {model: spent(1), "m": spent(1)}


def test_each_day_stands_for_itself_the_last_one_first(folder: Path) -> None:
    days = [PAST - timedelta(days=each) for each in range(3)]
    for number, day in enumerate(days, 1):
        day_of(folder, day).write_bytes(lines(number, ("m", "n")))
    found = Ledger(folder).days()
    assert list(found) == [str(day) for day in days]
    assert list(found.values()) == [{"m": spent(number), "n": spent(number)} for number in (1, 2, 3)]


def test_what_is_not_the_file_of_a_day_is_passed(folder: Path) -> None:
    day_of(folder).write_bytes(lines(1))
    for name in (f"{PAST}", f"{PAST}.jsonl~", f".{PAST}.jsonl.swp", f"{PAST}.txt", "notes.jsonl", "2026-13-45.jsonl"):
        folder.joinpath(name).write_bytes(lines(5))
    folder.joinpath(f"{PAST - timedelta(days=1)}").mkdir()
    assert Ledger(folder).days() == {str(PAST): {"m": spent(1)}}


# -- nothing lost


def add_often(folder: str, model: str) -> None:
    ledger = Ledger(Path(folder))
    ready()

    def work(number: int) -> None:
        for _ in range(50):
            ledger.add(model, USAGE)
            ledger.add("all", USAGE)
        ledger.days()

    at_once(4, work)


def test_many_processes_and_threads_append_at_once_and_no_line_is_lost_or_torn(folder: Path) -> None:
    succeed(*(process(add_often, folder, model) for model in "abc"))
    assert today(Ledger(folder)) == {"all": spent(600), "a": spent(200), "b": spent(200), "c": spent(200)}
    data = b"".join(each.read_bytes() for each in folder.iterdir())
    assert len([line for line in data.split(b"\n") if line]) == 1200


GARBAGE = (
    b"garbage\n",
    b"\0" * 100 + b"\n",
    b"\xff\xfe\n",
    b"\n\n  \n",
    b"null\n7\n[]\n",
    b"[" * 100_000 + b"\n",
    b'{"model": "m", "requests": 1, "prompt_tok\n',
    b'{"model": "m", "total_tokens": NaN, "prompt_tokens": 1e999}\n',
    b'{"model": "m", "total_tokens": ' + b"9" * 100_000 + b"}\n",
)


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda garbage: str(garbage[:20]))
def test_lines_that_are_none_are_passed(folder: Path, garbage: bytes) -> None:
    day_of(folder).write_bytes(garbage + lines(2) + garbage + lines(1) + garbage)
    assert Ledger(folder).days() == {str(PAST): {"m": spent(3)}}


@pytest.mark.parametrize("number", ["-5", "1.5", "1e3", "true", "null", '"7"', "[]", "{}", "9" * 400, "9" * 4300])
def test_a_number_of_tokens_that_cannot_be_is_not_counted_and_what_is_shown_can_be(folder: Path, number: str) -> None:
    odd = json.dumps({"model": "m", "total_tokens": "HERE"}).replace('"HERE"', number).encode() + b"\n"
    day_of(folder).write_bytes(odd * 3 + lines(1))
    found = Ledger(folder).days()
    assert found == {str(PAST): {"m": spent(1)}}
    assert f"{found[str(PAST)]['m']['total_tokens']:,}" == "120"


@pytest.mark.parametrize("model", ["null", "7", "[]", '{"a": []}', "[[1]]"])
def test_a_model_that_is_no_name_costs_no_other(folder: Path, model: str) -> None:
    odd = json.dumps({"model": "HERE", "requests": 1}).replace('"HERE"', model).encode() + b"\n"
    day_of(folder).write_bytes(odd + lines(2) + b'{"requests": 1}\n')
    assert Ledger(folder).days()[str(PAST)]["m"] == spent(2)


def test_a_file_that_was_cut_off_anywhere_keeps_its_whole_lines_and_takes_new_ones(folder: Path) -> None:
    ledger = Ledger(folder)
    for _ in range(3):
        ledger.add("m", USAGE)
    (path,) = folder.iterdir()
    data = path.read_bytes()
    size = len(data) // 3
    for end in range(len(data)):
        path.write_bytes(data[:end])
        ledger.add("new", USAGE)
        found = today(ledger)
        assert found["new"] == spent(1), data[:end]
        assert found.get("m", spent(0)) == spent((end + 1) // size)  # a line needs no end of line to be whole


def fill_the_disk(folder: str) -> None:
    """In a process of its own, since it cannot write for a while."""
    ready()
    ledger = Ledger(Path(folder))
    ledger.add("m", USAGE)
    size = sum(each.stat().st_size for each in Path(folder).iterdir())
    for room in (0, 1, 40):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, resource.RLIM_INFINITY))
        ledger.add("no room", USAGE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    ledger.add("room", USAGE)
    assert today(ledger) == {"m": spent(1), "room": spent(1)}


def test_a_full_disk_costs_what_is_spent_meanwhile_and_no_line_before_or_after_it(folder: Path) -> None:
    succeed(process(fill_the_disk, folder))


# -- days that are over


def test_a_day_that_is_over_is_added_up_in_its_file_and_its_sums_stay(folder: Path) -> None:
    path = day_of(folder)
    path.write_bytes(lines(2_500, ("m", "n", "o", "ü")) + GARBAGE[0] + lines(1)[:-20])
    path.chmod(0o600)
    ledger, expected = Ledger(folder), {model: spent(2_500) for model in "mnoü"}
    for _ in range(3):
        assert ledger.days() == Ledger(folder).days() == {str(PAST): expected}
        assert len(path.read_bytes().splitlines()) == 4
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with path.open("ab") as file:  # somebody's clock was wrong
        file.write(lines(FOLDED, "m"))
    assert ledger.days() == ledger.days() == {str(PAST): {**expected, "m": spent(2_500 + FOLDED)}}
    assert [each.name for each in folder.iterdir()] == [path.name]


@pytest.mark.parametrize("ago", [-1, 0, 1])
def test_a_day_to_which_somebody_may_still_write_is_left_alone(folder: Path, ago: int) -> None:
    day = date.today() - timedelta(days=ago)
    path = day_of(folder, day)
    path.write_bytes(lines(3 * FOLDED))
    before = path.stat()
    assert Ledger(folder).days() == {str(day): {"m": spent(3 * FOLDED)}}
    assert path.stat().st_ino == before.st_ino and path.read_bytes() == lines(3 * FOLDED)


def test_a_few_lines_of_a_day_that_is_over_stay_as_they_are(folder: Path) -> None:
    data = lines(3) + GARBAGE[0]
    day_of(folder).write_bytes(data)
    Ledger(folder).days()
    assert day_of(folder).read_bytes() == data


def test_many_that_look_at_once_see_the_same_sums(folder: Path) -> None:
    for number in range(5):
        day_of(folder, PAST - timedelta(days=number)).write_bytes(lines(1_000, ("m", "n")))
    found = at_once(6, lambda number: Ledger(folder).days())
    assert all(list(each.values()) == [{"m": spent(1_000), "n": spent(1_000)}] * 5 for each in found)
    assert len(list(folder.iterdir())) == 5


def look_at_a_full_disk(folder: str) -> None:
    """In a process of its own, which cannot write."""
    ready()
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
    assert Ledger(Path(folder)).days() == {str(PAST): {"m": spent(3 * FOLDED)}}


def test_a_day_that_cannot_be_added_up_in_its_file_is_shown_all_the_same(folder: Path) -> None:
    day_of(folder).write_bytes(lines(3 * FOLDED))
    succeed(process(look_at_a_full_disk, folder))
    assert day_of(folder).read_bytes() == lines(3 * FOLDED)
    assert len(list(folder.iterdir())) == 1


# -- where nothing can be kept


def test_without_a_workspace_nothing_is_made(tmp_path: Path) -> None:
    for folder in (None, tmp_path / "none" / ".state" / "usage"):
        ledger = Ledger(folder)
        assert ledger.days() == {}
        ledger.add("m", USAGE)
        assert ledger.days() == {}
    assert not list(tmp_path.iterdir())


def test_looking_makes_nothing(tmp_path: Path, folder: Path) -> None:
    assert Ledger(folder).days() == {}
    assert not list(tmp_path.iterdir())


def test_what_is_made_is_for_its_owner_alone(tmp_path: Path, folder: Path) -> None:
    before = os.umask(0)
    try:
        Ledger(folder).add("m", USAGE)
    finally:
        os.umask(before)
    (path,) = folder.iterdir()
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (path, folder, folder.parent)]
    assert modes == [0o600, 0o700, 0o700]


def test_a_folder_that_was_deleted_is_made_anew(folder: Path) -> None:
    ledger = Ledger(folder)
    ledger.add("m", USAGE)
    for each in folder.iterdir():
        each.unlink()
    folder.rmdir()
    folder.parent.rmdir()
    assert ledger.days() == {}
    ledger.add("m", USAGE)
    assert today(ledger) == {"m": spent(1)}


@pytest.mark.parametrize("kind", ["a file", "a pipe", "a link to nowhere", "a link to itself"])
@pytest.mark.parametrize("place", ["usage", ".state"])
def test_what_stands_in_the_folders_place_stops_nobody(tmp_path: Path, folder: Path, place: str, kind: str) -> None:
    taken = folder if place == "usage" else folder.parent
    taken.parent.mkdir(exist_ok=True)
    if kind == "a file":
        taken.touch()
    elif kind == "a pipe":
        os.mkfifo(taken)
    else:
        taken.symlink_to("nowhere" if kind == "a link to nowhere" else taken.name)
    ledger = Ledger(folder)
    ledger.add("m", USAGE)
    assert ledger.days() == {}


@pytest.mark.parametrize("kind", ["a folder", "a pipe", "a link to itself", "a link to a device", "a link to a folder"])
def test_what_stands_in_the_files_place_makes_nobody_wait(folder: Path, kind: str) -> None:
    days = [date.today() + timedelta(days=each) for each in (0, 1)]  # it may be midnight soon
    for path in (day_of(folder, day) for day in days):
        if kind == "a folder":
            path.mkdir()
        elif kind == "a pipe":
            os.mkfifo(path)
        else:
            path.symlink_to({"itself": path.name, "a device": "/dev/zero", "a folder": "."}[kind[10:]])
    day_of(folder).write_bytes(lines(1))
    ledger = Ledger(folder)
    ledger.add("m", USAGE)
    assert ledger.days() == {str(PAST): {"m": spent(1)}}
    before = os.listdir("/dev/fd")
    for _ in range(5):
        ledger.add("m", USAGE)
        ledger.days()
    assert len(os.listdir("/dev/fd")) == len(before)
