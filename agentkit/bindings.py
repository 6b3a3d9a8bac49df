"""routes.json: its bindings, read and changed so that nothing in it is lost."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from . import names, userfile
from .entries import listing
from .records import dataclass, field

KEYS = ("peer_id", "guild_id", "account_id", "channel", "default")  # what tier 1, 2 ... looks at
EVERYBODY = "*"  # the value of `default`

DIGITS = 18  # of a priority

_TOKEN = r'("(?:[^"\\]|\\.)*")|(?<=[{\[])\s+|\s+(?=[}\]])|(\s+)'


@dataclass(frozen=True)
class Binding:
    """Messages of which what `match_key` looks at is `match_value` go to an agent. tier: 1 to 5, that of the key;
    more: further fields of its JSON object."""

    agent_id: str
    tier: int
    match_key: str
    match_value: str
    priority: int = 0
    more: Mapping[str, Any] = field(default_factory=dict)

    def is_for(self, key: str, value: str) -> bool:
        return self.match_key == key and self.match_value == value


class Entry(NamedTuple):
    """An element of the file's array. text: as it is written; line: where it begins; binding: None where it is none;
    why: what is wrong with it then."""

    text: str
    line: int
    binding: Binding | None
    why: str = ""


def parsed(data: bytes | None) -> list[Entry]:
    """The entries of a file; None: there is none. Raises ValueError, which tells line and column."""
    entries = []
    for value, text, _, line in listing(data, "bindings").entries:
        try:
            entries.append(Entry(text, line, binding(value)))
        except ValueError as error:
            entries.append(Entry(text, line, None, str(error)))
    return entries


def binding(value: object) -> Binding:
    """The binding that a JSON value is. Raises ValueError."""
    if not isinstance(value, dict):
        raise ValueError("it is no object with agent_id, match_key and match_value")
    more = dict(value)
    written, key, tier = more.pop("agent_id", None), more.pop("match_key", None), more.pop("tier", None)
    matched, priority = more.pop("match_value", EVERYBODY if key == "default" else None), more.pop("priority", None)
    if not isinstance(written, str) or not (id := names.agent_id(written)):
        raise ValueError("agent_id names no agent: write its id in quotes")
    if not isinstance(key, str) or key not in KEYS:
        raise ValueError(f"match_key is none of {', '.join(KEYS)}")
    if tier is not None and (type(tier) is not int or tier != KEYS.index(key) + 1):
        raise ValueError(f"{key} is tier {KEYS.index(key) + 1}: correct the tier, or leave it out")
    if not isinstance(matched, str) or not matched.strip():
        raise ValueError("match_value is empty, or no text: write it in quotes")
    if key == "default" and matched != EVERYBODY:
        raise ValueError(f"the match_value of default is {EVERYBODY}, for everybody: write that, or another match_key")
    if priority is None:
        priority = 0
    if type(priority) is not int or abs(priority) >= 10**DIGITS:
        raise ValueError(f"priority is no whole number of at most {DIGITS} digits")
    return Binding(id, KEYS.index(key) + 1, key, matched, priority, more)


def replace(path: Path, edit: Callable[[list[Entry]], list[str]]) -> None:
    """Replace the file by what `edit` makes of its entries. Raises OSError, and ValueError for a broken file."""

    def edited(data: bytes | None) -> str | None:
        entries = parsed(data)
        texts = edit(entries)
        if texts == [each.text for each in entries]:
            return None
        lines = ",\n  ".join(map(_in_one_line, texts))
        return f"[\n  {lines}\n]\n" if texts else "[]\n"

    userfile.replace(path, edited)


def _in_one_line(text: str) -> str:
    """JSON, with all that it says as it was written."""
    return re.sub(_TOKEN, lambda found: found[1] or (found[2] and " ") or "", text) if "\n" in text else text
