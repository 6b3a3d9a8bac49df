"""One worker per busy session: what is put into a lane runs in order, lanes run side by side.

Runs callables, knows no session. An idle lane costs no thread: workers take lanes from one queue, one piece of work at
a time, and end when it is empty, so that many lanes share few threads fairly.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from .cancel import Cancel
from .errors import Cancelled

log = logging.getLogger("agentkit")

Work = Callable[[Cancel], object]


class _Job(NamedTuple):
    """A piece of work, and how it is stopped."""

    work: Work
    background: bool
    cancel: Cancel


class Lane:
    """The work of one session; never two pieces of it at once."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._jobs: deque[_Job] = deque()
        self._running: _Job | None = None

    @property
    def busy(self) -> bool:
        return self._running is not None or bool(self._jobs)

    def put(self, work: Work) -> None:
        """Work that somebody waits for: in order, before background work, which it interrupts.

        Raises RuntimeError where the system has no thread for it.
        """
        job = _Job(work, False, Cancel())
        with self._lanes.lock:
            first = next((at for at, each in enumerate(self._jobs) if each.background), len(self._jobs))
            self._jobs.insert(first, job)
            running = self._running
            if self._lanes.stopping:
                job.cancel.set()  # it still runs, and so comes to an end that somebody hears of
            self._lanes.ready(self)
        if running is not None and running.background:
            running.cancel.set()

    def offer(self, work: Work) -> bool:
        """Work that nobody waits for: taken only when the lane is idle; was it taken?"""
        with self._lanes.lock:
            if self.busy or self._lanes.stopping:
                return False
            self._jobs.append(_Job(work, True, Cancel()))
            self._lanes.ready(self)
            return True

    def interrupt(self) -> bool:
        """Stop the piece of work that runs, or is about to, if any; what is queued behind it goes on."""
        with self._lanes.lock:
            job = self._running or (self._jobs[0] if self._jobs else None)
        if job is None:
            return False
        job.cancel.set()
        return True

    def _step(self) -> None:
        """Run the next piece of work. Called by a worker, one at a time for a lane."""
        with self._lanes.lock:
            if not self._jobs:
                return
            job = self._running = self._jobs.popleft()
        try:
            job.work(job.cancel)
        except Cancelled:
            pass
        except BaseException:  # the top of this thread: even an exit must not take the lane with it
            log.exception("work failed in a lane")
        finally:
            with self._lanes.lock:
                self._running = None


class Lanes:
    """All lanes, by session key. limit: how many pieces of work may run at once."""

    def __init__(self, limit: int = 16) -> None:
        # Serialises the queues of all lanes and the count of workers, so that `offer` decides and takes in one step.
        self.lock = threading.Lock()
        self._limit = limit
        self._lanes: dict[str, Lane] = {}
        self._ready: deque[Lane] = deque()  # lanes with work that no worker holds, longest waiting first
        self._held: set[Lane] = set()  # lanes in _ready, or in a worker's hands
        self._workers: set[threading.Thread] = set()
        self.stopping = False

    def get(self, key: str) -> Lane:
        """The lane of a session, made on first use."""
        with self.lock:
            return self._lanes.setdefault(key, Lane(self))

    def ready(self, lane: Lane) -> None:
        """The lane has work. Called with the lock held."""
        assert self.lock.locked()
        if lane in self._held:
            return
        if len(self._workers) < self._limit:
            worker = threading.Thread(target=self._work, name="lane", daemon=True)
            try:
                worker.start()
            except RuntimeError:  # no thread to be had; those there are get to it
                if not self._workers:
                    lane._jobs.pop()
                    raise
            else:
                self._workers.add(worker)
        self._held.add(lane)
        self._ready.append(lane)

    def stop(self, timeout: float) -> bool:
        """Interrupt what runs and what waits, and wait for its end, in seconds; has everything ended?

        What is put later is interrupted before it begins.
        """
        with self.lock:
            self.stopping = True
            jobs = [job for lane in self._lanes.values() for job in (lane._running, *lane._jobs) if job]
            workers = list(self._workers)
        for job in jobs:
            job.cancel.set()
        deadline = time.monotonic() + timeout
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))
        return not any(worker.is_alive() for worker in workers)

    def _work(self) -> None:
        while True:
            with self.lock:
                if not self._ready:
                    self._workers.discard(threading.current_thread())
                    return
                lane = self._ready.popleft()
            lane._step()
            with self.lock:
                if lane.busy:
                    self._ready.append(lane)
                else:
                    self._held.discard(lane)
