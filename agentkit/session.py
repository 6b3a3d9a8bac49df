"""One session key: its conversations, one of them open, and what becomes of a message that arrives for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from .archive import Archive
from .command import Commands, Say, is_command, unescaped
from .conversation import Conversation, read
from .errors import CommandError
from .events import Error, Event, Inbound, Notice
from .node import Run
from .store import INTERRUPTED, Message, Store
from .turn import Turn


class Opening(NamedTuple):
    """Which conversation a session begins with: the one called `label`, or one made so; else, with `resume`, the one
    used last; else a new one. follow: what is opened becomes the current one, which others resume."""

    label: str = ""
    resume: bool = False
    follow: bool = True


class View(NamedTuple):
    """A session as others may see it. conversation: its label, empty before the first message; loaded: changes when
    another conversation is opened; messages: how many; tokens: what the next request takes of the context, estimated;
    trouble: why nothing is saved, empty: all is."""

    agent: str
    model: str
    conversation: str
    loaded: tuple[str, int]
    messages: int
    tokens: int
    trouble: str


class Session:
    """Owned by its lane, which alone may call what changes something.

    archive: gets the callbacks of the session; prepare: what the agent is now: sets the store's prompt, tools and
    model, returns the turn that answers; opening: where to begin.
    """

    def __init__(
        self,
        store: Store,
        archive: Archive,
        prepare: Callable[[Session], Turn],
        commands: Commands,
        opening: Opening = Opening(),
    ) -> None:
        self.store, self.archive = store, archive
        self.model = ""  # chosen by the user; empty: the agent's
        self.conversation = store.journal = archive.new()
        self._prepare, self._commands, self._opening = prepare, commands, opening
        self._beginning = threading.Lock()  # serialises `begin`: until it is over nobody uses the store
        self._begun = False
        self._starts = 0  # conversations that were opened

    # -- from any thread

    @property
    def view(self) -> View:
        store = self.store
        return View(
            agent=store.state.agent,
            model=self.model or store.state.model,
            conversation=self.conversation.label,
            loaded=(store.state.session, self._starts),
            messages=len(store.context.messages),
            # Before the first turn the store has no prompt yet: what the server counted last says more.
            tokens=store.tokens if store.context.system else _counted(store.context.messages),
            trouble=self.conversation.trouble,
        )

    def past(self) -> list[Message]:
        """All that was said in the open conversation, as its file has it."""
        try:
            return read(self.conversation.path.read_bytes()).whole
        except OSError:
            return []

    # -- in the lane

    def take(self, inbound: Inbound, run: Run) -> None:
        """A command is run, anything else is a turn; one event ends it either way."""
        store = self.store
        store.run = run
        store.state.channel, store.state.peer = inbound.channel, inbound.peer
        try:
            self.begin(inbound, run.publish)
        except CommandError as error:
            run.publish(Error("bad_request", str(error)))
            return
        ending = self._commands.answer(inbound, run)
        if ending is None:
            ending = Say(unescaped(inbound.text))
        if not isinstance(ending, Say):
            run.publish(ending)
        elif self.conversation.locked:
            run.publish(Error("bad_request", f"{locked(self.conversation)} /new begins another conversation."))
        else:
            self._answer(ending.text, inbound)

    def _answer(self, text: str, inbound: Inbound) -> None:
        """Have the model answer; what was said is saved first, and with it the workspace is made."""
        store, run = self.store, self.store.run
        early: list[Event] = []

        def publish(event: Event) -> None:
            """What was said before the turn began comes behind its beginning."""
            run.publish(event)
            while early:
                run.publish(early.pop(0))

        store.run = run._replace(publish=early.append)
        store.settle(INTERRUPTED)
        store.append({"role": "user", "content": text})
        if self._opening.follow and not self.conversation.trouble:
            self.archive.note(self.conversation.label, inbound.channel, inbound.peer)
        try:
            turn = self._prepare(self)
        except CommandError as error:
            store.settle("[no answer: bad_request]")
            run.publish(Error("bad_request", str(error)))
        else:
            store.run = run._replace(publish=publish)
            turn.run(store)

    def begin(self, inbound: Inbound, publish: Callable[[Event], None]) -> None:
        """Open what the session is to begin with, if that has not been done; may be called from any thread."""
        with self._beginning:
            if self._begun:
                return
            self._begun = True
            opening, archive = self._opening, self.archive
            if opening.label and opening.label not in archive.labels():
                self.start(archive.new(opening.label))
            elif opening.label:
                self.open(opening.label, publish)
            elif opening.resume or (is_command(inbound.text) and not opening.follow):
                if label := archive.used_in(inbound.channel) or archive.current:
                    self.open(label, publish if opening.resume else _in_silence)
                elif opening.resume:
                    publish(Notice("There is nothing to resume: this is a new conversation."))

    def open(self, label: str, publish: Callable[[Event], None]) -> None:
        """Go on with a conversation of the archive. Raises CommandError, and stays with the one that is open."""
        if label == self.conversation.label:
            return
        conversation = self.archive.new(label)
        try:
            said = conversation.open()
        except OSError as error:
            raise CommandError(f"{label} cannot be read: {error.strerror}.") from None
        self.start(conversation, said.seen)
        if said.broken:
            lines = "1 line of it is" if said.broken == 1 else f"{said.broken} lines of it are"
            publish(Notice(f"{label}: {lines} broken and left out; the file is as it was.", "warn"))
        if conversation.locked:
            publish(Notice(f"{locked(conversation)} It can be read here.", "warn"))

    def start(self, conversation: Conversation, messages: list[Message] | None = None) -> None:
        """Make this the open conversation, with what was said in it."""
        self.conversation.close()
        self.conversation = conversation
        self.store.load(messages or [], conversation)
        self._starts += 1

    def close(self) -> None:
        """Let other processes have the conversation."""
        self.conversation.close()


def _counted(messages: list[Message]) -> int:
    return next((each["usage"].get("total_tokens", 0) for each in reversed(messages) if "usage" in each), 0)


def _in_silence(event: Event) -> None:
    """For one who has not asked to go on with a conversation, but to look at it."""


def locked(conversation: Conversation) -> str:
    return f"{conversation.label} is open in another process, which alone may add to it."
