"""JSON-RPC 2.0 without I/O: a message in, its answer out, exactly as https://www.jsonrpc.org/specification has it.

    dispatcher = Dispatcher({"add": lambda a, b: a + b})
    dispatcher.handle('{"jsonrpc":"2.0","method":"add","params":[1,2],"id":1}')
    # '{"jsonrpc":"2.0","result":3,"id":1}'

Where the standard leaves it open: a number as an id comes back as it was written (1.0 stays 1.0); of a name that an
object has twice the last one counts; an invalid request with a readable id is answered under that id. Messages are JSON
by RFC 8259: UTF-8 without a byte order mark, no NaN or Infinity.
"""

from __future__ import annotations

import inspect
import json
import logging
import re
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping, MutableSequence, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import accumulate
from types import MethodType, NoneType, SimpleNamespace, UnionType
from typing import Any, Literal, NamedTuple, NoReturn, Union, get_args, get_origin, get_type_hints

from .errors import AgentkitError

log = logging.getLogger("agentkit")

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND = -32700, -32600, -32601
INVALID_PARAMS, INTERNAL_ERROR = -32602, -32603
# agentkit's own, from the range that the standard leaves to servers.
TURN_FAILED = -32000  # data.category says why
NOT_AUTHORISED = -32001
TOO_BUSY = -32002
SHUTTING_DOWN = -32003
UNKNOWN = -32004  # no such agent or session
ALREADY_EXISTS = -32005

LARGEST_BATCH = 100  # messages
DEEPEST = 200  # arrays and objects within each other: what every Python reads on the stack of any thread
LONGEST_NUMBER = 640  # digits: what every Python reads and writes, however it is set up


class RpcError(AgentkitError):
    """The answer to a request is this error. What to do: `message` and `data` say.

    code: one of the constants of this module; message: one line; data: JSON for programs, None for nothing.
    """

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


class Dispatcher:
    """Answers the messages of one connection by calling methods; may be used from several threads.

    methods: any callables by name. The params of a request are checked against the signature and its annotations.
    Not to be set from outside, nor shown: parameters whose names begin with `_`, those that a partial has bound, and
    those of a type that JSON has no form for. A method refuses with RpcError; whatever else it raises is an internal
    error, told by its type alone.
    """

    def __init__(self, methods: Mapping[str, Callable[..., Any]]) -> None:
        self._methods = methods

    def handle(self, message: str | bytes) -> str | None:
        """Answer a message, and wait for what its methods wait for: a line of JSON, or None to send nothing."""
        return self.begin(message).result()

    def begin(self, message: str | bytes) -> Future[str | None]:
        """Answer a message later: each method is called at once, in this thread and in the order of the message.

        A method may return a Future, whose result or exception counts. The one returned here completes with what
        `handle` returns, in the thread that completed the last of them; it never fails and cannot be cancelled.
        """
        answer: Future[str | None] = Future()
        answer.set_running_or_notify_cancel()
        try:
            value, written = _decode(message)
            requests = value if isinstance(value, list) else [value]
            if not requests:
                raise RpcError(INVALID_REQUEST, "Invalid Request")
            if len(requests) > LARGEST_BATCH:
                raise RpcError(INVALID_REQUEST, "Invalid Request", f"a batch has at most {LARGEST_BATCH} messages")
        except RpcError as error:
            answer.set_result(_failure("null", error))
        else:
            _complete(answer, [self._begin(each, written) for each in requests], batch=requests is value)
        return answer

    def _begin(self, request: Any, written: bool) -> _Pending | str | None:
        """Call the method of a request; returns its answer, None for a notification."""
        try:
            id, method, params = _checked(request)
        except RpcError as error:
            return _failure(_id(request) or "null", error)
        try:
            function = self._methods.get(method)
            if function is None:
                raise RpcError(METHOD_NOT_FOUND, "Method not found")
            args, named = _bound(_signature(function), _values(params) if written else params)
            result = function(*args, **named)
        except BaseException as error:  # the top of this request: even an exit must not take the connection with it
            return _refusal(id, method, error)
        return _Pending(id, method, result) if isinstance(result, Future) else _answer(id, method, lambda: result)


def describe(methods: Mapping[str, Callable[..., Any]]) -> dict[str, Any]:
    """The methods as an OpenRPC document (https://spec.open-rpc.org), which is what `rpc.discover` returns."""
    return {
        "openrpc": "1.3.2",
        "info": {"title": "agentkit", "version": "1.0.0"},
        "methods": [_described(name, function) for name, function in methods.items()],
    }


