"""Turn, the agent's loop: ask the model, run its tools, until it has nothing left to ask."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from itertools import count

from .calls import Call
from .errors import Cancelled, LLMError
from .events import Done, Error, Event, Interrupted, Notice, Stopped, TurnStarted
from .node import Flow, Node
from .store import INTERRUPTED, Message, Store
from .usetool import Toolbox, UseTool
from .wire import Reply

log = logging.getLogger("agentkit")

AGAIN = 2  # times a conversation that the server finds too long is shortened and sent again
OVER = 1.1  # times the context window is what it then takes, at least
SAME_CALL = 5  # the same call with the same arguments so often in a row leads nowhere


class _Aimless(Exception):
    """The agent goes in circles, or on for too long; its text says which."""


class Turn(Flow):
    """Answers the last message of the store; `run` returns the event that ends it: Done (Stopped where the agent went
    in circles), Error or Interrupted.

    ask: the node that gets one Reply (an LLMCall, or one around it); toolbox: None for no tools; max_calls: requests to
    the model in one turn; compact: the node that keeps the conversation within the context window, and returns how many
    tokens it saved.
    """

    def __init__(
        self, ask: Node, toolbox: Toolbox | None = None, max_calls: int = 50, compact: Node | None = None
    ) -> None:
        self.ask, self.toolbox, self.max_calls, self.compact = ask, toolbox or Toolbox.of(), max_calls, compact
        self._shrunk = False  # the context window, for this turn only

    def prep(self, store: Store) -> None:
        store.context.tools = store.context.tools or self.toolbox.schemas
        store.state.used = ""
        store.state.usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        store.run.publish(TurnStarted(store.state.agent, store.state.model))

    def walk(self, store: Store, inputs: None) -> Reply:
        repeats = Repeats()
        for _ in range(self.max_calls):
            reply = self._reply(store)
            if not reply.calls:
                return reply
            for calls in self.toolbox.batches(reply.calls):
                if stuck := repeats.stuck(calls):
                    raise _Aimless(f"{stuck.name} was called {SAME_CALL} times with the same arguments")
                UseTool(calls, self.toolbox).run(store)
        raise _Aimless(f"the turn took {self.max_calls} model calls (MAX_MODEL_CALLS)")

    def run(self, store: Store) -> Event:
        """Whatever happens, the conversation is left fit for the next request, and one event ends the turn."""
        started, closing = time.monotonic(), INTERRUPTED
        window, self._shrunk = store.state.window, False
        before = store.context.messages[-1].get("n", 0) if store.context.messages else 0
        ending: Event
        try:
            reply: Reply = super().run(store)
            ending = _done(Done, reply.text, store, started)
        except _Aimless as why:
            closing = f"[stopped: {why}]"
            store.run.publish(Notice(f'Stopped: {why}. Say "go on" to let it continue.', "error"))
            ending = _done(Stopped, f"stopped: {why}", store, started)
        except LLMError as error:
            closing = f"[no answer: {error.category}]"
            log.info("no answer: %s, status %s: %s", error.category, error.status, error.detail)
            ending = Error(error.category, error.message, error.retry_after)
        except Cancelled:
            ending = Interrupted(_said(store.context.messages, before))
        except Exception as error:  # a bug of ours, or of a node somebody added: the session goes on
            closing = "[no answer: unknown]"
            log.error("the turn failed: %s", error, exc_info=log.isEnabledFor(logging.DEBUG))
            cure = "Say it again; with LOG_LEVEL=debug the log tells more."
            ending = Error("unknown", f"agentkit itself failed ({type(error).__name__}: {error}). {cure}"[:300])
        finally:
            if self._shrunk:
                store.state.window = window
            store.settle(closing)
            store.sync()
        store.run.publish(ending)
        return ending

    def _reply(self, store: Store) -> Reply:
        """Ask the model; the conversation is shortened where it is due, and where the server says it is too long."""
        if self.compact is not None:
            self.compact.run(store)
        for attempts in count(1):
            try:
                reply: Reply = self.ask.run(store)
                break
            except LLMError as error:
                if attempts > AGAIN or error.category != "overflow" or not self._shortened(store, error):
                    raise
        return reply

    def _shortened(self, store: Store, error: LLMError) -> bool:
        """The server has refused the conversation as too long, whatever was counted: shorten it, if that can be."""
        # What a model takes to which the turn has fallen back says nothing of the one selected.
        self._shrunk = self._shrunk or error.model not in ("", store.state.model)
        if self.compact is None or not store.state.window:
            return False
        store.state.window = min(store.state.window, max(1, int(store.tokens / OVER)))
        store.state.unsummarised = 0
        return bool(self.compact.run(store))


class Repeats:
    """The row of equal calls that a turn has come to."""

    def __init__(self) -> None:
        self._last: tuple[str, str] | None = None
        self._times = 0

    def stuck(self, calls: Sequence[Call]) -> Call | None:
        """Count these too; the call that has now come SAME_CALL times in a row, with the same arguments."""
        for call in calls:
            same = (call.name, call.arguments) == self._last
            self._last, self._times = (call.name, call.arguments), self._times + 1 if same else 1
            if self._times >= SAME_CALL:
                return call
        return None


def _done(kind: type[Done], text: str, store: Store, started: float) -> Done:
    state = store.state
    return kind(text, state.used or state.model, state.usage, round(time.monotonic() - started, 3))


def _said(messages: Sequence[Message], before: int) -> str:
    """The last words of the assistant after the message with that number."""
    new = (each for each in reversed(messages) if each["role"] == "assistant" and each.get("n", 0) > before)
    return next((str(each["content"] or "") for each in new), "")
