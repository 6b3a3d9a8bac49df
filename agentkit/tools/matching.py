"""Finding a pattern in the lines of texts, within a limited time.

A regular expression can take for ever, and holds up the whole program meanwhile: no thread can stop it. So it is
matched by a process of its own, which can be killed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ..errors import ToolError
from ..toolbox import Scope

Find = Callable[[str], list[tuple[int, int]]]  # text -> number of each line that matches, and where in it

# Messages are JSON or UTF-8, four bytes of length before each: first the pattern, answered by what is wrong with it,
# then texts, each answered by what was found. It answers only what it has read to the end, so neither side can wait
# for the other for ever. The limits are for the case that nobody is left to kill it.
_CHILD = """
import json, re, sys
try:
    import resource
    for limit, value in ((resource.RLIMIT_CPU, 60), (resource.RLIMIT_AS, 2 << 30)):
        resource.setrlimit(limit, (value, value))
except (ImportError, ValueError, OSError):
    pass
def take():
    return sys.stdin.buffer.read(int.from_bytes(sys.stdin.buffer.read(4), "big"))
def give(answer):
    data = json.dumps(answer).encode()
    sys.stdout.buffer.write(len(data).to_bytes(4, "big") + data)
    sys.stdout.buffer.flush()
pattern, flags, most = json.loads(take())
try:
    search = re.compile(pattern, flags).search
except (re.error, OverflowError, RecursionError) as error:
    give(str(error) or type(error).__name__)
    sys.exit()
give("")
while text := take():
    found = []
    for number, line in enumerate(text.decode().split("\\n"), 1):
        if match := search(line):
            found.append((number, match.start()))
            if len(found) == most:
                break
    give(found)
"""


class TooSlow(Exception):
    """The time is over."""


@contextmanager
def finder(pattern: str, ignore_case: bool, most: int, seconds: float, scope: Scope) -> Iterator[Find]:
    """What finds `pattern`, a regular expression, in texts that are not empty: at most `most` lines of each.

    seconds: that all of it may take; after that it raises TooSlow. Raises ToolError for a malformed pattern.
    """
    if "\n" in pattern:
        raise ToolError("the pattern has a line break in it: lines are searched one by one")
    if not re.search(r"[\\.^$*+?{}\[\]|()]", pattern):
        yield lambda text: _find_plain(pattern, ignore_case, most, text)
        return
    child = _Child(scope)
    timer = threading.Timer(seconds, child.out_of_time)
    try:
        with scope.cancel.on_set(child.process.kill):
            timer.start()
            try:
                wrong = child.ask(json.dumps((pattern, re.IGNORECASE if ignore_case else 0, most)))
            except TooSlow:
                wrong = "it takes too long to understand"
            if wrong:
                raise ToolError(f"the pattern is no regular expression: {wrong} (put \\ before a character to find it)")
            yield child.ask
    finally:
        timer.cancel()
        child.end()


def _find_plain(words: str, ignore_case: bool, most: int, text: str) -> list[tuple[int, int]]:
    if ignore_case:
        words, text = words.casefold(), text.casefold()
    if words not in text:
        return []
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if (at := line.find(words)) >= 0:
            found.append((number, at))
            if len(found) == most:
                break
    return found


class _Child:
    def __init__(self, scope: Scope) -> None:
        self._cancel, self._late = scope.cancel, False
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _CHILD],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=dict(scope.environment),
                start_new_session=True,
            )
        except OSError as error:
            raise ToolError(f"no process for the search could be started: {error.strerror}") from None

    def ask(self, text: str) -> Any:
        assert self.process.stdin and self.process.stdout
        data = text.encode()
        answer = b""
        with suppress(BrokenPipeError):
            self.process.stdin.write(len(data).to_bytes(4, "big") + data)
            self.process.stdin.flush()
            answer = self.process.stdout.read(int.from_bytes(self.process.stdout.read(4), "big"))
        if answer:
            return json.loads(answer)
        self._cancel.check()
        if self._late:
            raise TooSlow
        raise ToolError("the search needs too much memory: use a simpler pattern")

    def out_of_time(self) -> None:
        self._late = True
        self.process.kill()

    def end(self) -> None:
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):  # what it has not taken any more
                pipe and pipe.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
