"""The sessions that are in memory: made with their first message, given up when nobody has used them for a while."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from . import heap
from .records import dataclass
from .session import Session

IDLE = 600.0  # seconds after which a session leaves memory: its conversation is a file
MOST = 256  # sessions in memory, from which on less is enough
CROWDED = 1.0  # seconds, then


@dataclass(frozen=True)
class _Held:
    session: Session
    used: float  # monotonic seconds
    stays: bool


class Sessions:
    """May be used from any thread. busy: is there work in the lane of that session? clock: seconds, monotonic."""

    def __init__(self, busy: Callable[[str], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._busy, self._clock = busy, clock
        self._lock = threading.Lock()  # serialises making sessions and giving them up
        self._held: OrderedDict[str, _Held] = OrderedDict()  # by key, the one used last at the end
        self._timer: threading.Timer | None = None

    def get(self, key: str, make: Callable[[], Session], stays: bool) -> Session:
        """The session of that key; stays: somebody looks at it, so that it is never given up."""
        with self._lock:
            held = self._held.get(key)
            session = held.session if held else make()
            self._held[key] = _Held(session, self._clock(), stays or (held is not None and held.stays))
            self._held.move_to_end(key)
            if len(self._held) > MOST:
                self._give_up(len(self._held) - MOST, CROWDED)
            if not stays and self._timer is None:
                self._wake_later()
            return session

    def leave(self, key: str) -> None:
        """Have a session leave memory that nobody looks at, so that other processes can have its conversation. Called
        in its lane, where nothing else happens to it."""
        with self._lock:
            held = self._held.get(key)
            if held and not (held.stays or held.session.keeps or held.session.close()):
                del self._held[key]

    def all(self) -> list[Session]:
        with self._lock:
            return [held.session for held in self._held.values()]

    def stop(self) -> None:
        """Give none up any more."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()

    def _wake_later(self) -> None:
        """Look again when the one longest idle will have been so for long enough. Called with the lock held."""
        now = self._clock()
        left = (IDLE - (now - held.used) for held in self._held.values() if not held.stays)
        # Those that should have gone could not: they are seen to with the next, or after as long again.
        self._timer = threading.Timer(next((seconds for seconds in left if seconds > 0), IDLE), self.look)
        self._timer.daemon = True
        self._timer.start()

    def look(self) -> None:
        """Let go of those that nobody has used for long; done by itself while there are any."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            gave_up = self._give_up(len(self._held), IDLE)
            if any(not held.stays for held in self._held.values()):
                self._wake_later()
        if gave_up:
            heap.give_back()

    def _give_up(self, most: int, idle: float) -> int:
        """Let go of so many that were not used for so long, the one longest idle first; returns how many it were.
        Called with the lock held."""
        assert self._lock.locked()
        now = self._clock()
        gone: list[str] = []
        for key, held in self._held.items():
            if len(gone) >= most or now - held.used < idle:
                break
            if not (held.stays or held.session.keeps or self._busy(key) or held.session.close()):
                gone.append(key)
        for key in gone:
            del self._held[key]
        return len(gone)
