"""What keys do. The innermost thing that is open takes them first: a page, a prompt, a popup, a question, the draft."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from ...command import is_command
from ...events import Answer
from ...mention import mentions
from . import keytable
from .bars import Bars
from .block import one_line, short
from .chat import Chat, Draft
from .editor import Editor
from .find import Find
from .keys import Key
from .pager import Pager
from .popup import Popup
from .prompts import Finding, Prompt, Reasoning, Recalling
from .question import CALM, SETTLED
from .recall import History, Search
from .style import Row
from .talk import Talk, warning
from .view import View
from .wrap import clip, width

if TYPE_CHECKING:
    from ...completion import Completion

SCROLLS = {"pgup": (1, 0), "pgdn": (-1, 0), "wheel-up": (0, 3), "wheel-down": (0, -3)}  # pages and rows
QUEUED = 8  # messages shown that are not sent yet


class Program(Protocol):
    """What keys can have the program do."""

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the screen."""

    @property
    def talk(self) -> Talk: ...

    def complete(self, text: str, cursor: int) -> Completion | None:
        """None: the program is still starting."""

    def decide(self, answer: Answer) -> None:
        """Answer the first question."""

    def edit(self) -> None:
        """Have the draft in the person's own editor."""

    def suspend(self) -> None: ...

    def redraw(self) -> None: ...


