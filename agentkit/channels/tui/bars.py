"""The two lines that tell how things stand: the header, and the status line above the input. Pure."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...printable import printable
from .style import Row
from .wrap import clip, width

if TYPE_CHECKING:
    from ...session import View as Session
    from ...surroundings import Surroundings
    from .chat import Chat

SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
SPIN = 0.1  # seconds that a picture of the spinner stays
BETWEEN = " · "


class Bars:
    """agent, model: what is known before there is a session; window: the model's context, in tokens."""

    def __init__(self, agent: str, model: str, window: int) -> None:
        self._agent, self._model, self.window = agent, model, window
        self.session: Session | None = None  # None: the program is still starting
        self.around: Surroundings | None = None
        self.hint = ""  # until the next key

    def header(self, columns: int) -> Row:
        """Who answers where, and what runs unasked."""
        agent, model, folder = self._names()
        session, around = self.session, self.around
        left = [f" agentkit  {agent}", model, folder]
        room = max(0, columns - 2)
        unasked = (around.approval, *(f"{tool}: allowed" for tool in around.allowed)) if around else ()
        end = clip(printable(BETWEEN.join(unasked)), room)  # this is seen before anything else
        if session and session.conversation:
            label = printable(f"#{session.conversation}")
            end = f"{clip(label, min(columns // 2, room - width(end) - 2))}  {end}".strip()
        start = clip(BETWEEN.join(printable(each) for each in left if each), max(0, columns - width(end) - 3))
        return ((start, "bold"), (" " * (columns - width(start) - width(end) - 1), ""), (f"{end} ", "dim"))

    def status(self, columns: int, chat: Chat, *, whole: bool, has_header: bool) -> Row:
        """What is being done, and how much of everything there is. whole: can all of the question be seen?"""
        left = clip(self.hint or self._doing(chat, whole) + _below(chat), columns - 2)
        parts = self._parts(chat, has_header)
        while parts and width(left + BETWEEN.join(parts)) > columns - 4:
            parts = parts[1:]
        right = BETWEEN.join(parts)
        return ((f" {left}{' ' * (columns - width(left) - width(right) - 2)}{right} ", "status"),)

    def _names(self) -> tuple[str, str, str]:
        folder = self.around.folder if self.around else ""
        if self.session is None:
            return self._agent, self._model, folder
        return self.session.agent, self.session.model, folder

    def _doing(self, chat: Chat, whole: bool) -> str:
        if chat.questions:
            queued = f"{BETWEEN}{len(chat.waiting)} queued" if chat.waiting else ""
            return f"your decision{queued}" if whole else "enlarge to decide · Esc = no"
        if not chat.turn:
            return "ready" if self.session else "starting"
        seconds = time.monotonic() - chat.began
        spinner = SPINNER[int(seconds / SPIN) % len(SPINNER)]
        return f"{spinner} {chat.state} {seconds:.0f}s{BETWEEN}Esc stops"

    def _parts(self, chat: Chat, has_header: bool) -> Sequence[str]:
        """The right end, of which the first give way where there is no room."""
        session, around = self.session, self.around
        agent, model, _ = self._names()
        parts = [] if has_header else [agent, model]
        if around:
            parts.append({"": "", "on": "discord"}.get(around.discord, f"discord {around.discord}"))
            parts.append("" if around.gateway is None else f"gateway {around.gateway}")
            parts.append(f"cron {around.jobs}" if around.jobs else "")
            parts.append(f"hb {_moment(around.next_beat)}" if around.next_beat else "")
        if session and session.tokens and self.window:
            about = "~" * session.estimated
            share = 100 * session.tokens // self.window
            parts.append(f"ctx {about}{share}% {_short(session.tokens)}/{_short(self.window)}")
        used = session.used if session and not chat.turn else chat.used
        parts.append(f"{used} for {model}" if used not in ("", model) else "")
        if session:
            parts.append("read only" if session.locked else "not saved" if session.trouble else "")
        return [printable(each) for each in parts if each]


def _below(chat: Chat) -> str:
    """What the view has left behind."""
    transcript = chat.transcript
    if transcript.at_end:
        return ""
    return f"{BETWEEN}{transcript.new} new below" if transcript.new else f"{BETWEEN}more below: PgDn"


def _moment(seconds: float) -> str:
    """A time of the next days."""
    form = "%H:%M" if seconds - time.time() < 20 * 3600 else "%a %H:%M"
    return time.strftime(form, time.localtime(seconds))


def _short(tokens: int) -> str:
    return str(tokens) if tokens < 1000 else f"{tokens / 1000:.1f}k" if tokens < 100_000 else f"{tokens // 1000}k"
