"""The keys there are: how long each rests, who tries it out, and the file that all processes share."""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from agentkit.errors import CATEGORIES
from agentkit.profiles import LONGEST, REMEMBERED, UNUSED, Profiles
from agentkit.settings import Profile

from .crash import Ending, child
from .program import ROOT, WAIT

T = TypeVar("T")
URL = "http://localhost:1/v1"
KEYS = ("sk-QZXJKWVYQXZJ-WKQZJXVQ", "sk-JJQXZZKWVQXJ-KZXQJWQV")
OURS = tuple(Profile(number, URL, key) for number, key in enumerate(KEYS))
REST = {"category": "rate_limit", "since": 0.0, "until": 0.0, "times": 1}


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file, in a workspace that is there."""
    return tmp_path / ".state" / "profiles.json"


def seconds(profiles: Profiles, number: int = 0, model: str = "m") -> float | None:
    """How long it rests from now on."""
    rest = profiles.rest(number, model)
    return rest and rest.until - profiles.now()


def parked(profiles: Profiles, category: str = "rate_limit", number: int = 0, model: str = "m") -> float:
    """For how long it rests after a request that has begun just now."""
    return profiles.park(number, model, category, None, profiles.now())


def contents(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def elsewhere(work: Callable[[], T]) -> T:
    """Have another thread do it."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(WAIT)


def at_once(count: int, work: Callable[[int], T]) -> list[T]:
    """Have so many threads do it together."""
    ready = threading.Barrier(count)

    def one(number: int) -> T:
        ready.wait(WAIT)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def process(work: Callable[..., object], *arguments: object) -> subprocess.Popen[str]:
    """Another process that does it; its arguments arrive as text."""
    code = f"import sys; from {work.__module__} import {work.__name__} as work; work(*sys.argv[1:])"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def succeed(*processes: subprocess.Popen[str]) -> None:
    """Let those that are ready begin together, and wait for them all."""
    for each in processes:
        assert each.stdout is not None and each.stdout.readline() == "ready\n"
    for each in processes:
        assert each.stdin is not None
        each.stdin.close()
    try:
        assert [each.wait(3 * WAIT) for each in processes] == [0] * len(processes)
    finally:
        for each in processes:
            each.kill()
            each.wait()
            assert each.stdout is not None
            each.stdout.close()


def ready() -> None:
    """Say so in a process, and wait for the others."""
    print("ready", flush=True)
    sys.stdin.read()


# -- for how long, and for what


@pytest.mark.parametrize(
    ("category", "wait", "expected"),
    [
        ("auth", None, 300.0),
        ("billing", None, 600.0),
        ("rate_limit", None, 30.0),
        ("rate_limit", 0.0, 30.0),
        ("rate_limit", 7.5, 7.5),
        ("rate_limit", 3600.0, 3600.0),
        ("rate_limit", 1e9, 86_400.0),
        ("rate_limit", math.inf, 86_400.0),
        ("overloaded", None, 30.0),
        ("overloaded", 2.0, 30.0),
        ("overloaded", 90.0, 90.0),
        ("overloaded", 1e300, 86_400.0),
        ("server_error", None, 30.0),
        ("server_error", 45.0, 45.0),
        ("network", None, 30.0),
        ("timeout", None, 30.0),
        ("unknown", None, 30.0),
    ],
)
def test_how_long_a_profile_rests_depends_on_why(
    clock: Clock, category: str, wait: float | None, expected: float
) -> None:
    profiles = Profiles(OURS, clock=clock)
    assert profiles.rest(0, "m") is None
    assert profiles.park(0, "m", category, wait, clock.now) == expected
    rest = profiles.rest(0, "m")
    assert rest is not None and (rest.category, rest.until - clock.now, rest.times) == (category, expected, 1)
    assert profiles.rest(1, "m") is None
    clock.now += expected - 0.5
    assert seconds(profiles) == 0.5
    clock.now += 0.5
    assert profiles.rest(0, "m") is None


@pytest.mark.parametrize("category", sorted(set(CATEGORIES) - {"overflow", "bad_request", "content_filter"}))
def test_a_refused_key_and_an_empty_account_rest_for_all_models_the_others_for_one(category: str) -> None:
    profiles = Profiles(OURS)
    parked(profiles, category)
    assert (profiles.rest(0, "other") is not None) == (category in ("auth", "billing"))


