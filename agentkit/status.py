"""The commands that tell how things stand: /status, /usage and /profiles."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from . import __version__
from .command import Command, Order, is_owner
from .errors import CommandError
from .lanes import LaneView
from .ledger import OLDER, Ledger, Spent
from .printable import span
from .profiles import Profiles, Standing
from .session import Session
from .settings import Profile, Settings

if TYPE_CHECKING:
    from .beside import Beside

SHOWN = 12  # characters that a key has at the least, whose last four are shown


def commands(
    settings: Callable[[], Settings],
    profiles: Callable[[], Profiles],
    ledger: Ledger,
    lanes: Callable[[], Sequence[LaneView]],
    workspace: Path,
    beside: Callable[[], Beside],
) -> list[Command]:
    def context(session: Session) -> str:
        tokens, window = session.view.tokens, settings().llm_context_window
        return f"{tokens:,} of {window:,} tokens ({100 * tokens // window} %)"

    def usage(order: Order) -> str:
        here: dict[str, Spent] = {}
        for day, model, counted in order.session.said().spent:
            here.setdefault(day, {}).setdefault(model, Counter()).update(counted, requests=1)
        unknown = ["  not known: the server has not said, or nothing is saved yet"]
        lines = [f"context  {context(order.session)}", "this conversation", *(_bill(here) or unknown)]
        if is_owner(order.inbound):
            lines += "in all", *(_bill(ledger.days()) or unknown)
        return "\n".join(lines)

    def status(order: Order) -> str:
        session: Session = order.session
        view = session.view
        path = session.conversation.path
        saved = view.trouble or (f"saved in {path}" if view.conversation and path.exists() else "not begun")
        if view.locked:
            saved = f"read only here, {path} is open in another process"
        answered = f", {view.used} answered last" if view.used not in ("", view.model) else ""
        rows = {
            "agentkit": f"{__version__}, process {os.getpid()}",
            "agent": view.agent,
            "model": f"{view.model} at {settings().llm_base_url}{answered}",
            "conversation": f"{view.conversation or '(new)'}, {saved}",
            "context": context(session),
            "approval": settings().tool_approval,
            "workspace": str(workspace),
        }
        rows["background"] = _background(beside())
        return "\n".join(f"{name:12}  {value}" for name, value in rows.items())

    def keys(order: Order) -> str:
        word, number = [*order.rest.split(maxsplit=1), "", ""][:2]
        if word == "reset":
            numbers = [str(each.number) for each in profiles().profiles]
            if number and number not in numbers:
                raise CommandError(f"There is no profile {number}: there are {', '.join(numbers)}.")
            profiles().reset(int(number) if number else None)
        elif word:
            raise CommandError("It is /profiles, /profiles reset or /profiles reset N.")
        lines = [
            line
            for each in profiles().profiles
            for line in _rows(each, profiles().standing(each.number), profiles().now())
        ]
        models = dict.fromkeys((order.session.view.model, *settings().llm_fallback_models, settings().llm_model))
        return "\n".join((*lines, f"models  {', then '.join(models)}"))

    def busy(order: Order) -> str:
        return "\n".join(map(_lane, lanes())) or "Nothing is running."

    own = partial(Command, now=True, owner=True)
    return [
        Command("usage", "", "the tokens of this conversation, and of all, by day and model", usage, now=True),
        own("status", "", "how things stand", status),
        Command(
            "profiles",
            "[reset [n]]",
            "the keys: which rest, and why; reset has them tried again",
            keys,
            now=True,
            owner=True,
        ),
        own("lanes", "", "the sessions that are busy, and what waits in them", busy),
    ]


def _background(beside: Beside) -> str:
    """What goes on beside the chats, and since when nobody has looked."""
    if who := beside.background.elsewhere():
        return f"process {who} does it"
    if not beside.background.runs:
        return "nobody does it"
    late = beside.overdue()
    names = f"; overdue: {', '.join(late)}" if late else ""
    return f"here; the clock has ticked at {_moment(beside.clock.last)}{names}"


def _lane(lane: LaneView) -> str:
    state = f"running {span(lane.seconds)}" if lane.seconds is not None else "waits for others"
    queued = f", {lane.waiting} waiting" if lane.waiting else ""
    return f"{lane.key}  {state}{' (background)' if lane.background else ''}{queued}"


def _bill(days: Mapping[str, Spent]) -> list[str]:
    """Rows by day and model, the last day first."""
    ordered = sorted(days, key=lambda day: (day != OLDER, day), reverse=True)
    rows = [(day, model, spent) for day in ordered for model, spent in sorted(days[day].items())]
    width = max((len(model) for _, model, _ in rows), default=0)
    return [
        f"  {day:10}  {model:{width}}  requests: {spent['requests']:,}, {_tokens(spent)}" for day, model, spent in rows
    ]


def _tokens(spent: Mapping[str, int]) -> str:
    read, written = spent["prompt_tokens"], spent["completion_tokens"]
    return f"tokens read: {read:,}, written: {written:,}" if read or written else "tokens not told by the server"


def _rows(profile: Profile, standing: Standing, now: float) -> tuple[str, str]:
    key = profile.api_key
    shown = f"...{key[-4:]}" if len(key) >= SHOWN else "a short key" if key else "no key"
    rests = [
        f"rests {span(rest.until - now)} ({', '.join(filter(None, (rest.category.replace('_', ' '), model)))})"
        for model, rest in sorted(standing.rests.items())
    ]
    failures = [f"{name.replace('_', ' ')} {times}" for name, times in sorted(standing.failures.items())]
    return (
        f"{profile.number}  {urlsplit(profile.base_url).netloc}  {shown}  {'; '.join(rests) or 'ready'}",
        f"   last answer {_moment(standing.used)}, failures: {', '.join(failures) or 'none'}",
    )


def _moment(seconds: float) -> str:
    if not seconds:
        return "never"
    then = datetime.fromtimestamp(seconds)
    return f"{then:%H:%M:%S}" if then.date() == datetime.now().date() else f"{then:%Y-%m-%d %H:%M}"
