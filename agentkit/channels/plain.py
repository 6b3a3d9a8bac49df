"""Answers for people, line by line: to stdout, with everything else on stderr, in words that can be read out.

On a terminal the answer streams; into a pipe or a file it goes when it is complete.
"""

from __future__ import annotations

from ..events import (
    ENDINGS,
    Compacted,
    Done,
    Error,
    Event,
    Failover,
    Heard,
    Interrupted,
    Notice,
    Stopped,
    Text,
    ToolFinished,
    ToolStarted,
)
from ..printable import printable
from .console import Console
from .wording import compacted, failover, heard, in_words

SHOWN_LINES = 5  # of a tool's output


class Plain(Console):
    """The accessible chat of `--plain`, pipes, and `agentkit run`."""

    _last = ""  # character of the line that is open on stdout

    def render(self, event: Event) -> None:
        self._render(event)
        if event.turn == self._turn and isinstance(event, (ToolStarted, Failover, *ENDINGS)):
            self.writing = False

    def _render(self, event: Event) -> None:
        if isinstance(event, Text):
            if self._out.isatty():
                self.writing, self._last = True, (self._last + event.text)[-1:]
                self.write(printable(event.text))
        elif isinstance(event, Done):
            self._done(event)
        elif isinstance(event, ToolStarted):
            self._break_line()
            self.tell(f"{event.name}: {in_words(event.arguments)}".rstrip())
        elif isinstance(event, ToolFinished):
            state = "ok" if event.ok else "failed"
            self.tell(f"  {state}, {event.seconds:.1f} s\n{_first_lines(event.output)}".rstrip())
        elif isinstance(event, Heard):
            self._break_line()
            self.tell(heard(event))
        elif isinstance(event, Notice):
            self._break_line()
            self.tell(f"{'note' if event.level == 'info' else event.level}: {event.text}")
        elif isinstance(event, Failover):
            again = " The answer begins again." if self.writing else ""
            self._break_line()
            if said := failover(event):
                self.tell(f"note: {said}{again}")
        elif isinstance(event, Compacted):
            self._break_line()
            self.tell(f"note: {compacted(event)}")
        elif isinstance(event, Error):
            self._break_line()
            self.tell(f"error: {event.message}")
        elif isinstance(event, Interrupted):
            self._break_line()
            self.tell("interrupted")

    def _done(self, event: Done) -> None:
        streamed = self.writing and event.turn == self._turn  # a command's answer may come in between
        self._break_line()
        if event.text and not streamed and not isinstance(event, Stopped):  # a notice has said why there is no answer
            self.write(printable(event.text).removesuffix("\n") + "\n")

    def _break_line(self) -> None:
        """End the line that the answer has left open."""
        if self._last and self._last != "\n":
            self.write("\n")
        self._last = ""


def _first_lines(output: str) -> str:
    lines = printable(output).strip("\n").split("\n")
    shown = [f"  | {line[:200]}" for line in lines[:SHOWN_LINES]] if output.strip() else []
    if (more := len(lines) - SHOWN_LINES) > 0:
        shown.append(f"  | ({more} more line{'s' * (more > 1)})")
    return "\n".join(shown)
