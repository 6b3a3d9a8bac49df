"""The chat-completions protocol without I/O: request body out, SSE bytes in, Reply out.

Where servers in the field stray from what OpenAI does it takes what is meant: errors inside a stream with status 200,
a whole message in place of pieces. What it never does is to take a broken stream for a whole answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from .calls import Call, Calls, object_of
from .diagnosis import classify
from .errors import LLMError
from .events import Event, Text, Thinking
from .eventstream import FAULT, EventStream, Value
from .thinking import Piece, ThinkTags

__all__ = ["Call", "Parser", "Reply", "assistant", "encode", "request", "stamp"]

# Finish reasons that say the reply broke off, and what that is; servers invent them freely.
BROKEN_OFF = {
    "error": "server_error",
    "model_error": "server_error",
    "insufficient_system_resource": "overloaded",
    "overloaded": "overloaded",
    "engine_overloaded": "overloaded",
    "timeout": "timeout",
    "network_error": "network",
    "abort": "network",
    "aborted": "network",
    "cancelled": "network",
    "canceled": "network",
    "content_filter": "content_filter",
    "content_filtered": "content_filter",
    "sensitive": "content_filter",
    "safety": "content_filter",
    "recitation": "content_filter",
    "prohibited_content": "content_filter",
    "blocklist": "content_filter",
}

ABOUT_TOOLS = ("tool_choice", "parallel_tool_calls")  # servers refuse them in a request without tools

THINKING_FIELDS = ("reasoning_content", "reasoning")

# A date and time of RFC 3339, the offset optional.
TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):[0-5]\d(?:\.\d+)?(Z|z|[+-](?:[01]\d|2[0-3]):[0-5]\d)?", re.ASCII)


class Reply(NamedTuple):
    """One answer of the model. finish_reason: `stop`, `tool_calls`, `length` ..., or `interrupted` when the user broke
    it off; usage: prompt_tokens, completion_tokens, total_tokens, or None where the server sent none;
    thinking_field: the field its reasoning came in."""

    text: str = ""
    thinking: str = ""
    calls: tuple[Call, ...] = ()
    finish_reason: str | None = None
    usage: dict[str, int] | None = None
    thinking_field: str = ""


def request(
    model: str,
    system: str,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] = (),
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The body of a streaming request; extra: fields merged into it (temperature, max_tokens ...)."""
    body: dict[str, Any] = {"model": model, "messages": [_sent(message) for message in messages]}
    if system:
        body["messages"].insert(0, {"role": "system", "content": system})
    more = dict(extra or {})
    if tools:
        body["tools"] = list(tools)
    else:
        for field in ABOUT_TOOLS:
            more.pop(field, None)
    return {**body, "stream": True, "stream_options": {"include_usage": True}, **more}


