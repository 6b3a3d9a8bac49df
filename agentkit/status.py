"""The commands that tell how things stand: /usage and /status."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from . import __version__
from .command import Command, Order
from .events import Inbound
from .session import Session
from .settings import Settings


def commands(
    session_of: Callable[[Inbound], Session], settings: Callable[[], Settings], workspace: Path
) -> list[Command]:
    def context(session: Session) -> str:
        tokens, window = session.view.tokens, settings().llm_context_window
        return f"{tokens:,} of {window:,} tokens ({100 * tokens // window} %)"

    def usage(order: Order) -> str:
        session = session_of(order.inbound)
        spent: dict[str, Counter[str]] = {}
        for each in session.past():
            if "usage" in each:
                spent.setdefault(str(each.get("model")), Counter()).update(each["usage"], requests=1)
        lines = [f"context  {context(session)}"]
        for model, tokens in spent.items():
            asked, said = tokens["prompt_tokens"], tokens["completion_tokens"]
            lines.append(f"{model}  {tokens['requests']} requests, {asked:,} tokens read, {said:,} written")
        if not spent:
            lines.append("The server has not said yet what this conversation has used.")
        return "\n".join(lines)

    def status(order: Order) -> str:
        session = session_of(order.inbound)
        view = session.view
        saved = view.trouble or (f"saved in {session.conversation.path}" if view.conversation else "not begun")
        rows = {
            "agentkit": f"{__version__}, process {os.getpid()}",
            "agent": view.agent,
            "model": f"{view.model} at {settings().llm_base_url}",
            "conversation": f"{view.conversation or '(new)'}, {view.messages} messages, {saved}",
            "context": context(session),
            "approval": settings().tool_approval,
            "workspace": str(workspace),
        }
        return "\n".join(f"{name:12}  {value}" for name, value in rows.items())

    return [
        Command("usage", "", "the tokens of this conversation", usage, now=True),
        Command("status", "", "how things stand", status, now=True),
    ]
