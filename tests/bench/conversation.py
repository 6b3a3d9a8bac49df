"""An agent's loop as App builds it, without channels: a real Turn, Toolbox and Client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from agentkit import Store, Turn
from agentkit.approval import Approvals
from agentkit.cancel import Cancel
from agentkit.client import Client
from agentkit.events import Answer, Event
from agentkit.llm import LLMCall
from agentkit.node import Run
from agentkit.store import Context, State
from agentkit.toolbox import Scope, Tool
from agentkit.usetool import Toolbox


class Conversation:
    """tools: what the model may call, unasked; max_calls: requests in a turn; publish: gets each event."""

    def __init__(
        self,
        url: str,
        folder: Path,
        tools: Sequence[Tool] = (),
        *,
        max_calls: int = 50,
        publish: Callable[[Event], None] = lambda event: None,
    ) -> None:
        toolbox = Toolbox({each.name: each for each in tools}, Approvals("trust"), Scope((folder.resolve(),)))
        self.turn = Turn(LLMCall(Client(url, direct=True)), toolbox, max_calls)
        self.cancel = Cancel()
        run = Run(publish, lambda ask: Answer("deny"), self.cancel)
        self.store = Store(Context("You are terse.", toolbox.schemas), State("bench", "assistant", "m"), run)

    def say(self, text: str) -> Event:
        """One turn; returns the event that ends it."""
        self.store.append({"role": "user", "content": text})
        return self.turn.run(self.store)
