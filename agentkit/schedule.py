"""When a job is due: at a moment, every so often, or by a cron expression; pure functions of the time they are given.

A schedule is what stands in CRON.json:

    {"kind": "at", "at": "2027-01-15T09:00:00+02:00"}
    {"kind": "every", "every_seconds": 1800, "anchor": "2026-01-01T00:00:00Z"}
    {"kind": "cron", "expr": "30 9 * * 1-5", "timezone": "Europe/Riga"}

`timezone`, an IANA name, may stand in each: in it times without an offset are read, cron expressions work, and answers
are given. Without it that is the machine's own zone. Keys that a kind does not know are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any

from .cronexpr import CronError, CronExpr, shown

SHORTEST, FARTHEST = 1, 3_153_600_000  # seconds between two times: a hundred years of 365 days at most

_UTC = timezone.utc
_EPOCH = datetime(1970, 1, 1)
_EPOCH_DAY = _EPOCH.toordinal()
_FIRST = datetime(1, 1, 3, tzinfo=_UTC)  # from here on each zone can show each moment


class ScheduleError(ValueError):
    """A schedule that cannot be taken. field: the key at fault; reason: why; the text is one line with both."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason = field, reason


def next_run(schedule: Mapping[str, Any], after: datetime, anchor: datetime | None = None) -> datetime | None:
    """The first time strictly after `after` at which a schedule is due, in its zone; None: never again.

    after, anchor: aware. anchor: where the counting of `every` begins, unless the schedule says so itself.
    Raises ScheduleError for a schedule that cannot be taken.
    """
    return parse(schedule).next(after, anchor)


def parse(schedule: Mapping[str, Any], now: datetime | None = None) -> Schedule:
    """A schedule, checked in full. Raises ScheduleError.

    now: with it a cron expression is refused that never comes after this moment, such as one for a year that is over.
    """
    if not isinstance(schedule, Mapping):
        raise ScheduleError("schedule", 'must be an object, such as {"kind": "every", "every_seconds": 1800}')
    kind = schedule.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ScheduleError("kind", "must be at, every or cron")
    name = _text(schedule, "timezone")
    made = _KINDS[kind](schedule, named(name) if name else None)
    if now is not None and isinstance(made, Cron) and made.next(now) is None:
        raise ScheduleError(
            "expr", f"{shown(made.words)} never comes again: its years are over, or no clock shows its times"
        )
    return made


class Schedule:
    """One of the three kinds. words: what it is, for a person; zone: in which it answers."""

    def __init__(self, words: str, zone: tzinfo) -> None:
        self.words = words
        self.zone = zone

    def next(self, after: datetime, anchor: datetime | None = None) -> datetime | None:
        """As `next_run` has it."""
        raise NotImplementedError

    def period(self, at: datetime) -> float | None:
        """Seconds from the time that is due at `at`, or else the first after it, to the one that follows it.

        That is how late a run may be and still stand for its own time. None: nothing follows.
        """
        raise NotImplementedError


class At(Schedule):
    def __init__(self, when: datetime, words: str, zone: tzinfo) -> None:
        super().__init__(words, zone)
        self.when = when

    def next(self, after: datetime, anchor: datetime | None = None) -> datetime | None:
        return self.when if self.when > _utc(after, "after") else None

    def period(self, at: datetime) -> None:
        return None


class Every(Schedule):
    def __init__(self, span: timedelta, start: datetime | None, zone: tzinfo) -> None:
        super().__init__(f"every {_spelled(span)}", zone)
        self.span, self.start = span, start

    def next(self, after: datetime, anchor: datetime | None = None) -> datetime | None:
        after = _utc(after, "after")
        due = self.start or (_utc(anchor, "anchor") if anchor else _EPOCH.replace(tzinfo=_UTC))
        try:
            if due <= after:
                due += ((after - due) // self.span + 1) * self.span  # whole microseconds: nothing drifts
            return due.astimezone(self.zone)
        except (OverflowError, ValueError):  # past the end of the calendar
            return None

    def period(self, at: datetime) -> float:
        return self.span.total_seconds()


class Cron(Schedule):
    def __init__(self, expr: CronExpr, words: str, zone: tzinfo) -> None:
        super().__init__(words, zone)
        self.expr = expr

    def next(self, after: datetime, anchor: datetime | None = None) -> datetime | None:
        after = max(_utc(after, "after"), _FIRST)
        return None if after.year == 9999 else self.expr.next(after.astimezone(self.zone))

    def period(self, at: datetime) -> float | None:
        first = self.next(max(_utc(at, "at"), _FIRST) - timedelta(seconds=1))
        second = first and self.next(first)
        return (_utc(second, "at") - _utc(first, "at")).total_seconds() if first and second else None


class Local(tzinfo):
    """The machine's zone with all its rules, as the C library has it: TZ where that is set, else /etc/localtime.

    The standard library has no such zone: `datetime.astimezone()` gives today's offset, without the rules.
    """

    def utcoffset(self, at: datetime | None) -> timedelta | None:
        if at is None:
            return None
        wall = at.replace(tzinfo=None, microsecond=0)
        try:
            seconds = wall.timestamp()
        except (ValueError, OverflowError):  # at either end of the calendar
            wall = wall.replace(day=3 if wall.year == 1 else 29)
            seconds = wall.timestamp()
        return wall - _EPOCH - timedelta(seconds=seconds)

    def dst(self, at: datetime | None) -> None:
        return None

    def tzname(self, at: datetime | None) -> str | None:
        return None if at is None else at.replace(tzinfo=None).astimezone().tzname()

    def fromutc(self, at: datetime) -> datetime:
        seconds = (at.toordinal() - _EPOCH_DAY) * 86_400 + at.hour * 3600 + at.minute * 60 + at.second
        return datetime.fromtimestamp(seconds).replace(microsecond=at.microsecond, tzinfo=self)


def named(name: str) -> tzinfo:
    """The zone of an IANA name. Raises ScheduleError."""
    from zoneinfo import ZoneInfo  # takes milliseconds to import, and most schedules name no zone

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # OSError: the name of a folder, or too long for a file
        pass
    try:
        ZoneInfo("Europe/London")
    except (KeyError, ValueError, OSError):
        raise ScheduleError("timezone", "there is no tz database here: install it with pip install tzdata") from None
    raise ScheduleError(
        "timezone",
        f"{shown(name)} is not in the tz database: write a name such as Europe/Riga; "
        "if it is a new one, pip install -U tzdata",
    )


_MOMENT = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)"
    r"(?:[Tt ](\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d{1,9}))?)?(?: ?([Zz]|[+-]\d\d(?::?\d\d)?))?)?",
    re.ASCII,
)


