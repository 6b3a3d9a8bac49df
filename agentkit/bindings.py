"""routes.json: its bindings, read and changed so that nothing in it is lost."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from . import atomic, names
from .records import dataclass, field

KEYS = ("peer_id", "guild_id", "account_id", "channel", "default")  # what tier 1, 2 ... looks at
EVERYBODY = "*"  # the value of `default`

LARGEST = 16 << 20  # bytes of the file: a hundred thousand bindings
PATIENCE = 2.0  # seconds to wait for another process that changes the file
TRIES = 5  # to change it, while somebody keeps editing
DIGITS = 18  # of a priority


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


# -- the file's text


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise ValueError
    return number


DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)
_BLANK = re.compile(r"[ \t\r\n]*")
_TOKEN = re.compile(r'("(?:[^"\\]|\\.)*")|(?<=[{\[])\s+|\s+(?=[}\]])|(\s+)')


def parsed(data: bytes | None) -> list[Entry]:
    """The entries of a file; None: there is none. Raises ValueError, which tells line and column."""
    if data is None:
        return []
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        raise _fault(before, len(before), "it is not UTF-8: save it as UTF-8 text") from None
    entries: list[Entry] = []
    at, line, counted = _after(text, 0), 1, 0
    if text[at : at + 1] != "[":
        raise _fault(text, at, "an array of bindings begins with [, and an empty one is []")
    at = _after(text, at + 1)
    ended = text[at : at + 1] == "]"
    while not ended:
        line, counted = line + text.count("\n", counted, at), at
        try:
            value, end = DECODER.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise _fault(text, error.pos, error.msg) from None
        except RecursionError:
            raise _fault(text, at, "it is nested too deeply") from None
        except ValueError:
            raise _fault(text, at, "a number in this entry is too long, or none that JSON has") from None
        try:
            entries.append(Entry(text[at:end], line, binding(value)))
        except ValueError as error:
            entries.append(Entry(text[at:end], line, None, str(error)))
        at = _after(text, end)
        ended = text[at : at + 1] == "]"
        if not ended:
            if text[at : at + 1] != ",":
                raise _fault(text, at, "a comma or ] is missing")
            at = _after(text, at + 1)
    if (end := _after(text, at + 1)) < len(text):
        raise _fault(text, end, "nothing can follow the ]")
    return entries


def _after(text: str, at: int) -> int:
    """Where blanks that begin there end."""
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _fault(text: str, at: int, what: str) -> ValueError:
    line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    return ValueError(f"line {line}, column {column}: {what}")


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


def written(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False)


def _in_one_line(text: str) -> str:
    """JSON, with all that it says as it was written."""
    return _TOKEN.sub(lambda found: found[1] or (found[2] and " ") or "", text) if "\n" in text else text


# -- the file on disk


def signature(path: Path) -> tuple[int, ...] | None:
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_ctime_ns, info.st_mtime_ns, info.st_size, info.st_ino


def _content(path: Path) -> bytes | None:
    """What the file holds; None: there is none. Never blocks. Raises OSError, and ValueError where it is too large."""
    try:
        info = os.stat(path)
        if not stat.S_ISREG(info.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        if info.st_size > LARGEST:
            raise ValueError(f"it is larger than {LARGEST >> 20} MiB")
        return atomic.small(path, LARGEST)
    except (FileNotFoundError, NotADirectoryError):
        return None


def seen(path: Path) -> tuple[bytes | None, str]:
    try:
        return _content(path), ""
    except OSError as error:
        return None, f"it cannot be read ({error.strerror})"
    except ValueError as error:
        return None, str(error)


@contextmanager
def _alone(folder: Path) -> Iterator[int]:
    """Open the folder, and hold it among processes that change this file; not for ever: one of them may be stopped.
    Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise OSError(errno.EBUSY, "another process is changing it") from None
                time.sleep(0.002)
                continue
            except OSError:  # a file system without locks
                pass
            break
        yield fd
    finally:
        os.close(fd)


def replace(path: Path, edit: Callable[[list[Entry]], list[str]]) -> None:
    """Replace the file by what `edit` makes of its entries. Raises OSError, and ValueError for a broken file."""
    real = Path(os.path.realpath(path))  # a link stays one
    with _alone(real.parent) as folder:
        if not any(_is_replaced(folder, real, edit) for _ in range(TRIES)):
            raise OSError(errno.EBUSY, "somebody keeps editing it")


def _is_replaced(folder: int, path: Path, edit: Callable[[list[Entry]], list[str]]) -> bool:
    """Try it once; False: somebody has edited the file meanwhile."""
    before = _content(path)
    entries = parsed(before)
    texts = edit(entries)
    if texts == [each.text for each in entries]:
        return True
    if before is not None and not os.access(path, os.W_OK):  # renaming would not mind
        raise PermissionError(errno.EACCES, "it is write-protected")
    lines = ",\n  ".join(map(_in_one_line, texts))
    # Half a surrogate pair can only stand in a string, where its escape means the same.
    data = (f"[\n  {lines}\n]\n" if texts else "[]\n").encode("utf-8", "backslashreplace")
    if len(data) > LARGEST:
        raise OSError(errno.EFBIG, f"it would be larger than {LARGEST >> 20} MiB")
    staged = f".{os.urandom(8).hex()}.tmp"
    old = os.stat(path) if before is not None else None
    try:
        atomic.replace_at(folder, staged, data, None, old)
        if _content(path) != before:  # no lock holds back an editor
            return False
        os.replace(staged, path.name, src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(staged, dir_fd=folder)
    atomic.sync(folder)
    return True
