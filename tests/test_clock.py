"""The clock: what is due is called once, in order, whatever happens to the wall clock meanwhile."""

from __future__ import annotations

import gc
import logging
import os
import random
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest

from agentkit.clock import LONGEST_SLEEP, Clock

from .program import ROOT

WAIT = 20.0
START = 1_800_000_000.0
HOUR, DAY = 3600.0, 86400.0


class World:
    """Two clocks that move when they are told to."""

    def __init__(self) -> None:
        self.wall, self.ticks = START, 1000.0
        self.clock = Clock(lambda: self.wall, lambda: self.ticks)

    def wait(self, seconds: float) -> None:
        self.wall += seconds
        self.ticks += seconds

    def run(self, until: float) -> None:
        """Tick and sleep, as the thread does, until the wall clock shows `until`."""
        while self.wall < until:
            self.wait(min(max(self.clock.tick(), 1e-3), until - self.wall))
        self.clock.tick()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def running() -> Iterator[Clock]:
    clock = Clock()
    clock.start()
    yield clock
    assert clock.stop(WAIT)


def noting(calls: list[str], name: str) -> Callable[[float], None]:
    return lambda now: calls.append(name)


def test_nothing_is_called_before_it_is_due_and_then_once(world: World) -> None:
    calls: list[float] = []
    world.clock.set("a", START + 10, calls.append)
    assert world.clock.tick() == 10 and calls == []
    world.wait(10)
    assert world.clock.tick() == LONGEST_SLEEP and calls == [START + 10]
    world.run(START + DAY)
    assert calls == [START + 10] and world.clock.due() == []


def test_what_is_due_is_called_in_order_of_due_time_and_then_of_name(world: World) -> None:
    calls: list[str] = []
    for name, due in (("c", 2), ("b", 2), ("a", 3), ("d", 1)):
        world.clock.set(name, START + due, noting(calls, name))
    assert world.clock.due() == [("d", START + 1), ("b", START + 2), ("c", START + 2), ("a", START + 3)]
    world.wait(5)
    world.clock.tick()
    assert calls == ["d", "b", "c", "a"]


def test_setting_a_name_again_replaces_what_it_stood_for(world: World) -> None:
    calls: list[str] = []
    world.clock.set("a", START + 1, noting(calls, "old"))
    world.clock.set("a", START + 5, noting(calls, "new"))
    world.wait(2)
    assert world.clock.tick() == 3 and calls == []
    world.wait(3)
    world.clock.tick()
    assert calls == ["new"]


def test_what_is_dropped_is_not_called_and_costs_no_wake_up(world: World) -> None:
    calls: list[str] = []
    world.clock.set("a", START + 1, noting(calls, "a"))
    world.clock.drop("a")
    world.clock.drop("never set")
    assert world.clock.tick() == LONGEST_SLEEP
    world.run(START + 10)
    assert calls == []


def test_no_sleep_is_longer_than_a_minute(world: World) -> None:
    assert world.clock.tick() == LONGEST_SLEEP == 60
    world.clock.set("a", START + DAY, lambda now: None)
    assert world.clock.tick() == LONGEST_SLEEP
    world.clock.set("never", float("inf"), lambda now: None)
    world.clock.drop("a")
    assert world.clock.tick() == LONGEST_SLEEP


def test_a_due_time_that_is_no_number_is_refused(world: World) -> None:
    with pytest.raises(ValueError, match="heartbeat: its due time"):
        world.clock.set("heartbeat", float("nan"), lambda now: None)
    assert world.clock.due() == []


def test_an_act_may_set_itself_again(world: World) -> None:
    calls: list[float] = []

    def beat(now: float) -> None:
        calls.append(now)
        world.clock.set("beat", now + 1800, beat)

    world.clock.set("beat", START, beat)
    world.run(START + DAY)
    assert calls == [START + 1800 * n for n in range(49)]


