"""Error answers in the shapes that providers give them, and what every diagnosis must be."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

from agentkit.errors import CATEGORIES, LLMError


def openai(message: str, type: str | None = None, code: Any = None, **more: Any) -> str:
    return json.dumps({"error": {"message": message, "type": type, "param": None, "code": code, **more}})


def anthropic(type: str, message: str) -> str:
    return json.dumps({"type": "error", "error": {"type": type, "message": message}, "request_id": "req_1"})


def google(code: int, status: str, message: str, *details: dict[str, Any]) -> str:
    return json.dumps([{"error": {"code": code, "message": message, "status": status, "details": list(details)}}])


def openrouter(code: int, raw: str) -> str:
    error = {"message": "Provider returned error", "code": code, "metadata": {"raw": raw, "provider_name": "X"}}
    return json.dumps({"error": error, "user_id": "user_1"})


def page(title: str, text: str = "", script: str = "") -> str:
    head = f"<head><title>{title}</title><script>{script}</script></head>"
    return f"<!DOCTYPE html>\n<html>{head}<body><h1>{title}</h1><p>{text}</p></body></html>"


def detail(*errors: tuple[list[Any], str, str]) -> str:
    return json.dumps(
        {"detail": [{"type": t, "loc": loc, "msg": msg, "input": "rate limit"} for loc, msg, t in errors]}
    )


def valid(error: LLMError) -> LLMError:
    assert error.category in CATEGORIES
    assert 0 < len(error.message) <= 300
    assert error.message.splitlines() == [error.message]
    assert not {unicodedata.category(character) for character in error.message} & {"Cc", "Cs", "Zl", "Zp"}
    assert error.message == str(error)
    assert 0 < len(error.detail) <= 2000
    assert error.retry_after is None or 0 <= error.retry_after <= 366 * 86400
    return error
