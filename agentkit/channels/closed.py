"""What stands in for a gateway that was closed while turns go on: it hears how they end, in case they are repeated."""

from __future__ import annotations

from contextlib import suppress

from ..awaited import Awaited
from ..channel import AnswerAsk, Dispatch
from ..envelope import Letter, NobodyThere
from ..events import Event
from ..methods import Running

NAME = "websocket, closed"


class Closed:
    """A Channel that leaves by itself when there is nothing more to hear."""

    name = NAME
    limit: int | None = None
    can_ask = False
    ask_limit: float | None = None

    def __init__(self, app: Running, awaited: Awaited) -> None:
        self._app, self._awaited = app, awaited

    def start(self, dispatch: Dispatch, answer: AnswerAsk) -> None:
        pass

    def show(self, event: Event) -> None:
        self._awaited.show(event)
        if self._awaited.is_over:
            leave(self._app)

    def send(self, letter: Letter) -> None:
        raise NobodyThere("the gateway is closed")

    def stop(self) -> None:
        pass


def leave(app: Running) -> None:
    """Have none any more."""
    with suppress(KeyError):
        app.remove(NAME)
