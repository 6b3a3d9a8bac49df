"""What is going on, as the screen tells it: events go in; blocks, and what there is to decide, come out."""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ...command import is_command
from ...events import (
    ENDINGS,
    Ask,
    Compacted,
    Decision,
    Done,
    Error,
    Event,
    Failover,
    Heard,
    Interrupted,
    Notice,
    Stopped,
    Thinking,
    ToolFinished,
    ToolStarted,
    TurnStarted,
)
from ...store import decided, is_occasion, typed
from ..wording import compacted, failover, heard, in_words, unasked
from .blocks import Answer, Block, Failure, Note, Said, ToolCard
from .question import DIFFS, Questions
from .transcript import Transcript

# What stands in the conversation in place of an answer: it was interrupted, stopped, or failed, and how.
_CLOSING = re.compile(r"\[(?:no answer: (\w+)|interrupted)\]")

DECIDED = {"allow": "allowed by {who}", "always": "always allowed by {who}", "deny": "refused by {who}"}


class Draft(NamedTuple):
    """A message that is not sent yet. raw: as the editor holds it, pastes folded; message: as it is sent; files: paths
    that are attached."""

    raw: str
    message: str
    files: tuple[str, ...] = ()


class Chat:
    """What the screen knows of the conversation. Everything is set as it happens."""

    def __init__(self) -> None:
        self.transcript = Transcript()
        self.turn = ""  # the id of the one that runs
        self._is_command = False
        self.began = 0.0  # monotonic seconds
        self.state = ""  # what it does, in a word
        self.model = self.used = ""  # the one selected, and the one that has answered last
        self.waiting: deque[Draft] = deque()
        self.questions = Questions()
        self.log: Path | None = None  # where the log is, if it is there
        self._answer: Answer | None = None
        self._said: Block | None = None  # by the person here, while it is not being answered yet
        self._theirs: set[str] = set()  # turns of other channels
        self._tools: dict[str, ToolCard] = {}  # those that run, by their calls' ids
        self._asked: dict[str, ToolCard] = {}  # what questions are about, by their ids

    @property
    def begun(self) -> bool:
        """Has anything been said here?"""
        return any(isinstance(each, (Said, Answer)) for each in self.transcript.blocks)

    def said(self, text: str, turn: str) -> None:
        """The person has said something; turn: the id of the turn that it begins, empty for none."""
        if turn:
            self.turn, self.began, self.state = turn, time.monotonic(), "waiting"
            self._is_command = is_command(text)
        said = self._add(Said(text))
        self._said = said if turn else self._said

    def write(self, text: str) -> None:
        """More of the answer."""
        self.state, self._said = "writing", None
        if self._answer is None:
            self._answer = Answer()
            self._add(self._answer)
        self._answer.add(text)

    def event(self, event: Event) -> None:
        """Everything but text, which comes in bulk."""
        if event.turn == self.turn:
            self._said = None
        if isinstance(event, Thinking):
            self.state = "thinking"
        elif isinstance(event, TurnStarted):
            self.model, self.used = event.model, ""
        elif isinstance(event, ToolStarted):
            self.state, self._answer = f"running {event.name}", None
            self._tools[event.id] = ToolCard(event.name, in_words(event.arguments))
            self._add(self._tools[event.id])
        elif isinstance(event, ToolFinished):
            self.state = "waiting"
            if card := self._tools.pop(event.id, None):
                card.finish(event.ok, event.output, event.seconds)
        elif isinstance(event, Ask):
            self._ask(event)
        elif isinstance(event, Failover):
            self._void(event)
        elif isinstance(event, Compacted):
            self._note(Note(compacted(event)))
        elif isinstance(event, Heard):
            self._theirs.add(event.turn)
            self._note(Note(heard(event)))
        elif isinstance(event, Notice):
            self._note(Note(event.text, event.level))
        elif isinstance(event, ENDINGS):
            self._end(event)

    def decide(self, decision: Decision) -> str:
        """The first question is decided, by the person here; returns its id."""
        ask = self.questions.take()
        if card := self._asked.pop(ask.id, None):
            card.decided(_decided(decision, "you"))
        return ask.id

    def recall(self, messages: Iterable[Mapping[str, Any]]) -> None:
        """What was said before, in a conversation that goes on."""
        cards: dict[str, ToolCard] = {}
        for each in messages:
            content = str(each.get("content") or "")
            if each["role"] == "tool":
                if card := cards.pop(each["tool_call_id"], None):
                    if found := decided(each):
                        card.decided(_decided(found["decision"], _who(found)))
                    ok = each.get("ok", True)
                    card.finish(ok, content if ok else content.removeprefix("error: "))
                continue
            if content and each.get("by"):
                if not is_occasion(each):
                    self._add(Note(unasked(str(each["by"]), content)))
            elif content and each["role"] == "user":
                self._add(Said(typed(each)))
            elif content and not (each.get("interrupted") and _CLOSING.fullmatch(content)):
                answer = Answer(content)
                answer.whole = not each.get("interrupted")
                self._add(answer)
            if each.get("interrupted"):
                failed = _CLOSING.fullmatch(content)
                category = failed[1] if failed else ""
                self._add(Failure(category, "This was not answered.") if category else Note("interrupted"))
            for call in each.get("tool_calls") or ():
                arguments = in_words(json.loads(call["function"]["arguments"]))
                cards[call["id"]] = ToolCard(call["function"]["name"], arguments)
                self._add(cards[call["id"]])
        for card in cards.values():
            card.finish(False, "interrupted")

    def _ask(self, ask: Ask) -> None:
        """The card that it is about is the last one of that name: calls that ask are asked about one after another."""
        self.questions.add(ask)
        card = next((each for each in reversed(self._tools.values()) if each.name == ask.tool), None)
        if card is not None:
            self._asked[ask.id] = card
            if ask.tool in DIFFS:
                card.change(ask.summary.partition("\n")[2])

    def _void(self, event: Failover) -> None:
        """What was shown of the reply is taken back."""
        self.state = "waiting"
        if self._answer is not None:
            self.transcript.remove(self._answer)
            self._answer = None
        if said := failover(event):
            self._note(Note(said))

    def _note(self, note: Block) -> None:
        """Beside the answer: never in the middle of what is being written, nor between question and answer."""
        if before := self._answer or self._said:
            self.transcript.add_before(before, note)
        else:
            self._add(note)

    def _end(self, event: Event) -> None:
        if self._answer and event.turn == self.turn and not isinstance(event, Done):
            self._answer.whole = False
        if isinstance(event, Error) and event.category == "bad_request" and not self._asks_model(event):
            self._close(event, Note(event.message, "error"))
        elif isinstance(event, Error):
            log = self.log if self.log is not None and self.log.exists() else None
            self._close(event, Failure(event.category, event.message, str(log or "")))
        elif isinstance(event, Interrupted):
            if event.text and event.turn in self._theirs:
                self._close(event, Answer(event.text))
            self._close(event, Note("interrupted"))
        elif isinstance(event, Stopped):
            pass  # a notice has said so
        elif isinstance(event, Done) and event.text and not (self._answer and event.turn == self.turn):
            self._close(event, Answer(event.text) if event.model else Note(event.text))
        self._theirs.discard(event.turn)
        if event.turn == self.turn:  # and not a command that ran beside the turn
            self.turn, self.state, self._answer = "", "", None
            self.questions.clear()
            self._tools.clear()
            self._asked.clear()

    def _asks_model(self, event: Event) -> bool:
        """Is it the end of a turn that was to be answered, and not of a command?"""
        return event.turn in self._theirs or (event.turn == self.turn and not self._is_command)

    def _close(self, event: Event, block: Block) -> None:
        """What a turn ends with; of another channel's, it goes where that was told of."""
        if event.turn in self._theirs:
            self._note(block)
        else:
            self._add(block)

    def _add(self, block: Block) -> Block:
        self.transcript.add(block)
        return block


def _decided(decision: str, who: str) -> str:
    return DECIDED.get(decision, "decided by {who}").format(who=who)


def _who(decided: Mapping[str, str]) -> str:
    return "you" if decided.get("channel") == "cli" else f"{decided.get('peer')} ({decided.get('channel')})"
