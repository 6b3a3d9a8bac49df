"""A draft in the person's own editor, which has the terminal meanwhile."""

from __future__ import annotations

import os
import shlex
import signal
import stat
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from subprocess import Popen

USUAL = "vi"
LAST_WORDS = 1.0  # seconds it has to end before the program leaves
LARGEST = 10 << 20  # bytes of what comes back


class Stopped(NamedTuple):
    """It was suspended: so are we, or the shell would not have its terminal back."""


class Edited(NamedTuple):
    """It has ended. text: of the draft; trouble: why there is none, empty: all is well."""

    text: str
    trouble: str = ""


class Elsewhere:
    """lend: starts a program on the terminal, raises OSError; tell: gets Stopped and Edited, from another thread.
    Raises OSError where the editor cannot be started."""

    def __init__(
        self,
        text: str,
        environ: Mapping[str, str],
        lend: Callable[[Sequence[str]], Popen[bytes]],
        tell: Callable[[Stopped | Edited], None],
    ) -> None:
        from tempfile import mkstemp  # takes as long to load as the first frame has

        self.command = environ.get("VISUAL") or environ.get("EDITOR") or USUAL
        self._tell = tell
        number, name = mkstemp(".md", "agentkit-")
        self._path = Path(name)
        try:
            with open(number, "w", encoding="utf-8", errors="replace") as file:
                file.write(text)
            self._process = lend([*_words(self.command), str(self._path)])
        except OSError:
            self._path.unlink()
            raise
        self._waiting = threading.Thread(target=self._wait, name="editor", daemon=True)
        self._waiting.start()

    def end(self) -> None:
        """Have it end, and its file go: the program leaves. One that does not want to keeps both."""
        with suppress(OSError):
            os.kill(self._process.pid, signal.SIGTERM)
            os.kill(self._process.pid, signal.SIGCONT)
        self._waiting.join(LAST_WORDS)

    def _wait(self) -> None:
        while os.WIFSTOPPED(status := os.waitpid(self._process.pid, os.WUNTRACED)[1]):
            self._tell(Stopped())
        self._process.returncode = code = os.waitstatus_to_exitcode(status)
        try:
            self._tell(self._read() if code == 0 else Edited("", f"{_how(code)} of {self.command}"))
        finally:
            with suppress(OSError):
                self._path.unlink()

    def _read(self) -> Edited:
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # it may be a pipe by now
            with open(fd, "rb") as file:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    return Edited("", "what was left in its place is no file")
                data = file.read(LARGEST + 1)
        except OSError as error:
            return Edited("", f"what was written cannot be read ({error.strerror})")
        if len(data) > LARGEST:
            return Edited("", f"what was written is longer than {LARGEST >> 20} MB")
        return Edited(data.decode("utf-8", "replace").removesuffix("\n"))


def _words(command: str) -> list[str]:
    """A command with arguments, as shells take it."""
    try:
        return shlex.split(command) or [USUAL]
    except ValueError:  # an open quote
        return [command]


def _how(code: int) -> str:
    return f"exit {code}" if code > 0 else f"signal {-code}"
