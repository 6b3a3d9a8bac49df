"""What the model can call: a typed function with a docstring, its schema derived from the signature.

    @tool
    def count_words(path: str) -> str:
        \"\"\"Count the words in a text file.\"\"\"
        return f"{len(open(path).read().split())} words"

A parameter annotated `Scope` is not the model's to fill: it tells the function where the call happens. A tool fails by
raising ToolError; whatever it raises becomes a result that the model reads.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints, overload

from .cancel import Cancel
from .errors import ToolError
from .records import dataclass, field


@dataclass(frozen=True)
class Scope:
    """Where a call happens: handed to a tool function that has a parameter of this type.

    roots: folders that file tools may open, real paths, the working directory first; closed: paths that nothing may
    open; opened: folders in those that may be read all the same; unwritable: paths that nothing may write; readable:
    further folders, to read in only; agent: the id of who calls; asker: the channel and address of whom it answers;
    memory: the folder of its memories; environment: what child processes get; secrets: what no result may show;
    cancel: how it is stopped.
    """

    roots: tuple[Path, ...]
    closed: tuple[Path, ...] = ()
    opened: tuple[Path, ...] = ()
    unwritable: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()
    agent: str = ""
    asker: tuple[str, str] = ("", "")
    memory: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    cancel: Cancel = field(default_factory=Cancel)

    @property
    def cwd(self) -> Path:
        return self.roots[0]


class Tool(NamedTuple):
    """A function the model can call. read_only: neighbouring calls may run side by side, and unattended;
    asks: a person allows each call (see approval.py); preview: what they are shown, from the same arguments; spares:
    is nobody asked about a call with these arguments, as it only looks?"""

    function: Callable[..., Any]
    name: str
    description: str
    parameters: dict[str, Any]
    read_only: bool = False
    asks: bool = False
    preview: Callable[..., str] | None = None
    spares: Callable[[Mapping[str, Any]], bool] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    @property
    def schema(self) -> dict[str, Any]:
        """The tool as the `tools` field of a request wants it."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}

    def arguments(self, text: str) -> dict[str, Any]:
        """The arguments of a call, checked against the signature; ToolError says what to put right.

        Small models send "3" for 3 and "true" for true: taken as meant.
        """
        try:
            given = json.loads(text, parse_constant=_no_number) if text.strip() else {}
        except (ValueError, RecursionError) as error:
            raise ToolError(f"the arguments are not valid JSON ({error}): {text[:200]}") from None
        if not isinstance(given, dict):
            raise ToolError(f"the arguments must be a JSON object, not {text[:200]}")
        known, usage = self.parameters["properties"], f"{self.name}({', '.join(self.parameters['properties'])})"
        if unknown := [name for name in given if name not in known]:
            raise ToolError(f"{self.name} has no parameter {', '.join(unknown)}; it is {usage}")
        if missing := [name for name in self.parameters.get("required", ()) if given.get(name) is None]:
            raise ToolError(f"{self.name} needs {', '.join(missing)}; it is {usage}")
        return {name: _coerced(name, given[name], known[name]) for name in known if given.get(name) is not None}


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *,
    name: str = ...,
    read_only: bool = ...,
    asks: bool = ...,
    preview: Callable[..., str] | None = ...,
    spares: Callable[[Mapping[str, Any]], bool] | None = ...,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str = "",
    read_only: bool = False,
    asks: bool = False,
    preview: Callable[..., str] | None = None,
    spares: Callable[[Mapping[str, Any]], bool] | None = None,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a function callable by the model; its docstring's first paragraph is what the model reads.

    Parameters are str, int, float, bool, list, dict, Literal or Optional of these; `Annotated[int, "from 1"]` adds a
    description. Raises TypeError for a signature that has no schema.
    """

    def decorate(function: Callable[..., Any]) -> Tool:
        lines = map(str.strip, (function.__doc__ or "").strip().split("\n"))
        described = " ".join(takewhile(bool, lines))
        label = name or function.__name__
        return Tool(function, label, described, _parameters(function), read_only, asks, preview, spares)

    return decorate(function) if function is not None else decorate


VAR_POSITIONAL, VAR_KEYWORD = 0x04, 0x08  # flags of a code object, see the documentation of inspect

_JSON_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}


def _parameters(function: Callable[..., Any]) -> dict[str, Any]:
    """The JSON Schema of a function's parameters."""
    hints = get_type_hints(function, include_extras=True)
    properties: dict[str, Any] = {}
    required = []
    for name, has_default in _signature(function):
        hint = hints.get(name, str)
        if hint is Scope:
            continue
        properties[name] = _schema(hint, f"{function.__name__}: {name}")
        if not has_default:
            required.append(name)
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return {**schema, "required": required} if required else schema


def _signature(function: Callable[..., Any]) -> list[tuple[str, bool]]:
    """The names of a function's parameters, and which have a default. (inspect knows more, and takes long to load.)"""
    plain: Any = function
    while hasattr(plain, "__wrapped__"):
        plain = plain.__wrapped__
    bound = hasattr(plain, "__self__")
    plain = getattr(plain, "__func__", plain)
    code = getattr(plain, "__code__", None)
    if code is None:
        raise TypeError(f"{function!r} is no function written in Python, which a tool must be")
    if code.co_posonlyargcount or code.co_flags & (VAR_POSITIONAL | VAR_KEYWORD):
        raise TypeError(f"{function.__name__}: a tool's parameters are named ones, not *, ** or before a /")
    positional = code.co_varnames[: code.co_argcount]
    named = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    defaults = {*positional[code.co_argcount - len(plain.__defaults__ or ()) :], *(plain.__kwdefaults__ or ())}
    return [(name, name in defaults) for name in (*positional[bound:], *named)]


def _schema(hint: Any, where: str) -> dict[str, Any]:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return {**_schema(args[0], where), "description": str(args[1])}
    if origin is Literal:
        return {"type": _JSON_TYPES[type(args[0])], "enum": list(args)}
    if origin in (Union, types.UnionType):
        options = [arg for arg in args if arg is not type(None)]
        if len(options) == 1:
            return _schema(options[0], where)
    kind = _JSON_TYPES.get(origin or hint)
    if kind is None:
        raise TypeError(f"{where} is {hint}, which has no place in a tool's schema")
    return {"type": kind, "items": _schema(args[0], where)} if kind == "array" and args else {"type": kind}


_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


def _no_number(name: str) -> None:
    """NaN and Infinity, which Python reads but no other program does."""
    raise ValueError(f"{name} is no JSON")


def _coerced(name: str, value: Any, schema: Mapping[str, Any]) -> Any:
    kind = schema["type"]
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        value = int(value)
    elif kind in ("integer", "number", "boolean", "array", "object") and isinstance(value, str):
        try:
            value = json.loads(value.strip().lower() if kind == "boolean" else value)
        except (ValueError, RecursionError):
            pass
    elif kind == "string" and isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, _PYTHON_TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        raise ToolError(f"{name} must be of type {kind}, not {json.dumps(value)[:80]}")
    if "enum" in schema and value not in schema["enum"]:
        raise ToolError(f"{name} must be one of {', '.join(map(str, schema['enum']))}, not {value}")
    return value


def given(function: Callable[..., Any], scope: Scope) -> dict[str, Scope]:
    """The parameters that are not the model's to fill."""
    hints = get_type_hints(function)
    return {name: scope for name, hint in hints.items() if hint is Scope and name != "return"}
