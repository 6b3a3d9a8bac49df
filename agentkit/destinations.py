"""Whose turn is it? The letters that wait, by destination: which are due, and which may be tried now.

A destination (a channel and somebody on it) gets its letters in order, one at a time: one that waits for its next try
holds back those behind it. Destinations are tried side by side, and channels take turns. Nothing here blocks, or knows
a file, a thread or a clock; whoever uses it holds a lock.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from itertools import count

from .envelope import Envelope

SIDE_BY_SIDE = 8  # destinations that are tried at once
SLOW = 0.25  # seconds after which a try that has not ended gives up its place among those, so that it starves nobody
MOST = 128  # tries at once, those that hang included: each costs a thread
MOST_OF_ONE = 64  # of one channel, so that one that hangs altogether leaves room for the others
LONGEST_SLEEP = 60.0  # seconds, after which the wall clock is looked at again


class Destination:
    """Somebody's letters."""

    def __init__(self, channel: str, to: str) -> None:
        self.channel, self.to = channel, to
        self.letters: list[tuple[str, int, Envelope]] = []  # a heap by id; without the one that is being tried
        self.trying: Envelope | None = None  # belongs to the worker that tries it
        self.done = False  # with that one
        self.held = False  # nobody is there; it waits for `wake`
        self.woken = self.hurried = False  # since the try began
        self.ticket = 0  # of its only valid place in the timetable or the queue

    @property
    def envelopes(self) -> list[Envelope]:
        """Its letters, the first one in front, the others in no order."""
        return [*filter(None, [self.trying]), *(envelope for _, _, envelope in self.letters)]


class Destinations:
    """All of them that have letters. `now` is the wall clock's time, in seconds since 1970, `ticks` a clock's that
    nobody sets, in seconds."""

    def __init__(self) -> None:
        self.pending = 0
        self._all: dict[str, dict[str, Destination]] = {}
        self._tickets = count(1)
        self._timetable: list[tuple[float, int, Destination]] = []  # a heap by time
        self._queues: dict[str, deque[tuple[int, Destination]]] = {}  # by channel: what is due; the next one in front
        self._trying: dict[Destination, float] = {}  # since when, in ticks
        self._busy: Counter[str] = Counter()  # by channel: how many of those

    def __iter__(self) -> Iterator[Destination]:
        for channel in self._all.values():
            yield from channel.values()

    def has(self, channel: str, to: str) -> bool:
        """Are there letters for somebody?"""
        return to in self._all.get(channel, ())

    def add(self, envelope: Envelope, *, at_once: bool = False) -> None:
        """A letter more. at_once: even if nobody seems to be there."""
        channel = self._all.setdefault(envelope.channel, {})
        if envelope.to not in channel:
            channel[envelope.to] = Destination(envelope.channel, envelope.to)
        destination = channel[envelope.to]
        self._push(destination, envelope)
        self.pending += 1
        if at_once:
            self.hurry(destination)
        elif destination.letters[0][2] is envelope:
            self._place(destination)

    def take(self, now: float, ticks: float) -> Destination | None:
        """The next destination to try, whose first letter is then in `trying`; None: none for now. To be given back."""
        while self._timetable and self._timetable[0][0] <= now:
            _, ticket, due = heappop(self._timetable)
            if due.ticket == ticket:
                self._queues.setdefault(due.channel, deque()).append((ticket, due))
        if not self._has_room(ticks):
            return None
        while True:
            channel = next((each for each in self._queues if self._busy[each] < MOST_OF_ONE), None)
            if channel is None:
                return None
            queue = self._queues.pop(channel)
            ticket, destination = queue.popleft()
            if queue:
                self._queues[channel] = queue  # at the end: the others first
            if destination.ticket == ticket:
                break
        destination.ticket, destination.done = 0, False
        destination.woken = destination.hurried = False
        destination.trying = heappop(destination.letters)[2]
        self._trying[destination] = ticks
        self._busy[channel] += 1
        return destination

    def give_back(self, destination: Destination, now: float) -> None:
        """The try is over: `done` with the letter, or it waits until it is next due, or, `held`, for somebody."""
        envelope, destination.trying = destination.trying, None
        del self._trying[destination]
        self._busy[destination.channel] -= 1
        destination.held = destination.held and not (destination.woken or destination.hurried)
        if destination.done or envelope is None:
            self.pending -= 1
        else:
            envelope.look_at(now)
            if destination.hurried:
                envelope.next = 0.0
            self._push(destination, envelope)
        if destination.letters:
            self._place(destination)
        else:
            self._forget(destination)

    def keep(self, destination: Destination, is_there: Callable[[Envelope], bool]) -> None:
        """Of the letters of one that is `held`, drop those that somebody else has taken."""
        before = len(destination.letters)
        destination.letters = [each for each in destination.letters if is_there(each[2])]
        heapify(destination.letters)
        self.pending -= before - len(destination.letters)
        if not destination.letters:
            self._forget(destination)

    def wake(self, channel: str, to: str | None = None) -> None:
        """Somebody is there now; to: only that one."""
        found = self._all.get(channel, {})
        for each in found.values() if to is None else filter(None, [found.get(to)]):
            each.woken = True
            if each.held and each not in self._trying:
                each.held = False
                self._place(each)

    def hurry(self, destination: Destination) -> None:
        """Have its first letter tried now, whatever it waits for."""
        if destination in self._trying:
            destination.hurried = True
        else:
            destination.held, destination.letters[0][2].next = False, 0.0
            self._place(destination)

    def set_back(self, seconds: float) -> None:
        """The clock was set back by so much: nobody waits longer for that."""
        for each in self:
            for _, _, envelope in each.letters:
                envelope.next -= seconds
        self._timetable = [(due - seconds, ticket, each) for due, ticket, each in self._timetable]
        heapify(self._timetable)

    def sleep(self, now: float) -> float:
        """Seconds until there may be something to take, if nothing happens meanwhile."""
        if self._queues:
            return SLOW
        if self._timetable:
            return min(max(0.0, self._timetable[0][0] - now), LONGEST_SLEEP)
        return LONGEST_SLEEP

    def _forget(self, destination: Destination) -> None:
        channel = self._all[destination.channel]
        del channel[destination.to]
        if not channel:
            del self._all[destination.channel], self._busy[destination.channel]

    def _has_room(self, ticks: float) -> bool:
        quick = sum(ticks - since < SLOW for since in self._trying.values())
        return quick < SIDE_BY_SIDE and len(self._trying) < MOST

    def _push(self, destination: Destination, envelope: Envelope) -> None:
        # The ticket only keeps two of the same id apart: a person may have copied one.
        heappush(destination.letters, (envelope.id, next(self._tickets), envelope))

    def _place(self, destination: Destination) -> None:
        if destination.held or destination in self._trying:
            return
        destination.ticket = next(self._tickets)
        heappush(self._timetable, (destination.letters[0][2].next, destination.ticket, destination))
