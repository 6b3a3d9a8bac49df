"""One thread that knows what is due when. It decides, lanes execute: what it calls only hands work on.

Due times are wall-clock times, and the wall clock gets changed. Where it was set forward, or the machine slept, what
was skipped is overdue, and is called at the next tick. Where it was set back, the rule is that of Vixie cron (cron(8)):
by up to 3 hours, due times stay as they are, so that nothing comes twice; by more, whoever has set due times computes
them anew, so that nothing waits for the old time to come again.
"""

from __future__ import annotations

import logging
import math
import os
import select
import threading
import time
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count

log = logging.getLogger("agentkit")

LONGEST_SLEEP = 60.0  # seconds, after which the wall clock is looked at again
CORRECTION = 3 * 3600  # seconds: a clock set back by no more was corrected, by more it has a new time
SPARE = 64  # entries that may lie in the heap for nothing, beside as many as are valid

Act = Callable[[float], None]

_Entry = tuple[float, str, int, Act]  # when, its name, a number that no other has, what to call


class Clock:
    """What is due, by name. May be used from any thread; started once.

    now: the wall clock, in seconds since 1970; monotonic: a clock that nobody sets, in seconds. An act is called in the
    clock's thread with the time of the tick; it must be short, may use the clock, and is logged where it raises.
    """

    def __init__(self, now: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._now, self._monotonic = now, monotonic
        self.last = 0.0  # the wall clock at the last tick; 0: there was none
        self._lock = threading.Lock()  # serialises everything below; never held while an act runs
        self._entries: dict[str, _Entry] = {}
        self._heap: list[_Entry] = []  # an entry that is not the one of its name is no longer valid
        self._numbers = count()
        self._looks: list[Act] = []
        self._resets: list[Act] = []
        self._ticked = 0.0  # the monotonic clock at the last tick
        self._reached = -math.inf  # the latest wall time of all ticks since the last reset
        self._wakes = -math.inf  # when the sleep ends, on the monotonic clock; in the past: nobody sleeps
        self._thread: threading.Thread | None = None
        self._bell = -1  # what is written there ends the sleep
        self._rung = self._stopping = False

    def now(self) -> float:
        """What the wall clock shows, in seconds since 1970."""
        return self._now()

    def set(self, name: str, due: float, act: Act) -> None:
        """Have `act` called once when the wall clock shows `due`; replaces what the name stood for."""
        if math.isnan(due):
            raise ValueError(f"{name}: its due time is not a number")
        with self._lock:
            entry = (due, name, next(self._numbers), act)
            self._entries[name] = entry
            heappush(self._heap, entry)
            self._tidy()
            if due - self._now() < self._wakes - self._monotonic():
                self._ring()

    def drop(self, name: str) -> None:
        """Forget what the name stands for, if anything."""
        with self._lock:
            self._entries.pop(name, None)
            self._tidy()

    def due(self) -> list[tuple[str, float]]:
        """Every name and its due time, the next one first; those in the past are overdue."""
        with self._lock:
            entries = list(self._entries.values())
        return [(name, due) for due, name, _, _ in sorted(entries)]

    def looks(self, act: Act) -> None:
        """Have `act` called at each tick, before what is due: at least once in 60 s."""
        with self._lock:
            self._looks.append(act)
            self._ring()

    def resets(self, act: Act) -> None:
        """Have `act` called when the wall clock was set back by more than 3 hours: due times are to be set anew."""
        with self._lock:
            self._resets.append(act)

    def tick(self) -> float:
        """Call what is due, in order of due time and name; returns the seconds to sleep, at most 60.

        For one thread at a time: the clock's own, or whoever has not started it. What an act sets comes at the next
        tick at the earliest, even if it is due.
        """
        with self._lock:
            self._wakes = -math.inf  # nobody sleeps; what is set from now on counts when this tick ends
            now = self._now()
            acts = [*(self._resets if self._was_set_back(now) else ()), *self._looks]
        for act in acts:
            _call(act, now, "a look of the clock")
        with self._lock:
            ready = []
            while self._heap and self._heap[0][0] <= now:
                ready.append(heappop(self._heap))
        for entry in ready:
            _, name, _, act = entry
            with self._lock:
                if self._stopping or self._entries.get(name) is not entry:
                    continue
                del self._entries[name]
            _call(act, now, name)
        with self._lock:
            return self._sleep()

    def wake(self) -> None:
        """Have a tick now."""
        with self._lock:
            self._ring()

    def start(self) -> None:
        """Begin to tick, in a thread. Raises OSError and RuntimeError where the system has no room for it."""
        ear, self._bell = os.pipe()
        self._thread = threading.Thread(target=self._live, args=(ear,), name="clock", daemon=True)
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Call nothing more, and wait for the end of the act that runs, in seconds; has everything ended?"""
        with self._lock:
            self._stopping = True
            self._ring()
        if self._thread is None:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _live(self, ear: int) -> None:
        # A pipe, because a lock's time limit may be one of the wall clock (Python 3.10; macOS): where that was set
        # back by a day, the thread would sleep for a day.
        waiting = select.poll()
        waiting.register(ear, select.POLLIN)
        try:
            while not self._stopping:
                if waiting.poll(self.tick() * 1000):
                    with self._lock:
                        os.read(ear, 1)
                        self._rung = False
        finally:
            with self._lock:
                os.close(ear)
                os.close(self._bell)
                self._bell = -1

    # -- all of these are called with the lock held

    def _was_set_back(self, now: float) -> bool:
        """Take note of the time; has the wall clock got a new one?"""
        assert self._lock.locked()
        ticks = self._monotonic()
        back = self._reached + (ticks - self._ticked) - now  # from the latest that the clock can have shown
        self._reached = max(self._reached, now)
        self.last, self._ticked = now, ticks
        if back < CORRECTION + 1:  # a second more: the two clocks are not read in one moment
            return False
        log.warning("the clock was set back by %.1f hours: all due times are computed anew", back / 3600)
        self._reached = now
        return True

    def _sleep(self) -> float:
        """Seconds until there is something to do."""
        assert self._lock.locked()
        while self._heap and self._entries.get(self._heap[0][1]) is not self._heap[0]:
            heappop(self._heap)
        seconds = LONGEST_SLEEP
        if self._heap:
            seconds = max(0.0, min(seconds, self._heap[0][0] - self._now()))
        self._wakes = self._monotonic() + seconds
        return seconds

    def _tidy(self) -> None:
        """Keep what is no longer valid from piling up."""
        assert self._lock.locked()
        if len(self._heap) > 2 * len(self._entries) + SPARE:
            self._heap = list(self._entries.values())
            heapify(self._heap)

    def _ring(self) -> None:
        """End the sleep, or the next one, if there is a thread. Never more than one byte is in the pipe."""
        assert self._lock.locked()
        if self._bell >= 0 and not self._rung:
            self._rung = True
            os.write(self._bell, b"\0")


def _call(act: Act, now: float, name: str) -> None:
    try:
        act(now)
    except BaseException:  # even an exit must not stop the clock
        log.exception("%s failed", name)
