"""What the person says, stops and leaves: sending, the queue, interrupting, the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from ...channel import Dispatch
from ...command import Commands, is_command
from ...events import Event, Inbound, Interrupted
from ..others import Others
from .bars import Bars
from .chat import Chat, Draft
from .editor import Editor

LAST_WORDS = 2.0  # seconds an interrupted turn has to end before the program leaves


class Running(Protocol):
    """The App, as far as this needs it."""

    commands: Commands

    def interrupt(self, inbound: Inbound) -> bool: ...


class Talk:
    """Owned by the main thread. me: makes a message of the person here; editor: where what is not sent goes back to."""

    def __init__(self, me: Callable[..., Inbound], chat: Chat, bars: Bars, others: Others, editor: Editor) -> None:
        self._me, self._chat, self._bars, self._others, self._editor = me, chat, bars, others, editor
        self._app: Running | None = None
        self._exiting = False  # /exit was typed during this turn
        self.leaving = self.left = False
        self.deadline: float | None = None  # monotonic seconds, when there is no more waiting

    def begin(self, app: Running, dispatch: Dispatch) -> None:
        """The program is there: what was typed ahead is sent."""
        self._app, self._dispatch = app, dispatch
        self.go_on()

    def submit(self, draft: Draft) -> None:
        """Send a message, at once or when its turn comes."""
        text = draft.message
        if text.strip() == "/exit":
            self.ask_to_leave("/exit", sure=not self._chat.turn or self._exiting)
            self._exiting = True
        elif self._app and self._app.commands.is_now(text):
            self._say(draft)
        else:
            self._chat.waiting.append(draft)
            self.go_on()

    def go_on(self) -> None:
        """Nothing runs any more, perhaps: send what comes next."""
        while self._app and self._chat.waiting and not self._chat.turn and not self.leaving:
            self._say(self._chat.waiting.popleft())

    def ended(self, event: Event) -> None:
        """A turn is over, or a command that ran beside it. What waits behind one that was stopped, however it was, is
        not sent by itself."""
        if self.leaving and not self._chat.turn:
            self.left = True
        if isinstance(event, Interrupted) and not self._chat.turn and self._chat.waiting and not self.leaving:
            self._take_back()
        self.go_on()

    def interrupt(self) -> bool:
        """Stop the turn; what is queued behind it comes back into the input line. False where none runs."""
        if not self._chat.turn or not self._app:
            return False
        if self._chat.waiting and not self.leaving:
            self._take_back()
        self._app.interrupt(self._me(""))
        return True

    def ask_to_leave(self, key: str, *, sure: bool) -> None:
        """Leaving asks once, with the key that would do it; Ctrl-D on an idle line does not."""
        if sure or (key == "Ctrl-D" and not self._chat.turn):
            self.leave()
        else:
            self._bars.hint = warning(key)

    def leave(self) -> None:
        """Have the turn end, for a moment at most, then the program; a second time, at once."""
        again, self.leaving = self.leaving, True
        if not self.interrupt() or again:
            self.left = True
        self.deadline = time.monotonic() + LAST_WORDS

    def _say(self, draft: Draft) -> None:
        assert self._app is not None
        inbound = self._me(draft.message, files=draft.files)
        self._others.exclude(inbound.turn)
        now = self._app.commands.is_now(draft.message)
        if not now:
            self._exiting = False
        self._chat.said(draft.message, "" if now else inbound.turn)
        self._dispatch(inbound)

    def _take_back(self) -> None:
        """What is queued comes back into the input line; where a command is among it, which would not survive being
        joined with others, Up brings it back."""
        editor, waiting = self._editor, self._chat.waiting
        if any(is_command(each.message) for each in waiting) and len(waiting) + bool(editor.text) > 1:
            for each in waiting:
                editor.remember(each.message)
            self._bars.hint = "what was queued is not sent: Up brings it back"
        else:
            editor.restore("\n".join((*(each.raw for each in waiting), *([editor.text] if editor.text else []))))
        waiting.clear()


def warning(key: str) -> str:
    """What is said before a key makes the program leave."""
    return f"{key} once more leaves"
