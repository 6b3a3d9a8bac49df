"""The commands about conversations: begin, name, load, list, delete, export, look back, take back, ask again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import PurePath

from .approval import STEERING_FILES
from .command import Command, Order, Say
from .compact import Compact
from .completion import MOST, Choice
from .conversation import SUFFIX, Conversation
from .errors import CommandError, ToolError
from .events import Ask
from .files import open_in, real_path
from .names import slug
from .node import Node
from .session import Session, locked
from .store import Message, is_occasion, typed
from .toolbox import Scope
from .workspace import BOOTSTRAP

SHOWN = 10  # messages that /history shows
LINES = 12  # of a message that /history shows
WORDS = 6  # of the first message that make a label


def commands(scope: Scope, ask: Callable[[], Node]) -> list[Command]:
    """scope: where files may be written; ask: gives the node that gets one Reply."""
    group = partial(Command, group="conversation")
    return [
        group("new", "[label]", "begin a new conversation", _new),
        group("save", "[label]", "give this conversation a label", _save),
        group("load", "<label>", "go on with another one; the beginning will do", _load, choices=_labels),
        group("list", "", "the conversations: messages, last use, tokens", _list, now=True),
        group("delete", "<label>", "delete a conversation, when you say yes", _delete, choices=_labels),
        group("export", "[file.md]", "write this conversation as Markdown", partial(_export, scope), owner=True),
        group("history", "[n]", f"the last n messages ({SHOWN})", _history),
        group("rewind", "[n]", "take back the last n turns (1)", _rewind),
        group("retry", "", "take back the last turn, ask its message again", _retry),
        group("compact", "[focus]", "summarise older messages; keep the focus", partial(_compact, ask)),
    ]


def _new(order: Order) -> str:
    session, label = _named(order)
    if not session.follows:
        raise CommandError("One question is asked and that is all: agentkit run --session LABEL begins a conversation.")
    if label and session.archive.has(label):
        raise CommandError(f"There is a conversation {label} already: /load {label} goes on with it.")
    session.start(session.archive.new(label))
    return f"A new conversation begins{f': {label}' if label else ''}."


def _save(order: Order) -> str:
    session, label = _named(order)
    conversation = _ours(session)
    label = label or slug("-".join(_first_words(session.store.context.messages)))
    if not label:
        raise CommandError("There is nothing to name it after yet: /save LABEL.")
    if label == conversation.label:
        return f"This conversation is called {label}."
    try:
        conversation.rename(label)
    except FileExistsError:
        raise CommandError(f"There is a conversation {label} already: take another label.") from None
    except OSError as error:
        raise CommandError(f"It cannot be called {label}: {error.strerror}.") from None
    session.note(label, order.inbound)
    return f"This conversation is called {label} now."


def _load(order: Order) -> str:
    session: Session = order.session
    if not order.rest:
        raise CommandError("Which one? /load LABEL; /list shows what there is.")
    label = session.archive.find(order.rest)
    if label == session.conversation.label:
        return f"{label} is open already."
    session.open(label)
    session.note(label, order.inbound)
    return f"This is {label}: {_count(session.view.messages)}."


def _list(order: Order) -> str:
    session: Session = order.session
    entries = session.archive.entries()
    current = session.conversation.label or session.archive.current
    if not entries:
        return session.view.trouble or "There is no conversation yet."
    rows = [("", "label", "messages", "last used", "tokens")]
    for each in entries:
        mark = "*" if each.label == current else ""
        rows.append((mark, each.label, str(each.messages), f"{each.used:%Y-%m-%d %H:%M}", f"{each.tokens:,}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{size}}" for cell, size in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _labels(session: Session) -> Iterator[Choice]:
    """The conversations to choose from, the one used last first, each with when that was."""
    for number, label in enumerate(session.archive.labels()):
        used = ""
        if number < MOST:
            with suppress(OSError, ValueError, OverflowError):
                at = (session.archive.folder / f"{label}{SUFFIX}").stat().st_mtime
                used = f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M}"
        yield Choice(label, used)


def _delete(order: Order) -> str:
    session: Session = order.session
    if not order.rest:
        raise CommandError("Which one? /delete LABEL; /list shows what there is.")
    label = session.archive.find(order.rest)
    if order.run.ask(Ask("/delete", f"Delete the conversation {label} for good?")).decision == "deny":
        raise CommandError(f"{label} was not deleted.")
    if label == session.conversation.label and not session.conversation.locked:
        session.start(session.archive.new())
    session.archive.delete(label)
    return f"{label} is deleted."


def _export(scope: Scope, order: Order) -> str:
    messages = _said(order.session)
    label = order.session.conversation.label or "conversation"
    path = order.rest or f"{label}.md"
    closed = (*scope.closed, *scope.unwritable)
    try:
        for each in (path, real_path(path, scope.roots)):  # a link may lead to another name
            name = PurePath(each).name.casefold()
            if not name.endswith(".md") or name in STEERING_FILES | set(map(str.casefold, BOOTSTRAP)):
                raise CommandError(f"{path} cannot be written: it is a conversation, which goes into NAME.md.")
        with open(open_in(path, scope.roots, os.O_WRONLY | os.O_CREAT | os.O_EXCL, closed=closed), "wb") as file:
            file.write(_markdown(label, messages).encode("utf-8", "replace"))
    except FileExistsError:
        raise CommandError(f"{path} is there already: /export OTHER.md takes another name.") from None
    except (OSError, ToolError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise CommandError(f"{path} cannot be written: {why}.") from None
    return f"{_count(len(messages))} in {path}."


def _history(order: Order) -> str:
    number = _number(order, SHOWN)
    messages = _said(order.session)
    shown = [f"{_when(each)} {_who(each)}: {_shortly(each)}" for each in messages[-number:]]
    more = len(messages) - len(shown)
    return "\n".join(([f"({more} before these: /history {len(messages)})"] if more else []) + shown)


def _rewind(order: Order) -> str:
    back = _take_back(order.session, _number(order, 1))
    turns = "The last turn is" if len(back) == 1 else f"The last {len(back)} turns are"
    return f"{turns} taken back. The message was: {typed(back[0])}"


def _retry(order: Order) -> Say:
    message = _take_back(order.session, 1)[0]
    return Say(str(message["content"]), str(message.get("typed", "")))


def _compact(ask: Callable[[], Node], order: Order) -> str:
    session: Session = order.session
    _ours(session)
    session.prepare()
    before = session.store.tokens
    Compact(ask(), order.rest, always=True).run(session.store)
    if session.store.tokens >= before:
        raise CommandError("There is nothing to compact: the conversation is short.")
    session.store.sync()
    return "Compacted."


def _take_back(session: Session, turns: int) -> list[Message]:
    """Take back the last turns; returns their messages, the first of them first."""
    conversation = _ours(session)
    # The store lacks what a compaction has replaced; the file has all of it.
    asked = [each for each in conversation.load().whole if _is_asked(each)]
    if not asked:
        raise CommandError("There is nothing to take back yet.")
    if turns > len(asked):
        raise CommandError(f"There are not that many turns: /rewind {len(asked)} takes back all of them.")
    back = asked[-turns:]
    record = {"type": "rewind", "to": back[0]["n"]}
    if not session.store.apply(record):
        conversation.write(record)
        session.reload()
    session.store.sync()
    return back


def _ours(session: Session) -> Conversation:
    """The open conversation, if it may be changed."""
    if session.conversation.locked:
        raise CommandError(locked(session.conversation))
    return session.conversation


def _named(order: Order) -> tuple[Session, str]:
    """The session, and the label that was given, safe as a name; empty: none was."""
    label = slug(order.rest)
    if order.rest and not label:
        raise CommandError(f"{order.rest} cannot be a label: use letters and digits.")
    return order.session, label


def _is_asked(message: Message) -> bool:
    return message["role"] == "user" and not (message.get("summary") or is_occasion(message))


def _said(session: Session) -> list[Message]:
    """What people and the assistant have said in words."""
    said = [each for each in session.conversation.load().whole if _is_words(each)]
    if not said:
        raise CommandError("There is nothing in this conversation yet.")
    return said


def _is_words(message: Message) -> bool:
    return message["role"] != "tool" and bool(message.get("content")) and not is_occasion(message)


def _first_words(messages: Sequence[Message]) -> list[str]:
    return next((typed(each).split()[:WORDS] for each in messages if _is_asked(each)), [])


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


def _who(message: Message) -> str:
    return f"{message['role']} ({message['by']})" if message.get("by") else str(message["role"])


def _shortly(message: Message) -> str:
    lines = typed(message).strip().split("\n")
    if message.get("interrupted"):
        lines.append("(interrupted)")
    more = len(lines) - LINES
    return "\n".join([*lines[:LINES], *([f"({more} more line{'s' * (more > 1)})"] if more > 0 else [])])


def _markdown(label: str, messages: Sequence[Message]) -> str:
    """A conversation for people: who said what, and when."""
    parts = [f"# {label}"]
    for each in messages:
        by = each.get("by") or each.get("model")
        who = "You" if each["role"] == "user" else f"Assistant{f' ({by})' if by else ''}"
        broken = "\n\n*(interrupted)*" if each.get("interrupted") else ""
        parts.append(f"## {who}, {_when(each)}\n\n{typed(each).strip()}{broken}")
    return "\n\n".join(parts) + "\n"
