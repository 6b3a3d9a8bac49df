"""When to try again to connect: Discord counts logins, 1,000 a day, and takes the token away from who exceeds that."""

from __future__ import annotations

from typing import NamedTuple

TELL = 3  # failures in a row, of which the owner should know


class Patience(NamedTuple):
    """pauses: seconds until the next try, after one failure, after two, ..., the last one again and again; steady:
    seconds for which a connection has to stand to make up for the failures before it. One that ends sooner is a failure
    more, so that what Discord says at each login, and discord.py stumbles over, makes no storm of logins."""

    pauses: tuple[float, ...] = (1.0, 5.0, 25.0, 120.0, 300.0)
    steady: float = 60.0

    def failures(self, before: int, stood: float) -> int:
        """How many there were in a row, when a connection has ended that stood for so many seconds."""
        return 1 if stood >= self.steady else before + 1

    def pause(self, failures: int) -> float:
        return self.pauses[min(failures, len(self.pauses)) - 1]


PATIENCE = Patience()
