"""Events in the words that people are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..events import Compacted, Done, Error, Event, Failover, Heard, Interrupted
from ..invocation import command
from ..printable import printable, span

LONGEST = 200  # characters


def way_back() -> str:
    """How to go on with what was said, for somebody who has left."""
    return f"{command('--resume')} goes on with the conversation."


def in_words(arguments: Mapping[str, Any]) -> str:
    """Arguments on one line: the first as it is, the others by name."""
    first, *others = arguments.items() or [("", "")]
    said = " ".join((str(first[1]), *(f"{name}={value}" for name, value in others)))
    line, _, more = printable(said).strip().partition("\n")
    return line[:LONGEST] + " ..." * bool(more or len(line) > LONGEST)


def failover(event: Failover) -> str:
    """Empty where nothing follows but the error itself."""
    if event.next == Failover.NOTHING:
        return ""
    rests = f" and rests for {span(event.cooldown)}" if event.cooldown else ""
    why = event.category.replace("_", " ")
    return f"Profile {event.profile} failed for {event.model} ({why}){rests}. Next: {event.next}."


def unasked(by: str, text: str) -> str:
    """What an agent has said by itself; by: on what occasion, empty: that is not known."""
    return f"{by}: {text}" if by else text


def heard(event: Heard) -> str:
    return f"{event.peer} ({event.channel}): {event.text}"


def ended(event: Event, heard: Heard) -> str:
    """How a turn of another channel has ended, and whose it was: it may come after what somebody else has said."""
    text = "interrupted"
    if isinstance(event, Error):
        text = f"error: {event.message}"
    elif isinstance(event, Done):
        text = event.text
    elif isinstance(event, Interrupted) and event.text:
        text = f"{event.text}\ninterrupted"
    return f"to {heard.peer} ({heard.channel}): {text}"


def compacted(event: Compacted) -> str:
    return f"The conversation was compacted: {event.before:,} -> {event.after:,} tokens."
