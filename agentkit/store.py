"""One conversation in memory: Context (what the model sees) and State (what it never sees).

A request can never be refused for an unmatched call: `append` and `settle` keep the invariant that every tool call is
followed by exactly one result before anything else is said, whatever happened to the turn that made it.

What changes the messages is also written down, where there is a journal: a message as it is, and two kinds of records
that `apply` understands: `{"type": "compaction", "head": [messages], "first": n, "shortened": {n: text},
"kept": [paths]}` and `{"type": "rewind", "to": n}`, where `n` is the number that a message has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from .cancel import Cancel
from .events import Answer, Ask, Event, Failover, Notice
from .node import Run
from .records import dataclass, field

Message = dict[str, Any]

INTERRUPTED = "[interrupted]"
MISSING = "[missing]"
NOBODY = "nobody is there to be asked"  # the reason of an Answer that nobody has given

CHARACTERS = 4  # that a token has, where no server has said better
FRAME = 32  # characters that the protocol adds to a message; twice that to a call
STAMP = 28  # characters of the time that goes with a message of the user
SCALES = (0.25, 6.0)  # between these a server's count of tokens is believed


class Journal(Protocol):
    """Where a conversation is kept. Nothing of it raises: it says by itself what goes wrong."""

    def write(self, record: Mapping[str, Any]) -> None:
        """Add a record, so that it survives the end of the process."""

    def sync(self) -> None:
        """Have all that was written survive a loss of power."""

    def keep(self, text: str) -> str:
        """Keep a text that is too long for the model; returns the path to read it at, empty where it has none."""


@dataclass
class Context:
    """What the model sees: the system prompt, the tools' schemas, the messages in the form of chat completions.

    A message may carry keys beside the protocol's, which `wire.request` leaves out: `n` (its number), `model` (who
    answered), `usage` (the tokens of that request), `interrupted` (the text breaks off), `ok` (did the tool do it?),
    `decided` (by whoever was asked about the call: see `decided`), `typed` (the command that was given), `summary` (it
    stands for older ones), `by` (what had the agent speak by itself), `letter` (the id of the one that it was). `at`,
    the time, is sent with those of the user.
    """

    system: str = ""
    tools: list[dict[str, Any]] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)


@dataclass
class State:
    """What the model never sees: whose conversation this is, the model selected and its context window in tokens (0:
    unknown), the model used, which has answered last, the tokens this turn has used; full: it was said that nothing
    more can be left out; unsummarised: the tokens at which a summary failed last; via, to: as Inbound has them."""

    session: str = ""
    agent: str = ""
    model: str = ""
    channel: str = ""
    peer: str = ""
    window: int = 0
    used: str = ""
    usage: dict[str, int] = field(default_factory=dict)
    full: bool = False
    unsummarised: int = 0
    via: str = ""
    to: str = ""

    def spend(self, usage: Mapping[str, int] | None) -> None:
        """Add the tokens of one request."""
        for name, tokens in (usage or {}).items():
            self.usage[name] = self.usage.get(name, 0) + tokens


def _watched_by_nobody() -> Run:
    return Run(publish=lambda event: None, ask=lambda ask: Answer("deny", NOBODY), cancel=Cancel())


class Store:
    """What Nodes share. Owned by one lane while its session is busy; `run` is set for each piece of work."""

    def __init__(self, context: Context | None = None, state: State | None = None, run: Run | None = None) -> None:
        self.context = Context()
        self.state = state or State()
        self.run = run or _watched_by_nobody()
        self.journal: Journal | None = None
        self._unmatched: list[str] = []  # ids of the last reply's calls that have no result yet, in order
        self.next = 1  # the number of the next message
        self._size = 0  # characters of the messages
        self._scale = 1.0  # how many times more tokens the server counts than CHARACTERS would have it
        self.counted = False  # has the server counted at all in this conversation?
        if context is not None:
            self.context.system, self.context.tools = context.system, context.tools
            for message in context.messages:
                self.append(message)

    # -- what is said

    def append(self, message: Message) -> None:
        """Add a message at the end, numbered and stamped with the time. A result no call waits for is dropped."""
        if message["role"] == "tool":
            if message.get("tool_call_id") not in self._unmatched:
                return
            self._unmatched.remove(message["tool_call_id"])
        else:
            self._match_all(INTERRUPTED)
            self._unmatched = [call["id"] for call in message.get("tool_calls") or ()]
        self.next = max(self.next, message.setdefault("n", self.next) + 1)
        if "at" not in message:
            message["at"] = _now()
        self.context.messages.append(message)
        self._size += _size(message)
        self._write(message)

    def settle(self, closing: str | None = None) -> None:
        """Give every call without a result one that says it was interrupted.

        closing: also close a message of the user, or results, that got no answer, with this text.
        """
        self._match_all(closing or INTERRUPTED)
        messages = self.context.messages
        if closing and messages and messages[-1]["role"] in ("user", "tool"):
            self.append({"role": "assistant", "content": closing, "interrupted": True})

    def apply(self, record: Mapping[str, Any]) -> bool:
        """Do what a record says, and write it down; False where messages it speaks of are not here."""
        messages = self.context.messages
        if record["type"] == "rewind":
            if not self._goes_back_to(record["to"]):
                return False
            at = len(messages)
            while at and messages[at - 1].get("n", 0) >= record["to"]:
                at -= 1
            self._size -= sum(map(_size, messages[at:]))
            del messages[at:]
        else:
            at = len(messages) if record["first"] is None else self._index(record["first"])
            if at < 0 or (at < len(messages) and messages[at]["role"] == "tool"):  # calls stay with their results
                return False
            shortened = record["shortened"]
            tail = [{**each, "content": shortened.get(str(each.get("n")), each["content"])} for each in messages[at:]]
            for each in tail:
                each.pop("usage", None)  # it counted what is no more
            messages[:] = mended([*record["head"], *tail])
            self._size = sum(map(_size, messages))
        self._unmatched = _waiting(messages)
        self._write(record)
        return True

    def load(self, messages: list[Message], journal: Journal | None = None, next: int = 1) -> None:
        """Go on with another conversation, kept in that journal; next: the lowest number that a message may have."""
        self.context.messages[:] = messages
        self.journal, self.state.used = journal, ""
        self.next, self._scale = max((next, *(each.get("n", 0) + 1 for each in messages))), 1.0
        self._size = sum(map(_size, messages))
        self.counted = any(map(_counted, messages))
        self._unmatched = _waiting(messages)

    def sync(self) -> None:
        """The turn is over: have what was said survive a loss of power."""
        if self.journal is not None:
            self.journal.sync()

    def spent(self, fork: Store) -> None:
        """A fork has used tokens, for the sake of the conversation; a record of them alone makes none."""
        usage = fork.state.usage
        self.state.spend(usage)
        if fork.state.used and self.context.messages:
            self._write({"type": "spent", "model": fork.state.used, "usage": dict(usage), "at": _now()})

    # -- how much it is

    @property
    def tokens(self) -> int:
        """What the next request would take of the context, estimated from what the server counted for the last."""
        tools = len(json.dumps(self.context.tools)) if self.context.tools else 0
        return round((len(self.context.system) + tools + self._size) / CHARACTERS * self._scale)

    def measured(self, tokens: int) -> None:
        """The server counted so many tokens for all there is now."""
        self._scale, self.counted = 1.0, True
        if estimate := self.tokens:
            self._scale = min(max(tokens / estimate, SCALES[0]), SCALES[1])

    def calibrate(self) -> None:
        """Measure by what the server counted last, as the messages have it: the prompt and tools are taken to be
        those of now."""
        size = self._size
        for each in reversed(self.context.messages):
            size -= _size(each)
            if tokens := _counted(each):
                whole, self._size = self._size, size
                self.measured(tokens)
                self._size = whole
                return

    def worth(self, text: str) -> int:
        """The tokens that a text would take, estimated likewise."""
        return round(len(text) / CHARACTERS * self._scale)

    # -- beside it

    def fork(self, prompt: str) -> Store:
        """A scratch store with `prompt` as its system prompt, an empty history, no tools and no journal.

        It shares the cancel, publishes only what concerns all (notices, failover), and whoever asks in it is denied.
        """

        def publish(event: Event) -> None:
            if isinstance(event, (Notice, Failover)):
                self.run.publish(event)

        def ask(ask: Ask) -> Answer:
            return Answer("deny", NOBODY)

        mine = self.state
        state = State(mine.session, mine.agent, mine.model, mine.channel, mine.peer, mine.window)
        return Store(Context(prompt), state, Run(publish, ask, self.run.cancel))

    def _index(self, number: int) -> int:
        messages = self.context.messages
        return next((at for at in range(len(messages) - 1, -1, -1) if messages[at].get("n") == number), -1)

    def _goes_back_to(self, number: int) -> bool:
        """Is the message of that number not one of those that a compaction has replaced?"""
        messages = self.context.messages
        first = next((each["n"] for each in messages if "n" in each), self.next)
        return number >= first or not messages or "n" in messages[0]

    def _match_all(self, result: str) -> None:
        while self._unmatched:
            self.append({"role": "tool", "tool_call_id": self._unmatched[0], "content": result, "ok": False})

    def _write(self, record: Mapping[str, Any]) -> None:
        if self.journal is not None:
            self.journal.write(record)


def typed(message: Mapping[str, Any]) -> str:
    """What a person has typed, where that is not what the model was told; else what the message says."""
    return str(message.get("typed") or message.get("content") or "")


def decided(message: Mapping[str, Any]) -> Mapping[str, str]:
    """What was decided about a call, as its result keeps it: the `decision` (one of events.Decision), and the `channel`
    and the `peer` who was asked; empty: nobody was, or a file that was edited does not say it in words."""
    found = message.get("decided")
    names = ("decision", "channel", "peer")
    return found if isinstance(found, dict) and all(isinstance(found.get(each), str) for each in names) else {}


def is_occasion(message: Mapping[str, Any]) -> bool:
    """Does it only tell on what occasion the agent spoke by itself?"""
    return message["role"] == "user" and bool(message.get("by"))


def mended(messages: list[Message]) -> list[Message]:
    """The same, fit for strict servers, which want question and answer in turns: where one is missing, because its line
    could not be read or was deleted, that is said in its place."""
    found: list[Message] = []
    for each in messages:
        role, last = each["role"], found[-1]["role"] if found else "assistant"
        missing = {"user": "assistant", "assistant": "user"}.get(role)
        if missing and last != missing and not (role == "assistant" and last == "tool"):
            filled = {"role": missing, "content": MISSING, "at": ""}
            found.append({**filled, "n": each["n"]} if "n" in each else filled)
        found.append(each)
    return found


def _waiting(messages: list[Message]) -> list[str]:
    """The ids of the last reply's calls that have no result yet."""
    answered = set()
    for each in reversed(messages):
        if each["role"] != "tool":
            return [call["id"] for call in each.get("tool_calls") or () if call["id"] not in answered]
        answered.add(each["tool_call_id"])
    return []


def _counted(message: Message) -> int:
    """The tokens that the server has counted for all that was sent to get this message; 0: it has not."""
    tokens: int = message.get("usage", {}).get("prompt_tokens", 0)
    return tokens


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _size(message: Message) -> int:
    """Characters of a message as it is sent, nearly."""
    size = len(message.get("content") or "") + FRAME + (STAMP if message["role"] == "user" and message.get("at") else 0)
    for call in message.get("tool_calls") or ():
        size += len(call["function"]["name"]) + len(call["function"]["arguments"]) + 2 * FRAME
    is_sent = message.get("tool_calls") and message.get("thinking_field")
    return size + (len(message.get("thinking", "")) if is_sent else 0)
