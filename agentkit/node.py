"""The idea of the project: everything is a Node, prep → exec → post; a Flow runs other Nodes on the same store.

prep reads the store, exec works without it, post writes. exec may be a generator: each `yield` is an event, a yielded
Ask is answered by what `yield` returns, its `return` is the result. So streaming, questions and cancelling are written
once, in `run`, and a node is tested by iterating its exec.

    class Shout(Node):
        def prep(self, store):
            return store.context.messages[-1]["content"]

        def exec(self, text):
            yield Notice("shouting")
            return text.upper()

        def post(self, store, text, shouted):
            store.append({"role": "assistant", "content": shouted})
            return shouted
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, NamedTuple

from .cancel import Cancel
from .events import Answer, Ask, Event, Notice, ToolFinished


class Run(NamedTuple):
    """The circumstances of one piece of work: who watches, who is asked, how it is stopped."""

    publish: Callable[[Event], None]
    ask: Callable[[Ask], Answer]
    cancel: Cancel


class Node:
    """One step. Override what is needed; `run` is final."""

    def prep(self, store: Any) -> Any:
        """Read from the store what exec needs; hand on `store.run.cancel` where exec blocks."""
        return None

    def exec(self, inputs: Any) -> Any:
        """Do the work and return its result, or be a generator that yields events and returns it."""
        return None

    def rescue(self, inputs: Any, error: Exception) -> Any:
        """Turn an error of exec into a result, or raise."""
        raise error

    def post(self, store: Any, inputs: Any, result: Any) -> Any:
        """Write to the store what exec found; returns the node's result."""
        return result

    def run(self, store: Any) -> Any:
        """prep, exec (or rescue), post on a store whose `run` says who watches. Raises Cancelled between steps."""
        store.run.cancel.check()
        inputs = self.prep(store)
        try:
            result = self._work(store, inputs)
        except Exception as error:
            result = self.rescue(inputs, error)
        # No check before post: what exec has done is written down, even when it is the last thing that happens.
        result = self.post(store, inputs, result)
        store.run.cancel.check()
        return result

    def _work(self, store: Any, inputs: Any) -> Any:
        result = self.exec(inputs)
        return drive(result, store.run) if isinstance(result, Generator) else result


class Flow(Node):
    """A Node whose work is other Nodes on the same store, in plain while / if / try."""

    def walk(self, store: Any, inputs: Any) -> Any:
        """Run the nodes; returns the flow's result."""
        raise NotImplementedError

    def _work(self, store: Any, inputs: Any) -> Any:
        return self.walk(store, inputs)


def drive(steps: Generator[Event, Any, Any], run: Run) -> Any:
    """Iterate an exec: publish what it yields, send answers back in, and throw Cancelled in when the run is cancelled.

    A generator that catches Cancelled may still return what it has so far.
    """
    try:
        event = next(steps)
        while True:
            try:
                if not isinstance(event, (Notice, ToolFinished)):  # these say what became of cancelled work
                    run.cancel.check()
                if isinstance(event, Ask):
                    answer: Answer | None = run.ask(event)
                else:
                    answer = None
                    run.publish(event)
            except BaseException as error:  # whatever it is, exec must hear of it to clean up
                event = steps.throw(error)
            else:
                event = steps.send(answer)
    except StopIteration as stop:
        return stop.value
    finally:
        steps.close()
