"""What a letter is, on its way and on disk: no files here, only what is in them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from . import jsonl
from .errors import AgentkitError
from .records import dataclass

# Microseconds since 1970 in hexadecimal, and something to tell processes apart: with a dot and the number of the part
# it stays within the 25 characters that Discord takes as a nonce.
_ID = re.compile(r"([0-9a-f]{14}-[0-9a-f]{4})(?:\.[0-9]+)?")


class DeliveryError(AgentkitError):
    """A letter could not be delivered; its text is the reason, for a person. What to do: see `/delivery failed`.

    permanent: no other try will do better; retry_after: seconds that the server asked to wait.
    """

    def __init__(self, reason: str, *, permanent: bool = False, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.permanent = permanent
        self.retry_after = retry_after


class NobodyThere(DeliveryError):
    """There is nobody to take it now, such as a client that is not connected: no failure, and not counted as a try."""


class Damaged(ValueError):
    """A file is no letter. Its text says why."""


class Letter(NamedTuple):
    """What a channel delivers: a part of a text. The id is the same at each try, so that it can be told from a new
    one; at: when the text was put, next: when it is tried next, both in seconds since 1970; known_as: the nonce of
    what has become this letter, empty: it has been one from the start; reply: the id, in the channel, of the message
    that it answers, empty: none; by: on what occasion an agent has said it by itself, in words, empty: on none;
    session: the key of the one whose conversation is to hold it, once it is shown, empty: none."""

    id: str
    channel: str
    to: str
    text: str
    part: int
    parts: int
    at: float
    attempts: int
    next: float
    error: str
    known_as: str = ""
    reply: str = ""
    by: str = ""
    session: str = ""

    @property
    def nonce(self) -> str:
        """At most 25 characters, the same at each try, those before it was a letter included."""
        return self.known_as or self.id


@dataclass(eq=False)
class Envelope:
    """What is known of a text without opening it. part: the one that is due; attempts: at that one, the last of them
    at `tried`, when it ended in `error`; next: not before. Times in seconds since 1970, 0: never, or at once. nonce,
    reply, by, session: as in a letter, where `nonce` is its `known_as`."""

    id: str
    channel: str
    to: str
    parts: int
    at: float
    part: int = 1
    attempts: int = 0
    next: float = 0.0
    tried: float = 0.0
    error: str = ""
    nonce: str = ""
    reply: str = ""
    by: str = ""
    session: str = ""

    @property
    def ids(self) -> list[str]:
        """The ids of all parts."""
        return [f"{self.id}.{part}" for part in range(1, self.parts + 1)]

    def look_at(self, now: float) -> None:
        """The clock may have been set back since the last try: nobody waits longer than was meant then."""
        self.next = min(self.next, now + max(0.0, self.next - self.tried))

    def letter(self, texts: Sequence[str]) -> Letter:
        """The part that is due. Raises Damaged where there is no such part, since somebody has edited the file."""
        if self.part > len(texts):
            raise Damaged(f"it has no part {self.part}")
        self.parts, text = len(texts), texts[self.part - 1]
        return Letter(
            f"{self.id}.{self.part}",
            self.channel,
            self.to,
            text,
            self.part,
            self.parts,
            self.at,
            self.attempts,
            self.next,
            self.error,
            self.nonce if self.parts == 1 else "",  # of several only one would arrive
            self.reply,
            self.by,
            self.session,
        )


def letter_id(text: str) -> str:
    """The id of a letter, from that or the id of one of its parts; "" where it is none."""
    found = _ID.fullmatch(text)
    return found[1] if found else ""


def data(envelope: Envelope, texts: Sequence[str]) -> bytes:
    """What the file of a letter holds: a line of JSON. Its id is its name."""
    return jsonl.line({**{key: value for key, value in envelope.__dict__.items() if key != "id"}, "texts": texts})


def parse(id: str, data: bytes) -> tuple[Envelope, list[str]]:
    """What a file of that name holds: the envelope and the texts of the parts. Raises Damaged."""
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        raise Damaged("it is not valid JSON") from None
    texts = record.get("texts") if isinstance(record, dict) else None
    if not isinstance(texts, list) or not texts or not all(isinstance(each, str) for each in texts):
        raise Damaged("it has no texts")
    parts = len(texts)
    envelope = Envelope(
        id,
        _word(record, "channel"),
        _word(record, "to"),
        parts,
        _seconds(record, "at"),
        _count(record, "part", 1, parts),
        _count(record, "attempts", 0, 1 << 30),
        _seconds(record, "next"),
        _seconds(record, "tried"),
        _word(record, "error"),
        _word(record, "nonce", ""),
        _word(record, "reply", ""),
        _word(record, "by", ""),
        _word(record, "session", ""),
    )
    return envelope, texts


def _word(record: Mapping[str, Any], key: str, default: str | None = None) -> str:
    value = record.get(key, default)
    if not isinstance(value, str):
        raise Damaged(f"its {key} is no text")
    return value


def _count(record: Mapping[str, Any], key: str, low: int, high: int) -> int:
    value = record.get(key)
    if type(value) is not int or not low <= value <= high:
        raise Damaged(f"its {key} is no number from {low} to {high}")
    return value


def _seconds(record: Mapping[str, Any], key: str) -> float:
    value = record.get(key)
    if not isinstance(value, (int, float)) or not -1e15 < value < 1e15:  # this stops NaN too
        raise Damaged(f"its {key} is no time")
    return float(value)
