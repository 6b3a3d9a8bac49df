"""Records behave as standard dataclasses do, which are the oracle here."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any, ClassVar

import pytest

from agentkit import records
from agentkit.settings import Settings

from .program import ROOT


def shapes(module: Any) -> list[Any]:
    """The same classes, made by the standard module or by ours."""

    @module.dataclass(frozen=True)
    class Point:
        kind: ClassVar[str] = "point"
        x: int
        y: int = 2
        note: str = module.field(default="", kw_only=True)

    @module.dataclass(frozen=True)
    class Named(Point):
        name: str = "nobody"

    @module.dataclass
    class Bag:
        items: list[str] = module.field(default_factory=list)
        secret: str = module.field(default="s", repr=False)

    @module.dataclass(frozen=True, eq=False)
    class Self:
        x: int = 1

    return [Point, Named, Bag, Self]


PAIRS = [pytest.param(*pair, id=pair[0].__name__) for pair in zip(shapes(records), shapes(dataclasses), strict=True)]
CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    ((1,), {}),
    ((1, 3), {"note": "n"}),
    ((1, 3, "z"), {}),
    ((), {"x": 1}),
    ((), {"items": ["a"]}),
    ((1, 2, 3, 4), {}),
    ((), {"nothing": 1}),
]


@pytest.mark.parametrize(("ours", "standard"), PAIRS)
def test_records_are_made_compared_and_shown_as_dataclasses_are(ours: Any, standard: Any) -> None:
    for values, named in CALLS:
        try:
            expected = standard(*values, **named)
        except TypeError:
            with pytest.raises(TypeError):
                ours(*values, **named)
            continue
        made = ours(*values, **named)
        assert repr(made) == repr(expected).replace("shapes.<locals>.", "")
        assert (made == ours(*values, **named)) == (expected == standard(*values, **named))
        assert dataclasses.asdict(made) == dataclasses.asdict(expected)
        assert {each.name for each in dataclasses.fields(made)} == {each.name for each in dataclasses.fields(expected)}


@pytest.mark.parametrize(("ours", "standard"), PAIRS)
def test_records_are_hashed_and_frozen_as_dataclasses_are(ours: Any, standard: Any) -> None:
    for made in (ours, standard):
        one, other = (made(x=1) if made.__name__ != "Bag" else made() for _ in range(2))
        if made.__name__ == "Bag":
            one.items.append("a")
            assert other.items == [] and made.__hash__ is None
            one.secret = "other"
            continue
        assert len({one, other}) == (2 if made.__name__ == "Self" else 1)
        with pytest.raises(AttributeError):
            one.x = 7
        with pytest.raises(AttributeError):
            del one.x


def test_a_record_is_copied_with_other_values_by_either_module() -> None:
    settings = Settings("m", "http://x/v1", "key", 1000)
    for module in (records, dataclasses):
        copy = module.replace(settings, llm_model="other")
        assert (copy.llm_model, copy.llm_api_key, type(copy)) == ("other", "key", Settings)
    assert "key" not in repr(settings)


def test_records_bring_nothing_heavy_along() -> None:
    code = "import sys, agentkit.events, agentkit.settings; print({'dataclasses', 'inspect'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip() == "set()", done