class Controls:
    """Owned by the main thread. history: what was typed before."""

    def __init__(self, program: Program, chat: Chat, bars: Bars, history: History) -> None:
        self._program, self._chat, self._bars, self._history = program, chat, bars, history
        self.editor = Editor(history)
        self._prompt: Prompt | None = None
        self._popup: Popup | None = None
        self._find: Find | None = None
        self._letter: tuple[str, float, str] | None = None  # that may decide, since when, and the question's id
        self._pressed = 0.0  # when something was pressed last
        self._page_asks = ""  # the id of the question that the page shows
        self.view = View(
            header=bars.header,
            status=self._status,
            strip=self._strip,
            marked=self._marked,
            placeholder=self._placeholder,
            transcript=chat.transcript,
            entry=self.editor,
        )
        self._draft_keys: dict[str, Callable[[], object]] = {
            "enter": self._enter,
            "esc": lambda: program.talk.interrupt(),
            "tab": self._complete,
            "C-f": self._look,
            "C-g": program.edit,
            "C-l": program.redraw,
            "C-o": self._toggle,
            "C-r": self._recall,
            "C-z": program.suspend,
            "C-home": chat.transcript.to_start,
            "C-end": chat.transcript.to_end,
            "f1": self._show_keys,
        }

    def press(self, keys: Sequence[Key]) -> None:
        """Take keys that came together."""
        now = time.monotonic()
        alone, self._pressed = len(keys) == 1 and now - self._pressed >= CALM, now
        for key in keys:
            if self._letter is not None:
                self._goes_on(key)
            hint, self._bars.hint = self._bars.hint, ""
            if key.name in SCROLLS and self.view.page is None:
                self._scroll(key)
            elif not (self._to_open(key) or self._to_question(key, alone)):
                self._to_draft(key, hint)
            self._follow()

    @property
    def due(self) -> float | None:
        """When `settle` has something to do, in monotonic seconds."""
        return self._letter[1] + SETTLED if self._letter else None

    def settle(self, now: float) -> bool:
        """Nothing has followed a letter: it decides. False: there is none yet."""
        if self._letter is None or now < self._letter[1] + SETTLED:
            return False
        letter, since, asked = self._letter
        self._letter = None
        if self._chat.questions.may_be_decided(since):  # it was seen all the while
            self._decide(letter, asked)
            self._follow()
        return True

    def told(self) -> None:
        """Something has come: a question has the strip, and one that is over needs no reason and no page."""
        questions = self._chat.questions
        if self._page_asks and not (questions and questions.first.id == self._page_asks):
            self.view.page, self._page_asks = None, ""
        if questions:
            self._popup = None
        elif isinstance(self._prompt, Reasoning):
            self._prompt, self._bars.hint = None, ""
            self._follow()

    def put(self, text: str) -> None:
        """Have this as the draft."""
        self.editor.clear()
        self.editor.insert(text)

    # -- who takes a key

    def _to_open(self, key: Key) -> bool:
        return self._to_page(key) or self._to_prompt(key) or self._to_popup(key)

    def _to_page(self, key: Key) -> bool:
        page = self.view.page
        if page is None:
            return False
        if not page.key(key, self.view.heights(*self._program.size).transcript):
            self.view.page, self._page_asks = None, ""
        return True

    def _to_prompt(self, key: Key) -> bool:
        prompt = self._prompt
        if prompt is None:
            return False
        if not prompt.key(key) and self._prompt is prompt:
            self._prompt = self._find = None
        return True

    def _to_popup(self, key: Key) -> bool:
        popup = self._popup
        if popup is None:
            return False
        if key.name == "enter" or (key.name == "tab" and len(popup) == 1):
            self._apply(popup)
        elif key.name in ("tab", "down", "C-n"):
            popup.next()
        elif key.name in ("S-tab", "up", "C-p"):
            popup.previous()
        elif key.name in ("esc", "C-c", "C-g"):
            self._popup = None
        else:
            return False
        return True

    def _to_question(self, key: Key, alone: bool) -> bool:
        """A letter decides only on an empty line, when nothing came shortly before it (as in a paste without brackets,
        in a word, or from a key that is held) and nothing follows it, and when all of the question could be seen for a
        moment. Else it does nothing at all."""
        questions = self._chat.questions
        if not questions:
            return False
        if key.name == "esc":
            self._program.decide(Answer("deny"))
            return True
        if key.name == "f1":
            self._show_question()
            return True
        if key.name != "text" or self.editor.text or not set(key.text.lower()) <= set("yant?"):
            return False
        letter = key.text.lower()
        if letter == "?":
            self._show_question()
            return True
        may_be_decided = alone and len(letter) == 1 and questions.may_be_decided(now := time.monotonic())
        if may_be_decided and not (letter in "at" and questions.is_of_person):
            self._letter = letter, now, questions.first.id
        return True

    def _goes_on(self, key: Key) -> None:
        """Something follows a letter at once: a word for the line, for somebody was typing when the question came; or
        the same again, from a key that is held."""
        assert self._letter is not None
        letter, self._letter = self._letter[0], None
        if key.name == "text" and key.text.lower() != letter:
            self.editor.insert(letter)

    def _decide(self, letter: str, asked: str) -> None:
        questions = self._chat.questions
        if not questions or questions.first.id != asked:
            return
        if letter == "t":
            self._prompt = Reasoning(lambda why: self._refuse(asked, why))
        else:
            self._program.decide(Answer("allow" if letter == "y" else "always" if letter == "a" else "deny"))

    def _to_draft(self, key: Key, hint: str) -> None:
        """hint: what the status line said before."""
        editor = self.editor
        if key.name == "C-c" and editor.text:
            editor.cut()
            self._bars.hint = "Ctrl-Y has it back"
        elif key.name == "C-c":
            if not self._program.talk.interrupt():
                self._program.talk.ask_to_leave("Ctrl-C", sure=hint == warning("Ctrl-C"))
        elif key.name == "C-d" and not editor.text:
            self._program.talk.ask_to_leave("Ctrl-D", sure=hint == warning("Ctrl-D"))
        elif key.name == "up" and not editor.text and self._chat.waiting:
            editor.restore(self._chat.waiting.pop().raw)
        elif key.name == "text" and key.text == "?" and not editor.text:
            self._show_keys()
        elif key.name == "C-f" and editor.cursor < len(editor.text):
            editor.key(key)  # as in emacs; at the end, where nothing is ahead, it looks through the transcript
        elif action := self._draft_keys.get(key.name):
            action()
        else:
            editor.key(key)
            if self._popup is not None:
                self._complete(opened=True)

    def _follow(self) -> None:
        """What is edited may be something else now."""
        prompt = self._prompt
        self.view.entry, self.view.label = (prompt.entry, prompt.label) if prompt else (self.editor, ">")
        if prompt:
            self._bars.hint = prompt.hint

    # -- what they do

    def _enter(self) -> None:
        editor = self.editor
        if editor.newline_after_backslash() or not editor.message.strip():
            return
        files = () if is_command(editor.message) else tuple(mentions(editor.typed))
        draft = Draft(editor.text, editor.message, files)
        self._chat.transcript.to_end()
        editor.take()
        self._program.talk.submit(draft)

    def _complete(self, opened: bool = False) -> None:
        """Complete what stands at the cursor, as far as it is clear; opened: only look anew what there is. A question
        has the strip: then there is nothing to choose from."""
        editor = self.editor
        completion = self._program.complete(editor.text, editor.cursor)
        self._popup = None
        if completion is None or not completion.choices:
            self._bars.hint = "" if opened else "nothing to complete here: Tab knows commands, their words, and @files"
            return
        popup = Popup(completion, editor.text, editor.cursor)
        if opened:
            self._popup = popup
        elif len(completion.choices) == 1:
            self._apply(popup)
        else:
            before = editor.text
            editor.text, editor.cursor = popup.completed()
            if editor.text != before:
                completion = self._program.complete(editor.text, editor.cursor) or completion
            if self._chat.questions:
                self._bars.hint = "decide first, then Tab shows what there is to choose from"
            else:
                self._popup = Popup(completion, editor.text, editor.cursor)

    def _apply(self, popup: Popup) -> None:
        self.editor.text, self.editor.cursor = popup.applied(popup.choice)
        self._popup = None

    def _look(self) -> None:
        self._find = Find(self._chat.transcript)
        self._prompt = Finding(self._find)

    def _recall(self) -> None:
        self._prompt = Recalling(Search(self._history), self.put)

    def _toggle(self) -> None:
        """Fold or unfold the paste at the cursor, else the lowest card that can be seen."""
        if not self.editor.unfold():
            _, columns = self._program.size
            if not self._chat.transcript.toggle(columns, self.view.heights(*self._program.size).transcript):
                self._bars.hint = "nothing to unfold here"

    def _scroll(self, key: Key) -> None:
        _, columns = self._program.size
        page = self.view.heights(*self._program.size).transcript
        pages, rows = SCROLLS[key.name]
        self._chat.transcript.scroll(pages * (page - 1) + rows, columns, page)

    def _refuse(self, asked: str, why: str) -> None:
        """Refuse what was asked about, if that is still open."""
        if self._chat.questions and self._chat.questions.first.id == asked:
            self._program.decide(Answer("deny", why))

    def _show_keys(self) -> None:
        self.view.page, self._page_asks = Pager("Keys", keytable.rows), ""

    def _show_question(self) -> None:
        questions = self._chat.questions
        self.view.page = Pager(questions.title, questions.page(), "Esc goes back to decide")
        self._page_asks = questions.first.id

    # -- what is shown

    def _status(self, columns: int, whole: bool, has_header: bool) -> Row:
        return self._bars.status(columns, self._chat, whole=whole, has_header=has_header)

    def _placeholder(self) -> str:
        """What one may type, until something is said."""
        is_new = self._bars.session is not None and not self._chat.begun and self._prompt is None
        return "say something · / commands · @ files · F1 keys" if is_new else ""

    def _marked(self, rows: Sequence[Row]) -> Sequence[Row]:
        return self._find.marked(rows) if self._find else rows

    def _strip(self, columns: int) -> Sequence[Row]:
        """What waits: a question, else what there is to choose from, else what is not sent yet."""
        if self._chat.questions:
            busy = "Esc ends this, then decide" if self._prompt else ""
            if self.editor.text and not self._prompt:
                busy = "Ctrl-C clears the line, then decide"
            return self._chat.questions.rows(columns, busy, esc=self._prompt is None)
        if self._popup is not None:
            return self._popup.rows(columns, QUEUED)
        if self._prompt is not None and (shown := self._prompt.strip(columns)):
            return shown
        return queue(self._chat.waiting, columns)


def queue(waiting: Sequence[Draft], columns: int) -> list[Row]:
    """The messages that are not sent yet: the next ones, and the last, which Up has edited."""
    rows: list[Row] = []
    for number, draft in enumerate(waiting):
        is_last = number == len(waiting) - 1
        if number < QUEUED - 2 or is_last:
            end = "  ↑ edits it " if is_last else ""
            text = short(f"  queued: {one_line(draft.message[:columns])}", columns - width(end))
            rows.append(((text + " " * (columns - width(text) - width(end)) + end, "dim"),))
        elif number == QUEUED - 2:
            rows.append(((clip(f"  … {len(waiting) - number - 1} more", columns), "dim"),))
    return rows
