"""A model that says what a test wants it to: no server, no network, the same every time."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator, Mapping
from typing import Any

from .calls import Call
from .errors import LLMError
from .events import Event, Text
from .node import Node
from .store import Context, Message, Store
from .wire import Reply, assistant

# What it says: words, a call of a tool, several calls at once, a whole Reply, an error, or what a function makes of
# what the model is sent.
Wish = tuple[str, Mapping[str, Any]]
Line = str | Wish | list[Wish] | Reply | Exception | Callable[[Context], str | Reply]


class Scripted(Node):
    """Says one line of the script at each request; `asked` holds the messages that each of them was sent.

        Scripted(("count_words", {"path": "a.txt"}), "It has two words.")

    When the script is at its end, a request fails (LLMError). May be used by several turns at once.
    """

    def __init__(self, *script: Line) -> None:
        self.asked: list[list[Message]] = []
        self._script = list(script)
        self._lock = threading.Lock()  # serialises taking the next line

    def prep(self, store: Store) -> tuple[int, Line, Context]:
        store.settle()
        seen = store.context
        with self._lock:
            self.asked.append([dict(each) for each in seen.messages])
            number = len(self.asked)
            line = self._script[number - 1] if number <= len(self._script) else _over(number)
        return number, line, Context(seen.system, list(seen.tools), list(seen.messages))

    def exec(self, inputs: tuple[int, Line, Context]) -> Generator[Event, Any, Reply]:
        number, line, seen = inputs
        if isinstance(line, Exception):
            raise line
        said = line(seen) if callable(line) else line
        reply = said if isinstance(said, Reply) else _reply(said, number)
        if reply.text:
            yield Text(reply.text)
        return reply

    def post(self, store: Store, inputs: Any, result: Reply) -> Reply:
        store.append({**assistant(result), "model": store.state.model})
        store.state.used = store.state.model
        return result


def _over(number: int) -> LLMError:
    return LLMError("unknown", f"The script has no line for request {number}: give Scripted one more.")


def _reply(said: str | Wish | list[Wish], number: int) -> Reply:
    if isinstance(said, str):
        return Reply(said)
    wishes = said if isinstance(said, list) else [said]
    calls = (Call(f"call-{number}-{at}", name, json.dumps(given)) for at, (name, given) in enumerate(wishes, 1))
    return Reply(calls=tuple(calls))
