"""Dialects: servers differ in what they take of a request, and say so. Each difference that can be met is here."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from .errors import LLMError
from .wire import THINKING_FIELDS

Body = Mapping[str, Any]


class Dialect(NamedTuple):
    """One difference. says: how servers tell it, as a regular expression; concerns: does the request have what it is
    about?; change: the request as such a server takes it; means: what that means, for the user."""

    says: str
    concerns: Callable[[Body], bool]
    change: Callable[[Body], Body]
    means: str


def _without(name: str) -> Callable[[Body], Body]:
    return lambda body: {each: value for each, value in body.items() if each != name}


def _thinks(body: Body) -> bool:
    return any(name in message for message in body["messages"] for name in THINKING_FIELDS)


def _without_thinking(body: Body) -> Body:
    def bare(message: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in message.items() if name not in THINKING_FIELDS}

    return {**body, "messages": [bare(message) for message in body["messages"]]}


def _calls_without_thinking(body: Body) -> bool:
    return any(message.get("tool_calls") and "reasoning_content" not in message for message in body["messages"])


def _with_thinking(body: Body) -> Body:
    messages = [
        {**message, "reasoning_content": "(none)"}
        if message.get("tool_calls") and "reasoning_content" not in message
        else message
        for message in body["messages"]
    ]
    return {**body, "messages": messages}


DIALECTS = {
    "no stream_options": Dialect(
        r"stream_options|include_usage",
        lambda body: "stream_options" in body,
        _without("stream_options"),
        "does not take `stream_options`: tokens are estimated",
    ),
    "no tools": Dialect(
        r"not support \S*\s?(?:tool|function)|support tool use|enable-auto-tool-choice|requires? --jinja"
        r"|\b(?:tool|function)s?\b['\"`]?(?: calls?| calling| choice| use| param\w*)?(?: is| are)? (?:not |un)"
        r"(?:supported|permitted|allowed|enabled|available|implemented|recogni[sz]ed)"
        r"|(?:unrecogni[sz]ed|unknown|unexpected|unsupported|extra|additional) [\w -]{0,20}"
        r"(?:argument|param|field|key|input|propert|option)[^.:]{0,40}[:\s'\"`(\[]+tools\b(?!\[)"
        r"|\btools['\"`]?[\])]?[:,]? ?(?:is |was )?(?:extra|unknown|unexpected|unrecogni[sz]ed)"
        r"(?: (?:inputs?|fields?|param\w*|arguments?|keyword))",
        lambda body: "tools" in body,
        _without("tools"),
        "does not take `tools`: it cannot use tools",
    ),
    # What a model has thought goes back with its calls. Some servers refuse a field that they do not know, others a
    # call of a thinking model without it, also where another model has made the call.
    "no thinking": Dialect(
        r"(?s)\A(?!.*(?:missing|requir|must be (?!satisfied)|passed back)).*\breasoning(?:_content)?\b",
        _thinks,
        _without_thinking,
        "does not take `reasoning`: it is not told what was thought before",
    ),
    "thinking": Dialect(
        r"(?s)(?:missing|requir|must be|passed back).*\breasoning_content\b"
        r"|\breasoning_content\b.*(?:missing|requir|must be (?!satisfied)|passed back)",
        _calls_without_thinking,
        _with_thinking,
        "wants `reasoning_content` with every call: it is told there was none",
    ),
}

_CATEGORIES = ("bad_request", "model_not_found", "server_error", "unknown")


def spoken(error: LLMError, body: Body, known: Collection[str]) -> str | None:
    """The dialect that a refusal tells of, if the request has not been changed for it yet."""
    if error.category in _CATEGORIES:
        for name, dialect in DIALECTS.items():
            if name not in known and dialect.concerns(body) and re.search(dialect.says, error.detail, re.IGNORECASE):
                return name
    return None


def translated(body: Body, known: Collection[str]) -> Body:
    """The request as a server takes it that speaks these dialects."""
    for name, dialect in DIALECTS.items():
        if name in known and dialect.concerns(body):
            body = dialect.change(body)
    return body
