"""What the demo model answers, by fixed rules: small talk, calls for plain requests, quotes for a summary."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .wishes import Request, requested

Message = dict[str, Any]

_SETTINGS = "LLM_BASE_URL, LLM_API_KEY, LLM_MODEL and LLM_CONTEXT_WINDOW"
_CAN = "list the files, read X, write TEXT to X, run CMD, find files PATTERN, search for X, count to N"
_WHO = (
    "I am the demo model built into agentkit: a few fixed rules on this computer, without any understanding. "
    f'I can do these: {_CAN}. Ask me "how do I connect a real model" when you want real answers.'
)
_LOST = (
    "I am only the built-in demo model and have no understanding, so I cannot answer that. "
    f"I can do these: {_CAN}. To connect a real model, set {_SETTINGS} in the environment or in .env; "
    'ask me "how do I connect a real model" for examples.'
)
_CONNECT = f"""\
This is the demo model. To connect a real one, set {_SETTINGS} in the environment, or in a file named .env in the \
working directory, and start agentkit again. Any server that speaks OpenAI's chat completions will do.

For OpenAI:

    LLM_BASE_URL=https://api.openai.com/v1
    LLM_API_KEY=sk-...
    LLM_MODEL=gpt-4o-mini
    LLM_CONTEXT_WINDOW=128000

For Ollama on this computer, after `ollama pull qwen3` and `OLLAMA_CONTEXT_LENGTH=16384 ollama serve`:

    LLM_BASE_URL=http://localhost:11434/v1
    LLM_API_KEY=ollama
    LLM_MODEL=qwen3
    LLM_CONTEXT_WINDOW=16384

