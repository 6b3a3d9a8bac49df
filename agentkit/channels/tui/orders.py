"""The commands that only a screen has: /copy and /mouse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ...channel import TERMINAL
from ...command import Command, Order
from ...errors import CommandError
from .transcript import Transcript

LARGEST = 74_994  # bytes: terminals take 100,000 of base64 (xterm) and more


class Screen(Protocol):
    mouse: bool

    def copy(self, text: str) -> None: ...


def commands(screen: Callable[[], Screen], transcript: Transcript) -> list[Command]:
    """They run in the main thread: only what was typed there may use the screen."""

    def copy(order: Order) -> str:
        here = _here(order)
        if order.rest not in ("", "last", "code"):
            raise CommandError("It is /copy, /copy last or /copy code.")
        text = transcript.last_code if order.rest == "code" else transcript.last_answer
        if not text:
            raise CommandError("There is no code to copy yet." if order.rest == "code" else "There is no answer yet.")
        if (size := len(text.encode("utf-8", "replace"))) > LARGEST:
            raise CommandError(f"It is too long for a terminal's clipboard ({size:,} bytes): /export writes a file.")
        here.copy(text)
        lines = text.count("\n") + 1
        return f"Copied {lines} line{'s' * (lines > 1)}, where the terminal allows it (OSC 52)."

    def mouse(order: Order) -> str:
        here = _here(order)
        if order.rest not in ("", "on", "off"):
            raise CommandError("It is /mouse, /mouse on or /mouse off.")
        here.mouse = order.rest == "on" if order.rest else not here.mouse
        return "The wheel scrolls here." if here.mouse else "The mouse is the terminal's: select and copy with it."

    def _here(order: Order) -> Screen:
        if order.inbound.source != TERMINAL:
            raise CommandError("That is for the terminal.")
        return screen()

    return [
        Command(
            "copy",
            "[code | last]",
            "the last answer, or its code, to the clipboard",
            copy,
            now=True,
            choices=lambda session: ("code", "last"),
        ),
        Command(
            "mouse",
            "[on | off]",
            "who has the mouse: the chat, to scroll, or the terminal, to select",
            mouse,
            now=True,
            choices=lambda session: ("on", "off"),
        ),
    ]
