"""The ways in that open and close while the program runs: the gateway, and its command."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from .channel import Channel
from .command import Command, Order
from .errors import CommandError, SettingsError
from .settings import Settings

if TYPE_CHECKING:
    from .channels.websocket import Gateway

GATEWAY = "websocket"  # the channel's name


class Running(Protocol):
    """The App, as far as this needs it; its gateway needs more of it."""

    @property
    def settings(self) -> Settings: ...

    @property
    def channels(self) -> Mapping[str, Channel]: ...

    def add(self, channel: Channel) -> None: ...

    def remove(self, name: str) -> None: ...


def open_gateway(app: Running, host: str = "", port: int | None = None) -> Gateway:
    """Listen, at the address of the settings where nothing else is given. Raises SettingsError where that cannot be."""
    from .channels.websocket import Gateway  # and with it the methods, which most chats do without

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
    return gateway


def told(gateway: Gateway) -> str:
    """Where it is, for whoever wants to connect."""
    clients = f"clients: {gateway.clients}"
    return f"The gateway listens at {gateway.url}; the token is in {gateway.token_is_in}; {clients}."


def commands(app: Running) -> list[Command]:
    """/gateway."""

    def gateway(order: Order) -> str:
        channel = app.channels.get(GATEWAY)
        if order.rest not in ("", "start", "stop", "status"):
            raise CommandError("It is /gateway, /gateway status or /gateway stop.")
        if order.rest == "stop":
            if channel is None:
                raise CommandError("The gateway is not open: /gateway opens it.")
            app.remove(GATEWAY)
            return "The gateway is closed."
        if channel is None and order.rest == "status":
            return "The gateway is closed: /gateway opens it."
        if channel is None:
            try:
                channel = open_gateway(app)
            except SettingsError as error:
                raise CommandError(str(error)) from None
        return told(channel)  # type: ignore[arg-type]

    usage = "[status | stop]"
    return [Command("gateway", usage, "let programs in over a WebSocket, on this machine", gateway, now=True)]
