"""One session key: its conversations, one of them open, and what becomes of a message that arrives for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from .archive import Archive
from .attach import attached
from .channel import TERMINAL
from .command import Commands, Say, is_command, unescaped
from .conversation import Conversation
from .errors import CommandError
from .events import Error, Event, Inbound, Notice
from .node import Run
from .past import Said, read
from .store import INTERRUPTED, Store
from .toolbox import Scope
from .turn import Turn


class Opening(NamedTuple):
    """Which conversation a session begins with: the one called `label`, or one made so; else, with `resume`, the one
    used last; else a new one. follow: what is opened becomes the current one, which others resume."""

    label: str = ""
    resume: bool = False
    follow: bool = True


class View(NamedTuple):
    """A session as others may see it. model: the one selected; used: the one that has answered last, empty: none;
    conversation: its label, empty before the first message; loaded: changes when another conversation is opened;
    messages: how many; tokens: what the next request takes of the context, reckoned from what the server has counted;
    estimated: it has not counted yet in this conversation; trouble: why not all is saved, empty: all is; locked:
    another process has the conversation."""

    agent: str
    model: str
    used: str
    conversation: str
    loaded: tuple[str, int]
    messages: int
    tokens: int
    estimated: bool
    trouble: str
    locked: bool


class Session:
    """Owned by its lane, which alone may call what changes something.

    model_of: the model that answers now; prepare: what the agent is now: sets the store's prompt and tools, returns
    the turn that answers; opening: where to begin; scope: where files that go along with a message may be, None: none
    go along.
    """

    def __init__(
        self,
        store: Store,
        archive: Archive,
        model_of: Callable[[Session], str],
        prepare: Callable[[Session], Turn],
        commands: Commands,
        opening: Opening = Opening(),
        scope: Callable[[Session], Scope] | None = None,
    ) -> None:
        self.store, self.archive = store, archive
        self.model = ""  # chosen by the user; empty: the agent's
        self.conversation = store.journal = archive.new()
        self._model_of, self._prepare, self._commands, self._opening = model_of, prepare, commands, opening
        self._scope = scope
        self._beginning = threading.Lock()  # serialises `begin`: until it is over nobody uses the store
        self._begun = False
        self._loaded = 0  # conversations that were opened
        self.opened = 0  # bytes that the file of the open one had then
        self._tokens = 0  # that the open one took when it was loaded
        self._unsaved: list[Conversation] = []  # those that were left before all of them could be saved

    # -- from any thread

    @property
    def key(self) -> str:
        return self.store.state.session

    @property
    def view(self) -> View:
        store, conversations = self.store, (self.conversation, *self._unsaved)
        return View(
            agent=store.state.agent,
            model=self._model_of(self),
            used=store.state.used,
            conversation=self.conversation.label,
            loaded=(self.key, self._loaded),
            messages=len(store.context.messages),
            # Before the first turn the store has no prompt yet: what was counted last says more.
            tokens=store.tokens if store.context.system else self._tokens,
            estimated=not store.counted,
            trouble=next((each.trouble for each in conversations if each.trouble), ""),
            locked=self.conversation.locked,
        )

    @property
    def keeps(self) -> bool:
        """Is something chosen here that no file has: a model, or a conversation that is yet to begin?"""
        return self.model != "" or (self._loaded > 0 and not self.store.context.messages)

    @property
    def follows(self) -> bool:
        """Is this a chat, in which what is chosen lasts?"""
        return self._opening.follow

    def said(self, size: int | None = None) -> Said:
        """All that was said in the open conversation, as its file has it; size: only its first bytes."""
        try:
            return read(self.conversation.path.read_bytes()[:size])
        except OSError:
            return read(b"")

    def opens(self, channel: str) -> str:
        """The label of the conversation that is open, or that somebody in a channel will begin with; empty: a new
        one."""
        with self._beginning:
            if self._begun:
                return self.conversation.label
            return self._opening.label or (self._last(channel) if self._opening.resume else "")

    def begin(self, inbound: Inbound, publish: Callable[[Event], None]) -> None:
        """Open what the session is to begin with, if that has not been done. Raises CommandError."""
        with self._beginning:
            if self._begun:
                return
            self._begun = True
            self.store.run = self.store.run._replace(publish=publish)
            opening, archive = self._opening, self.archive
            # A command works on what there is; a question beside the chat begins anew.
            looks = not opening.follow and self._commands.is_in_table(inbound.text)
            if opening.label and not archive.has(opening.label):
                self.start(archive.new(opening.label))
                publish(Notice(f"This is a new conversation: {opening.label}."))
            elif opening.label:
                self.open(opening.label)
            elif (opening.resume or looks) and (label := self._last(inbound.source)):
                self.open(label, quietly=looks)

    # -- in the lane

    def take(self, inbound: Inbound, run: Run) -> None:
        """A command is run, anything else is a turn; one event ends it either way."""
        store = self.store
        early: list[Event] = []  # what is said before the turn has begun: it comes behind its beginning
        try:
            self.begin(inbound, early.append)
            store.run = run
            state = store.state
            state.channel, state.peer, state.via, state.to = inbound.channel, inbound.peer, inbound.via, inbound.to
            state.model = self._model_of(self)
            if self.conversation.regain():
                self.reload()
            if is_command(inbound.text):
                self._save_rest()
            ending = self._commands.answer(inbound, run, self) or Say(_said(inbound))
            if isinstance(ending, Say) and self.conversation.locked:
                raise CommandError(f"{locked(self.conversation)} /new begins another conversation.")
            if not is_command(inbound.text):
                ending = self._attached(inbound, early) or ending
        except CommandError as error:
            ending = Error("bad_request", str(error))
        if isinstance(ending, Say):
            self._answer(ending, inbound, early)
        else:
            for event in (*early, ending):
                run.publish(event)

    def open(self, label: str, quietly: bool = False) -> None:
        """Go on with a conversation of the archive. Raises CommandError, and stays with the one that is open.

        quietly: it is only looked at, so that it does not matter who has it.
        """
        if label == self.conversation.label:
            return
        left = next((each for each in self._unsaved if each.label == label), None)
        conversation = left or self.archive.new(label)
        try:
            said = conversation.load() if left else conversation.open()
        except OSError as error:
            raise CommandError(f"{label} cannot be read: {error.strerror}.") from None
        self.start(conversation)
        with suppress(OSError):
            self.opened = conversation.path.stat().st_size
        self._unsaved = [each for each in self._unsaved if each is not conversation]
        self._load(said)
        if said.broken:
            lines = "1 line of it is" if said.broken == 1 else f"{said.broken} lines of it are"
            self.store.run.publish(Notice(f"{label}: {lines} broken and left out; the file is as it was.", "warn"))
        if conversation.locked and not quietly:
            self.store.run.publish(Notice(f"{locked(conversation)} It can be read here.", "warn"))

    def start(self, conversation: Conversation) -> None:
        """Make this the open conversation, in which nothing has been said."""
        if _is_left(self.conversation):
            self._unsaved.append(self.conversation)
        self.conversation, self.opened = conversation, 0
        self.store.load([], conversation)
        self._loaded += 1

    def prepare(self) -> Turn:
        """Have the store hold the prompt and the tools as they are now; returns the turn that answers in it."""
        first = not self.store.context.system
        turn = self._prepare(self)
        if first:
            self.store.calibrate()
        return turn

    def reload(self) -> None:
        """Have the store hold what the conversation's file says."""
        self._load(self.conversation.load())

    def note(self, label: str, inbound: Inbound) -> None:
        """This conversation is the current one, and who said this spoke last."""
        self.archive.note(label, inbound.source, inbound.peer, inbound.to, self.key)

    def remark(self, by: str, text: str, letter: str = "") -> bool:
        """Have the conversation hold what the agent has said by itself, so that it can be answered; False where it
        cannot be written to. by: on what occasion, in words; letter: the id of the one that it was."""
        if self.conversation.regain():
            self.reload()
        if self.conversation.locked:
            return False
        store = self.store
        store.settle(INTERRUPTED)
        # Strict servers want question and answer in turns: this stands for the question.
        store.append({"role": "user", "content": f"[{by}]", "by": by})
        store.append({"role": "assistant", "content": text, "by": by, **({"letter": letter} if letter else {})})
        store.sync()
        with suppress(OSError):  # the conversation itself has said what is wrong
            self.archive.make_current(self.conversation.label)
        return True

    def close(self) -> list[str]:
        """Let other processes have the conversation; returns a line for each that could not be saved."""
        left = [each for each in (self.conversation, *self._unsaved) if _is_left(each)]
        return [f"{each.label or 'the new conversation'}: {each.unsaved} lines, {each.trouble}" for each in left]

    def _last(self, channel: str) -> str:
        """The label of the conversation that was used last, in a channel where that is known."""
        return self.archive.used_in(channel) or self.archive.current

    def _save_rest(self) -> None:
        """Try again to save what could not be in the conversations that were left."""
        self._unsaved = [each for each in self._unsaved if _is_left(each)]

    def _load(self, said: Said) -> None:
        self.store.load(said.seen, self.conversation, said.next)
        self.store.context.system = ""  # so that it is measured anew, see prepare
        self._tokens = said.tokens

    def _attached(self, inbound: Inbound, early: list[Event]) -> Say | None:
        """The message with its files. Only who sits at this machine has them read."""
        if not inbound.files or inbound.source != TERMINAL or self._scope is None:
            return None
        said = _said(inbound)
        try:
            scope = self._scope(self)
        except CommandError:  # the agent is gone, which is said when it is to answer
            return None
        text, notices = attached(said, inbound.files, scope)
        early += notices
        return Say(text, said) if text != said else None

    def _answer(self, asked: Say, inbound: Inbound, early: list[Event]) -> None:
        """Have the model answer; what was said is saved first, and with it the workspace is made."""
        store, run = self.store, self.store.run

        def publish(event: Event) -> None:
            run.publish(event)
            while early:
                run.publish(early.pop(0))

        store.run = run._replace(publish=early.append)
        self._save_rest()
        store.settle(INTERRUPTED)
        store.append({"role": "user", "content": asked.text, **({"typed": asked.typed} if asked.typed else {})})
        if self._opening.follow and not self.conversation.trouble:
            self.note(self.conversation.label, inbound)
        try:
            turn = self.prepare()
        except CommandError as error:
            store.settle("[no answer: bad_request]")
            for event in (*early, Error("bad_request", str(error))):
                run.publish(event)
        else:
            store.run = run._replace(publish=publish)
            turn.run(store)


def _said(inbound: Inbound) -> str:
    """What is said, in public by whom."""
    text = unescaped(inbound.text)
    return f"{inbound.sender}: {text}" if inbound.group and inbound.sender else text


def locked(conversation: Conversation) -> str:
    if not conversation.path.exists():
        return f"{conversation.label} is not there any more: another process has renamed or deleted it."
    return f"{conversation.label} is open in another process, which alone may add to it."


def _is_left(conversation: Conversation) -> bool:
    """Close a conversation; is some of it still not saved?"""
    conversation.close()
    return conversation.unsaved > 0
