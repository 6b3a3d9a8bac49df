"""Memories: one Markdown file each, with a line that says what it holds, the TLDR: all that the prompt has of it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated

from . import atomic
from .command import Command, Order
from .errors import CommandError, LLMError, ToolError
from .events import Notice
from .names import slug
from .node import Node
from .store import Store
from .toolbox import Scope, tool
from .wire import Reply

PREVIOUS = "previous"  # the folder, beside the memories, of what they were before
LONGEST_TLDR = 200  # characters
READ = 8000  # characters of a memory that the model reads to say what is in it
WORDS = 5  # of a memory that make a name for one that has none

TLDR = "You write the TLDR of a note: one plain line of at most 20 words that says what the note holds. Only that line."


class Remember(Node):
    """Keeps a text as a memory; the model says in a line what it holds, or else its first line does.

    ask: the node that gets one Reply; folder: the agent's memories. `run` returns the path; raises OSError.
    """

    def __init__(self, ask: Node, folder: Path, name: str, text: str) -> None:
        self.ask, self.folder, self.name, self.text = ask, folder, name, text

    def prep(self, store: Store) -> Store:
        fork = store.fork(TLDR)
        fork.append({"role": "user", "content": self.text[:READ], "at": ""})
        return fork

    def exec(self, inputs: Store) -> str:
        reply: Reply = self.ask.run(inputs)
        return reply.text

    def rescue(self, inputs: Store, error: Exception) -> str:
        if not isinstance(error, LLMError):
            raise error
        inputs.run.publish(Notice(f"{error.message} The memory has its first line as TLDR.", "warn"))
        return ""

    def post(self, store: Store, inputs: Store, result: str) -> Path:
        store.spent(inputs)
        return keep(self.folder, self.name, self.text, result)


def keep(folder: Path, name: str, text: str, tldr: str = "") -> Path:
    """Write a memory, and keep what was there under its name; returns its path. Raises OSError.

    name: made safe; tldr: empty for the text's first line.
    """
    safe = slug(name) or slug("-".join(text.split()[:WORDS])) or "memory"
    line = _one_line(tldr) or _one_line(text)
    path = folder / f"{safe}.md"
    folder.mkdir(parents=True, exist_ok=True)
    if path.exists():
        _keep_previous(path)
    head = f"---\ntldr: {json.dumps(line, ensure_ascii=False)}\n---\n"
    atomic.replace(path, f"{head}{text.strip()}\n".encode("utf-8", "replace"))
    return path


@tool(asks=True)
def remember(
    name: str,
    text: str,
    tldr: Annotated[str, "what it holds, a line"] = "",
    *,
    scope: Scope,
) -> str:
    """Keep something for later conversations in a file of that name."""
    if scope.memory is None:
        raise ToolError("this agent has no folder for memories")
    try:
        path = keep(scope.memory, name, text, tldr)
    except OSError as error:
        raise ToolError(f"{scope.memory}: {error.strerror}") from None
    return f"kept in {path}"


def commands(remembering: Callable[[Order, str, str], Path]) -> list[Command]:
    """remembering: runs Remember for the sender's agent, with a name and a text."""

    def run(order: Order) -> str:
        name, _, text = order.rest.partition(" ")
        if not text.strip():
            raise CommandError("It is /remember NAME TEXT.")
        try:
            return f"Kept in {remembering(order, name, text)}."
        except OSError as error:
            raise CommandError(f"It cannot be kept: {error.strerror}. Is the workspace writable?") from None

    return [
        Command("remember", "<name> <text>", "keep something for later conversations", run, group="agent", owner=True)
    ]


def _keep_previous(path: Path) -> None:
    """The name goes on meaning the old memory until the new one takes it."""
    previous = path.parent / PREVIOUS
    previous.mkdir(exist_ok=True)
    stamp = f"{path.stem}-{datetime.now():%Y-%m-%d-%H%M%S}"
    number = 1
    while True:
        target = previous / f"{stamp}{f'-{number}' if number > 1 else ''}.md"
        try:
            os.link(path, target)
            return
        except FileExistsError:
            number += 1
        except OSError:  # a file system without links
            shutil.copyfile(path, target)
            return


def _one_line(text: str) -> str:
    line = next((line.strip() for line in text.splitlines() if line.strip(" \t#>*-`")), "")
    return " ".join(line.lstrip("#>* ").split())[:LONGEST_TLDR]
