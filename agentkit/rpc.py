"""JSON-RPC 2.0 without I/O: a message in, its answer out, exactly as https://www.jsonrpc.org/specification has it.

    dispatcher = Dispatcher({"add": lambda a, b: a + b})
    dispatcher.handle('{"jsonrpc":"2.0","method":"add","params":[1,2],"id":1}')
    # '{"jsonrpc":"2.0","result":3,"id":1}'

Where the standard leaves it open: a number as an id comes back as it was written (1.0 stays 1.0); of a name that an
object has twice the last one counts; an invalid request with a readable id is answered under that id. `rpcmessage` says
which JSON is read, `signature` which parameters a method has.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple

from . import rpcmessage, signature
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
    A method refuses with RpcError; whatever else it raises is an internal error, told by its type alone.
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
            value, written = rpcmessage.read(message)
            requests = value if isinstance(value, list) else [value]
            if not requests:
                raise RpcError(INVALID_REQUEST, "Invalid Request")
            if len(requests) > LARGEST_BATCH:
                raise RpcError(INVALID_REQUEST, "Invalid Request", f"a batch has at most {LARGEST_BATCH} messages")
        except rpcmessage.Unreadable as error:
            answer.set_result(_failure("null", RpcError(PARSE_ERROR, "Parse error", str(error) or None)))
        except RpcError as error:
            answer.set_result(_failure("null", error))
        else:
            _complete(answer, [self._begin(each, written) for each in requests], batch=requests is value)
        return answer

    def beginning(self, id: str) -> None:
        """A method is about to be called, in this thread; does nothing here, and is for those who inherit.

        id: that of the request, as JSON; of a notification it is null.
        """

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
            args, named = _arguments(function, _values(params) if written else params)
            self.beginning(id or "null")
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


def wrong_param(name: str, problem: str, wanted: str) -> RpcError:
    """The refusal of one parameter's value; wanted: what would be right, for a person."""
    return RpcError(INVALID_PARAMS, "Invalid params", {"parameter": name[:100], "problem": problem, "wanted": wanted})


def _described(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    parameters = signature.of(function).parameters
    structure = {}
    if not all(each.placed for each in parameters):
        structure = {"paramStructure": "by-name"}
    elif not all(each.named for each in parameters):
        structure = {"paramStructure": "by-position"}
    return {
        "name": name,
        "summary": signature.summary(function),
        **structure,
        "params": [{"name": each.name, "required": each.required, "schema": each.schema} for each in parameters],
        "result": {"name": "result", "schema": {}},
    }


# -- a request to the call


def _id(request: Any) -> str | None:
    """The id of a request as JSON; None where there is none, or none that is legal."""
    if not isinstance(request, dict) or "id" not in request:
        return None
    id = request["id"]
    if type(id) is rpcmessage.Number:
        return id.text
    return rpcmessage.write(id) if id is None or type(id) in (str, int) else None


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
            values[name] = rpcmessage.evaluated(written)
        except rpcmessage.OutOfRange:
            wanted = f"numbers of at most {rpcmessage.LONGEST_NUMBER} digits, up to {sys.float_info.max}"
            raise wrong_param(name, "out of range", wanted) from None
    return values if isinstance(params, dict) else list(values.values())


def _arguments(function: Callable[..., Any], params: list[Any] | dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """What to call a method with, by position and by name."""
    try:
        return signature.of(function).bound(params)
    except signature.Misfit as misfit:
        raise wrong_param(misfit.parameter, misfit.problem, misfit.wanted) from None


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
        return None if id is None else f'{{"jsonrpc":"2.0","result":{rpcmessage.write(value)},"id":{id}}}'
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
    return f'{{"jsonrpc":"2.0","error":{rpcmessage.write(told)},"id":{id}}}'
