"""`agentkit serve`: no screen, only the ways in for programs and people; told what to do by signals.

SIGTERM and SIGINT end it: nothing more is begun, what runs has a few seconds to end by itself and is interrupted then,
everything is saved. SIGHUP has it look at its files. systemd hears of all of it (Type=notify).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

from . import __version__, firstborn, heap, supervisor
from . import log as logs
from .app import App
from .cancel import Cancel
from .channels.headless import Headless
from .channels.teller import Teller
from .gates import open_discord, open_gateway
from .printable import span
from .reload import Stated, reload
from .session import Opening
from .settings import Settings
from .toolbox import Tool

log = logging.getLogger("agentkit")

GRACE = 5.0  # seconds that what runs has to end by itself
PATIENCE = 1.0  # seconds that each part has to end, when it was interrupted


def serve(
    settings: Settings, tools: Sequence[Tool], ways: Collection[str], host: str, port: int | None, log_json: bool
) -> int:
    """Serve until a signal comes; returns the exit code. Raises SettingsError.

    ways: gateway, discord; empty: the gateway, and Discord where its token is set; host, port: empty and None for those
    of the settings. Once a signal has come, the process is gone within 10 s, whatever is called after this.
    """
    if (code := firstborn.look_after()) is not None:
        return code
    heap.share()
    teller = Teller(log_json)
    teller.begin()
    server = _Server(settings, tools, ways, host, port, teller)
    try:
        return server.headless.loop(server.begin, server.reload, server.end)
    finally:
        teller.end()


class _Server:
    """What is begun, read anew and ended, in this order, by one thread."""

    def __init__(
        self,
        settings: Settings,
        tools: Sequence[Tool],
        ways: Collection[str],
        host: str,
        port: int | None,
        teller: Teller,
    ) -> None:
        self.headless = Headless()
        self._settings, self._tools, self._ways, self._host, self._port = settings, tools, ways, host, port
        self._teller = teller
        self._service = supervisor.address()
        self._began = time.monotonic()
        self._app: App | None = None
        self._stated: Stated | None = None

    def begin(self) -> None:
        settings, ways = self._settings, self._ways
        self._stated = Stated(settings)
        self._app = app = App(settings, [self.headless], self._tools, opening=Opening(resume=True))
        logs.start(app.workspace, settings.log_level, settings.secrets, self._teller)
        where = f"workspace {app.workspace}, {_model(settings)}"
        log.info("agentkit %s begins: process %d, %s", __version__, os.getpid(), where)
        app.make()
        app.start()
        stands = []
        if "gateway" in ways or not ways:
            stands.append(open_gateway(app, self._host, self._port).url)
        if "discord" in ways or (not ways and settings.discord_bot_token):
            stands.append(open_discord(app).status())
        where = ", ".join(stands)
        log.info("agentkit has begun, in %.1f s: %s", time.monotonic() - self._began, where)
        supervisor.tell(self._service, supervisor.READY, f"STATUS={where}")

    def end(self, why: str, hurry: Cancel) -> None:
        """why: the name of a signal, or words; hurry: another one has come."""
        began = time.monotonic()
        supervisor.tell(self._service, supervisor.STOPPING)
        log.info("agentkit ends: %s", why)
        if self._app is not None:
            for each in self._app.stop(PATIENCE, GRACE, hurry):
                log.error("not saved: %s", each)
        ran = span(time.monotonic() - self._began)
        log.info("agentkit has ended: %s, after %s, in %.1f s", why, ran, time.monotonic() - began)

    def reload(self) -> None:
        assert self._app is not None and self._stated is not None
        supervisor.tell(self._service, *supervisor.reloading())
        try:
            reload(self._app, self._stated)
        finally:
            supervisor.tell(self._service, supervisor.READY)


def _model(settings: Settings) -> str:
    """Who answers, and where, without anything that is secret."""
    if settings.demo:
        return "the built-in demo model"
    hosts = dict.fromkeys(urlsplit(each.base_url).netloc.rpartition("@")[2] for each in settings.profiles)
    models = ", then ".join((settings.llm_model, *settings.llm_fallback_models))
    return f"model {models} at {', '.join(hosts)}, keys: {len(settings.profiles)}"