def test_the_longer_of_two_rests_counts(clock: Clock) -> None:
    profiles = Profiles(OURS, clock=clock)
    parked(profiles, "rate_limit")
    parked(profiles, "auth")
    assert (seconds(profiles), seconds(profiles, model="other")) == (300.0, 300.0)
    profiles.park(0, "other", "rate_limit", 1000.0, clock.now)
    assert (seconds(profiles), seconds(profiles, model="other")) == (300.0, 1000.0)


def test_rate_limits_in_a_row_have_it_rest_longer(clock: Clock, path: Path) -> None:
    def again(after: float = 0.0) -> float:
        """One more, as soon as it has rested, and so much later; each time after a restart."""
        clock.now += after
        profiles = Profiles(OURS, path, clock)
        length = parked(profiles)
        clock.now += length
        return length

    assert [again() for _ in range(5)] == [30.0, 60.0, 120.0, 120.0, 120.0]
    assert again(REMEMBERED - 1) == 120.0
    assert again(REMEMBERED + 1) == 30.0
    assert again() == 60.0


def test_each_model_and_each_profile_has_rows_of_its_own(clock: Clock) -> None:
    profiles = Profiles(OURS, clock=clock)
    assert [parked(profiles), parked(profiles)] == [30.0, 60.0]
    assert (parked(profiles, model="other"), parked(profiles, number=1)) == (30.0, 30.0)


def test_a_row_ends_with_another_reason_and_with_an_answer(clock: Clock) -> None:
    profiles = Profiles(OURS, clock=clock)
    assert [parked(profiles), parked(profiles)] == [30.0, 60.0]
    parked(profiles, "overloaded")
    assert [parked(profiles), parked(profiles)] == [30.0, 60.0]
    profiles.answered(0, "m", clock.now)
    assert [parked(profiles), parked(profiles)] == [30.0, 60.0]


# -- requests that are under way together


def test_requests_that_were_under_way_together_count_once(path: Path) -> None:
    each_process = [Profiles(OURS, path), Profiles(OURS, path)]
    began = time.time() - 1.0
    lengths = at_once(20, lambda number: each_process[number % 2].park(0, "m", "rate_limit", None, began))
    assert all(0.0 < length <= 30.0 for length in lengths)
    for profiles in each_process:
        rest = profiles.rest(0, "m")
        assert rest is not None and rest.times == 1 and rest.until - rest.since == 30.0


def test_of_requests_under_way_together_the_longest_wait_is_kept(clock: Clock) -> None:
    profiles = Profiles(OURS, clock=clock)
    began, clock.now = clock.now, clock.now + 1.0
    assert [profiles.park(0, "m", "rate_limit", wait, began) for wait in (None, 100.0, 50.0)] == [30.0, 100.0, 100.0]
    rest = profiles.rest(0, "m")
    assert rest is not None and rest.times == 1


def test_an_answer_ends_what_was_before_it_began_not_what_came_after(clock: Clock, path: Path) -> None:
    profiles, others = Profiles(OURS, path, clock), Profiles(OURS, path, clock)
    began, clock.now = clock.now, clock.now + 1.0
    parked(others)
    profiles.answered(0, "m", began)
    assert seconds(profiles) == seconds(others) == 30.0
    clock.now += 31.0
    began, clock.now = clock.now, clock.now + 1.0
    profiles.answered(0, "m", began)
    assert seconds(profiles) is None
    assert parked(others) == 30.0


def test_an_answer_ends_only_the_one_of_two_rests_that_was_before_it_began(clock: Clock) -> None:
    profiles = Profiles(OURS, clock=clock)
    parked(profiles, "auth")
    clock.now += 301.0
    began, clock.now = clock.now, clock.now + 1.0
    parked(profiles)
    profiles.answered(0, "m", began)
    assert seconds(profiles) == 30.0
    assert elsewhere(lambda: profiles.claim(0, "other")) and profiles.claim(0, "other")  # nothing is left of the first


def test_an_answer_speaks_for_its_model_and_for_the_key(clock: Clock) -> None:
    profiles = Profiles(OURS, clock=clock)
    parked(profiles, model="other")
    parked(profiles, "auth")
    parked(profiles, "auth", number=1)
    profiles.answered(0, "m", clock.now)
    assert (seconds(profiles), seconds(profiles, model="other"), seconds(profiles, 1)) == (None, 30.0, 300.0)


