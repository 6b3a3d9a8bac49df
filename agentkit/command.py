"""Slash commands: the record, the table, parsing, the nearest names. The commands themselves live with their topics."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import NamedTuple

from .errors import CommandError, LLMError
from .events import Done, Error, Inbound
from .node import Run

GROUPS = ("conversation", "agent", "program")  # in the order of /help


class Order(NamedTuple):
    """A command as it was given: the message it is, what stands behind its name, and the circumstances."""

    inbound: Inbound
    rest: str
    run: Run


class Say(NamedTuple):
    """What a command puts before the model, instead of an answer of its own."""

    text: str


class Command(NamedTuple):
    """name: without the slash; usage: its arguments; help: one line; run: returns the answer, or what the model is to
    be asked, raises CommandError; now: run at once, in the calling thread, instead of in order; group: one of
    GROUPS."""

    name: str
    usage: str
    help: str
    run: Callable[[Order], str | Say]
    now: bool = False
    group: str = "program"


class Commands:
    """All commands by name. more: finds one that is not in the table, for the message's sender (skills, by name)."""

    def __init__(
        self,
        commands: Iterable[Command] = (),
        more: Callable[[str, Inbound], Command | None] = lambda name, inbound: None,
    ) -> None:
        self.table = {command.name: command for command in commands}
        self._more = more

    def answer(self, inbound: Inbound, run: Run) -> Done | Error | Say | None:
        """Run the command that a message is: the event that ends its turn, or what the model is to be asked. None: it
        is an ordinary message."""
        if not is_command(inbound.text):
            return None
        name, rest = _split(inbound.text)
        try:
            command = self.table.get(name) or self._more(name, inbound)
            if command is None:
                raise CommandError(
                    f"There is no /{name}. {self._nearest(name)}Two slashes begin a message with a slash."
                )
            answer = command.run(Order(inbound, rest, run))
        except CommandError as error:
            return Error("bad_request", str(error))
        except LLMError as error:
            return Error(error.category, error.message, error.retry_after)
        return answer if isinstance(answer, Say) else Done(answer, "", {}, 0.0)

    def is_now(self, text: str) -> bool:
        """Would this message run at once, even during a turn?"""
        name = _split(text)[0] if is_command(text) else ""
        return name in self.table and self.table[name].now

    def help(self) -> str:
        """All commands, one a line, by groups."""
        rows = {each.name: f"/{each.name} {each.usage}".rstrip() for each in self.table.values()}
        width = max(map(len, rows.values()))
        ordered = sorted(self.table.values(), key=lambda each: GROUPS.index(each.group))
        blocks = (
            "\n".join((f"{group}:", *(f"  {rows[each.name]:{width}}  {each.help}" for each in members)))
            for group, members in groupby(ordered, key=lambda each: each.group)
        )
        return "\n\n".join(blocks)

    def _nearest(self, name: str) -> str:
        from difflib import get_close_matches

        near = get_close_matches(name, self.table, cutoff=0.5)
        return f"The nearest: {', '.join('/' + each for each in near)}. " if near else "/help lists what there is. "


def is_command(text: str) -> bool:
    """A slash begins a command, two of them a message that begins with one."""
    return text.startswith("/") and not text.startswith("//") and text[1:2].strip() != ""


def unescaped(text: str) -> str:
    """The message meant by `//...`."""
    return text[1:] if text.startswith("//") else text


def _split(text: str) -> tuple[str, str]:
    """Name and arguments of a command: white space of any kind ends the name."""
    words = text[1:].split(maxsplit=1)
    return words[0].casefold(), words[1].strip() if len(words) > 1 else ""
