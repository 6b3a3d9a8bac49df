"""Slash commands: the record, the table, parsing, the nearest names. The commands themselves live with their topics."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import Any, NamedTuple

from .completion import Choice, Completion, fitting
from .errors import CommandError, LLMError
from .events import Done, Error, Inbound
from .node import Run

OWNERS = ("cli", "websocket")  # channels in which the owner of the machine speaks, also to programs
PUBLIC = ("discord",)  # channels in which anybody does
GROUPS = ("conversation", "agent", "program")  # in the order of /help

# What is typed of a name, or else the name and what is typed behind it.
_BEGUN = re.compile(r"/(?:([^\s/]*)|([^\s/]+)\s+(\S[\s\S]*|))\Z")


class Order(NamedTuple):
    """A command as it was given: the message it is, what stands behind its name, the circumstances, and the Session
    of who gave it (a class that stands above this module)."""

    inbound: Inbound
    rest: str
    run: Run
    session: Any


class Say(NamedTuple):
    """What a command puts before the model, instead of an answer of its own; typed: what people are shown of it, empty
    for all."""

    text: str
    typed: str = ""


def _no_choices(session: Any) -> Iterable[str | Choice]:
    return ()


class Command(NamedTuple):
    """name: without the slash; usage: its arguments; help: one line; run: returns the answer, or what the model is to
    be asked, raises CommandError; now: run at once, in the calling thread, instead of in order; reroutes: decides who
    answers what is said after it, so that it is run before that is taken; owner: only for who owns the machine; group:
    one of GROUPS; choices: what may stand behind it first, in a session, the likeliest first."""

    name: str
    usage: str
    help: str
    run: Callable[[Order], str | Say]
    now: bool = False
    group: str = "program"
    reroutes: bool = False
    owner: bool = False
    choices: Callable[[Any], Iterable[str | Choice]] = _no_choices


class Commands:
    """All commands by name. more: those that are not in the table, but in that session (its agent's skills)."""

    def __init__(
        self, commands: Iterable[Command] = (), more: Callable[[Any], Mapping[str, Command]] = lambda session: {}
    ) -> None:
        self.table = {command.name: command for command in commands}
        self._more = more

    def answer(self, inbound: Inbound, run: Run, session: Any = None) -> Done | Error | Say | None:
        """Run the command that a message is: the event that ends its turn, or what the model is to be asked. None: it
        is an ordinary message."""
        if not is_command(inbound.text):
            return None
        name, rest = _split(inbound.text)
        try:
            command = self.table.get(name) or self._more(session).get(name)
            if command is None:
                near = nearest(name, (*self.table, *self._more(session)), "/")
                cure = near or "/help lists what there is. "
                raise CommandError(f"There is no /{name}. {cure}Two slashes begin a message with a slash.")
            if command.owner and not is_owner(inbound):
                raise CommandError(f"/{name} is for the owner of this machine, in the terminal or through the gateway.")
            answer = command.run(Order(inbound, rest, run, session))
        except CommandError as error:
            return Error("bad_request", str(error))
        except LLMError as error:
            return Error(error.category, error.message, error.retry_after)
        return answer if isinstance(answer, Say) else Done(answer, "", {}, 0.0)

    def is_now(self, text: str) -> bool:
        """Would this message run at once, even during a turn?"""
        return self.is_in_table(text) and self.table[_split(text)[0]].now

    def reroutes(self, text: str) -> bool:
        """Does this message decide who answers those after it?"""
        return self.is_in_table(text) and self.table[_split(text)[0]].reroutes

    def is_in_table(self, text: str) -> bool:
        """Is this message a command that all agents have?"""
        return is_command(text) and _split(text)[0] in self.table

    def complete(self, text: str, cursor: int, session: Any = None) -> Completion:
        """What a command or its first argument may go on to, where one stands before the cursor."""
        found = _BEGUN.match(text, 0, cursor)
        if found is None:
            return Completion(cursor, [])
        table = {**self._more(session), **self.table}
        begun, name, rest = found.groups()
        if name is None:
            names = [Choice(each + " " * bool(table[each].usage), table[each].help) for each in sorted(table)]
            _, choices, is_cut = fitting(begun, names, 0)
            return Completion(0, [Choice(f"/{each.text}", each.hint) for each in choices], is_cut)
        command = table.get(name.casefold())
        return fitting(rest, command.choices(session) if command else (), found.start(3))

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


def is_owner(inbound: Inbound) -> bool:
    """Does the owner of this machine say it?"""
    return inbound.channel not in PUBLIC and (not inbound.via or inbound.channel in OWNERS)


def nearest(name: str, names: Iterable[str], before: str = "") -> str:
    """A sentence with the names that look most like one; empty: none does."""
    from difflib import get_close_matches

    near = get_close_matches(name, [*names], cutoff=0.5)
    return f"The nearest: {', '.join(before + each for each in near)}. " if near else ""


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
