"""A conversation whose process is ended at its k-th write, fsync or replace: `python -m tests.crash short|long FOLDER`.

A process of its own, because it forks: for each k a child tells the story until it is ended, in the middle of a write
where it is one, and what it acknowledged is then looked for by a session that starts anew.
"""

from __future__ import annotations

import os
import random
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from agentkit import tool
from agentkit.archive import Archive
from agentkit.calls import Call
from agentkit.cancel import Cancel
from agentkit.events import ENDINGS, Answer, Done, Event, Inbound
from agentkit.node import Run
from agentkit.session import Opening, Session
from agentkit.store import Context, Message
from agentkit.wire import Reply

from .scripted import Scripted, say, session

SHORT = ("one", "call something", "/save story", "three", "/compact", "four", "/rewind", "/new other", "five")
PATTERN = ("talk {}", "call something {}", "talk on {}", "/rewind", "talk more {}", "say {}", "/save day-{}")
LONG = tuple("/new" if at == 35 else PATTERN[at % len(PATTERN)].format(at) for at in range(70))
WINDOW = 1500  # tokens: the long story is compacted now and then


def rule(context: Context) -> Reply:
    last = context.messages[-1]
    if not context.tools:
        return Reply("In short: they talked.")
    if last["role"] == "user" and "call" in last["content"]:
        return Reply("", calls=(Call("c1", "weigh", '{"what": "it"}'),))
    return Reply(f"Answer to {last['content'][:40]}: " + "plum " * 40)


@tool
def weigh(what: str) -> str:
    """Weigh something."""
    return f"{what} weighs a lot. " * 60


def talking(folder: Path, opening: Opening = Opening()) -> Session:
    return session(folder, Scripted(rule), [weigh], window=WINDOW, opening=opening)


def tell(folder: Path, story: tuple[str, ...], acknowledge: Callable[[], object]) -> None:
    """Say everything; acknowledge: called as soon as a message's ending is published."""
    mine = talking(folder)

    def publish(event: Event) -> None:
        if isinstance(event, ENDINGS):
            assert isinstance(event, Done), event
            acknowledge()

    for text in story:
        mine.take(Inbound(text, "cli", "ann"), Run(publish, lambda ask: Answer("allow"), Cancel()))


def contents(messages: list[Message]) -> list[str]:
    return [str(each["content"]) for each in messages]


def everything(folder: Path) -> dict[str, list[str]]:
    """All that a new process finds: what was said, by conversation."""
    archive = Archive(folder / "sessions")
    found = {}
    for label in archive.labels():
        conversation = archive.new(label)
        if said := contents(conversation.open().whole):
            found[said[0]] = said  # by its beginning: its label may have changed
        conversation.close()
    return found


class Ending:
    """Ends the process at the k-th call of what changes files."""

    def __init__(self, at: int) -> None:
        self.at, self.calls = at, 0
        self.write, fsync, replace = os.write, os.fsync, os.replace

        def write_some(fd: int, data: Any) -> int:
            if self._is_due():
                self.write(fd, bytes(data)[: len(data) // 2])
                os._exit(7)
            return self.write(fd, data)

        os.write = write_some
        os.fsync = self._before(fsync)
        os.replace = self._before(replace)

    def _is_due(self) -> bool:
        self.calls += 1
        return self.calls == self.at

    def _before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if self._is_due():
                os._exit(7)
            return function(*arguments, **named)

        return call


def child(work: Callable[[], object]) -> None:
    """Do it in a process of its own, which is not waited for."""
    if os.fork() == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(1)


def dry(folder: Path, story: tuple[str, ...]) -> tuple[int, list[dict[str, list[str]]]]:
    """How many calls there are, and what is on disk after each message."""

    def count() -> None:
        ending = Ending(-1)
        tell(folder / "count", story, lambda: None)
        ending.write(write_end, str(ending.calls).encode())

    states: list[dict[str, list[str]]] = [{}]
    read_end, write_end = os.pipe()
    child(count)
    os.close(write_end)
    calls = int(os.read(read_end, 100) or b"0")
    os.wait()
    tell(folder / "states", story, lambda: states.append(everything(folder / "states")))
    return calls, states


def ended_at(folder: Path, story: tuple[str, ...], at: int) -> int:
    """End a child's story at that call; returns how many of its messages were acknowledged."""

    def work() -> None:
        ending = Ending(at)
        tell(folder, story, lambda: ending.write(write_end, b"."))

    read_end, write_end = os.pipe()
    child(work)
    os.close(write_end)
    acknowledged = b"".join(iter(lambda: os.read(read_end, 4096), b""))
    os.close(read_end)
    os.wait()
    return len(acknowledged)


def check(folder: Path, story: tuple[str, ...], at: int, states: list[dict[str, list[str]]]) -> None:
    folder.mkdir()
    acknowledged = ended_at(folder, story, at)
    found = everything(folder)
    due = states[acknowledged]
    # The message that was under way may have had its effect already, or some of it.
    after = states[min(acknowledged + 1, len(states) - 1)]
    for first, said in due.items():
        there = found.get(first, [])
        assert there[: len(said)] == said or there == after.get(first, []), (at, story[acknowledged], said, there)
    again = talking(folder, Opening(resume=True))
    events = say(again, "hello again")
    assert isinstance(events[-1], Done), (at, events)
    again.close()
    assert any(said[-2] == "hello again" for said in everything(folder).values() if len(said) > 1), at


def points(kind: str, calls: int) -> Iterator[int]:
    if kind == "short":
        yield from range(1, calls + 2)
    else:
        yield from sorted(random.Random(4).sample(range(1, calls + 1), 100))


def main() -> int:
    kind, folder = sys.argv[1], Path(sys.argv[2])
    story = SHORT if kind == "short" else LONG
    calls, states = dry(folder, story)
    told = 0
    for at in points(kind, calls):
        check(folder / str(at), story, at, states)
        told += 1
    print(f"{kind}: {len(story)} messages, {calls} calls, ended at {told} of them: everything acknowledged is there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
