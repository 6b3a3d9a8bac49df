"""The desk: where messages arrive. Each goes into the lane of its session, and what comes of it to the channels."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

from .approval import Approvals, Asker
from .cancel import Cancel
from .channel import TERMINAL, Channel
from .command import Commands, is_command, is_owner
from .errors import Cancelled, CommandError
from .events import ENDINGS, Answer, Ask, Done, Error, Event, Heard, Inbound, Interrupted, Notice
from .lanes import LaneFull, Lanes
from .node import Run
from .session import Session

log = logging.getLogger("agentkit")

_Place = tuple[str, str, str]  # channel, person, group


class _Turn:
    """One that is to be answered, or is being answered. key: of its session; through: the channel that brought it;
    cancel: None: it waits in its lane; withdrawn: it was stopped there, and has ended for whoever waited for it;
    refused: and that was because the program ends, so that it is to be said again."""

    def __init__(self, inbound: Inbound, key: str, through: Channel | None, publish: Callable[[Event], None]) -> None:
        self.inbound, self.key, self.through, self.publish = inbound, key, through, publish
        self.place = _place(inbound)
        self.cancel: Cancel | None = None
        self.withdrawn = self.refused = False


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
        self._lanes, self._approvals = lanes, approvals
        self._session_of, self._commands = session_of, commands
        self._lock = threading.Lock()  # serialises changing what follows, and what turns hold
        # These two are replaced, never changed: they are looked at without the lock.
        self._channels = channels
        self._leaving: tuple[Channel, ...] = ()  # those that were removed
        self._turns: dict[_Place, list[_Turn]] = {}  # by who waits for them where, in order
        self._asks: dict[str, _Turn] = {}  # by the id of a question that is open

    @property
    def channels(self) -> Mapping[str, Channel]:
        """By name."""
        return self._channels

    @channels.setter
    def channels(self, channels: Mapping[str, Channel]) -> None:
        """What was asked through one that is not there any more is refused: nobody could answer it."""
        with self._lock:
            self._channels = channels
            asks = list(self._asks.items())
        for id, turn in asks:
            self._refuse_if_gone(id, turn)

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
        turn = _Turn(inbound, session.key, self.channels.get(inbound.source), publish)
        with self._lock:
            self._turns.setdefault(turn.place, []).append(turn)

        def work(cancel: Cancel) -> None:
            present = self._present(session, inbound)
            with self._lock:
                turn.cancel = cancel
            if turn.withdrawn:
                if not turn.refused:
                    self._keep(present, inbound, cancel)
                return
            run = Run(publish, lambda ask: self._ask(ask, turn, cancel), cancel)
            self._tell_others(inbound, session.key)
            try:
                present.take(inbound, run)
            except Cancelled:
                publish(Interrupted(""))
            except BaseException as error:  # whatever it is, the sender must hear that this is the end
                publish(_failed(error))
                raise
            finally:
                self._over(turn)

        try:
            self._lanes.get(session.key).put(work)
        except (LaneFull, RuntimeError) as error:
            self._over(turn)
            if not turn.withdrawn:
                publish(Error("overloaded", str(error)) if isinstance(error, LaneFull) else _failed(error))

    def interrupt(self, inbound: Inbound) -> bool:
        """Stop the turn that runs for this sender, or else the first one that waits, as /stop does; was there one?

        Where there is none it stops what runs in their session and nobody has asked for. Turns of others there are
        stopped only by the owner of the machine, and in words: a key that comes too late means what has just ended.
        """
        if self._interrupt_own(inbound):
            return True
        if inbound.group:
            return False
        key = self._session_of(inbound).key
        with self._lock:
            others = any(each.key == key for turns in self._turns.values() for each in turns)
        if others and not (inbound.text and is_owner(inbound)):
            return False
        return self._lanes.get(key).interrupt()

    def withdraw(self, inbound: Inbound) -> bool:
        """Stop the turn of this very message, whether it runs or waits; is it there?"""
        return self._end(_place(inbound), lambda turn: turn.inbound.turn == inbound.turn)

    def close(self) -> int:
        """The program is about to end: turns that wait are refused, for whoever waits for them; how many were there?"""
        with self._lock:
            waiting = [each for turns in self._turns.values() for each in turns if each.cancel is None]
            for each in waiting:
                each.withdrawn = each.refused = True
                self._forget(each)
        for each in waiting:
            each.publish(Interrupted(""))
        return len(waiting)

    def publish(self, event: Event, but: str = "") -> None:
        """Show an event to all channels, but for one."""
        for channel in (*self.channels.values(), *self._leaving):
            if channel.name == but:
                continue
            try:
                channel.show(event)
            except Exception:  # somebody else's code: the other channels still hear of it
                log.exception("the channel %s could not show an event", channel.name)
        if self._leaving and isinstance(event, ENDINGS):
            with self._lock:
                self._leaving = tuple(each for each in self._leaving if getattr(each, "awaited", False))

    def leaves(self, channel: Channel) -> None:
        """A channel was stopped: one that still has turns (`awaited`) hears of their ends."""
        if getattr(channel, "awaited", False):
            with self._lock:
                self._leaving = (*self._leaving, channel)

    def _interrupt_own(self, inbound: Inbound) -> bool:
        # Who answers may have changed since: what runs is where their messages went.
        return self._end(_place(inbound), lambda turn: True)

    def _end(self, place: _Place, meant: Callable[[_Turn], bool]) -> bool:
        """Stop those that run there of the turns that are meant, or else the first one that waits; was there one?"""
        with self._lock:
            turns = [each for each in self._turns.get(place, ()) if meant(each)]
            running = [each.cancel for each in turns if each.cancel]
            waiting = turns[0] if turns and not running else None
            if waiting:  # it may have to wait long for somebody else's, and nobody is to wait for it
                waiting.withdrawn = True
                self._forget(waiting)
        for cancel in running:
            cancel.set()
        if waiting:
            waiting.publish(Interrupted(""))
        return bool(turns)

    def _keep(self, session: Session, inbound: Inbound, cancel: Cancel) -> None:
        """What was said in a turn that was withdrawn is in the conversation; it has no other effect."""
        if is_command(inbound.text):
            return
        cancel.set()
        session.take(inbound, Run(lambda event: None, _nobody, cancel))

    def _present(self, session: Session, inbound: Inbound) -> Session:
        """The same session, as it is in memory now: it may have left since, and from here on it cannot."""
        with suppress(CommandError):
            now = self._session_of(inbound)
            return now if now.key == session.key else session
        return session

    def _tell_others(self, inbound: Inbound, key: str) -> None:
        source = inbound.source
        channel = source if inbound.channel == source else f"{inbound.channel} via {source}"
        heard = Heard(channel, inbound.sender or inbound.peer, inbound.text)
        self.publish(heard.stamped(key, inbound.turn), but=source)

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

    def _ask(self, ask: Ask, turn: _Turn, cancel: Cancel) -> Answer:
        """Have the sender, and nobody else, decide."""
        source, channel = turn.inbound.source, turn.through
        if channel is None or not channel.can_ask or self._is_gone(turn):
            why = f"{source} was closed meanwhile" if self._is_gone(turn) else _cure(source)
            turn.publish(Notice(f"{ask.tool} was refused: nobody is there to be asked ({why}).", "warn"))
            return _nobody(ask)

        def show(ask: Ask) -> None:
            with self._lock:
                self._asks[ask.id] = turn
            turn.publish(ask)
            self._refuse_if_gone(ask.id, turn)

        try:
            who = Asker(turn.key, source, turn.inbound.peer)
            return self._approvals.ask(ask, who, show, cancel, channel.ask_limit)
        finally:
            with self._lock:
                self._asks.pop(ask.id, None)

    def _is_gone(self, turn: _Turn) -> bool:
        """Was the channel closed that brought it? One that was opened since knows nothing of it."""
        return turn.through is not None and self.channels.get(turn.inbound.source) is not turn.through

    def _refuse_if_gone(self, ask: str, turn: _Turn) -> None:
        if self._is_gone(turn):
            source, peer = turn.inbound.source, turn.inbound.peer
            self._approvals.answer(source, peer, ask, Answer("deny", f"{source} was closed meanwhile"))

    def _over(self, turn: _Turn) -> None:
        with self._lock:
            if not turn.withdrawn:
                self._forget(turn)

    def _forget(self, turn: _Turn) -> None:
        """Called with the lock held."""
        assert self._lock.locked()
        self._turns[turn.place].remove(turn)
        if not self._turns[turn.place]:
            del self._turns[turn.place]


def _place(inbound: Inbound) -> _Place:
    return inbound.source, inbound.peer, inbound.group


def _nobody(ask: Ask) -> Answer:
    return Answer("deny", "nobody is there to be asked")


def _cure(source: str) -> str:
    """How what is asked in a channel where nobody can be asked may run all the same."""
    whom = {TERMINAL: "--yes allows it for one run, ", "discord": "DISCORD_ALLOWED_USERS names whom to ask, "}
    return f"{whom.get(source, '')}TOOL_APPROVAL says what asks at all"


def _failed(error: BaseException) -> Error:
    cure = "Say it again; the log tells more."
    return Error("unknown", f"agentkit itself failed ({type(error).__name__}: {error}). {cure}"[:300])
