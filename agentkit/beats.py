"""What became of the last heartbeat of each session: one small file."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from . import atomic

log = logging.getLogger("agentkit")

AGAIN = 86_400.0  # seconds in which the same text is not said twice
FORGOTTEN = 30 * 86_400.0  # seconds after which nothing is known of a session any more
LARGEST = 16 << 20  # bytes of the file


Seen = tuple[int, int, int]


class Beat(NamedTuple):
    """at: when it was, in seconds since 1970; status: what became of it; said: a hash of the text that was said last,
    and said_at: when."""

    at: float
    status: str = ""
    said: str = ""
    said_at: float = 0.0


class Beats:
    """path: in `.state`, which is made if need be. now: seconds since 1970. May be used from any thread."""

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        self._path, self._now = path, now
        self._lock = threading.Lock()  # serialises what follows
        self._known: dict[str, Beat] = {}  # by session
        self._seen: Seen | None = None  # the file, when it was read or written; None: it is not there

    def get(self, session: str) -> Beat | None:
        """The last one; None: there was none, or it is of a time that is yet to come, for the clock was set back."""
        with self._lock:
            beat = self._read().get(session)
            return beat if beat and beat.at <= self._now() else None

    def note(self, session: str, status: str, at: float | None = None) -> None:
        """at: when it was, None: as it is known."""
        with self._lock:
            beat = self._read().get(session) or Beat(self._now())
            self._write({session: beat._replace(at=beat.at if at is None else at, status=status)})

    def said(self, session: str, text: str) -> None:
        """This was said just now."""
        with self._lock:
            beat = self._read().get(session) or Beat(self._now())
            self._write({session: beat._replace(said=_hash(text), said_at=self._now())})

    def is_repeated(self, session: str, text: str) -> bool:
        """Was just this said last, and not long ago?"""
        with self._lock:
            beat = self._read().get(session)
            return beat is not None and beat.said == _hash(text) and 0 <= self._now() - beat.said_at < AGAIN

    def begin(self, sessions: Iterable[str], at: float) -> None:
        """There was none in these before that."""
        with self._lock:
            known = self._read()
            new = {each: (known.get(each) or Beat(at))._replace(at=at, status="") for each in sessions}
            self._write(new)

    def _read(self) -> dict[str, Beat]:
        """As another process may have written it since. Called with the lock held."""
        if (seen := _seen(self._path)) == self._seen:
            return self._known
        self._seen, self._known = seen, {}
        with suppress(OSError, ValueError, RecursionError):
            records = json.loads(atomic.small(self._path, LARGEST))
            for session, record in records.items() if isinstance(records, dict) else ():
                if (beat := _beat(record)) is not None:
                    self._known[session] = beat
        return self._known

    def _write(self, new: Mapping[str, Beat]) -> None:
        """Called with the lock held."""
        known = {**self._read(), **new}
        self._known = {each: beat for each, beat in known.items() if self._now() - beat.at < FORGOTTEN}
        records = {each: beat._asdict() for each, beat in self._known.items()}
        try:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            # After a loss of power there is a heartbeat more, or less: that is not worth waiting for the disk.
            atomic.replace(self._path, json.dumps(records, indent=1).encode() + b"\n", 0o600, durable=False)
        except OSError as error:
            log.info("what became of the heartbeats is not saved: %s", error.strerror)
        self._seen = _seen(self._path)


def _seen(path: Path) -> Seen | None:
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_mtime_ns, info.st_size, info.st_ino


def _beat(record: Any) -> Beat | None:
    if not isinstance(record, dict):
        return None
    at, said_at = record.get("at", ""), record.get("said_at", 0.0)
    words = [record.get("status", ""), record.get("said", "")]
    if not all(isinstance(each, (int, float)) and abs(each) < 1e12 for each in (at, said_at)):
        return None
    return Beat(float(at), words[0], words[1], float(said_at)) if all(type(each) is str for each in words) else None


def _hash(text: str) -> str:
    return hashlib.sha256(" ".join(text.split()).encode("utf-8", "replace")).hexdigest()[:16]
