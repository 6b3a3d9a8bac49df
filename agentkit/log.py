"""The log file: made at its first line, never with a key in it, never in the way."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path

log = logging.getLogger("agentkit")

LARGEST = 1 << 20  # bytes of the log
SHORTEST_KEY = 6  # what is shorter is made up for a server that needs none, and may be part of any word
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}


def start(workspace: Path, level: str, secrets: Sequence[str]) -> None:
    """Send the log, warnings of libraries and the last words of threads to .state/agentkit.log; levels as in LEVELS.

    A workspace that is not there yet is not made for it, except for `debug`.
    """
    handler: logging.Handler = logging.NullHandler()
    if level == "debug" or workspace.is_dir():
        handler = _File(workspace / ".state" / "agentkit.log", encoding="utf-8", errors="replace", delay=True)
        handler.setFormatter(_Redacted(secrets))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(logging.WARNING, LEVELS[level]))
    log.setLevel(LEVELS[level])
    threading.excepthook = _thread_failed


def failure(error: Exception) -> int:
    """The program itself failed: one line for the user, the rest for the log; returns the exit code."""
    log.error("agentkit failed", exc_info=error)
    cure = "Start it with LOG_LEVEL=debug and look into .state/agentkit.log in the workspace."
    print(f"agentkit failed ({type(error).__name__}: {error}). {cure}", file=sys.stderr)
    return 1


class _File(logging.FileHandler):
    """Makes its folder when there is something to write, begins anew when it is full, and keeps the one before as .1;
    where it cannot write, the line is dropped. (logging.handlers would do for this, but is slow to load.)"""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self.stream is not None and self.stream.tell() > LARGEST:
                self.close()
        except (OSError, ValueError):  # it tries to write first what it could not write before
            self.stream = None
        super().emit(record)

    def _open(self) -> TextIOWrapper:
        path = Path(self.baseFilename)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > LARGEST:
            path.replace(path.with_suffix(".log.1"))
        return super()._open()

    def handleError(self, record: logging.LogRecord) -> None:
        pass


class _Redacted(logging.Formatter):
    def __init__(self, secrets: Sequence[str]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._secrets = [secret for secret in secrets if len(secret) >= SHORTEST_KEY]

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        for secret in self._secrets:
            text = text.replace(secret, "[key]")
        return text


def _thread_failed(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit:
        name = args.thread.name if args.thread else "?"
        info = (args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback)
        log.error("thread %s failed", name, exc_info=info)
