"""Who was here last, and where they are reached: what the meta.json of each session says."""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from . import atomic
from .archive import META, SMALL
from .names import encoded

Seen = tuple[int, int, int]


class Contact(NamedTuple):
    """The person who spoke last in a session. to: where letters reach them in that channel; at: when they spoke, in
    seconds since 1970."""

    session: str
    agent: str
    channel: str
    peer: str
    to: str
    at: float


class Contacts:
    """folder: `sessions` in the workspace, which need not exist. May be used from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()  # serialises the one below
        self._known: dict[str, tuple[Seen, Contact | None]] = {}  # by the folder's name

    def since(self, when: float) -> list[Contact]:
        """Those who have spoken since, the one who spoke last first. A file that has not changed is not read again."""
        with self._lock:
            self._look()
            found = [each for _, each in self._known.values() if each and each.at >= when]
        return sorted(found, key=lambda each: (-each.at, each.session))

    def of(self, session: str) -> Contact | None:
        """Who spoke last in a session; None: nobody, as far as is known."""
        return _contact(self._folder / encoded(session) / META)

    def _look(self) -> None:
        """Called with the lock held."""
        known: dict[str, tuple[Seen, Contact | None]] = {}
        with suppress(OSError), os.scandir(self._folder) as entries:
            for each in entries:
                with suppress(OSError, UnicodeEncodeError):
                    path = f"{each.path}/{META}"
                    info = os.stat(path)
                    seen = info.st_mtime_ns, info.st_size, info.st_ino
                    before = self._known.get(each.name)
                    known[each.name] = before if before and before[0] == seen else (seen, _contact(Path(path)))
        self._known = known


def agent_of(session: str) -> str:
    """The id of the agent whose session a key is; empty: it is no such key."""
    return session.split(":")[1] if session.startswith("agent:") else ""


def _contact(path: Path) -> Contact | None:
    """What a meta.json says; None: it does not."""
    try:
        meta = json.loads(atomic.small(path, SMALL))
        words = [meta[name] for name in ("session", "channel", "peer", "to")]
        at = datetime.fromisoformat(meta["at"]).timestamp()
    except (OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return None
    session, channel, peer, to = words
    agent = agent_of(session) if isinstance(session, str) else ""
    if not agent or not all(isinstance(each, str) and each for each in words):
        return None
    if encoded(session) != path.parent.name:  # a copy of that session's folder
        return None
    return Contact(session, agent, channel, peer, to, at)
