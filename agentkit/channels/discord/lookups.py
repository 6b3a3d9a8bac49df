"""Lookups of names that hold up nobody's exit: they may hang, and Python waits for the threads of its own executor."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

R = TypeVar("R")


class Daemons(ThreadPoolExecutor):  # asyncio takes no other kind
    """Runs each call in a daemon thread of its own; for an event loop's default executor."""

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        future: Future[R] = Future()
        threading.Thread(target=_run, args=(future, fn, args, kwargs), name="discord lookup", daemon=True).start()
        return future


def _run(future: Future[R], fn: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    try:
        result = fn(*args, **kwargs)
    except BaseException as error:
        if future.set_running_or_notify_cancel():  # whoever wanted it may have left, and taken the loop along
            future.set_exception(error)
    else:
        if future.set_running_or_notify_cancel():
            future.set_result(result)
