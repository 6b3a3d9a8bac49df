"""JSON-RPC 2.0: a message in, its answer out, whatever the message is."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit import rpc
from agentkit.errors import AgentkitError, Cancelled
from agentkit.rpc import Dispatcher, RpcError, describe

if TYPE_CHECKING:
    from decimal import Decimal


def subtract(minuend: int, subtrahend: int) -> int:
    """Take one number from another.

    More that nobody reads.
    """
    return minuend - subtrahend


def total(*numbers: int) -> int:
    return sum(numbers)


def nothing(*values: Any) -> None:
    pass


METHODS: dict[str, Callable[..., Any]] = {
    "subtract": subtract,
    "sum": total,
    "update": nothing,
    "notify_hello": nothing,
    "notify_sum": nothing,
    "get_data": lambda: ["hello", 5],
    "echo": lambda value=None: value,
}
DISPATCHER = Dispatcher(METHODS)


def asked(methods: Mapping[str, Callable[..., Any]], method: str, params: Any = None) -> Any:
    """What a request is answered, parsed."""
    request = {"jsonrpc": "2.0", "method": method, "id": 1} | ({} if params is None else {"params": params})
    text = Dispatcher(methods).handle(json.dumps(request))
    assert text is not None and legal(text)
    return json.loads(text)


def refused(method: Callable[..., Any], params: Any) -> dict[str, Any]:
    """What is said of params that do not suit the method."""
    error: dict[str, Any] = asked({"f": method}, "f", params)["error"]
    assert (error["code"], error["message"]) == (rpc.INVALID_PARAMS, "Invalid params")
    data: dict[str, Any] = error["data"]
    return data


def legal(text: str) -> bool:
    """Is it an answer as the standard has them, on one line?"""
    text.encode()
    answers = json.loads(text)
    assert len(text.splitlines()) == 1 and answers != []
    for each in answers if isinstance(answers, list) else [answers]:
        assert each["jsonrpc"] == "2.0" and not isinstance(each["id"], (bool, list, dict))
        assert set(each) in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"})
        if "error" in each:
            assert set(each["error"]) <= {"code", "message", "data"}
            assert type(each["error"]["code"]) is int and type(each["error"]["message"]) is str
    return True


PARSE = {"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": None}
INVALID = {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": None}
NO_REQUEST = json.dumps(INVALID, separators=(",", ":"))


def no_method(id: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": id}


def result(value: Any, id: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "result": value, "id": id}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ('{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}', result(19, 1)),
        ('{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}', result(-19, 2)),
        (
            '{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}',
            result(19, 3),
        ),
        (
            '{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 4}',
            result(19, 4),
        ),
        ('{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}', None),
        ('{"jsonrpc": "2.0", "method": "foobar"}', None),
        ('{"jsonrpc": "2.0", "method": "foobar", "id": "1"}', no_method("1")),
        ('{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]', PARSE),
        ('{"jsonrpc": "2.0", "method": 1, "params": "bar"}', INVALID),
        (
            '[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"}, {"jsonrpc": "2.0", "method"\n]',
            PARSE,
        ),
        ("[]", INVALID),
        ("[1]", [INVALID]),
        ("[1,2,3]", [INVALID] * 3),
        (
            """[
            {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
            {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},
            {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},
            {"foo": "boo"},
            {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
            {"jsonrpc": "2.0", "method": "get_data", "id": "9"}
            ]""",
            [result(7, "1"), result(19, "2"), INVALID, no_method("5"), result(["hello", 5], "9")],
        ),
        (
            """[
            {"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},
            {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}
            ]""",
            None,
        ),
    ],
)
def test_the_examples_of_the_standard_are_answered_as_it_shows(message: str, expected: Any) -> None:
    for form in (message, message.encode()):
        text = DISPATCHER.handle(form)
        assert (text if text is None else json.loads(text)) == expected


NO_JSON = [
    *("", " ", "\n", "\0", "{", "}", "[", "]", "nul", "tru", "'a'", '"', "-", "+1", "01", "1.", ".5", "1e", "0x10"),
    *(
        "1_000",
        "{'a':1}",
        "{a:1}",
        '{"a"}',
        "[1,]",
        '{"a":1,}',
        "[1 2]",
        "{} {}",
        "// x",
        "/**/1",
        "\ufeff{}",
        "\u00a0{}",
    ),
    *(
        '"\n"',
        '"\t"',
        '"\\x41"',
        '"\\u12"',
        "NaN",
        "[Infinity]",
        "-Infinity",
        "nan",
        "None",
        "undefined",
        "GET / HTTP/1.1",
    ),
]
NO_OBJECTS = ["1", "1.5", "1e400", "true", "null", '"a"', "{}", '"jsonrpc"', '{"result":1,"id":null}']


def request(**members: str) -> str:
    """A request with the members as they are written, in place of the usual ones."""
    usual = {"jsonrpc": '"2.0"', "method": '"echo"', "id": "7", **members}
    return "{" + ",".join(f'"{name}":{value}' for name, value in usual.items() if value) + "}"


@pytest.mark.parametrize(
    ("message", "code", "id"),
    [
        *((text, rpc.PARSE_ERROR, None) for text in NO_JSON),
        (request()[:-1], rpc.PARSE_ERROR, None),
        (request() + request(), rpc.PARSE_ERROR, None),
        (request(params="[NaN]"), rpc.PARSE_ERROR, None),
        (request(id="NaN"), rpc.PARSE_ERROR, None),
        (request(id="-Infinity"), rpc.PARSE_ERROR, None),
        ("[" + request() + ",", rpc.PARSE_ERROR, None),
        ("\ufeff" + request(), rpc.PARSE_ERROR, None),
        (b"\xef\xbb\xbf" + request().encode(), rpc.PARSE_ERROR, None),
        (b"\xff\xfe", rpc.PARSE_ERROR, None),
        (b"\x80", rpc.PARSE_ERROR, None),
        (request(params='["é"]').encode("latin-1"), rpc.PARSE_ERROR, None),
        (request().encode("utf-16"), rpc.PARSE_ERROR, None),
        (request().encode("utf-32-le"), rpc.PARSE_ERROR, None),
        (request(params='["\ud800"]').encode("utf-8", "surrogatepass"), rpc.PARSE_ERROR, None),
        ("[" * 100_000, rpc.PARSE_ERROR, None),
        ('{"a":' * 100_000, rpc.PARSE_ERROR, None),
        (request(params="[" * 100_000 + "]" * 100_000), rpc.PARSE_ERROR, None),
        (request(params="[" * 200 + "]" * 200), rpc.PARSE_ERROR, None),
        ("[" * 300 + '"' + '\\"' * 100_000, rpc.PARSE_ERROR, None),
        *((text, rpc.INVALID_REQUEST, None) for text in NO_OBJECTS),
        ("9" * 10_000, rpc.INVALID_REQUEST, None),
        (request(jsonrpc=""), rpc.INVALID_REQUEST, 7),
        (request(jsonrpc="2.0"), rpc.INVALID_REQUEST, 7),
        (request(jsonrpc="2.0", id="1.5"), rpc.INVALID_REQUEST, 1.5),
        (request(jsonrpc="2"), rpc.INVALID_REQUEST, 7),
        (request(jsonrpc='"1.0"'), rpc.INVALID_REQUEST, 7),
        (request(jsonrpc='"2.0 "'), rpc.INVALID_REQUEST, 7),
        (request(jsonrpc='["2.0"]'), rpc.INVALID_REQUEST, 7),
        (request(jsonrpc="null"), rpc.INVALID_REQUEST, 7),
        (request(method=""), rpc.INVALID_REQUEST, 7),
        (request(method="", id=""), rpc.INVALID_REQUEST, None),
        (request(method="null"), rpc.INVALID_REQUEST, 7),
        (request(method="1.5", id="1.5"), rpc.INVALID_REQUEST, 1.5),
        (request(method='["echo"]'), rpc.INVALID_REQUEST, 7),
        (request(id="true"), rpc.INVALID_REQUEST, None),
        (request(id="false"), rpc.INVALID_REQUEST, None),
        (request(id="[]"), rpc.INVALID_REQUEST, None),
        (request(id="[0]"), rpc.INVALID_REQUEST, None),
        (request(id='{"a":1}'), rpc.INVALID_REQUEST, None),
        (request(params="null"), rpc.INVALID_REQUEST, 7),
        (request(params='"bar"'), rpc.INVALID_REQUEST, 7),
        (request(params="3"), rpc.INVALID_REQUEST, 7),
        (request(params="1e400"), rpc.INVALID_REQUEST, 7),
        (request(params="false", id=""), rpc.INVALID_REQUEST, None),
        (request(method='"\\ud800"'), rpc.METHOD_NOT_FOUND, 7),
        (request(method='""'), rpc.METHOD_NOT_FOUND, 7),
        (request(method='"__init__"'), rpc.METHOD_NOT_FOUND, 7),
        (request(method='"Echo"', id="null"), rpc.METHOD_NOT_FOUND, None),
        (request(method='"rpc.discover"'), rpc.METHOD_NOT_FOUND, 7),
        (request(params="[1,2]"), rpc.INVALID_PARAMS, 7),
        (request(params='{"other":1}'), rpc.INVALID_PARAMS, 7),
        (request(params='{"\\ud800":1}'), rpc.INVALID_PARAMS, 7),
        (request(params="[1e400]"), rpc.INVALID_PARAMS, 7),
        (request(params='[{"a":[-1e999]}]'), rpc.INVALID_PARAMS, 7),
        (request(params=f"[{'9' * 10_000}]"), rpc.INVALID_PARAMS, 7),
        (request(method='"subtract"', params="[true,1]"), rpc.INVALID_PARAMS, 7),
        (request(method='"subtract"'), rpc.INVALID_PARAMS, 7),
        ("[" + ",".join([request()] * 101) + "]", rpc.INVALID_REQUEST, None),
        ("[" + ",".join(["[]"] * 10_000) + "]", rpc.INVALID_REQUEST, None),
    ],
)
def test_a_malformed_message_gets_its_error_and_the_next_one_its_answer(
    message: str | bytes, code: int, id: int | None
) -> None:
    text = DISPATCHER.handle(message)
    assert text is not None and legal(text)
    told = json.loads(text)
    assert (told["error"]["code"], told["id"]) == (code, id)
    assert DISPATCHER.handle(request()) == '{"jsonrpc":"2.0","result":null,"id":7}'


@pytest.mark.parametrize(
    "id",
    [
        *("null", "0", "-0", "1", "-17", "1.0", "1.5", "-0.0", "0.0", "1e2", "1E+2", "1e-400", "1e400", "-1e999"),
        *("12345678901234567890123", "3.141592653589793238462643", "9" * 10_000, "9" * 10_000 + ".5", "0." + "1" * 999),
        *('""', '"a"', '"1"', '"é"', '"\\u0000"', '"\\n"', '"\\ud800"', '"\\u2028"', '"\\"\\\\"', '"😀"'),
    ],
)
def test_an_id_comes_back_as_it_came(id: str) -> None:
    expected = f'{{"jsonrpc":"2.0","result":null,"id":{id}}}'
    assert DISPATCHER.handle(request(id=id)) == expected
    assert DISPATCHER.handle(f"[{request(id=id)},3,{request(id='', params='[0.5]')}]") == f"[{expected},{NO_REQUEST}]"


def test_odd_numbers_as_ids_leave_those_in_the_params_alone() -> None:
    first, last = request(id="1.0", params="[[0, 1.5, {}]]"), request(id="1e400", params="[-0]")
    batch = f"[{first},{request(params='[2]')},3,{last}]"
    answers = json.loads(DISPATCHER.handle(batch) or "")
    assert [each.get("result") for each in answers] == [[0, 1.5, {}], 2, None, 0]
    assert '"id":1e400' in (DISPATCHER.handle(batch) or "")


def test_of_a_name_that_is_there_twice_the_last_counts() -> None:
    twice = '"method":"nope","method":"echo","id":1,"id":2.0,"params":[1],"params":{"value":2,"value":3}'
    assert DISPATCHER.handle(f'{{"jsonrpc":"2.0",{twice}}}') == '{"jsonrpc":"2.0","result":3,"id":2.0}'


def test_members_that_the_standard_does_not_know_are_passed() -> None:
    assert DISPATCHER.handle(request(more='{"trace":1}')) == '{"jsonrpc":"2.0","result":null,"id":7}'


def test_a_batch_may_have_a_hundred_messages() -> None:
    assert len(json.loads(DISPATCHER.handle("[" + ",".join([request()] * 100) + "]") or "")) == 100


def test_a_batch_of_one_is_answered_by_a_batch_of_one() -> None:
    assert DISPATCHER.handle(f"[{request()}]") == '[{"jsonrpc":"2.0","result":null,"id":7}]'


# -- any bytes at all

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.just("2.0"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters()), inner, max_size=4),
    max_leaves=12,
)
NEARLY = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | JSON,
        "method": st.sampled_from(sorted(METHODS)) | JSON,
        "params": st.lists(JSON, max_size=3) | st.dictionaries(st.sampled_from(["value", "minuend"]), JSON) | JSON,
        "id": st.integers() | st.floats() | st.text() | JSON,
    },
)
WRITTEN = st.one_of(JSON, NEARLY, st.lists(NEARLY | JSON, max_size=5)).map(json.dumps)


CUT_OFF = st.tuples(WRITTEN, st.integers(0, 200)).map(lambda drawn: drawn[0][: drawn[1]])


@given(st.binary() | st.text() | WRITTEN | CUT_OFF)
def test_any_message_gets_a_legal_answer_or_none(message: str | bytes) -> None:
    text = DISPATCHER.handle(message)
    assert text is None or legal(text)


@given(st.dictionaries(st.text(), JSON, max_size=3), st.sampled_from([*METHODS, "nope"]))
def test_a_notification_never_gets_an_answer(params: dict[str, Any], method: str) -> None:
    try:
        message = json.dumps({"jsonrpc": "2.0", "method": method, "params": params}, allow_nan=False)
    except ValueError:
        return
    assert DISPATCHER.handle(message) is None


@given(JSON)
def test_what_is_legal_json_comes_back_equal(value: Any) -> None:
    try:
        message = json.dumps({"jsonrpc": "2.0", "method": "echo", "params": [value], "id": 1}, allow_nan=False)
    except ValueError:
        return
    assert json.loads(DISPATCHER.handle(message) or "") == {"jsonrpc": "2.0", "result": value, "id": 1}


# -- what methods do


class Secretive(Exception):
    pass


@pytest.mark.parametrize(
    "error",
    [
        *(KeyError("password"), Secretive("password\nand more"), AgentkitError("password"), SystemExit("password")),
        *(KeyboardInterrupt(), GeneratorExit(), Cancelled(), RecursionError(), MemoryError(), StopIteration()),
    ],
)
@pytest.mark.parametrize("later", [False, True])
def test_whatever_a_method_raises_is_an_internal_error_that_tells_the_type_alone(
    error: BaseException, later: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> Future[Any]:
        if not later:
            raise error
        future: Future[Any] = Future()
        future.set_exception(error)
        return future

    told = {"code": -32603, "message": "Internal error", "data": {"type": type(error).__name__}}
    assert asked({"fail": fail}, "fail")["error"] == told
    (record,) = caplog.records
    assert record.levelno == logging.ERROR and record.exc_info is not None and record.exc_info[1] is error


@pytest.mark.parametrize("later", [False, True])
def test_a_method_refuses_with_an_error_of_its_own(later: bool) -> None:
    error = RpcError(rpc.TURN_FAILED, "The key was refused.", {"category": "auth"})

    def refuse() -> Future[Any]:
        if not later:
            raise error
        future: Future[Any] = Future()
        future.set_exception(error)
        return future

    told = {"code": -32000, "message": "The key was refused.", "data": {"category": "auth"}}
    assert asked({"f": refuse}, "f")["error"] == told
    assert isinstance(error, AgentkitError) and str(error) == "The key was refused."


def around() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        *(b"bytes", {1, 2}, object(), float("nan"), [float("inf")], {(1, 2): 3}, Path("/")),
        *(around(), deep(), 10**5_000, Future()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_result_that_is_no_json_is_an_internal_error(value: Any) -> None:
    done: Future[Any] = Future()
    done.set_result(value)
    assert asked({"f": lambda: done}, "f")["error"]["code"] == rpc.INTERNAL_ERROR
    if not isinstance(value, Future):
        assert asked({"f": lambda: value}, "f")["error"]["code"] == rpc.INTERNAL_ERROR

        def refuse() -> None:
            raise RpcError(rpc.TOO_BUSY, "Later.", value)

        assert asked({"f": refuse}, "f")["error"]["code"] == rpc.INTERNAL_ERROR


@pytest.mark.parametrize("value", ["half \ud800", "two\nlines", "\u2028\u2029\x85\x1b", {"\udfff": ["\ud83d"]}, "é 😀"])
def test_any_text_is_answered_on_one_line_that_can_be_sent(value: Any) -> None:
    assert asked({"f": lambda: value}, "f")["result"] == value


def test_text_that_people_can_read_stays_readable() -> None:
    assert DISPATCHER.handle(request(params='["\\u00e9 漢字"]')) == '{"jsonrpc":"2.0","result":"é 漢字","id":7}'


# -- answers that come later


def test_methods_are_called_at_once_in_this_thread_and_in_order() -> None:
    called: list[tuple[int, threading.Thread]] = []
    futures: list[Future[Any]] = []

    def later(n: int) -> Future[Any]:
        called.append((n, threading.current_thread()))
        futures.append(Future())
        return futures[-1]

    dispatcher = Dispatcher({"later": later})
    batch = ",".join(request(method='"later"', params=f"[{n}]", id=str(n)) for n in range(5))
    answers = [dispatcher.begin(f"[{batch}]"), dispatcher.begin(request(method='"later"', params="[5]", id=""))]
    assert called == [(n, threading.current_thread()) for n in range(6)]
    assert not any(answer.done() for answer in answers)
    for future in futures:
        future.set_result(None)
    assert json.loads(answers[0].result(10) or "") == [result(None, n) for n in range(5)]
    assert answers[1].result(10) is None


def test_a_batch_is_answered_in_its_order_whatever_completes_first() -> None:
    futures: list[Future[Any]] = [Future() for _ in range(8)]
    batch = ",".join(request(method='"later"', params=f"[{n}]", id=f'"{n}"') for n in range(8))
    answer = Dispatcher({"later": lambda n: futures[n]}).begin(f"[{batch},{request()}]")
    threads = [threading.Thread(target=futures[n].set_result, args=[n * n]) for n in (5, 2, 7, 0, 1, 6, 4, 3)]
    for thread in threads:
        thread.start()
    assert json.loads(answer.result(10) or "") == [*(result(n * n, str(n)) for n in range(8)), no_method(7)]
    for thread in threads:
        thread.join()


def test_handle_waits_for_a_future_of_another_thread() -> None:
    future: Future[str] = Future()

    def start() -> Future[str]:
        threading.Thread(target=future.set_result, args=["done"]).start()
        return future

    assert asked({"start": start}, "start")["result"] == "done"


def test_a_future_that_is_cancelled_is_an_internal_error() -> None:
    future: Future[Any] = Future()
    answer = Dispatcher({"f": lambda: future}).begin(request(method='"f"'))
    assert future.cancel()
    assert json.loads(answer.result(10) or "")["error"]["data"] == {"type": "CancelledError"}


def test_an_answer_cannot_be_cancelled_and_so_is_never_lost() -> None:
    future: Future[Any] = Future()
    answer = Dispatcher({"f": lambda: future}).begin(request(method='"f"'))
    assert not answer.cancel()
    future.set_result(3)
    assert json.loads(answer.result(10) or "")["result"] == 3


def test_a_notification_whose_future_fails_is_logged_and_gets_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    future: Future[Any] = Future()
    answer = Dispatcher({"f": lambda: future}).begin(request(method='"f"', id=""))
    future.set_exception(OSError("gone"))
    assert answer.result(10) is None
    assert "the method f failed" in caplog.text


def test_a_notification_that_is_refused_gets_no_answer() -> None:
    def refuse() -> None:
        raise RpcError(rpc.SHUTTING_DOWN, "agentkit is about to end.")

    assert Dispatcher({"f": refuse}).handle(request(method='"f"', id="")) is None
    assert Dispatcher({"f": lambda: object()}).handle(request(method='"f"', id="")) is None


# -- what may be given to a method


def every(
    text: str = "",
    whole: int = 0,
    real: float = 0.0,
    flag: bool = False,
    nothing: None = None,
    maybe: Optional[str] = None,  # noqa: UP045
    either: int | str = 0,
    older: Union[int, list[str]] = 0,  # noqa: UP007
    choice: Literal["ask", 1, None] = None,
    items: list = [],  # type: ignore[type-arg]  # noqa: B006
    words: list[str] = [],  # noqa: B006
    some: Sequence[int] = (),
    many: Iterable[str] = (),
    fields: dict = {},  # type: ignore[type-arg]  # noqa: B006
    counts: dict[str, int] = {},  # noqa: B006
    table: Mapping[str, list[float]] = {},
    anything: Any = None,
    thing: object = None,
    noted: Annotated[int, "from 1"] = 1,
) -> Decimal | None:
    return None


@pytest.mark.parametrize(
    ("name", "fitting", "others", "wanted"),
    [
        ("text", ["", "a"], [1, None, True, [], {}], "string"),
        ("whole", [0, -1, 10**300], ["1", 1.0, 1.5, True, None, []], "integer"),
        ("real", [0, 1.5, -3, 10**308], ["1", True, None, 10**309], "number"),
        ("flag", [True, False], [0, 1, "true", None], "boolean"),
        ("nothing", [None], [0, "", False], "null"),
        ("maybe", ["", None], [0, False, []], "string or null"),
        ("either", [1, "a"], [1.5, None, True], "integer or string"),
        ("older", [1, ["a"]], ["a", [1], None], "integer or array of string"),
        ("choice", ["ask", 1, None], ["no", True, 1.0, "1", []], 'one of "ask", 1, null'),
        ("items", [[], [1, "a"]], ["a", {}, None], "array"),
        ("words", [[], ["a"]], ["a", [1], ["a", None], {}], "array of string"),
        ("some", [[], [1]], ["a", [True], {}], "array of integer"),
        ("many", [[], ["a"]], ["a", [1], {"a": "b"}], "array of string"),
        ("fields", [{}, {"a": []}], ["a", [], None], "object"),
        ("counts", [{}, {"a": 1}], [{"a": "b"}, {"a": True}, []], "object of integer"),
        ("table", [{}, {"a": [1, 2.5]}], [{"a": 1}, {"a": ["b"]}], "object of array of number"),
        ("noted", [1], ["1", None], "integer"),
        ("anything", [None, 1, "a", [1], {"a": {}}], [], ""),
        ("thing", [None, 1, "a"], [], ""),
    ],
)
def test_a_parameter_takes_what_its_annotation_says(
    name: str, fitting: list[Any], others: list[Any], wanted: str
) -> None:
    for value in fitting:
        assert asked({"f": every}, "f", {name: value})["result"] is None
    for value in others:
        assert refused(every, {name: value}) == {"parameter": name, "problem": "wrong type", "wanted": wanted}


def test_params_that_do_not_suit_are_named_with_what_was_wanted() -> None:
    def f(text: str, channel: str = "ws", *, stream: bool = False) -> str:
        return f"{text} {channel} {stream}"

    assert asked({"f": f}, "f", {"text": "a", "stream": True})["result"] == "a ws True"
    assert asked({"f": f}, "f", ["a", "b"])["result"] == "a b False"
    assert refused(f, {}) == {"parameter": "text", "problem": "missing", "wanted": "string"}
    assert refused(f, []) == {"parameter": "text", "problem": "missing", "wanted": "string"}
    assert refused(f, {"channel": "a"})["parameter"] == "text"
    assert refused(f, ["a", 1]) == {"parameter": "channel", "problem": "wrong type", "wanted": "string"}
    assert refused(f, {"text": "a", "steam": True}) == {
        "parameter": "steam",
        "problem": "unknown",
        "wanted": "one of text, channel, stream",
    }
    assert refused(f, ["a", "b", True]) == {
        "parameter": "position 3",
        "problem": "too many",
        "wanted": "at most 2 by position: text, channel",
    }
    assert refused(lambda: None, [1])["wanted"] == "none by position"
    assert refused(lambda: None, {"a": 1})["wanted"] == "none by name"
    assert refused(f, {"x" * 10_000: 1})["parameter"] == "x" * 100


def test_a_number_out_of_range_is_refused_by_its_parameter() -> None:
    for params, name in (
        ('{"value":1e999}', "value"),
        ("[[1,-1e999]]", "position 1"),
        (f"[{'9' * 700}]", "position 1"),
    ):
        error = json.loads(DISPATCHER.handle(request(params=params)) or "")["error"]
        assert (error["code"], error["data"]["parameter"]) == (rpc.INVALID_PARAMS, name)
        assert error["data"]["problem"] == "out of range"
    assert json.loads(DISPATCHER.handle(request(params=f"[{'9' * 600}]")) or "")["result"] == int("9" * 600)


def test_stars_take_what_their_annotations_say() -> None:
    def f(first: int, *rest: int, **named: str) -> list[Any]:
        return [first, rest, named]

    assert asked({"f": f}, "f", [1, 2, 3])["result"] == [1, [2, 3], {}]
    assert asked({"f": f}, "f", {"first": 1, "a": "b"})["result"] == [1, [], {"a": "b"}]
    assert refused(f, [1, 2, "x"]) == {"parameter": "position 3", "problem": "wrong type", "wanted": "integer"}
    assert refused(f, {"first": 1, "a": 2})["parameter"] == "a"
    assert refused(f, {"first": 1, "_a": "b"})["problem"] == "unknown"
    assert refused(f, {"first": 1, "rest": "b"})["problem"] == "unknown"


def test_what_is_before_a_slash_is_given_by_position_alone() -> None:
    def f(a: int, /, b: int) -> int:
        return a - b

    assert asked({"f": f}, "f", [3, 1])["result"] == 2
    assert refused(f, {"a": 3, "b": 1})["parameter"] == "a"
    assert asked({"f": divmod}, "f", [7, 2])["result"] == [3, 1]
    assert asked({"f": max}, "f", [7, 2])["result"] == 7


class Connection:
    def __init__(self, name: str) -> None:
        self.name = name

    def send(self, text: str, stream: bool = False) -> list[Any]:
        """Say something."""
        return [self.name, text, stream]

    def loose(self, **fields: str) -> list[Any]:
        return [self.name, fields]

    def __call__(self, text: str) -> str:
        return text

    @classmethod
    def kind(cls, n: int) -> str:
        return cls.__name__ * n

    @staticmethod
    def double(n: int) -> int:
        return 2 * n


def test_bound_methods_and_callable_objects_are_methods() -> None:
    methods: dict[str, Callable[..., Any]] = {
        "send": Connection("a").send,
        "loose": Connection("b").loose,
        "call": Connection("c"),
        "kind": Connection.kind,
        "double": Connection.double,
    }
    assert asked(methods, "send", ["hi"])["result"] == ["a", "hi", False]
    assert asked(methods, "loose", {"x": "y"})["result"] == ["b", {"x": "y"}]
    assert asked(methods, "call", {"text": "hi"})["result"] == "hi"
    assert asked(methods, "kind", [1])["result"] == "Connection"
    assert asked(methods, "double", [4])["result"] == 8
    assert refused(methods["loose"], {"self": "x"})["problem"] == "unknown"
    assert refused(methods["call"], {"text": 1})["wanted"] == "string"


def test_what_a_partial_has_bound_is_not_to_be_set_from_outside() -> None:
    def send(owner: str, text: str, token: str = "", channel: str = "ws", **more: str) -> list[str]:
        return [owner, text, token, channel, *more]

    f = partial(partial(send, "me"), token="secret")
    assert asked({"f": f}, "f", {"text": "hi", "channel": "x"})["result"] == ["me", "hi", "secret", "x"]
    assert asked({"f": f}, "f", ["hi"])["result"] == ["me", "hi", "secret", "ws"]
    assert refused(f, {"text": "hi", "token": "mine"})["problem"] == "unknown"
    assert refused(f, {"text": "hi", "owner": "you"})["problem"] == "unknown"
    assert refused(f, ["hi", "mine"])["problem"] == "too many"
    assert asked({"f": partial(Connection("a").send, stream=True)}, "f", ["hi"])["result"] == ["a", "hi", True]
    assert refused(wraps(f)(lambda *args, **named: f(*args, **named)), {"text": "hi", "token": "mine"})


def test_a_name_that_begins_with_an_underscore_is_not_to_be_set_from_outside() -> None:
    def f(text: str, _user: str = "nobody", stream: bool = False) -> list[Any]:
        return [text, _user, stream]

    assert asked({"f": f}, "f", {"text": "a", "stream": True})["result"] == ["a", "nobody", True]
    assert refused(f, {"text": "a", "_user": "root"})["problem"] == "unknown"
    assert refused(f, ["a", "root"])["problem"] == "too many"
    assert [each["name"] for each in describe({"f": f})["methods"][0]["params"]] == ["text", "stream"]


def test_a_parameter_of_a_type_that_json_has_no_form_for_is_not_to_be_set_from_outside() -> None:
    def f(text: str, where: Path = Path("/"), many: list[bytes] | None = None) -> str:
        return f"{text} {where} {many}"

    assert asked({"f": f}, "f", ["a"])["result"] == "a / None"
    assert asked({"f": f}, "f", {"text": "a", "many": None})["result"] == "a / None"
    assert refused(f, {"text": "a", "where": "/etc"})["problem"] == "unknown"
    assert refused(f, {"text": "a", "many": ["b"]})["wanted"] == "null"


def test_closures_of_the_same_code_are_told_apart_by_what_they_take() -> None:
    def made(kind: Any) -> Callable[..., Any]:
        def f(value):  # type: ignore[no-untyped-def]
            return value

        f.__annotations__["value"] = kind
        return f

    for _ in range(2):
        assert asked({"f": made(int)}, "f", [1])["result"] == 1
        assert refused(made(str), [1])["wanted"] == "string"
    both: list[Callable[..., Any]] = [lambda a: a, lambda a=5: a]
    assert refused(both[0], [])["problem"] == "missing"
    assert asked({"f": both[1]}, "f", [])["result"] == 5


def test_decorated_functions_are_checked_by_the_signature_they_show() -> None:
    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def inner(*args: Any, **named: Any) -> Any:
            return function(*args, **named)

        return inner

    assert asked({"f": logged(subtract)}, "f", {"minuend": 3, "subtrahend": 1})["result"] == 2
    assert refused(logged(subtract), [1])["parameter"] == "subtrahend"
    assert refused(logged(Connection("a").send), [1])["wanted"] == "string"


def test_a_method_that_cannot_be_called_is_an_internal_error() -> None:
    def odd(value: NoSuchThing) -> None:  # type: ignore[name-defined]  # noqa: F821
        pass

    def unfilled(_user: str) -> None:
        pass

    methods: dict[str, Any] = {"odd": odd, "unfilled": unfilled, "none": 3}
    for name in methods:
        assert asked(methods, name, [])["error"]["code"] == rpc.INTERNAL_ERROR


def test_methods_are_described_as_openrpc_has_it() -> None:
    def send(text: str, to: Literal["a", "b"] = "a", *, words: list[str] | None = None) -> None:
        """Say something, and wait
        for the answer."""

    document = describe({"subtract": subtract, "send": partial(send, to="b"), "max": lambda a, b, /: a})
    json.dumps(document)
    assert document["openrpc"].startswith("1.")
    number = {"required": True, "schema": {"type": "integer"}}
    assert document["methods"][0] == {
        "name": "subtract",
        "summary": "Take one number from another.",
        "params": [{"name": "minuend", **number}, {"name": "subtrahend", **number}],
        "result": {"name": "result", "schema": {}},
    }
    words = {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]}
    assert document["methods"][1] == {
        "name": "send",
        "summary": "Say something, and wait",
        "paramStructure": "by-name",
        "params": [
            {"name": "text", "required": True, "schema": {"type": "string"}},
            {"name": "words", "required": False, "schema": words},
        ],
        "result": {"name": "result", "schema": {}},
    }
    assert document["methods"][2]["paramStructure"] == "by-position"


def test_a_method_of_the_rpc_family_is_an_entry_of_the_table_like_any_other() -> None:
    methods: dict[str, Callable[..., Any]] = {"subtract": subtract}
    methods["rpc.discover"] = lambda: describe(methods)
    names = [each["name"] for each in asked(methods, "rpc.discover")["result"]["methods"]]
    assert names == ["subtract", "rpc.discover"]