def encode(body: Mapping[str, Any]) -> bytes:
    """The body as it travels. Half a surrogate pair, which is not text, travels as `?`."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def assistant(reply: Reply) -> dict[str, Any]:
    """The reply as a message of the conversation.

    Arguments that are no JSON object are kept out: servers that parse the history would refuse every later request.
    """
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.thinking:
        message.update(thinking=reply.thinking, thinking_field=reply.thinking_field)
    if reply.calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.name or "unknown",
                    "arguments": call.arguments if object_of(call.arguments) is not None else "{}",
                },
                **call.extra,
            }
            for call in reply.calls
        ]
    return message


def stamp(at: object) -> str:
    """A time as the model reads it, `[2026-11-22 11:36 +01:00]`, from RFC 3339's form; empty where it is none.

    It is made of nothing but `at`, so that a message is sent as the same bytes ever after.
    """
    found = TIME.fullmatch(at) if isinstance(at, str) else None
    if found is None:
        return ""
    day, time, offset = found.groups("")
    try:
        datetime.fromisoformat(f"{day} {time}")
    except ValueError:  # the 31st of February
        return ""
    return f"[{day} {time}{offset and ' '}{'+00:00' if offset in ('Z', 'z') else offset}]"


def _sent(message: Mapping[str, Any]) -> dict[str, Any]:
    """What of a stored message goes to the server. One of the user begins with its time on a line of its own."""
    sent = {"role": message["role"], "content": message.get("content")}
    if message["role"] == "user" and isinstance(sent["content"], str) and (time := stamp(message.get("at"))):
        sent["content"] = f"{time}\n{sent['content']}"
    if "tool_call_id" in message:
        sent["tool_call_id"] = message["tool_call_id"]
    if message.get("tool_calls"):
        sent["content"] = sent["content"] or None
        sent["tool_calls"] = message["tool_calls"]
        # Servers with a thinking mode refuse a call whose reasoning is not sent back to them.
        if message.get("thinking_field") in THINKING_FIELDS:
            sent[message["thinking_field"]] = message["thinking"]
    elif message["role"] == "assistant":
        sent["content"] = sent["content"] or "(no text)"  # some servers refuse an empty message
    return sent


class Parser:
    """The bytes of one answer in, events out as they are complete, the Reply at the end.

    content_type: the answer's Content-Type, used to explain an answer that is no completion at all.
    Neighbouring pieces of text in one chunk come as one event.
    """

    def __init__(self, content_type: str = "text/event-stream") -> None:
        self._content_type = content_type
        self._stream = EventStream()
        self._calls = Calls()
        self._tags = ThinkTags()
        self._said: dict[type[Text] | type[Thinking], list[str]] = {Text: [], Thinking: []}
        self._new: list[Piece] = []
        self._half = ""  # the first half of a surrogate pair
        self._thinking_field = ""
        self._finish_reason = ""
        self._usage: dict[str, int] | None = None
        self._error: LLMError | None = None
        self.pieces = 0  # how much has come that counts, unlike keep-alives

    @property
    def done(self) -> bool:
        """Nothing that follows counts: [DONE] has come, or an error has."""
        return self._stream.done or self._error is not None

    @property
    def finished(self) -> bool:
        """The reply is complete, though usage and [DONE] may still come."""
        return bool(self._finish_reason)

    def feed(self, chunk: bytes) -> list[Event]:
        """Take the next bytes, however they are cut. Raises LLMError once the stream has failed."""
        if self._error:
            raise self._error
        self._take(self._stream.feed(chunk))
        return self._events() if self._new else []

    def end(self) -> list[Event]:
        """The bytes have ended: the events that were held back until now."""
        if not self.done:
            self._take(self._stream.end())
        self._new += self._tags.finish()
        return self._events()

    def close(self) -> Reply:
        """The bytes have ended: the Reply, or LLMError where it is not whole."""
        self.end()
        if self._error:
            raise self._error
        if not self._stream.done and not self._finish_reason:
            raise self._cut()
        reason = self._finish_reason
        calls = self._calls.finish(cut=reason == "length")
        if calls and reason in ("", "stop", "function_call"):
            reason = "tool_calls"
        text, thinking = ("".join(self._said[kind]) for kind in (Text, Thinking))
        return Reply(text, thinking, calls, reason or "stop", self._usage, self._thinking_field)

    # -- values to the reply

    def _take(self, values: Sequence[Value]) -> None:
        for name, value in values:
            if isinstance(value, dict):
                self._object(name, value)
            elif isinstance(value, list):
                for each in value:
                    if isinstance(each, dict):
                        self._object(name, each)
            elif name == FAULT:
                self._fail(classify(None, {}, str(value)))
            if self._error:  # nothing that follows counts
                return
        self._error = self._stream.error

    def _object(self, name: str, value: dict[str, Any]) -> None:
        choices = value.get("choices")
        if isinstance(choices, list):
            for choice in choices:
                if isinstance(choice, dict) and choice.get("index") in (0, None):
                    self._choice(choice, whole=value.get("object") != "chat.completion.chunk")
        if usage := value.get("usage"):
            self._take_usage(usage)
        elif "x_groq" in value and isinstance(groq := value["x_groq"], dict):
            self._take_usage(groq.get("usage"))
        if value.get("error") or name == FAULT or (not choices and _says_error(value)):
            self._fail(classify(None, {}, json.dumps(value)))

    def _choice(self, choice: dict[str, Any], whole: bool) -> None:
        """A piece of the reply; or, in `message`, all of it, which counts only where no pieces came before."""
        message = choice.get("message")
        delta = choice.get("delta") or (message if not self.pieces else None)
        if isinstance(delta, dict):
            content = delta.get("content")
            if content:
                self.pieces += 1
                self._content(content)
            for name in THINKING_FIELDS:
                if isinstance(thought := delta.get(name), str) and thought:
                    self.pieces += 1
                    self._thinking_field = self._thinking_field or name
                    self._new.append((Thinking, thought))
                    break
            if isinstance(refusal := delta.get("refusal"), str) and refusal:
                self.pieces += 1
                self._content(refusal)
            if calls := delta.get("tool_calls"):
                for fragment in calls if isinstance(calls, list) else ():
                    if isinstance(fragment, dict):
                        self.pieces += 1
                        self._calls.add(fragment)
            elif isinstance(legacy := delta.get("function_call"), dict):
                self.pieces += 1
                self._calls.add({"index": 0, "function": legacy})
        if usage := choice.get("usage"):
            self._take_usage(usage)
        reason = choice.get("finish_reason") or ("stop" if message and whole else None)
        if isinstance(reason, str):
            self._finish(reason)

    def _finish(self, reason: str) -> None:
        category = BROKEN_OFF.get(reason.lower())
        if category == "content_filter":
            cure = "Say it in other words, or use another model."
            self._fail(LLMError(category, f"The provider's content filter stopped the answer. {cure}"))
        elif category:
            self._fail(LLMError(category, f"The server broke the reply off ({reason}); nothing was kept. Try again."))
        else:
            self._finish_reason = reason

    def _content(self, content: Any) -> None:
        if isinstance(content, str):
            self._new += self._tags.feed(content)
        elif isinstance(content, list):  # parts, as Mistral's reasoning models stream them
            for part in content:
                if not isinstance(part, dict):
                    continue
                if part.get("type") == "thinking" and isinstance(thoughts := part.get("thinking"), list):
                    self._new += [(Thinking, str(each["text"])) for each in thoughts if _has_text(each)]
                elif _has_text(part):
                    self._content(part["text"])

    def _take_usage(self, usage: Any) -> None:
        if isinstance(usage, dict):
            prompt = _count(usage, "prompt_tokens")
            completion = _count(usage, "completion_tokens")
            total = _count(usage, "total_tokens") or prompt + completion
            self._usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}

    # -- the ends

    def _events(self) -> list[Event]:
        """What is new, neighbours of one kind together."""
        new, self._new = self._new, []
        if len(new) > 1:
            new = [(kind, "".join(map(itemgetter(1), pieces))) for kind, pieces in groupby(new, itemgetter(0))]
        events: list[Event] = []
        for kind, piece in new:
            if text := self._whole_characters(piece):
                self._said[kind].append(text)
                events.append(kind(text))
        return events

    def _whole_characters(self, text: str) -> str:
        """A pair of surrogates that came in two deltas becomes the character it is."""
        if text.isascii() and not self._half:
            return text
        text, self._half = self._half + text, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def _fail(self, error: LLMError) -> None:
        self._error = self._error or error

    def _cut(self) -> LLMError:
        if self._stream.junk and not any(self._said.values()):
            kind = self._content_type.split(";")[0]
            return LLMError(
                "server_error",
                f"The answer is no chat completion ({kind}, it begins {self._stream.junk!r}). Check LLM_BASE_URL.",
            )
        return LLMError(
            "network", "The connection ended before the reply was complete; nothing of it was kept. Try again."
        )


def _says_error(value: Mapping[str, Any]) -> bool:
    """An error object without an `error` key, as older vLLM, Mistral and FastAPI send it."""
    coded = isinstance(value.get("message"), str) and "code" in value
    return coded or "error" in (value.get("object"), value.get("type")) or bool(value.get("detail"))


def _has_text(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    return int(value) if isinstance(value, (int, float)) and 0 <= value < 1e15 else 0
