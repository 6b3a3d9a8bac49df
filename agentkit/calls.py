"""Tool calls put together from the fragments that servers stream.

The protocol says: each fragment carries an `index`, the first one also the id and the name. Servers in the field leave
the index out, give every call index 0, repeat the name or the id in each fragment, make up a new id each time, send the
arguments as an object, or send them twice. What is certain decides first: a known id, then the index, then whether
what is there so far is complete.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from .events import new_id
from .records import dataclass, field


class Call(NamedTuple):
    """A call the model wants made. arguments: JSON text as it came; extra: fields the server wants sent back;
    cut: the reply reached its limit within this call, which must not run."""

    id: str
    name: str
    arguments: str
    extra: Mapping[str, Any] = MappingProxyType({})
    cut: bool = False


@dataclass
class _Slot:
    """A call that is being put together."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """The arguments so far are a whole object. Looks at the last character first: it is asked often."""
        ends = bool(self.arguments) and self.arguments[-1].rstrip().endswith("}")
        return ends and object_of("".join(self.arguments)) is not None


class Calls:
    """Fragments in, whole calls out."""

    def __init__(self) -> None:
        self._slots: list[_Slot] = []
        self._by_index: dict[int, _Slot] = {}
        self._by_id: dict[tuple[str, int | None], _Slot] = {}

    def add(self, fragment: Mapping[str, Any]) -> None:
        """Take one element of a delta's `tool_calls`; nonsense in it is passed over."""
        function = fragment.get("function")
        function = function if isinstance(function, dict) else {}
        id, name, arguments = _text(fragment.get("id")), _text(function.get("name")), function.get("arguments")
        index = _number(fragment.get("index"))
        slot = self._by_id.get((id, index)) if id else None
        if slot is None:
            slot = self._by_index.get(index) if index is not None else self._slots[-1] if self._slots else None
            if slot is None or _begins(slot, id, name, arguments, index is not None):
                slot = _Slot()
                self._slots.append(slot)
            if index is not None:
                self._by_index[index] = slot
            if id:
                self._by_id[id, index] = slot
        slot.id = slot.id or id
        _add_name(slot, name)
        _add_arguments(slot, arguments)
        slot.extra.update((key, fragment[key]) for key in fragment.keys() - {"index", "id", "type", "function"})

    def finish(self, cut: bool = False) -> tuple[Call, ...]:
        """The calls in the order they began; an id that is missing or used twice is made anew.

        cut: the reply broke off at its limit, and a call without whole arguments with it.
        """
        calls: list[Call] = []
        for slot in self._slots:
            if slot.name or slot.arguments:
                taken = not slot.id or any(call.id == slot.id for call in calls)
                id = f"call_{new_id()}" if taken else slot.id
                half = cut and not slot.complete
                calls.append(Call(id, slot.name.strip(), "".join(slot.arguments), slot.extra, half))
        return tuple(calls)


def _no_number(name: str) -> None:
    """NaN and Infinity, which Python reads and writes but no other program takes."""
    raise ValueError(f"{name} is no JSON")


def object_of(text: str) -> dict[str, Any] | None:
    """The JSON object that `text` is, None where it is none."""
    try:
        value = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _begins(slot: _Slot, id: str, name: str, arguments: Any, indexed: bool) -> bool:
    """Does a fragment that its id did not place begin a call of its own, after `slot`?"""
    if not name:
        return False
    opens = not arguments or isinstance(arguments, dict) or str(arguments).lstrip().startswith("{")
    if id and slot.id:
        # Unfinished arguments go on under a new id too: a piece of them must never become a call of its own.
        begun = slot.arguments and name == slot.name and not slot.complete
        return not begun and (opens or slot.complete)
    if not indexed and not id and name != slot.name and not slot.arguments:
        return True
    return opens and bool(arguments) and slot.complete and "".join(slot.arguments).strip() != "{}"


def _add_name(slot: _Slot, name: str) -> None:
    if not name or slot.arguments or name == slot.name:
        return  # repeated, or too late to be a piece of the name
    slot.name = name if name.startswith(slot.name) else slot.name + name


def _add_arguments(slot: _Slot, arguments: Any) -> None:
    if isinstance(arguments, str):
        if not arguments:
            return
        so_far = "".join(slot.arguments) if slot.arguments and arguments.startswith("{") else ""
        if so_far == "{}" or (so_far == arguments and slot.complete):
            slot.arguments.clear()  # a placeholder, or the whole once more
        slot.arguments.append(arguments)
    elif isinstance(arguments, dict):
        slot.arguments[:] = [json.dumps(arguments, ensure_ascii=False)]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None
