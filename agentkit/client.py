"""Requests in, wire out: one OpenAI-compatible endpoint, spoken to over `requests`."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Collection, Generator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .cancel import Cancel
from .diagnosis import classify
from .errors import LLMError
from .events import Event, Notice
from .exchange import Connected, Exchange
from .log import SHORTEST_KEY
from .wire import Parser, Reply, encode

if TYPE_CHECKING:
    from requests import Response, Session

__all__ = ["Allowance", "Client", "classify"]

log = logging.getLogger("agentkit")

CONNECT = 10.0  # seconds to reach the server
FIRST = 5  # the first piece may take this many times the time between pieces: prompts are read, models loaded
AFTER_FINISH = 2.0  # seconds for usage and [DONE] after the reply is complete
AFTER_DONE = 0.25  # seconds for the end of the body, so that the connection can be kept
ERROR_BODY = 64 << 10  # bytes of an error answer that are looked at
ERROR_PATIENCE = 2.0  # seconds for them
BEGINNING = 12  # characters of a key that tell it


class Allowance:
    """How many requests may still be sent, for one reply and in whatever way they fail."""

    def __init__(self, requests: int = 12) -> None:
        self.left = requests

    def take(self) -> bool:
        """May another one be sent? It is counted."""
        self.left -= 1
        return self.left >= 0


class Client:
    """base_url: with or without /v1; api_key: empty sends none; timeout: seconds between two pieces of an answer;
    direct: no proxy, for a server inside this process; secrets: other keys that no message may show. May be used from
    several threads."""

    def __init__(
        self,
        base_url: str,
        api_key: str = "",
        *,
        timeout: float = 120.0,
        direct: bool = False,
        secrets: Sequence[str] = (),
    ) -> None:
        self._secrets = [each for each in (api_key, *secrets) if len(each) >= SHORTEST_KEY]
        self._urls = endpoints(base_url)
        self._key = api_key
        self._timeout = timeout
        self._direct = direct
        self._lock = threading.Lock()  # serialises the making of the one session
        self._session: Session | None = None
        self._spoken: dict[str, frozenset[str]] = {}  # by model: the dialects of this endpoint

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            if self._session is not None:
                self._session.close()

    def __repr__(self) -> str:
        return f"Client({self._urls[0]!r})"

    def stream(
        self, body: Mapping[str, Any], cancel: Cancel, allowance: Allowance | None = None
    ) -> Generator[Event, None, Reply]:
        """Send a request and yield the answer's events as they arrive; returns the Reply.

        Raises LLMError, and Cancelled when `cancel` is set. What the endpoint does not take is changed (see dialects),
        and said once; allowance: for that, for redirects and for the search of the address; one is taken to be left.
        """
        allowance = allowance or Allowance()
        model = str(body.get("model"))
        known = self._spoken.get(model, frozenset())
        while True:
            asked = _translated(body, known)
            events, begun = self._ask(asked, cancel, allowance), False
            try:
                while True:
                    event = next(events)
                    begun = True
                    yield event
            except StopIteration as end:
                if known:  # it was that, then
                    self._spoken[model] = known
                reply: Reply = end.value
                return reply
            except LLMError as error:
                from .dialects import DIALECTS, spoken  # a refusal is rare, a start is not

                dialect = None if begun or allowance.left <= 0 else spoken(error, asked, known)
                if dialect is None:
                    raise
            finally:
                events.close()
            known |= {dialect}
            yield Notice(f"{model} at {urlsplit(self._urls[0]).netloc} {DIALECTS[dialect].means}.", "warn")

    def _ask(self, body: Mapping[str, Any], cancel: Cancel, allowance: Allowance) -> Generator[Event, None, Reply]:
        """One request; a base URL that leaves /v1 open is tried both ways, and the one that works is kept."""
        data, nowhere = encode(body), None
        for url in self._urls:
            if not allowance.take() and nowhere:
                break
            try:
                reply = yield from self._exchange(url, data, cancel, allowance)
            except LLMError as error:
                if error.status not in (404, 405) or "model" in error.detail.lower():
                    raise self._without_key(error) from None
                nowhere = nowhere or error
            else:
                self._urls = [url]
                return reply
        assert nowhere is not None
        raise self._without_key(nowhere) from None

    def _exchange(self, url: str, data: bytes, cancel: Cancel, allowance: Allowance) -> Generator[Event, None, Reply]:
        log.debug("POST %s, %d bytes", url, len(data))
        exchange = Exchange(partial(self._post, url, data, allowance), FIRST * self._timeout)
        try:
            with cancel.on_set(exchange.drop):
                response = exchange.response()
                cancel.check()
                if response is None:
                    raise self._too_slow(FIRST * self._timeout)
                if isinstance(response, Exception):
                    raise classify(None, {}, b"", response)
                if response.status_code != 200:
                    exchange.patience(ERROR_PATIENCE)
                    body = b""
                    while len(body) < ERROR_BODY and (chunk := exchange.read()):
                        body += chunk
                    cancel.check()
                    for secret in self._secrets:  # before it is cut anywhere
                        body = body.replace(secret.encode(), b"[key]")
                    raise classify(response.status_code, response.headers, body)
                parser = Parser(response.headers.get("content-type", ""))
                return (yield from self._read(exchange, parser, cancel))
        finally:
            exchange.close()

    def _read(self, exchange: Exchange, parser: Parser, cancel: Cancel) -> Generator[Event, None, Reply]:
        """Read a streamed answer to its end."""
        pieces, complete = 0, False
        while chunk := exchange.read():
            if parser.done:
                continue
            yield from parser.feed(chunk)
            if parser.done:
                exchange.patience(AFTER_DONE)
            elif parser.finished and not complete:
                complete = True
                exchange.patience(AFTER_FINISH)
            elif parser.pieces != pieces:
                pieces = parser.pieces
                if not complete:
                    exchange.patience(self._timeout)
        cancel.check()
        yield from parser.end()
        if not (parser.done or parser.finished):
            if exchange.expired:
                raise self._too_slow(self._timeout if pieces else FIRST * self._timeout)
            if exchange.broken is not None:
                raise classify(None, {}, b"", exchange.broken)
        reply = parser.close()
        log.debug(
            "%s, %d characters, %d calls, %s", reply.finish_reason, len(reply.text), len(reply.calls), reply.usage
        )
        return reply

    def _post(self, url: str, data: bytes, allowance: Allowance, connected: Connected) -> Response:
        from . import adapter  # and with it requests, which takes longer to load than all the rest

        with self._lock:
            self._session = self._session or adapter.session(self._direct)
        timeout = min(CONNECT, self._timeout), FIRST * self._timeout + CONNECT
        return adapter.post(self._session, url, self._key, data, timeout, connected, allowance.take)

    def _too_slow(self, seconds: float) -> LLMError:
        host = urlsplit(self._urls[0]).netloc
        cure = "Try again; LLM_TIMEOUT allows for more."
        return LLMError("timeout", f"{host} sent nothing of an answer for {seconds:g} s. {cure}")

    def _without_key(self, error: LLMError) -> LLMError:
        """Servers like to quote the key they were given; a long one may have been cut off since."""
        message, detail = error.message, error.detail
        for secret in self._secrets:
            pattern = re.escape(secret[:BEGINNING]) + (r"\S*" if len(secret) > BEGINNING else "")
            message, detail = (re.sub(pattern, "[key]", text) for text in (message, detail))
        if (message, detail) == (error.message, error.detail):
            return error
        return LLMError(
            error.category, message[:300], status=error.status, retry_after=error.retry_after, detail=detail
        )


def _translated(body: Mapping[str, Any], known: Collection[str]) -> Mapping[str, Any]:
    if not known:
        return body
    from .dialects import translated

    return translated(body, known)


def endpoints(base_url: str) -> list[str]:
    """Where chat completions may be, likeliest first: people give the URL with or without /v1, or whole."""
    base = base_url.strip().rstrip("/")
    if base.endswith("/chat/completions"):
        return [base]
    urls = [f"{base}/chat/completions"]
    if not re.search(r"/v\d", urlsplit(base).path):
        urls.append(f"{base}/v1/chat/completions")
    return urls if urlsplit(base).path else urls[::-1]
