"""A .env file that is added to: what it holds stays as it is, byte for byte; new lines go to its end.

Of two lines with one name the last one counts, here and wherever such files are read: so a line that is blank, or that
cannot be used, is made good by one below it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from . import atomic, dotenv
from .errors import SettingsError
from .settings import VARIABLES

PRIVATE = 0o600
NOTE = "# added by agentkit init; of two lines with one name the last one counts"
HEAD = "# Settings of agentkit. The environment wins over them."

_PLAIN = re.compile(r"[\w.,/:@%+=~-]*", re.ASCII)
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\a": "\\a", "\b": "\\b", "\f": "\\f"}
_ESCAPES |= {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
_LINE_END = re.compile(rb"\r\n|\n|\r")
_ANY = {"AGENTKIT": 'it\'s "so"'}  # stands for whatever is to be added: an open quote would take a part of it


class Envfile:
    """path: the file, which need not be there; label: what to call it; environ: what `${NAME}` in it looks at first.

    Raises SettingsError where nothing can be added to it: no file, not readable, not writable, no text.
    """

    def __init__(self, path: Path, label: str, environ: Mapping[str, str]) -> None:
        self.path, self.label = path, label
        self._environ = environ
        self.look()

    def look(self) -> None:
        """Read it anew. Raises SettingsError as above, where lines could not be added to what it holds now."""
        try:
            self._data: bytes | None = atomic.small(self.path, dotenv.LIMIT + 1)
        except FileNotFoundError:
            self._data = None
        except OSError:
            raise SettingsError(self._problems() or [f"{self.label} cannot be read: move it away"]) from None
        self.found = self._parsed(self._data or b"") or dotenv.Dotenv()
        if not self._is_read_back(added(self._data or b"", _ANY), _ANY):
            raise SettingsError(self._problems()[-1:] or [f"{self.label} is no text that can be added to"])

    def text(self, name: str) -> str:
        """A value as it stands there, "" where there is none."""
        entry = self.found.entries.get(name)
        return (entry.value or "") if entry else ""

    def line(self, name: str) -> int:
        """The number of the line that counts, 0: there is none."""
        entry = self.found.entries.get(name)
        return entry.line if entry else 0

    def check_writable(self) -> None:
        """Raise SettingsError where no line could be added, as far as that can be told before it is tried."""
        if self.path.is_symlink():
            target = os.path.realpath(self.path)
            there = f"run it for {os.path.dirname(target)}" if os.path.basename(target) == ".env" else "add to that one"
            raise SettingsError([f"{self.label} is a link to {target}: {there}, or put a file in the link's place"])
        if self._data is not None and not os.access(self.path, os.W_OK):
            raise SettingsError([f"{self.label} is write-protected: chmod u+w {self.label}, if that is not on purpose"])
        folder = self.path.parent
        if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
            raise SettingsError([f"{self.label} cannot be written: its folder is write-protected; name another one"])

    def add(self, values: Mapping[str, str]) -> list[str]:
        """Write what it lacks: a whole file where there is none, else lines at its end. Raises OSError, SettingsError.

        What somebody else has set since it was read stays as it is; returns those names.
        """
        seen = {name: self.text(name) for name in values}
        self.look()
        meanwhile = [name for name in values if self.text(name) != seen[name]]
        rest = {name: value for name, value in values.items() if name not in meanwhile}
        if rest or self._data is None:
            self.check_writable()
            data = template(rest).encode() if self._data is None else added(self._data, rest)
            assert self._is_read_back(data, rest), "a value that .env cannot hold"
            atomic.replace(self.path, data, PRIVATE)
            self.look()
        return meanwhile

    def open_to(self) -> str:
        """Who else may read it: `others`, `its group`, or nobody, ""."""
        try:
            mode = os.stat(self.path).st_mode
        except OSError:
            return ""
        return "others" if mode & stat.S_IRWXO else "its group" if mode & stat.S_IRWXG else ""

    def close(self) -> bool:
        """Have nobody else read it; False where that cannot be, as on a file system without permissions, or should not,
        as with what a link leads to."""
        if not self.path.is_symlink():
            with suppress(OSError):
                os.chmod(self.path, PRIVATE)
        return not self.open_to()

    def _parsed(self, data: bytes) -> dotenv.Dotenv | None:
        try:
            return dotenv.parse(data.decode("utf-8"), self._environ, self.label) if len(data) <= dotenv.LIMIT else None
        except UnicodeDecodeError:
            return None

    def _is_read_back(self, data: bytes, values: Mapping[str, str]) -> bool:
        found = self._parsed(data)
        return found is not None and all(
            name in found.entries and found.entries[name].value == value for name, value in values.items()
        )

    def _problems(self) -> list[str]:
        return dotenv.read(self.path, self._environ, self.label).problems


def added(data: bytes, values: Mapping[str, str]) -> bytes:
    """What a file holds with these at its end, its own bytes unchanged, in lines that end as its last one does."""
    ends = _LINE_END.findall(data)
    end = (ends[-1] if ends else b"\n").decode()
    first = end if data and not data.endswith((b"\n", b"\r")) else ""
    return data + (first + "".join(f"{line}{end}" for line in (NOTE, *_lines(values)))).encode()


def template(values: Mapping[str, str]) -> str:
    """A whole file: every setting there is with what it is for, those of `values` set, the others in comments."""
    text = [HEAD, ""]
    for variable in VARIABLES:
        pattern = variable.name.replace("<n>", "[0-9]+")
        text.append(f"# {variable.help}" + (f"; for example {variable.example}" if not variable.default else ""))
        here = {name: value for name, value in values.items() if re.fullmatch(pattern, name)}
        text += _lines(here) or [f"#{variable.name.replace('<n>', '1')}={variable.default}"]
    return "\n".join((*text, ""))


def _lines(values: Mapping[str, str]) -> Iterable[str]:
    return [f"{name}={quoted(value)}" for name, value in values.items()]


def quoted(value: str) -> str:
    """A value as a .env file has it, for us, python-dotenv and, where that is possible, a shell that reads the file.

    It holds no NUL and no half characters. `$` before a brace is written as a reference that has it for a default, for
    nothing else keeps `${...}` from being replaced, in quotes neither.
    """
    if _PLAIN.fullmatch(value):
        return value
    value = value.replace("${", "${:-$}{")
    if value.isprintable():
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return '"' + "".join(_ESCAPES.get(each, each) for each in value) + '"'
