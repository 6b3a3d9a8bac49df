"""One conversation in memory: Context (what the model sees) and State (what it never sees).

A request can never be refused for an unmatched call: `append` and `settle` keep the invariant that every tool call is
followed by exactly one result before anything else is said, whatever happened to the turn that made it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .cancel import Cancel
from .events import Answer, Ask, Event, Notice
from .node import Run

Message = dict[str, Any]

INTERRUPTED = "[interrupted]"


@dataclass
class Context:
    """What the model sees: the system prompt, the tools' schemas, the messages in the form of chat completions.

    A message may carry keys beside the protocol's, which `wire.request` leaves out: `at` (when), `model` (who
    answered), `interrupted` (the text breaks off).
    """

    system: str = ""
    tools: list[dict[str, Any]] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)


@dataclass
class State:
    """What the model never sees: whose conversation this is, the model selected, the tokens this turn has used, and
    those that the conversation took in its last request, the reply included."""

    session: str = ""
    agent: str = ""
    model: str = ""
    channel: str = ""
    peer: str = ""
    usage: dict[str, int] = field(default_factory=dict)
    tokens: int = 0

    def spend(self, usage: dict[str, int] | None) -> None:
        """Add the tokens of one request."""
        for name, tokens in (usage or {}).items():
            self.usage[name] = self.usage.get(name, 0) + tokens
        self.tokens = (usage or {}).get("total_tokens", self.tokens)


def _watched_by_nobody() -> Run:
    return Run(publish=lambda event: None, ask=lambda ask: Answer("deny", "nobody is there to ask"), cancel=Cancel())


class Store:
    """What Nodes share. Owned by one lane while its session is busy; `run` is set for each piece of work."""

    def __init__(self, context: Context | None = None, state: State | None = None, run: Run | None = None) -> None:
        self.context = Context()
        self.state = state or State()
        self.run = run or _watched_by_nobody()
        self._unmatched: list[str] = []  # ids of the last reply's calls that have no result yet, in order
        if context is not None:
            self.context.system, self.context.tools = context.system, context.tools
            for message in context.messages:
                self.append(message)

    def append(self, message: Message) -> None:
        """Add a message at the end, stamped with the time. A result that no call waits for is dropped."""
        if message["role"] == "tool":
            if message.get("tool_call_id") not in self._unmatched:
                return
            self._unmatched.remove(message["tool_call_id"])
        else:
            self._match_all(INTERRUPTED)
            self._unmatched = [call["id"] for call in message.get("tool_calls") or ()]
        message.setdefault("at", datetime.now().astimezone().isoformat(timespec="seconds"))
        self.context.messages.append(message)

    def settle(self, closing: str | None = None) -> None:
        """Give every call without a result one that says it was interrupted.

        closing: also close a message of the user, or results, that got no answer, with this text.
        """
        self._match_all(closing or INTERRUPTED)
        messages = self.context.messages
        if closing and messages and messages[-1]["role"] in ("user", "tool"):
            self.append({"role": "assistant", "content": closing, "interrupted": True})

    def fork(self, prompt: str) -> Store:
        """A scratch store with `prompt` as its system prompt, an empty history and no tools.

        It shares the cancel, publishes only notices, and whoever asks in it is denied.
        """

        def publish(event: Event) -> None:
            if isinstance(event, Notice):
                self.run.publish(event)

        def ask(ask: Ask) -> Answer:
            return Answer("deny", "nobody is there to ask")

        state = State(self.state.session, self.state.agent, self.state.model, self.state.channel, self.state.peer)
        return Store(Context(prompt), state, Run(publish, ask, self.run.cancel))

    def _match_all(self, result: str) -> None:
        while self._unmatched:
            self.append({"role": "tool", "tool_call_id": self._unmatched[0], "content": result})
