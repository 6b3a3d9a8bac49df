"""What a HEARTBEAT.md says, and when the next beat is due by it. Pure."""

from __future__ import annotations

import math
import re
import zoneinfo
from bisect import bisect_left
from datetime import datetime, timezone, tzinfo
from typing import Any

from . import frontmatter
from .records import dataclass
from .silence import INVISIBLE

SHORTEST = 60.0  # seconds between two beats: each may cost a call of the model
LONGEST = 7 * 86400.0  # likewise: what is rarer is a job for cron
DAY = 24 * 60  # minutes

INTERVAL = "write seconds, as in 1800, or a span, as in 30m or 1h30m: at least 60 seconds, at most 7d"
HOURS = "write when they begin and end, as in 9, 22 or 9:30, 18:00; 22, 6 goes over midnight, 0, 24 is always"
ZONE = "write a name such as Europe/Berlin; if it is one, install the package tzdata, which has them all"
DELIVER = "write last, for where the person spoke last, or channel:to, as in discord:123 or cli:cli-user"
TEXT = "make it text"


_NUMBER = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)"
_SECONDS = re.compile(_NUMBER)
_SPAN = re.compile(
    rf"(?:{_NUMBER} ?(?:d|days?))? ?(?:{_NUMBER} ?(?:h|hours?))? ?"
    rf"(?:{_NUMBER} ?(?:m|min|minutes?))? ?(?:{_NUMBER} ?(?:s|sec|seconds?))?",
    re.IGNORECASE,
)
_UNITS = (86400, 3600, 60, 1)
_TIME = r"\s*([0-9]{1,2})(?::([0-5][0-9]))?\s*"
_HOURS = re.compile(f"{_TIME}[,–-]{_TIME}")


@dataclass(frozen=True)
class Pulse:
    """instructions: what is looked after at each beat; interval: seconds between two; hours: minutes of the day, from
    the first to before the second, over midnight where that is smaller, None: always; timezone: theirs, empty: the
    machine's; deliver: channel and person, None: where the person spoke last; model: empty for the agent's."""

    instructions: str
    interval: float = 1800.0
    hours: tuple[int, int] | None = (9 * 60, 22 * 60)
    timezone: str = ""
    deliver: tuple[str, str] | None = None
    model: str = ""


def pulse(path: str, text: str) -> Pulse:
    """The heartbeat that the text of a HEARTBEAT.md describes. Raises ValueError, which names the field and the cure.

    Fields of the front matter that are empty or missing have the defaults of Pulse; others than those are ignored.
    """
    given, body = frontmatter.parse(text)
    fields = {key.casefold().replace("-", "_"): value for key, value in given.items()}
    found: dict[str, Any] = {"timezone": _text(fields, "timezone", ZONE), "model": _text(fields, "model", TEXT)}
    if written := _text(fields, "interval", INTERVAL):
        found["interval"] = _interval(written)
    if hours := fields.get("active_hours"):
        found["hours"] = _hours(hours)
    if written := _text(fields, "deliver", DELIVER):
        found["deliver"] = _deliver(written)
    _zone(found["timezone"])
    return Pulse(body.strip(), **found)


def _text(fields: dict[str, Any], key: str, cure: str) -> str:
    """A text as one line; "" where there is none."""
    value = fields.get(key, "")
    if not isinstance(value, str):
        raise _wrong(key, value, cure)
    return " ".join(value.split())


def _wrong(key: str, value: object, cure: str) -> ValueError:
    shown = value[:80] if isinstance(value, str) else "a list" if isinstance(value, list) else "a map"
    return ValueError(f"{key} is {shown}: {cure}")


def _interval(text: str) -> float:
    if _SECONDS.fullmatch(text):
        seconds = float(text)
    else:
        found = _SPAN.fullmatch(text)
        parts = found.groups("0") if found else ()
        seconds = sum(float(each) * unit for each, unit in zip(parts, _UNITS, strict=False))
    if not SHORTEST <= seconds <= LONGEST:
        raise _wrong("interval", text, INTERVAL)
    return seconds


def _hours(value: object) -> tuple[int, int] | None:
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = ", ".join(value)
    found = _HOURS.fullmatch(value) if isinstance(value, str) else None
    hour, minute, last_hour, last_minute = map(int, found.groups("0")) if found else (0, 0, 0, 0)
    begin, end = hour * 60 + minute, last_hour * 60 + last_minute
    if begin in (end, DAY) or max(begin, end) > DAY:
        raise _wrong("active_hours", value, HOURS)
    return None if (begin, end) == (0, DAY) else (begin, end)


