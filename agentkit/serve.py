"""`agentkit serve`: no screen, only the ways in for programs; and `agentkit status`, which asks one that serves."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from .app import App
from .channels.headless import Headless
from .errors import SettingsError
from .events import Notice
from .gates import open_discord, open_gateway, told
from .session import Opening
from .settings import Settings
from .toolbox import Tool

PATIENCE = 10.0  # seconds for a running one to answer


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
        unsaved = app.stop()
        headless.tell_all()
        for line in unsaved:
            print(f"not saved: {line}", file=sys.stderr)


def status(settings: Settings, workspace: Path) -> int:
    """Print how the one stands that serves at the address of the settings; returns the exit code."""
    host, port = settings.gateway_host, settings.gateway_port
    url = f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"
    try:
        found = _asked(url, settings.gateway_token or _token(workspace))
    except (OSError, ValueError) as error:
        why = str(error) or type(error).__name__
        print(f"Nothing answers at {url} ({why}). agentkit serve starts it; GATEWAY_PORT says where.", file=sys.stderr)
        return 1
    for name, value in found.items():
        if name == "lanes":
            value = ", ".join(str(lane["key"]) for lane in value)
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        print(f"{name:12}  {value}".rstrip())
    return 0


def _token(workspace: Path) -> str:
    file = workspace / ".state" / "gateway.token"
    try:
        return file.read_text("ascii").strip()
    except (OSError, ValueError):
        raise SettingsError([f"there is no token in {file}: set GATEWAY_TOKEN, or use --workspace"]) from None


def _asked(url: str, token: str) -> dict[str, Any]:
    """The result of the method `status`. Raises OSError, and ValueError for an answer that is none."""
    from websockets.exceptions import InvalidStatus, WebSocketException
    from websockets.sync.client import connect

    headers = {"Authorization": f"Bearer {token}"}
    try:
        with connect(url, additional_headers=headers, open_timeout=PATIENCE, proxy=None) as connection:
            connection.send(json.dumps({"jsonrpc": "2.0", "method": "status", "id": 1}))
            answer = json.loads(connection.recv(PATIENCE))
    except InvalidStatus as error:
        refused = error.response.status_code == 401
        raise ValueError("the token is another one" if refused else str(error)) from None
    except WebSocketException as error:
        raise ValueError(str(error)) from None
    if not isinstance(answer, dict) or not isinstance(answer.get("result"), dict):
        raise ValueError("it does not know the method")
    found: dict[str, Any] = answer["result"]
    return found
