"""One worker per busy session: what is put into a lane runs in order, lanes run side by side.

Runs callables, knows no session. An idle lane costs nothing at all: workers take lanes in turn, one piece of work at a
time, and end when there is none for them, so that many lanes share few threads fairly. Lanes where somebody waits come
before those with background work, which a quarter of the workers never does.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from .cancel import Cancel
from .errors import AgentkitError, Cancelled

log = logging.getLogger("agentkit")

Work = Callable[[Cancel], object]


class LaneFull(AgentkitError):
    """Too much waits in this lane. What to do: let it be answered first."""


class _Job(NamedTuple):
    """A piece of work, and how it is stopped."""

    work: Work
    background: bool
    cancel: Cancel


class _Queue:
    """What a busy lane has to do; since: when the job that runs began, in monotonic seconds."""

    def __init__(self) -> None:
        self.jobs: deque[_Job] = deque()
        self.running: _Job | None = None
        self.since = 0.0


class LaneView(NamedTuple):
    """A busy lane as others may see it. seconds: since its work began, None: it waits for a worker."""

    key: str
    seconds: float | None
    background: bool
    waiting: int


class Lane(NamedTuple):
    """The work of one session; never two pieces of it at once. Only a name: what is to be done is with Lanes."""

    lanes: Lanes
    key: str

    @property
    def busy(self) -> bool:
        with self.lanes.lock:
            return self.key in self.lanes.queues

    def put(self, work: Work) -> None:
        """Work that somebody waits for: in order, before background work. It interrupts that of its own lane, and one
        of another lane where all workers there are have such.

        Raises LaneFull, and RuntimeError where the system has no thread for it.
        """
        job = _Job(work, False, Cancel())
        with self.lanes.lock:
            queue = self.lanes.queues.get(self.key) or _Queue()
            first = next((at for at, each in enumerate(queue.jobs) if each.background), len(queue.jobs))
            if first >= self.lanes.waiting + (queue.running is None):
                raise LaneFull(f"{first} messages wait here already. Wait for an answer, then say it again.")
            queue.jobs.insert(first, job)
            if self.lanes.stopping:
                job.cancel.set()  # it still runs, and so comes to an end that somebody hears of
            gives_way = self.lanes.ready(self.key, queue)
        if gives_way is not None:
            gives_way.cancel.set()

    def offer(self, work: Work) -> bool:
        """Work that nobody waits for: taken only when the lane is idle; was it taken? It may have to wait for a worker,
        and the lane is busy then. Raises RuntimeError where the system has no thread for it."""
        with self.lanes.lock:
            if self.key in self.lanes.queues or self.lanes.stopping:
                return False
            queue = _Queue()
            queue.jobs.append(_Job(work, True, Cancel()))
            self.lanes.ready(self.key, queue)
            return True

    def interrupt(self) -> bool:
        """Stop the piece of work that runs, or is about to, if any; what is queued behind it goes on."""
        with self.lanes.lock:
            queue = self.lanes.queues.get(self.key)
            job = (queue.running or next(iter(queue.jobs), None)) if queue else None
        if job is None:
            return False
        job.cancel.set()
        return True


class Lanes:
    """All lanes, by session key. limit: how many pieces of work may run at once; a quarter of them, and one at least,
    is never background work, unless the limit is one. waiting: how many may be in a lane behind the one that runs."""

    def __init__(self, limit: int = 16, waiting: int = 20) -> None:
        # Serialises all queues, the workers and what they do, so that `offer` decides and takes in one step.
        self.lock = threading.Lock()
        self._ended = threading.Condition(self.lock)  # told when a worker ends, or nobody waits for that any more
        self.queues: dict[str, _Queue] = {}  # of the lanes that are busy
        self._limit, self.waiting = limit, waiting
        self._background_limit = max(1, limit - max(1, limit // 4))
        # Lanes with work that no worker holds, longest waiting first: those where somebody waits, and the others.
        self._ready: deque[str] = deque()
        self._ready_background: deque[str] = deque()
        self._background: list[_Job] = []  # those that run, the one begun last at the end
        self._workers: set[threading.Thread] = set()
        self.stopping = False

    def get(self, key: str) -> Lane:
        """The lane of a session."""
        return Lane(self, key)

    def view(self) -> list[LaneView]:
        """The busy ones, those that run first."""
        now = time.monotonic()
        with self.lock:
            views = [
                LaneView(
                    key,
                    now - queue.since if queue.running else None,
                    (queue.running or queue.jobs[0]).background,
                    len(queue.jobs),
                )
                for key, queue in self.queues.items()
            ]
        return sorted(views, key=lambda each: (each.seconds is None, -(each.seconds or 0.0)))

    def running(self) -> list[str]:
        """Where something runs now, by key."""
        with self.lock:
            return [key for key, queue in self.queues.items() if queue.running]

    def ready(self, key: str, queue: _Queue) -> _Job | None:
        """The lane has got work; returns the background work that has to give way to it, if any. Called with the lock
        held. Raises RuntimeError where there is no thread for it."""
        assert self.lock.locked()
        if queue.running is not None:
            return queue.running if queue.running.background else None
        if key in self._ready:
            return None
        background = queue.jobs[0].background
        # Whoever does background work now takes the next when that ends.
        if not background or len(self._background) < self._background_limit:
            self._add_worker()
        if key in self._ready_background:
            self._ready_background.remove(key)
        self.queues[key] = queue
        (self._ready_background if background else self._ready).append(key)
        # There may be fewer workers than the limit: the system may have no thread for more.
        return self._background[-1] if not background and len(self._background) == len(self._workers) else None

    def _add_worker(self) -> None:
        """One more, up to the limit. Called with the lock held."""
        if len(self._workers) >= self._limit:
            return
        worker = threading.Thread(target=self._work, name="lane", daemon=True)
        try:
            worker.start()
        except RuntimeError:  # no thread to be had; those there are get to it
            if not self._workers:
                raise
        else:
            self._workers.add(worker)

    def _next(self) -> str | None:
        """The lane whose turn it is; None: no worker more is needed. Called with the lock held."""
        if self._ready:
            return self._ready.popleft()
        if self._ready_background and len(self._background) < self._background_limit:
            return self._ready_background.popleft()
        return None

    def close(self) -> None:
        """Begin nothing more: what waits, and what is put later, is interrupted before it begins; what runs goes on."""
        with self.lock:
            self.stopping = True
            jobs = [job for queue in self.queues.values() for job in queue.jobs]
        for job in jobs:
            job.cancel.set()

    def wait(self, timeout: float, hurry: Cancel) -> bool:
        """Wait, in seconds, for the end of what runs, once nothing more is begun; has everything ended?

        hurry: ends the wait.
        """
        with hurry.on_set(self._wake), self.lock:
            self._ended.wait_for(lambda: not self._workers or hurry.is_set, timeout)
            return not self._workers

    def stop(self, timeout: float) -> bool:
        """Interrupt what runs and what waits, and wait for its end, in seconds; has everything ended?

        What is put later is interrupted before it begins.
        """
        self.close()
        with self.lock:
            jobs = [queue.running for queue in self.queues.values() if queue.running]
            workers = list(self._workers)
        for job in jobs:
            job.cancel.set()
        deadline = time.monotonic() + timeout
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))
        return not any(worker.is_alive() for worker in workers)

    def _wake(self) -> None:
        with self.lock:
            self._ended.notify_all()

    def _work(self) -> None:
        """A worker's life: a piece of work from each lane in turn, until none has any."""
        while True:
            with self.lock:
                key = self._next()
                if key is None:
                    self._workers.discard(threading.current_thread())
                    self._ended.notify_all()
                    return
                queue = self.queues[key]
                job = queue.running = queue.jobs.popleft()
                queue.since = time.monotonic()
                if job.background:
                    self._background.append(job)
            _run(job)
            with self.lock:
                queue.running = None
                if job.background:
                    self._background.remove(job)
                if not queue.jobs:
                    del self.queues[key]
                elif queue.jobs[0].background:
                    self._ready_background.append(key)
                else:
                    self._ready.append(key)


def _run(job: _Job) -> None:
    try:
        job.work(job.cancel)
    except Cancelled:
        pass
    except BaseException:  # the top of this thread: even an exit must not take the lane with it
        log.exception("work failed in a lane")
