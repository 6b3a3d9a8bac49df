"""The commands about conversations: begin, name, load, list, delete, export, look back, take back, ask again."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime

from .command import Command, Order, Say
from .compact import Compact
from .errors import CommandError, ToolError
from .events import Ask, Inbound
from .files import open_in
from .names import slug
from .node import Node
from .session import Session, locked
from .store import Message
from .toolbox import Scope

SHOWN = 10  # messages that /history shows
LINES = 12  # of a message that /history shows
WORDS = 6  # of the first message that make a label


def commands(session_of: Callable[[Inbound], Session], scope: Scope, ask: Callable[[], Node]) -> list[Command]:
    """session_of: the sender's session; scope: where files may be written; ask: gives the node that gets one Reply."""

    def named(order: Order) -> tuple[Session, str]:
        label = slug(order.rest)
        if order.rest and not label:
            raise CommandError(f"{order.rest} cannot be a label: use letters and digits.")
        return session_of(order.inbound), label

    def new(order: Order) -> str:
        session, label = named(order)
        if label in session.archive.labels():
            raise CommandError(f"There is a conversation {label} already: /load {label} goes on with it.")
        session.start(session.archive.new(label))
        return f"A new conversation begins{f': {label}' if label else ''}."

    def save(order: Order) -> str:
        session, label = named(order)
        conversation, old = session.conversation, session.conversation.label
        if conversation.locked:
            raise CommandError(locked(conversation))
        label = label or slug("-".join(_first_words(session.store.context.messages)))
        if not label:
            raise CommandError("There is nothing to name it after yet: /save LABEL.")
        if label == old:
            return f"This conversation is called {label}."
        try:
            conversation.rename(label)
        except FileExistsError:
            raise CommandError(f"There is a conversation {label} already: take another label.") from None
        except OSError as error:
            raise CommandError(f"It cannot be called {label}: {error.strerror}.") from None
        if old and session.archive.current in (old, label):
            session.archive.make_current(label)
        return f"This conversation is called {label} now."

    def load(order: Order) -> str:
        session = session_of(order.inbound)
        if not order.rest:
            raise CommandError("Which one? /load LABEL; /list shows what there is.")
        label = session.archive.find(order.rest)
        if label == session.conversation.label:
            return f"{label} is open already."
        session.open(label, order.run.publish)
        session.archive.note(label, order.inbound.channel, order.inbound.peer)
        return f"This is {label}: {_count(session.view.messages)}."

    def listed(order: Order) -> str:
        session = session_of(order.inbound)
        entries = session.archive.entries()
        current = session.conversation.label or session.archive.current
        if not entries:
            return "There is no conversation yet."
        rows = [("", "label", "messages", "last used", "tokens")] + [
            (
                "*" if each.label == current else "",
                each.label,
                str(each.messages),
                f"{each.used:%Y-%m-%d %H:%M}",
                str(each.tokens or "-"),
            )
            for each in entries
        ]
        return _table(rows)

    def delete(order: Order) -> str:
        session = session_of(order.inbound)
        if not order.rest:
            raise CommandError("Which one? /delete LABEL; /list shows what there is.")
        label = session.archive.find(order.rest)
        answer = order.run.ask(Ask("/delete", f"Delete the conversation {label} for good?"))
        if answer.decision == "deny":
            raise CommandError(f"{label} was not deleted.")
        if label == session.conversation.label and not session.conversation.locked:
            session.start(session.archive.new())
        session.archive.delete(label)
        return f"{label} is deleted."

    def export(order: Order) -> str:
        session = session_of(order.inbound)
        messages = _said(session)
        label = session.conversation.label or "conversation"
        path = order.rest or f"{label}.md"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            with open(open_in(path, scope.roots, flags, closed=(*scope.closed, *scope.unwritable)), "wb") as file:
                file.write(_markdown(label, messages).encode("utf-8", "replace"))
        except FileExistsError:
            raise CommandError(f"{path} is there already: /export OTHER.md takes another name.") from None
        except (OSError, ToolError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise CommandError(f"{path} cannot be written: {why}.") from None
        return f"{_count(len(messages))} in {path}."

    def history(order: Order) -> str:
        number = _number(order, SHOWN)
        messages = _said(session_of(order.inbound))
        shown = [f"{_when(each)} {each['role']}: {_shortly(each)}" for each in messages[-number:]]
        more = len(messages) - len(shown)
        return "\n".join(([f"({more} before these: /history {len(messages)})"] if more else []) + shown)

    def rewind(order: Order) -> str:
        session, number = session_of(order.inbound), _number(order, 1)
        texts = _take_back(session, number)
        turns = "The last turn is" if len(texts) == 1 else f"The last {len(texts)} turns are"
        return f"{turns} taken back. The message was: {texts[0]}"

    def retry(order: Order) -> Say:
        return Say(_take_back(session_of(order.inbound), 1)[0])

    def compact(order: Order) -> str:
        session = session_of(order.inbound)
        if session.conversation.locked:
            raise CommandError(locked(session.conversation))
        before = session.store.tokens
        Compact(ask(), order.rest, always=True).run(session.store)
        if session.store.tokens >= before:
            raise CommandError("There is nothing to compact: the conversation is short.")
        session.store.sync()
        return f"From {before:,} to {session.store.tokens:,} tokens."

    def group(name: str, usage: str, help: str, run: Callable[[Order], str | Say], now: bool = False) -> Command:
        return Command(name, usage, help, run, now, "conversation")

    return [
        group("new", "[label]", "begin a new conversation", new),
        group("save", "[label]", "give this conversation a label", save),
        group("load", "<label>", "go on with another conversation; the beginning of its label will do", load),
        group("list", "", "the conversations: messages, last use, tokens", listed, now=True),
        group("delete", "<label>", "delete a conversation, when you say yes", delete),
        group("export", "[file.md]", "write this conversation as Markdown", export),
        group("history", "[n]", f"the last n messages of this conversation ({SHOWN})", history),
        group("rewind", "[n]", "take back the last n turns (1)", rewind),
        group("compact", "[focus]", "have older messages summarised; focus: what to keep above all", compact),
        group("retry", "", "take back the last turn and ask its message again", retry),
    ]


def _take_back(session: Session, turns: int) -> list[str]:
    """Take back the last turns; returns their messages, the first of them first."""
    if session.conversation.locked:
        raise CommandError(locked(session.conversation))
    # The store lacks what a compaction has replaced; the file has all of it.
    asked = [each for each in session.conversation.load().whole if _is_asked(each)]
    if not asked:
        raise CommandError("There is nothing to take back yet.")
    if turns > len(asked):
        raise CommandError(f"There are only {len(asked)} turns: /rewind {len(asked)} takes back all of them.")
    back = asked[-turns:]
    record = {"type": "rewind", "to": back[0]["n"]}
    if not session.store.apply(record):
        session.conversation.write(record)
        session.store.load(session.conversation.load().seen, session.conversation)
    session.store.sync()
    return [str(each["content"]) for each in back]


def _is_asked(message: Message) -> bool:
    return message["role"] == "user" and not message.get("summary")


def _said(session: Session) -> list[Message]:
    """What people and the assistant have said in words."""
    said = [each for each in session.conversation.load().whole if each["role"] != "tool" and each.get("content")]
    if not said:
        raise CommandError("Nothing has been said in this conversation yet.")
    return said


def _first_words(messages: Sequence[Message]) -> list[str]:
    return next((str(each["content"]).split()[:WORDS] for each in messages if _is_asked(each)), [])


def _number(order: Order, default: int) -> int:
    if not order.rest:
        return default
    if not order.rest.isdecimal() or int(order.rest[:9]) == 0:
        raise CommandError(f"{order.rest} is not a number above 0.")
    return int(order.rest[:9])


def _count(messages: int) -> str:
    return f"{messages} message{'s' * (messages != 1)}"


def _when(message: Message) -> str:
    try:
        return f"{datetime.fromisoformat(message['at']):%Y-%m-%d %H:%M}"
    except (KeyError, ValueError):
        return "(no time)"


def _shortly(message: Message) -> str:
    lines = str(message["content"]).strip().split("\n")
    more = len(lines) - LINES
    return "\n".join([*lines[:LINES], *([f"({more} more line{'s' * (more > 1)})"] if more > 0 else [])])


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{size}}" for cell, size in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _markdown(label: str, messages: Sequence[Message]) -> str:
    """A conversation for people: who said what, and when."""
    parts = [f"# {label}"]
    for each in messages:
        who = "You" if each["role"] == "user" else f"Assistant{' (' + each['model'] + ')' if each.get('model') else ''}"
        broken = "\n\n*(interrupted)*" if each.get("interrupted") else ""
        parts.append(f"## {who}, {_when(each)}\n\n{str(each['content']).strip()}{broken}")
    return "\n\n".join(parts) + "\n"
