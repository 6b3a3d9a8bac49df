"""A chat on the full screen beside the process that serves: somebody types, pastes, interrupts, decides, resizes,
scrolls and opens pages."""

from __future__ import annotations

import re
import termios
import threading
import time
from contextlib import suppress
from typing import Any

from ..fullscreen import FullScreen
from ..seeing import PASTE
from .account import Message
from .model import SLOW
from .stage import PATIENCE, Participant, Stage

ENTER, ESC = "\r", "\x1b"
EMPTY = "\x05\x15"  # a key that came too late to decide stands in the input
NAMELY = {"◦ interrupted": "interrupted", "✗": "an error card", "[no answer": "an error card"}
SIZES = ((24, 80), (12, 40), (30, 100), (40, 132), (9, 30))
PAGES = ("\x1bOP", "/help\r", "/status\r", "/list\r", "/usage\r", "/cron\r", "/delivery\r", "/lanes\r")
SCROLLS = ("\x1b[5~", "\x1b[6~", "\x1b[1;5H", "\x1b[1;5F", "\x0f", "\x06")
KEPT = 100_000  # characters of what it has written
READY, BUSY, DECISION = r"^ ready\b", "Esc stops", "your decision|enlarge to decide"


class Chat(Participant):
    """pause: seconds between two things, on average."""

    def __init__(self, stage: Stage, pause: float) -> None:
        super().__init__("t", stage)
        self.pause = pause
        self.screen: FullScreen | None = None
        self.wanted_away, self.away = False, threading.Event()
        self._before: list[Any] = []
        self._times = 0

    # -- as a Participant

    def present(self) -> None:
        if self.screen is None:
            env = {**self.stage.env, "TERM": "xterm-256color"}
            resume = ["--resume"] * (self._times > 0)
            self.away.clear()
            self.screen = FullScreen(self.stage.folder, *resume, env=env)
            self._before = self.screen.modes()
            self._times += 1
            self._see(READY)
        self._say("calm, please")

    def act(self) -> None:
        getattr(self, f"_{self.rng.choice(('say', 'say', 'say', 'paste', 'ask', 'stop', 'look', 'look', 'size'))}")()
        self._rest(self.rng.expovariate(1 / self.pause))

    def idle(self) -> None:
        if self.wanted_away:
            self.wanted_away = False
            self.leave()
            self.away.set()
        self._pump(0.05)

    def leave(self) -> None:
        """Leave as somebody does, and look whether the terminal is as it was."""
        screen = self.screen
        if screen is None:
            return
        self._calm()
        screen.send("\x04")
        try:
            if code := screen.wait(PATIENCE):
                self.account.complain(f"the terminal program ended with {code}: {screen.text[-500:]}")
        except AssertionError as error:
            self.account.complain(f"the terminal program did not end: {str(error)[-500:]}")
        if screen.screen.rfind("\x1b[?1049l") < screen.screen.rfind("\x1b[?1049h"):
            self.account.complain("the terminal is left on the other screen")
        for number, (mode, was) in enumerate(zip(_modes(screen), self._before[:4], strict=True)):
            if mode != was:
                self.account.complain(f"the terminal's settings {number} are {mode:#x}, and were {was:#x}")
        self.stage.told.append(screen.screen[-KEPT:])
        screen.__exit__(None, None, None)
        self.screen = None

    # -- what somebody does

    def _say(self, words: str = "please") -> None:
        message = self._typed(words)
        self._until_over(message)

    def _ask(self) -> None:
        self._until_over(self._typed("asks"))

    def _paste(self) -> None:
        message = self.account.say(self.name, "please")
        lines = "\n".join(f"line {number}" for number in range(self.rng.choice((2, 30))))
        self._open.send(EMPTY)
        self._open.send(PASTE.format(f"{message.marker} please\n{lines}"))
        self._enter(message)
        self._until_over(message)

    def _stop(self) -> None:
        message = self._typed(f"asks, and {SLOW}")
        self._pump(self.rng.uniform(0.0, 0.6))
        self._open.send(ESC)
        self._until_over(message)

    def _look(self) -> None:
        screen = self._open
        if self.rng.random() < 0.5:
            screen.send(self.rng.choice(PAGES))
        else:
            for _ in range(self.rng.randrange(1, 4)):
                screen.send(self.rng.choice(SCROLLS))
                self._pump(0.1)
        self._pump(0.3)
        self._calm()

    def _size(self) -> None:
        for _ in range(self.rng.randrange(1, 5)):
            self._open.resize(*self.rng.choice(SIZES))
            self._pump(0.05)
        self._open.resize(24, 80)

    # -- the screen

    @property
    def _open(self) -> FullScreen:
        assert self.screen is not None
        return self.screen

    def _typed(self, words: str) -> Message:
        self._open.send(EMPTY)
        message = self.account.say(self.name, words, plain=words == "please")
        for word in re.split("(?= )", f"{message.marker} {words}"):
            self._open.send(word)
            self._pump(0.01)
        self._enter(message)
        return message

    def _enter(self, message: Message) -> None:
        """Send it, once the whole of it stands in the input."""
        self._see(rf"> (.|\n)*({message.marker}|pasted|lines)")
        self._open.send(ENTER)
        self._see(rf"› (.|\n)*{message.marker}|{BUSY}|◦|●")

    def _until_over(self, message: Message) -> None:
        """Wait until it is over, decide what is asked, and read what became of it."""
        deadline, screen = time.monotonic() + PATIENCE, self._open
        while not self._is_ready():
            if re.search(DECISION, screen.text):
                self._pump(0.4)  # a key counts only some time after the question came
                if not re.search(DECISION, screen.text):
                    continue
                screen.send(self.rng.choice(("y", "n", "a", ESC)))
            self._pump(0.1)
            if time.monotonic() > deadline:
                self.account.complain(f"{message.marker}: no end on the screen within {PATIENCE:g} s\n{screen.text}")
                return
        below = screen.text.rpartition(f"› {message.marker}")[2]
        how = next((how for words, how in NAMELY.items() if words in below), "answered")
        self.account.ended(message, how)

    def _is_ready(self) -> bool:
        """Is nothing done any more, at two looks in a row?"""
        for _ in range(2):
            if not re.search(READY, self._open.text, re.MULTILINE):
                return False
            self._pump(0.1)
        return True

    def _calm(self) -> None:
        """Close what is open, go to the end, and empty the input."""
        for key in (ESC, ESC, "\x1b[1;5F", "\x05", "\x15"):
            self._pump(0.1)
            self._open.send(key)
        self._pump(0.1)

    def _see(self, pattern: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not re.search(pattern, self._open.text, re.MULTILINE):
            self._pump(0.05)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{pattern!r} did not come; the screen is\n{self._open.text}")

    def _rest(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.stage.gate.is_open:
            self._pump(0.1)

    def _pump(self, seconds: float) -> None:
        if self.screen is None:
            time.sleep(seconds)
            return
        self.screen.pump(seconds)
        if len(self.screen.screen) > 2 * KEPT:
            self.screen.screen = self.screen.screen[-KEPT:]


def _modes(screen: FullScreen) -> list[Any]:
    """The terminal's settings; those before where its end is closed."""
    with suppress(termios.error):
        return screen.modes()[:4]
    return []
