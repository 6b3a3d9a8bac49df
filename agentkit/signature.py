"""What a callable takes, by its signature and annotations: told as JSON Schema, and checked before it is called.

Not to be set from outside, nor shown: parameters whose names begin with `_`, those that a partial has bound, and those
of a type that JSON has no form for.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping, MutableSequence, Sequence
from functools import partial
from types import MethodType, NoneType, SimpleNamespace, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from .errors import AgentkitError

Schema = dict[str, Any]  # JSON Schema, as far as _schema makes it


class Misfit(AgentkitError):
    """What was given does not suit the callable. What to do: give what is `wanted`.

    parameter: its name, or its position.
    """

    def __init__(self, parameter: str, problem: str, wanted: str) -> None:
        super().__init__(problem)
        self.parameter, self.problem, self.wanted = parameter, problem, wanted


class Parameter(NamedTuple):
    """A parameter as seen from outside. placed, named: it can be given by position, by name."""

    name: str
    schema: Schema
    required: bool
    placed: bool
    named: bool


class Signature(NamedTuple):
    """What can be given to a callable. more, more_named: what its * and ** take, None where it takes no more; closed:
    names that ** does not take."""

    parameters: tuple[Parameter, ...]
    more: Schema | None
    more_named: Schema | None
    closed: frozenset[str]

    def bound(self, params: list[Any] | dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """What to call it with, by position and by name; Misfit says which parameter is wrong, and what was wanted."""
        given: Collection[str]
        if isinstance(params, list):
            places = [each for each in self.parameters if each.placed]
            given = {each.name for each in places[: len(params)]}
            if len(params) > len(places) and self.more is None:
                wanted = f"at most {len(places)} by position: {', '.join(each.name for each in places)}"
                raise Misfit(f"position {len(places) + 1}", "too many", wanted if places else "none by position")
            for place, value in enumerate(params):
                if place < len(places):
                    _check(places[place].name, value, places[place].schema)
                else:
                    _check(f"position {place + 1}", value, self.more or {})
        else:
            given = params
            named = {each.name: each.schema for each in self.parameters if each.named}
            for name, value in params.items():
                open_to = None if name in self.closed or name.startswith("_") else self.more_named
                schema = named.get(name, open_to)
                if schema is None:
                    raise Misfit(name, "unknown", f"one of {', '.join(named)}" if named else "none by name")
                _check(name, value, schema)
        for each in self.parameters:
            if each.required and each.name not in given:
                raise Misfit(each.name, "missing", _words(each.schema))
        return (params, {}) if isinstance(params, list) else ([], params)


# By what does not differ between closures of the same code, so that a connection's own methods are known already. The
# code and the globals are kept because the key has their ids; equal code may have other annotations.
_known: dict[tuple[object, ...], tuple[object, object, object, Signature]] = {}
_MOST_KNOWN = 1000


def of(function: Callable[..., Any]) -> Signature:
    """The signature of a function, a method, a partial or any other callable."""
    plain, places, names = _unwrapped(function)
    code = getattr(plain, "__code__", None)
    if code is None or hasattr(plain, "__signature__"):
        return _learnt(plain, places, names)
    annotations, around, defaults = plain.__annotations__, plain.__globals__, len(plain.__defaults__ or ())
    key = (id(code), id(around), defaults, frozenset(plain.__kwdefaults__ or ()), places, names)
    found = _known.get(key)
    if found is not None and found[2] == annotations:
        return found[3]
    learnt = _learnt(plain, places, names)
    if len(_known) >= _MOST_KNOWN:
        _known.clear()
    _known[key] = (code, around, annotations, learnt)
    return learnt


def summary(function: Callable[..., Any]) -> str:
    """The first line of its docstring, whatever it is wrapped in."""
    return (_unwrapped(function)[0].__doc__ or "").strip().split("\n")[0].strip()


def _unwrapped(function: Any) -> tuple[Any, int, frozenset[str]]:
    """The function behind partials, methods and decorators; how many positions and which names have been bound."""
    places, names = 0, frozenset[str]()
    while True:
        if isinstance(function, partial):
            places, names = places + len(function.args), names.union(function.keywords)
            function = function.func
        elif isinstance(function, MethodType):
            places, function = places + 1, function.__func__
        elif hasattr(function, "__wrapped__") and not hasattr(function, "__signature__"):
            function = function.__wrapped__
        else:
            return function, places, names


def _learnt(plain: Any, places: int, names: frozenset[str]) -> Signature:
    """The signature of a callable of which so many places and these names have been bound."""
    try:
        given = list(inspect.signature(plain).parameters.values())
    except ValueError:  # some built-in functions have none
        return Signature((), {}, {}, names)
    bound = [each for each in given if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)][:places]
    left = [each for each in given if each not in bound]
    schemas = _schemas(plain, [each for each in left if each.name not in names and not each.name.startswith("_")])
    parameters: list[Parameter] = []
    more = more_named = None
    gap = False  # behind what cannot be given there is no giving by position
    for each in left:
        schema, by_place = schemas.get(each.name), each.kind is each.POSITIONAL_ONLY
        if each.kind is each.VAR_POSITIONAL:
            more = None if gap else schema
        elif each.kind is each.VAR_KEYWORD:
            more_named = schema
        elif schema is None or (by_place and gap):
            gap = True
        else:
            placed = not gap and each.kind is not each.KEYWORD_ONLY
            parameters.append(Parameter(each.name, schema, each.default is each.empty, placed, not by_place))
    return Signature(tuple(parameters), more, more_named, names | {each.name for each in given})


def _schemas(plain: Any, parameters: Iterable[inspect.Parameter]) -> dict[str, Schema | None]:
    """The schema of each parameter's annotation; None for what JSON has no form for."""
    annotations = {each.name: Any if each.annotation is each.empty else each.annotation for each in parameters}
    # Not of the function itself: its other annotations may name what is imported for type checkers alone.
    hints = get_type_hints(SimpleNamespace(__annotations__=annotations), globalns=getattr(plain, "__globals__", {}))
    return {name: _schema(hint) for name, hint in hints.items()}


