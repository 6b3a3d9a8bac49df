"""The conversation: what becomes of a message in Discord, and of what happens because of it."""

from __future__ import annotations

from collections.abc import Callable

from ...channel import AnswerAsk
from ...command import is_command
from ...events import ENDINGS, Answer, Ask, Done, Error, Event, Inbound, Interrupted, Notice, ToolFinished
from ...pieces import pieces
from ...printable import printable
from .posts import Post, Posts
from .said import Ears, Said, one_line
from .seen import Seen
from .turns import Question, Turn, Turns, decision, wording

LIMIT = 2000  # characters of a message, see pieces.py
LONGEST_ERROR = 1000  # characters

NO_TEXT = "There is no text in this message, and text is all that can be read here. /help lists commands."

CUT_SHORT = "interrupted, as agentkit ends here: say it again when it is back."

SHOWN = (Ask, ToolFinished, Notice, *ENDINGS)


class Talk:
    """Lives in an event loop, and after `close` without one. hand_in: takes a message for an agent; answer: as a
    channel is given it; ask_limit: seconds that an answer may take; ending: is the program about to end?"""

    def __init__(
        self,
        ears: Ears,
        seen: Seen,
        turns: Turns,
        posts: Posts,
        hand_in: Callable[[Inbound], None],
        answer: AnswerAsk,
        ask_limit: float,
        ending: Callable[[], bool],
    ) -> None:
        self._ears, self._seen, self._turns, self._posts = ears, seen, turns, posts
        self._hand_in, self._answer, self._ask_limit = hand_in, answer, ask_limit
        self._ending = ending
        self._closed = ""  # why

    # -- what is said there

    def hear(self, said: Said) -> None:
        """Take a message, if it is for us, and only once."""
        if self._closed or not said.human or not (self._turns.asked(said) or self._ears.is_for_us(said)):
            return
        if self._ears.hear(said) and self._seen.add(said.id):
            self._take(said)

    def _take(self, said: Said) -> None:
        inbound = said.inbound()
        if not said.words:
            self._say(Turn(inbound.turn, said), NO_TEXT, kept=False)
        elif not self._is_answer(said) and self._ears.is_for_us(said):
            self._turns.begin(inbound.turn, said)
            self._hand_in(inbound)

    def _is_answer(self, said: Said) -> bool:
        """Does it answer a question, or may it? Commands do not, nor does what was said before it could be read."""
        turn = self._turns.asked(said)
        if turn is None or is_command(said.words):
            return False
        question = turn.questions[0]
        if not question.shown:
            question.early.append(said)
            return True
        if said.is_before(question.shown):
            return False
        turn.questions.popleft()
        return self._answer(str(said.author), question.ask.id, decision(said.words))

    # -- what comes of it

    def show(self, event: Event) -> None:
        """Take one of the events in SHOWN."""
        turn = self._turns.get(event.turn)
        if turn is None:
            return
        if isinstance(event, Ask):
            self._ask(turn, event)
        elif isinstance(event, Notice):
            if line := turn.line(event):
                self._say(turn, line, kept=False)
        elif isinstance(event, ToolFinished):
            if turn.questions and event.output != "interrupted":  # nobody has answered in time
                self._say(turn, f"{event.name}: {one_line(event.output, LONGEST_ERROR)}", kept=False)
            self._withdraw(turn)
        else:
            self._turns.end(turn)
            self._say(turn, CUT_SHORT if isinstance(event, Interrupted) and self._ending() else _ended(event))
            self._withdraw(turn)

    def close(self, why: str) -> None:
        """Nobody can answer any more: what is asked is refused, now and later, so that no turn waits for it."""
        self._closed = self._closed or why
        for turn in self._turns:
            for question in turn.questions:
                self._refuse(turn, question.ask, self._closed)
            self._withdraw(turn)

    def _refuse(self, turn: Turn, ask: Ask, why: str) -> None:
        self._answer(str(turn.said.author), ask.id, Answer("deny", why))

    def _ask(self, turn: Turn, ask: Ask) -> None:
        if self._closed:
            self._refuse(turn, ask, self._closed)
            return
        question = Question(ask)
        turn.questions.append(question)

        def sent(id: int) -> None:
            early, question.early, question.shown = question.early, [], id
            if not id and question in turn.questions:
                turn.questions.remove(question)
                self._refuse(turn, ask, "the question could not be shown")
            for said in early:
                self._take(said)

        self._say(turn, wording(ask, self._ask_limit), kept=False, sent=sent)

    def _withdraw(self, turn: Turn) -> None:
        """Its questions are not open any more: what may have been an answer is none."""
        early = [said for question in turn.questions for said in question.early]
        turn.questions.clear()
        for said in early:
            self._take(said)

    def _say(self, turn: Turn, text: str, *, kept: bool = True, sent: Callable[[int], None] | None = None) -> None:
        """sent: as in Post, called for the last of the pieces, and for each that is lost."""

        def lost(id: int) -> None:
            if not id and sent:
                sent(0)

        *before, last = pieces(text, LIMIT)
        for piece in before:
            self._posts.add(Post(turn.to, piece, turn.nonce(), turn.said.id, kept, lost))
        self._posts.add(Post(turn.to, last, turn.nonce(), turn.said.id, kept, sent))


def _ended(event: Event) -> str:
    """What is said of a turn when it is over."""
    if isinstance(event, Done):
        text = printable(event.text)
        return text if text.strip() else "(The answer is empty.)"
    if isinstance(event, Error):
        return f"error: {one_line(event.message, LONGEST_ERROR)}"
    assert isinstance(event, Interrupted)
    return "interrupted"