def test_what_has_rested_is_tried_out_by_one_thread_at_a_time(clock: Clock, path: Path) -> None:
    profiles = Profiles(OURS, path, clock)
    assert profiles.claim(0, "m") and elsewhere(lambda: profiles.claim(0, "m"))  # nothing is known of it
    profiles.release(0, "m")
    parked(profiles)
    profiles = Profiles(OURS, path, clock)
    clock.now += 31.0
    assert profiles.rest(0, "m") is None
    assert profiles.claim(0, "m") and profiles.claim(0, "m")
    assert not elsewhere(lambda: profiles.claim(0, "m"))
    assert elsewhere(lambda: profiles.claim(0, "other")) and elsewhere(lambda: profiles.claim(1, "m"))
    elsewhere(lambda: profiles.release(0, "m"))  # it is not theirs
    assert not elsewhere(lambda: profiles.claim(0, "m"))
    profiles.release(0, "m")
    assert sum(at_once(8, lambda number: profiles.claim(0, "m"))) == 1


@pytest.mark.parametrize("end", ["an answer", "a reset", "time"])
def test_nobody_waits_for_who_tries_out_what_has_long_been_well(clock: Clock, end: str) -> None:
    profiles = Profiles(OURS, clock=clock)
    parked(profiles)
    clock.now += 31.0
    assert profiles.claim(0, "m") and not elsewhere(lambda: profiles.claim(0, "m"))
    if end == "an answer":
        profiles.answered(0, "m", clock.now)
    elif end == "a reset":
        profiles.reset(0)
    else:
        clock.now += REMEMBERED
    assert all(at_once(8, lambda number: profiles.claim(0, "m")))


# -- what is known of them


def test_a_restart_and_another_process_know_what_rests(clock: Clock, path: Path) -> None:
    profiles, others = Profiles(OURS, path, clock), Profiles(OURS, path, clock)
    assert others.rest(0, "m") is None
    parked(profiles)
    parked(profiles, "billing", 1)
    for each in (others, Profiles(OURS, path, clock)):
        assert (seconds(each), seconds(each, model="other"), seconds(each, 1)) == (30.0, None, 600.0)
    others.reset()
    assert (seconds(profiles), seconds(profiles, 1)) == (None, None)


@pytest.mark.parametrize("changed", [Profile(0, URL, "sk-new"), Profile(0, "http://localhost:2/v1", KEYS[0])])
def test_another_key_or_server_starts_fresh_and_the_old_one_goes_on_as_it_was(
    clock: Clock, path: Path, changed: Profile
) -> None:
    old = Profiles(OURS, path, clock)
    parked(old, "auth")
    parked(old, "auth", 1)
    new = Profiles((changed, OURS[1]), path, clock)
    assert (seconds(new), seconds(new, 1)) == (None, 300.0)
    parked(new, "billing")
    assert (seconds(old), seconds(Profiles(OURS, path, clock))) == (300.0, 300.0)


def test_a_key_with_another_number_is_the_same_key(clock: Clock, path: Path) -> None:
    parked(Profiles(OURS, path, clock), "auth")
    moved = Profiles((Profile(0, URL, "sk-new"), Profile(7, URL, KEYS[0])), path, clock)
    assert (seconds(moved), seconds(moved, 7)) == (None, 300.0)


def test_a_key_that_is_there_twice_rests_once_for_both(clock: Clock) -> None:
    profiles = Profiles((OURS[0], Profile(3, URL, KEYS[0])), clock=clock)
    parked(profiles)
    assert (seconds(profiles), seconds(profiles, 3)) == (30.0, 30.0)


def test_failures_and_the_last_answer_are_told_for_all_processes(clock: Clock, path: Path) -> None:
    profiles, others = Profiles(OURS, path, clock), Profiles(OURS, path, clock)
    for each in (profiles, others):
        each.count(0, "network")
    profiles.count(0, "auth")
    clock.now += 5.0
    others.answered(0, "m", clock.now)
    answered = clock.now
    assert (profiles.standing(0).failures, others.standing(0).used) == ({"network": 1, "auth": 1}, answered)
    profiles.close()
    others.close()
    clock.now += 5.0
    for each in (profiles, others, Profiles(OURS, path, clock)):
        standing = each.standing(0)
        assert (standing.failures, standing.used, standing.rests) == ({"network": 2, "auth": 1}, answered, {})
        assert each.standing(1) == Profiles(OURS).standing(1)