_KINDS: dict[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    NoneType: "null",
    **dict.fromkeys((list, Sequence, MutableSequence, Collection, Iterable), "array"),
    **dict.fromkeys((dict, Mapping, MutableMapping), "object"),
}
_FORMS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (NoneType,),
    "array": (list,),
    "object": (dict,),
}


def _schema(hint: Any) -> Schema | None:
    origin, args = get_origin(hint) or hint, get_args(hint)
    if origin in (Any, object):
        return {}
    if origin is Literal:
        return {"enum": [each for each in args if type(each) in (str, int, bool, NoneType)]}
    if origin in (Union, UnionType):
        options = [schema for schema in map(_schema, args) if schema is not None]
        return {"anyOf": options} if options else None
    kind = _KINDS.get(origin)
    if kind not in ("array", "object") or not args:
        return {"type": kind} if kind else None
    each = _schema(args[-1])
    if each is None or (kind == "object" and args[0] not in (str, Any)):
        return None
    return {"type": kind, "items" if kind == "array" else "additionalProperties": each}


def _fits(value: Any, schema: Schema) -> bool:
    if "enum" in schema:
        return any(type(value) is type(each) and value == each for each in schema["enum"])
    if "anyOf" in schema:
        return any(_fits(value, each) for each in schema["anyOf"])
    if not schema:
        return True
    kind: str = schema["type"]
    if type(value) not in _FORMS[kind]:  # the very type: true is no integer
        return False
    if kind == "number":
        return bool(abs(value) <= sys.float_info.max)  # an int may be more than any float
    if kind == "array" and "items" in schema:
        return all(_fits(each, schema["items"]) for each in value)
    if kind == "object" and "additionalProperties" in schema:
        return all(_fits(each, schema["additionalProperties"]) for each in value.values())
    return True


def _words(schema: Schema) -> str:
    """What a schema wants, for a person."""
    if "enum" in schema:
        return "one of " + ", ".join(map(json.dumps, schema["enum"]))
    if "anyOf" in schema:
        return " or ".join(map(_words, schema["anyOf"]))
    each = schema.get("items") or schema.get("additionalProperties")
    return f"{schema.get('type', 'any value')}{f' of {_words(each)}' if each else ''}"


def _check(name: str, value: Any, schema: Schema) -> None:
    if not _fits(value, schema):
        raise Misfit(name, "wrong type", _words(schema))
