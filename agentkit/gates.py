"""The ways in that open and close while the program runs: the gateway and Discord, and their commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .background import HEADLESS, Background
from .channel import Channel
from .command import Command, Order
from .errors import CommandError, SettingsError
from .settings import Settings

if TYPE_CHECKING:
    from .channels.discord import Discord
    from .channels.websocket import Gateway
    from .lanes import Lanes
    from .outbox import Outbox

GATEWAY, DISCORD = "websocket", "discord"  # the channels' names


class Running(Protocol):
    """The App, as far as this needs it; the gateway needs more of it."""

    @property
    def workspace(self) -> Path: ...

    @property
    def outbox(self) -> Outbox: ...

    @property
    def settings(self) -> Settings: ...

    @property
    def channels(self) -> Mapping[str, Channel]: ...

    @property
    def lanes(self) -> Lanes: ...

    def add(self, channel: Channel) -> None: ...

    def remove(self, name: str) -> None: ...

    def tell(self, text: str) -> None:
        """Have the owner know."""

    def take_charge(self) -> None:
        """Be the process that does the background work. Raises SettingsError where another one is."""

    def announce(self, url: str) -> None:
        """Have other processes know where the gateway is; empty: there is none."""


def open_gateway(app: Running, host: str = "", port: int | None = None) -> Gateway:
    """Listen, at the address of the settings where nothing else is given. Raises SettingsError where that cannot be."""
    from .channels.websocket import Gateway  # and with it the methods, which most chats do without

    app.take_charge()
    settings = app.settings
    gateway = Gateway(
        app,  # type: ignore[arg-type]
        host or settings.gateway_host,
        settings.gateway_port if port is None else port,
        settings.gateway_token,
        settings.gateway_origins,
        settings.gateway_max_clients,
    )
    app.add(gateway)
    app.announce(gateway.url)
    return gateway


def open_discord(app: Running) -> Discord:
    """Log in, as the settings say. Raises SettingsError where that cannot be tried."""
    from .channels.discord import Discord

    app.take_charge()
    settings, outbox = app.settings, app.outbox
    discord = Discord(
        settings.discord_bot_token,
        settings.discord_channels,
        settings.discord_allowed_users,
        outbox.put,
        app.tell,
        lambda: outbox.wake(DISCORD),
        app.workspace / ".state" / "discord.seen",
        waits=lambda to: outbox.waits(DISCORD, to),
        ending=lambda: app.lanes.stopping,
    )
    app.add(discord)
    return discord


def cure(is_chat: bool, background: Background) -> str:
    """What to do where another process does the background work, and so has to open the ways in. is_chat: are we a
    chat?"""
    if not background.elsewhere_as(HEADLESS):
        here = "say it here again" if is_chat else "start agentkit serve again"
        words = "this" if is_chat else "/gateway, and /discord if you want that,"
        return f"it is a chat, so say {words} there; or leave that chat, and {here}"
    if url := background.gateway_elsewhere():
        return f"it is agentkit serve, and its gateway is open at {url}"
    again = "say this again" if is_chat else "start it again"
    return f"it is agentkit serve, without a gateway: end it and {again}, or start it as agentkit serve --gateway"


def told(gateway: Gateway) -> str:
    """Where it is, for whoever wants to connect."""
    clients = f"clients: {gateway.clients}"
    return f"The gateway listens at {gateway.url}; the token is in {gateway.token_is_in}; {clients}."


def commands(app: Running) -> list[Command]:
    """/gateway and /discord."""

    def gate(
        name: str,
        opening: Callable[[Running], Any],
        state: Callable[[Any], str],
        has_ended: Callable[[Any], bool] = lambda channel: False,
    ) -> Callable[[Order], str]:
        def run(order: Order) -> str:
            channel = app.channels.get(name if name != "gateway" else GATEWAY)
            if channel is not None and order.rest in ("", "start") and has_ended(channel):
                app.remove(channel.name)
                channel = None
            if order.rest not in ("", "start", "stop", "status"):
                raise CommandError(f"It is /{name}, /{name} status or /{name} stop.")
            if order.rest == "stop":
                if channel is None:
                    raise CommandError(f"/{name} is not open: /{name} opens it.")
                app.remove(channel.name)
                if channel.name == GATEWAY:
                    app.announce("")
                return f"/{name} is closed."
            if channel is None and order.rest == "status":
                return f"/{name} is closed: /{name} opens it."
            if channel is None:
                try:
                    channel = opening(app)
                except SettingsError as error:
                    raise CommandError(str(error)) from None
            return state(channel)

        return run

    words = ("status", "stop")
    own = partial(Command, usage="[status | stop]", now=True, owner=True, choices=lambda session: words)
    return [
        own("gateway", help="let programs in over a WebSocket", run=gate("gateway", open_gateway, told)),
        own(
            "discord",
            help="let people in on Discord",
            run=gate("discord", open_discord, lambda it: str(it.status()), lambda it: bool(it.ended)),
        ),
    ]
