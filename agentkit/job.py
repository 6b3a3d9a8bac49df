"""One job of CRON.json: what its fields may hold, and what it is called."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from typing import Any, Literal

from . import names
from .records import dataclass
from .schedule import Schedule, ScheduleError, parse

Kind = Literal["agent_turn", "system_event"]
TEXTS: dict[Kind, str] = {"agent_turn": "message", "system_event": "text"}  # where the payload has its text

FIELDS = {  # by what stands in front of their names
    "": {"id", "name", "enabled", "schedule", "payload", "agent_id", "channel", "to", "delete_after_run"},
    "schedule.": {"kind", "at", "every_seconds", "anchor", "expr", "timezone"},
    "payload.": {"kind", *TEXTS.values()},
}

LONGEST_ID = 64  # characters


@dataclass(frozen=True)
class Job:
    """What is to be done when. text: what the agent is asked, or the event that it is told; agent_id, channel, to: ""
    where the file names none; written: another one where the schedule was changed; unknown: the fields that say
    nothing, each with what may have been meant."""

    id: str
    name: str
    enabled: bool
    schedule: Schedule
    kind: Kind
    text: str
    agent_id: str
    channel: str
    to: str
    delete_after_run: bool
    written: str
    unknown: tuple[str, ...] = ()


def job(value: object) -> Job:
    """The job that a JSON value is. Raises ValueError, whose text begins with the field at fault."""
    if not isinstance(value, dict):
        raise ValueError("it is no object with id, schedule and payload")
    name = _text(value, "name")
    id = _text(value, "id") or made_id(name)
    if not id:
        raise ValueError("id: it is missing, and cannot be made from the name: write one, in quotes")
    if len(id) > LONGEST_ID:
        raise ValueError(f"id: it has {len(id)} characters, of at most {LONGEST_ID}")
    if not id.isprintable():
        raise ValueError("id: it holds a character that cannot be printed")
    payload = value.get("payload")
    if not isinstance(payload, dict):
        raise ValueError('payload: must be an object, such as {"kind": "agent_turn", "message": "..."}')
    kind, text = _payload(payload)
    schedule: Any = value.get("schedule")
    if "schedule" not in value:
        raise ValueError('schedule: is missing: write one, such as {"kind": "every", "every_seconds": 1800}')
    try:
        due = parse(schedule)
        canonical = json.dumps(schedule, sort_keys=True, separators=(",", ":"))
    except ScheduleError as error:
        raise ValueError(str(error) if error.field == "schedule" else f"schedule.{error}") from None
    except RecursionError:
        raise ValueError("schedule: it is nested too deeply") from None
    channel, to = _text(value, "channel"), _text(value, "to")
    if to and not channel:
        raise ValueError("to: needs a channel beside it, such as discord")
    return Job(
        id,
        name or id,
        _flag(value, "enabled", True),
        due,
        kind,
        text,
        _text(value, "agent_id"),
        channel,
        to,
        _flag(value, "delete_after_run", False),
        sha256(canonical.encode()).hexdigest()[:16],
        (*_unknown(value, ""), *_unknown(schedule, "schedule."), *_unknown(payload, "payload.")),
    )


def _unknown(value: Mapping[str, Any], before: str) -> list[str]:
    """The fields of an object that there are not; before: what stands in front of their names."""
    known = FIELDS[before]
    return [f"{before}{shown(name)}: there is no such field ({_nearest(name, known)})" for name in value.keys() - known]


def _nearest(name: str, names: Collection[str]) -> str:
    from difflib import get_close_matches  # takes milliseconds to load, and mistakes are rare

    near = get_close_matches(name, names, 1)
    return f"is it {near[0]}?" if near else f"only {listed(sorted(names))}"


def listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else "".join(names)


def _payload(payload: Mapping[str, Any]) -> tuple[Kind, str]:
    kind = payload.get("kind")
    for each, field in TEXTS.items():
        if kind == each:
            text = payload.get(field)
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"payload.{field}: is empty, or no text: write it in quotes")
            return each, text
    raise ValueError(f"payload.kind: must be {' or '.join(TEXTS)}")


def _text(value: Mapping[str, Any], field: str) -> str:
    """A field that may be left out; "" for that."""
    text = value.get(field)
    if text is not None and not isinstance(text, str):
        raise ValueError(f"{field}: is no text: write it in quotes")
    return text if text and text.strip() else ""


def _flag(value: Mapping[str, Any], field: str, default: bool) -> bool:
    flag = value.get(field, default)
    if not isinstance(flag, bool):
        raise ValueError(f"{field}: must be true or false, without quotes")
    return flag


# -- ids


def is_given(id: object) -> bool:
    return id is not None and not (isinstance(id, str) and not id.strip())


def made_id(name: object) -> str:
    return names.slug(name.lower(), LONGEST_ID) if isinstance(name, str) else ""


def id_of(value: object) -> str:
    """What a job is called by, also one with mistakes; "": nothing."""
    if not isinstance(value, dict):
        return ""
    id = value.get("id")
    if not is_given(id):
        return made_id(value.get("name"))
    return id if isinstance(id, str) else ""


def free(id: str, taken: set[str]) -> str:
    """It, or else with a number."""
    free, number = id, 1
    while free in taken:
        number += 1
        end = f"-{number}"
        free = id[: LONGEST_ID - len(end)] + end
    return free


def called(id: str, name: object) -> str:
    """A job by its id and name, where it has one, for a person."""
    other = f" ({shown(name)})" if isinstance(name, str) and name.strip() and name != id else ""
    return f"{shown(id)}{other}"


def called_as(value: object, number: int) -> str:
    return called(id_of(value) or f"number {number}", value.get("name") if isinstance(value, dict) else None)


def shown(text: str) -> str:
    text = text if len(text) <= 80 else f"{text[:79]}…"
    return text if text.isprintable() else ascii(text)
