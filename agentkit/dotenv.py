r"""What a .env file says: text in, names and values out, with the line each was read from.

The syntax is python-dotenv's: `NAME=value`, `export NAME=value`, spaces around `=`, `# comments`, also after a value;
'single' quotes with the escapes \\ and \', "double" ones with \\ \' \" \a \b \f \n \r \t \v; quoted values may go over
several lines; `${NAME}` and `${NAME:-default}` stand for other values, in quotes too; `NAME` alone sets nothing.
Deliberate differences from it:

- in `${NAME}` the environment wins over earlier lines, as it does for the settings themselves;
- what cannot be parsed is a problem with its line number, where python-dotenv logs a warning and goes on; nothing is
  taken from below a quote that is never closed;
- NUL characters, files of more than 4 MiB and values that `${NAME}` would blow up beyond that are problems.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from .records import dataclass, field

LIMIT = 4 << 20  # bytes of a file, characters of all its values: far above any honest one, far below what hurts
_MOST_PROBLEMS = 10  # a file that is something else altogether need not be listed line by line

_BLANK = re.compile(r"\s*")
_EXPORT = re.compile(r"(?:export[^\S\n]+)?")
_NAME = re.compile(r"(?:'([^']+)'|([^'=#\s][^=#\s]*))[^\S\n]*")
_EQUALS = re.compile(r"=([^\S\n]*)")
_QUOTED = {
    "'": re.compile(r"'([^'\\]*(?:\\.[^'\\]*)*)'", re.DOTALL),
    '"': re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL),
}
_ESCAPE = {"'": re.compile(r"\\([\\'])"), '"': re.compile(r"\\([\\'\"abfnrtv])")}
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_REST = re.compile(r"[^\n]*")
_INLINE_COMMENT = re.compile(r"\s#")
_END = re.compile(r"[^\S\n]*(?:#[^\n]*)?(?:\n|\Z)")
# The empty alternative takes a `${` that is no reference with all that cannot begin one either: without it a long row
# of them would be scanned once for each.
_REFERENCE = re.compile(r"\$\{([^}:]*)(?:(?::-([^}]*))?(\})|)")


@dataclass(frozen=True)
class Entry:
    """One assignment: its value (None: the name stood alone) and its line, counted from 1."""

    value: str | None
    line: int


@dataclass(frozen=True)
class Dotenv:
    """What was read: the last assignment of each name, and what is wrong, one line of text each, for the user.

    label: what to call the file.
    """

    label: str = ".env"
    entries: dict[str, Entry] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read(path: Path, environ: Mapping[str, str], label: str = ".env") -> Dotenv:
    """Read a file; whatever is wrong with it is in the result's problems, which call it `label`. Never blocks.

    environ: what `${NAME}` looks at first.
    """
    found = Dotenv(label)

    def wrong(problem: str) -> Dotenv:
        found.problems.append(f"{label} {problem}")
        return found

    try:
        # Without O_NONBLOCK, opening a FIFO waits for somebody to write to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode) and path != Path(os.devnull):
                what = "a folder" if stat.S_ISDIR(mode) else "a pipe or device"
                return wrong(f"is {what}, not a file: put a text file with NAME=value lines there")
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read(LIMIT + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return wrong("does not exist: check its path, or create it")
    except OSError as error:
        return wrong(f"cannot be read ({error.strerror}): put that right, or move it away")
    except ValueError:
        return wrong("cannot be the path of a file: it holds a NUL character")
    if len(data) > LIMIT:
        return wrong(f"is larger than {LIMIT >> 20} MiB: is it the right file?")
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    try:
        return parse(data.decode("utf-8"), environ, label)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return wrong(f"line {line} is not UTF-8: save the file as UTF-8 text")


def parse(text: str, environ: Mapping[str, str], label: str = ".env") -> Dotenv:
    """The assignments in a file's text, `${NAME}` replaced; one pass, whatever the text.

    environ: what `${NAME}` looks at first; label: what problems call the file.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    found = Dotenv(label)
    if (nul := text.find("\0")) >= 0:
        line = text.count("\n", 0, nul) + 1
        found.problems.append(f"{label} line {line} holds a NUL character: save the file as UTF-8 text")
        return found
    room = LIMIT
    position, line = 0, 1
    try:
        while True:
            start = _end(_BLANK, text, position)
            if start == len(text):
                return found
            line += text.count("\n", position, start)
            try:
                name, value, position = _statement(text, start)
                if name is not None and value is not None:
                    value = _expand(value, environ, found.entries, room)
                    room -= len(value)
                if name is not None:
                    found.entries[name] = Entry(value, line)
            except _Wrong as wrong:
                if len(found.problems) == _MOST_PROBLEMS:
                    found.problems.append(f"{label} has more such lines: is it the right file?")
                    return found
                found.problems.append(f"{label} line {line} {wrong}")
                position = _end(_REST, text, wrong.position)
            line += text.count("\n", start, position)
    except _Lost as lost:
        found.problems.append(f"{label} line {line} {lost}")
        return found