def _deliver(text: str) -> tuple[str, str] | None:
    channel, _, to = (each.strip() for each in text.partition(":"))
    if text.casefold() == "last":
        return None
    if not channel or not to or " " in channel:
        raise _wrong("deliver", text, DELIVER)
    return channel, to


# -- what is to do

_MARKS = re.compile(r"(?:\s|>|(?:[*+•-]|[0-9]{1,9}[.)]|\[[ xX-]?\])(?=\s|\Z))*")
_NOTHING = re.compile(r"#+(?:\s.*)?|=+|([*_-])(?:[ \t]*\1){2,}")
_UNDERLINE = re.compile(r" {0,3}=+\s*")
_FENCE = re.compile(r"(`{3,}(?=[^`]*\Z)|~{3,}).*")


def is_empty(instructions: str) -> bool:
    """Is there nothing to look after: only headings, comments, blanks, list items and boxes with nothing behind them,
    rules, empty blocks of code?

    In doubt there is something: a line with `---` below it is taken for text, though Markdown makes it a heading.
    """
    fence = ""
    lines = _uncommented("\n".join(INVISIBLE.sub("", instructions).splitlines())).split("\n")
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        bare = _MARKS.sub("", line, count=1).strip()
        if fence:
            if bare.startswith(fence) and not bare.strip(fence[0]):
                fence = ""
            elif bare:
                return False
        elif opened := _FENCE.fullmatch(bare):
            fence = opened[1]
        elif bare and not _NOTHING.fullmatch(line.strip()) and not _UNDERLINE.fullmatch(below):
            return False
    return True


def _uncommented(text: str) -> str:
    """Markdown without its HTML comments. One that nobody closes goes on to the end if it begins a line, as in
    CommonMark (0.31.2, 4.6), else it is text."""
    parts, at = [], 0
    while (start := text.find("<!--", at)) >= 0:
        end = text.find("-->", start + 2)
        if end < 0:
            if not text[text.rfind("\n", 0, start) + 1 : start].strip(" "):
                text = text[:start]
            break
        parts.append(text[at:start])
        at = end + 3
    return "".join([*parts, text[at:]])


# -- when


def next_beat(pulse: Pulse, last: float, now: float) -> float:
    """When to beat next, in seconds since 1970: the first moment from `now` and from an interval after `last` on that
    is within the active hours.

    These are read off the clock on the wall: where it jumps over their beginning they begin with the jump, and where it
    is put back into them they begin again. Raises ValueError where the zone is no longer known.
    """
    zone = _zone(pulse.timezone)
    moment = max(now, last + pulse.interval)
    while pulse.hours and not _within(pulse.hours, wall := _wall(moment, zone)):
        start, offset = math.floor(moment), wall.utcoffset()
        begins = start + (pulse.hours[0] * 60 - (wall.hour * 3600 + wall.minute * 60 + wall.second)) % 86400
        if _wall(begins, zone).utcoffset() == offset:
            return float(begins)
        # The clock jumps on the way: look again from there.
        span = range(start + 1, begins + 1)
        jump = bisect_left(span, True, key=lambda each: _wall(each, zone).utcoffset() != offset)
        moment = float(span[jump])
    return moment


def why_not(pulse: Pulse, now: float) -> str:
    """Why there is no beat at `now`, in words; "" within the active hours. Raises ValueError as next_beat does."""
    if pulse.hours is None or _within(pulse.hours, _wall(now, _zone(pulse.timezone))):
        return ""
    begin, end = (f"{each // 60}:{each % 60:02}" for each in pulse.hours)
    return f"outside {begin} to {end} ({pulse.timezone or 'local time'})"


def _within(hours: tuple[int, int], wall: datetime) -> bool:
    begin, end = hours
    minute = wall.hour * 60 + wall.minute
    return begin <= minute < end if begin < end else minute >= begin or minute < end


def _wall(moment: float, zone: tzinfo | None) -> datetime:
    """What a clock on the wall shows, without the fraction of the second; zone: None for the machine's."""
    return datetime.fromtimestamp(math.floor(moment), timezone.utc).astimezone(zone)


def _zone(name: str) -> tzinfo | None:
    if not name:
        return None
    try:
        return zoneinfo.ZoneInfo(name)
    except (KeyError, OSError, ValueError):  # of no such name, a folder's, and what cannot be one
        raise _wrong("timezone", name, f"no such zone is known here. {ZONE[0].upper()}{ZONE[1:]}") from None
