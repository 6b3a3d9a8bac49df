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
TYPE_CHECKING = False
if TYPE_CHECKING:
    from .__main__ import main as main
    from .app import App as App
    from .channel import Channel as Channel
    from .errors import LLMError as LLMError
    from .errors import ToolError as ToolError
    from .events import Answer as Answer
    from .events import Ask as Ask
    from .events import Compacted as Compacted
    from .events import Done as Done
    from .events import Error as Error
    from .events import Event as Event
    from .events import Failover as Failover
    from .events import Heard as Heard
    from .events import Inbound as Inbound
    from .events import Interrupted as Interrupted
    from .events import Notice as Notice
    from .events import Stopped as Stopped
    from .events import Text as Text
    from .events import Thinking as Thinking
    from .events import ToolFinished as ToolFinished
    from .events import ToolStarted as ToolStarted
    from .events import TurnStarted as TurnStarted
    from .node import Flow as Flow
    from .node import Node as Node
    from .scripted import Scripted as Scripted
    from .settings import Settings as Settings
    from .store import Store as Store
    from .toolbox import Scope as Scope
    from .toolbox import tool as tool
    from .turn import Turn as Turn
    from .usetool import Toolbox as Toolbox

_NAMES = {
    "__main__": "main",
    "app": "App",
    "channel": "Channel",
    "errors": "LLMError ToolError",
    "events": "Answer Ask Compacted Done Error Event Failover Heard Inbound Interrupted Notice Stopped Text"
    " Thinking ToolFinished ToolStarted TurnStarted",
    "node": "Flow Node",
    "scripted": "Scripted",
    "settings": "Settings",
    "store": "Store",
    "toolbox": "Scope tool",
    "turn": "Turn",
    "usetool": "Toolbox",
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names.split()}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'agentkit' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"agentkit.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