def test_what_is_shown_of_rests_is_what_holds_now_and_a_copy(clock: Clock) -> None:
    profiles = Profiles(OURS, clock=clock)
    parked(profiles)
    parked(profiles, "auth")
    shown = profiles.standing(0)
    assert {model: rest.category for model, rest in shown.rests.items()} == {"m": "rate_limit", "": "auth"}
    shown.rests.clear()
    clock.now += 31.0
    assert set(profiles.standing(0).rests) == {""}


def test_one_profile_or_all_are_reset(clock: Clock, path: Path) -> None:
    profiles = Profiles(OURS, path, clock)

    def all_parked() -> None:
        for number in (0, 1):
            for model, category in (("m", "rate_limit"), ("other", "timeout"), ("m", "auth")):
                parked(profiles, category, number, model)

    all_parked()
    profiles.reset(0)
    assert (seconds(profiles), seconds(profiles, model="other"), seconds(profiles, 1)) == (None, None, 300.0)
    assert Profiles(OURS, path, clock).rest(0, "m") is None
    all_parked()
    profiles.reset()
    assert not profiles.standing(0).rests and not profiles.standing(1).rests
    assert parked(profiles) == 30.0


def test_a_reset_is_for_our_keys_only(clock: Clock, path: Path) -> None:
    stranger = Profiles([Profile(0, URL, "sk-of-another-project")], path, clock)
    parked(stranger, "auth")
    Profiles(OURS, path, clock).reset()
    assert seconds(stranger) == 300.0


def test_what_is_over_leaves_the_file_in_the_end(clock: Clock, path: Path) -> None:
    gone = Profiles([Profile(0, URL, "sk-gone")], path, clock)
    parked(gone)
    profiles = Profiles(OURS, path, clock)
    parked(profiles)
    clock.now += 30.0 + REMEMBERED + 1.0
    profiles.count(1, "network")
    profiles.close()
    assert all(record["rests"] == {} for record in contents(path).values())
    profiles.answered(0, "m", clock.now)
    clock.now += UNUSED + 1.0
    profiles.reset()
    assert len(contents(path)) == len(OURS)


# -- a clock that jumps


@pytest.mark.parametrize("jump", [-3600.0, -86_400.0 * 400, 3600.0, 86_400.0 * 400])
@pytest.mark.parametrize("restart", [True, False])
def test_nobody_is_parked_for_ever_by_a_clock_that_is_set(clock: Clock, path: Path, jump: float, restart: bool) -> None:
    profiles = Profiles(OURS, path, clock)
    began = clock.now
    parked(profiles)
    parked(profiles, "auth", 1)
    clock.now += jump
    if restart:
        profiles = Profiles(OURS, path, clock)
    assert (seconds(profiles), seconds(profiles, 1)) == (None, None)
    assert all(profiles.claim(number, "m") for number in (0, 1))
    assert not profiles.standing(0).rests and not profiles.standing(1).rests
    assert profiles.park(0, "m", "rate_limit", None, began) == 30.0  # a request from before
    assert seconds(profiles) == 30.0
    profiles.answered(0, "m", clock.now)
    assert seconds(profiles) is None


# -- the file


