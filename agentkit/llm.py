"""LLMCall: ask the model once."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from .cancel import Cancel
from .client import Allowance, Client
from .errors import Cancelled, LLMError
from .events import Event, Notice, Text
from .node import Node
from .store import Store
from .wire import Reply, assistant, request


class LLMCall(Node):
    """The conversation goes out, the reply comes in as events and is appended.

    Interrupted, what was shown is appended, marked so, without calls. Failed (LLMError), nothing of it is.
    extra: fields merged into each request (temperature, max_tokens ...); model: empty for the one selected;
    allowance: how many requests it may take (the client tries again where a server does not know a field).
    """

    def __init__(
        self,
        client: Client,
        extra: Mapping[str, Any] | None = None,
        model: str = "",
        allowance: Allowance | None = None,
    ) -> None:
        self.client, self.extra, self.model, self.allowance = client, extra, model, allowance

    def prep(self, store: Store) -> tuple[dict[str, Any], Cancel, Allowance | None]:
        store.settle()
        seen, model = store.context, self.model or store.state.model
        body = request(model, seen.system, seen.messages, seen.tools, self.extra)
        return body, store.run.cancel, self.allowance

    def exec(self, inputs: tuple[dict[str, Any], Cancel, Allowance | None]) -> Generator[Event, Any, Reply]:
        stream, shown = self.client.stream(*inputs), []
        try:
            while True:
                event = next(stream)
                yield event
                if isinstance(event, Text):
                    shown.append(event.text)
        except StopIteration as end:
            reply: Reply = end.value
        except LLMError as error:
            error.begun = bool(shown)
            raise
        except Cancelled:
            return Reply("".join(shown), finish_reason="interrupted")
        finally:
            stream.close()
        if reply.finish_reason == "length":
            yield Notice('The reply reached the output limit and breaks off: say "go on", or raise max_tokens.', "warn")
        elif not reply.text and not reply.calls:
            yield Notice("The model's reply was empty. Say it again, or in other words.", "warn")
        return reply

    def post(self, store: Store, inputs: Any, result: Reply) -> Reply:
        used = self.model or store.state.model
        if result.finish_reason == "interrupted":
            if result.text:
                store.append({"role": "assistant", "content": result.text, "interrupted": True})
        else:
            usage = result.usage or {}
            # Before the reply is there: its tokens may be those of thoughts, which the next request does not hold.
            if tokens := usage.get("prompt_tokens"):
                store.measured(tokens)
            store.append({**assistant(result), "model": used, **({"usage": usage} if usage else {})})
            store.state.spend(usage)
            store.state.used = used
        return result
