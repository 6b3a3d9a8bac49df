"""Answers for people, line by line: to stdout, with everything else on stderr, in words that can be read out.

On a terminal the answer streams; into a pipe or a file it goes when it is complete.
"""

from __future__ import annotations

from ..events import Done, Error, Event, Interrupted, Notice, Text, ToolFinished, ToolStarted
from ..printable import printable
from .console import Console

SHOWN_LINES = 5  # of a tool's output


class Plain(Console):
    """The accessible chat of `--plain`, pipes, and `agentkit run`."""

    _streamed = ""  # of the reply that is coming in

    def render(self, event: Event) -> None:
        if isinstance(event, Text):
            if self._out.isatty():
                self._write(event.text)
        elif isinstance(event, Done):
            self._done(event)
        elif isinstance(event, ToolStarted):
            self._break_line()
            arguments = " ".join(str(value) for value in event.arguments.values())
            self.tell(f"{event.name}: {_first_lines(arguments, 1)}")
        elif isinstance(event, ToolFinished):
            state = "ok" if event.ok else "failed"
            self.tell(f"  {state}, {event.seconds:.1f} s\n{_first_lines(event.output, SHOWN_LINES, '  | ')}".rstrip())
        elif isinstance(event, Notice):
            self._break_line()
            self.tell(f"{'note' if event.level == 'info' else event.level}: {event.text}")
        elif isinstance(event, Error):
            self._break_line()
            self.tell(f"error: {event.message}")
        elif isinstance(event, Interrupted):
            self._break_line()
            self.tell("interrupted")

    def _done(self, event: Done) -> None:
        if not self._out.isatty():
            self._out.write(event.text if event.text.endswith("\n") else f"{event.text}\n")
            self._out.flush()
            return
        if not self._streamed:
            self._write(event.text)
        self._break_line()

    def _write(self, text: str) -> None:
        self._streamed = (self._streamed + text)[-1:]
        self._out.write(printable(text))
        self._out.flush()

    def _break_line(self) -> None:
        """End the line that the answer has left open."""
        if self._streamed and self._streamed != "\n":
            self._out.write("\n")
            self._out.flush()
        self._streamed = ""


def _first_lines(text: str, count: int, margin: str = "") -> str:
    lines = printable(text).strip().split("\n")
    cut = len(lines) - count
    shown = [f"{margin}{line[:200]}" for line in lines[:count]]
    if cut > 0:
        shown.append(f"{margin}({cut} more line{'s' * (cut > 1)})") if margin else shown.append("...")
    return "\n".join(shown) if margin else " ".join(shown)
