"""What was said and what became of it: every message has a marker that nothing else has, and ends exactly once."""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

MARKER = re.compile(r"\bmk-[a-z]+\d*-\d{5}\b")
LETTER = re.compile(r"\blt-\d{5}\b")
LOST = "lost"  # how a message ends whose process or connection has gone


@dataclass
class Message:
    """by: who said it; at: wall clock, in seconds since 1970; words: what it says behind the marker; key: its
    idempotency key, empty: none; plain: nothing was done to it on purpose, so that how long it took says something;
    ends: what became of it, a word for each that was told; excused: why it need not be in a file or be answered,
    empty: it does."""

    marker: str
    by: str
    at: float
    words: str = ""
    key: str = ""
    plain: bool = False
    ends: list[str] = field(default_factory=list)
    seconds: float = 0.0
    excused: str = ""


class Account:
    """May be used from any thread. wrong: what should not be, in lines; crashes: when the process that serves was
    killed, endings: when it was asked to end, wall clock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # serialises all of it
        self._numbers: dict[str, itertools.count[int]] = defaultdict(lambda: itertools.count(1))
        self.messages: dict[str, Message] = {}
        self.wrong: list[str] = []
        self.crashes: list[float] = []
        self.endings: list[float] = []
        self.letters: dict[str, list[str]] = defaultdict(list)  # by id: what it said, each time it came
        self.notes: Counter[str] = Counter()  # what else is worth telling, counted

    def say(self, by: str, words: str, key: str = "", plain: bool = False) -> Message:
        """A message that is about to be sent."""
        with self._lock:
            message = Message(f"mk-{by}-{next(self._numbers[by]):05}", by, time.time(), words, key, plain)
            self.messages[message.marker] = message
            return message

    def ended(self, message: Message, how: str) -> None:
        """how: `answered`, `lost`, or the name of a refusal or a failure; what was taken for lost may still end."""
        with self._lock:
            if message.ends == [LOST]:
                message.ends.clear()
            if not message.ends:
                message.seconds = time.time() - message.at
            message.ends.append(how)

    def letter(self, id: str, text: str) -> None:
        with self._lock:
            self.letters[id].append(text)

    def note(self, what: str, times: int = 1) -> None:
        with self._lock:
            self.notes[what] += times

    def complain(self, text: str) -> None:
        with self._lock:
            self.wrong.append(text)

    def crashed_since(self, at: float) -> bool:
        return any(each >= at - 1.0 for each in self.crashes)

    def open(self) -> list[Message]:
        """Those of which nothing was heard yet."""
        with self._lock:
            return [each for each in self.messages.values() if not each.ends and not each.excused]

    def counts(self) -> Counter[str]:
        with self._lock:
            return Counter(each.ends[0] if each.ends else "open" for each in self.messages.values())

    def seconds(self) -> list[float]:
        """How long plain messages took until they were answered, the shortest first."""
        with self._lock:
            done = [each for each in self.messages.values() if each.plain and each.ends[:1] == ["answered"]]
        return sorted(each.seconds for each in done)