def test_the_file_is_for_its_owner_and_tells_no_key_not_even_in_part(path: Path) -> None:
    before = os.umask(0)
    try:
        profiles = Profiles(OURS, path)
        parked(profiles, "auth")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()} == {0o600}
    path.chmod(0o644)
    parked(profiles, "billing", 1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    kept = "".join(each.name + each.read_text() for each in path.parent.iterdir())
    parts = {key[at : at + 4] for key in KEYS for at in range(len(key) - 3)}
    assert kept and not [part for part in parts if part in kept]


def test_without_a_workspace_nothing_is_made_and_all_is_known_until_the_end(tmp_path: Path, clock: Clock) -> None:
    for kept in (None, tmp_path / "none" / ".state" / "profiles.json"):
        profiles = Profiles(OURS, kept, clock)
        assert [parked(profiles), parked(profiles), parked(profiles, "auth", 1)] == [30.0, 60.0, 300.0]
        profiles.count(0, "rate_limit")
        assert (seconds(profiles), profiles.standing(0).failures) == (60.0, {"rate_limit": 1})
        profiles.reset(1)
        profiles.answered(0, "m", clock.now)
        assert (seconds(profiles), seconds(profiles, 1)) == (None, None)
        profiles.close()
    assert not list(tmp_path.iterdir())


def test_reading_makes_nothing(path: Path) -> None:
    profiles = Profiles(OURS, path)
    assert profiles.rest(0, "m") is None and profiles.claim(0, "m") and profiles.standing(0) == profiles.standing(1)
    profiles.release(0, "m")
    profiles.answered(1, "m", time.time())
    assert not path.parent.exists()


def test_a_workspace_that_is_made_later_gets_what_is_known(tmp_path: Path) -> None:
    path = tmp_path / "later" / ".state" / "profiles.json"
    profiles = Profiles(OURS, path)
    parked(profiles)
    (tmp_path / "later").mkdir()
    parked(profiles, "auth", 1)
    again = Profiles(OURS, path)
    assert again.rest(0, "m") is not None and again.rest(1, "m") is not None


def blocked(folder: Path, how: str) -> Path:
    """Where no file can be."""
    state = folder / ".state"
    if how == "a file in place of the workspace":
        (folder / "file").touch()
        state = folder / "file" / ".state"
    elif how == "a file in place of the folder":
        state.touch()
    elif how == "a link to nowhere in place of the folder":
        state.symlink_to("nowhere")
    elif how == "a link to itself in place of the folder":
        state.symlink_to(".state")
    elif how == "a link to itself in place of the workspace":
        (folder / "loop").symlink_to("loop")
        state = folder / "loop" / ".state"
    elif how == "a folder in place of the file":
        (state / "profiles.json" / "kept").mkdir(parents=True)
    elif how == "a name too long for the disk":
        state = folder / ("x" * 300) / ".state"
    return state / "profiles.json"


def everything(folder: Path) -> set[str]:
    return {os.path.join(place, name) for place, *names in os.walk(folder) for name in (*names[0], *names[1])}


BLOCKED = (
    "a file in place of the workspace",
    "a file in place of the folder",
    "a link to nowhere in place of the folder",
    "a link to itself in place of the folder",
    "a link to itself in place of the workspace",
    "a folder in place of the file",
    "a name too long for the disk",
)


@pytest.mark.parametrize("how", BLOCKED)
def test_where_nothing_can_be_saved_it_is_known_until_the_end(tmp_path: Path, clock: Clock, how: str) -> None:
    path = blocked(tmp_path, how)
    before = everything(tmp_path)
    profiles = Profiles(OURS, path, clock)
    assert profiles.rest(0, "m") is None
    assert [parked(profiles), parked(profiles), parked(profiles, "auth", 1)] == [30.0, 60.0, 300.0]
    profiles.count(0, "rate_limit")
    profiles.reset(1)
    assert (seconds(profiles), seconds(profiles, 1)) == (60.0, None)
    assert profiles.standing(0).failures == {"rate_limit": 1}
    profiles.close()
    assert everything(tmp_path) - {str(path.with_name("profiles.lock"))} == before


def test_a_folder_in_place_of_the_file_costs_no_file_descriptors(tmp_path: Path) -> None:
    path = blocked(tmp_path, "a folder in place of the file")
    before = os.listdir("/dev/fd")
    for _ in range(5):
        assert Profiles(OURS, path).rest(0, "m") is None
    assert len(os.listdir("/dev/fd")) == len(before)


def fill_the_disk(path: str) -> None:
    """In a process of its own, since it cannot write for a while."""
    ready()
    clock = Clock()
    profiles = Profiles(OURS, Path(path), clock)
    parked(profiles)
    old = Path(path).read_bytes()
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
    assert parked(profiles) == 60.0
    assert parked(profiles, "auth", 1) == 300.0
    assert (seconds(profiles), seconds(profiles, 1)) == (60.0, 300.0)
    assert Path(path).read_bytes() == old
    assert sorted(os.listdir(Path(path).parent)) == ["profiles.json", "profiles.lock"]
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    profiles.count(0, "network")
    profiles.close()
    again = Profiles(OURS, Path(path), clock)
    assert (seconds(again), seconds(again, 1)) == (60.0, 300.0)


def test_a_full_disk_leaves_the_old_file_and_what_is_known_is_saved_when_there_is_room(path: Path) -> None:
    succeed(process(fill_the_disk, path))


def use_up_the_descriptors(path: str) -> None:
    """In a process of its own, where for a moment no file can be opened."""
    ready()
    clock = Clock()
    profiles, others = Profiles(OURS, Path(path), clock), Profiles(OURS, Path(path), clock)
    parked(profiles)
    parked(others, "auth", 1)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    opened = []
    with contextlib.suppress(OSError):
        while True:
            opened.append(os.open("/", os.O_RDONLY))
    profiles.rest(0, "m")
    profiles.rest(1, "m")
    for fd in opened:
        os.close(fd)
    assert (seconds(profiles), seconds(profiles, 1)) == (30.0, 300.0)
    parked(profiles, model="other")
    assert seconds(Profiles(OURS, Path(path), clock), 1) == 300.0


def test_a_moment_in_which_the_file_cannot_be_opened_costs_nobody_what_it_holds(path: Path) -> None:
    succeed(process(use_up_the_descriptors, path))


def test_a_file_that_is_deleted_is_a_fresh_start(path: Path) -> None:
    profiles = Profiles(OURS, path)
    parked(profiles)
    path.unlink()
    assert profiles.rest(0, "m") is None
    parked(profiles, number=1)
    path.unlink()
    path.parent.joinpath("profiles.lock").unlink()
    path.parent.rmdir()
    assert profiles.rest(1, "m") is None
    parked(profiles)
    again = Profiles(OURS, path)
    assert again.rest(0, "m") is not None and again.rest(1, "m") is None


def test_a_file_that_is_edited_is_taken_in(clock: Clock, path: Path) -> None:
    profiles = Profiles(OURS, path, clock)
    parked(profiles)
    known = contents(path)
    (record,) = (each for each in known.values() if each["rests"])
    record["rests"]["m"]["until"] += 70.0
    record["rests"]["my-model"] = {**REST, "category": "overloaded", "since": clock.now, "until": clock.now + 8}
    path.write_text("\n" + json.dumps(known))
    assert (seconds(profiles), seconds(profiles, model="my-model")) == (100.0, 8.0)
    assert parked(profiles) == 60.0
    del record["rests"]["m"]
    path.write_text(json.dumps(known))
    assert (seconds(profiles), seconds(profiles, model="my-model")) == (None, 8.0)


def test_a_change_is_made_to_what_the_file_holds_even_where_it_looks_untouched(path: Path) -> None:
    """A file's time may not tell two writes apart that are milliseconds apart, and an inode's number is used again."""
    profiles = Profiles(OURS, path)
    parked(profiles)
    before = path.stat()
    data = path.read_bytes().replace(b'"times": 1', b'"times": 5')
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    parked(profiles)
    rest = Profiles(OURS, path).rest(0, "m")
    assert rest is not None and rest.times == 6


# -- a file that is not as it was written


def whole(path: Path) -> bytes:
    """A file with all there may be in it."""
    profiles = Profiles(OURS, path)
    parked(profiles)
    parked(profiles, "overloaded", model="other")
    parked(profiles, "auth", 1)
    profiles.count(0, "network")
    profiles.answered(1, "other", time.time() - 1000.0)
    profiles.close()
    return path.read_bytes()


def assert_goes_on(path: Path) -> Profiles:
    """Whatever the file is: nobody rests for ever, and the next change writes a good one."""
    profiles = Profiles(OURS, path)
    for number in (0, 1):
        for model in ("m", "other"):
            length = seconds(profiles, number, model)
            assert length is None or 0.0 < length <= LONGEST + 1.0
            profiles.claim(number, model)
            profiles.release(number, model)
        profiles.standing(number)
    profiles.answered(0, "m", time.time())
    profiles.count(0, "network")
    assert 0.0 < parked(profiles, model="new") <= 120.0
    assert not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert isinstance(contents(path), dict)
    again = Profiles(OURS, path)
    assert again.rest(0, "new") == profiles.rest(0, "new") is not None
    assert again.standing(0) == profiles.standing(0)
    return profiles


def test_a_file_that_was_cut_off_anywhere_is_written_anew(path: Path) -> None:
    data = whole(path)
    for size in range(len(data)):
        path.write_bytes(data[:size])
        assert_goes_on(path)


def test_a_file_with_flipped_bits_is_written_anew(path: Path) -> None:
    data = whole(path)
    for seed in range(200):
        chance, damaged = random.Random(seed), bytearray(data)
        for _ in range(chance.choice((1, 1, 2, 8))):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        assert_goes_on(path)


DEEP = 100_000


@pytest.mark.parametrize(
    "data",
    [
        b"null",
        b"7",
        b"[]",
        b'"text"',
        b'[{"rests": {}}]',
        b"NaN",
        b"{}",
        b'{"x": null, "y": [], "z": {}, "\\ud800": {"rests": {"\\ud800": {}}}}',
        b"\0" * 1000,
        b"\xff\xfe" * 500,
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b"[" * DEEP,
        b'{"a":' * DEEP,
        b"[" * DEEP + b"]" * DEEP,
        b'{"a":' + b"1" * DEEP + b"}",
        b'{"a": "' + b"x" * (3 << 20) + b'"}',
    ],
    ids=lambda data: str(data[:20]),
)
def test_what_was_never_such_a_file_is_written_anew(path: Path, data: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(data)
    assert_goes_on(path)


NO_TIMES = ("null", '"soon"', "[]", "{}", "NaN", "Infinity", "-Infinity", "1e999", "-1", "9" * 400, "true", "[[0]]")
WRONG = [
    *(("category", value) for value in ("null", "7", "[]", "{}", '""', '"tired"', "NaN", "true")),
    *((name, value) for name in ("since", "until") for value in NO_TIMES),
    *(("times", value) for value in ("0", "-1", "1.5", "null", "true", '"3"', "[]", "NaN", "1e999", "9" * 400)),
    *(("rest", value) for value in ("null", "7", '"m"', "[]", "{}", "NaN", '[["category", "auth"]]')),
]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=lambda text: text[:12])
def test_a_rest_that_cannot_be_is_left_out_and_the_others_hold(path: Path, name: str, value: str) -> None:
    whole(path)
    known = contents(path)
    (record,) = (each for each in known.values() if "m" in each["rests"])
    if name == "rest":
        record["rests"]["m"] = "HERE"
    else:
        record["rests"]["m"][name] = "HERE"
    path.write_text(json.dumps(known).replace('"HERE"', value))
    profiles = Profiles(OURS, path)
    assert profiles.rest(0, "m") is None
    assert profiles.rest(0, "other") is not None and profiles.rest(1, "m") is not None
    assert assert_goes_on(path).rest(1, "m") is not None


@pytest.mark.parametrize("name", ["rests", "used", "failures"])
@pytest.mark.parametrize(
    "value", ["null", "7", '"x"', "[]", "[1, [2]]", "NaN", "1e999", "-1", "9" * 400, '{"x": 1, "network": -1}']
)
def test_a_field_of_another_kind_costs_no_other(path: Path, name: str, value: str) -> None:
    whole(path)
    known = contents(path)
    for record in known.values():
        record[name] = "HERE"
    path.write_text(json.dumps(known).replace('"HERE"', value))
    profiles = Profiles(OURS, path)
    standing = profiles.standing(0)
    assert set(standing.rests) == (set() if name == "rests" else {"m", "other"})
    assert standing.failures == ({} if name == "failures" else {"network": 1})
    assert 0.0 <= profiles.standing(1).used < 1e11
    assert_goes_on(path)


def odd(path: Path, kind: str) -> None:
    """Put something else in the file's place."""
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a link to nowhere":
        path.symlink_to("nowhere")
    elif kind == "a link to itself":
        path.symlink_to(path.name)
    elif kind == "a link to a folder":
        path.symlink_to(".")
    elif kind == "a link to an endless device":
        path.symlink_to("/dev/zero")
    elif kind == "a link to a file":
        path.symlink_to("other")
        path.with_name("other").write_text("not ours")


ODD = ("a pipe", "a link to nowhere", "a link to itself", "a link to a folder", "a link to an endless device")


@pytest.mark.parametrize("kind", [*ODD, "a link to a file"])
@pytest.mark.parametrize("late", [True, False])
def test_what_stands_in_the_files_place_makes_nobody_wait_and_is_replaced(path: Path, kind: str, late: bool) -> None:
    profiles = Profiles(OURS, path)
    if late:
        parked(profiles, number=1)
    odd(path, kind)
    profiles.rest(1, "m")
    assert parked(profiles) == 30.0 and profiles.rest(0, "m") is not None
    assert stat.S_ISREG(path.lstat().st_mode)
    assert_goes_on(path)
    if kind == "a link to a file":
        assert path.with_name("other").read_text() == "not ours"


@pytest.mark.parametrize("kind", [*ODD, "a folder"])
def test_what_stands_in_the_locks_place_makes_nobody_wait(path: Path, kind: str) -> None:
    odd(path.with_name("profiles.lock"), kind)
    if kind == "a folder":
        path.with_name("profiles.lock").mkdir()
    assert_goes_on(path)


# -- several processes


def change_often(path: str, name: str) -> None:
    """Six threads of one process; each has its own model, whose rests it counts."""
    profiles = Profiles(OURS, Path(path))
    ready()

    def work(number: int) -> None:
        for _ in range(20):
            profiles.count(0, "rate_limit")
            profiles.park(0, f"{name}{number}", "rate_limit", None, profiles.now() + 60.0)
            assert profiles.rest(0, f"{name}{number}") is not None
        profiles.count(1, "network")

    at_once(6, work)
    profiles.close()


def test_no_change_of_many_processes_and_threads_is_lost(path: Path) -> None:
    succeed(*(process(change_often, path, name) for name in "abc"))
    profiles = Profiles(OURS, path)
    standing = profiles.standing(0)
    assert {model: rest.times for model, rest in standing.rests.items()} == {
        f"{name}{number}": 20 for name in "abc" for number in range(6)
    }
    assert standing.failures == {"rate_limit": 3 * 6 * 20}
    assert profiles.standing(1).failures == {"network": 3 * 6}
    assert sorted(os.listdir(path.parent)) == ["profiles.json", "profiles.lock"]


def stop_within_a_change(path: str) -> None:
    """The clock is asked while the file's lock is held."""

    def clock() -> float:
        os.kill(os.getpid(), signal.SIGSTOP)
        return time.time()

    Profiles(OURS, Path(path), clock).reset()


@pytest.fixture
def stopped(path: Path) -> Iterator[None]:
    """Another process is stopped in the middle of a change."""
    with process(stop_within_a_change, path) as other:
        try:
            _, status = os.waitpid(other.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            yield
        finally:
            other.kill()


@pytest.mark.usefixtures("stopped")
def test_a_process_that_is_stopped_in_the_middle_of_a_change_stops_nobody_else(path: Path) -> None:
    profiles = Profiles(OURS, path)
    began = time.monotonic()
    at_once(8, lambda number: parked(profiles, model=f"m{number}"))
    profiles.reset(1)
    assert time.monotonic() - began < 10  # one after the other, all waits would take 18 seconds
    assert len(Profiles(OURS, path).standing(0).rests) == 8


class EndingAnywhere(Ending):
    """At any call that has to do with files, whether it changes them or not."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        for name in ("open", "close", "mkdir", "stat", "fstat", "fchmod", "fchown"):
            setattr(os, name, self._before(getattr(os, name)))


def end_anywhere(folder: str) -> None:
    """For each call that there is in a change, a process ends right before it; the first change of all, and a later."""
    ready()
    for name in ("first", "later"):
        code, at = 7, 0
        while code == 7:
            at += 1
            path = Path(folder, f"{name}{at}", ".state", "profiles.json")
            path.parent.parent.mkdir()
            if name == "later":
                parked(Profiles(OURS, path))
            child(lambda path=path, at=at: (EndingAnywhere(at), parked(Profiles(OURS, path), "auth", 1)))  # type: ignore[misc]
            code = os.waitstatus_to_exitcode(os.wait()[1])
            profiles = Profiles(OURS, path)
            assert (profiles.rest(0, "m") is not None) == (name == "later")
            assert code == 7 or profiles.rest(1, "m") is not None
            assert not path.exists() or isinstance(contents(path), dict)
            assert parked(profiles, model="other") == 30.0
            assert Profiles(OURS, path).rest(0, "other") is not None
        assert code == 0 and at > 8, (name, code, at)


def test_a_process_that_ends_anywhere_in_a_change_leaves_the_old_state_or_the_new(tmp_path: Path) -> None:
    succeed(process(end_anywhere, tmp_path))
