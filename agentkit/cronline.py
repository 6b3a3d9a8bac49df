"""A schedule as a person types it in front of a job: `every 30m ...`, `at 2026-12-01 09:00 ...`, `0 9 * * 1-5 ...`."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

from .schedule import Local, ScheduleError, named, parse

EXAMPLES = "every 30m check the mail; at 2026-12-01 09:00 check the mail; 0 9 * * 1-5 check the mail"

_NUMBER = r"\d{1,10}(?:\.\d{1,6})?"
_UNIT = r"(?:s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?)"
_EVERY = re.compile(
    rf"every\s+(?P<span>(?:{_NUMBER}{_UNIT})+|{_NUMBER}\s+{_UNIT}|{_NUMBER})(?=\s|\Z)", re.ASCII | re.IGNORECASE
)
_PIECE = re.compile(rf"({_NUMBER})\s*([smhdw]?)[a-z]*", re.IGNORECASE)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
# Words that would make "every 2 months" two seconds.
_NO_UNIT = re.compile(r"(?:months?|quarters?|years?|weekdays?|workdays?|fortnights?|ms|milliseconds?)\b", re.IGNORECASE)

# Not where a time of the day, or the day of a week, follows: that is for cron.
_ONE = re.compile(r"\Aevery\s+(second|minute|hour|day|week)(?=\s(?!\s*(?:at|on)\b|\s*\d)|\Z)", re.IGNORECASE)

_AT = re.compile(
    r"(?:at\s+)?(?:(?P<date>\d{4}-\d\d-\d\d)(?:T|\s+)|(?P<day>today|tomorrow)\s+(?:at\s+)?)?(?P<time>\d\d?:\d\d(?::\d\d)?)\s*(?P<offset>Z|[+-]\d\d:?\d\d)?(?=\s|\Z)",
    re.ASCII | re.IGNORECASE,
)

_QUOTED = re.compile("\"([^\"]*)\"|'([^']*)'|[“”„]([^“”„]*)[“”]")
_FIVE = re.compile(r"(?:\S+\s+){4}\S+")
_FIELD = re.compile(  # but for a plain number: it begins many a sentence
    r"(?!\d+\Z)[\d*][\d*/,#L-]*|(?:SUN|MON|TUE|WED|THU|FRI|SAT)(?:[-,#/]\w+)*", re.ASCII
)
_FIELDLIKE = re.compile(
    r"[\d*?][\w*/,#?-]*|[LW][\dLW-]*|(?:SUN|MON|TUE|WED|THU|FRI|SAT|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)L?"
    r"(?:[-,#/]\w+)*",
    re.ASCII | re.IGNORECASE,
)
_ZONE = re.compile(r"tz=(\S*)\s*", re.IGNORECASE)


def spoken(text: str, now: datetime | None = None) -> tuple[dict[str, Any], str]:
    """The schedule that a line begins with, as it stands in CRON.json, and the rest of the line.

    It begins with `every` (90, 30m, 1h30m, 2 hours, day; without a unit in seconds), `in` (likewise), `at` (date and
    time, with an offset if need be), `today` or `tomorrow` and a time, `@daily` and friends, or a cron expression. Of
    that the first five words are taken, as a message may begin
    with a number: an expression of six or seven fields, or in front of what looks like a field, is put in quotes.
    `tz=Europe/Riga` may follow each. now: aware; with it a time without a date is the next such time, and what is past
    is refused.
    Raises ScheduleError.
    """
    text = text.strip()
    first = text.split(maxsplit=1)[0].lower() if text else ""
    if first == "in":
        schedule, rest = _in(text, now)
    else:
        read = {"every": _every, "at": _at, "today": _at, "tomorrow": _at}.get(first, _cron)
        schedule, rest = read(text)
    if zone := _ZONE.match(rest):
        schedule["timezone"] = zone[1]
        rest = rest[zone.end() :]
        if not zone[1]:
            raise ScheduleError("timezone", "is missing: write it as tz=Europe/Riga")
    if schedule["kind"] == "at":
        _dated(schedule, now)
    parse(schedule, now)
    return schedule, rest


def _in(text: str, now: datetime | None) -> tuple[dict[str, Any], str]:
    try:
        span, rest = _every(f"every{text[2:]}")
        if now is None or span["every_seconds"] < 1:
            raise ScheduleError("at", "")
        at = now + timedelta(seconds=span["every_seconds"])
    except (ScheduleError, OverflowError):
        raise ScheduleError("at", "write it as in 5m, in 1h30m or in 2 days") from None
    return {"kind": "at", "at": at.isoformat(timespec="seconds")}, rest


def _every(text: str) -> tuple[dict[str, Any], str]:
    text = _ONE.sub(r"every 1\1", text)
    found = _EVERY.match(text)
    rest = text[found.end() :].strip() if found else ""
    if found is None or (found["span"][-1].isdigit() and _NO_UNIT.match(rest)):
        raise ScheduleError(
            "every_seconds",
            "write it as every 30m, every 1h30m, every 90 (seconds) or every 2 days; "
            "months and weekdays are for cron: 0 9 1 * * is 9:00 on the first of each month",
        )
    seconds = sum(float(number) * _SECONDS[unit.lower()] for number, unit in _PIECE.findall(found["span"]))
    return {"kind": "every", "every_seconds": int(seconds) if seconds == int(seconds) else seconds}, rest


def _at(text: str) -> tuple[dict[str, Any], str]:
    found = _AT.match(text)
    if found is None:
        example = "at 2026-12-01 09:00 or tomorrow 9:00"
        raise ScheduleError("at", f"write it as {example}, with +02:00 or tz=Europe/Riga behind it if need be")
    at = f"{found['time']:0>5}" if found["time"].count(":") == 1 else f"{found['time']:0>8}"
    if day := found["date"] or found["day"]:
        at = f"{day.lower()}T{at}"
    return {"kind": "at", "at": at + (found["offset"] or "").upper()}, text[found.end() :].strip()


def _dated(schedule: dict[str, Any], now: datetime | None) -> None:
    """Give a time the date it lacks, and refuse what is past."""
    day, _, clock = schedule["at"].rpartition("T")
    if now is None:
        if not day[:1].isdigit():
            raise ScheduleError("at", "lacks a date: write it as at 2026-12-01 09:00")
        return
    if not day[:1].isdigit():
        today = now.astimezone(named(schedule["timezone"]) if "timezone" in schedule else Local())
    if day in ("today", "tomorrow"):
        schedule["at"] = f"{(today + timedelta(days=day == 'tomorrow')).date()}T{clock}"
    elif not day:
        for days in (-1, 0, 1):  # an offset may make it another day
            schedule["at"] = f"{(today + timedelta(days=days)).date()}T{clock}"
            if parse(schedule).next(now) is not None:
                return
    if parse(schedule).next(now) is None:
        raise ScheduleError("at", f"{schedule['at'].replace('T', ' ')} is past: write a time to come")


def _cron(text: str) -> tuple[dict[str, Any], str]:
    if quoted := _QUOTED.match(text):
        expr = next(each for each in quoted.groups() if each is not None)
        return {"kind": "cron", "expr": expr}, text[quoted.end() :].strip()
    if text.startswith("@"):
        expr = text.split(maxsplit=1)[0]
        return {"kind": "cron", "expr": expr}, text[len(expr) :].strip()
    fields = [*takewhile(_FIELDLIKE.fullmatch, text.split(maxsplit=5)[:5])]
    found = _FIVE.match(text)
    if text[:1] not in "*0123456789" or len(fields) < 2:
        raise ScheduleError("schedule", "begin with when it is due")
    if found is None or len(fields) < 5:
        few = f"{' '.join(fields)} has {len(fields)} of the five fields that a cron expression needs"
        raise ScheduleError("schedule", f"{few}, minute first")
    expr, rest = found[0], text[found.end() :].strip()
    if rest and _FIELD.fullmatch(rest.split(maxsplit=1)[0]):
        raise ScheduleError(
            "expr", f'is this all of it: {" ".join(expr.split())}? Put it in quotes, as in "0 9 * * 1-5" check the mail'
        )
    return {"kind": "cron", "expr": " ".join(expr.split())}, rest
