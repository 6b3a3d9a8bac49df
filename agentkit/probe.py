"""What a server says of itself: which models it has, how much they take, and what one can do when it is tried.

Context windows are told in many ways: vLLM and OpenRouter in the list of models, llama.cpp under /props, LM Studio in
/api/v0/models, Ollama in /api/ps for a model that is loaded and in /api/show for any.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlsplit

from .cancel import Cancel
from .client import Client, endpoints
from .errors import Cancelled, LLMError
from .events import Text
from .fetch import answer, json_at
from .records import dataclass
from .wire import Reply, request

LOWEST, HIGHEST = 128, 1_000_000_000  # tokens that a context window may have

# Of an entry in the list of models. What the model was made for is more than what is served of it, often.
SERVED = ("max_model_len", "loaded_context_length", "context_length", "context_window", "max_context_length", "n_ctx")
MADE_FOR = ("n_ctx_train", "max_position_embeddings")

COUNT = "Count from 1 to 12 in digits, with commas, and say nothing else."
CALL = 'Call the tool `report` with the word "ready", and say nothing else.'
REPORT = {
    "type": "function",
    "function": {
        "name": "report",
        "description": "Report a word.",
        "parameters": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
    },
}
# Tokens of an answer, the thoughts of a model among them: as most servers call it, as OpenAI does for models that
# think, and as those want it that know neither.
MOST = 600
LIMITS: Sequence[Mapping[str, int]] = ({"max_tokens": MOST}, {"max_completion_tokens": MOST}, {})


@dataclass(frozen=True)
class Model:
    """window: tokens, None: the server does not tell."""

    id: str
    window: int | None = None


@dataclass(frozen=True)
class Trial:
    """What came of two small requests. streams: the answer came in pieces; calls_tools: it called the one it was told
    to; counts: the server told the tokens; model: the one that was asked; seconds: that both took; tokens: likewise, 0
    where they are not told."""

    text: str
    streams: bool
    calls_tools: bool
    counts: bool
    model: str
    seconds: float
    tokens: int = 0


def models(base_url: str, api_key: str, timeout: float = 10.0) -> list[Model]:
    """The models of a server, in its order. timeout: seconds for all of it. Raises LLMError."""
    nowhere: LLMError | None = None
    for url in endpoints(base_url):
        try:
            return _listed(json_at(url.removesuffix("/chat/completions") + "/models", api_key, timeout))
        except LLMError as error:
            if error.status not in (404, 405):
                raise
            nowhere = nowhere or error
    assert nowhere is not None
    raise nowhere


def window(base_url: str, api_key: str, model: str, timeout: float = 5.0) -> int | None:
    """The tokens that a model takes at this server; None: it does not tell. timeout: seconds for all of it."""
    deadline = time.monotonic() + timeout
    for ask in (_of_list, _of_llama, _of_studio, _of_ollama, _of_ollama_file, _made_for):
        if (left := deadline - time.monotonic()) <= 0:
            return None
        try:
            if found := ask(base_url, api_key, model, left):
                return found
        except (LLMError, LookupError, TypeError, ValueError, AttributeError):  # another kind of server
            continue
    return None


def trial(
    base_url: str, api_key: str, model: str, timeout: float = 30.0, extra: Mapping[str, Any] | None = None
) -> Trial:
    """Have a model answer, and call a tool. timeout: seconds for both; extra: as `wire.request` has it. Raises
    LLMError."""
    client = Client(base_url, api_key, timeout=timeout)
    cancel, began = Cancel(), time.monotonic()
    alarm = threading.Timer(timeout, cancel.set)
    alarm.daemon = True
    alarm.start()
    try:
        limit, reply, pieces = _limited(client, model, dict(extra or {}), cancel)
        called, _ = _ask(client, model, CALL, [REPORT], {**limit, **(extra or {})}, cancel)
    except Cancelled:
        host = urlsplit(base_url).netloc
        raise LLMError("timeout", f"{model} at {host} had not answered after {timeout:g} s. Try again later.") from None
    finally:
        alarm.cancel()
        client.close()
    calls_tools = any(each.name == "report" for each in called.calls)
    text, seconds = reply.text.strip(), round(time.monotonic() - began, 1)
    tokens = sum((each.usage or {}).get("total_tokens", 0) for each in (reply, called))
    return Trial(text, pieces > 1, calls_tools, reply.usage is not None, model, seconds, tokens)


def skew(base_url: str, timeout: float = 5.0) -> float | None:
    """The seconds by which this machine's clock is ahead of a server's; None: it does not tell the time."""
    try:
        found = answer(f"{_host(base_url)}/", "", timeout)
    except LLMError:
        return None
    try:
        then = parsedate_to_datetime(found.headers["date"]).timestamp()
    except (LookupError, TypeError, ValueError):
        return None
    return time.time() - then


def _limited(
    client: Client, model: str, extra: Mapping[str, Any], cancel: Cancel
) -> tuple[Mapping[str, int], Reply, int]:
    """The limit of an answer's length that the server takes; then as `_ask`."""
    for limit in LIMITS[:-1]:
        try:
            return (limit, *_ask(client, model, COUNT, [], {**limit, **extra}, cancel))
        except LLMError as error:
            if error.status not in (400, 422) or "tokens" not in error.detail:
                raise
    return (LIMITS[-1], *_ask(client, model, COUNT, [], extra, cancel))


