"""`agentkit status`: asks the one that serves how it stands, and says it in lines."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from . import atomic
from .background import Background
from .channels.access import is_token
from .errors import AgentkitError
from .printable import printable, span
from .settings import Settings

PATIENCE = 10.0  # seconds for a running one to answer
NARROWEST, WIDEST = 40, 80  # columns
SHOWN = 10  # lanes

STRANGER = "is no gateway of agentkit: GATEWAY_HOST and GATEWAY_PORT say where that is."


class Unanswered(AgentkitError):
    """Nobody tells how it stands; its text says what to do."""


def status(settings: Settings, workspace: Path) -> int:
    """Print how the one stands that serves this workspace, or is at the address of the settings; returns the exit
    code, which is 1 where there is none."""
    try:
        found = _found(settings, workspace)
    except Unanswered as error:
        print(error, file=sys.stderr)
        return 1
    width = max(NARROWEST, min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns))
    for name, value in _rows(found):
        print("\n".join(_folded(name, printable(value), width)))
    return 0


# -- asking


def _found(settings: Settings, workspace: Path) -> dict[str, Any]:
    """What the method `status` returns. Raises Unanswered."""
    host, port = settings.gateway_host, settings.gateway_port
    stated = f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"
    is_chosen = (host, port) != (Settings.gateway_host, Settings.gateway_port)
    # Whoever holds the workspace has noted where it listens, which may be at a port that was given to it alone.
    holder = Background(workspace / ".state", "", lambda: None, lambda seconds: None, lambda text: None)
    noted = holder.gateway_elsewhere()
    urls = [stated, noted] if is_chosen else [noted, stated]
    urls = [each for each in dict.fromkeys(urls) if each and not each.endswith(":0")]
    token = settings.gateway_token or _token(workspace)
    failure = f"Nothing listens, as far as is known. {_cure(holder)}"
    for url in urls:
        try:
            return {"address": url, **_asked(url, token)}
        except OSError as error:
            why = error.strerror or str(error) or type(error).__name__
            failure = f"Nothing answers at {url} ({why}). {_cure(holder)}"
        except ValueError as error:
            raise Unanswered(f"What answers at {url} {error}") from None
    raise Unanswered(failure)


def _cure(holder: Background) -> str:
    if not (who := holder.elsewhere()):
        return "agentkit serve starts it; GATEWAY_PORT says where."
    if holder.elsewhere_as("serve"):
        return f"Process {who} serves without a gateway: end it, and start it as agentkit serve --gateway."
    return f"Process {who}, a chat, has the workspace: say /gateway there."


def _token(workspace: Path) -> str:
    file = workspace / ".state" / "gateway.token"
    try:
        token = atomic.small(file, 4096).decode("ascii").strip()
    except (OSError, ValueError):
        how = f"agentkit serve starts it (there is no {file}; GATEWAY_TOKEN or --workspace name another one)"
        raise Unanswered(f"Nobody serves here: {how}.") from None
    if not is_token(token):  # nor is it shown: it may be something else that is secret
        raise Unanswered(f"What {file} holds is no token: agentkit serve makes a new one; or set GATEWAY_TOKEN.")
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


# -- saying it


def _rows(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What there is to say, by name; another version may tell less, or more."""

    def number(name: str) -> str:
        value = found.get(name)
        return f"{value:,}" if isinstance(value, (int, float)) else "?"

    uptime = found.get("uptime")
    since = span(uptime) if isinstance(uptime, (int, float)) else "?"
    yield "agentkit", f"{found.get('version')}, process {found.get('process')}, up {since}{_ending(found)}"
    yield "workspace", str(found.get("workspace"))
    yield "model", str(found.get("model"))
    clients = found.get("clients")
    others = f"{clients - 1:,}" if isinstance(clients, int) else "?"  # but for us
    yield "gateway", f"{found.get('address')}, clients: {others}"
    if found.get("discord"):
        yield "discord", str(found["discord"])
    yield "turns", f"{number('running')} running, {number('waiting')} waiting"
    lanes = [each for each in _list(found.get("lanes")) if isinstance(each, dict)]
    for lane in lanes[:SHOWN]:
        yield "", _lane(lane)
    if len(lanes) > SHOWN:
        yield "", f"{len(lanes) - SHOWN} more"
    failed = " (/delivery failed lists them)" if found.get("letters_failed") else ""
    yield "letters", f"{number('letters_pending')} waiting, {number('letters_failed')} failed{failed}"
    yield "heartbeat", _moment(found.get("next_heartbeat"))
    job = found.get("next_job")
    yield "job", f"{_moment(job.get('at'))}: {job.get('id')}" if isinstance(job, dict) else _moment(None)
    if overdue := _list(found.get("overdue")):
        yield "overdue", ", ".join(map(str, overdue))
    yield "tokens", f"{number('tokens_in_all_today')} today, of which unasked: {number('tokens_today')}"
    error = found.get("last_error")
    yield "last error", f"{_moment(error.get('at'))}: {error.get('text')}" if isinstance(error, dict) else "none"


def _ending(found: Mapping[str, Any]) -> str:
    return "; it is about to end" if found.get("ending") else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _lane(lane: Mapping[str, Any]) -> str:
    seconds, waiting = lane.get("seconds"), lane.get("waiting")
    state = f"running {span(seconds)}" if isinstance(seconds, (int, float)) else "waits for others"
    background = " (background)" if lane.get("background") else ""
    return f"{lane.get('key')}  {state}{background}" + (f", {waiting} waiting" if waiting else "")


def _moment(text: Any) -> str:
    """A time as iso() has it, for a person; none is planned where there is none."""
    try:
        then = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return "none planned"
    is_today = then.date() == datetime.now(then.tzinfo).date()
    return f"{then:%H:%M:%S}" if is_today else f"{then:%Y-%m-%d %H:%M}"


def _folded(name: str, value: str, width: int) -> list[str]:
    """A row, in as many lines as it takes; what is found by its name stays in one piece, such as a path."""
    indent = " " * 12
    lines = [line for part in value.split("\n") for line in textwrap.wrap(part, width - 12, break_on_hyphens=False)]
    first, *rest = lines or [""]
    return [f"{name:11} {first}".rstrip(), *(f"{indent}{each}" for each in rest)]