Then `agentkit doctor` checks them."""

# Small talk, in small letters and without punctuation.
_CHAT = (
    (
        r"(?:hi|hello|hey|hiya|howdy|greetings|good (?:morning|afternoon|evening|day))(?: (?:there|again|all|demo))*",
        f"Hello! {_WHO}",
    ),
    (r"how are you.{0,20}", _WHO),
    (r"(?:many )?(?:thanks|thank you|thx|cheers)(?: .{0,30})?", "You're welcome, says the demo model."),
    (r"(?:good ?bye|bye|see you|good night)(?: .{0,30})?", "Goodbye, says the demo model."),
    (r"(?:who|what) are you|what(?:'?s| is) your name|(?:what|which) model .*|are you .*", _WHO),
    (r"(?:what can|what do) (?:you|i) do.*|help(?: me)?|how (?:do|does) (?:you|this|it) work|commands", _WHO),
    (
        r".*\b(?:connect|configure|set ?up|use|switch|add|change|need|get)\b.*"
        r"\b(?:models?|llm|openai|ollama|api key|provider)\b.*",
        _CONNECT,
    ),
)
_RESULTS = {
    "list_dir": "Here is what is in the folder:\n",
    "read_file": "Here is what the file says:\n",
    "write_file": "Done. ",
    "bash": "Here is what the command said:\n",
    "glob": "These files match:\n",
    "grep": "Here is what I found:\n",
}
_TIME = re.compile(r"^\[\d{4}-\d\d-\d\d \d\d:\d\d(?: [+-]\d\d:\d\d)?\](?:\s|$)")  # that a message begins with
_QUOTES = "The user said, in the demo model's quotes:"
_TALK = r"(?:conversation|chat|session|discussion|dialogue|transcript|exchange|messages|history|so far|above|talk)"
_ASKS_SUMMARY = (
    rf"\btl;?dr\b|\b(?:summar(?:y|i[sz]e)|condense|compact|recap)\b.{{0,80}}\b{_TALK}\b"
    rf"|\b{_TALK}\b.{{0,80}}\b(?:summar(?:y|i[sz]e)|title)\b|^\W*(?:please )?(?:summar(?:y|i[sz]e)|recap)\b\W*$"
)


def reply(messages: Sequence[Message], tools: Sequence[Message]) -> tuple[str, list[Request]]:
    """The demo's answer to a chat-completions request: its text, and its calls as (tool, arguments).

    Always the same for the same request. After a tool's result it never calls a tool again.
    """
    said = _said(messages, "user")
    last, text = (messages[-1].get("role"), _text(messages[-1])) if messages else ("", "")
    system = "\n".join(_said(messages, "system"))
    if not tools and _asks_summary(system):
        return _summary(said, system), []
    if last == "tool":
        return _about_results(messages), []
    if last != "user":
        return _WHO, []
    offered = {name: function for name, function in map(_function, tools) if name}
    if calls := requested(text):
        name = calls[0][0]
        if name not in offered:
            return f"For that the demo model would use the tool {name}, which is not offered here.", []
        return "", [(name, _accepted(arguments, offered[name])) for name, arguments in calls]
    if _asks_summary(text):
        return _summary(said, text), []
    if number := _count(text):
        return " ".join(map(str, range(1, number + 1))), []
    return _chat(text), []


def _chat(text: str) -> str:
    spoken = " ".join(re.sub(r"[^\w\s']", " ", text[:300].lower().replace("’", "'")).split())
    for pattern, answer in _CHAT:
        if re.fullmatch(rf"(?:(?:hi|hello|hey)(?: there)? )?(?:{pattern})(?: please)?", spoken):
            return answer
    return _LOST


def _text(message: Message) -> str:
    """The words of a message, whose content may be in parts, without the time."""
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "\n".join(part for part in parts if isinstance(part, str))
    text = content if isinstance(content, str) else ""
    return _TIME.sub("", text) if message.get("role") == "user" else text


def _said(messages: Sequence[Message], role: str) -> list[str]:
    return [_text(message) for message in messages if message.get("role") == role]


def _function(tool: Message) -> tuple[str, Message]:
    function = tool.get("function")
    if not isinstance(function, dict):
        return "", {}
    name = function.get("name")
    return (name if isinstance(name, str) else ""), function


def _accepted(arguments: dict[str, str], function: Message) -> dict[str, str]:
    """The arguments without a path that the tool has no parameter for, as some searches have none."""
    parameters = function.get("parameters")
    known = parameters.get("properties") if isinstance(parameters, dict) else None
    if not isinstance(known, dict) or "path" in known:
        return arguments
    return {name: value for name, value in arguments.items() if name != "path"}


def _count(text: str) -> int:
    """How far a text wants to be counted to, at most 1000; 0 if it does not."""
    pattern = r"(?:(?:please|can you|could you) )*count (?:slowly |up |from 1 )*to (\d+)\b.{0,20}"
    wanted = re.fullmatch(pattern, text.strip(), re.IGNORECASE)
    return min(1000, int(wanted[1][:9])) if wanted else 0


def _about_results(messages: Sequence[Message]) -> str:
    """An answer made of the tools' results that the conversation ends with."""
    start = len(messages)
    while start and messages[start - 1].get("role") == "tool":
        start -= 1
    calls = messages[start - 1].get("tool_calls") if start else None
    calls = [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    names = {str(call.get("id")): _function(call)[0] for call in calls}
    results = [(names.get(str(each.get("tool_call_id")), ""), _text(each).strip()) for each in messages[start:]]
    share = max(200, 3000 // len(results))
    return "\n\n".join(_about(tool, result, share) for tool, result in results)


def _about(tool: str, result: str, share: int) -> str:
    if refused := re.match(r"(?:error: )?the user (?:refused|denied) this call(?:: (.*))?", result, re.DOTALL):
        return "You refused that, so it was not done." + (f" Your reason: {refused[1][:share]}" if refused[1] else "")
    if result.lower().startswith("error:"):
        return f"That did not work: {_cut(result[6:].strip(), share)}"
    if result in ("", "(no output)"):
        return "That is done; there was no output."
    if result.startswith("[interrupted]"):
        return "That was interrupted before it was done."
    lines = result.splitlines()
    shown = _cut("\n".join(lines[:20]), share)
    left = len(lines) - len(shown.splitlines())
    more = f"\n... and {left} more lines" if left else ""
    return _RESULTS.get(tool, f"Here is what {tool or 'the tool'} answered:\n") + shown + more


def _asks_summary(text: str) -> bool:
    # Only its ends: a request stands before or after what it is about.
    ends = text if len(text) < 1000 else f"{text[:500]}\n{text[-500:]}"
    return re.search(_ASKS_SUMMARY, ends, re.IGNORECASE | re.DOTALL) is not None


def _summary(said: Sequence[str], wanted: str) -> str:
    """What the user said, quoted briefly: on one line if a TLDR, a title or a line is wanted, else as a list."""
    quotes: list[str] = []
    for text in said:
        transcript = re.findall(r"(?im)^[^\w\n]{0,3}user\W{0,3}[:\]>][*\s]{0,3}(\S.*)$", text)
        if _QUOTES in text:
            quotes += re.findall(r"(?m)^- (.+)$", text)  # an earlier summary: its quotes live on
        if transcript:
            quotes += [_TIME.sub("", quote) for quote in transcript]
        elif _QUOTES not in text and not _asks_summary(text):
            quotes.append(text)
    quotes = [" ".join(quote.split()) for quote in quotes if quote.strip()]
    if not quotes and said:  # one message that holds the request and what it is about
        quotes = [line.strip() for line in said[-1].splitlines() if line.strip() and not _asks_summary(line)]
    if not quotes:
        return "Nothing has been said yet."
    if re.search(r"\btl;?dr\b|\b(?:one|single)[- ](?:line|sentence)\b|\btitle\b", wanted, re.IGNORECASE):
        return _cut("; ".join(re.split(r"(?<=[.!?])\s", quote, maxsplit=1)[0] for quote in quotes), 100)
    return "\n".join([_QUOTES, *(f"- {_cut(quote, 200)}" for quote in quotes[-20:])])


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else re.sub(r"\s\S{0,40}$", "", text[: limit - 1]) + "…"
