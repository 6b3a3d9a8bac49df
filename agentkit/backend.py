"""Who answers requests: the servers of the settings, the demo where there are none, or a node of somebody's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .client import Client
from .failover import Failover
from .ledger import Ledger
from .node import Node
from .profiles import Profiles
from .records import replace
from .settings import Settings

if TYPE_CHECKING:
    from .demo import Demo

OWN = "own"  # the name of a model that is a node, where the settings have none


class Backend:
    """settings: as they are in force, which `start` may change; own: in place of all servers.

    profiles: the keys; ledger: what was spent; is_demo: is it the built-in model?
    """

    def __init__(self, settings: Settings, workspace: Path, own: Node | None = None) -> None:
        if own is not None and settings.demo:
            settings = replace(settings, llm_model=OWN, demo=False)
        self.settings, self._workspace, self._own = settings, workspace, own
        self.is_demo = settings.demo
        self.ledger = Ledger(None if self.is_demo else workspace / ".state" / "usage")
        self.profiles = Profiles(())
        self._clients: dict[int, Client] = {}
        self._demo: Demo | None = None

    def start(self) -> None:
        if self._own is not None:
            return
        if self.is_demo:
            from .demo import CONTEXT_WINDOW, MODEL, Demo  # most people have a model: it need not be loaded

            self._demo = Demo()
            self.settings = replace(
                self.settings,
                llm_base_url=self._demo.start(),
                llm_model=MODEL,
                llm_context_window=CONTEXT_WINDOW,
                llm_more_profiles=(),
                llm_fallback_models=(),
            )
        settings = self.settings
        self.profiles = Profiles(
            settings.profiles, None if self.is_demo else self._workspace / ".state" / "profiles.json"
        )
        for each in settings.profiles:
            self._clients[each.number] = Client(
                each.base_url,
                each.api_key,
                timeout=settings.llm_timeout,
                direct=self.is_demo,
                secrets=settings.secrets,
            )

    def node(self, background: bool = False) -> Node:
        """One that gets a Reply, for one piece of work; background: nobody waits for it."""
        if self._own is not None:
            return self._own
        settings = self.settings
        models = (*settings.llm_fallback_models, settings.llm_model)
        return Failover(self.profiles, self._clients, models, self.ledger, settings.llm_extra, background=background)

    def stop(self) -> None:
        for client in self._clients.values():
            client.close()
        self.profiles.close()
        self.ledger.close()
        if self._demo:
            self._demo.stop()
