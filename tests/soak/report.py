"""What the soak tells: a line now and then, and all of it at the end."""

from __future__ import annotations

import time
from collections.abc import Sequence

from .account import Account
from .census import Census, compared
from .model import Model, describe

SHOWN = 40  # of what is wrong


def line(began: float, account: Account, model: Model, census: Census, crashes: str) -> str:
    """How it stands."""
    failures = sum(times for name, times in model.injected.items() if name.startswith("fails"))
    counts = account.counts()
    others = sum(counts.values()) - counts["answered"] - counts["open"]
    return (
        f"{time.monotonic() - began:5.0f} s  messages {len(account.messages)}: {counts['answered']} answered, {others} "
        f"ended otherwise, {counts['open']} open; failures {failures}; letters {len(account.letters)}; "
        f"{census.words}; crash points {crashes}; wrong {len(account.wrong)}"
    )


def whole(
    seed: int,
    seconds: float,
    account: Account,
    model: Model,
    counted: Sequence[tuple[str, Census, Census]],
    points: dict[str, str],
) -> str:
    """All of it. counted: of each process, before and after; points: how far the stories of the crash tests came."""
    lines = [
        f"The soak: {seconds:.0f} s, seed {seed}",
        f"failures injected   {describe(model.injected, 'fails')}",
        f"answers given       {describe(model.injected, 'does')}",
        f"tools called        {describe(model.injected, 'calls')}",
        f"messages            {len(account.messages)}: {_counts(account)}",
        f"answers of plain messages: {_latencies(account.seconds())}",
        f"letters             {len(account.letters)}, delivered {sum(map(len, account.letters.values()))} times",
        f"also                {', '.join(f'{name}: {times}' for name, times in sorted(account.notes.items()))}",
        f"serve was killed {len(account.crashes)} times, and asked to end {len(account.endings)} times",
        f"crash points        {'; '.join(f'{name}: {how}' for name, how in points.items()) or 'none'}",
    ]
    for name, before, after in counted:
        more = compared(before, after)
        lines.append(f"{name:<20}before: {before.words}; after: {after.words}: {'; '.join(more) or 'as it was'}")
    if account.wrong:
        lines += [f"\nWRONG, {len(account.wrong)} times, with the seed {seed}:", *account.wrong[:SHOWN]]
    else:
        lines.append("Nothing is wrong: every message was answered or refused by name, nothing is lost or doubled.")
    return "\n".join(lines)


def _counts(account: Account) -> str:
    return ", ".join(f"{times} {how}" for how, times in account.counts().most_common())


def _latencies(seconds: Sequence[float]) -> str:
    if not seconds:
        return "none"
    at = [seconds[min(len(seconds) - 1, len(seconds) * share // 100)] for share in (50, 99)]
    return f"{len(seconds)}, p50 {at[0] * 1000:.0f} ms, p99 {at[1] * 1000:.0f} ms"
