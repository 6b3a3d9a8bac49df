"""How long a server asked to wait: in its headers, in the fields of its error, or in its words.

Sources: RFC 9110 §10.2.3 (Retry-After) and §5.6.7 (dates), and what providers invented beside them.
A hint that makes no sense (negative, NaN, endless, words) is no hint, and the next source is asked.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Iterable, Mapping
from datetime import datetime

LONGEST = 366 * 86_400.0  # seconds; a longer wait is a bug of the server's
_EPOCH = 1e9  # a number from here on is a point in time, not a span: seconds, or from 1e11 on milliseconds

# Patterns stay text and are compiled where they are first needed: an error is rare, a start is not.
_NUMBER = r"(?:\d{1,15}(?:\.\d{0,12})?|\.\d{1,12})"
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_UNIT = r"(?:ms|millis|milliseconds?|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d)(?![a-z])"
_SPAN = rf"(?:{_NUMBER}\s*{_UNIT}(?:,? (?:and )?|\s*)){{1,5}}"  # "1m30s", "2 hours and 3 minutes"
_CLOCK = r"(?:(\d{1,3})[.:])?(\d{1,2}):(\d\d):(\d\d)(?:\.\d{1,9})?"  # [days.]hours:minutes:seconds, as .NET writes it
_ISO = (  # a zone is required: a local time of a server somewhere says nothing
    r"(\d{4})-(\d\d)-(\d\d)(?:t| at | )(\d\d):(\d\d)(?::(\d\d)(?:\.\d{1,12})?)? ?(z|utc|gmt|[+-]\d\d:?\d\d)(?![\w:])"
)
_HTTP_DATES = (
    r"[a-z]{3,9},? (?P<day>\d\d?)[ -](?P<month>[a-z]{3})[ -](?P<year>\d{4}|\d\d) "
    r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?: (?:gmt|utc|z|[+-]0000))?",
    r"[a-z]{3} (?P<month>[a-z]{3}) +(?P<day>\d\d?) (?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d) (?P<year>\d{4})",
)
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]

_AGAIN = (
    r"\b(?:try(?:ing)?(?: \w+){0,3} again|retry(?:ing)?(?: \w+ request)?|wait|resets?"
    r"|available(?: again)?|replenished|come back|regain access)"
)
_SPOKEN_SPAN = rf"{_AGAIN}(?: (?:in|after|for|at least|about|approximately|another|with|is))*:? *~?({_SPAN})"
_SPOKEN_CLOCK = rf"{_AGAIN} (?:in|after) {_CLOCK}(?![\w:/-])"
_SPOKEN_DATE = rf"{_AGAIN}(?: (?:in|after|on|at|is))*:? *{_ISO}"
_SPOKEN_SECONDS = r"\bretry[-_ ]?after[\"':= ]{1,4}(\d{1,9}(?:\.\d{1,6})?)(?![\w:-]|\.\d)"
_CHINESE = r"(\d{1,9}(?:\.\d{1,6})?) ?(毫秒|秒|分|小时|天)钟?(?:之|以)?后"
_CHINESE_UNITS = {"毫秒": 0.001, "秒": 1.0, "分": 60.0, "小时": 3600.0, "天": 86_400.0}


def asked(
    headers: Mapping[str, str], hints: Iterable[tuple[str, str]], text: str, *, limited: bool, now: float
) -> float | None:
    """The seconds a server asked to wait, None where it did not say.

    headers: names in lower case; hints: (name, value) pairs out of the error object; text: its messages;
    limited: this is a rate limit, so that the time its window resets is a fair guess; now: seconds since the epoch.
    """
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        if (wait := _seconds(headers.get(name, ""), now, unit=0.001)) is not None:
            return wait
    if (wait := _seconds(headers.get("retry-after", ""), now)) is not None:
        return wait
    # "retry" says what to do, "reset" only when the books are balanced.
    for name, value in sorted(hints, key=lambda hint: "reset" in hint[0]):
        unit = 0.001 if name.endswith(("ms", "millis", "milliseconds")) else 1.0
        if (wait := _seconds(value, now, unit=unit)) is not None:
            return wait
    if (wait := _spoken(text, now)) is not None:
        return wait
    return _window(headers, limited, now)


def _seconds(value: str, now: float, *, unit: float = 1.0) -> float | None:
    """One value in any notation: a number, "1m30s", "08:23:10", an HTTP or ISO date, or an epoch; 0 for the past."""
    text = value.strip()[:100].lower()
    if re.fullmatch(_NUMBER, text):
        number = float(text)
        if number >= _EPOCH:
            return _until((number / 1000 if number >= _EPOCH * 100 else number), now)
        return _sane(number * unit)
    if clock := re.fullmatch(_CLOCK, text):
        return _sane(_clock(clock))
    if re.fullmatch(_SPAN, text):
        return _sane(_span(text))
    if date := re.fullmatch(_ISO, text):
        return _until(_iso(date), now)
    for form in _HTTP_DATES:
        if date := re.fullmatch(form, text):
            return _until(_http_date(date), now)
    first, comma, _ = text.partition(",")  # a header that was sent twice arrives joined
    return _seconds(first, now, unit=unit) if comma else None


def _sane(seconds: float) -> float | None:
    return seconds if 0 <= seconds <= LONGEST else None


def _until(moment: float | None, now: float) -> float | None:
    """The wait until a moment; one that is over means now."""
    return None if moment is None else _sane(max(0.0, moment - now))


def _span(text: str) -> float:
    total = 0.0
    for number, unit in re.findall(rf"({_NUMBER})\s*({_UNIT})", text):
        total += float(number) * _UNITS["ms" if unit.startswith(("ms", "milli")) else unit[0]]
    return total


def _clock(match: re.Match[str]) -> float:
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24.0 + hours) * 60 + minutes) * 60 + seconds


def _iso(match: re.Match[str]) -> float | None:
    """Seconds since the epoch of a match of _ISO; None for a day that no calendar has."""
    *parts, zone = match.groups()
    moment = _moment(*(int(part or 0) for part in parts))
    if moment is None or zone[0] not in "+-":
        return moment
    offset = int(zone[1:3]) * 3600 + int(zone[-2:]) * 60
    return moment + (offset if zone[0] == "-" else -offset)


def _http_date(match: re.Match[str]) -> float | None:
    """Seconds since the epoch of a match of _HTTP_DATES, which are always in GMT."""
    if match["month"] not in _MONTHS:
        return None
    year, day, hour, minute, second = (int(match[part]) for part in ("year", "day", "hour", "minute", "second"))
    century = 0 if year > 99 else 2000 if year < 70 else 1900
    return _moment(century + year, _MONTHS.index(match["month"]) + 1, day, hour, minute, second)


def _moment(year: int, month: int, day: int, hour: int, minute: int, second: int) -> float | None:
    try:
        return float(timegm(datetime(year, month, day, hour, minute, min(second, 59)).timetuple()))
    except ValueError:
        return None


def _spoken(text: str, now: float) -> float | None:
    """A wait in words: "Please try again in 6m30s", "retry after 20 seconds", "请 30 秒后重试"."""
    said = " ".join(text[:20_000].lower().split())
    if match := re.search(_SPOKEN_SPAN, said):
        return _sane(_span(match[1]))
    if match := re.search(_SPOKEN_CLOCK, said):
        return _sane(_clock(match))
    if match := re.search(_SPOKEN_DATE, said):
        return _until(_iso(match), now)
    if match := re.search(_SPOKEN_SECONDS, said):
        return _sane(float(match[1]))
    if match := re.search(_CHINESE, said):
        return _sane(float(match[1]) * _CHINESE_UNITS[match[2]])
    return None


def _window(headers: Mapping[str, str], limited: bool, now: float) -> float | None:
    """When the used-up window starts anew: of `...-remaining-tokens` and `...-reset-tokens` those that belong together.

    All windows at 0 must reset. Where none is (one request may ask for more than is left), the emptiest one is meant.
    """
    waits: list[tuple[float, float]] = []
    for name, value in headers.items():
        if "ratelimit" not in name or "reset" not in name:
            continue
        wait = _seconds(value, now)
        if wait is not None:
            left, most = (_count(headers.get(name.replace("reset", word))) for word in ("remaining", "limit"))
            share = 1.0 if left is None else left / most if most else min(left, 1.0)
            waits.append((share, wait))
    spent = [wait for share, wait in waits if share == 0]
    if spent:
        return max(spent)
    return min(waits)[1] if waits and limited else None


def _count(value: str | None) -> float | None:
    text = (value or "").strip()
    return float(text) if re.fullmatch(_NUMBER, text) else None