def moment(text: str, field: str, zone: tzinfo) -> datetime:
    """The moment that ISO 8601 text names (a date alone: its midnight), in its own offset, else in `zone`.

    A time that the clock skips is what it would be without the jump, the first of two equal times is meant (RFC 5545,
    section 3.3.5). field: what ScheduleError names.
    """
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise ScheduleError(
            field, f"{shown(text)} is no time: write it as 2026-12-01T09:00, with +02:00 or Z if need be"
        )
    *numbers, fraction, offset = found.groups()
    year, month, day, hour, minute, second = (int(each or 0) for each in numbers)
    try:
        when = datetime(year, month, day, hour, minute, second, int((fraction or "").ljust(6, "0")[:6]))
        when = when.replace(tzinfo=_offset(offset) if offset else zone)
    except ValueError as error:
        raise ScheduleError(field, f"{shown(text)} is no time: {error}") from None
    return when if offset else _moved(_moved(when, _UTC), zone)


def _moved(when: datetime, zone: tzinfo) -> datetime:
    """A moment as the zone shows it; at the ends of the calendar as it stands."""
    try:
        return when.astimezone(zone)
    except (OverflowError, ValueError):
        return when


def _offset(text: str) -> timezone:
    if text in "Zz":
        return _UTC
    hours, minutes = int(text[1:3]), int(text[3:].lstrip(":") or 0)
    if minutes > 59:
        raise ValueError("minutes of an offset go to 59")
    return timezone(timedelta(hours=hours, minutes=minutes) * (-1 if text[0] == "-" else 1))


def _at(schedule: Mapping[str, Any], zone: tzinfo | None) -> Schedule:
    when = moment(_needed(schedule, "at", "2026-12-01T09:00"), "at", zone or Local())
    if zone is not None:
        when = _moved(when, zone)
    words = f"at {when.replace(tzinfo=None).isoformat(' ', 'seconds').removesuffix(':00')}"
    own = isinstance(when.tzinfo, Local)
    return At(when, words if own else f"{words} {when.tzinfo}", when.tzinfo or _UTC)


def _every(schedule: Mapping[str, Any], zone: tzinfo | None) -> Schedule:
    seconds = schedule.get("every_seconds")
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not SHORTEST <= seconds <= FARTHEST:
        raise ScheduleError("every_seconds", f"must be a number of seconds from {SHORTEST} to {FARTHEST}")
    zone = zone or Local()
    anchor = _text(schedule, "anchor")
    start = _utc(moment(anchor, "anchor", zone), "anchor") if anchor else None
    return Every(timedelta(seconds=seconds), start, zone)


def _cron(schedule: Mapping[str, Any], zone: tzinfo | None) -> Schedule:
    text = _needed(schedule, "expr", "0 9 * * 1-5")
    try:
        expr = CronExpr(text)
    except CronError as error:
        raise ScheduleError("expr", str(error).removeprefix("expression: ")) from None
    words = " ".join(text.split())
    return Cron(expr, f"{words} {zone}" if zone else words, zone or Local())


_KINDS: dict[str, Callable[[Mapping[str, Any], tzinfo | None], Schedule]] = {"at": _at, "every": _every, "cron": _cron}


def _utc(at: datetime, field: str) -> datetime:
    if at.utcoffset() is None:
        raise ScheduleError(field, "needs a time zone")
    try:
        return at.astimezone(_UTC)
    except OverflowError:
        return (datetime.min if at.year == 1 else datetime.max).replace(tzinfo=_UTC)


def _text(schedule: Mapping[str, Any], field: str) -> str:
    """What stands there, "" for nothing."""
    value = schedule.get(field)
    if value is not None and not isinstance(value, str):
        raise ScheduleError(field, "must be text")
    return (value or "").strip()


def _needed(schedule: Mapping[str, Any], field: str, example: str) -> str:
    text = _text(schedule, field)
    if not text:
        raise ScheduleError(field, f"is missing: write it as {example}")
    return text


def _spelled(span: timedelta) -> str:
    """As 1h30m."""
    minutes, seconds = divmod(span, timedelta(minutes=1))
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{number}{unit}" for number, unit in ((days, "d"), (hours, "h"), (minutes, "m")) if number]
    if seconds:
        parts.append(f"{seconds.total_seconds():g}s")
    return "".join(parts)
