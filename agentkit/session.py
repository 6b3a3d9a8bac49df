"""One session key: its conversation, and what becomes of a message that arrives for it."""

from __future__ import annotations

from collections.abc import Callable

from .command import Commands, unescaped
from .events import Inbound
from .node import Run
from .store import INTERRUPTED, Store
from .turn import Turn


class Session:
    """Owned by its lane. system: gives the system prompt, anew for each turn."""

    def __init__(self, store: Store, turn: Turn, commands: Commands, system: Callable[[], str]) -> None:
        self._store, self._turn, self._commands, self._system = store, turn, commands, system

    @property
    def tokens(self) -> int:
        """What the conversation took of the context in its last request; 0: unknown. May be read from any thread."""
        return self._store.state.tokens

    def take(self, inbound: Inbound, run: Run) -> None:
        """A command is run, anything else is a turn; one event ends it either way."""
        if (ending := self._commands.answer(inbound)) is not None:
            run.publish(ending)
            return
        store = self._store
        store.run = run
        store.state.channel, store.state.peer = inbound.channel, inbound.peer
        store.context.system = self._system()
        store.settle(INTERRUPTED)
        store.append({"role": "user", "content": unescaped(inbound.text)})
        self._turn.run(store)
