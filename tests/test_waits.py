"""How long servers ask to wait, in every notation they use."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from email.utils import formatdate

import pytest

from agentkit.diagnosis import classify

from .answers import google, openai, openrouter, valid

NOW_HINTS: list[tuple[dict[str, str], str, float | None]] = [
    ({"retry-after": "7"}, "", 7),
    ({"RETRY-AFTER": " 7.5 "}, "", 7.5),
    ({"Retry-After": "0"}, "", 0),
    ({"retry-after": "5, 5"}, "", 5),
    ({"retry-after": "1m30s"}, "", 90),
    ({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, "", 0),
    ({"retry-after": "Sunday, 06-Nov-94 08:49:37 GMT"}, "", 0),
    ({"retry-after": "Sun Nov  6 08:49:37 1994"}, "", 0),
    ({"retry-after": "Fri, 31 Foo 2999 23:59:59 GMT"}, "", None),
    ({"retry-after": "Fri, 31 Feb 2999 23:59:59 GMT"}, "", None),
    ({"retry-after": "-1"}, "", None),
    ({"retry-after": "NaN"}, "", None),
    ({"retry-after": "inf"}, "", None),
    ({"retry-after": "1e999"}, "", None),
    ({"retry-after": "soon"}, "", None),
    ({"retry-after": ""}, "", None),
    ({"retry-after": "9" * 400}, "", None),
    ({"retry-after": "99999999"}, "", None),
    ({"retry-after": "-1"}, openai("Please try again in 4.77s."), 4.77),
    ({"retry-after-ms": "250", "retry-after": "1"}, "", 0.25),
    ({"retry-after-ms": "x", "retry-after": "1"}, "", 1),
    ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0.5s"}, "", 360.5),
    ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6ms"}, "", 0.006),
    ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1767225600000"}, "", 0),
    ({"x-ratelimit-reset": "12"}, "", 12),
    (
        {
            "x-ratelimit-limit-requests": "14400",
            "x-ratelimit-remaining-requests": "14399",
            "x-ratelimit-reset-requests": "6s",
            "x-ratelimit-limit-tokens": "6000",
            "x-ratelimit-remaining-tokens": "966",
            "x-ratelimit-reset-tokens": "50.34s",
        },
        "",
        50.34,
    ),
    ({"anthropic-ratelimit-tokens-reset": "2020-01-01T00:00:00Z", "anthropic-ratelimit-tokens-remaining": "0"}, "", 0),
    ({"anthropic-ratelimit-tokens-reset": "2999-01-01T00:00:00"}, "", None),
    ({}, openai("Please retry after 86400 seconds."), 86400),
    ({}, openai("Try again in 6m30s."), 390),
    ({}, openai("Please wait 20 seconds before retrying."), 20),
    ({}, openai("try again in 1 hour 2 minutes"), 3720),
    ({}, openai("Rate limit. Your limit resets in 2 hours and 5 minutes"), 7500),
    ({}, openai("Retry-After: 30"), 30),
    ({}, openai("请在 30 秒后重试"), 30),
    ({}, openai("retry after -5 seconds"), None),
    ({}, openai("try again in 1e999 s"), None),
    ({}, openai("try again in 2 months"), None),
    ({}, openai("20 requests per 60 seconds are allowed"), None),
    ({}, openai("Your limit will reset at 2026-03-06 22:19:54"), None),
    ({}, openai("Your limit will reset at 2020-03-06T22:19:54+08:00"), 0),
    ({}, openai("quota will be replenished in 08:23:10"), 8 * 3600 + 23 * 60 + 10),
    ({}, google(429, "RESOURCE_EXHAUSTED", "Quota", {"@type": "RetryInfo", "retryDelay": "37.5s"}), 37.5),
    ({}, openai("slow", resets_in_seconds=42), 42),
    ({}, openai("slow", retry_after=1e999), None),
    ({}, openai("slow", retry_after_ms=1500), 1.5),
    ({}, openai("slow", retry_after=True), None),
    ({}, openrouter(429, '{"error":{"message":"Please retry in 3s"}}'), 3),
]


@pytest.mark.parametrize(("headers", "body", "wait"), NOW_HINTS)
def test_the_wait_is_the_first_hint_that_makes_sense(headers: dict[str, str], body: str, wait: float | None) -> None:
    found = valid(classify(429, headers, body)).retry_after
    assert found == (None if wait is None else pytest.approx(wait))


def test_dates_are_reckoned_from_now() -> None:
    soon = time.time() + 100
    stamps = {
        "retry-after": formatdate(soon, usegmt=True),
        "x-ratelimit-reset": str(int(soon)),
        "x-ratelimit-reset-tokens": str(int(soon * 1000)),
        "anthropic-ratelimit-requests-reset": datetime.fromtimestamp(soon, timezone.utc).isoformat(),
    }
    for name, stamp in stamps.items():
        assert classify(429, {name: stamp}, "").retry_after == pytest.approx(100, abs=30)


def test_a_wait_is_told_only_where_waiting_helps() -> None:
    assert classify(401, {"retry-after": "5"}, "").retry_after is None
    assert classify(413, {"retry-after": "5"}, "").retry_after is None
    assert classify(503, {"retry-after": "5"}, "").retry_after == 5
    assert classify(503, {"x-ratelimit-reset": "5"}, "").retry_after is None
