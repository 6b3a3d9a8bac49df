"""The servers that people mostly use, and which of those on this machine answer right now."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from queue import Empty, SimpleQueue

from . import probe
from .errors import LLMError
from .records import dataclass


@dataclass(frozen=True)
class Server:
    """keys: where one gets a key, "": it runs on this machine and mostly needs none."""

    name: str
    url: str
    keys: str = ""


SERVERS = (
    Server("OpenAI", "https://api.openai.com/v1", "https://platform.openai.com/api-keys"),
    Server("OpenRouter", "https://openrouter.ai/api/v1", "https://openrouter.ai/keys"),
    Server("Ollama", "http://localhost:11434/v1"),
    Server("llama.cpp", "http://localhost:8080/v1"),
    Server("vLLM", "http://localhost:8000/v1"),
    Server("LM Studio", "http://localhost:1234/v1"),
)


def answering(urls: Iterable[str], seconds: float = 1.0) -> set[str]:
    """Those of the addresses where a model server is, all asked at once; one that wants a key is one too.

    seconds: for all of it.
    """
    from . import adapter  # noqa: F401  # what it loads would take a part of the second

    deadline = time.monotonic() + seconds
    asked = list(urls)
    answers: SimpleQueue[tuple[str, bool]] = SimpleQueue()
    for url in asked:
        threading.Thread(target=lambda url=url: answers.put((url, _answers(url, seconds))), daemon=True).start()
    found = set()
    for _ in asked:
        try:
            url, is_there = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            break
        if is_there:
            found.add(url)
    return found


def _answers(url: str, seconds: float) -> bool:
    try:
        probe.models(url, "", seconds)
    except LLMError as error:
        return error.category == "auth"
    except Exception:  # the top of a thread: whatever listens there, it is no server that could be used
        return False
    return True
