"""The log on stderr, for whoever keeps a server: a line each. Whoever does not read holds up nobody.

Where journald reads (systemd.exec(5), JOURNAL_STREAM), it has the time itself, and is told how serious a line is as it
wants that (sd-daemon(3)): `<6>` in place of the date and the word.
"""

from __future__ import annotations

import json
import logging
import os
import select
import sys
import threading
from collections import deque
from contextlib import suppress
from datetime import datetime
from typing import Any

from ..events import Event, Notice
from ..log import dated, hidden, level_name, words

MOST = 1 << 20  # bytes that wait to be told, of more than one line
LAST_WORDS = 1.0  # seconds that they have

PRIORITIES = {"debug": 7, "info": 6, "warn": 4, "error": 3}  # syslog(3)


class Teller(logging.Handler):
    """as_json: an object a line. A line of the log is a notice; one of an event has what that has, and the time."""

    def __init__(self, as_json: bool = False) -> None:
        super().__init__()
        self._fd = sys.stderr.fileno() if sys.stderr else -1  # it may have been closed
        self._line = _json if as_json else _for_journal if _is_journal(self._fd) else _plain
        self._changed = threading.Condition()  # serialises the rest, and wakes the thread that writes
        self._lines: deque[bytes] = deque()
        self._size = 0  # bytes of those
        self._untold = 0  # lines for which there was no room
        self._ended = False
        self._writer: threading.Thread | None = None

    def begin(self) -> None:
        """Write from now on."""
        self._writer = threading.Thread(target=self._write, name="log", daemon=True)
        self._writer.start()

    def end(self) -> None:
        """Tell what is still to be told, to whoever reads it at once."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        if self._writer:
            self._writer.join(LAST_WORDS)

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(Exception):  # a line that cannot be made is nothing to fail for
            line = self._line(record).encode("utf-8", "backslashreplace")
            with self._changed:
                if self._untold or (self._lines and self._size + len(line) > MOST):
                    self._untold += 1  # until all is told that waits: what is told is told in order
                else:
                    self._lines.append(line)
                    self._size += len(line)
                    self._changed.notify()

    def _write(self) -> None:
        while line := self._next():
            with suppress(OSError):  # nobody is left to read it
                while line:
                    try:
                        line = line[os.write(self._fd, line) :]
                    except BlockingIOError:  # somebody who shares it has set it so
                        select.select([], [self._fd], [])

    def _next(self) -> bytes:
        """The next line; empty: there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._untold or self._ended)
            if not self._lines and self._untold:
                text = f"{self._untold:,} events were not told: nobody read them"
                self._untold = 0
                return self._line(logging.LogRecord("agentkit", logging.WARNING, "", 0, text, (), None)).encode()
            line = self._lines.popleft() if self._lines else b""
            self._size -= len(line)
            return line


def _plain(record: logging.LogRecord) -> str:
    return f"{dated(record)}\n"


def _for_journal(record: logging.LogRecord) -> str:
    return f"<{PRIORITIES[level_name(record)]}>{words(record)}\n"


def _json(record: logging.LogRecord) -> str:
    event = getattr(record, "event", None) or Notice(words(record), level_name(record))
    assert isinstance(event, Event)
    when = datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
    told: dict[str, Any] = {"time": when, **hidden(event.record())}
    try:
        return f"{json.dumps(told, allow_nan=False)}\n"
    except ValueError:  # JSON has no such numbers, though Python reads them
        return f"{json.dumps(json.loads(json.dumps(told), parse_constant=lambda name: None))}\n"


def _is_journal(fd: int) -> bool:
    """Is it journald's end? Children of what it reads have the variable too, and another stderr perhaps."""
    try:
        there = os.fstat(fd)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{there.st_dev}:{there.st_ino}"
