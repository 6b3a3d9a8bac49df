"""Checks at work: each in a thread of its own, all at once and with one limit; what they find comes in their order."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from queue import Empty, SimpleQueue

from . import Finding, fail

log = logging.getLogger("agentkit")

Check = Callable[[], Iterator[Finding]]


def side_by_side(checks: Mapping[str, Check], patience: float) -> Iterator[Finding]:
    """What all find, as soon as it is its turn; one that is not done after so many seconds is said to be late, and
    left behind. checks: by what to call them."""
    boxes: dict[str, SimpleQueue[Finding | None]] = {name: SimpleQueue() for name in checks}
    for name, check in checks.items():
        threading.Thread(target=_into, args=(boxes[name], name, check), name=name, daemon=True).start()
    deadline = time.monotonic() + patience
    for name, box in boxes.items():
        try:
            while (found := box.get(timeout=max(0.0, deadline - time.monotonic()))) is not None:
                yield found
        except Empty:
            yield fail(f"{name}: not done after {patience:.0f} s", "try again; what is above may say why")


def guarded(name: str, check: Check) -> Iterator[Finding]:
    """What a check finds, and how long it takes. One that fails itself is a finding too."""
    began = time.monotonic()
    try:
        for found in check():
            yield found if found.seconds else found._replace(seconds=time.monotonic() - began)
            began = time.monotonic()
    except Exception as error:  # whatever is odd about this machine, the other checks are worth having
        log.exception("the check %s failed", name)
        words = f"{name}: the check itself failed ({type(error).__name__}: {error})"
        yield fail(words, "this is a mistake in agentkit, told in its log; the other checks count")


def _into(box: SimpleQueue[Finding | None], name: str, check: Check) -> None:
    for found in guarded(name, check):
        box.put(found)
    box.put(None)