def _described(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    parameters = _signature(function).parameters
    structure = {}
    if not all(each.placed for each in parameters):
        structure = {"paramStructure": "by-name"}
    elif not all(each.named for each in parameters):
        structure = {"paramStructure": "by-position"}
    return {
        "name": name,
        "summary": (_unwrapped(function)[0].__doc__ or "").strip().split("\n")[0].strip(),
        **structure,
        "params": [{"name": each.name, "required": each.required, "schema": each.schema} for each in parameters],
        "result": {"name": "result", "schema": {}},
    }


# -- a message to its requests


class _OutOfRange(ValueError):
    """JSON, but a number that Python has none for."""


class _Number(NamedTuple):
    """A number as it was written."""

    text: str


def _whole(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise _OutOfRange
    return int(text)


def _real(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise _OutOfRange
    return number


def _no_number(name: str) -> NoReturn:
    raise RpcError(PARSE_ERROR, "Parse error", f"{name} is no JSON")


_VALUES = json.JSONDecoder(parse_int=_whole, parse_float=_real, parse_constant=_no_number)
_WRITTEN = json.JSONDecoder(parse_int=_Number, parse_float=_Number, parse_constant=_no_number)
_NOT_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[^][{}"]+', re.DOTALL)
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}


def _decode(message: str | bytes) -> tuple[Any, bool]:
    """The JSON of a message, and whether all its numbers are as they were written; those that are ids always are."""
    try:
        text = message if isinstance(message, str) else str(message, "utf-8")
    except UnicodeDecodeError:
        raise RpcError(PARSE_ERROR, "Parse error", "a message must be UTF-8") from None
    if text.startswith("\ufeff"):
        raise RpcError(PARSE_ERROR, "Parse error", "a message must not begin with a byte order mark")
    if text.count("[") + text.count("{") > DEEPEST and _depth(text) > DEEPEST:
        raise RpcError(PARSE_ERROR, "Parse error", f"a message must not be nested deeper than {DEEPEST} levels")
    try:
        return _parsed(text)
    except (ValueError, RecursionError):
        raise RpcError(PARSE_ERROR, "Parse error") from None  # without data, as in the standard's examples


def _parsed(text: str) -> tuple[Any, bool]:
    try:
        value = _VALUES.decode(text)
    except _OutOfRange:
        return _WRITTEN.decode(text), True
    requests = [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, dict)]
    if any(type(each.get("id")) is float or each.get("id") == 0 for each in requests):  # 0 may be written -0
        written = _WRITTEN.decode(text)
        for each, same in zip(value, written, strict=True) if isinstance(value, list) else [(value, written)]:
            if isinstance(each, dict) and "id" in each:
                each["id"] = same["id"]
    return value, False


def _depth(text: str) -> int:
    return max(accumulate(map(_STEPS.__getitem__, _NOT_BRACKETS.sub("", text))), default=0)


def _id(request: Any) -> str | None:
    """The id of a request as JSON; None where there is none, or none that is legal."""
    if not isinstance(request, dict) or "id" not in request:
        return None
    id = request["id"]
    if type(id) is _Number:
        return id.text
    return _json(id) if id is None or type(id) in (str, int) else None


def _checked(request: Any) -> tuple[str | None, str, list[Any] | dict[str, Any]]:
    """The id as JSON (None for a notification), method and params of a valid request."""
    if not isinstance(request, dict) or "jsonrpc" not in request or type(request.get("method")) is not str:
        raise RpcError(INVALID_REQUEST, "Invalid Request")  # without data, as in the standard's examples
    if request["jsonrpc"] != "2.0":
        raise RpcError(INVALID_REQUEST, "Invalid Request", 'jsonrpc must be "2.0"')
    id, params = _id(request), request.get("params", {})
    if id is None and "id" in request:
        raise RpcError(INVALID_REQUEST, "Invalid Request", "id must be a string, a number or null")
    if not isinstance(params, (list, dict)):
        raise RpcError(INVALID_REQUEST, "Invalid Request", "params must be an array or an object")
    return id, request["method"], params


def _values(params: list[Any] | dict[str, Any]) -> list[Any] | dict[str, Any]:
    """Params with their numbers read."""
    named = params if isinstance(params, dict) else {f"position {place}": each for place, each in enumerate(params, 1)}
    values = {}
    for name, written in named.items():
        try:
            values[name] = _value(written)
        except _OutOfRange:
            wanted = f"numbers of at most {LONGEST_NUMBER} digits, up to {sys.float_info.max}"
            raise _wrong(name, "out of range", wanted) from None
    return values if isinstance(params, dict) else list(values.values())


def _value(written: Any) -> Any:
    if type(written) is _Number:
        return _whole(written.text) if written.text.lstrip("-").isdigit() else _real(written.text)
    if isinstance(written, list):
        return [_value(each) for each in written]
    return {name: _value(each) for name, each in written.items()} if isinstance(written, dict) else written


# -- results to the answer


class _Pending(NamedTuple):
    """An answer that waits for a method's Future; id None: a notification, which nobody hears of."""

    id: str | None
    method: str
    future: Future[Any]


def _answer(id: str | None, method: str, result: Callable[[], Any]) -> str | None:
    """The answer to a request, from what `result` returns or raises."""
    try:
        value = result()
        return None if id is None else f'{{"jsonrpc":"2.0","result":{_json(value)},"id":{id}}}'
    except BaseException as error:  # see Dispatcher._begin
        return _refusal(id, method, error)


def _refusal(id: str | None, method: str, error: BaseException) -> str | None:
    """The answer to a request whose method raised."""
    if isinstance(error, RpcError):
        try:
            return None if id is None else _failure(id, error)
        except BaseException as no_json:
            error = no_json
    log.error("the method %s failed", method, exc_info=error)
    internal = RpcError(INTERNAL_ERROR, "Internal error", {"type": type(error).__name__})
    return None if id is None else _failure(id, internal)


def _complete(answer: Future[str | None], begun: list[_Pending | str | None], batch: bool) -> None:
    """Give `answer` its result as soon as the last Future has one."""
    futures = [each.future for each in begun if isinstance(each, _Pending)]
    lock, left = threading.Lock(), len(futures) + 1  # they complete in any thread, and one finds that it is the last

    def completed(_: Future[Any] | None) -> None:
        nonlocal left
        with lock:
            left -= 1
            if left:
                return
        texts = [
            _answer(each.id, each.method, each.future.result) if isinstance(each, _Pending) else each for each in begun
        ]
        said = [text for text in texts if text is not None]
        answer.set_result(None if not said else f"[{','.join(said)}]" if batch else said[0])

    for future in futures:
        future.add_done_callback(completed)
    completed(None)


def _failure(id: str, error: RpcError) -> str:
    told = {"code": error.code, "message": error.message}
    if error.data is not None:
        told["data"] = error.data
    return f'{{"jsonrpc":"2.0","error":{_json(told)},"id":{id}}}'


_PLAIN = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_ESCAPED = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


def _json(value: Any) -> str:
    """A value as one line of JSON; half characters and whatever else is not printable is escaped."""
    text = _PLAIN.encode(value)
    return text if text.isprintable() else _ESCAPED.encode(value)


# -- a method's parameters

Schema = dict[str, Any]  # JSON Schema, as far as _schema makes it


class _Parameter(NamedTuple):
    """A parameter as seen from outside. placed, named: it can be given by position, by name."""

    name: str
    schema: Schema
    required: bool
    placed: bool
    named: bool


class _Signature(NamedTuple):
    """What can be given to a callable. more, more_named: what its * and ** take, None where it takes no more; closed:
    names that ** does not take."""

    parameters: tuple[_Parameter, ...]
    more: Schema | None
    more_named: Schema | None
    closed: frozenset[str]


# By what does not differ between closures of the same code, so that a connection's own methods are known already. The
# code and the globals are kept because the key has their ids; equal code may have other annotations.
_known: dict[tuple[object, ...], tuple[object, object, object, _Signature]] = {}
_MOST_KNOWN = 1000


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


def _signature(function: Callable[..., Any]) -> _Signature:
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


def _learnt(plain: Any, places: int, names: frozenset[str]) -> _Signature:
    """The signature of a callable of which so many places and these names have been bound."""
    try:
        given = list(inspect.signature(plain).parameters.values())
    except ValueError:  # some built-in functions have none
        return _Signature((), {}, {}, names)
    bound = [each for each in given if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)][:places]
    left = [each for each in given if each not in bound]
    schemas = _schemas(plain, [each for each in left if each.name not in names and not each.name.startswith("_")])
    parameters: list[_Parameter] = []
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
            parameters.append(_Parameter(each.name, schema, each.default is each.empty, placed, not by_place))
    return _Signature(tuple(parameters), more, more_named, names | {each.name for each in given})


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
    of = schema.get("items") or schema.get("additionalProperties")
    return f"{schema.get('type', 'any value')}{f' of {_words(of)}' if of else ''}"


def _bound(signature: _Signature, params: list[Any] | dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """What to call the method with; RpcError says which parameter is wrong, and what was wanted."""
    given: Collection[str]
    if isinstance(params, list):
        places = [each for each in signature.parameters if each.placed]
        given = {each.name for each in places[: len(params)]}
        if len(params) > len(places) and signature.more is None:
            wanted = f"at most {len(places)} by position: {', '.join(each.name for each in places)}"
            raise _wrong(f"position {len(places) + 1}", "too many", wanted if places else "none by position")
        for place, value in enumerate(params):
            if place < len(places):
                _check(places[place].name, value, places[place].schema)
            else:
                _check(f"position {place + 1}", value, signature.more or {})
    else:
        given = params
        named = {each.name: each.schema for each in signature.parameters if each.named}
        for name, value in params.items():
            open_to = None if name in signature.closed or name.startswith("_") else signature.more_named
            schema = named.get(name, open_to)
            if schema is None:
                raise _wrong(name, "unknown", f"one of {', '.join(named)}" if named else "none by name")
            _check(name, value, schema)
    for each in signature.parameters:
        if each.required and each.name not in given:
            raise _wrong(each.name, "missing", _words(each.schema))
    return (params, {}) if isinstance(params, list) else ([], params)


def _check(name: str, value: Any, schema: Schema) -> None:
    if not _fits(value, schema):
        raise _wrong(name, "wrong type", _words(schema))


def _wrong(name: str, problem: str, wanted: str) -> RpcError:
    return RpcError(INVALID_PARAMS, "Invalid params", {"parameter": name[:100], "problem": problem, "wanted": wanted})
