"""Turns that other channels have begun in the session a terminal shows: what it tells of them, apart from its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from ..events import ENDINGS, Ask, Event, Heard, Notice


class Others:
    """session: the key of the session that is shown now; writing: is an answer being written, in the middle of which
    nothing else can be told?"""

    def __init__(self, session: Callable[[], str], writing: Callable[[], bool] = lambda: False) -> None:
        self._session, self._writing = session, writing
        self._own: set[str] = set()
        self._theirs: dict[str, Heard] = {}  # turns that run, and how they began
        self._kept: deque[Event] = deque()  # to be told when nothing is being written

    def __contains__(self, turn: str) -> bool:
        """Is it one of another channel?"""
        return bool(turn) and turn not in self._own

    def exclude(self, turn: str) -> None:
        """A turn that is begun here is none of them."""
        self._own.add(turn)

    def told(self, event: Event) -> Event | None:
        """What is to be told of an event now; None: nothing. Of theirs that is what was said, what is asked (which only
        they can decide), notices and the end, but nothing in pieces: they cannot come between those of an answer."""
        told = event if event.turn not in self else self._of_theirs(event)
        if told is None or told.turn in self._own or not (self._kept or self._writing()):
            return told
        self._kept.append(told)
        return None

    def kept(self) -> Iterator[Event]:
        """What is to be told now that was kept back."""
        while self._kept and not self._writing():
            yield self._kept.popleft()

    def _of_theirs(self, event: Event) -> Event | None:
        if isinstance(event, Heard) and event.session == self._session():
            self._theirs[event.turn] = event
            return event
        if (heard := self._theirs.get(event.turn)) is None:
            return None
        if isinstance(event, ENDINGS):
            del self._theirs[event.turn]
            return event
        if isinstance(event, Ask):
            text = f"{event.tool} wants to run, {heard.peer} ({heard.channel}) decides: {event.summary}"
            return Notice(text).stamped(event.session, event.turn)
        return event if isinstance(event, Notice) else None
