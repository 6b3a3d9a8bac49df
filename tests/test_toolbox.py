"""@tool: the schema comes from the signature."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest

from agentkit import tool
from agentkit.toolbox import Scope


def test_a_tool_is_a_typed_function_with_a_docstring() -> None:
    @tool
    def count_words(path: str) -> str:
        """Count the words
        in a text file.

        More that only people read.
        """
        return path

    assert count_words.schema == {
        "type": "function",
        "function": {
            "name": "count_words",
            "description": "Count the words in a text file.",
            "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
        },
    }
    assert count_words("x") == "x"


def test_every_kind_of_parameter_has_its_schema() -> None:
    @tool(read_only=True, name="everything")
    def several(
        *,
        a: int,
        b: Annotated[float, "how much"] = 1.0,
        c: bool = False,
        d: list[str] | None = None,
        e: Literal["x", "y"] = "x",
        f: dict[str, Any] | None = None,
        g: list[dict[str, int]] = [],  # noqa: B006
        scope: Scope,
    ) -> None:
        """All of it."""

    assert several.name == "everything"
    assert several.parameters == {
        "type": "object",
        "properties": {
            "a": {"type": "integer"},
            "b": {"type": "number", "description": "how much"},
            "c": {"type": "boolean"},
            "d": {"type": "array", "items": {"type": "string"}},
            "e": {"type": "string", "enum": ["x", "y"]},
            "f": {"type": "object"},
            "g": {"type": "array", "items": {"type": "object"}},
        },
        "required": ["a"],
    }


def test_a_signature_without_a_schema_is_refused_where_it_is_written() -> None:
    with pytest.raises(TypeError, match="named ones"):

        @tool
        def loose(*args: str) -> None:
            """Anything."""

    with pytest.raises(TypeError, match="no place in a tool's schema"):

        @tool
        def odd(when: bytes) -> None:
            """Odd."""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"n": 3}', {"n": 3}),
        ('{"n": "3"}', {"n": 3}),
        ('{"n": 3.0}', {"n": 3}),
        ('{"n": 3, "on": "TRUE"}', {"n": 3, "on": True}),
        ('{"n": 3, "words": "[\\"a\\"]"}', {"n": 3, "words": ["a"]}),
        ('{"n": 3, "on": null}', {"n": 3}),
    ],
)
def test_arguments_are_taken_as_meant(text: str, expected: dict[str, Any]) -> None:
    @tool
    def f(n: int, on: bool = False, words: list[str] | None = None) -> None:
        """F."""

    assert f.arguments(text) == expected
