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
from .delivery import Send
from .envelope import Damaged, DeliveryError, Envelope
from .letters import Letters

log = logging.getLogger("agentkit")

PERIOD = 10.0  # seconds between two looks at the folder: nothing else tells this process of a new letter


class Pigeonhole:
    """state: the workspace's `.state`; send: shows a letter (True: who has it removes its file); is_needed: does a
    process without a terminal deliver?"""

    def __init__(self, state: Path, send: Send, is_needed: Callable[[], bool]) -> None:
        self._state, self._send, self._is_needed = state, send, is_needed
        self._letters = Letters(state / "outbox")
        self._seen = 0  # when the folder was changed, at the last look, in ns since 1970
        self._lock = -1  # the file by which others leave letters to us, while there are such that are not done with
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
        with suppress(OSError):
            if self._lock < 0:
                self._lock = _locked(self._state / "terminal.lock")
            ours = [each for each in self._letters.load(time.time())[0] if each.channel == TERMINAL]
            done = [self._show(each) for each in ours]
            if all(done):
                self._seen = changed
                self._release()

    def _show(self, envelope: Envelope) -> bool:
        """One text, part by part; is it done with? Raises OSError: it is tried again."""
        try:
            while True:
                is_kept = self._send(self._letters.open(envelope))
                if envelope.part >= envelope.parts:
                    if not is_kept:
                        self._letters.remove(envelope)
                    return not is_kept
                envelope.part += 1
                self._letters.note(envelope)
        except (FileNotFoundError, Damaged):
            return True
        except DeliveryError as error:
            log.info("letter %s waits: %s", envelope.id, error)
            return False

    def _release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _live(self) -> None:
        while not self._ended.is_set():
            try:
                self.look()
            except Exception:  # the next look may do better
                log.exception("letters for the terminal could not be looked at")
            self._ended.wait(PERIOD)
        self._release()


def _locked(path: Path) -> int:
    """The file, held against other chats. Raises OSError where one has it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd
