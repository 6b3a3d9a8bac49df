"""The bytes of a streamed answer in, JSON values out, each with the name of its event.

Follows the event-stream format of the WHATWG HTML standard and, where servers in the field stray from it, takes what
is meant: events without blank lines between them, JSON without `data:`, a whole JSON body in answer to a stream
request.
"""

from __future__ import annotations

import json
from typing import Any

from .errors import LLMError

LIMIT = 64 << 20  # bytes of one line, or of a body that is not a stream: no honest answer is that long
FAULT = "error"  # the name of an event that tells of one; its value may be a text that is no JSON

Value = tuple[str, Any]  # the name of the event, empty for none, and what it says


class EventStream:
    """The events of one answer, however its bytes are cut.

    done: [DONE] has come: nothing that follows counts; error: why nothing more can be read; junk: how the answer
    begins, if it is neither a stream nor JSON.
    """

    def __init__(self) -> None:
        self.done = False
        self.error: LLMError | None = None
        self.junk = ""
        self._rest: list[bytes] = []  # the line that is not complete yet
        self._size = 0  # of _rest and _open together
        self._after_cr = False
        self._open: list[str] = []  # an event, or a body, that goes on over several lines
        self._open_is_data = True  # else: lines without a field name
        self._name = ""
        self._values: list[Value] = []  # that are new

    def feed(self, chunk: bytes) -> list[Value]:
        """Take the next bytes; returns what is complete now."""
        for line in self._lines(chunk):
            if line and not (self.done or self.error):
                self._line(line)
            elif self._open or self._name:
                self._blank_line()
        return self._new()

    def end(self) -> list[Value]:
        """The bytes have ended: what was held back until now."""
        if not (self.done or self.error) and self._rest:
            self._line(b"".join(self._rest).decode("utf-8", "replace"))
            self._rest.clear()
        if not (self.done or self.error) and self._open:
            self._close_open(at_end=True)
        return self._new()

    def _new(self) -> list[Value]:
        values, self._values = self._values, []
        return values

    # -- bytes to lines

    def _lines(self, chunk: bytes) -> list[str]:
        """The lines that are complete now: LF, CRLF or CR ends one."""
        if b"\r" in chunk or (self._after_cr and chunk):
            if self._after_cr and chunk.startswith(b"\n"):
                chunk = chunk[1:]  # the other half of a CRLF
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        complete, newline, rest = chunk.rpartition(b"\n")
        if newline and self._rest:
            complete = b"".join((*self._rest, complete))
            self._rest.clear()
            self._size = 0
        if rest:
            self._rest.append(rest)
            self._grow(len(rest))
        return complete.decode("utf-8", "replace").split("\n") if newline else []

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > LIMIT:
            self._fail("The server's answer has no end; nothing of it was kept. Try again.")

    # -- lines to values

    def _line(self, line: str) -> None:
        if line.startswith("data:"):
            if not self._open_is_data:
                self._open.clear()
            if self._open or not self._value(line[5:]):
                self._hold(line[5:], is_data=True)
        elif line.startswith("event:"):
            self._name = line[6:].strip()
        elif line.startswith("error:"):  # llama.cpp's name for the data of an error
            self._name = FAULT
            self._line("data:" + line[6:])
        elif line.startswith("\ufeff"):
            self._line(line[1:])
        elif not line.startswith((":", "id:", "retry:")) and (self._open or not self._value(line)):
            self._hold(line, is_data=False)

    def _blank_line(self) -> None:
        """The end of an event; only JSON without `data:` may hold blank lines itself."""
        if self._open and self._open_is_data:
            self._close_open(at_end=False)
        self._name = ""

    def _hold(self, line: str, is_data: bool) -> None:
        """Keep a line that is no JSON by itself: it may be so together with those that follow."""
        if not self._open:
            self._open_is_data = is_data
            if not is_data and not line.lstrip().startswith(("{", "[")):
                self.junk = self.junk or line.strip()[:60]
        self._open.append(line)
        self._grow(len(line))

    def _close_open(self, at_end: bool) -> None:
        """An event over several lines is complete, or the bytes have ended."""
        text = "\n".join(self._open)
        self._open.clear()
        self._size = 0
        if self._value(text):
            return
        if self._name == FAULT:
            self._values.append((FAULT, text))
        elif not at_end:
            self._fail("The server sent a broken event; nothing of it was kept. Try again.")

    def _value(self, text: str) -> bool:
        """Take the data of one event; False where it is not complete JSON."""
        try:
            self._values.append((self._name, json.loads(text)))
        except (ValueError, RecursionError):
            self.done = text.strip() == "[DONE]"
            return self.done
        return True

    def _fail(self, message: str) -> None:
        self.error = self.error or LLMError("server_error", message)
