"""What was said in Discord: whom it is for, and its words."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Collection
from typing import NamedTuple

from ...command import is_command
from ...events import Inbound
from ...printable import printable

log = logging.getLogger("agentkit")

LONGEST_NAME = 64  # characters; Discord has 32
NAMED = 5  # attachments that are named one by one
EPOCH = 1_420_070_400.0  # seconds since 1970: an id counts milliseconds from there, in all but its 22 lowest bits
NOW = 3600.0  # seconds within which a message is one of now


class Said(NamedTuple):
    """A message. channel: where it is, a thread's id in a thread, of which `parent` is the channel (0: there is none);
    guild: 0 in a direct message; author, name: who says it; human: no bot, webhook or announcement of Discord's own;
    account: our user id; mentioned: we are; text, attachments: what it says, of one that was forwarded what that says,
    and the names of its files."""

    id: int
    channel: int
    parent: int
    guild: int
    author: int
    name: str
    human: bool
    account: int
    mentioned: bool
    text: str
    attachments: tuple[str, ...] = ()

    @property
    def sender(self) -> str:
        """What the author is called there, on one line."""
        return one_line(self.name, LONGEST_NAME) or str(self.author)

    @property
    def words(self) -> str:
        """The text without the mention of us."""
        mention = rf"<@!?{self.account}>"
        text = re.sub(rf"\A\s*{mention}[,:]?", "", self.text)
        return re.sub(rf"[ \t]?{mention}", "", text).strip()

    def is_before(self, id: int) -> bool:
        """Was it said before another message of about now? Where ids are no times, that is not known, and denied."""
        now = time.time()
        return self.id < id and all(abs(EPOCH + (each >> 22) / 1000 - now) < NOW for each in (self.id, id))

    def inbound(self) -> Inbound:
        """The same for an agent, which is told what it cannot see."""
        text = self.words
        if self.attachments and not is_command(text):
            named = [one_line(each, LONGEST_NAME) for each in self.attachments[:NAMED]]
            more = len(self.attachments) - len(named)
            text += f"\n[attached, but not to be read here: {', '.join(named)}{f' and {more} more' if more else ''}]"
        return Inbound(
            text,
            "discord",
            str(self.author),
            account=str(self.account),
            guild=str(self.guild or ""),
            group=str(self.channel) if self.guild else "",
            sender=self.sender,
        )


class Ears:
    """channels: ids of those in which everything is for us; allowed: ids of the users who are heard, empty: all."""

    def __init__(self, channels: Collection[str], allowed: Collection[str]) -> None:
        self._channels, self._allowed = frozenset(channels), frozenset(allowed)
        self.unheard = 0  # messages of others
        self.last = ""  # who has written the last of those

    def is_for_us(self, said: Said) -> bool:
        """In a direct message, in one of the channels or a thread there, or with a mention of us?"""
        places = (str(said.channel), str(said.parent))
        return not said.guild or said.mentioned or not self._channels.isdisjoint(places)

    def hear(self, said: Said) -> bool:
        """May its author talk to us? If not, it is noted."""
        if not self._allowed or str(said.author) in self._allowed:
            return True
        self.unheard, self.last = self.unheard + 1, f"{said.sender} ({said.author})"
        cure = f"to be heard, {said.author} has to be in DISCORD_ALLOWED_USERS"
        log.warning("a message of %s on Discord was passed over: %s", said.sender, cure)
        return False


def one_line(text: str, longest: int) -> str:
    """A text that may come from anybody, on one line of at most so many characters."""
    line = " ".join(printable(text).split())
    return line if len(line) <= longest else line[: longest - 4] + " ..."
