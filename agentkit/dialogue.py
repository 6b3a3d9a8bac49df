"""Questions to the person at a terminal: text folded to its width, and answers, typed or pasted, seen or not."""

from __future__ import annotations

import locale
import os
import re
import select
import shutil
import signal
import sys
import termios
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from .printable import printable

PROMPT = "> "
NARROWEST = 20  # columns that text is folded to

_PASTED = re.compile(rb"\x1b\[20[01]~")  # what a terminal puts around it, if somebody has asked it to


def say(text: str = "", indent: str = "", *, whole: bool = False) -> None:
    """Print one paragraph, a name or an address in one piece. indent: before each line but the first; whole: not
    folded, for what is copied."""
    width = max(NARROWEST, (shutil.get_terminal_size().columns or 80) - 1)  # 0: it does not know
    if whole or not sys.stdout.isatty():
        width = sys.maxsize  # whoever reads it folds it
    text = _in_charset(printable(text))
    for line in text.split("\n"):
        folded = textwrap.wrap(
            line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
        )
        print(*(folded or [""]), sep="\n", flush=True)


def ask(question: str, default: str = "") -> str:
    """One line, without the blanks around it; `default`, which is shown, where that is empty.

    Raises EOFError at the end of input, KeyboardInterrupt at Ctrl-C.
    """
    say(f"{question} [{default}]" if default else question)
    print(PROMPT, end="", flush=True)
    line, _ = _line()
    return line.decode("utf-8", "surrogateescape").strip() or default


def choose(question: str, options: Sequence[str], default: int = 1) -> int:
    """The number of the option that is taken, from 1 on. Raises as `ask` does."""
    for number, option in enumerate(options, 1):
        say(f"{number:3}  {option}", indent=" " * 5)
    while True:
        answer = ask(question, str(default))
        if answer.isascii() and answer.isdigit() and 1 <= int(answer[:9]) <= len(options):
            return int(answer)
        say(f"That is no number from 1 to {len(options)}.")


def ask_secretly(question: str) -> str:
    """The same for what nobody may see, of any length; "" where nothing was typed.

    A terminal passes on lines of 4095 bytes at most, so this one is read as it is typed; what was pasted on further
    lines is dropped, not taken for the next answer, where it would be shown.
    """
    say(question)
    while True:
        typed, more = _typed()
        if not more:
            return typed.decode("utf-8", "surrogateescape").strip()
        say("What was pasted goes on in another line: paste it as one line.")


def _typed() -> tuple[bytes, bool]:
    """A line that is not shown, and whether there was more after it."""
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    mode = termios.tcgetattr(terminal)
    mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON)
    mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
    mode[6][termios.VSUSP] = b"\0"  # shells give a program that goes on its echo back
    try:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, mode)
        print(PROMPT, end="", flush=True)
        return _line()
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
        print(flush=True)


def _line() -> tuple[bytes, bool]:
    """What the terminal gives up to the end of a line, and whether it gave more. Raises EOFError."""
    terminal, line = sys.stdin.fileno(), bytearray()
    with _waking() as signals:
        while True:
            ready, _, _ = select.select([terminal, signals], [], [])
            if terminal not in ready:
                os.read(signals, 1024)
                continue
            piece = os.read(terminal, 1 << 16)
            typed, end, rest = _PASTED.sub(b"", piece).replace(b"\r", b"\n").partition(b"\n")
            if not piece or _edit(line, typed):
                raise EOFError
            if end:
                return bytes(line), bool(rest.strip())


@contextmanager
def _waking() -> Iterator[int]:
    """A descriptor that can be read once a signal has come: one that comes just before a read does not end it."""
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    before = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    try:
        yield awake
    finally:
        signal.set_wakeup_fd(before)
        os.close(awake)
        os.close(wake)


def _edit(line: bytearray, typed: bytes) -> bool:
    """Put what was typed at the end of the line, as a terminal does; True: Ctrl-D on an empty one."""
    for byte in typed:
        if byte in b"\x08\x7f":
            del line[-1:]
        elif byte in b"\x15\x17":  # Ctrl-U, Ctrl-W
            line.clear()
        elif byte != 4:
            line.append(byte)
        elif not line:
            return True
    return False


def _in_charset(text: str) -> str:
    """As the terminal can show it: the locale says what that is, whatever encoding Python has chosen for itself."""
    charset = locale.nl_langinfo(locale.CODESET) if sys.stdout.isatty() else sys.stdout.encoding
    for name in (charset or "ascii", sys.stdout.encoding or "ascii"):
        text = text.encode(name, "replace").decode(name)
    return text
