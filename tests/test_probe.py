"""What servers say of themselves, in their many ways; and those that say nothing, or too much."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from agentkit.errors import LLMError
from agentkit.probe import Model, models, skew, trial, window

from .loopback import Loopback, Request, Response, call_stream, json_answer, json_error, text_stream

KEY = "sk-canary-0123456789"
SPENT = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}


def pages(found: Mapping[str, Any]) -> Callable[[Request, int], Response]:
    """A server that has these at their paths, and nothing else."""

    def answer(request: Request, index: int) -> Response:
        value = found.get(request.path.partition("?")[0])
        return (
            json_error(404, "not found")
            if value is None
            else value
            if isinstance(value, Response)
            else json_answer(value)
        )

    return answer


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"data": [{"id": "a"}, {"id": "b", "max_model_len": 8192}]}, [Model("a"), Model("b", 8192)]),  # vLLM
        ({"data": [{"id": "x/y", "context_length": 131072}]}, [Model("x/y", 131072)]),  # OpenRouter
        ({"data": [{"id": "g", "context_window": 32768}]}, [Model("g", 32768)]),  # Groq
        ([{"id": "t", "context_length": 4096}], [Model("t", 4096)]),  # Together
        ({"models": [{"name": "o:latest", "model": "o:latest"}]}, [Model("o:latest")]),  # Ollama's own
        ({"data": [{"id": "l", "meta": {"n_ctx_train": 131072}}]}, [Model("l")]),  # llama.cpp: not what it serves
        ({"data": []}, []),
        (
            {"data": [{}, 3, None, {"id": 5}, {"id": ""}, "plain", {"id": "z", "context_length": "many"}]},
            [Model("plain"), Model("z")],
        ),
        ({"data": [{"id": "z", "context_length": True}, {"id": "y", "max_model_len": -1}]}, [Model("z"), Model("y")]),
    ],
)
def test_a_list_of_models_is_read_however_it_is_written(said: Any, expected: list[Model]) -> None:
    with Loopback(pages({"/v1/models": said})) as server:
        assert models(server.url, KEY) == expected
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
        assert models(server.url.removesuffix("/v1"), "") == expected
        assert "authorization" not in server.requests[-1].headers


@pytest.mark.parametrize(
    ("answer", "category", "said"),
    [
        (json_error(401, f"Incorrect API key provided: {KEY}."), "auth", "key"),
        (json_answer("hello"), "bad_request", "list of models"),
        (Response(chunks=[b"<html>Welcome</html>"], framing="length"), "bad_request", "JSON"),
        (Response(chunks=[b"[" * 100_000], framing="length"), "bad_request", "JSON"),
        (json_error(404, "not here"), "unknown", ""),
        (Response(chunks=[b'{"data": ['], end="rst"), "network", ""),
    ],
)
def test_what_is_no_list_is_an_error_that_says_so_and_shows_no_key(answer: Response, category: str, said: str) -> None:
    with Loopback(lambda request, index: answer) as server, pytest.raises(LLMError) as raised:
        models(server.url, KEY, 5)
    assert raised.value.category in (category, "model_not_found", "bad_request") and said in str(raised.value)
    assert KEY not in str(raised.value) + raised.value.detail


def test_a_server_that_never_ends_is_left_when_the_time_is_up() -> None:
    drip = Response(chunks=[b" "] * 200, gap=0.05, end="hang")
    with Loopback(lambda request, index: drip) as server, pytest.raises(LLMError, match="had not answered") as raised:
        models(server.url, KEY, 0.3)
    assert raised.value.category == "timeout"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"/v1/models": {"data": [{"id": "m", "max_model_len": 8192}]}}, 8192),
        (
            {
                "/v1/models": {"data": [{"id": "m", "meta": {"n_ctx_train": 131072}}]},
                "/props": {"default_generation_settings": {"n_ctx": 4096}},
            },
            4096,
        ),
        ({"/v1/models": {"data": [{"id": "m", "meta": {"n_ctx_train": 131072}}]}}, 131072),
        ({"/api/v0/models": {"data": [{"id": "m", "loaded_context_length": 4096, "max_context_length": 32768}]}}, 4096),
        ({"/api/ps": {"models": [{"name": "m:latest", "context_length": 4096}]}}, 4096),
        ({"/api/show": {"parameters": "stop x\nnum_ctx 16384"}}, 16384),
        ({"/props": ["odd"], "/api/ps": {"models": 3}, "/api/v0/models": {"data": {"m": 1}}}, None),
        ({}, None),
    ],
)
def test_what_a_server_takes_is_found_where_it_tells_it(found: Mapping[str, Any], expected: int | None) -> None:
    with Loopback(pages(found)) as server:
        assert window(server.url, KEY, "m", 20) == expected


def test_nobody_is_asked_longer_than_there_is_time() -> None:
    with Loopback(lambda request, index: Response(chunks=[], end="hang")) as server:
        assert window(server.url, KEY, "m", 0.2) is None


def test_a_trial_tells_what_a_model_can_do() -> None:
    script = [text_stream("1, ", "2", usage=SPENT), call_stream(("report", {"word": "ready"}))]
    with Loopback(script) as server:
        found = trial(server.url, KEY, "m")
    assert (found.text, found.streams, found.calls_tools, found.counts, found.model) == ("1, 2", True, True, True, "m")
    assert server.requests[1].json["tools"][0]["function"]["name"] == "report"


@pytest.mark.parametrize("taken", ["max_completion_tokens", ""])
def test_a_limit_that_a_server_does_not_know_is_called_otherwise(taken: str) -> None:
    """OpenAI's models that think refuse max_tokens, and others know neither."""

    def strict(request: Request, index: int) -> Response:
        for name in {"max_tokens", "max_completion_tokens"} - {taken}:
            if name in request.json:
                return json_error(400, f"Unsupported parameter: '{name}' is not supported with this model.")
        return call_stream(("report", {"word": "ready"})) if "tools" in request.json else text_stream("1, ", "2")

    with Loopback(strict) as server:
        assert trial(server.url, KEY, "m").calls_tools
    assert taken in server.requests[-1].json or not taken


