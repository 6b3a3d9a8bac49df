"""Letters for the terminal, where the process that delivers has none, such as `agentkit serve`: a chat beside it takes
them out of the outbox and shows them."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .channel import TERMINAL
from .envelope import Damaged, DeliveryError, Envelope, Letter
from .letters import Letters

log = logging.getLogger("agentkit")

PERIOD = 10.0  # seconds between two looks at the folder: nothing else tells this process of a new letter


class Pigeonhole:
    """state: the workspace's `.state`; send: shows a letter; is_needed: does a process without a terminal deliver?"""

    def __init__(self, state: Path, send: Callable[[Letter], None], is_needed: Callable[[], bool]) -> None:
        self._state, self._send, self._is_needed = state, send, is_needed
        self._letters = Letters(state / "outbox")
        self._seen = 0  # when the folder was changed, at the last look, in ns since 1970
        self._ended = threading.Event()

    def begin(self) -> None:
        """Look from time to time, until `end`."""
        threading.Thread(target=self._live, name="pigeonhole", daemon=True).start()

    def end(self) -> None:
        self._ended.set()

    def look(self) -> None:
        """Show what has come, of all chats in the first that is here."""
        try:
            changed = os.stat(self._letters.folder).st_mtime_ns
        except OSError:
            return
        if changed == self._seen or not self._is_needed():
            return
        with suppress(OSError), open(self._state / "terminal.lock", "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for envelope in self._letters.load(time.time())[0]:
                if envelope.channel == TERMINAL:
                    self._show(envelope)
            self._seen = changed

    def _show(self, envelope: Envelope) -> None:
        """One text, part by part. Raises OSError: it is tried again."""
        with suppress(FileNotFoundError, Damaged, DeliveryError):
            while True:
                self._send(self._letters.open(envelope))
                if envelope.part >= envelope.parts:
                    self._letters.remove(envelope)
                    return
                envelope.part += 1
                self._letters.note(envelope)

    def _live(self) -> None:
        while not self._ended.is_set():
            try:
                self.look()
            except Exception:  # the next look may do better
                log.exception("letters for the terminal could not be looked at")
            self._ended.wait(PERIOD)
