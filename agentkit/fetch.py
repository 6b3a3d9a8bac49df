"""What is at an address: one request, and all of its answer; bounded in bytes and in time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from .diagnosis import classify
from .errors import LLMError
from .exchange import Connected, Exchange

if TYPE_CHECKING:
    from requests import Response

LARGEST = 16 << 20  # bytes of an answer: the longest lists of models have one or two million


class Answer(NamedTuple):
    """status, headers: as HTTP has them; body: all of it."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def answer(
    url: str,
    key: str,
    timeout: float,
    body: Mapping[str, Any] | None = None,
    *,
    scheme: str = "Bearer",
    direct: bool = False,
) -> Answer:
    """What a server says. key: empty for none; timeout: seconds for all of it; body: sent there as JSON; scheme: how
    the key is shown; direct: no proxy. Raises LLMError where there is no answer, or no end of it."""
    from . import adapter  # and with it requests, which takes long to load

    session = adapter.session(direct)

    def send(connected: Connected) -> Response:
        data = None if body is None else json.dumps(body).encode()
        return adapter.ask(session, url, key, data, (timeout, timeout), connected, scheme=scheme)

    exchange = Exchange(send, timeout)
    host = urlsplit(url).netloc
    late = LLMError("timeout", f"{host} had not answered after {timeout:g} s. Is it running, and is it that address?")
    try:
        response = exchange.response()
        if response is None:
            raise late
        if isinstance(response, Exception):
            raise classify(None, {}, b"", response)
        data = bytearray()
        while len(data) <= LARGEST and (chunk := exchange.read()):
            data += chunk
        if exchange.expired:
            raise late
        if response.status_code == 200 and exchange.broken is not None:
            raise classify(None, {}, b"", exchange.broken)
        return Answer(response.status_code, response.headers, bytes(data))
    finally:
        exchange.close()
        session.close()


def json_at(
    url: str,
    key: str,
    timeout: float,
    body: Mapping[str, Any] | None = None,
    *,
    scheme: str = "Bearer",
    direct: bool = False,
) -> Any:
    """The JSON at an address; arguments as `answer` has them. Raises LLMError, also where it is none."""
    found = answer(url, key, timeout, body, scheme=scheme, direct=direct)
    if found.status != 200:
        raise classify(found.status, found.headers, found.body.replace(key.encode() or b"\0", b"[key]"))
    try:
        return json.loads(found.body)
    except (ValueError, RecursionError):
        cure = "Check that LLM_BASE_URL is the API's address, with /v1 where the server wants it."
        host = urlsplit(url).netloc
        raise LLMError("bad_request", f"{host} answered with something else than JSON. {cure}") from None
