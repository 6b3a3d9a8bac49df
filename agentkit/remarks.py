"""What agents have said by themselves, as part of the conversation in which it is shown: written there by the process
that shows the letter, once. The letter stays on disk until it is both shown and written."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from .cancel import Cancel
from .contacts import Contact, agent_of
from .envelope import DeliveryError, Letter, NobodyThere
from .errors import CommandError
from .events import Event, Inbound, Notice
from .lanes import LaneFull, Lanes
from .letters import Letters
from .session import Session

log = logging.getLogger("agentkit")

SLACK = 60.0  # seconds by which a file system's clock may be behind ours

SHOW, WRITE = "show", "write"  # what there is to do with a letter


class Remarks:
    """May be used from any thread.

    folder: where the letters are; session_of: raises CommandError where its agent is gone; leave: hears that a session
    is used no more.
    """

    def __init__(
        self,
        folder: Path,
        lanes: Lanes,
        session_of: Callable[[Contact], Session],
        leave: Callable[[Session], None],
    ) -> None:
        self._letters, self._lanes, self._session_of, self._leave = Letters(folder), lanes, session_of, leave
        self._lock = threading.Lock()  # serialises the one below
        self._to_do: dict[str, set[str]] = {}  # by letter: what of it is left, SHOW and WRITE

    def deliver(self, letter: Letter, send: Callable[[Letter], object]) -> bool:
        """Show a letter, unless it was or stands in what is shown, and have it written down as soon as its session's
        lane is free, for which this does not wait. True: its file is removed then. Raises DeliveryError, as `send`
        does."""
        if self._lanes.stopping:
            raise NobodyThere("agentkit is about to end here")
        with self._lock:
            known = self._to_do.get(letter.id)
        if known is None:
            contact = _contact(letter)
            try:
                if self._is_on_screen(letter, self._session_of(contact)):
                    return False
                with self._lock:
                    self._to_do[letter.id] = {SHOW, WRITE}
                # First of all, so that what is said about it comes behind it.
                self._lanes.get(letter.session).put(partial(self._write, letter, contact))
            except CommandError as error:
                log.info("letter %s is in no conversation: %s", letter.id, error)
                send(letter)
                return False
            except (LaneFull, RuntimeError) as error:
                with self._lock:
                    del self._to_do[letter.id]
                raise DeliveryError(str(error)) from None
        elif SHOW not in known:
            if not known:  # it could not be removed
                self._done(letter, SHOW)
            return True
        send(letter)
        self._done(letter, SHOW)
        return True

    def _is_on_screen(self, letter: Letter, session: Session) -> bool:
        """Does it stand in the conversation that is open, or will be? An earlier process has got so far."""
        label = session.opens(letter.channel)
        return bool(label) and label in session.archive.holding(letter.id, _since(letter))

    def _write(self, letter: Letter, contact: Contact, cancel: Cancel) -> None:
        """In the session's lane."""
        try:
            session = self._session_of(contact)
            session.begin(Inbound("", contact.channel, contact.peer), _log)
            is_new = not session.archive.holding(letter.id, _since(letter))
            if is_new and not session.remark(letter.by, letter.text, letter.id):
                log.info("letter %s is in no conversation: another process has it", letter.id)
            is_saved = not session.conversation.unsaved
            self._leave(session)
        except CommandError as error:
            log.info("letter %s is in no conversation: %s", letter.id, error)
            is_saved = True
        if is_saved:
            self._done(letter, WRITE)

    def _done(self, letter: Letter, what: str) -> None:
        """The last of the two removes the file."""
        with self._lock:
            left = self._to_do[letter.id]
            left.discard(what)
            if left:
                return
        try:
            self._letters.drop(letter.id)
        except OSError as error:  # it is known here that it was shown, so that it is not shown again
            log.warning("letter %s cannot be removed: %s", letter.id, error.strerror)
            return
        with self._lock:
            del self._to_do[letter.id]


def _contact(letter: Letter) -> Contact:
    """Whom it is for."""
    return Contact(letter.session, agent_of(letter.session), letter.channel, letter.to, letter.to, letter.at)


def _since(letter: Letter) -> float:
    """From when on it may have been written down, in seconds since 1970."""
    return letter.at - SLACK if letter.at < time.time() else 0.0


def _log(event: Event) -> None:
    """Nobody watches: what would be told is in the log."""
    if isinstance(event, Notice):
        log.info("%s", event.text)
