"""The commands about who answers whom: /bindings, /bind, /unbind and /route."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from .command import Command, Order
from .completion import Choice
from .errors import CommandError
from .events import Inbound, Notice
from .routes import Address, Routes, session_key
from .session import Session
from .workspace import Agent

KEYS = "peer_id, guild_id, account_id, channel, default"


def commands(
    routes: Routes,
    agent: Callable[[str], Agent],
    chosen: Callable[[Inbound], str],
    make: Callable[[], str],
    names: Callable[[Session], Iterable[Choice]],
) -> list[Command]:
    """agent: the one of an id; chosen: the id of who answers a message now; make: has a workspace there to write to,
    and says so if it is new; names: the ids to choose from."""

    def bindings(order: Order) -> str:
        rows = [
            f"tier {each.tier}  {each.match_key} {each.match_value} -> {each.agent_id}, priority {each.priority}"
            for each in sorted(routes.bindings(), key=lambda each: (each.tier, -each.priority))
        ]
        return "\n".join((*(rows or ["There are no bindings: /bind makes one."]), *routes.problems()))

    def bind(order: Order) -> str:
        words = order.rest.split()
        if not 3 <= len(words) <= 4:
            raise CommandError(f"It is /bind AGENT KEY VALUE [PRIORITY]; KEY is one of {KEYS}.")
        try:
            priority = int(words[3]) if len(words) == 4 else 0
        except ValueError:
            raise CommandError(f"A priority is a whole number, not {words[3]}.") from None
        if told := make():
            order.run.publish(Notice(told))
        made = routes.bind(words[0], words[1], words[2], priority)
        return f"{made.agent_id} answers {made.match_key} {made.match_value} (tier {made.tier}, priority {priority})."

    def unbind(order: Order) -> str:
        words = order.rest.split()
        if not 2 <= len(words) <= 3:
            raise CommandError("It is /unbind KEY VALUE [AGENT]; /bindings shows them.")
        gone = routes.unbind(*words)
        if not gone:
            raise CommandError("There is no such binding: /bindings shows them.")
        return f"{gone} binding{'s are' if gone > 1 else ' is'} gone."

    def route(order: Order) -> str:
        words = order.rest.split()
        if not 2 <= len(words) <= 4:
            raise CommandError("It is /route CHANNEL PEER [ACCOUNT [GUILD]].")
        address = Address(*words)
        inbound = Inbound("", address.channel, address.peer, account=address.account, guild=address.guild)
        answering = agent(chosen(inbound))
        lines = routes.explain(address)
        if answering.id != routes.resolve(address):
            lines.insert(0, f"{answering.id} answers: it was chosen with /switch, or --agent. Without that:")
        key = session_key(answering.id, answering.dm_scope, address)
        return "\n".join((*lines, f"The session is {key}."))

    group = partial(Command, group="agent", owner=True)
    return [
        group("bindings", "", "who answers whom", bindings),
        group("bind", "<agent> <key> <value> [priority]", "have an agent answer what matches", bind, choices=names),
        group("unbind", "<key> <value> [agent]", "take that back", unbind),
        group("route", "<channel> <peer> [account] [guild]", "who would answer, and why", route),
    ]