class _Wrong(Exception):
    """This statement cannot be read; the next one begins on the line below `position`."""

    def __init__(self, reason: str, position: int) -> None:
        super().__init__(reason)
        self.position = position


class _Lost(Exception):
    """Nothing from here on can be trusted."""


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position


def _statement(text: str, start: int) -> tuple[str | None, str | None, int]:
    """One comment or assignment: name (None: a comment), value as written, and where it ends."""
    position = _end(_EXPORT, text, start)
    name = value = None
    after = "its name"
    if not text.startswith("#", position):
        named = _NAME.match(text, position)
        if named is None:
            raise _Wrong("is not NAME=value: write it so, or begin it with # to make it a comment", position)
        name, position = named[1] or named[2], named.end()
        if equals := _EQUALS.match(text, position):
            position = equals.end()
            after = "its closing quote" if text[position : position + 1] in _QUOTED else "its value"
            if equals[1] and text.startswith("#", position):
                value = ""
            else:
                value, position = _value(text, position)
    ending = _END.match(text, position)
    if ending is None:
        raise _Wrong(
            f"is not NAME=value: there is more text after {after}; a value with spaces, # or several lines goes in "
            "one pair of quotes",
            position,
        )
    return name, value, ending.end()


def _value(text: str, start: int) -> tuple[str, int]:
    """The value that begins at `start`, without quotes and escapes, and where it ends."""
    quote = text[start : start + 1]
    if quote not in _QUOTED:
        end = _end(_REST, text, start)
        value = text[start:end]
        comment = _INLINE_COMMENT.search(value)
        return (value[: comment.start()] if comment else value).rstrip(), end
    quoted = _QUOTED[quote].match(text, start)
    if quoted is None:
        raise _Lost(f"opens a quote ({quote}) that is never closed: close it, or leave the quotes out")
    return _ESCAPE[quote].sub(lambda match: _ESCAPED.get(match[1], match[1]), quoted[1]), quoted.end()


def _expand(value: str, environ: Mapping[str, str], entries: Mapping[str, Entry], room: int) -> str:
    """`value` with its references replaced; at most `room` characters, for each line could double the one before."""
    references_end = value.rfind("}") + 1
    pieces: list[str] = []
    done = 0
    for match in _REFERENCE.finditer(value, 0, references_end):
        if match[3] is None:
            continue
        name, default = match[1], match[2] or ""
        if name in environ:
            stands_for = environ[name]
        elif name in entries:
            stands_for = entries[name].value or ""
        else:
            stands_for = default
        pieces += value[done : match.start()], stands_for
        done = match.end()
        room -= len(stands_for)
        if room < 0:
            raise _Lost(f"grows beyond {LIMIT >> 20} MiB through its ${{...}}: shorten it")
    return "".join((*pieces, value[done:]))