def test_an_act_that_is_always_due_again_does_not_keep_others_waiting(world: World) -> None:
    calls: list[str] = []

    def greedy(now: float) -> None:
        calls.append("greedy")
        world.clock.set("greedy", now - 1, greedy)

    world.clock.set("greedy", START - 1, greedy)
    world.clock.set("other", START, noting(calls, "other"))
    assert world.clock.tick() == 0
    assert calls == ["greedy", "other"]


def test_an_act_may_drop_or_move_another_that_is_due_in_the_same_tick(world: World) -> None:
    calls: list[str] = []

    def meddle(now: float) -> None:
        world.clock.drop("b")
        world.clock.set("c", now + 60, noting(calls, "c moved"))

    world.clock.set("a", START, meddle)
    world.clock.set("b", START, noting(calls, "b"))
    world.clock.set("c", START, noting(calls, "c"))
    world.clock.tick()
    assert calls == []
    world.run(START + 60)
    assert calls == ["c moved"]


def test_what_is_overdue_can_be_seen_while_another_act_runs(world: World) -> None:
    seen: list[list[tuple[str, float]]] = []
    world.clock.set("a", START, lambda now: seen.append(world.clock.due()))
    world.clock.set("b", START + 1, lambda now: None)
    world.wait(5)
    world.clock.tick()
    assert seen == [[("b", START + 1)]]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1)])
