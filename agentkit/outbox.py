"""The outbox: what is put here arrives, however often the network, the server or this process fails meanwhile.

A letter is accepted when it is on disk, and removed when it was delivered: it arrives at least once, and a repeat has
the same id. One thread sleeps until something is due and hands it to short-lived workers, one for each destination
that is being tried. Whose turn it is, is decided in `destinations`; what a try leads to, in `delivery`; what is on
disk, in `letters`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from .cancel import Cancel
from .delivery import Deliver, Office, Send, postpone
from .destinations import LONGEST_SLEEP, Destination, Destinations
from .envelope import Envelope, Letter, letter_id
from .events import Answer, Event
from .letters import Letters
from .node import Run
from .pieces import pieces

log = logging.getLogger("agentkit")

Limit = Callable[[str], "int | None"]


class Waiting(NamedTuple):
    """A destination with letters; next: when the first is tried next, in seconds since 1970 (now, while it is being
    tried), None: when somebody is there; error: why that was not delivered yet."""

    channel: str
    to: str
    pending: int
    next: float | None
    error: str


class Stats(NamedTuple):
    """pending and failed: texts on disk; sent: since the start; next: as in Waiting, over all."""

    pending: int
    sent: int
    failed: int
    next: float | None
    paused: bool
    destinations: tuple[Waiting, ...]


class Outbox:
    """Letters on their way. May be used from any thread; by one process at a time, which the caller sees to.

    folder: where they are; send: hands one to its channel, returns when it has it (True: who has it removes its file,
    when there is nothing more to be done with it), and raises DeliveryError, or anything else, where it has not; limit:
    the characters that a channel's letter may have; tell: gets notices, must not block. `send` is called from several
    threads, but never for two letters of a destination at once, and may take its time: after a moment it no longer
    counts among the eight tries that run side by side. What hangs for ever costs a thread, of which there are at most
    128, and 64 for a channel; it should have a time limit of its own.
    """

    def __init__(
        self,
        folder: Path,
        send: Send,
        limit: Limit,
        *,
        clock: Callable[[], float] = time.time,
        tell: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self._letters = Letters(folder)
        run = Run(tell, lambda ask: Answer("deny", "nobody is there to ask"), Cancel())
        self._office = Office(run, self._letters, clock)
        self._send, self._limit, self._clock = send, limit, clock
        # Serialises everything below. Whatever changes what is due notifies the one thread that waits on it.
        self._changed = threading.Condition()
        self._destinations = Destinations()
        self._looked = False  # at the disk
        self._alone = False  # nobody else changes it
        self._paused = self._stopping = False
        self._sent = 0
        self._last_look = clock()
        self._threads: set[threading.Thread] = set()
        self._moving = threading.Lock()  # serialises what changes the disk and what is known of it together

    def start(self) -> None:
        """Begin to deliver. Returns when what is on disk is known: 10,000 letters take a quarter of a second."""
        with self._moving:
            self._letters.sweep()
            self._load()
            self._alone = True
        thread = threading.Thread(target=self._schedule, name="outbox", daemon=True)
        with self._changed:
            thread.start()
            self._threads.add(thread)

    def stop(self, timeout: float) -> bool:
        """Begin no other try, and wait for the end of those that run, in seconds; has everything ended?

        What is put later is kept for the next start, as is what waits.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify()
            threads = list(self._threads)
        deadline = time.monotonic() + timeout
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def put(
        self, channel: str, to: str, text: str, nonce: str = "", reply: str = "", *, by: str = "", session: str = ""
    ) -> list[str]:
        """Accept a text for somebody: when this returns, it survives whatever happens.

        nonce: by which the channel knows it from tries before this, at most 25 characters; it counts for a text of
        one part. reply: the id of the message that it answers, as the channel has it. by, session: as a Letter has
        them.
        Returns the ids of its parts, in order, each a letter of its own to the channel; none for a blank text. Raises
        OSError where it cannot be kept, such as on a full disk: nothing of it is then delivered.
        """
        texts = pieces(text, self._limit(channel))
        if not texts:
            return []
        with self._moving:
            if not self._looked:
                self._load()  # it comes behind what waits there
            nonce = nonce if len(texts) == 1 else ""
            envelope = self._letters.write(channel, to, texts, self._clock(), nonce, reply, by, session)
            ids = envelope.ids
            with self._changed:
                self._destinations.add(envelope)
                self._changed.notify()
        return ids

    def waits(self, channel: str, to: str) -> bool:
        """Is there a letter for somebody that has not arrived? Known from `start` on, and of what was put since."""
        with self._changed:
            return self._destinations.has(channel, to)

    def pause(self) -> None:
        """Begin no try until `resume`; letters are still accepted."""
        with self._changed:
            self._paused = True

    def resume(self) -> None:
        """Go on; the clock is looked at anew."""
        with self._changed:
            self._paused = False
            self._changed.notify()

    def wake(self, channel: str, to: str | None = None) -> None:
        """Somebody is there now: what waits because of NobodyThere is tried. to: only that destination."""
        with self._changed:
            self._destinations.wake(channel, to)
            self._changed.notify()

    def stats(self) -> Stats:
        """How it stands. Raises OSError."""
        with self._moving:
            self._load()
        failed = len(self._letters.failed_ids())
        with self._changed:
            now = self._now()
            for held in [each for each in self._destinations if each.held and each.trying is None]:
                self._destinations.keep(held, self._is_there)  # a chat in another process may have shown them
            found = []
            for each in self._destinations:
                envelopes = each.envelopes
                next = now if each.trying else None if each.held else max(now, envelopes[0].next)
                found.append(Waiting(each.channel, each.to, len(envelopes), next, envelopes[0].error))
            soonest = min((each.next for each in found if each.next is not None), default=None)
            return Stats(self._destinations.pending, self._sent, failed, soonest, self._paused, tuple(found))

    def failed(self) -> list[Letter]:
        """What is no longer tried, the oldest first: of each text the part that failed, with the reason. Raises
        OSError."""
        letters, said = self._letters.failures()
        self._office.say(said)
        return letters

    def retry(self, which: str) -> int:
        """Have tried at once what has failed, or waits: the letter of that id, or of its part, or `all`.

        Returns how many texts, or for what waits how many destinations, that are; 0: there is no such. Raises OSError.
        """
        found = 0
        with self._moving:
            self._load()
            for id in self._letters.failed_ids() if which == "all" else [letter_id(which)]:
                if (envelope := self._letters.take_back(id)) is not None:
                    found += 1
                    with self._changed:
                        self._destinations.add(envelope, at_once=True)
        with self._changed:
            for each in self._destinations:
                envelopes = each.envelopes
                wanted = which == "all" or any(envelope.id == letter_id(which) for envelope in envelopes)
                if wanted and (each.held or envelopes[0].next > self._now()):
                    self._destinations.hurry(each)
                    found += 1
            self._changed.notify()
        return found

    def _is_there(self, envelope: Envelope) -> bool:
        try:
            os.lstat(self._letters.path(envelope))
        except FileNotFoundError:
            return False
        except OSError:  # nobody knows
            pass
        return True

    # -- threads

    def _load(self) -> None:
        """Look at the disk, where another process may deliver: until `start` each time. Called with `_moving` held."""
        if self._alone:
            return
        self._looked = True
        try:
            envelopes, said = self._letters.load(self._clock())
        except OSError as error:
            envelopes = []
            said = [f"{self._letters.folder} cannot be read ({error.strerror}): see to it, and start again."]
        with self._changed:
            self._destinations = Destinations()
            for each in envelopes:
                self._destinations.add(each)
        self._office.say(said)

    def _schedule(self) -> None:
        with self._changed:
            while not self._stopping:
                while (destination := self._next()) is not None:
                    self._employ(destination)
                self._changed.wait(LONGEST_SLEEP if self._paused else self._destinations.sleep(self._clock()))

    def _next(self) -> Destination | None:
        """What to try now. Called with the lock held."""
        if self._paused or self._stopping:
            return None
        return self._destinations.take(self._now(), time.monotonic())

    def _now(self) -> float:
        """Called with the lock held."""
        now = self._clock()
        if now < self._last_look:
            self._destinations.set_back(self._last_look - now)
        self._last_look = now
        return now

    def _employ(self, destination: Destination) -> None:
        """Have a thread try it. Called with the lock held."""
        thread = threading.Thread(target=self._work, args=(destination,), name="delivery", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            postpone(destination, "the system has no thread for it", self._clock())
            self._destinations.give_back(destination, self._now())
        else:
            self._threads.add(thread)

    def _work(self, destination: Destination | None) -> None:
        while destination is not None:
            delivered = False
            try:
                delivered = Deliver(self._send, destination).run(self._office)
            except BaseException as error:  # the top of this thread: even an exit must not take the letter with it
                with suppress(Exception):  # nor may a log that cannot be written
                    postpone(destination, f"{type(error).__name__}: {error}", self._clock())
                    log.exception("a delivery broke off")
            with self._changed:
                self._sent += delivered
                self._destinations.give_back(destination, self._now())
                self._changed.notify()
                if (destination := self._next()) is None:
                    self._threads.discard(threading.current_thread())
