"""Cron expressions: which moments one names, as Debian's cron has it.

Blanks divide its fields: five (minute, hour, day-of-month, month, day-of-week), six (second first) or seven (second
first, year last). A field holds `*`, numbers, ranges (`1-5`), steps (`*/15`, `10-50/20`; `5/15` is 5-59/15) and lists
of these (`1,10-12`); JAN and mon in their fields; 0 and 7 are Sunday. `L` is the last day of the month, `LW` its last
one from Monday to Friday, `5L` its last Friday, `MON#2` its second Monday. `@daily` and friends are as in crontab(5).

Where there are several habits, this has Debian's, as cronsim 2.8 (the oracle of the tests) shows them:

- A day has to suit both day-of-month and day-of-week where one of the two begins with `*`; else either will do.
- Ranges do not wrap around: `22-2` is refused, `22-23,0-2` is what it means.
- Where the clock jumps, an expression of five fields with neither minute nor hour beginning with `*` is of fixed time:
  it comes once, right after the jump where its time was skipped, and at the first of two equal times. Any other follows
  the clock: a skipped time does not come, a repeated one comes twice.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone, tzinfo

LONGEST = 1000  # characters of an expression: every minute of the hour, named one by one, takes 169
WAIT = 50  # years: nothing in the calendar is rarer than 29 February on a given weekday, which once takes 40

NICKNAMES = {
    "@HOURLY": "0 * * * *",
    "@DAILY": "0 0 * * *",
    "@MIDNIGHT": "0 0 * * *",
    "@WEEKLY": "0 0 * * 0",
    "@MONTHLY": "0 0 1 * *",
    "@YEARLY": "0 0 1 1 *",
    "@ANNUALLY": "0 0 1 1 *",
}

YEARS = (1970, 2199)  # what the seventh field may hold

_SECOND = timedelta(seconds=1)
_LENGTHS = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_LAST, _LAST_WORKDAY = 1 << 32, 1 << 33  # beside the bits of the days of a month
_LANE = 8  # bits of each lane of the days of a week
_SEVENS = sum(0x80 << _LANE * lane for lane in range(7))
_ANY = 0b1111111
_ALWAYS = (2 << 28) - 2  # days that each month has
_WEEKS = sum(1 << 7 * week for week in range(5))


class CronError(ValueError):
    """An expression that cannot be taken: one line that begins with the field at fault and says what it may hold."""


class _Field:
    """Reads one field into a number that has a bit for each value it names."""

    def __init__(self, name: str, low: int, high: int, names: str = "", also: str = "") -> None:
        self.name, self.low, self.high, self.also = name, low, high, also
        self.values = {str(each): each for each in range(low, high + 1)}
        self.values.update({each: low + at for at, each in enumerate(names.split())})
        self.full = (2 << high) - (1 << low)

    def bits(self, text: str) -> int:
        if text == "*":
            return self.full
        if text in self.values:
            return 1 << self.values[text]
        bits = 0
        for each in text.split(","):
            bits |= self.term(each)
        return bits

    def term(self, text: str) -> int:
        span, slash, step = text.partition("/")
        if span == "*":
            low, high = self.low, self.high
        else:
            first, dash, last = span.partition("-")
            low = high = self.number(first)
            if dash and (high := self.number(last)) < low:
                over = f"{low}-{self.high},{self.low}" + f"-{high}" * (high > self.low)
                raise self.wrong(f"{shown(text)} runs backwards: write {over} if it goes over the end")
        if not slash:
            return (2 << high) - (1 << low)
        by = self.step(step)
        bits = 0
        for each in range(low, (high if low < high else self.high) + 1, by):
            bits |= 1 << each
        return bits

    def step(self, text: str) -> int:
        if not (text.isascii() and text.isdigit() and (step := int(text))):
            raise self.wrong(f"the step {shown(text)} is no number above 0")
        return step

    def number(self, text: str) -> int:
        if text in self.values:
            return self.values[text]
        if text.isascii() and text.isdigit():
            if not self.low <= int(text) <= self.high:
                raise self.wrong(f"{shown(text)} is not within {self.low} to {self.high}")
            return int(text)
        if text == "?":
            raise self.wrong("write * instead of ?")
        if not text:
            raise self.wrong(f"a number is missing: it takes {self.low} to {self.high}, as in 1-5 or 1,3")
        raise self.wrong(f"{shown(text)} is no number from {self.low} to {self.high}{self.also}")

    def wrong(self, what: str) -> CronError:
        return CronError(f"{self.name}: {what}")


class _DaysOfMonth(_Field):
    """Has two bits more, _LAST and _LAST_WORKDAY."""

    def term(self, text: str) -> int:
        day, slash, step = text.partition("/")
        if day not in ("L", "LW"):
            return super().term(text)
        if slash:
            self.step(step)  # nothing comes after the last day
        return _LAST if day == "L" else _LAST_WORKDAY


class _DaysOfWeek(_Field):
    """Has a lane of bits, Sunday to Sunday, for any such day, for the first to the fifth of a month, for the last."""

    def bits(self, text: str) -> int:
        bits = super().bits(text)
        return (bits | (bits & _SEVENS) >> 7) & ~_SEVENS

    def term(self, text: str) -> int:
        if "L" in text:
            if not text[:-1].isdigit():
                raise self.wrong(f"{shown(text)} is no last weekday of a month: write it as 5L, the last Friday")
            return 1 << _LANE * 6 + self.number(text[:-1])
        if "#" in text:
            day, _, nth = text.partition("#")
            if nth.lstrip("0") not in ("1", "2", "3", "4", "5"):
                raise self.wrong(f"{shown(text)} needs 1 to 5 behind the #, as in MON#2, the second Monday")
            return 1 << _LANE * int(nth) + self.number(day)
        return super().term(text)


_FIELD_SECOND = _Field("second", 0, 59)
_FIELD_MINUTE = _Field("minute", 0, 59)
_FIELD_HOUR = _Field("hour", 0, 23)
_FIELD_DAY = _DaysOfMonth("day-of-month", 1, 31, also=", nor L or LW")
_FIELD_MONTH = _Field(
    "month", 1, 12, "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC", ", nor a name such as JAN or SEP"
)
_FIELD_WEEKDAY = _DaysOfWeek("day-of-week", 0, 7, "SUN MON TUE WED THU FRI SAT", ", nor a name such as MON")
_FIELD_YEAR = _Field("year", *YEARS)


def _parts(text: str) -> list[str]:
    """The fields, in capitals."""
    if len(text) > LONGEST:
        raise CronError(f"expression: it has {len(text)} characters, of at most {LONGEST}")
    parts = text.upper().split()
    if parts and parts[0].startswith("@"):
        if len(parts) > 1 or parts[0] not in NICKNAMES:
            names = ", ".join(NICKNAMES).lower()
            raise CronError(f"expression: {shown(text)} names no time: of that kind there are {names}, each alone")
        return NICKNAMES[parts[0]].split()
    if not 5 <= len(parts) <= 7:
        count = f"{len(parts)} field" + "s" * (len(parts) != 1)
        raise CronError(
            f"expression: {count}: write 5 (minute hour day-of-month month day-of-week), as in 0 9 * * 1-5; "
            "6 (second first) or 7 (year last)"
        )
    return parts


def shown(text: str) -> str:
    """A piece of an expression as it may stand in a line for a person."""
    text = text if len(text) <= 30 else f"{text[:30]}..."
    return text if text.isprintable() else ascii(text)


class CronExpr:
    """An expression, read once. Raises CronError; also for an expression that no day of the calendar suits."""

    __slots__ = ("_days", "_either", "_fixed", "_hours", "_minutes", "_months", "_seconds", "_weekdays", "_years")

    def __init__(self, text: str) -> None:
        parts = _parts(text)
        count = len(parts)
        self._seconds = 1 if count == 5 else _FIELD_SECOND.bits(parts.pop(0))
        minute, hour, day, month, weekday = parts[:5]
        self._minutes = _FIELD_MINUTE.bits(minute)
        self._hours = _FIELD_HOUR.bits(hour)
        self._days = _FIELD_DAY.bits(day)
        self._months = _FIELD_MONTH.bits(month)
        self._weekdays = _FIELD_WEEKDAY.bits(weekday)
        self._years = _FIELD_YEAR.bits(parts[5]) if count == 7 and parts[5] != "*" else 0  # 0: every one
        self._either = day[0] != "*" and weekday[0] != "*"
        # The rule for fixed times is Debian's, for Debian's expressions: where seconds count, the clock is followed.
        self._fixed = count == 5 and minute[0] != "*" and hour[0] != "*"
        if self._weekdays == _ANY and self._days & _ALWAYS and not self._years:
            return
        # In 28 years without a century each month begins on each weekday, leap years too.
        if not any(self._suitable(*each) for each in self._ahead(YEARS[0], 1, YEARS[0] + 27)):
            raise CronError(f"expression: {shown(text)} never comes: no month that it names has such a day")

    def next(self, after: datetime) -> datetime | None:
        """The first moment strictly after an aware one, in the same zone; None: none comes within 50 years.

        Where the expression names years, all of them are looked through. The work is bounded: no more than a few
        thousand months are looked at. Python compares two datetimes of one zone without their `fold`: where clocks
        are put back, compare in UTC.
        """
        zone = after.tzinfo
        if zone is None:
            raise ValueError("after: a datetime with a time zone is needed")
        wall = after.replace(tzinfo=None, fold=0)
        end = min(YEARS[1] if self._years else wall.year + WAIT, 9998)
        if isinstance(zone, timezone):  # a fixed offset: the clock never jumps
            found = self._following(wall, end)
            return found and found.replace(tzinfo=zone)
        early, late = _offsets(wall, zone)
        if early < late:  # no clock ever shows this time: it is the one with the offset from before the jump
            return self.next(after.astimezone(timezone.utc).astimezone(zone))
        if early > late:
            stop, start = _jump(wall, zone)
            if after.fold and self._fixed:
                wall = stop - _SECOND  # what is repeated had its turn
            elif not after.fold and not self._fixed:
                found = self._following(wall, end)
                again = self._following(start - _SECOND, end) if found is None or found >= stop else None
                if again is not None and again < stop:
                    return again.replace(tzinfo=zone, fold=1)
        instant = after.replace(tzinfo=None) - (late if after.fold else early)
        while (found := self._following(wall, end)) is not None:
            early, late = _offsets(found, zone)
            if early >= late:
                return found.replace(tzinfo=zone, fold=int(found - early <= instant))
            wall = _jump(found, zone)[1]
            if self._fixed:
                return wall.replace(tzinfo=zone)
            wall -= _SECOND
        return None

    def _following(self, wall: datetime, end: int) -> datetime | None:
        """The first suitable time after `wall`, none after the year `end`, as on a clock that never jumps."""
        if wall.year > end:
            return None
        wall = wall.replace(microsecond=0) + _SECOND
        year, month, day = wall.year, wall.month, wall.day
        if self._months >> month & 1 and (not self._years or self._years >> year & 1):
            days = self._suitable(year, month) >> day
            if days & 1 and (found := self._later(wall)) is not None:
                return found
            if days := days >> 1:
                return self._first(year, month, day + 1 + _lowest(days))
        for ahead in self._ahead(year, month + 1, end):
            if days := self._suitable(*ahead):
                return self._first(*ahead, _lowest(days))
        return None

    def _later(self, wall: datetime) -> datetime | None:
        """The first suitable time of this day that is not before `wall`."""
        hour, minute, second = wall.hour, wall.minute, wall.second
        if self._hours >> hour & 1:
            if self._minutes >> minute & 1 and (seconds := self._seconds >> second):
                return wall.replace(second=second + _lowest(seconds))
            if minutes := self._minutes >> minute + 1:
                return wall.replace(minute=minute + 1 + _lowest(minutes), second=_lowest(self._seconds))
        if hours := self._hours >> hour + 1:
            hour += 1 + _lowest(hours)
            return wall.replace(hour=hour, minute=_lowest(self._minutes), second=_lowest(self._seconds))
        return None

    def _first(self, year: int, month: int, day: int) -> datetime:
        return datetime(year, month, day, _lowest(self._hours), _lowest(self._minutes), _lowest(self._seconds))

    def _ahead(self, year: int, month: int, end: int) -> Iterator[tuple[int, int]]:
        """The months that the expression names, from this one on: to the end of `end`, or of the years it names."""
        for each in range(year, (YEARS[1] if self._years else end) + 1):
            months = self._months >> month << month if not self._years or self._years >> each & 1 else 0
            while months:
                yield each, _lowest(months)
                months &= months - 1
            month = 1

    def _suitable(self, year: int, month: int) -> int:
        """A bit for each day of the month that suits: bit 1 is the first."""
        length = 29 if month == 2 and year % 4 == 0 and (year % 100 or year % 400 == 0) else _LENGTHS[month]
        whole = (2 << length) - 2
        days, weekdays = self._days, self._weekdays
        if weekdays == _ANY and not self._either and days < _LAST:
            return days & whole
        first = date(year, month, 1).isoweekday() % 7
        if days & _LAST:
            days |= 1 << length
        if days & _LAST_WORKDAY:
            days |= 1 << length - (2, 0, 0, 0, 0, 0, 1)[(first + length - 1) % 7]
        suitable = _turned(weekdays, first) * _WEEKS << 1
        if weekdays >> _LANE:
            for nth in range(5):
                suitable |= _turned(weekdays >> _LANE * (nth + 1), first) << 7 * nth + 1
            suitable |= (_turned(weekdays >> _LANE * 6, first) * _WEEKS << 1) & 0b1111111 << length - 6
        return (days | suitable if self._either else days & suitable) & whole


def _turned(lane: int, first: int) -> int:
    """Bits from Sunday on as bits from `first` on."""
    lane &= _ANY
    return (lane | lane << 7) >> first & _ANY


def _lowest(bits: int) -> int:
    return (bits & -bits).bit_length() - 1


def _offsets(wall: datetime, zone: tzinfo) -> tuple[timedelta, timedelta]:
    """What a zone's clock is ahead of UTC when it shows `wall` for the first and for the second time (PEP 495).

    Where clocks are put back the first is the larger; where `wall` is skipped, it is the smaller.
    """
    early, late = zone.utcoffset(wall.replace(tzinfo=zone)), zone.utcoffset(wall.replace(tzinfo=zone, fold=1))
    if early is None or late is None:
        raise ValueError("after: its time zone has no offset from UTC")
    return early, late


def _jump(wall: datetime, zone: tzinfo) -> tuple[datetime, datetime]:
    """For a skipped or repeated time: what the clock would have shown when it jumped, and what it showed instead."""
    early, late = _offsets(wall, zone)
    low = wall.replace(microsecond=0) - max(early, late)
    span = abs(late - early) // _SECOND

    def jumped(seconds: int) -> bool:
        moment = (low + seconds * _SECOND).replace(tzinfo=timezone.utc)
        return moment.astimezone(zone).utcoffset() != early

    moment = low + bisect_left(range(span), True, key=jumped) * _SECOND
    return moment + early, moment + late
