"""Everything that crosses a thread: frozen messages.

An `Event` goes from an agent's work to whoever watches; `record()` is its form in `run --json` and on the gateway.
`Inbound` and `Answer` go the other way.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar, Literal, NamedTuple

from .records import dataclass, field

Decision = Literal["allow", "always", "deny"]


def new_id() -> str:
    """A short id that is unique enough for one program's life."""
    return os.urandom(6).hex()


@dataclass(frozen=True)
class Inbound:
    """A message from somebody: its words, the channel it came through, the person (`peer`) and the turn's id.

    account: of ours, that it was sent to; guild, group: the server, and the channel or thread there, where it was said
    in public; sender: what the person is called there; agent: the id of the one it is for, empty: whom routes say;
    via: the channel that brought it, where that speaks for another; files: paths named in it, to be attached.
    """

    text: str
    channel: str
    peer: str
    turn: str = field(default_factory=new_id)
    account: str = ""
    guild: str = ""
    group: str = ""
    sender: str = ""
    agent: str = ""
    via: str = ""
    files: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """The channel that brought it, where whoever said it is asked, and answered."""
        return self.via or self.channel

    @property
    def to(self) -> str:
        """Where a letter reaches whoever said it."""
        return f"channel:{self.group}" if self.group else self.peer


class Answer(NamedTuple):
    """What a person decided about an Ask; the model reads the reason of a refusal."""

    decision: Decision
    reason: str = ""


@dataclass(frozen=True)
class Event:
    """The common part: the session and turn it belongs to, filled in by whoever publishes it."""

    type: ClassVar[str]
    session: str = field(default="", kw_only=True)
    turn: str = field(default="", kw_only=True)

    def stamped(self, session: str, turn: str) -> Event:
        """The same event as part of that turn."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__, session=session, turn=turn)
        return copy

    def record(self) -> dict[str, Any]:
        """A plain dictionary, ready for JSON."""
        return {"type": self.type, **self.__dict__}


@dataclass(frozen=True)
class TurnStarted(Event):
    """A message is being answered; model: the one selected."""

    type = "turn_started"
    agent: str
    model: str


@dataclass(frozen=True)
class Heard(Event):
    """A message that came through another channel is about to be answered: for those who watch its session."""

    type = "heard"
    channel: str
    peer: str
    text: str


@dataclass(frozen=True)
class Text(Event):
    """A piece of the answer."""

    type = "text"
    text: str


@dataclass(frozen=True)
class Thinking(Event):
    """A piece of reasoning, where the server sends one."""

    type = "thinking"
    text: str


@dataclass(frozen=True)
class ToolStarted(Event):
    """A call is about to run, or to be asked about."""

    type = "tool_started"
    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Ask(Event):
    """An approval is wanted; `summary` is all that a person needs to see to decide. Answered by an Answer."""

    type = "ask"
    tool: str
    summary: str
    id: str = field(default_factory=new_id)


@dataclass(frozen=True)
class ToolFinished(Event):
    """The one result of a call; `seconds` without the time an approval took."""

    type = "tool_finished"
    id: str
    name: str
    ok: bool
    output: str
    seconds: float


@dataclass(frozen=True)
class Failover(Event):
    """A request to the model has failed: what was shown of this reply is void. category: one of errors.CATEGORIES;
    profile, model: the key's number, and what it was to answer; cooldown: seconds it is left alone now; next: what is
    tried now, in words, or NOTHING."""

    NOTHING = "nothing left"

    type = "failover"
    category: str
    profile: int
    model: str
    cooldown: float
    next: str


@dataclass(frozen=True)
class Compacted(Event):
    """The conversation took `before` tokens of the context, and was shortened to take `after`."""

    type = "compacted"
    before: int
    after: int


@dataclass(frozen=True)
class Notice(Event):
    """Something worth knowing beside the answer. level: info, warn or error."""

    type = "notice"
    text: str
    level: str = "info"


@dataclass(frozen=True)
class Error(Event):
    """The turn failed; `retry_after` in seconds, where the server named a wait."""

    type = "error"
    category: str
    message: str
    retry_after: float | None = None


@dataclass(frozen=True)
class Interrupted(Event):
    """The turn was stopped; `text` is what had been said so far."""

    type = "interrupted"
    text: str


@dataclass(frozen=True)
class Done(Event):
    """The turn is complete; usage holds prompt_tokens, completion_tokens and total_tokens over all its requests."""

    type = "done"
    text: str
    model: str
    usage: dict[str, int]
    seconds: float


class Stopped(Done):
    """The turn is over, and there is no answer: the agent went in circles, or on for too long; text: why. In its form
    for programs it is a `done`, behind a notice of the level `error`."""


ENDINGS = (Done, Error, Interrupted)
