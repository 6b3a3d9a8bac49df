"""A conversation in a store, with a journal in memory and a scripted model: for what happens to it as it gets long."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentkit import Node, Store, Turn
from agentkit.approval import Approvals
from agentkit.cancel import Cancel
from agentkit.compact import Compact
from agentkit.events import Answer, Event, Notice
from agentkit.node import Run
from agentkit.store import Context, State
from agentkit.toolbox import Scope
from agentkit.usetool import Toolbox
from agentkit.wire import Reply

WINDOW = 8_000
COUNT = {"prompt_tokens": 900, "completion_tokens": 30, "total_tokens": 930}


class Model(Node):
    """Gives its answers in turn, the last one ever after; an error is raised. asked: what it was sent."""

    def __init__(self, *answers: str | BaseException) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, list[dict[str, Any]], list[dict[str, Any]]]] = []

    def prep(self, store: Store) -> None:
        self.asked.append((store.context.system, list(store.context.messages), store.context.tools))

    def exec(self, inputs: None) -> Reply:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return Reply(answer)

    def post(self, store: Store, inputs: None, result: Reply) -> Reply:
        store.append({"role": "assistant", "content": result.text})
        store.state.spend(COUNT)
        return result


class Journal:
    """Keeps everything in memory; room: it can keep texts."""

    def __init__(self, room: bool = True, name: str = "kept") -> None:
        self.records: list[Mapping[str, Any]] = []
        self.kept: dict[str, str] = {}
        self.room, self.name = room, name

    def write(self, record: Mapping[str, Any]) -> None:
        self.records.append(record)

    def sync(self) -> None:
        pass

    def keep(self, text: str) -> str:
        if not self.room:
            return ""
        self.kept[f"{self.name}/{len(self.kept)}.txt"] = text
        return list(self.kept)[-1]


class Chat:
    """A conversation in a store, its journal, and the events of what is done with it."""

    def __init__(self, window: int = WINDOW, system: str = "Be brief.", journal: Any = None) -> None:
        self.events: list[Event] = []
        self.journal = journal or Journal()
        run = Run(self.events.append, lambda ask: Answer("deny"), Cancel())
        self.store = Store(Context(system), State("s", "a", "m", window=window), run)
        self.store.journal = self.journal
        self._calls = 0

    def says(self, user: str, answer: str = "Well.") -> Chat:
        self.asks(user)
        self.store.append({"role": "assistant", "content": answer})
        return self

    def asks(self, user: str) -> Chat:
        self.store.append({"role": "user", "content": user})
        return self

    def looks(self, *results: str, name: str = "look") -> Chat:
        """One reply that calls a tool so often."""
        ids = [f"c{self._calls + number}" for number in range(len(results))]
        self._calls += len(results)
        function = {"name": name, "arguments": "{}"}
        calls = [{"id": each, "type": "function", "function": function} for each in ids]
        self.store.append({"role": "assistant", "content": "", "tool_calls": calls})
        for each, text in zip(ids, results, strict=True):
            self.store.append({"role": "tool", "tool_call_id": each, "content": text})
        return self

    def talks(self, tokens: int, turns: int = 10) -> Chat:
        """So many turns that take that many tokens in all."""
        for number in range(turns):
            self.says(f"message {number} " + "b" * (tokens * 4 // turns - 52), f"answer {number}")
        return self

    @property
    def messages(self) -> list[dict[str, Any]]:
        return self.store.context.messages

    @property
    def contents(self) -> list[str]:
        return [each["content"] for each in self.messages]

    @property
    def warnings(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Notice) and event.level == "warn"]

    def compactions(self) -> list[Mapping[str, Any]]:
        return [each for each in self.journal.records if each.get("type") == "compaction"]


def valid(messages: list[dict[str, Any]]) -> bool:
    """Each call is followed by its results, before anybody else speaks."""
    waiting: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                return False
            waiting.remove(message["tool_call_id"])
        elif waiting:
            return False
        else:
            waiting = [call["id"] for call in message.get("tool_calls") or ()]
    return not waiting


def run_turn(chat: Chat, ask: Node, **tools: Any) -> Event:
    toolbox = Toolbox(tools, Approvals("trust"), Scope((Path.cwd(),)))
    chat.store.context.tools = toolbox.schemas
    return Turn(ask, toolbox, compact=Compact(ask)).run(chat.store)
