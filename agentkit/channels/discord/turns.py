"""The turns that were begun in Discord: where they belong, that an answer is being written, and what is asked there."""

from __future__ import annotations

import asyncio
import re
from collections import Counter, deque
from collections.abc import Awaitable, Callable

from ...events import Answer, Ask, Decision, Notice
from ...fit import excerpt
from ...printable import printable
from ...records import dataclass, field
from .said import Said, one_line

TYPING = 8.0  # seconds until it is shown again; Discord shows it for 10
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


class Turns:
    """Lives in an event loop; only `in` may be used from other threads. show_typing: in a channel, for a while."""

    def __init__(self, show_typing: Callable[[int], Awaitable[None]]) -> None:
        self._show_typing = show_typing
        self._turns: dict[str, Turn] = {}
        self._writing: Counter[int] = Counter()  # by channel: how many turns
        self._typists: dict[int, tuple[asyncio.Task[None], asyncio.Event]] = {}

    def __contains__(self, id: str) -> bool:
        return id in self._turns

    def begin(self, id: str, said: Said) -> Turn:
        """A message is accepted."""
        turn = self._turns[id] = Turn(id, said)
        channel = said.channel
        self._writing[channel] += 1
        if channel in self._typists:
            self._typists[channel][1].set()
        else:
            changed = asyncio.Event()
            task = asyncio.get_running_loop().create_task(self._type(channel, changed))
            self._typists[channel] = task, changed
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
            self._typists[channel][1].set()

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

    async def _type(self, channel: int, changed: asyncio.Event) -> None:
        while self._writing[channel]:
            changed.clear()
            await self._show_typing(channel)
            try:
                await asyncio.wait_for(changed.wait(), TYPING)
            except asyncio.TimeoutError:
                pass
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
