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
        background = beside().background
        if verb in ("retry", "stop", "start") and (who := background.elsewhere()):
            raise CommandError(f"Process {who} delivers the letters: {background.cure()}.")
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
            "delivery",
            "[failed | retry ID | stop | start]",
            "letters on their way",
            delivery,
            now=True,
            owner=True,
            choices=lambda session: ("failed", "retry ", "stop", "start"),
        )
    ]


def _state(beside: Beside) -> str:
    stats, background = beside.outbox.stats(), beside.background
    if who := background.elsewhere():
        how = f"done by process {who}"
    else:
        how = "stopped" if stats.paused else "running" if background.runs else "not running"
    lines = [f"delivery  {how}; pending: {stats.pending}, sent: {stats.sent}, failed: {stats.failed}"]
    whose = "" if background.runs else "somebody" if who else "a chat or agentkit serve"
    lines += [f"  {_line(each, whose, stats.paused)}" for each in stats.destinations[:SHOWN]]
    if (more := len(stats.destinations) - SHOWN) > 0:
        lines.append(f"  and {more:,} more destinations")
    return "\n".join(lines)


def _line(waiting: Waiting, awaited: str, is_stopped: bool) -> str:
    """awaited: who has to be there for what is due and does not go out, as others deliver it or nobody does; empty: we
    do."""
    seconds = None if waiting.next is None else waiting.next - time.time()
    if seconds is None or (seconds < 1 and awaited):
        when = f"when {awaited or 'somebody'} is there"
    elif is_stopped:
        when = "after /delivery start"
    else:
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
    if outbox.stats().paused:
        return f"To be tried again: {count}. But delivery is stopped: /delivery start has them go out."
    return f"Tried again now: {count}."
