"""Slash commands: the record, the table, parsing, the nearest names. The commands themselves live with their topics."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from .errors import CommandError
from .events import Done, Error, Event, Inbound


class Command(NamedTuple):
    """name: without the slash; usage: its arguments; help: one line; run: gets the message and the rest of the line,
    returns the answer, raises CommandError; now: run at once, in the calling thread, instead of in order."""

    name: str
    usage: str
    help: str
    run: Callable[[Inbound, str], str]
    now: bool = False


class Commands:
    """All commands by name."""

    def __init__(self, commands: Iterable[Command] = ()) -> None:
        self.table = {command.name: command for command in commands}

    def answer(self, inbound: Inbound) -> Event | None:
        """Run the command that a message is: the event that ends its turn. None: it is an ordinary message."""
        if not is_command(inbound.text):
            return None
        name, _, rest = inbound.text[1:].strip().partition(" ")
        try:
            if (command := self.table.get(name.casefold())) is None:
                raise CommandError(
                    f"There is no /{name}. {self._nearest(name)}Two slashes begin a message with a slash."
                )
            return Done(command.run(inbound, rest.strip()), "", {}, 0.0)
        except CommandError as error:
            return Error("bad_request", str(error))

    def is_now(self, text: str) -> bool:
        """Would this message run at once, even during a turn?"""
        name = text[1:].strip().partition(" ")[0].casefold() if is_command(text) else ""
        return name in self.table and self.table[name].now

    def help(self) -> str:
        """All commands, one a line."""
        rows = [(f"/{each.name} {each.usage}".rstrip(), each.help) for each in self.table.values()]
        width = max(len(left) for left, _ in rows)
        return "\n".join(f"{left:{width}}  {right}" for left, right in rows)

    def _nearest(self, name: str) -> str:
        from difflib import get_close_matches

        near = get_close_matches(name.casefold(), self.table, cutoff=0.5)
        return f"The nearest: {', '.join('/' + each for each in near)}. " if near else "/help lists what there is. "


def is_command(text: str) -> bool:
    """A slash begins a command, two of them a message that begins with one."""
    return text.startswith("/") and not text.startswith("//") and text[1:2].strip() != ""


def unescaped(text: str) -> str:
    """The message meant by `//...`."""
    return text[1:] if text.startswith("//") else text
