"""The desk: where messages arrive. Each goes into the lane of its session, and what comes of it to the channels."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

from .approval import Approvals, Asker
from .cancel import Cancel
from .channel import TERMINAL, Channel
from .command import Commands
from .errors import Cancelled, CommandError
from .events import Answer, Ask, Done, Error, Event, Heard, Inbound, Interrupted, Notice
from .lanes import LaneFull, Lanes
from .node import Run
from .session import Session

log = logging.getLogger("agentkit")


class Desk:
    """May be used from any thread. channels: by name; session_of: the session of a message, raises CommandError."""

    def __init__(
        self,
        channels: Mapping[str, Channel],
        lanes: Lanes,
        approvals: Approvals,
        session_of: Callable[[Inbound], Session],
        commands: Callable[[], Commands],
    ) -> None:
        self.channels = channels  # replaced, never changed: it is looked at without a lock
        self._lanes, self._approvals = lanes, approvals
        self._session_of, self._commands = session_of, commands
        self._lock = threading.Lock()  # serialises the one below
        self._awaited: dict[tuple[str, str], list[str]] = {}  # by channel and person: the sessions they wait for

    def dispatch(self, inbound: Inbound) -> None:
        """Take a message; returns at once. Its events go to the channels, the last one ends its turn."""
        try:
            session = self._session_of(inbound)
        except CommandError as error:
            self.publish(Error("bad_request", str(error)).stamped("", inbound.turn))
            return

        def publish(event: Event) -> None:
            self.publish(event.stamped(session.key, inbound.turn))

        if self._commands().is_now(inbound.text) or self._commands().reroutes(inbound.text):
            publish(self._at_once(session, inbound, publish))
            return
        who = (inbound.source, inbound.peer)

        def work(cancel: Cancel) -> None:
            run = Run(publish, lambda ask: self._ask(ask, session.key, inbound, publish, cancel), cancel)
            self._tell_others(inbound, session.key)
            try:
                session.take(inbound, run)
            except Cancelled:
                publish(Interrupted(""))
            except BaseException as error:  # whatever it is, the sender must hear that this is the end
                publish(_failed(error))
                raise
            finally:
                self._waits_no_more(who, session.key)

        with self._lock:
            self._awaited.setdefault(who, []).append(session.key)
        try:
            self._lanes.get(session.key).put(work)
        except (LaneFull, RuntimeError) as error:
            self._waits_no_more(who, session.key)
            publish(Error("overloaded", str(error)) if isinstance(error, LaneFull) else _failed(error))

    def interrupt(self, inbound: Inbound) -> bool:
        """Stop the turn that runs in this sender's session, as /stop does; was there one?"""
        # Who answers may have changed since: what runs is where their messages went.
        with self._lock:
            keys = list(self._awaited.get((inbound.source, inbound.peer), ()))
        return any(self._lanes.get(key).interrupt() for key in (self._session_of(inbound).key, *keys))

    def publish(self, event: Event, but: str = "") -> None:
        """Show an event to all channels, but for one."""
        for channel in self.channels.values():
            if channel.name == but:
                continue
            try:
                channel.show(event)
            except Exception:  # somebody else's code: the other channels still hear of it
                log.exception("the channel %s could not show an event", channel.name)

    def _tell_others(self, inbound: Inbound, key: str) -> None:
        heard = Heard(inbound.channel, inbound.sender or inbound.peer, inbound.text)
        self.publish(heard.stamped(key, inbound.turn), but=inbound.source)

    def _at_once(self, session: Session, inbound: Inbound, publish: Callable[[Event], None]) -> Event:
        """Run a command that does not wait for its turn; returns the event that ends it."""
        try:
            session.begin(inbound, publish)
            ending = self._commands().answer(inbound, Run(publish, _nobody, Cancel()), session)
            if self._commands().reroutes(inbound.text):
                self._session_of(inbound).begin(inbound, publish)  # so that a frontend can show it
            assert isinstance(ending, (Done, Error)), "a command that runs at once has an answer of its own"
            return ending
        except CommandError as error:
            return Error("bad_request", str(error))
        except (Exception, SystemExit) as error:  # it runs in a channel's thread, which has to go on
            log.exception("a command failed")
            return _failed(error)

    def _ask(self, ask: Ask, key: str, inbound: Inbound, publish: Callable[[Event], None], cancel: Cancel) -> Answer:
        """Have the sender, and nobody else, decide."""
        channel = self.channels.get(inbound.source)
        if channel is None or not channel.can_ask:
            first = (
                "--yes allows it for one run"
                if inbound.source == TERMINAL
                else "DISCORD_ALLOWED_USERS names whom to ask"
            )
            cure = f"{first}, TOOL_APPROVAL says what asks at all"
            publish(Notice(f"{ask.tool} was refused: nobody is there to be asked ({cure}).", "warn"))
            return _nobody(ask)
        who = Asker(key, inbound.source, inbound.peer)
        return self._approvals.ask(ask, who, publish, cancel, channel.ask_limit)

    def _waits_no_more(self, who: tuple[str, str], key: str) -> None:
        with self._lock:
            self._awaited[who].remove(key)
            if not self._awaited[who]:
                del self._awaited[who]


def _nobody(ask: Ask) -> Answer:
    return Answer("deny", "nobody is there to be asked")


def _failed(error: BaseException) -> Error:
    cure = "Say it again; the log tells more."
    return Error("unknown", f"agentkit itself failed ({type(error).__name__}: {error}). {cure}"[:300])
