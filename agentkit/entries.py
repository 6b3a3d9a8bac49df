"""A JSON array that people edit: where each entry stands and what is wrong there; one is changed without the rest."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise ValueError("it holds a number that JSON has not")
    return number


DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)
_BLANK = re.compile(r"[ \t\r\n]*")
_BLANKS = " \t\r\n"
_BOM = "\ufeff"


class Entry(NamedTuple):
    """An element of the array. value: the JSON it is; text: as it is written, from `start` on, in that line."""

    value: Any
    text: str
    start: int
    line: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


class Listing(NamedTuple):
    """A file with such an array. text: all of it; start, end: of the array."""

    text: str
    start: int
    end: int
    entries: tuple[Entry, ...]

    def added(self, text: str) -> str:
        """The file with one more entry, the last; what was there stays as it is written."""
        if self.entries:
            last = self.entries[-1]
            before = self.text[self.entries[-2].end if len(self.entries) > 1 else self.start : last.start]
            blanks = before[len(before.rstrip(_BLANKS)) :] or " "
            return f"{self.text[: last.end]},{blanks}{text}{self.text[last.end :]}"
        line = self.text[self.text.rfind("\n", 0, self.start) + 1 : self.start].lstrip(_BOM)
        indent = line[: _after(line, 0)]
        return f"{self.text[: self.start]}[\n{indent}  {text}\n{indent}]{self.text[self.end :]}"

    def removed(self, entry: Entry) -> str:
        """The file without an entry."""
        at = self.entries.index(entry)
        if at + 1 < len(self.entries):
            return self.text[: entry.start] + self.text[self.entries[at + 1].start :]
        if at:
            return self.text[: self.entries[at - 1].end] + self.text[entry.end :]
        return f"{self.text[: self.start]}[]{self.text[self.end :]}"

    def changed(self, entry: Entry, text: str) -> str:
        """The file with another text for an entry."""
        return self.text[: entry.start] + text + self.text[entry.end :]


def listing(data: bytes | None, noun: str, keyed: bool = False) -> Listing:
    """The array of a file; None: there is no file. Raises ValueError, which tells line and column.

    noun: what its entries are; keyed: the array is in an object by that name, though a bare one is taken too.
    """
    if data is None:
        data = b'{\n  "%s": []\n}\n' % noun.encode() if keyed else b"[]\n"
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        raise _fault(before, len(before), "it is not UTF-8: save it as UTF-8 text") from None
    reader = _Reader(text)
    if keyed and not reader.is_at("["):
        found = _in_object(reader, noun)
    else:
        found = reader.array(noun)
        reader.end("]")
    return found


def _in_object(reader: _Reader, noun: str) -> Listing:
    if not reader.is_at("{"):
        raise reader.fault(f'it begins with {{"{noun}": [ and ends with ]}}')
    found, last, other = None, reader.at + 1, -1
    for at, name in reader.members():
        if name != noun:
            if isinstance(reader.value(), list) and other < 0:
                other = at
        elif found is None:
            found = reader.array(noun)
        else:
            raise _fault(reader.text, at, f"{noun} is there twice: make one of them")
        last = reader.last
    reader.end("}")
    if found is not None:
        return found
    if other >= 0:  # a slip of the pen is more likely than a file without any
        raise _fault(reader.text, other, f'no array is called "{noun}": name it so, or add "{noun}": []')
    comma = "" if reader.text[last - 1] == "{" else ", "
    return listing(f'{reader.text[:last]}{comma}"{noun}": []{reader.text[last:]}'.encode(), noun, True)


def with_member(text: str, name: str, value: object) -> str:
    """The text of an object that has a member, with that member's value, or that member after the first one."""
    reader, found, first = _Reader(text), None, 0
    for _, each in reader.members():
        start = reader.at
        reader.value()
        first = first or reader.last
        if each == name:
            found = start, reader.last  # the last of that name counts
    if found:
        return text[: found[0]] + written(value) + text[found[1] :]
    blanks = text[1 : _after(text, 1)] or " "
    return f"{text[:first]},{blanks}{written(name)}: {written(value)}{text[first:]}"


def written(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


class _Reader:
    """Reads a text from its beginning. at: how far it has come; last: the end of the last value, before its blanks."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = self.last = _after(text, len(_BOM) if text.startswith(_BOM) else 0)

    def fault(self, what: str) -> ValueError:
        return _fault(self.text, self.at, what)

    def is_at(self, character: str) -> bool:
        return self.text.startswith(character, self.at)

    def passes(self, character: str) -> bool:
        """Go on behind it and its blanks, if it is next."""
        if not self.is_at(character):
            return False
        self.last = self.at + 1
        self.at = _after(self.text, self.last)
        return True

    def value(self) -> Any:
        """Read whatever is next."""
        try:
            value, self.last = DECODER.raw_decode(self.text, self.at)
        except json.JSONDecodeError as error:
            raise _fault(self.text, error.pos, error.msg) from None
        except RecursionError:
            raise self.fault("it is nested too deeply") from None
        except ValueError:
            raise self.fault("a number in this entry is too long, or none that JSON has") from None
        self.at = _after(self.text, self.last)
        return value

    def items(self, opening: str, closing: str) -> Iterator[int]:
        """Where each item begins, which is to be read before the next is asked for."""
        self.passes(opening)
        is_first = True
        while not self.passes(closing):
            if not is_first and not self.passes(","):
                raise self.fault(f"a comma or {closing} is missing")
            is_first = False
            yield self.at

    def members(self) -> Iterator[tuple[int, str]]:
        """Where each member of an object begins, and its name; its value is to be read then."""
        for at in self.items("{", "}"):
            name = self.value() if self.is_at('"') else None
            if name is None or not self.passes(":"):
                raise self.fault("a colon is missing" if name is not None else "a name in quotes is missing")
            yield at, name

    def array(self, noun: str) -> Listing:
        if not self.is_at("["):
            raise self.fault(f"an array of {noun} begins with [, and an empty one is []")
        start, line, counted = self.at, 1, 0
        entries: list[Entry] = []
        for at in self.items("[", "]"):
            line, counted = line + self.text.count("\n", counted, at), at
            value = self.value()
            entries.append(Entry(value, self.text[at : self.last], at, line))
        return Listing(self.text, start, self.last, tuple(entries))

    def end(self, closing: str) -> None:
        if self.at < len(self.text):
            raise self.fault(f"nothing can follow the {closing}")


def _after(text: str, at: int) -> int:
    """Where blanks that begin there end."""
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _fault(text: str, at: int, what: str) -> ValueError:
    line, column = text.count("\n", 0, at) + 1, at - max(text.rfind("\n", 0, at), text.find(_BOM, 0, 1))
    return ValueError(f"line {line}, column {column}: {what}")
