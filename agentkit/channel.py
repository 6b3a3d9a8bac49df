"""Channel: the interface every frontend implements. A new one is a class with these members; nothing is inherited."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .events import Answer, Event, Inbound

TERMINAL = "cli"  # the name of the channel that the program was started in

Dispatch = Callable[[Inbound], None]
AnswerAsk = Callable[[str, str, Answer], bool]


class Channel(Protocol):
    """name: what its messages carry as `channel`; can_ask: is there a person who can answer an Ask?
    ask_limit: seconds an answer may take, None for a terminal, where a question simply stays."""

    name: str
    can_ask: bool
    ask_limit: float | None

    def start(self, dispatch: Dispatch, answer: AnswerAsk) -> None:
        """Begin. `dispatch(inbound)` hands a message in and returns at once; `answer(peer, ask id, answer)` answers
        an Ask, False where it is not, or no longer, open to that person."""

    def show(self, event: Event) -> None:
        """Take an event, from any thread, without blocking."""

    def stop(self) -> None:
        """End; nothing is shown after it."""
