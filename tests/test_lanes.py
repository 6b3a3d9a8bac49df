"""One worker per busy session: order within a lane, lanes side by side, background work gives way."""

from __future__ import annotations

import threading

import pytest

from agentkit.cancel import Cancel
from agentkit.lanes import LaneFull, Lanes, LaneView

WAIT = 10.0


def settle(lanes: Lanes, *keys: str) -> None:
    """Wait until what was put into these lanes before has run."""
    for key in keys:
        done = threading.Event()
        lanes.get(key).put(lambda cancel, done=done: done.set())  # type: ignore[misc]
        assert done.wait(WAIT)


def test_work_of_one_lane_runs_in_order_and_never_overlaps() -> None:
    lanes, seen, inside = Lanes(waiting=100), [], []

    def work(number: int) -> None:
        inside.append(number)
        assert len(inside) == 1
        seen.append(number)
        inside.remove(number)

    for number in range(100):
        lanes.get("a").put(lambda cancel, number=number: work(number))  # type: ignore[misc]
    settle(lanes, "a")
    assert seen == list(range(100))


def test_lanes_run_side_by_side() -> None:
    lanes, meet = Lanes(), threading.Barrier(3)
    for key in "abc":
        lanes.get(key).put(lambda cancel: meet.wait(WAIT))
    settle(lanes, *"abc")
    assert not meet.broken


def test_at_most_so_many_run_at_once_and_each_lane_gets_its_turn() -> None:
    lanes, order, gate = Lanes(limit=1), [], threading.Event()
    lanes.get("first").put(lambda cancel: gate.wait(WAIT))
    for number in range(3):
        for key in "ab":
            lanes.get(key).put(lambda cancel, it=f"{key}{number}": order.append(it))  # type: ignore[misc]
    gate.set()
    settle(lanes, "a", "b")
    assert order == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_an_idle_lane_costs_no_thread() -> None:
    lanes, before = Lanes(), threading.active_count()
    for number in range(50):
        lanes.get(str(number)).put(lambda cancel: None)
    settle(lanes, *map(str, range(50)))
    for thread in threading.enumerate():
        if thread.name == "lane":
            thread.join(WAIT)
    assert threading.active_count() == before


def test_offered_work_is_taken_only_when_the_lane_is_idle() -> None:
    lanes, gate, ran = Lanes(), threading.Event(), threading.Event()
    lane = lanes.get("a")
    lane.put(lambda cancel: gate.wait(WAIT))
    assert not lane.offer(lambda cancel: ran.set())
    gate.set()
    settle(lanes, "a")
    while lane.busy:
        threading.Event().wait(0.001)
    assert lane.offer(lambda cancel: ran.set())
    assert ran.wait(WAIT)


def test_a_message_interrupts_background_work() -> None:
    lanes, started, order = Lanes(), threading.Event(), []

    def background(cancel: Cancel) -> None:
        stopped = threading.Event()
        with cancel.on_set(stopped.set):
            started.set()
            assert stopped.wait(WAIT)
        order.append("background")
        cancel.check()

    lanes.get("a").offer(background)
    assert started.wait(WAIT)
    lanes.get("a").put(lambda cancel: order.append("message"))
    settle(lanes, "a")
    assert order == ["background", "message"]


def test_an_interrupt_stops_what_runs_and_the_next_goes_on() -> None:
    lanes, started, order = Lanes(), threading.Event(), []

    def long(cancel: Cancel) -> None:
        stopped = threading.Event()
        with cancel.on_set(stopped.set):
            started.set()
            assert stopped.wait(WAIT)
        cancel.check()
        order.append("not reached")

    lane = lanes.get("a")
    assert not lane.interrupt()
    lane.put(long)
    lane.put(lambda cancel: order.append("next"))
    assert started.wait(WAIT)
    assert lane.interrupt()
    settle(lanes, "a")
    assert order == ["next"]


def test_work_that_fails_does_not_end_its_lane() -> None:
    lanes, ran = Lanes(), threading.Event()

    def fails(cancel: Cancel) -> None:
        raise ValueError("a bug")

    lanes.get("a").put(fails)
    lanes.get("a").put(lambda cancel: ran.set())
    assert ran.wait(WAIT)


def test_stopping_interrupts_and_waits() -> None:
    lanes, started = Lanes(), threading.Event()

    def long(cancel: Cancel) -> None:
        stopped = threading.Event()
        with cancel.on_set(stopped.set):
            started.set()
            stopped.wait(WAIT)

    lanes.get("a").put(long)
    assert started.wait(WAIT)
    assert lanes.stop(WAIT)
    cancelled: list[bool] = []
    late = threading.Event()
    lanes.get("a").put(lambda cancel: (cancelled.append(cancel.is_set), late.set()))
    assert late.wait(WAIT) and cancelled == [True]
    assert not lanes.get("a").offer(lambda cancel: None)


def test_work_that_waits_when_everything_stops_is_told_so() -> None:
    lanes, started, told = Lanes(), threading.Event(), threading.Event()

    def long(cancel: Cancel) -> None:
        stopped = threading.Event()
        with cancel.on_set(stopped.set):
            started.set()
            stopped.wait(WAIT)

    lanes.get("a").put(long)
    lanes.get("a").put(lambda cancel: told.set() if cancel.is_set else None)
    assert started.wait(WAIT)
    assert lanes.stop(WAIT)
    assert told.is_set()


def test_work_that_exits_does_not_end_its_lane() -> None:
    lanes, ran = Lanes(limit=1), threading.Event()

    def leaves(cancel: Cancel) -> None:
        raise SystemExit(3)

    lanes.get("a").put(leaves)
    lanes.get("b").put(leaves)
    lanes.get("a").put(lambda cancel: ran.set())
    assert ran.wait(WAIT)


