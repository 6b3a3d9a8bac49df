"""The register of figures: a name, a bar, and the function that measures.

    @figure("stream chunked", bar=2.6)
    def chunked() -> Measured:
        \"\"\"CPU per streamed delta, against a bare socket loop\"\"\"
        return against(*in_turns(7, by_client, by_hand), "µs")

A module that registers figures is a topic; __main__.py lists the topics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any


class Skip(Exception):
    """This machine cannot measure it; the text says why."""


@dataclass(frozen=True)
class Measured:
    """floor: the same of the bare program, in the same unit; ratio: of value to floor; note: what else was seen;
    held: False where the thing itself failed, whatever the number says."""

    value: float
    unit: str
    floor: float | None = None
    ratio: float | None = None
    note: str = ""
    held: bool = True


def against(ours: Sequence[float], floor: Sequence[float], unit: str) -> Measured:
    """Medians of what was taken in turns. The ratio is the median of those of the rounds: both sides of a round see
    the same machine, so that its moods cancel out."""
    ratio = median(one / other for one, other in zip(ours, floor, strict=True))
    return Measured(median(ours), unit, median(floor), ratio)


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
        found = {**asdict(measured), "ok": self.ok(measured)}
        return {"name": self.name, "what": self.what, "bar": self.bar, **found}


FIGURES: dict[str, Figure] = {}

Measure = Callable[[], Measured]


def figure(name: str, *, bar: float | None, what: str = "") -> Callable[[Measure], Measure]:
    """Register a function that measures a figure; `what` is its docstring's first line, where it is not given."""

    def register(measure: Measure) -> Measure:
        assert name not in FIGURES, f"two figures are called {name!r}"
        FIGURES[name] = Figure(name, bar, what or (measure.__doc__ or "").split("\n")[0], measure)
        return measure

    return register