def _ask(
    client: Client, model: str, text: str, tools: list[dict[str, Any]], extra: Mapping[str, Any], cancel: Cancel
) -> tuple[Reply, int]:
    """The reply, and in how many pieces its text came."""
    messages = [{"role": "user", "content": text}]
    stream = client.stream(request(model, "", messages, tools, dict(extra)), cancel)
    pieces = 0
    try:
        while True:
            pieces += isinstance(next(stream), Text)
    except StopIteration as end:
        return end.value, pieces
    finally:
        stream.close()


# -- windows


def _of_list(base_url: str, api_key: str, model: str, timeout: float) -> int | None:
    return next((each.window for each in models(base_url, api_key, timeout) if each.id == model), None)


def _made_for(base_url: str, api_key: str, model: str, timeout: float) -> int | None:
    found = json_at(endpoints(base_url)[0].removesuffix("/chat/completions") + "/models", api_key, timeout)
    return next((_window(each, MADE_FOR) for each in found["data"] if each["id"] == model), None)


def _of_llama(base_url: str, api_key: str, model: str, timeout: float) -> int | None:
    """One that has several models wants to be told which; one of a single model does not look."""
    found = json_at(f"{_host(base_url)}/props?model={quote(model)}", api_key, timeout)
    return _tokens(found["default_generation_settings"].get("n_ctx"))


def _of_studio(base_url: str, api_key: str, model: str, timeout: float) -> int | None:
    found = json_at(f"{_host(base_url)}/api/v0/models", api_key, timeout)
    return next((_window(each) for each in found["data"] if each["id"] == model), None)


def _of_ollama(base_url: str, api_key: str, model: str, timeout: float) -> int | None:
    found = json_at(f"{_host(base_url)}/api/ps", api_key, timeout)
    names = (model, f"{model}:latest")
    return next((_tokens(each["context_length"]) for each in found["models"] if each["name"] in names), None)


def _of_ollama_file(base_url: str, api_key: str, model: str, timeout: float) -> int | None:
    """What the model's own file sets; what it was made for says nothing of what is served."""
    found = json_at(f"{_host(base_url)}/api/show", api_key, timeout, {"model": model})
    lines = (line.split() for line in found["parameters"].splitlines())
    return next((_tokens(int(words[1])) for words in lines if words[:1] == ["num_ctx"]), None)


def _host(base_url: str) -> str:
    parts = urlsplit(base_url.strip())
    return f"{parts.scheme}://{parts.netloc}"


# -- what servers say


def _listed(value: Any) -> list[Model]:
    """A list of models, however it is wrapped: entries without a name are passed over."""
    if isinstance(value, dict):
        value = next((value[name] for name in ("data", "models") if isinstance(value.get(name), list)), None)
    if not isinstance(value, list):
        raise LLMError(
            "bad_request", "The server's list of models is none. Check that LLM_BASE_URL is the API's address."
        )
    return list(_entries(value))


def _entries(value: list[Any]) -> Iterator[Model]:
    for each in value:
        if isinstance(each, str):
            yield Model(each)
        elif isinstance(each, dict):
            name = each.get("id") or each.get("name") or each.get("model")
            if isinstance(name, str) and name:
                yield Model(name, _window(each))


def _window(entry: Mapping[str, Any], names: Sequence[str] = SERVED) -> int | None:
    """The context window that an entry tells, wherever it has it."""
    inner = [
        each for each in (entry.get("meta"), entry.get("top_provider"), entry.get("limits")) if isinstance(each, dict)
    ]
    for name in names:
        for each in (entry, *inner):
            if found := _tokens(each.get(name)):
                return found
    return None


def _tokens(value: Any) -> int | None:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and LOWEST <= value <= HIGHEST else None
