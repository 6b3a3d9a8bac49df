"""Programs in this very process: what App.stream and App.ask speak through. Nobody there can be asked about a call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from ..channel import AnswerAsk, Channel, Dispatch
from ..envelope import DeliveryError
from ..errors import LLMError
from ..events import ENDINGS, Error, Event, Inbound

if TYPE_CHECKING:
    from ..envelope import Letter

NAME = "app"


class Direct(Channel):
    """withdraw: stops the turn of a message. May be used from any thread."""

    name = NAME

    def __init__(self, withdraw: Callable[[Inbound], object]) -> None:
        self._withdraw = withdraw
        self._lock = threading.Lock()  # serialises what follows
        self._dispatch: Dispatch | None = None  # None: it has not begun, or has ended
        self._boxes: dict[str, SimpleQueue[Event]] = {}  # by the turn's id

    def start(self, dispatch: Dispatch, answer: AnswerAsk) -> None:
        with self._lock:
            self._dispatch = dispatch

    def show(self, event: Event) -> None:
        if box := self._boxes.get(event.turn):
            box.put(event)

    def send(self, letter: Letter) -> None:
        raise DeliveryError("a program that asks is not there to be written to", permanent=True)

    def stop(self) -> None:
        with self._lock:
            self._dispatch, boxes = None, dict(self._boxes)
        for turn, box in boxes.items():
            box.put(Error("unknown", "The App was stopped before this was answered.", turn=turn))

    def stream(self, inbound: Inbound, timeout: float | None = None) -> Iterator[Event]:
        """Have a message answered: its events as they come, the last of which ends it.

        timeout: seconds for all of it. Whoever stops listening stops the turn. Raises RuntimeError where the App does
        not run.
        """
        box: SimpleQueue[Event] = SimpleQueue()
        with self._lock:
            if (dispatch := self._dispatch) is None:
                raise RuntimeError("the App does not run: start() it first, or use it in a `with`")
            self._boxes[inbound.turn] = box
        deadline = None if timeout is None else time.monotonic() + timeout
        is_over = False
        try:
            dispatch(inbound)
            while not is_over:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                try:
                    event = box.get(timeout=left)
                except Empty:
                    why = f"No answer came within {timeout:g} s, and the turn was stopped."
                    raise LLMError("timeout", why) from None
                is_over = isinstance(event, ENDINGS)
                yield event
        finally:
            with self._lock:
                del self._boxes[inbound.turn]
            if not is_over:
                self._withdraw(inbound)
