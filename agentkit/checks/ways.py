"""The ways in: may the gateway listen where it is to, does Discord know the bot?"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator

from .. import probe
from ..errors import LLMError
from ..settings import Settings
from . import Finding, fail, ok, warn

TOKEN = re.compile(r"[\w-]{20,}\.[\w-]{5,}\.[\w-]{20,}")
APPLICATION = "https://discord.com/api/v10/applications/@me"
PORTAL = "https://discord.com/developers/applications"
MESSAGE_CONTENT = 1 << 18 | 1 << 19  # flags of an application: the intent, and the same for bots in few servers
PATIENCE = 10.0  # seconds


def gateway(settings: Settings) -> Iterator[Finding]:
    host, port = settings.gateway_host, settings.gateway_port
    where = f"{host}:{port}"
    try:
        info = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError:
        yield fail(f"GATEWAY_HOST {host} is no address of this machine", "GATEWAY_HOST=127.0.0.1 is the usual one")
        return
    if not str(info[4][0]).startswith(("127.", "::1")) and not settings.gateway_token:
        yield warn(f"the gateway at {where} would be open to others", "set GATEWAY_TOKEN to a long secret of yours")
    with socket.socket(info[0], info[1]) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(info[4])
        except OSError as error:
            cure = "agentkit status says whether that is agentkit; GATEWAY_PORT names another port"
            yield warn(f"the gateway cannot listen at {where} now ({error.strerror})", cure)
            return
    yield ok(f"the gateway can listen at {where}")


def discord(settings: Settings, address: str = APPLICATION) -> Iterator[Finding]:
    """address: where Discord tells about the bot's own application."""
    token = settings.discord_bot_token
    if not TOKEN.fullmatch(token):
        yield warn("DISCORD_BOT_TOKEN does not look like the token of a bot", f"copy it anew from {PORTAL}, page Bot")
    try:
        found = json.loads(probe.fetched(address, token, PATIENCE, scheme="Bot"))
        name, flags = found["name"], found["flags"]
    except LLMError as error:
        if error.status == 401:
            yield fail("Discord refuses DISCORD_BOT_TOKEN", f"copy it anew from {PORTAL}, page Bot")
        else:
            yield fail(f"Discord cannot be asked: {error.message}", "check the network and the proxy")
        return
    except (ValueError, LookupError, TypeError):
        yield warn("what Discord tells of the bot is not understood", "try agentkit serve --discord, which says more")
        return
    if not flags & MESSAGE_CONTENT:
        yield fail(
            f"Discord knows the bot {name}, without the intent message content", f"switch it on at {PORTAL}, page Bot"
        )
    else:
        yield ok(f"Discord knows the bot {name}")
    if not settings.discord_allowed_users:
        cure = "DISCORD_ALLOWED_USERS names whom it hears; until then tools that ask are refused there"
        yield warn("anybody on Discord may talk to the bot", cure)