def test_what_a_user_adds_to_requests_is_in_those_of_a_trial() -> None:
    with Loopback([text_stream("1, ", "2"), call_stream(("report", {}))]) as server:
        trial(server.url, KEY, "m", extra={"temperature": 0.5, "max_tokens": 9})
    assert [(each.json["temperature"], each.json["max_tokens"]) for each in server.requests] == [(0.5, 9)] * 2


def test_a_model_that_can_do_less_is_seen_to() -> None:
    with Loopback([text_stream("1, 2"), text_stream("ready")]) as server:
        found = trial(server.url, KEY, "m")
    assert (found.streams, found.calls_tools, found.counts) == (False, False, False)


def test_a_trial_ends_when_the_time_is_up() -> None:
    pings = Response(chunks=[b": ping\n\n"] * 50, gap=0.05, end="hang")
    with Loopback(lambda request, index: pings) as server, pytest.raises(LLMError) as raised:
        trial(server.url, KEY, "m", 0.4)
    assert raised.value.category == "timeout"


def test_a_refused_key_is_named_and_not_shown() -> None:
    refused = json_error(401, f"bad key {KEY}")
    with Loopback(lambda request, index: refused) as server, pytest.raises(LLMError) as raised:
        trial(server.url, KEY, "m")
    assert raised.value.category == "auth" and KEY not in str(raised.value)


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_the_clock_is_compared_with_what_a_server_says(date: str) -> None:
    headers = {"date": date} if date else {}
    with Loopback(lambda request, index: json_answer({}, headers=headers)) as server:
        found = skew(server.url)
    assert (found or 0.0) > 1e9 if date.endswith("GMT") else found is None
