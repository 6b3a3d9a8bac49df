"""The commands about letters on their way: /delivery."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from .command import Command, Order
from .errors import CommandError
from .printable import span

if TYPE_CHECKING:
    from .beside import Beside
    from .outbox import Outbox, Waiting

SHOWN = 20  # destinations, and failed letters
BEGINNING = 60  # characters of a letter


def commands(beside: Callable[[], Beside]) -> list[Command]:
    """/delivery."""

    def delivery(order: Order) -> str:
        outbox = beside().outbox
        verb, _, which = order.rest.partition(" ")
        if verb in ("retry", "stop", "start") and (who := beside().background.elsewhere()):
            raise CommandError(f"Process {who} delivers the letters: say it there, or end that one first.")
        try:
            if verb == "retry" and which.strip():
                return _retry(outbox, which.strip())
            if order.rest == "failed":
                return _failed(outbox)
            if order.rest in ("stop", "start"):
                (outbox.pause if order.rest == "stop" else outbox.resume)()
            elif order.rest:
                raise CommandError("It is /delivery, /delivery failed, retry ID, retry all, stop or start.")
            return _state(beside())
        except OSError as error:
            raise CommandError(f"The letters cannot be read: {error.strerror}. Look at .state/outbox.") from None

    return [
        Command(
            "delivery", "[failed | retry ID | stop | start]", "letters on their way", delivery, now=True, owner=True
        )
    ]


def _state(beside: Beside) -> str:
    stats, background = beside.outbox.stats(), beside.background
    if who := background.elsewhere():
        how = f"done by process {who}"
    else:
        how = "stopped" if stats.paused else "running" if background.runs else "not running"
    lines = [f"delivery  {how}; pending: {stats.pending}, sent: {stats.sent}, failed: {stats.failed}"]
    lines += [f"  {_line(each)}" for each in stats.destinations[:SHOWN]]
    if (more := len(stats.destinations) - SHOWN) > 0:
        lines.append(f"  and {more:,} more destinations")
    return "\n".join(lines)


def _line(waiting: Waiting) -> str:
    if waiting.next is None:
        when = "when somebody is there"
    else:
        seconds = waiting.next - time.time()
        when = "now" if seconds < 1 else f"in {span(seconds)}"
    why = f" ({waiting.error})" if waiting.error else ""
    return f"{waiting.channel}:{waiting.to}  pending: {waiting.pending}, next try {when}{why}"


def _failed(outbox: Outbox) -> str:
    letters = outbox.failed()
    rows = [
        f"{each.id}  {each.channel}:{each.to}  {each.error}: {' '.join(each.text.split())[:BEGINNING]}"
        for each in letters[-SHOWN:]
    ]
    if not rows:
        return "No letter has failed."
    more = f"and {len(letters) - SHOWN:,} older ones\n" if len(letters) > SHOWN else ""
    return more + "\n".join(rows) + "\n/delivery retry ID has one tried again, /delivery retry all every one."


def _retry(outbox: Outbox, which: str) -> str:
    if not (count := outbox.retry(which)):
        raise CommandError(f"There is no letter {which} that waits or has failed: /delivery failed lists them.")
    return f"Tried again now: {count}."
