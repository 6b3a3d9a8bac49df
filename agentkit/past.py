"""What a conversation's file says: its lines, read as the conversation they were.

Whatever happened to the file, what can be read of it becomes one that is fit for the next request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from . import jsonl
from .calls import object_of
from .store import Message, Store, mended


class Said(NamedTuple):
    """What a conversation's file holds.

    seen: the messages as the model sees them; whole: all that were said and not taken back, also where a compaction
    has replaced them; next: the number of the next one; tokens: what its last request took, or would; spent: for each
    request the day, the model and what the server counted; kept: the paths of texts that were too long for the model;
    broken: how many lines could not be read.
    """

    seen: list[Message]
    whole: list[Message]
    next: int
    tokens: int
    spent: list[tuple[str, str, dict[str, int]]]
    kept: list[str]
    broken: int


def read(data: bytes, pending: Sequence[Mapping[str, Any]] = ()) -> Said:
    """What a file says, and records after it that are not in it yet."""
    records, broken = jsonl.parse(data)
    live, whole = Store(), Store()
    kept: list[Any] = []
    spent: list[tuple[str, str, dict[str, int]]] = []
    before: list[list[Message]] = []  # the messages as they were before each compaction
    for record in (*records, *map(dict, pending)):
        if _is_usage(record.get("usage")):
            spent.append((str(record.get("at", ""))[:10], str(record.get("model", "")), record["usage"]))
        elif "usage" not in record and record.get("role") == "assistant" and isinstance(record.get("model"), str):
            spent.append((str(record.get("at", ""))[:10], record["model"], {}))  # the server has not counted
        if _is_message(record):
            kept.append(record.get("kept"))
            live.append(record)
            whole.append(record)
        elif _is_rewind(record):
            while not live.apply(record) and before:
                live.load(before.pop(), next=live.next)
            whole.apply(record)
        elif _is_compaction(record):
            kept += [*record.get("kept", ()), *(each.get("kept") for each in record["head"])]
            messages = list(live.context.messages)
            if live.apply(record):
                before.append(messages)
            else:
                broken += 1
        elif record.get("type") != "spent":
            broken += 1
    seen = mended(live.context.messages)
    counted = (each["usage"].get("total_tokens", 0) for each in reversed(seen) if "usage" in each)
    tokens = next(counted, 0) or live.tokens
    paths = [path for path in kept if isinstance(path, str)]
    return Said(seen, whole.context.messages, max(live.next, whole.next), tokens, spent, paths, broken)


# -- what a line may be: files are there to be edited, and what is put in is sent to a server


def _is_message(record: dict[str, Any]) -> bool:
    """Is this a message as this program writes them? What may be missing is filled in."""
    role, content = record.get("role"), record.setdefault("content", None)
    if not _is_number(record.get("n", 1)) or not isinstance(record.get("at", ""), str):
        return False
    if "usage" in record and not _is_usage(record["usage"]):
        return False
    for name, whose in (("tool_calls", "assistant"), ("tool_call_id", "tool")):
        if role != whose:
            record.pop(name, None)
    if role == "user":
        return isinstance(content, str)
    if role == "tool":
        return isinstance(content, str) and isinstance(record.get("tool_call_id"), str)
    if role != "assistant" or not isinstance(content, (str, type(None))):
        return False
    thought = record.get("thinking", "" if "thinking_field" not in record else None)
    if not isinstance(thought, str) or not isinstance(record.get("thinking_field", ""), str):
        return False
    calls = record.get("tool_calls") or []
    return isinstance(calls, list) and all(_is_call(call) for call in calls) and _differ(calls)


def _is_number(number: object) -> bool:
    return type(number) is int and 0 <= number < 1 << 52  # of True nobody would think here


def _is_usage(usage: object) -> bool:
    return isinstance(usage, dict) and all(map(_is_number, usage.values()))


def _is_call(call: object) -> bool:
    if not isinstance(call, dict) or not isinstance(call.get("id"), str) or not call["id"]:
        return False
    call["type"] = "function"
    function = call.get("function")
    return (
        isinstance(function, dict)
        and isinstance(function.get("name"), str)
        and function["name"] != ""
        and isinstance(function.get("arguments"), str)
        and object_of(function["arguments"]) is not None
    )


def _differ(calls: Sequence[Mapping[str, Any]]) -> bool:
    return len({call["id"] for call in calls}) == len(calls)


def _is_words(message: dict[str, Any]) -> bool:
    message.pop("n", None)  # it is one of the file's own messages that have numbers
    return message["role"] != "tool" and not message.get("tool_calls")


def _is_rewind(record: Mapping[str, Any]) -> bool:
    return record.get("type") == "rewind" and _is_number(record.get("to"))


def _is_compaction(record: Mapping[str, Any]) -> bool:
    head, shortened = record.get("head"), record.get("shortened")
    return (
        record.get("type") == "compaction"
        and (record.get("first", "") is None or _is_number(record.get("first")))
        and isinstance(record.get("kept", []), list)
        and isinstance(head, list)
        and all(isinstance(each, dict) and _is_message(each) and _is_words(each) for each in head)
        and isinstance(shortened, dict)
        and all(isinstance(text, str) for text in shortened.values())
    )
