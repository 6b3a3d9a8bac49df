"""`agentkit serve`: no screen, only the ways in for programs; and `agentkit status`, which asks one that serves."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from . import atomic
from .app import App
from .channels.access import is_token
from .channels.headless import Headless
from .errors import SettingsError
from .events import Notice
from .gates import open_discord, open_gateway, told
from .session import Opening
from .settings import Settings
from .toolbox import Tool

PATIENCE = 10.0  # seconds for a running one to answer

STRANGER = "is no gateway of agentkit: GATEWAY_HOST and GATEWAY_PORT say where that is."


def serve(
    settings: Settings, tools: Sequence[Tool], ways: Collection[str], host: str, port: int | None, log_json: bool
) -> int:
    """Serve until a signal comes; returns the exit code. Raises SettingsError.

    ways: gateway, discord; empty: the gateway, and Discord where its token is set; host, port: empty and None for those
    of the settings.
    """
    from . import log

    headless = Headless(log_json)
    app = App(settings, [headless], tools, opening=Opening(resume=True))
    app.make()
    log.start(app.workspace, settings.log_level, settings.secrets)
    try:
        app.start()
        if "gateway" in ways or not ways:
            headless.show(Notice(told(open_gateway(app, host, port))))
        if "discord" in ways or (not ways and settings.discord_bot_token):
            headless.show(Notice(open_discord(app).status()))
        return headless.loop()
    finally:
        headless.end(f"not saved: {each}" for each in app.stop())


def status(settings: Settings, workspace: Path) -> int:
    """Print how the one stands that serves at the address of the settings; returns the exit code."""
    host, port = settings.gateway_host, settings.gateway_port
    url = f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"
    try:
        found = _asked(url, settings.gateway_token or _token(workspace))
    except OSError as error:
        why = error.strerror or str(error) or type(error).__name__
        print(f"Nothing answers at {url} ({why}). agentkit serve starts it; GATEWAY_PORT says where.", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"What answers at {url} {error}", file=sys.stderr)
        return 1
    width = max(map(len, found), default=0)
    for name, value in found.items():
        if name == "lanes":
            value = ", ".join(str(lane["key"]) for lane in value)
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        print(f"{name:{width}}  {value}".rstrip())
    return 0


def _token(workspace: Path) -> str:
    file = workspace / ".state" / "gateway.token"
    try:
        token = atomic.small(file, 4096).decode("ascii").strip()
    except (OSError, ValueError):
        how = f"agentkit serve starts it (there is no {file}; GATEWAY_TOKEN or --workspace name another one)"
        raise SettingsError([f"nothing serves here: {how}"]) from None
    if not is_token(token):  # nor is it shown: it may be something else that is secret
        raise SettingsError([f"what {file} holds is no token: agentkit serve makes a new one; or set GATEWAY_TOKEN"])
    return token


def _asked(url: str, token: str) -> dict[str, Any]:
    """The result of the method `status`. Raises OSError where nobody answers, and ValueError, which says what the one
    that does is like, and what to do."""
    from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException
    from websockets.sync.client import connect

    headers = {"Authorization": f"Bearer {token}"}
    try:
        with connect(url, additional_headers=headers, open_timeout=PATIENCE, proxy=None) as connection:
            connection.send(json.dumps({"jsonrpc": "2.0", "method": "status", "id": 1}))
            answer = json.loads(connection.recv(PATIENCE))
    except InvalidStatus as error:
        raise ValueError(_refused(error.response.status_code)) from None
    except InvalidHandshake:
        raise ValueError(STRANGER) from None
    except WebSocketException:
        raise ValueError("has closed the connection before it said how it stands. Try again.") from None
    except ValueError:
        raise ValueError(STRANGER) from None
    if not isinstance(answer, dict) or not isinstance(answer.get("result"), dict):
        raise ValueError(STRANGER)
    found: dict[str, Any] = answer["result"]
    return found


def _refused(status: int) -> str:
    if status == 401:
        return "has another token: GATEWAY_TOKEN and --workspace say which one is used here."
    if status == 403:
        return "is not known by that address (HTTP 403): set GATEWAY_HOST to the one that it listens at."
    if status == 503:
        return "lets nobody in now (HTTP 503): it has too many clients, or is about to end."
    return f"{STRANGER} It has said HTTP {status}."
