"""Lines of JSON in a file that is only ever appended to: whatever happens to its end, complete lines stay readable."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn


class Lines(NamedTuple):
    """What a file holds: its JSON objects in order, and how many other lines there are that are not empty."""

    records: list[dict[str, Any]]
    broken: int


def _no_number(name: str) -> NoReturn:
    """NaN and Infinity, which Python reads and writes but no other program takes."""
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    return number if number - number == 0 else _no_number(text)


_DECODER = json.JSONDecoder(parse_constant=_no_number, parse_float=_finite)


def parse(data: bytes) -> Lines:
    """Read what there is. A line that was cut off, or never written (NUL bytes, after a loss of power), is passed."""
    records: list[dict[str, Any]] = []
    broken = 0
    for line in data.decode("utf-8", "replace").split("\n"):
        line = line.strip("\ufeff\0\r\t ")
        if line:
            try:
                record = _DECODER.decode(line)
            except (ValueError, RecursionError):
                record = None
            if isinstance(record, dict):
                records.append(record)
            else:
                broken += 1
    return Lines(records, broken)


def append(fd: int, record: Mapping[str, Any]) -> None:
    """Write a record as the last line of a file open for reading and appending; raises OSError.

    It begins on a line of its own, whatever the file ends with: an earlier line may have been cut off, by a crash or
    by a full disk. What could be written of a line is taken back.
    """
    size = os.fstat(fd).st_size
    rest = memoryview(line(record) if not size or os.pread(fd, 1, size - 1) == b"\n" else b"\n" + line(record))
    try:
        while rest:
            rest = rest[os.write(fd, rest) :]
    except OSError:
        with suppress(OSError):
            os.ftruncate(fd, size)
        raise


def line(record: Mapping[str, Any]) -> bytes:
    """A record as a line that people can read and grep; half a surrogate pair, which is not text, is escaped."""
    try:
        return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(record, separators=(",", ":")).encode() + b"\n"
