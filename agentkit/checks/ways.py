"""The ways in: may the gateway listen where it is to, does Discord know the bot?"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

from ..channels.access import SHORTEST
from ..channels.door import listen
from ..errors import LLMError, SettingsError
from ..fetch import json_at
from ..settings import Settings
from . import Case, Finding, disk, endpoint, fail, ok, split, warn

TOKEN = re.compile(r"[\w-]{20,}\.[\w-]{5,}\.[\w-]{20,}")
APPLICATION = "https://discord.com/api/v10/applications/@me"
PORTAL = "https://discord.com/developers/applications"
COPY = f"copy it anew from {PORTAL}, page Bot"
MESSAGE_CONTENT = 1 << 18 | 1 << 19  # flags of an application: the intent, and the same for bots in few servers
PATIENCE = 10.0  # seconds


def gateway(case: Case, settings: Settings) -> Iterator[Finding]:
    """As `agentkit serve` would open it."""
    host, port, token = settings.gateway_host, settings.gateway_port, settings.gateway_token
    if token and len(token) < SHORTEST:
        cure = f"take {SHORTEST} or more that nobody can guess"
        yield warn(f"GATEWAY_TOKEN has {len(token)} characters", cure)
    if settings.gateway_origins:
        yield ok(f"web pages that may connect to the gateway: {', '.join(settings.gateway_origins)}")
    if url := disk.background(case.workspace).gateway_elsewhere():
        yield ok(f"the gateway is open at {url}")
        return
    try:
        listener, is_local = listen(host, port, alone=not token)
    except SettingsError as error:
        words, cure = split(str(error), "GATEWAY_HOST and GATEWAY_PORT choose another address")
        reason = error.__context__
        is_taken = isinstance(reason, OSError) and reason.errno == errno.EADDRINUSE
        yield warn(words, cure) if is_taken else fail(words, cure)
        return
    listener.close()
    whom = "" if is_local else ", where other machines reach it, unencrypted"
    yield ok(f"the gateway can listen at {host}, port {port or 'any that is free'}{whom}")


def discord(settings: Settings, address: str = APPLICATION) -> Iterator[Finding]:
    """address: where Discord tells about the bot's own application. It is asked as the bot does, without a proxy."""
    token = settings.discord_bot_token
    if proxy := endpoint.proxy_for(address):
        cure = "let discord.com and gateway.discord.gg be reached without one"
        yield warn(f"the proxy {proxy} is not used for Discord", cure)
    if not TOKEN.fullmatch(token):
        yield warn("DISCORD_BOT_TOKEN does not look like the token of a bot", COPY)
    try:
        found = json_at(address, token, PATIENCE, scheme="Bot", direct=True)
        name, flags = str(found["name"]), int(found["flags"])
    except LLMError as error:
        if error.status == 401:
            yield fail("Discord refuses DISCORD_BOT_TOKEN", COPY)
        else:
            what, _ = split(error.message, "")
            yield fail(f"Discord cannot be asked: {what}", "check the network, or try again later")
        return
    except (ValueError, LookupError, TypeError):
        yield warn("what Discord tells of the bot is not understood", "agentkit serve --discord says more")
        return
    if flags & MESSAGE_CONTENT:
        yield ok(f"Discord knows the bot {name}")
    else:
        words = f"Discord knows the bot {name}, and does not let it read messages"
        yield fail(words, f"switch on its Message Content Intent at {PORTAL}, page Bot")
    if not settings.discord_allowed_users:
        cure = "DISCORD_ALLOWED_USERS names whom it hears; until then tools that ask are refused there"
        yield warn("anybody on Discord may talk to the bot", cure)
