"""What stays on the normal screen once the program has left it: the last answer, and how to go on."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...invocation import command
from ...printable import printable
from ..wording import way_back

if TYPE_CHECKING:
    from ...session import View
    from .blocks import Answer


def farewell(
    session: View | None, usual: str, options: Sequence[str], answer: Answer | None, unsent: Sequence[str]
) -> None:
    """session: how it stands, None: the program has not come up; usual: the agent one talks to without asking for
    another; options: with which the program was started, to be given again; answer: the last one; unsent: messages
    that were queued."""
    if answer is not None:
        print(printable(answer.text).strip("\n"), *["" if answer.whole else "[it breaks off here]"], sep="\n")
    for text in unsent:
        print(f"not sent: {printable(text)}", file=sys.stderr)
    if session is None or not session.messages:
        if unsent:
            print(way_back(), file=sys.stderr)
    elif session.trouble:
        print(f"not all of it is saved: {session.trouble}", file=sys.stderr)
    else:
        agent = [] if session.agent == usual else ["--agent", session.agent]
        again = command(*options, *agent, "--session", session.conversation)
        print(f"{again} goes on with this conversation.")
