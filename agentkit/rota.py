"""Rota: whom the clock is to call when. Those who are due together are called together, those overdue one by one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush

from .clock import Clock

OVERDUE = 60.0  # seconds from which on somebody counts as overdue
APART = 2.0  # seconds between two who are overdue
ALL_WITHIN = 300.0  # seconds in which all of them are called
PATIENCE = 60.0  # seconds until who was called, and then not planned, is called again


class Rota:
    """Its user serialises what calls it. act: called in the clock's thread with who is due, and the time; what it does
    not plan is called again after a minute, whatever has gone wrong. noun: what the clock is to call them."""

    def __init__(self, clock: Clock, noun: str, act: Callable[[str, float], None]) -> None:
        self._clock, self._noun, self._act = clock, noun, act
        self._set: dict[str, float] = {}  # the times that were planned, until they have come
        self._heap: list[tuple[float, str]] = []  # them, and some that are no longer so

    def plan(self, id: str, due: float | None) -> None:
        """Have somebody called at a time, None: at none. That costs nothing where it is planned already."""
        if due == self._set.get(id):
            return
        if due is None:
            self._clock.drop(self._name(id))
            del self._set[id]
        else:
            self._set[id] = due
            heappush(self._heap, (due, id))
            self._call(id, due)

    def plan_all(self, dues: dict[str, float]) -> None:
        """Have these called, and nobody else."""
        for id in self._set.keys() - dues.keys():
            self.plan(id, None)
        for id, due in dues.items():
            self.plan(id, due)
        self._heap = sorted((due, id) for id, due in self._set.items())

    def called(self, id: str, now: float) -> list[str]:
        """Who is to do now what is due, when one was called: that one and others that are due. Of several that are
        overdue the others come later."""
        due: dict[str, float] = {}
        while self._heap and self._heap[0][0] <= now:
            at, each = heappop(self._heap)
            if self._set.get(each) == at and each != id:
                due[each] = at
        overdue = [each for each, at in due.items() if now - at > OVERDUE]
        apart = min(APART, ALL_WITHIN / max(1, len(overdue)))
        for place, each in enumerate(overdue, 1):
            self._call(each, now + place * apart)
            del due[each]
        for each in (id, *due):
            self._set[each] = now + PATIENCE
            self._call(each, now + PATIENCE)
        return [id, *due]

    def _call(self, id: str, at: float) -> None:
        self._clock.set(self._name(id), at, partial(self._act, id))

    def _name(self, id: str) -> str:
        return f"{self._noun} {id}"
