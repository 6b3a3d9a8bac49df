"""Channel: the interface every frontend implements. A new one is any class with these members, or one made from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from .events import Answer, Event, Inbound

if TYPE_CHECKING:
    from .envelope import Letter

TERMINAL = "cli"  # the name of the channel that the program was started in

Dispatch = Callable[[Inbound], None]
AnswerAsk = Callable[[str, str, Answer], bool]


class Channel(Protocol):
    """One that an App is made with may have `commands` of its own, a sequence of Command.

    name: what its messages carry as `channel`; limit: characters that a letter may have, None: any number; can_ask:
    is there a person who can answer an Ask? ask_limit: seconds an answer may take, None for a terminal, where a
    question simply stays."""

    name: str
    limit: int | None = None
    can_ask: bool = False
    ask_limit: float | None = 120.0

    def start(self, dispatch: Dispatch, answer: AnswerAsk) -> None:
        """Begin. `dispatch(inbound)` hands a message in and returns at once; `answer(peer, ask id, answer)` answers
        an Ask, False where it is not, or no longer, open to that person."""

    def show(self, event: Event) -> None:
        """Take an event, from any thread, without blocking."""

    def send(self, letter: Letter) -> None:
        """Deliver a letter of the outbox; returns when it is with whom it is for. Called from threads of the outbox, at
        most one for each destination; raises DeliveryError, such as NobodyThere, and should not take for ever."""
        from .envelope import DeliveryError

        raise DeliveryError(f"the channel {self.name} takes no letters", permanent=True)

    def stop(self) -> None:
        """End; nothing is shown after it."""
