"""The register of figures: a name, a bar, and the function that measures.

@figure("stream chunked", bar=2.6)
def chunked() -> Measured:
    \"\"\"CPU per streamed delta, against a bare socket loop.\"\"\"
    return Measured(ours, "µs", floor)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


class Skip(Exception):
    """This machine cannot measure it; the text says why."""


@dataclass(frozen=True)
class Measured:
    """floor: the same of the bare program, in the same unit and taken in turns with ours; note: what else was seen;
    held: False where the thing itself failed, whatever the number says."""

    value: float
    unit: str
    floor: float | None = None
    note: str = ""
    held: bool = True

    @property
    def ratio(self) -> float | None:
        return None if self.floor is None else self.value / self.floor


@dataclass(frozen=True)
class Figure:
    """bar: what the ratio may be at most, or the value itself where there is no floor; None: told, not judged;
    what: one line that says what is measured, against what."""

    name: str
    bar: float | None
    what: str
    measure: Callable[[], Measured]

    def ok(self, measured: Measured) -> bool:
        judged = measured.value if measured.ratio is None else measured.ratio
        return measured.held and (self.bar is None or judged <= self.bar)

    def record(self, measured: Measured) -> dict[str, Any]:
        """A plain dictionary, ready for JSON."""
        found = {**asdict(measured), "ratio": measured.ratio, "ok": self.ok(measured)}
        return {"name": self.name, "what": self.what, "bar": self.bar, **found}


FIGURES: dict[str, Figure] = {}


def figure(
    name: str, *, bar: float | None, what: str = ""
) -> Callable[[Callable[[], Measured]], Callable[[], Measured]]:
    """Register a function as the way to measure a figure; its docstring's first line is `what`, if that is not given."""

    def register(measure: Callable[[], Measured]) -> Callable[[], Measured]:
        assert name not in FIGURES, f"two figures are called {name!r}"
        FIGURES[name] = Figure(name, bar, what or (measure.__doc__ or "").split("\n")[0], measure)
        return measure

    return register
