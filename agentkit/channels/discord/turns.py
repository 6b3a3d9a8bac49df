"""The turns that were begun in Discord: where they belong, that an answer is being written, and what is asked there."""

from __future__ import annotations

import asyncio
import re
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator

from ...events import Answer, Ask, Decision, Notice
from ...fit import excerpt
from ...printable import printable
from ...records import dataclass, field
from .said import Said, one_line

TYPING = 8.0  # seconds until it is shown again; Discord shows it for 10
QUIET = 0.5  # seconds that what is said last waits for a request to show it, which would else be seen after it
LONGEST_SUMMARY = 5_000  # characters: some three messages
LONGEST_NOTICE = 300  # characters
MOST_NOTICES = 5  # of a turn

DECISIONS: dict[str, Decision] = {"y": "allow", "yes": "allow", "n": "deny", "no": "deny"}


@dataclass(eq=False)
class Question:
    """shown: the id of the message that asks it, 0: it is on its way; early: what the person has said by then."""

    ask: Ask
    shown: int = 0
    early: list[Said] = field(default_factory=list)


@dataclass(eq=False)
class Turn:
    """id: the turn's; said: the message it answers; posts: messages it has sent; questions: those that are open."""

    id: str
    said: Said
    posts: int = 0
    notices: int = 0
    questions: deque[Question] = field(default_factory=deque)

    @property
    def to(self) -> str:
        """As in a letter."""
        return f"channel:{self.said.channel}"

    def nonce(self) -> str:
        """For the next message: the same at each try, and within the 25 characters that Discord takes."""
        self.posts += 1
        return f"{self.id}-{self.posts}"

    def line(self, notice: Notice) -> str:
        """A warning or an error as it is shown; empty: it is not."""
        if notice.level == "info" or self.notices >= MOST_NOTICES:
            return ""
        self.notices += 1
        return f"{'warning' if notice.level == 'warn' else notice.level}: {one_line(notice.text, LONGEST_NOTICE)}"


class _Typist:
    """Shows that something is being written in a channel; changed: it may be that nothing is any more."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.changed = asyncio.Event()


class Turns:
    """Lives in an event loop, and after `close` without one; only `in` and `len` may be used from other threads
    meanwhile. show_typing: in a channel, for a while."""

    def __init__(self, show_typing: Callable[[int], Awaitable[None]]) -> None:
        self._show_typing = show_typing
        self._turns: dict[str, Turn] = {}
        self._writing: Counter[int] = Counter()  # by channel: how many turns
        self._typists: dict[int, _Typist] = {}

    def __contains__(self, id: str) -> bool:
        return id in self._turns

    def __len__(self) -> int:
        return len(self._turns)

    def __iter__(self) -> Iterator[Turn]:
        return iter(list(self._turns.values()))

    def begin(self, id: str, said: Said) -> Turn:
        """A message is accepted."""
        turn = self._turns[id] = Turn(id, said)
        channel = said.channel
        self._writing[channel] += 1
        if channel in self._typists:
            self._typists[channel].changed.set()
        else:
            typist = self._typists[channel] = _Typist()
            typist.task = asyncio.get_running_loop().create_task(self._type(channel, typist))
        return turn

    def get(self, id: str) -> Turn | None:
        return self._turns.get(id)

    def end(self, turn: Turn) -> None:
        """It is over."""
        del self._turns[turn.id]
        channel = turn.said.channel
        self._writing[channel] -= 1
        if not self._writing[channel]:
            del self._writing[channel]
            if channel in self._typists:
                self._typists[channel].changed.set()

    def close(self) -> None:
        """Nothing is shown as being written any more."""
        typists, self._typists = self._typists, {}
        for typist in typists.values():
            if typist.task is not None:
                typist.task.cancel()

    async def quiet(self, to: str) -> None:
        """Wait until what is sent there next is not followed by the sign that it is being written, unless more is.
        to: as in a letter."""
        for channel, typist in list(self._typists.items()):
            if to != f"channel:{channel}" or self._writing[channel] or typist.task is None:
                continue
            await asyncio.wait({typist.task}, timeout=QUIET)
            if not typist.task.done() and not self._writing[channel]:
                self._typists.pop(channel, None)
                typist.task.cancel()

    def asked(self, said: Said) -> Turn | None:
        """The turn whose question its author has to answer there; of several the first."""
        return next(
            (
                turn
                for turn in self._turns.values()
                if turn.questions and (turn.said.channel, turn.said.author) == (said.channel, said.author)
            ),
            None,
        )

    async def _type(self, channel: int, typist: _Typist) -> None:
        while self._writing[channel]:
            typist.changed.clear()
            await self._show_typing(channel)
            try:
                await asyncio.wait_for(typist.changed.wait(), TYPING)
            except asyncio.TimeoutError:
                pass
        if self._typists.get(channel) is typist:
            del self._typists[channel]


def wording(ask: Ask, limit: float) -> str:
    """What a person is shown, to decide within so many seconds."""
    shown = excerpt(printable(ask.summary), LONGEST_SUMMARY)
    inert = re.sub("`(?=``)", "`\u200b", shown)  # it must not end the block it stands in
    cure = f"Allow it? y: yes, n: no; anything else is a no, and tells why. No answer within {limit:g} s is a no too."
    return f"**{one_line(ask.tool, 64)}** wants to run:\n```\n{inert}\n```\n{cure}"


def decision(text: str) -> Answer:
    """What a person has decided in these words."""
    plain = DECISIONS.get(text.casefold())
    return Answer(plain) if plain else Answer("deny", text)