def test_an_act_that_raises_is_logged_and_the_others_go_on(
    world: World, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []

    def fail(now: float) -> None:
        raise error

    world.clock.looks(fail)
    world.clock.looks(noting(calls, "look"))
    world.clock.set("cron:backup", START, fail)
    world.clock.set("z", START, noting(calls, "z"))
    with caplog.at_level(logging.ERROR, "agentkit"):
        world.clock.tick()
    assert calls == ["look", "z"]
    assert [record.getMessage() for record in caplog.records] == ["a look of the clock failed", "cron:backup failed"]


def test_looks_come_at_each_tick_before_what_is_due(world: World) -> None:
    calls: list[str] = []
    world.clock.looks(noting(calls, "look"))
    world.clock.set("a", START + 30, noting(calls, "a"))
    world.run(START + 90)
    assert calls == ["look", "look", "a", "look"]


def test_a_look_may_drop_what_is_due_now(world: World) -> None:
    calls: list[str] = []
    world.clock.set("a", START, noting(calls, "a"))
    world.clock.looks(lambda now: world.clock.drop("a"))
    world.clock.tick()
    assert calls == []


def test_the_time_of_the_last_tick_is_known(world: World) -> None:
    assert world.clock.last == 0
    world.clock.tick()
    world.wait(7)
    assert world.clock.last == START
    world.clock.tick()
    assert world.clock.last == START + 7


# -- the wall clock is changed


class Owner:
    """Sets a due time for each full hour, as cron would, and anew where the clock says so."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.runs: list[float] = []
        self.resets: list[float] = []
        world.clock.resets(self.reset)
        self.plan(world.wall)

    def plan(self, now: float) -> None:
        self.world.clock.set("hourly", now - now % HOUR + HOUR, self.run)

    def run(self, now: float) -> None:
        self.runs.append(now)
        self.plan(now)

    def reset(self, now: float) -> None:
        self.resets.append(now)
        self.plan(now)


@pytest.mark.parametrize("back", [1, 600, HOUR, 2.9 * HOUR, 3 * HOUR])
def test_a_clock_set_back_by_up_to_three_hours_repeats_nothing(world: World, back: float) -> None:
    owner = Owner(world)
    world.run(START + 5 * HOUR)
    before = list(owner.runs)
    world.wall -= back
    world.run(START + 5 * HOUR)
    assert owner.runs == before and owner.resets == []
    world.run(START + 6 * HOUR)
    assert owner.runs == [*before, START + 6 * HOUR]


@pytest.mark.parametrize("back", [3 * HOUR + 1, 5 * HOUR, 400 * DAY])
def test_a_clock_set_back_by_more_has_due_times_computed_anew(world: World, back: float) -> None:
    owner = Owner(world)
    world.run(START + 5 * HOUR)
    world.wall -= back
    since = world.wall
    owner.runs.clear()
    world.run(since + 2 * HOUR)
    assert owner.resets == [since]
    assert len(owner.runs) == 2


def test_a_step_back_while_the_thread_sleeps_is_measured_with_the_clock_that_nobody_sets(world: World) -> None:
    owner = Owner(world)
    world.clock.tick()
    world.wait(60)
    world.wall -= 3 * HOUR + 30
    world.clock.tick()
    assert owner.resets == [START + 60 - 3 * HOUR - 30]


def test_small_steps_back_add_up_until_the_clock_has_caught_up(world: World) -> None:
    owner = Owner(world)
    world.clock.tick()
    for _ in range(2):
        world.wall -= 2 * HOUR
        world.clock.tick()
    assert owner.resets == [START - 4 * HOUR]
    world.wall -= 2 * HOUR
    world.run(START)
    world.wall -= 2 * HOUR
    world.clock.tick()
    assert owner.resets == [START - 4 * HOUR]


def test_a_clock_that_ran_ahead_and_is_put_right_does_not_stall(world: World) -> None:
    owner = Owner(world)
    world.clock.tick()
    world.wall += 30 * DAY
    world.clock.tick()
    world.wall -= 30 * DAY
    world.clock.tick()
    assert owner.resets == [START]
    world.run(START + HOUR)
    assert owner.runs == [START + 30 * DAY, START + HOUR]


@pytest.mark.parametrize("suspended", [True, False])
def test_after_a_suspend_or_a_step_forward_what_is_overdue_comes_once(world: World, suspended: bool) -> None:
    owner = Owner(world)
    world.clock.tick()
    if suspended:
        world.wall += 3.5 * HOUR  # the other clock stands still meanwhile
    else:
        world.wait(3.5 * HOUR)
    world.run(START + 4 * HOUR)
    assert owner.runs == [START + 3.5 * HOUR, START + 4 * HOUR] and owner.resets == []


def test_a_month_of_random_plans_comes_as_an_independent_computation_has_it(world: World) -> None:
    rng = random.Random(7)
    expected = sorted((START + rng.randrange(30 * 86400), f"job {n}") for n in range(300))
    calls: list[tuple[float, str]] = []
    for due, name in rng.sample(expected, len(expected)):
        world.clock.set(name, START + DAY * 40, lambda now: None)
        world.clock.set(name, due, lambda now, name=name: calls.append((now, name)))  # type: ignore[misc]
    world.run(START + 30 * DAY)
    assert calls == expected


def test_setting_and_dropping_leave_nothing_behind(world: World) -> None:
    clock, acts = world.clock, weakref.WeakSet[Callable[[float], None]]()
    for n in range(10_000):
        for name in ("same", f"other {n}"):
            act = noting([], name)
            acts.add(act)
            clock.set(name, START + n, act)
        clock.drop(name)
    gc.collect()
    assert len(acts) < 200
    assert clock.due() == [("same", START + 9999)]


# -- the thread


def test_an_earlier_due_time_wakes_the_thread_at_once(running: Clock) -> None:
    called = threading.Event()
    running.set("late", time.time() + 50, lambda now: None)
    running.set("now", time.time(), lambda now: called.set())
    assert called.wait(WAIT)


def test_the_thread_sleeps_until_the_due_time_and_is_never_early(running: Clock) -> None:
    calls: list[tuple[float, float]] = []
    done = threading.Event()

    def act(now: float) -> None:
        calls.append((now, time.time()))
        done.set()

    due = time.time() + 0.05
    running.set("a", due, act)
    assert done.wait(WAIT)
    assert calls[0][0] >= due and calls[0][1] >= due


def test_a_clock_set_forward_while_the_thread_sleeps_does_not_delay_what_is_set_then() -> None:
    ahead = [0.0]
    slept, called = threading.Event(), threading.Event()
    clock = Clock(lambda: time.time() + ahead[0])
    clock.looks(lambda now: slept.set())
    clock.start()
    assert slept.wait(WAIT)
    ahead[0] = DAY
    clock.set("a", time.time() + DAY + 0.01, lambda now: called.set())
    assert called.wait(WAIT)
    assert clock.stop(WAIT)


def test_acts_run_in_the_clocks_thread_without_its_lock(running: Clock) -> None:
    seen: list[str] = []
    done = threading.Event()

    def act(now: float) -> None:
        seen.append(threading.current_thread().name)
        other = threading.Thread(target=running.set, args=("b", time.time(), lambda now: done.set()))
        other.start()
        other.join(WAIT)
        seen.append("" if other.is_alive() else "set")

    running.set("a", time.time(), act)
    assert done.wait(WAIT)
    assert seen == ["clock", "set"]


def test_a_wake_up_has_the_looks_done_now(running: Clock) -> None:
    looks: list[float] = []
    changed = threading.Condition()

    def look(now: float) -> None:
        with changed:
            looks.append(now)
            changed.notify_all()

    running.looks(look)
    for _ in range(3):
        with changed:
            seen = len(looks)
        running.wake()
        with changed:
            assert changed.wait_for(lambda seen=seen: len(looks) > seen, WAIT)  # type: ignore[misc]


def test_many_threads_may_set_and_drop_at_once(running: Clock) -> None:
    called: set[str] = set()
    done = threading.Event()

    def act(name: str) -> Callable[[float], None]:
        def note(now: float) -> None:
            called.add(name)
            if len(called) == 800:
                done.set()

        return note

    def work(number: int) -> None:
        for n in range(200):
            name = f"{number}.{n}"
            running.set(name, time.time() + 30, lambda now: None)
            running.drop(f"{number}.{n - 1}.gone")
            running.set(f"{number}.{n}.gone", time.time() + 30, lambda now: None)
            running.set(name, time.time() + 0.01, act(name))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(WAIT)
    assert done.wait(WAIT)


def test_stopping_ends_a_sleep_and_calls_nothing_more() -> None:
    clock = Clock()
    begun, gate = threading.Event(), threading.Event()
    calls: list[str] = []

    def hang(now: float) -> None:
        begun.set()
        gate.wait(WAIT)

    clock.set("a", 0, hang)
    clock.set("b", 0, noting(calls, "b"))
    clock.start()
    assert begun.wait(WAIT)
    assert not clock.stop(0)
    gate.set()
    assert clock.stop(WAIT)
    clock.set("c", 0, noting(calls, "c"))
    clock.wake()
    assert calls == []


def test_a_clock_that_was_never_started_stops() -> None:
    assert Clock().stop(0)


def test_no_file_stays_open_behind_a_clock_that_has_stopped() -> None:
    def opened() -> int:
        return sum(1 for fd in range(512) if is_open(fd))

    def is_open(fd: int) -> bool:
        try:
            os.fstat(fd)
        except OSError:
            return False
        return True

    before = opened()
    for _ in range(5):
        clock = Clock()
        clock.start()
        assert clock.stop(WAIT)
    assert opened() == before


def test_a_program_ends_while_its_clock_runs() -> None:
    code = "from agentkit.clock import Clock; c = Clock(); c.set('a', 9e9, print); c.start(); print('end')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_ten_thousand_entries_that_are_not_due_cause_no_tick() -> None:
    clock, rested, done = Clock(), threading.Event(), threading.Event()
    looks: list[float] = []

    def look(now: float) -> None:
        looks.append(now)
        rested.set()

    clock.looks(look)
    for n in range(10_000):
        clock.set(f"job {n}", time.time() + 3600 + n, lambda now: None)
    clock.start()
    assert rested.wait(WAIT)
    clock.set("soon", time.time() + 0.2, lambda now: done.set())
    assert done.wait(WAIT)
    assert len(looks) < 10  # at the start, when an earlier due time came, and at that time
    assert clock.stop(WAIT)
