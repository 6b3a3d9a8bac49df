"""The commands that tell how things stand: /usage and /status."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from . import __version__
from .command import Command, Order
from .session import Session
from .settings import Settings


def commands(settings: Callable[[], Settings], workspace: Path) -> list[Command]:
    def context(session: Session) -> str:
        tokens, window = session.view.tokens, settings().llm_context_window
        return f"{tokens:,} of {window:,} tokens ({100 * tokens // window} %)"

    def usage(order: Order) -> str:
        spent: dict[str, Counter[str]] = {}
        for model, counted in order.session.said().spent:
            spent.setdefault(model, Counter()).update(counted, requests=1)
        lines = [f"context  {context(order.session)}"]
        for model, tokens in spent.items():
            asked, said = tokens["prompt_tokens"], tokens["completion_tokens"]
            lines.append(f"{model}  requests: {tokens['requests']}, tokens read: {asked:,}, written: {said:,}")
        if not spent:
            lines.append("What it has cost is not known: the server has not said, or nothing is saved yet.")
        return "\n".join(lines)

    def status(order: Order) -> str:
        session: Session = order.session
        view = session.view
        path = session.conversation.path
        saved = view.trouble or (f"saved in {path}" if view.conversation and path.exists() else "not begun")
        if view.locked:
            saved = f"read only here, {path} is open in another process"
        rows = {
            "agentkit": f"{__version__}, process {os.getpid()}",
            "agent": view.agent,
            "model": f"{view.model} at {settings().llm_base_url}",
            "conversation": f"{view.conversation or '(new)'}, {saved}",
            "context": context(session),
            "approval": settings().tool_approval,
            "workspace": str(workspace),
        }
        return "\n".join(f"{name:12}  {value}" for name, value in rows.items())

    return [
        Command("usage", "", "the tokens of this conversation", usage, now=True),
        Command("status", "", "how things stand", status, now=True),
    ]
