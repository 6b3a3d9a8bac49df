"""What a diagnosis tells the user, that it leaks no keys, and that no answer can break it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from requests import exceptions as rx

from agentkit.diagnosis import classify

from .answers import openai, openrouter, page, valid


@pytest.mark.parametrize(
    ("status", "body", "start", "end"),
    [
        (401, openai("Bad key."), "The key was refused (401): Bad key.", "Check LLM_API_KEY."),
        (404, "", "Nothing was found at this address (404).", "Check LLM_MODEL and LLM_BASE_URL."),
        (404, openai("No model x"), "The model was not found (404): No model x.", "Check LLM_MODEL."),
        (405, "", "The address is not that of a chat API (405).", "Check LLM_BASE_URL."),
        (301, page("Moved"), "The address is not that of a chat API (301): Moved.", "Check LLM_BASE_URL."),
        (200, page("Sign in"), "A web page answered instead of a chat API: Sign in.", "Check LLM_BASE_URL."),
        (407, "", "The proxy wants a name and password (407).", "Check HTTPS_PROXY, HTTP_PROXY and NO_PROXY."),
        (
            500,
            openrouter(500, openai("Core dumped")),
            "The server failed (500): Core dumped.",
            "set LLM_FALLBACK_MODELS.",
        ),
        (429, openai("Slow. try again in 90 s"), "Too many requests (429): Slow", "add a key as LLM_API_KEY_<n>."),
        (500, openai("x" * 1000), "The server failed (500): xxx", "x… Try again, or set LLM_FALLBACK_MODELS."),
    ],
)
def test_a_message_says_what_happened_in_whose_words_and_ends_with_the_cure(
    status: int, body: str, start: str, end: str
) -> None:
    message = valid(classify(status, {}, body)).message
    assert message.startswith(start)
    assert message.endswith(end)


def test_the_detail_keeps_all_that_was_said_with_codes_and_fields() -> None:
    body = {"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted", "type": "extra"}]}
    assert classify(422, {}, json.dumps(body)).detail == (
        "body.stream_options: Extra inputs are not permitted\n[extra, body.stream_options]"
    )
    refused = '{"error":{"message":"Unknown","param":"stream_options","code":"unknown_parameter"}}'
    assert "stream_options" in classify(400, {}, refused).detail
    assert "model" not in classify(404, {}, b"").detail


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefghijklmnop1234567890",
        "sk-ant-api03-aaaa_bbbb-cccc",
        "sk-abc*******wxyz",
        "gsk_abcdefghijklmnop1234567890",
        "AIzaSyA1234567890abcdefghijklmnop",
        "xai-abcdefghijklmnop1234567890",
        "hf_abcdefghijklmnopqrstuv",
        "Bearer abcdef1234567890",
        "api_key=abcdef1234567890",
        "?key=abcdef1234567890",
        "API key provided: abcd1234efgh5678",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-def_123",
    ],
)
def test_nothing_that_looks_like_a_key_is_shown_or_logged(secret: str) -> None:
    found = classify(401, {}, openai(f"Not a good one: {secret}. See https://x."))
    tail = secret[-6:]
    assert tail not in found.message and tail not in found.detail
    assert "…" in found.message
    thrown = classify(None, {}, b"", ValueError(f"Invalid header value b'Bearer {secret}'"))
    assert tail not in thrown.message and tail not in thrown.detail


def test_words_that_only_sound_like_keys_are_kept() -> None:
    text = "Use Bearer authentication. max_tokens: 128000, task-specific, org-VDAWofJASuLH0vVz8o9tiQZr, bad token: a"
    assert text in classify(400, {}, openai(text)).detail


DEEP = 200_000
JUNK: list[bytes] = [
    b"", b" \n", b"null", b"true", b"42", b"[]", b"{}", b'""', b"[[[]]]", b"\x00\x01\x1b[31mred\x07", b"\xff\xfe\xfd",
    b'{"error":null}', b'{"error":[]}', b'{"error":{"message":null,"code":null}}', b'{"error":{"message":["a",'
        b'{"b":1}]}}',
    b'{"error":"\\ud800\\u0007\\u202e"}', b'{"message":' + b"9" * 5000 + b"}", b'{"code":1e999,"message":NaN}',
    b"[" * DEEP, b'{"error":' * DEEP, b'{"error":' * 900 + b"1" + b"}" * 900, b'"' * DEEP, b"<" * DEEP, b"\\" * DEEP,
    b"<html><script" * DEEP, b"x" * 10_000_000, b'{"error":{"message":"' + b"limit " * 2_000_000 + b'"}}',
    b"\xef\xbb\xbf" + b'{"error":"bom"}', "Ошибка".encode("utf-16"),
]  # fmt: skip


@pytest.mark.parametrize("body", JUNK, ids=lambda body: repr(body[:12]))
def test_junk_is_judged_by_its_status_and_never_crashes(body: bytes) -> None:
    assert valid(classify(401, {}, body)).category == "auth"
    assert valid(classify(500, {}, body)).category == "server_error"
    for status in (None, 200, 404, 429):
        valid(classify(status, {}, body.decode("utf-8", "replace")))


@pytest.mark.parametrize("tail", [b"502 Bad Gateway: maximum context length is 5", b"rate limit exceeded"])
def test_the_end_of_a_huge_body_is_looked_at_too(tail: bytes) -> None:
    assert classify(400, {}, b"." * 5_000_000 + b" " + tail).category in ("overflow", "rate_limit")


RANK = st.sampled_from(
    [
        "error",
        "message",
        "msg",
        "code",
        "type",
        "status",
        "detail",
        "loc",
        "retry_after",
        "retryDelay",
        "metadata",
        "raw",
    ]
)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(RANK | st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150)
@given(
    st.none() | st.integers(-10, 1100) | st.integers(),
    st.dictionaries(st.sampled_from(["Retry-After", "retry-after-ms", "X-RateLimit-Reset"]) | st.text(), st.text()),
    st.binary() | st.text() | VALUE.map(json.dumps) | VALUE.map(repr),
)
def test_any_answer_gets_a_valid_diagnosis(status: int | None, headers: dict[str, str], body: bytes | str) -> None:
    error = valid(classify(status, headers, body))
    assert error.status == status


# What a request of ours may speak of, and a server of itself.
OURS = (
    "429 rate limit",
    "HTTP 429: Rate limit reached, retry after 30 s",
    "insufficient credits",
    "invalid api key",
    "maximum context length is 100 tokens",
    "the model is overloaded",
)


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("type", [None, "invalid_request_error", "BadRequestError"])
@pytest.mark.parametrize("quote", "'\"`")
@pytest.mark.parametrize(
    "frame",
    [
        "Invalid value for messages[1].content: {}",
        "The input {} is not valid here",
        "Could not parse the arguments of the call: {}.",
        "Value {} at messages[0] is not supported",
        "{} is not of type 'object' - 'messages.2.content'",
    ],
)
def test_a_request_that_is_refused_means_nothing_by_what_it_quotes_of_it(
    status: int, type: str | None, quote: str, frame: str
) -> None:
    for ours in OURS:
        found = valid(classify(status, {}, openai(frame.format(f"{quote}{ours}{quote}"), type)))
        assert (found.category, found.retry_after) == ("bad_request", None), ours
        assert ours in found.message


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("type", [None, "invalid_request_error"])
@pytest.mark.parametrize(
    "message",
    [
        "Failed to parse arguments: 429 rate limit",
        "Failed to validate JSON: too many requests per minute",
        "Invalid value: 429 rate limit",
        "Malformed content, rate limit is not JSON",
    ],
)
def test_a_request_that_could_not_be_read_is_at_fault_also_where_it_is_told_without_quotes(
    status: int, type: str | None, message: str
) -> None:
    assert classify(status, {}, openai(message, type)).category == "bad_request"


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(
    ("message", "category"),
    [
        ("Error: 'context length exceeded'", "overflow"),
        ("'maximum context length is 100 tokens'", "overflow"),
        ('Error: "insufficient credits"', "billing"),
        ("Error: `invalid api key`", "auth"),
        ("This model's maximum context length is 100 tokens, and 'the prompt' has 120.", "overflow"),
        ("Invalid API key, see 'the list of keys'", "auth"),
        ("The model 'm' does not exist", "model_not_found"),
        ("Your credit balance is too low for 'the big one'", "billing"),
    ],
)
def test_what_a_refusal_means_it_means_also_where_it_quotes_something_else_or_is_all_in_quotes(
    status: int, message: str, category: str
) -> None:
    assert classify(status, {}, openai(message)).category == category


@pytest.mark.parametrize(
    "message",
    [
        "You are not allowed to sample from this model",
        "You are not allowed to query the model",
        "Project does not have access to model `m`",
    ],
)
def test_a_key_that_may_not_use_a_model_is_good_for_others(message: str) -> None:
    assert classify(403, {}, openai(message)).category == "model_not_found"


def recorded() -> list[Any]:
    """The recorded answers of real providers, where they are at hand."""
    folder = os.environ.get("AGENTKIT_CASES")
    if not folder:
        return []
    cases = json.loads((Path(folder) / "provider_errors.json").read_text(encoding="utf-8"))["cases"]
    return [pytest.param(case, id=case["id"]) for case in cases if case["kind"] in ("http", "transport")]


@pytest.mark.skipif(not os.environ.get("AGENTKIT_CASES"), reason="AGENTKIT_CASES names no folder of recorded answers")
@pytest.mark.parametrize("case", recorded())
def test_recorded_answers_are_understood(case: dict[str, Any]) -> None:
    body, error = case["body"], None
    if case["kind"] == "transport":
        name, _, text = body.partition(": ")
        body, error = "", getattr(rx, name.rpartition(".")[2])(text)
    found = valid(classify(case["status"], case["headers"], body, error))
    assert found.category in (case["category"], *case.get("accept", ()))
    if case.get("retry_after_s") is not None:
        assert found.retry_after == pytest.approx(case["retry_after_s"], abs=1.5)
