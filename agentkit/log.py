"""The log file: made at its first line, never with a key in it, never in the way."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Sequence
from logging.handlers import RotatingFileHandler
from pathlib import Path

log = logging.getLogger("agentkit")

SHORTEST_KEY = 6  # what is shorter is made up for a server that needs none, and may be part of any word
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}


def start(workspace: Path, level: str, secrets: Sequence[str]) -> None:
    """Send the log, warnings of libraries and the last words of threads to .state/agentkit.log; levels as in LEVELS.

    A workspace that is not there yet is not made for it, except for `debug`.
    """
    handler: logging.Handler = logging.NullHandler()
    if level == "debug" or workspace.is_dir():
        handler = _File(
            workspace / ".state" / "agentkit.log", maxBytes=1 << 20, backupCount=2, encoding="utf-8", delay=True
        )
        handler.setFormatter(_Redacted(secrets))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(logging.WARNING, LEVELS[level]))
    log.setLevel(LEVELS[level])
    threading.excepthook = _thread_failed


def failure(error: Exception) -> int:
    """The program itself failed: one line for the user, the rest for the log; returns the exit code."""
    log.error("agentkit failed", exc_info=error)
    print(
        f"agentkit failed ({type(error).__name__}: {error}). LOG_LEVEL=debug writes more to the log.", file=sys.stderr
    )
    return 1


class _File(RotatingFileHandler):
    """Makes its folder when there is something to write; where it cannot, the line is dropped."""

    def _open(self):  # type: ignore[no-untyped-def]  # its type is private to logging
        folder = Path(self.baseFilename).parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
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
