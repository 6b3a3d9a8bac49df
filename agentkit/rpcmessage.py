"""The text of JSON-RPC messages: JSON by RFC 8259, read within limits and without changing an id, and written.

That is UTF-8 without a byte order mark, no NaN or Infinity.
"""

from __future__ import annotations

import json
import re
from itertools import accumulate
from typing import Any, NamedTuple, NoReturn

from .errors import AgentkitError

DEEPEST = 200  # arrays and objects within each other: what every Python reads on the stack of any thread
LONGEST_NUMBER = 640  # digits: what every Python reads and writes, however it is set up


class Unreadable(AgentkitError):
    """A message is no JSON, or too much of it. What to do: its text says, where it has one."""


class OutOfRange(ValueError):
    """JSON, but a number that Python has none for."""


class Number(NamedTuple):
    """A number as it was written."""

    text: str


def _whole(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise OutOfRange
    return int(text)


def _real(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise OutOfRange
    return number


def _no_number(name: str) -> NoReturn:
    raise Unreadable(f"{name} is no JSON")


_VALUES = json.JSONDecoder(parse_int=_whole, parse_float=_real, parse_constant=_no_number)
_WRITTEN = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=_no_number)
_NOT_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[^][{}"]+', re.DOTALL)
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}


def read(message: str | bytes) -> tuple[Any, bool]:
    """The JSON of a message, and whether all its numbers are as they were written; those that are ids always are.

    Raises Unreadable.
    """
    try:
        text = message if isinstance(message, str) else str(message, "utf-8")
    except UnicodeDecodeError:
        raise Unreadable("a message must be UTF-8") from None
    if text.startswith("\ufeff"):
        raise Unreadable("a message must not begin with a byte order mark")
    if text.count("[") + text.count("{") > DEEPEST and _depth(text) > DEEPEST:
        raise Unreadable(f"a message must not be nested deeper than {DEEPEST} levels")
    try:
        return _parsed(text)
    except (ValueError, RecursionError):
        raise Unreadable from None  # without a word, as in the standard's examples


def _parsed(text: str) -> tuple[Any, bool]:
    try:
        value = _VALUES.decode(text)
    except OutOfRange:
        return _WRITTEN.decode(text), True
    requests = [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, dict)]
    if any(type(each.get("id")) is float or each.get("id") == 0 for each in requests):  # 0 may be written -0
        written = _WRITTEN.decode(text)
        for each, same in zip(value, written, strict=True) if isinstance(value, list) else [(value, written)]:
            if isinstance(each, dict) and "id" in each:
                each["id"] = same["id"]
    return value, False


def _depth(text: str) -> int:
    return max(accumulate(map(_STEPS.__getitem__, _NOT_BRACKETS.sub("", text))), default=0)


def evaluated(written: Any) -> Any:
    """JSON whose numbers are as they were written, with their values; raises OutOfRange."""
    if type(written) is Number:
        return _whole(written.text) if written.text.lstrip("-").isdigit() else _real(written.text)
    if isinstance(written, list):
        return [evaluated(each) for each in written]
    return {name: evaluated(each) for name, each in written.items()} if isinstance(written, dict) else written


_PLAIN = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_ESCAPED = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


def write(value: Any) -> str:
    """A value as one line of JSON; half characters and whatever else is not printable is escaped."""
    text = _PLAIN.encode(value)
    return text if text.isprintable() else _ESCAPED.encode(value)
