"""UseTool: have a call allowed where that is due, run it, and leave exactly one result."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from .approval import Approvals, Asker
from .calls import Call
from .cancel import Cancel
from .errors import Cancelled, ToolError
from .events import Answer, Ask, Event, Notice, ToolFinished, ToolStarted
from .files import real_path
from .fit import fit
from .node import Node
from .records import replace
from .store import NOBODY, Store
from .toolbox import Scope, Tool, given

log = logging.getLogger("agentkit")

GRACE = 0.15  # seconds that a cancelled tool has to say what it did, before it is left behind


class Toolbox(NamedTuple):
    """The tools of an agent, who allows them, and where they work."""

    tools: Mapping[str, Tool]
    approvals: Approvals
    scope: Scope

    @classmethod
    def of(cls, *tools: Tool) -> Toolbox:
        """These tools, in the working directory: those that ask do, of whoever watches the store."""
        return cls({each.name: each for each in tools}, Approvals(), Scope((Path.cwd().resolve(),)))

    @property
    def schemas(self) -> list[dict[str, Any]]:
        return [each.schema for each in self.tools.values()]

    def batches(self, calls: Sequence[Call]) -> list[list[Call]]:
        """The calls in their order; neighbours that only read come together, to run side by side."""
        batches: list[list[Call]] = []
        for call in calls:
            if batches and self._only_reads(call) and self._only_reads(batches[-1][-1]):
                batches[-1].append(call)
            else:
                batches.append([call])
        return batches

    def _only_reads(self, call: Call) -> bool:
        found = self.tools.get(call.name)
        return found is not None and found.read_only and not found.asks


Decided = dict[str, str]  # as store.decided has it


class Outcome(NamedTuple):
    """What became of a call; seconds: how long the function ran; decided: by whoever was asked about it."""

    ok: bool
    text: str
    seconds: float = 0.0
    decided: Decided | None = None


Box = SimpleQueue["Outcome | None"]  # an outcome comes out of it, or None: the turn is cancelled
Results = list[tuple[Call, Outcome]]


class UseTool(Node):
    """One call, or neighbouring calls that only read. Errors, refusals and interruptions are results too."""

    def __init__(self, calls: Sequence[Call], toolbox: Toolbox) -> None:
        self.calls, self.toolbox = calls, toolbox

    def prep(self, store: Store) -> tuple[Asker, Scope]:
        who = Asker(store.state.session, store.state.via or store.state.channel, store.state.peer)
        return who, replace(self.toolbox.scope, cancel=store.run.cancel, asker=(who.channel, store.state.to))

    def exec(self, inputs: tuple[Asker, Scope]) -> Generator[Event, Any, Results]:
        """Interrupted, it returns the results there are, and those of calls that somebody has decided about; the store
        gives the other calls theirs."""
        who, scope = inputs
        started: list[Call] = []
        decided: dict[str, Decided] = {}  # by call
        boxes: list[Box] = []
        results: Results = []
        try:
            for call in self.calls:
                boxes.append((yield from self._start(call, who, scope, started, decided)))
            for call, box in zip(self.calls, boxes, strict=True):
                outcome = yield from _wait(call.name, box, scope.cancel)
                results.append((call, outcome._replace(decided=decided.get(call.id))))
                yield _finished(*results[-1])
                scope.cancel.check()
        except Cancelled:
            for call in started[len(results) :]:
                outcome = Outcome(False, "interrupted", decided=decided.get(call.id))
                yield _finished(call, outcome)
                if outcome.decided:
                    results.append((call, outcome))
        return results

    def post(self, store: Store, inputs: Any, result: Results) -> None:
        for call, outcome in result:
            text = outcome.text if outcome.ok else f"error: {outcome.text}"
            content, kept = fit(store, text or "(no output)")
            message = {"role": "tool", "tool_call_id": call.id, "content": content, "ok": outcome.ok}
            more = {"kept": kept, "decided": outcome.decided}
            store.append({**message, **{name: value for name, value in more.items() if value}})

    def _start(
        self, call: Call, who: Asker, scope: Scope, started: list[Call], decided: dict[str, Decided]
    ) -> Generator[Event, Any, Box]:
        """Check the call, have it allowed where that is due, and set it going."""
        found, arguments, refusal = self.toolbox.tools.get(call.name), {}, ""
        try:
            if found is None:
                raise ToolError(f"there is no tool {call.name!r}; there are {', '.join(self.toolbox.tools)}")
            if call.cut:
                raise ToolError("the reply reached its limit within this call, so it was not run; make it shorter")
            arguments = found.arguments(call.arguments)
        except ToolError as error:
            refusal = str(error)
        yield ToolStarted(call.id, call.name, dict(arguments))
        started.append(call)
        if found is not None and not refusal:
            answer = yield from self._answer(found, arguments, who, scope)
            refusal = answer if isinstance(answer, str) else _refusal(answer)
            if isinstance(answer, Answer) and answer.reason != NOBODY:
                decided[call.id] = {"decision": answer.decision, "channel": who.channel, "peer": who.peer}
        if found is None or refusal:
            box: Box = SimpleQueue()
            box.put(Outcome(False, refusal))
            return box
        return _aside(found.name, found.function, arguments, scope)

    def _answer(
        self, found: Tool, arguments: dict[str, Any], who: Asker, scope: Scope
    ) -> Generator[Event, Any, Answer | str]:
        """What is said about the call where it has to be asked about; else why it may not run, empty: it may."""

        def target() -> str | None:
            path = arguments.get("path")
            return real_path(path, scope.roots) if isinstance(path, str) else None

        try:
            looks = found.spares is not None and found.spares(arguments)
            if not found.asks or not self.toolbox.approvals.due(who, found.name, target, looks):
                return ""
        except ToolError as error:
            return str(error)  # it would fail: nothing to ask about
        if found.preview is None:
            shown = Outcome(True, "\n".join(f"{name}: {value}" for name, value in arguments.items()))
        else:
            shown = yield from _wait(found.name, _aside(found.name, found.preview, arguments, scope), scope.cancel)
        if not shown.ok:
            return shown.text
        answer: Answer = yield Ask(found.name, shown.text)
        return answer


def _refusal(answer: Answer) -> str:
    """Why a call may not run, in words for the model; empty: it may."""
    if answer.decision != "deny":
        return ""
    return "the user refused this call" + (f": {answer.reason}" if answer.reason else "")


def _finished(call: Call, outcome: Outcome) -> ToolFinished:
    return ToolFinished(call.id, call.name, outcome.ok, outcome.text, outcome.seconds)


def _wait(name: str, box: Box, cancel: Cancel) -> Generator[Event, Any, Outcome]:
    """The outcome of what runs aside. Cancelled, there is a moment for it to come all the same."""
    with cancel.on_set(lambda: box.put(None)):
        outcome = box.get()
    if outcome is None:
        try:
            outcome = box.get(timeout=GRACE)
        except Empty:
            yield Notice(f"{name} does not stop by itself: it was left behind, what it returns is dropped.")
    if outcome is None:
        raise Cancelled
    return outcome


def _aside(name: str, function: Callable[..., Any], arguments: Mapping[str, Any], scope: Scope) -> Box:
    """Call a function in a thread of its own: one that never looks at the cancel can be left behind."""
    box: Box = SimpleQueue()

    def work() -> None:
        box.put(_outcome(name, function, arguments, scope))

    try:
        threading.Thread(target=work, name=f"tool {name}", daemon=True).start()
    except RuntimeError as error:
        box.put(Outcome(False, f"the system has no thread for it ({error}); try again later"))
    return box


def _outcome(name: str, function: Callable[..., Any], arguments: Mapping[str, Any], scope: Scope) -> Outcome:
    started = time.monotonic()
    try:
        value = function(**arguments, **given(function, scope))
        ok, text = True, value if isinstance(value, str) else "" if value is None else json.dumps(value, default=str)
    except ToolError as error:
        ok, text = False, str(error)
    except Cancelled:
        ok, text = False, "interrupted"
    except BaseException as error:  # the top of a thread: a tool's SystemExit must not leave the lane waiting
        log.debug("%s failed", name, exc_info=True)
        ok, text = False, f"{type(error).__name__}: {error}"
    for secret in scope.secrets:  # an allowed command can read what its user can: it goes no further than here
        text = text.replace(secret, "[key]")
    return Outcome(ok, text.encode("utf-8", "replace").decode(), round(time.monotonic() - started, 3))
