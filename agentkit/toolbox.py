"""What the model can call: a typed function with a docstring, its schema derived from the signature; and UseTool.

    @tool
    def count_words(path: str) -> str:
        \"\"\"Count the words in a text file.\"\"\"
        return f"{len(open(path).read().split())} words"

A parameter annotated `Scope` is not the model's to fill: it tells the function where the call happens. A tool fails by
raising ToolError; whatever it raises becomes a result that the model reads.
"""

from __future__ import annotations

import inspect
import json
import logging
import threading
import time
import types
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints, overload

from .approval import Approvals, Asker
from .cancel import Cancel
from .errors import Cancelled, ToolError
from .events import Ask, Event, Notice, ToolFinished, ToolStarted
from .files import real_path
from .node import Node
from .store import Store
from .wire import Call

log = logging.getLogger("agentkit")

GRACE = 0.15  # seconds that a cancelled tool has to say what it did, before it is left behind


@dataclass(frozen=True)
class Scope:
    """Where a call happens: handed to a tool function that has a parameter of this type.

    roots: folders that file tools may open, real paths, the working directory first; closed: paths that nothing may
    open; unwritable: paths that nothing may write; environment: what child processes get; cancel: how it is stopped.
    """

    roots: tuple[Path, ...]
    closed: tuple[Path, ...] = ()
    unwritable: tuple[Path, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    cancel: Cancel = field(default_factory=Cancel)

    @property
    def cwd(self) -> Path:
        return self.roots[0]


@dataclass(frozen=True)
class Tool:
    """A function the model can call. read_only: neighbouring calls may run side by side, and unattended;
    asks: a person allows each call (see approval.py); preview: what they are shown, from the same arguments."""

    function: Callable[..., Any]
    name: str
    description: str
    parameters: dict[str, Any]
    read_only: bool = False
    asks: bool = False
    preview: Callable[..., str] | None = None

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
            given = json.loads(text) if text.strip() else {}
        except ValueError as error:
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
    *, name: str = ..., read_only: bool = ..., asks: bool = ..., preview: Callable[..., str] | None = ...
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str = "",
    read_only: bool = False,
    asks: bool = False,
    preview: Callable[..., str] | None = None,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a function callable by the model; its docstring's first paragraph is what the model reads.

    Parameters are str, int, float, bool, list, dict, Literal or Optional of these; `Annotated[int, "from 1"]` adds a
    description. Raises TypeError for a signature that has no schema.
    """

    def decorate(function: Callable[..., Any]) -> Tool:
        described = inspect.cleandoc(function.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        label = name or function.__name__
        return Tool(function, label, described, _parameters(function), read_only, asks, preview)

    return decorate(function) if function is not None else decorate


_JSON_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}


def _parameters(function: Callable[..., Any]) -> dict[str, Any]:
    """The JSON Schema of a function's parameters."""
    hints = get_type_hints(function, include_extras=True)
    properties: dict[str, Any] = {}
    required = []
    for parameter in inspect.signature(function).parameters.values():
        hint = hints.get(parameter.name, str)
        if hint is Scope:
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise TypeError(f"{function.__name__}: a tool's parameters are named ones, not {parameter}")
        properties[parameter.name] = _schema(hint, f"{function.__name__}: {parameter.name}")
        if parameter.default is parameter.empty:
            required.append(parameter.name)
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return {**schema, "required": required} if required else schema


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


def _coerced(name: str, value: Any, schema: Mapping[str, Any]) -> Any:
    kind = schema["type"]
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        value = int(value)
    elif kind in ("integer", "number", "boolean", "array", "object") and isinstance(value, str):
        try:
            value = json.loads(value.strip().lower() if kind == "boolean" else value)
        except ValueError:
            pass
    elif kind == "string" and isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, _PYTHON_TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        raise ToolError(f"{name} must be of type {kind}, not {json.dumps(value)[:80]}")
    if "enum" in schema and value not in schema["enum"]:
        raise ToolError(f"{name} must be one of {', '.join(map(str, schema['enum']))}, not {value}")
    return value


@dataclass(frozen=True)
class Toolbox:
    """The tools of an agent, who allows them, and where they work."""

    tools: Mapping[str, Tool]
    approvals: Approvals
    scope: Scope

    @property
    def schemas(self) -> list[dict[str, Any]]:
        return [each.schema for each in self.tools.values()]

    def batches(self, calls: Sequence[Call]) -> list[list[Call]]:
        """The calls in their order; neighbours that only read come together, to run side by side."""
        batches: list[list[Call]] = []
        for call in calls:
            if batches and self._only_reads(call) and self._only_reads(batches[-1][-1]):
                batches[-1].append(call)
            else:
                batches.append([call])
        return batches

    def _only_reads(self, call: Call) -> bool:
        found = self.tools.get(call.name)
        return found is not None and found.read_only and not found.asks


@dataclass(frozen=True)
class _Outcome:
    ok: bool
    text: str
    seconds: float = 0.0


class UseTool(Node):
    """One call, or neighbouring calls that only read: each leaves exactly one result, errors and refusals included."""

    def __init__(self, calls: Sequence[Call], toolbox: Toolbox) -> None:
        self.calls, self.toolbox = calls, toolbox

    def prep(self, store: Store) -> tuple[Asker, Scope]:
        who = Asker(store.state.session, store.state.channel, store.state.peer)
        return who, replace(self.toolbox.scope, cancel=store.run.cancel)

    def exec(self, inputs: tuple[Asker, Scope]) -> Generator[Event, Any, list[tuple[Call, _Outcome]]]:
        """Interrupted, it returns the results there are."""
        who, scope = inputs
        waiting: list[tuple[Call, SimpleQueue[_Outcome | None]]] = []
        finished: list[tuple[Call, _Outcome]] = []
        try:
            for call in self.calls:
                waiting.append((call, (yield from self._start(call, who, scope))))
            for call, box in waiting:
                outcome = yield from self._wait(call, box, scope.cancel, finished)
                yield ToolFinished(call.id, call.name, outcome.ok, outcome.text, outcome.seconds)
        except Cancelled:
            pass
        return finished

    def post(self, store: Store, inputs: Any, result: list[tuple[Call, _Outcome]]) -> None:
        for call, outcome in result:
            text = outcome.text if outcome.ok else f"error: {outcome.text}"
            store.append({"role": "tool", "tool_call_id": call.id, "content": text or "(no output)"})

    def _start(self, call: Call, who: Asker, scope: Scope) -> Generator[Event, Any, SimpleQueue[_Outcome | None]]:
        """Check the call, have it allowed where that is due, and set it going; its outcome comes out of the queue."""
        box: SimpleQueue[_Outcome | None] = SimpleQueue()
        found = self.toolbox.tools.get(call.name)
        try:
            if found is None:
                raise ToolError(f"there is no tool {call.name!r}; there are {', '.join(self.toolbox.tools)}")
            arguments = found.arguments(call.arguments)
        except ToolError as error:
            yield ToolStarted(call.id, call.name, {})
            box.put(_Outcome(False, str(error)))
            return box
        yield ToolStarted(call.id, call.name, arguments)
        if refusal := (yield from self._approve(found, arguments, who, scope)):
            box.put(_Outcome(False, refusal))
            return box
        target = threading.Thread(
            target=lambda: box.put(_outcome(found, arguments, scope)), name=f"tool {found.name}", daemon=True
        )
        target.start()
        return box

    def _approve(self, found: Tool, arguments: dict[str, Any], who: Asker, scope: Scope) -> Generator[Event, Any, str]:
        """Why the call may not run; empty: it may."""
        if not found.asks:
            return ""
        path = arguments.get("path")
        try:
            target = real_path(path, scope.roots) if isinstance(path, str) else None
            if not self.toolbox.approvals.due(who, found.name, target):
                return ""
            shown = found.preview(**arguments, **_given(found.preview, scope)) if found.preview else _plain(arguments)
        except ToolError as error:
            return str(error)  # it would fail: nothing to ask about
        answer = yield Ask(found.name, shown)
        if answer.decision == "deny":
            return "the user refused this call" + (f": {answer.reason}" if answer.reason else "")
        return ""

    def _wait(
        self,
        call: Call,
        box: SimpleQueue[_Outcome | None],
        cancel: Cancel,
        finished: list[tuple[Call, _Outcome]],
    ) -> Generator[Event, Any, _Outcome]:
        with cancel.on_set(lambda: box.put(None)):
            outcome = box.get()
        if outcome is None:
            try:
                outcome = box.get(timeout=GRACE)
            except Empty:
                yield Notice(f"{call.name} does not stop by itself: it was left behind, what it returns is dropped.")
                raise Cancelled from None
            finished.append((call, outcome or _Outcome(False, "interrupted")))
            raise Cancelled
        finished.append((call, outcome))
        return outcome


def _outcome(found: Tool, arguments: dict[str, Any], scope: Scope) -> _Outcome:
    """Call the function, in a thread of its own; whatever it does, there is one outcome."""
    started = time.monotonic()
    try:
        value = found.function(**arguments, **_given(found.function, scope))
        ok, text = True, value if isinstance(value, str) else "" if value is None else json.dumps(value, default=str)
    except ToolError as error:
        ok, text = False, str(error)
    except Cancelled:
        ok, text = False, "interrupted"
    except BaseException as error:  # a tool's SystemExit must not end the lane that waits for it
        log.debug("%s failed", found.name, exc_info=True)
        ok, text = False, f"{type(error).__name__}: {error}"
    return _Outcome(ok, text.encode("utf-8", "replace").decode(), round(time.monotonic() - started, 3))


def _given(function: Callable[..., Any], scope: Scope) -> dict[str, Scope]:
    """The parameters that are not the model's."""
    hints = get_type_hints(function)
    return {name: scope for name, hint in hints.items() if hint is Scope and name != "return"}


def _plain(arguments: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in arguments.items())
