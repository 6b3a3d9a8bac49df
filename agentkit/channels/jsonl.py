"""Events as JSON, one a line on stdout, for programs: `agentkit run --json`."""

from __future__ import annotations

import json

from ..events import Event
from .console import Console


class Jsonl(Console):
    """Each event of the turn as it happens; an approval is asked for on stderr, where that is a terminal."""

    def render(self, event: Event) -> None:
        self.write(json.dumps(event.record()) + "\n")
