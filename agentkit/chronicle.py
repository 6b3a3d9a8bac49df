"""What was said in all sessions, as their folders have it; whether a session is busy does not matter."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from .archive import Archive
from .conversation import SUFFIX
from .names import encoded
from .past import read
from .store import Message, typed

LARGEST = 900_000  # bytes of JSON, fully escaped, that are given at once: clients rarely take more than 1 MiB
LONGEST = 50_000  # characters of one message
MOST_COUNTED = 10_000  # files of which it is known how many messages they hold

_SHORTENED = re.compile(r"[a-z0-9:_@+=%A-F-][a-z0-9:_@+=.%A-F-]*~[0-9a-f]{16}")

Stamp = tuple[int, int, int]


class _Place(NamedTuple):
    """A session's folder. label: of its current conversation; used: when that was last written, in ns since 1970."""

    folder: Path
    label: str
    used: int


class Chronicle:
    """folder: `sessions` in the workspace, which need not exist. May be used from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._counted: dict[Path, tuple[Stamp, int]] = {}  # by file: what it was like, and its messages

    def find(self, key: str) -> Path | None:
        """The folder of a session; of one with a long key, the name that `sessions` gives it will do."""
        names = (encoded(key), *([key] if is_shortened(key) else []))
        return next((path for name in names if (path := self._folder / name).is_dir()), None)

    def sessions(self, most: int) -> list[dict[str, Any]]:
        """The sessions in which something was said, the one used last first.

        A key that is too long for a folder's name is not to be had from it: the name stands for it, and `shortened`
        says so.
        """
        places: list[_Place] = []
        with suppress(OSError), os.scandir(self._folder) as entries:
            for each in entries:
                # Other folders are none of ours: nobody could ask for them.
                if (_key(each.name) or is_shortened(each.name)) and (place := _place(Path(each.path))):
                    places.append(place)
        places.sort(key=lambda each: (-each.used, each.folder.name))
        return [self._told(each) for each in places[:most]]

    def history(self, folder: Path, most: int) -> dict[str, Any]:
        """The end of the current conversation of a session: what people and the agent have said."""
        label = Archive(folder).current
        try:
            said = [each for each in read((folder / f"{label}{SUFFIX}").read_bytes()).whole if _is_said(each)]
        except OSError:  # nothing was said yet, or it has just been renamed
            said = []
        told: list[dict[str, Any]] = []
        size = 0
        for each in reversed(said[-most:]):
            message = _message(each)
            size += len(json.dumps(message))
            if size > LARGEST and told:
                break
            told.insert(0, message)
        return {
            "session_key": _key(folder.name) or folder.name,
            "conversation": label,
            "messages": told,
            "earlier": len(said) - len(told),
        }

    def _told(self, place: _Place) -> dict[str, Any]:
        key = _key(place.folder.name)
        return {
            "session_key": key or place.folder.name,
            "agent_id": _agent(key or place.folder.name),
            "conversation": place.label,
            "messages": self._count(place.folder / f"{place.label}{SUFFIX}"),
            "last_used": _when(place.used),
            **({} if key else {"shortened": True}),
        }

    def _count(self, path: Path) -> int:
        try:
            info = path.stat()
            stamp = info.st_mtime_ns, info.st_size, info.st_ino
            known = self._counted.get(path)
            if known and known[0] == stamp:
                return known[1]
            count = sum(map(_is_said, read(path.read_bytes()).whole))
        except OSError:
            return 0
        if len(self._counted) >= MOST_COUNTED:
            self._counted.clear()
        self._counted[path] = stamp, count
        return count


def is_shortened(key: str) -> bool:
    """Is it what `sessions` gives for a key that is too long?"""
    return _SHORTENED.fullmatch(key) is not None


def _place(folder: Path) -> _Place | None:
    if not (label := Archive(folder).current):
        return None
    try:
        return _Place(folder, label, (folder / f"{label}{SUFFIX}").stat().st_mtime_ns)
    except OSError:
        return None


def _key(name: str) -> str:
    """The key that a folder's name stands for; empty: it cannot be told, or the folder is no session's."""
    try:
        key = unquote_to_bytes(name).decode("utf-8", "surrogatepass")
    except UnicodeError:
        return ""
    return key if encoded(key) == name else ""


def _when(nanoseconds: int) -> str | None:
    """A time since 1970 in words; None: no calendar has it, for files can be given any."""
    try:
        return datetime.fromtimestamp(nanoseconds / 1e9).astimezone().isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return None


def _agent(key: str) -> str:
    """The id of a session's agent."""
    word, _, rest = key.partition(":")
    return rest.partition(":")[0] if word == "agent" else ""


def _is_said(message: Message) -> bool:
    return message["role"] in ("user", "assistant") and bool(typed(message))


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    text = typed(message)
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}\n[{len(text) - LONGEST:,} characters more]"
    kept = {name: message[name] for name in ("at", "model", "interrupted") if name in message}
    return {"role": message["role"], "text": text, **kept}
