"""What connections want done beside the threads that read from them: looking into files, and changing them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

from .awaited import Client
from .cancel import Cancel
from .lanes import LaneFull, Lanes
from .rpc import SHUTTING_DOWN, TOO_BUSY, RpcError

AT_ONCE = 4  # looks, and changes
MOST = 1000  # of a connection that wait
LOOK = 1 << 18  # bytes that a look counts as, until its answer is there
CHANGE = 1 << 13  # that a change counts as


class Aside:
    """Of each connection one look, and one change, at a time: in the order they were asked for.

    May be used from any thread, but for one connection only by the one that reads from it.
    """

    def __init__(self) -> None:
        self._looks, self._changes = Lanes(AT_ONCE, MOST), Lanes(AT_ONCE, MOST)
        self._lock = threading.Lock()  # serialises the rest
        self._begun: set[Future[Any]] = set()
        self._behind: Counter[str] = Counter()  # what waits behind changes that is none, by connection
        self._stopped = False

    def look(self, client: Client, work: Callable[[], Any]) -> Future[Any]:
        """Read files. The Future holds what `work` returns, or raises. Raises RpcError where it cannot be begun."""
        return self._put(self._looks, client, work, LOOK)

    def change(self, client: Client, work: Callable[[], Any]) -> Future[Any]:
        """Write files, which may wait for another process; as `look`."""
        return self._put(self._changes, client, work, CHANGE)

    def after(self, client: Client, work: Callable[[], Any], size: int = 0) -> Any:
        """Do what must not come before the changes of its connection: at once, where none is under way.

        work: may return a Future, whose result counts; size: bytes that it keeps. As `look` otherwise.
        """
        key = _key(client)
        if not self._changes.get(key).busy:
            return work()

        def late() -> Any:
            self._count(key, -1)
            return work()

        self._count(key, 1)
        try:
            return self._put(self._changes, client, late, CHANGE + size)
        except RpcError:
            self._count(key, -1)
            raise

    def behind(self, client: Client, work: Callable[[], Any]) -> Any:
        """Do what has to do with nothing but what `after` was given."""
        with self._lock:
            waits = self._behind[_key(client)] > 0
        return self.after(client, work) if waits else work()

    def stop(self, timeout: float) -> None:
        """Begin nothing more, and wait, in seconds, for what has begun."""
        with self._lock:
            self._stopped = True
            begun = list(self._begun)
        wait(begun, timeout)

    def _put(self, lanes: Lanes, client: Client, work: Callable[[], Any], size: int) -> Future[Any]:
        future: Future[Any] = Future()

        def run(cancel: Cancel) -> None:
            try:
                if self._stopped:
                    raise RpcError(SHUTTING_DOWN, "The gateway stops: nothing was changed.")
                result = work()
                if isinstance(result, Future):
                    result.add_done_callback(lambda done: _pass_on(done, future))
                else:
                    future.set_result(result)
            except BaseException as error:  # whoever waits must hear of it
                future.set_exception(error)
            finally:
                client.reserve(-size)

        with self._lock:
            self._begun.add(future)
        client.reserve(size)
        try:
            lanes.get(_key(client)).put(run)
        except (LaneFull, RuntimeError) as error:
            self._ended(future)
            client.reserve(-size)
            why = f"{MOST} requests wait" if isinstance(error, LaneFull) else "The system has no thread for it"
            raise RpcError(TOO_BUSY, f"{why}. Try again later.") from None
        future.add_done_callback(self._ended)
        return future

    def _count(self, key: str, more: int) -> None:
        with self._lock:
            self._behind[key] += more
            if not self._behind[key]:
                del self._behind[key]

    def _ended(self, future: Future[Any]) -> None:
        with self._lock:
            self._begun.discard(future)


def _key(client: Client) -> str:
    return f"{id(client)}"  # nobody else has it while something of the client is under way


def _pass_on(done: Future[Any], to: Future[Any]) -> None:
    if (error := done.exception()) is not None:
        to.set_exception(error)
    else:
        to.set_result(done.result())
