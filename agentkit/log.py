"""The log: what happens, a line each, in .state/agentkit.log; never with a key in it, never in the way.

A line is one line: what another's text holds cannot begin one. `words` is what all who tell it say, each behind a time.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from .events import Notice
from .printable import printable

log = logging.getLogger("agentkit")

LARGEST = 1 << 20  # bytes of the log
LONGEST = 2000  # characters of a line
ECHO, ECHOES = 3.0, 50  # seconds in which the same warning is none, and how many are looked back at
EARLY = 100  # lines that are kept until there is a workspace
SHORTEST_KEY = 6  # what is shorter is made up for a server that needs none, and may be part of any word
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
INDENT = "    "  # of what belongs to the line above

FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

_secrets: tuple[str, ...] = ()  # replaced, never changed: any thread may look


class Failure(NamedTuple):
    """What went wrong last; at: in seconds since 1970."""

    at: float
    text: str


def start(workspace: Path, level: str, secrets: Sequence[str], *tellers: logging.Handler) -> None:
    """Send the log, warnings of libraries and the last words of threads to .state/agentkit.log; levels as in LEVELS.

    tellers: who is to have it too. A workspace that is not there yet is not made for it, except for `debug`: what
    comes before it is written when it is there.
    """
    global _secrets
    _secrets = ()
    hide(*secrets)
    root = logging.getLogger()
    for old in root.handlers:
        if isinstance(old, _File):
            old.close()
    root.handlers[:] = [_last, _File(workspace, makes=level == "debug"), *tellers]
    log.addFilter(_echo)
    set_level(level)
    threading.excepthook = _thread_failed


def set_level(level: str) -> None:
    """Tell what is at least so serious; one of LEVELS."""
    logging.getLogger().setLevel(max(logging.WARNING, LEVELS[level]))
    log.setLevel(LEVELS[level])


def hide(*secrets: str) -> None:
    """Let nobody read these from now on."""
    global _secrets
    more = [each for each in secrets if len(each) >= SHORTEST_KEY]
    _secrets = tuple(sorted({*_secrets, *more}, key=len, reverse=True))  # one may be part of another


def reopen() -> None:
    """Go on in a new file, where somebody has put the old one away."""
    for each in logging.getLogger().handlers:
        if isinstance(each, _File):
            each.close_file()


def last_failure() -> Failure | None:
    """The last error that was told, in this process."""
    return _last.failure


def failure(error: Exception) -> int:
    """The program itself failed: one line for the user, the rest for the log; returns the exit code."""
    log.error("agentkit failed", exc_info=error)
    cure = "Start it with LOG_LEVEL=debug and look into .state/agentkit.log in the workspace."
    print(hidden(f"agentkit failed ({type(error).__name__}: {error}). {cure}"), file=sys.stderr)
    return 1


# -- what is told


def hidden(value: Any) -> Any:
    """The same, a text or what JSON can hold, without the keys."""
    if isinstance(value, str):
        for secret in _secrets:
            value = value.replace(secret, "[key]")
    elif isinstance(value, dict):
        return {name: hidden(each) for name, each in value.items()}
    elif isinstance(value, (list, tuple)):
        return [hidden(each) for each in value]
    return value


def words(record: logging.LogRecord) -> str:
    """What has happened, in one line: where, what, and the error that it was, if it was one."""
    where = getattr(record, "session", "") or ("" if record.name == log.name else record.name)
    text = record.getMessage()
    if record.exc_info and record.exc_info[0]:
        text = f"{text} ({record.exc_info[0].__name__}: {record.exc_info[1]})"
    return one_line(f"{where}: {text}" if where else text)


def one_line(text: str) -> str:
    """A text as a part of a line, without the keys."""
    lines = (each.strip() for each in printable(text).replace("\t", " ").split("\n"))
    line = hidden(" | ".join(filter(None, lines)))
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."


def level_name(record: logging.LogRecord) -> str:
    """One of LEVELS."""
    return next((name for name, number in reversed(LEVELS.items()) if record.levelno >= number), "debug")


def dated(record: logging.LogRecord) -> str:
    """The line, with the time on this machine and how serious it is."""
    then = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
    return f"{then} {level_name(record):5} {words(record)}"


def _traceback(record: logging.LogRecord) -> str:
    """Where it went wrong, as lines that belong to the one above."""
    if not (record.exc_info and record.exc_info[0]):
        return ""
    import traceback  # slow to load, and seldom wanted

    lines = "".join(traceback.format_exception(*record.exc_info)).splitlines()
    depths = (len(each) - len(each.lstrip(" ")) for each in lines)
    return "".join(f"{INDENT}{' ' * depth}{one_line(each)}\n" for depth, each in zip(depths, lines, strict=True))


# -- who is told


class _Last(logging.Handler):
    """Keeps the last error."""

    failure: Failure | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            with suppress(Exception):  # what cannot be put in words is not worth failing for
                self.failure = Failure(record.created, words(record))


_last = _Last()


class _Echo(logging.Filter):
    """Drops a warning that was told just now: who logs it may show it too, and what is read anew is still wrong."""

    def __init__(self) -> None:
        super().__init__()
        self._told: deque[tuple[float, str]] = deque(maxlen=ECHOES)

    def filter(self, record: logging.LogRecord) -> bool:
        event = getattr(record, "event", None)
        if record.levelno < logging.WARNING or record.exc_info or not isinstance(event, (Notice, type(None))):
            return True
        text = words(record)
        is_new = not any(record.created - at < ECHO and text == told for at, told in [*self._told])
        if is_new:
            self._told.append((record.created, text))
        return is_new


_echo = _Echo()


class _File(logging.Handler):
    """A file that processes share: made, with its folder, when there is something to write; begun anew when it is
    full, and the one before kept as .1. Where it cannot be written to, the line is dropped. makes: the workspace too.
    """

    def __init__(self, workspace: Path, makes: bool) -> None:
        super().__init__()
        self._workspace, self._path = workspace, workspace / ".state" / "agentkit.log"
        self._makes = makes
        self._early: list[str] = []  # what came before the workspace
        self._fd = -1
        self._is_torn = False  # the last line has no end

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(Exception):  # the log is never in the way
            text = f"{dated(record)}\n"
            if record.exc_info:
                text += _traceback(record)
            if not (self._makes or self._fd >= 0 or self._workspace.is_dir()):
                self._early = [*self._early[1 - EARLY :], text]
                return
            self._open()
            text, self._early = "".join((*self._early, text)), []
            data = b"\n" * self._is_torn + text.encode("utf-8", "backslashreplace")
            # One write: the kernel adds it as a whole to what other processes write.
            self._is_torn = os.write(self._fd, data) < len(data)

    def close(self) -> None:
        self.close_file()
        super().close()

    def close_file(self) -> None:
        """Open it again for the next line."""
        self.acquire()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self.release()

    def _open(self) -> None:
        """Have the file open that is there now, and has room."""
        if self._fd >= 0:
            mine = os.fstat(self._fd)
            if _is_at(self._path, mine) and (mine.st_size <= LARGEST or not self._is_put_away(mine)):
                return
            self.close_file()
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = os.open(self._path, FLAGS, 0o600)
        mine = os.fstat(self._fd)
        if not stat.S_ISREG(mine.st_mode):
            self.close_file()
            raise OSError(errno.EINVAL, "it is no regular file", str(self._path))
        if mine.st_mode & 0o077:
            with suppress(OSError):  # it is another user's
                os.fchmod(self._fd, 0o600)
        if mine.st_size > LARGEST:
            self._open()

    def _is_put_away(self, mine: os.stat_result) -> bool:
        """Rename the full file; False: another process is about to, or it cannot be done. The lock is on the file
        itself: whoever has it next finds that it has another name by then."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        try:
            if _is_at(self._path, mine):
                os.replace(self._path, self._path.with_name(f"{self._path.name}.1"))
            return True
        except OSError:
            return False
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)


def _is_at(path: Path, file: os.stat_result) -> bool:
    try:
        there = os.stat(path)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (file.st_dev, file.st_ino)


def _thread_failed(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit:
        name = args.thread.name if args.thread else "?"
        info = (args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback)
        log.error("thread %s failed", name, exc_info=info)
