"""Texts that are too long for the model: their head and tail, and where all of it is."""

from __future__ import annotations

from .store import Store

PART = 0.25  # of the context window: so much a tool's result may take
SAMPLE = 4096  # characters


def fit(store: Store, text: str, part: float = PART) -> tuple[str, str]:
    """A text as the model gets it, and the path where the whole is kept; empty: it was not cut, or could not be kept.

    What is larger than that part of the context window is cut to it; with a window of 0, unknown, nothing is.
    """
    limit = store.state.window * part
    if not limit or store.worth(text) <= limit:
        return text, ""
    path = keep(store, text)
    return excerpt(text, characters(store, limit), whole(path)), path


def keep(store: Store, text: str) -> str:
    """Keep a text beside the conversation; returns its path, empty where it has none."""
    return store.journal.keep(text) if store.journal is not None else ""


def whole(path: str) -> str:
    """Where a text is that the model gets in part."""
    return f"all of it is in {path}" if path else "the rest was not kept: ask for less at a time"


def characters(store: Store, tokens: float) -> int:
    """How many characters of text take so many tokens."""
    return int(tokens * SAMPLE / max(1, store.worth(" " * SAMPLE)))


def excerpt(text: str, limit: int, where: str = "") -> str:
    """A text of at most about `limit` characters: twice as much of the head as of the tail, and a line between them
    that says how much is left out, and `where` it is. Cut at ends of lines that are near."""
    if len(text) <= limit:
        return text
    gap = "[... {:,} of {:,} characters left out" + ("; {} ...]" if where else " ...]")
    room = max(0, limit - len(gap.format(len(text), len(text), where)) - 2)
    head, tail = room * 2 // 3, room // 3
    head = (text.rfind("\n", head * 3 // 4, head) + 1) or head
    start = len(text) - tail
    start = (text.find("\n", start, start + tail // 4) + 1) or start
    before = text[:head].removesuffix("\n")
    return "\n".join((*([before] if before else []), gap.format(start - head, len(text), where), text[start:]))


def beginning(text: str, limit: int) -> str:
    """At most `limit` characters of a text, cut at an end of a line that is near."""
    if len(text) <= limit:
        return text
    return text[: (text.rfind("\n", limit * 3 // 4, limit) + 1) or limit]