class Holding:
    """Work that runs until it is let go."""

    def __init__(self) -> None:
        self.begun, self.gate = threading.Event(), threading.Event()

    def __call__(self, cancel: Cancel) -> None:
        self.begun.set()
        self.gate.wait(WAIT)


def test_too_much_in_a_lane_is_refused_and_what_waits_is_answered() -> None:
    lanes, holding, order, done = Lanes(waiting=3), Holding(), [], threading.Event()
    lane = lanes.get("a")
    lane.put(holding)
    assert holding.begun.wait(WAIT)
    for number in range(2):
        lane.put(lambda cancel, number=number: order.append(number))  # type: ignore[misc]
    lane.put(lambda cancel: done.set())
    with pytest.raises(LaneFull, match="3 messages wait here already"):
        lane.put(lambda cancel: order.append(99))
    lanes.get("b").put(lambda cancel: None)
    holding.gate.set()
    assert done.wait(WAIT)
    assert order == [0, 1]


def test_what_is_busy_can_be_seen_and_an_idle_lane_leaves_nothing_behind() -> None:
    lanes, holding = Lanes(limit=1), Holding()
    lanes.get("a").put(holding)
    assert holding.begun.wait(WAIT)
    lanes.get("b").put(lambda cancel: None)
    lanes.get("b").put(lambda cancel: None)
    first, second = lanes.view()
    assert first.key == "a" and first.seconds is not None and first.waiting == 0
    assert second == LaneView("b", None, False, 2)
    holding.gate.set()
    settle(lanes, "a", "b")
    for thread in threading.enumerate():
        if thread.name == "lane":
            thread.join(WAIT)
    assert lanes.view() == [] and not lanes.queues


class Slow:
    """Background work that runs until it is let go or interrupted."""

    def __init__(self) -> None:
        self.begun, self.end = threading.Semaphore(0), threading.Event()
        self.interrupted = threading.Event()

    def __call__(self, cancel: Cancel) -> None:
        with cancel.on_set(self.interrupted.set), cancel.on_set(self.end.set):
            self.begun.release()
            self.end.wait(WAIT)


@pytest.mark.parametrize(("limit", "most"), [(2, 1), (3, 2), (4, 3), (8, 6), (16, 12)])
def test_background_work_leaves_workers_to_whoever_speaks_and_all_of_it_is_done(limit: int, most: int) -> None:
    lanes, slow, meet = Lanes(limit), Slow(), threading.Barrier(limit - most + 1)
    for number in range(20):
        assert lanes.get(f"job {number}").offer(slow)
    for _ in range(most):
        assert slow.begun.acquire(timeout=WAIT)
    for number in range(limit - most):  # side by side
        lanes.get(f"person {number}").put(lambda cancel: meet.wait(WAIT))
    meet.wait(WAIT)
    settle(lanes, "person 0")
    jobs = [each for each in lanes.view() if each.background]
    assert sum(each.seconds is not None for each in jobs) == most and len(jobs) == 20
    assert not slow.interrupted.is_set()
    slow.end.set()
    for _ in range(20 - most):
        assert slow.begun.acquire(timeout=WAIT)


def test_background_work_that_waits_for_a_worker_keeps_its_lane_busy_and_lets_a_message_go_first() -> None:
    lanes, slow, order, done = Lanes(limit=2), Slow(), list[str](), threading.Event()

    def background(cancel: Cancel) -> None:
        order.append("background")
        done.set()

    lanes.get("slow").offer(slow)
    assert slow.begun.acquire(timeout=WAIT)
    lane = lanes.get("a")
    assert lane.offer(background)
    assert lane.busy and not lane.offer(lambda cancel: order.append("another"))
    for message in "one", "two":
        lane.put(lambda cancel, message=message: order.append(message))  # type: ignore[misc]
    settle(lanes, "a")
    assert order == ["one", "two"] and lane.busy and not slow.interrupted.is_set()
    slow.end.set()
    assert done.wait(WAIT)
    assert order == ["one", "two", "background"]


def test_a_message_interrupts_background_work_of_another_lane_where_there_is_one_worker() -> None:
    lanes, slow, waits, ran = Lanes(limit=1), Slow(), Slow(), threading.Event()
    lanes.get("slow").offer(slow)
    assert slow.begun.acquire(timeout=WAIT)
    lanes.get("waits").offer(waits)
    assert not slow.interrupted.is_set()  # another piece of background work has to wait
    lanes.get("a").put(lambda cancel: ran.set())
    assert ran.wait(WAIT) and slow.interrupted.is_set()
    assert waits.begun.acquire(timeout=WAIT)
    settle(lanes, "waits")
    assert waits.interrupted.is_set()


def test_a_message_does_not_interrupt_another_one_where_there_is_one_worker() -> None:
    lanes, first, ran = Lanes(limit=1), Slow(), threading.Event()
    lanes.get("first").put(first)
    assert first.begun.acquire(timeout=WAIT)
    lanes.get("a").put(lambda cancel: ran.set())
    assert not first.interrupted.is_set()
    first.end.set()
    assert ran.wait(WAIT)


def test_stopping_ends_background_work_that_waits_for_a_worker() -> None:
    lanes, slow = Lanes(limit=2), Slow()
    for number in range(5):
        lanes.get(str(number)).offer(slow)
    assert slow.begun.acquire(timeout=WAIT)
    assert lanes.stop(WAIT) and lanes.view() == []
