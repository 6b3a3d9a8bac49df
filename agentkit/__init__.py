"""agentkit: a small agent framework, and the terminal agent built on it.

    from agentkit import tool

    @tool
    def count_words(path: str) -> str:
        \"\"\"Count the words in a text file.\"\"\"
        return f"{len(open(path).read().split())} words"

The names below are loaded when they are first used.
"""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["App", "Channel", "Flow", "Node", "Store", "Turn", "tool"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .app import App
    from .channel import Channel
    from .node import Flow, Node
    from .store import Store
    from .toolbox import tool
    from .turn import Turn

_HOMES = {
    "App": "app",
    "Channel": "channel",
    "Flow": "node",
    "Node": "node",
    "Store": "store",
    "Turn": "turn",
    "tool": "toolbox",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'agentkit' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"agentkit.{_HOMES[name]}"), name)
