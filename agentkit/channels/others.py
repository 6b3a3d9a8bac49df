"""Turns that other channels have begun in the session a terminal shows: what it tells of them, apart from its own."""

from __future__ import annotations

from collections.abc import Callable

from ..events import ENDINGS, Ask, Event, Heard, Notice


class Others:
    """session: the key of the session that is shown now."""

    def __init__(self, session: Callable[[], str]) -> None:
        self._session = session
        self._own: set[str] = set()
        self._theirs: dict[str, Heard] = {}  # turns that run, and how they began

    def __contains__(self, turn: str) -> bool:
        """Is it one of another channel?"""
        return bool(turn) and turn not in self._own

    def exclude(self, turn: str) -> None:
        """A turn that is begun here is none of them."""
        self._own.add(turn)

    def told(self, event: Event) -> Event | None:
        """What is to be told of an event; None: nothing. Of theirs that is what was said, what is asked (which only
        they can decide), notices and the end, but nothing in pieces: they cannot come between those of an answer."""
        if event.turn not in self:
            return event
        if isinstance(event, Heard) and event.session == self._session():
            self._theirs[event.turn] = event
            return event
        if (heard := self._theirs.get(event.turn)) is None:
            return None
        if isinstance(event, ENDINGS):
            del self._theirs[event.turn]
            return event
        if isinstance(event, Ask):
            return Notice(f"{event.tool} wants to run, {heard.peer} ({heard.channel}) decides: {event.summary}")
        return event if isinstance(event, Notice) else None
