"""Schedules: the three kinds, what is refused and by which name, zones, and the line that a person types."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.cronline import spoken
from agentkit.schedule import FARTHEST, Local, ScheduleError, next_run, parse

UTC = timezone.utc
NOW = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
ROOT = Path(__file__).parent.parent


@pytest.fixture
def in_zone() -> Iterator[Callable[[str], None]]:
    """Puts the machine in another time zone, for one test."""
    before = os.environ.get("TZ")

    def move(name: str | None) -> None:
        os.environ.pop("TZ", None)
        if name is not None:
            os.environ["TZ"] = name
        time.tzset()

    yield move
    move(before)


def shown(when: datetime | None) -> str:
    return when.isoformat() if when else "never"


# -- at


@pytest.mark.parametrize(
    ("at", "zone", "expected"),
    [
        ("2027-01-15T09:00:00+02:00", None, "2027-01-15T09:00:00+02:00"),
        ("2027-01-15T09:00:00Z", None, "2027-01-15T09:00:00+00:00"),
        ("2027-01-15 09:00z", None, "2027-01-15T09:00:00+00:00"),
        ("2027-01-15T09:00:00.25-0330", None, "2027-01-15T09:00:00.250000-03:30"),
        ("2027-01-15T09:00+02", "Europe/Berlin", "2027-01-15T08:00:00+01:00"),
        ("2027-01-15T09:00", "Europe/Berlin", "2027-01-15T09:00:00+01:00"),
        ("2027-07-15t09:00", "Europe/Berlin", "2027-07-15T09:00:00+02:00"),
        ("20270115T0900", "Europe/Berlin", "2027-01-15T09:00:00+01:00"),
        ("2027-01-15", "Europe/Berlin", "2027-01-15T00:00:00+01:00"),
        (" 2027-01-15T09:00\n", "", "2027-01-15T09:00:00-05:00"),
        ("2027-03-28T02:30", "Europe/Berlin", "2027-03-28T03:30:00+02:00"),
        ("2027-10-31T02:30", "Europe/Berlin", "2027-10-31T02:30:00+02:00"),
    ],
)
def test_a_moment_comes_once(at: str, zone: str | None, expected: str, in_zone: Callable[[str], None]) -> None:
    in_zone("America/New_York")
    schedule = {"kind": "at", "at": at, "timezone": zone}
    due = next_run(schedule, NOW)
    assert shown(due) == expected
    assert due is not None
    assert next_run(schedule, due - timedelta(microseconds=1)) == due
    assert next_run(schedule, due) is None
    assert parse(schedule).period(NOW) is None


# -- every


@pytest.mark.parametrize(
    ("seconds", "anchor", "given_anchor", "expected"),
    [
        (1800, None, None, "2026-11-22T11:00:00+00:00"),
        (1800, "2026-01-01T00:00:07Z", None, "2026-11-22T10:30:07+00:00"),
        (1800, None, NOW - timedelta(minutes=1), "2026-11-22T10:59:00+00:00"),
        (1800, "2026-11-22T10:00:00Z", NOW - timedelta(minutes=1), "2026-11-22T11:00:00+00:00"),
        (1800, "2026-11-22T00:10", None, "2026-11-22T10:40:00+00:00"),
        (1800, "2030-01-01T00:00:00Z", None, "2030-01-01T00:00:00+00:00"),
        (1800, NOW.isoformat(), None, "2026-11-22T11:00:00+00:00"),
        (86_400, "", NOW - timedelta(days=3), "2026-11-23T10:30:00+00:00"),
        (1, None, None, "2026-11-22T10:30:01+00:00"),
        (1.5, None, NOW, "2026-11-22T10:30:01.500000+00:00"),
        (FARTHEST, None, NOW, "2126-10-29T10:30:00+00:00"),
    ],
)
def test_a_period_is_counted_from_its_anchor(
    seconds: float, anchor: str | None, given_anchor: datetime | None, expected: str, in_zone: Callable[[str], None]
) -> None:
    in_zone("UTC")
    schedule = {"kind": "every", "every_seconds": seconds, "anchor": anchor}
    assert shown(next_run(schedule, NOW, given_anchor)) == expected
    assert parse(schedule).period(NOW) == seconds


SOMETIME = st.datetimes(
    datetime(1970, 1, 1), datetime(2500, 1, 1), timezones=st.sampled_from([UTC, ZoneInfo("Europe/Berlin")])
)


@given(after=SOMETIME, anchor=SOMETIME, period=st.integers(1, FARTHEST) | st.floats(1, 1e6))
def test_a_period_is_exact_after_any_number_of_years(after: datetime, anchor: datetime, period: float) -> None:
    due = next_run({"kind": "every", "every_seconds": period, "timezone": "Asia/Tokyo"}, after, anchor)
    if due is not None:
        step = timedelta(seconds=period)
        due, after, anchor = due.astimezone(UTC), after.astimezone(UTC), anchor.astimezone(UTC)
        assert due > after and due >= anchor
        assert (due - anchor) % step == timedelta(0)
        assert due == anchor or due - step <= after


def test_a_period_is_of_real_time_where_the_clock_jumps() -> None:
    schedule = {"kind": "every", "every_seconds": 3600, "timezone": "Europe/Berlin"}
    after: datetime | None = datetime(2026, 10, 25, 1, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    hours = []
    for _ in range(3):
        after = after and next_run(schedule, after)
        hours.append(shown(after))
    assert hours == ["2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00"]


# -- cron


def test_a_cron_expression_works_in_its_zone_wherever_the_clock_is() -> None:
    schedule = {"kind": "cron", "expr": "30 9 * * 1-5", "timezone": "Europe/Riga"}
    for zone in (UTC, ZoneInfo("America/New_York"), timezone(timedelta(hours=13))):
        assert shown(next_run(schedule, NOW.astimezone(zone))) == "2026-11-23T09:30:00+02:00"


@pytest.mark.parametrize(
    ("expr", "at", "seconds"),
    [
        ("0 9 * * *", "2026-11-22T09:00:00+00:00", 86_400),
        ("0 9,17 * * *", "2026-11-22T09:00:00+00:00", 8 * 3600),
        ("0 9,17 * * *", "2026-11-22T17:00:00+00:00", 16 * 3600),
        ("0 9,17 * * *", "2026-11-22T12:00:00+00:00", 16 * 3600),
        ("*/5 * * * *", "2026-11-22T12:00:00+00:00", 300),
        ("0 0 0 1 1 * 2027", "2027-01-01T00:00:00+00:00", None),
        ("0 0 0 1 1 * 2020", "2027-01-01T00:00:00+00:00", None),
    ],
)
def test_the_period_of_a_cron_expression_is_the_gap_to_its_next_time(expr: str, at: str, seconds: float | None) -> None:
    schedule = parse({"kind": "cron", "expr": expr, "timezone": "UTC"})
    assert schedule.period(datetime.fromisoformat(at)) == seconds


def test_the_period_over_a_change_of_the_clock_is_real_time() -> None:
    schedule = parse({"kind": "cron", "expr": "0 9 * * *", "timezone": "Europe/Berlin"})
    assert schedule.period(datetime(2026, 10, 24, 7, tzinfo=UTC)) == 25 * 3600


def test_a_year_that_is_over_never_comes_again_and_is_refused_where_the_time_is_known() -> None:
    schedule = {"kind": "cron", "expr": "0 0 9 1 1 * 2020-2026", "timezone": "UTC"}
    assert shown(next_run(schedule, NOW.replace(year=2025))) == "2026-01-01T09:00:00+00:00"
    assert next_run(schedule, NOW) is None
    with pytest.raises(ScheduleError, match=r"^expr: 0 0 9 1 1 \* 2020-2026 UTC never comes again") as caught:
        parse(schedule, NOW)
    assert caught.value.field == "expr"


# -- the machine's own zone


@pytest.mark.parametrize("tz", ["Europe/Berlin", ":Europe/Berlin", "CET-1CEST,M3.5.0,M10.5.0/3"])
def test_without_a_timezone_the_rules_of_the_machine_hold(tz: str, in_zone: Callable[[str], None]) -> None:
    in_zone(tz)
    for expr in ("30 2 * * *", "*/20 * * * *", "@daily", "15 2,3 * * SUN"):
        here, there = (
            parse({"kind": "cron", "expr": expr}),
            parse({"kind": "cron", "expr": expr, "timezone": "Europe/Berlin"}),
        )
        for month, day in ((3, 28), (3, 29), (10, 24), (10, 25)):
            for minutes in range(0, 360, 25):
                after = datetime(2026, month, day, tzinfo=UTC) + timedelta(minutes=minutes)
                assert shown(here.next(after)) == shown(there.next(after))


@given(when=st.datetimes(datetime(1970, 1, 2), datetime(2400, 1, 1)), fold=st.sampled_from([0, 1]))
def test_the_machines_zone_tells_the_time_as_its_file_does(when: datetime, fold: int) -> None:
    zone = Local()  # of the machine the tests run on, whichever that is
    moment = when.replace(tzinfo=UTC)
    assert moment.astimezone(zone).isoformat() == moment.astimezone().isoformat()
    assert moment.astimezone(zone).astimezone(UTC) == moment
    assert moment.astimezone(zone).tzname() == moment.astimezone().tzname()


def test_the_machines_zone_knows_times_that_are_skipped_or_come_twice(in_zone: Callable[[str], None]) -> None:
    in_zone("Europe/Berlin")
    berlin = ZoneInfo("Europe/Berlin")
    for day in (datetime(2026, 3, 29), datetime(2026, 10, 25), datetime(1, 1, 4), datetime(9999, 12, 28)):
        for minutes in range(0, 300, 10):
            for fold in (0, 1):
                wall = (day + timedelta(minutes=minutes)).replace(fold=fold)
                assert wall.replace(tzinfo=Local()).utcoffset() == wall.replace(tzinfo=berlin).utcoffset()


# -- what is refused


@pytest.mark.parametrize(
    ("schedule", "field"),
    [
        ({}, "kind"),
        ({"kind": "weekly"}, "kind"),
        ({"kind": ["cron"]}, "kind"),
        ({"kind": "Cron", "expr": "* * * * *"}, "kind"),
        ({"kind": "cron"}, "expr"),
        ({"kind": "cron", "expr": ""}, "expr"),
        ({"kind": "cron", "expr": 5}, "expr"),
        ({"kind": "cron", "expr": "61 * * * *"}, "expr"),
        ({"kind": "cron", "expr": "0 0 31 2 *"}, "expr"),
        ({"kind": "cron", "expr": "@reboot"}, "expr"),
        ({"kind": "cron", "expr": "* * * * *", "timezone": "Mars/Base"}, "timezone"),
        ({"kind": "cron", "expr": "* * * * *", "timezone": "Europe"}, "timezone"),
        ({"kind": "cron", "expr": "* * * * *", "timezone": "../../etc/localtime"}, "timezone"),
        ({"kind": "cron", "expr": "* * * * *", "timezone": "/etc/localtime"}, "timezone"),
        ({"kind": "cron", "expr": "* * * * *", "timezone": "a\0b"}, "timezone"),
        ({"kind": "cron", "expr": "* * * * *", "timezone": "\ud800"}, "timezone"),
        ({"kind": "cron", "expr": "* * * * *", "timezone": "x" * 10_000}, "timezone"),
        ({"kind": "cron", "expr": "* * * * *", "timezone": 2}, "timezone"),
        ({"kind": "every"}, "every_seconds"),
        ({"kind": "every", "every_seconds": "60"}, "every_seconds"),
        ({"kind": "every", "every_seconds": True}, "every_seconds"),
        ({"kind": "every", "every_seconds": 0}, "every_seconds"),
        ({"kind": "every", "every_seconds": 0.999}, "every_seconds"),
        ({"kind": "every", "every_seconds": -60}, "every_seconds"),
        ({"kind": "every", "every_seconds": float("nan")}, "every_seconds"),
        ({"kind": "every", "every_seconds": float("inf")}, "every_seconds"),
        ({"kind": "every", "every_seconds": FARTHEST + 1}, "every_seconds"),
        ({"kind": "every", "every_seconds": 10**5000}, "every_seconds"),
        ({"kind": "every", "every_seconds": 60, "anchor": "noon"}, "anchor"),
        ({"kind": "every", "every_seconds": 60, "anchor": 1700000000}, "anchor"),
        ({"kind": "every", "every_seconds": 60, "timezone": "Mars/Base"}, "timezone"),
        ({"kind": "at"}, "at"),
        ({"kind": "at", "at": "tomorrow"}, "at"),
        ({"kind": "at", "at": "2026-13-01T00:00"}, "at"),
        ({"kind": "at", "at": "2026-02-29T00:00"}, "at"),
        ({"kind": "at", "at": "2026-12-01T24:00"}, "at"),
        ({"kind": "at", "at": "2026-12-01T09:00+25:00"}, "at"),
        ({"kind": "at", "at": "2026-12-01T09:00+02:60"}, "at"),
        ({"kind": "at", "at": "12026-12-01T09:00"}, "at"),
        ({"kind": "at", "at": "0000-01-01"}, "at"),
        ({"kind": "at", "at": "٢٠٢٦-12-01T09:00"}, "at"),
        ({"kind": "at", "at": 1700000000}, "at"),
        ([], "schedule"),
        (None, "schedule"),
    ],
)
def test_a_bad_schedule_is_refused_by_the_name_of_its_field(schedule: Any, field: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        parse(schedule)
    text = str(caught.value)
    assert caught.value.field == field and text.startswith(f"{field}: ")
    assert "\n" not in text and text.isprintable() and len(text) < 200


def test_keys_that_a_kind_does_not_know_are_left_alone() -> None:
    schedule = {"kind": "every", "every_seconds": 60, "expr": "61 * * * *", "at": "never", "colour": ["red"]}
    assert shown(next_run(schedule, NOW, NOW)).startswith("2026-11-22T10:31:00")


def test_a_time_without_a_zone_is_refused() -> None:
    for after, anchor in ((NOW.replace(tzinfo=None), None), (NOW, NOW.replace(tzinfo=None))):
        with pytest.raises(ScheduleError, match=r"^(after|anchor): needs a time zone"):
            next_run({"kind": "every", "every_seconds": 60}, after, anchor)


@pytest.mark.parametrize("offset", [-23, -12, 0, 14, 23])
@pytest.mark.parametrize("after", [datetime.min, datetime.max], ids=["first", "last"])
def test_the_ends_of_the_calendar_are_no_error(after: datetime, offset: int) -> None:
    edge = after.replace(tzinfo=timezone(timedelta(hours=offset)))
    for zone in (None, "America/New_York", "Pacific/Apia"):
        for kind in ({"kind": "cron", "expr": "* * * * *"}, {"kind": "every", "every_seconds": FARTHEST}):
            schedule = {**kind, "timezone": zone}
            due = next_run(schedule, edge)
            assert due is None if after == datetime.max else due is not None and due > edge
            for at in ("0001-01-01", "0001-01-01T00:00+23:00", "9999-12-31T23:59", "9999-12-31T23:59-23:00"):
                assert (next_run({"kind": "at", "at": at, "timezone": zone}, NOW) is None) == at.startswith("0")
                assert parse({**schedule, "anchor": at}).next(edge) != edge
            assert shown(next_run(schedule, NOW, edge))
            parse(schedule).period(edge)


NO_DATABASE = """
import sys
sys.modules["tzdata"] = None
from datetime import datetime, timezone
from agentkit.schedule import next_run
now = datetime(2026, 11, 22, 10, 30, tzinfo=timezone.utc)
print(next_run({"kind": "cron", "expr": "0 9 * * *"}, now))
next_run({"kind": "cron", "expr": "0 9 * * *", "timezone": "Europe/Riga"}, now)
"""


def test_without_a_tz_database_jobs_without_a_timezone_run_and_others_are_told_what_to_install() -> None:
    environ = {**os.environ, "PYTHONTZPATH": "", "TZ": "XYZ-2"}
    ended = subprocess.run(
        [sys.executable, "-c", NO_DATABASE], env=environ, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert ended.stdout == "2026-11-23 09:00:00+02:00\n"
    assert "ScheduleError: timezone: there is no tz database here: install it with pip install tzdata" in ended.stderr


# -- for a person, and from one


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ({"kind": "every", "every_seconds": 1800}, "every 30m"),
        ({"kind": "every", "every_seconds": 5400}, "every 1h30m"),
        ({"kind": "every", "every_seconds": 90.5}, "every 1m30.5s"),
        ({"kind": "every", "every_seconds": 694_861}, "every 8d1h1m1s"),
        ({"kind": "at", "at": "2026-12-01T09:00"}, "at 2026-12-01 09:00"),
        ({"kind": "at", "at": "2026-12-01T09:00:05", "timezone": "Europe/Riga"}, "at 2026-12-01 09:00:05 Europe/Riga"),
        ({"kind": "at", "at": "2026-12-01T09:00+02:00"}, "at 2026-12-01 09:00 UTC+02:00"),
        ({"kind": "cron", "expr": " 0  9 * * 1-5\n"}, "0 9 * * 1-5"),
        ({"kind": "cron", "expr": "0 9 * * 1-5", "timezone": "Europe/Berlin"}, "0 9 * * 1-5 Europe/Berlin"),
    ],
)
def test_a_schedule_has_words_for_a_person(schedule: dict[str, Any], words: str) -> None:
    assert parse(schedule).words == words


def every(seconds: float) -> dict[str, Any]:
    return {"kind": "every", "every_seconds": seconds}


def once(at: str) -> dict[str, Any]:
    return {"kind": "at", "at": at}


def cron(expr: str) -> dict[str, Any]:
    return {"kind": "cron", "expr": expr}


@pytest.mark.parametrize(
    ("line", "schedule", "rest"),
    [
        ("every 30m check the mail", every(1800), "check the mail"),
        ("every 90 check", every(90), "check"),
        ("every 90 3 blind mice", every(90), "3 blind mice"),
        ("every 1h30m  two\nlines ", every(5400), "two\nlines"),
        ("Every 2 hours check", every(7200), "check"),
        ("every 30 Minutes check", every(1800), "check"),
        ("every 1.5h check", every(5400), "check"),
        ("every 1.5 check", every(1.5), "check"),
        ("every 1w", every(604_800), ""),
        ("at 2026-12-01 09:00 go", once("2026-12-01T09:00"), "go"),
        ("at 2026-12-01 9:00 go", once("2026-12-01T09:00"), "go"),
        ("at 2026-12-01T09:00:00+02:00 go", once("2026-12-01T09:00:00+02:00"), "go"),
        ("at 2026-12-01 09:00 z go", once("2026-12-01T09:00Z"), "go"),
        ("at 2026-12-01 09:00 3 times", once("2026-12-01T09:00"), "3 times"),
        ("at 12:00Z go", once("2026-11-22T12:00Z"), "go"),
        ("at 9:00Z go", once("2026-11-23T09:00Z"), "go"),
        ("at 12:00+14:00 go", once("2026-11-23T12:00+14:00"), "go"),
        ("at 12:00 tz=Asia/Tokyo go", {**once("2026-11-23T12:00"), "timezone": "Asia/Tokyo"}, "go"),
        ("at 23:00 tz=Asia/Tokyo go", {**once("2026-11-22T23:00"), "timezone": "Asia/Tokyo"}, "go"),
        ("0 9 * * 1-5 stand-up", cron("0 9 * * 1-5"), "stand-up"),
        ("0  9 * *\t1-5 3 things", cron("0 9 * * 1-5"), "3 things"),
        ("0 9 * * * Sun is up", cron("0 9 * * *"), "Sun is up"),
        ("*/5 * * * * tz=Europe/Riga go", {**cron("*/5 * * * *"), "timezone": "Europe/Riga"}, "go"),
        ('"0 0 9 * * *" go', cron("0 0 9 * * *"), "go"),
        ("'0 0 9 * * * 2030' TZ=UTC go", {**cron("0 0 9 * * * 2030"), "timezone": "UTC"}, "go"),
        ("“0 9 * * *” * is a star", cron("0 9 * * *"), "* is a star"),
        ("@daily go", cron("@daily"), "go"),
        ("@daily\tgo", cron("@daily"), "go"),
        (" @weekly", cron("@weekly"), ""),
    ],
)
def test_a_line_begins_with_its_schedule(line: str, schedule: dict[str, Any], rest: str) -> None:
    assert spoken(line, NOW) == (schedule, rest)


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("", "schedule"),
        ("check the mail", "schedule"),
        ("0 9 * *", "schedule"),
        ("every", "every_seconds"),
        ("every day at 9", "every_seconds"),
        ("every 30x check", "every_seconds"),
        ("every 2 months check", "every_seconds"),
        ("every 500 ms check", "every_seconds"),
        ("every 0 check", "every_seconds"),
        ("every 9999999999d check", "every_seconds"),
        ("every 99999999999999999999 check", "every_seconds"),
        ("at noon go", "at"),
        ("at 2026-12-01 go", "at"),
        ("at 2026-13-01 09:00 go", "at"),
        ("at 25:00 go", "at"),
        ("at 2020-01-01 09:00 go", "at"),
        ("61 * * * * go", "expr"),
        ("0 0 9 * * * go", "expr"),
        ("0 0 9 * * 1-5 go", "expr"),
        ("0 0 9 * * MON-FRI go", "expr"),
        ('"0 9" go', "expr"),
        ('"0 0 9 1 1 * 2020" go', "expr"),
        ("@reboot go", "expr"),
        ("0 9 * * * tz=Mars/Base go", "timezone"),
        ("0 9 * * * tz= go", "timezone"),
    ],
)
def test_a_line_that_begins_with_no_schedule_is_refused(line: str, field: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        spoken(line, NOW)
    assert caught.value.field == field and "\n" not in str(caught.value)


def test_a_time_without_a_date_needs_to_know_what_day_it_is() -> None:
    with pytest.raises(ScheduleError, match=r"^at: lacks a date: write it as at 2026-12-01 09:00"):
        spoken("at 09:00 go")


@given(st.text(alphabet="every at0123456789:-+TZ*/,#L@dailtzmh=\"' \n", max_size=40) | st.text(max_size=40))
def test_whatever_is_typed_it_is_a_schedule_or_refused_in_one_line(line: str) -> None:
    try:
        schedule, rest = spoken(line, NOW)
    except ScheduleError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert parse(schedule).words and line.rstrip().endswith(rest)
