"""The jobs of CRON.json: what is wrong is named by job and field, the rest is in force, and a change loses nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.errors import CommandError
from agentkit.job import Job, job
from agentkit.jobs import Jobs

from .program import ROOT

CASES = os.environ.get("AGENTKIT_CASES")

HOURLY = {"kind": "cron", "expr": "0 * * * *"}
ASK = {"kind": "agent_turn", "message": "Say something."}
SAMPLE = """{
  "jobs": [
    {"id": "morning", "name": "Morning summary", "schedule": {"kind": "cron", "expr": "0 0 9 * * * *"}, \
"payload": {"kind": "agent_turn", "message": "Summarise what is open."}},
    {"id": "pulse", "name": "Pulse", "schedule": {"kind": "every", "every_seconds": 1800}, \
"payload": {"kind": "system_event", "text": "Half an hour has passed."}},
    {"id": "launch", "name": "Launch", "schedule": {"kind": "at", "at": "2027-01-15T09:00:00+02:00"}, \
"payload": {"kind": "agent_turn", "message": "Check the launch page."}, "delete_after_run": true},
    {"id": "broken", "name": "Bad minute", "schedule": {"kind": "cron", "expr": "61 * * * *"}, \
"payload": {"kind": "system_event", "text": "never"}}
  ]
}
"""


def record(id: str = "", **more: Any) -> dict[str, Any]:
    return {**({"id": id} if id else {}), "schedule": HOURLY, "payload": ASK, **more}


class World:
    """A folder with a CRON.json."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "CRON.json"
        self.jobs = Jobs(self.path)

    def write(self, content: object) -> None:
        """As a person does, from outside; records become the list of jobs."""
        if isinstance(content, list):
            content = json.dumps({"jobs": content})
        self.path.write_bytes(content if isinstance(content, bytes) else str(content).encode())

    def ids(self) -> list[str]:
        return [each.id for each in self.jobs.look().jobs]

    def problems(self) -> tuple[str, ...]:
        return self.jobs.look().problems

    def job(self, id: str) -> Job:
        return next(each for each in self.jobs.look().jobs if each.id == id)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


# -- what is in the file


def test_the_sample_of_the_project_has_jobs_and_one_that_is_named_with_its_line_and_field(world: World) -> None:
    world.write((Path(CASES) / "CRON.json").read_bytes() if CASES else SAMPLE)
    table = world.jobs.look()
    assert [each.id for each in table.jobs if each.id != "weekday"] == ["morning", "pulse", "launch"]
    line = 3 + len(table.jobs)
    assert table.problems == (
        f"CRON.json, line {line}, job broken (Bad minute): schedule.expr: minute: 61 is not within 0 to 59.",
    )
    pulse, launch = world.job("pulse"), world.job("launch")
    assert (pulse.kind, pulse.text, pulse.schedule.words) == (
        "system_event",
        "Half an hour has passed.",
        "every 30m",
    )
    assert (launch.kind, launch.text) == ("agent_turn", "Check the launch page.")
    assert [launch.delete_after_run, pulse.delete_after_run] == [True, False]
    assert all(each.enabled for each in table.jobs)


def test_fields_that_are_left_out_or_null_are_empty_and_others_are_left_alone(world: World) -> None:
    world.write([record("a", name=None, agent_id=None, channel="", to=None, note={"by": "ann"})])
    made = world.job("a")
    assert (made.name, made.agent_id, made.channel, made.to, made.enabled) == ("a", "", "", "", True)
    world.write([record("a", name="Z", agent_id="ops", channel="discord", to="1", enabled=False)])
    made = world.job("a")
    assert (made.name, made.agent_id, made.channel, made.to, made.enabled) == ("Z", "ops", "discord", "1", False)
    assert world.problems() == ()


BROKEN: list[tuple[object, str]] = [
    ("text", "it is no object"),
    (None, "it is no object"),
    ([], "it is no object"),
    ({}, "id: it is missing"),
    (record(), "id: it is missing"),
    (record(name="!!"), "id: it is missing, and cannot be made from the name"),
    (record(id=""), "id: it is missing"),
    ({**record("x"), "id": 5}, "id: is no text: write it in quotes"),
    (record("x" * 65), "id: it has 65 characters, of at most 64"),
    (record("a\nb"), "id: it holds a character that cannot be printed"),
    (record("\ud800"), "id: it holds a character that cannot be printed"),
    (record("x", name=["x"]), "name: is no text"),
    (record("x", enabled="yes"), "enabled: must be true or false"),
    (record("x", enabled=1), "enabled: must be true or false"),
    (record("x", enabled=None), "enabled: must be true or false"),
    (record("x", delete_after_run="no"), "delete_after_run: must be true or false"),
    (record("x", agent_id=7), "agent_id: is no text"),
    (record("x", channel={}), "channel: is no text"),
    (record("x", to=112233445566), "to: is no text: write it in quotes"),
    (record("x", to="42"), "to: needs a channel beside it, such as discord"),
    (record("x", channel=" ", to="42"), "to: needs a channel beside it, such as discord"),
    ({"id": "x", "payload": ASK}, "schedule: is missing"),
    (record("x", schedule=None), "schedule: must be an object"),
    (record("x", schedule="0 9 * * *"), "schedule: must be an object"),
    (record("x", schedule={}), "schedule.kind: "),
    (record("x", schedule={"kind": "cron"}), "schedule.expr: "),
    (record("x", schedule={"kind": "cron", "expr": "0 0 31 2 *"}), "schedule.expr: "),
    (record("x", schedule={"kind": "every", "every_seconds": 0}), "schedule.every_seconds: "),
    (record("x", schedule={"kind": "at", "at": "soon"}), "schedule.at: "),
    (record("x", schedule={**HOURLY, "timezone": "Europe/Nowhere"}), "schedule.timezone: "),
    ({"id": "x", "schedule": HOURLY}, "payload: must be an object"),
    (record("x", payload="Say something."), "payload: must be an object"),
    (record("x", payload={"message": "hello"}), "payload.kind: must be agent_turn or system_event"),
    (record("x", payload={"kind": ["agent_turn"]}), "payload.kind: must be"),
    (record("x", payload={"kind": "agent_turn", "text": "hello"}), "payload.message: is empty"),
    (record("x", payload={"kind": "agent_turn", "message": " \n"}), "payload.message: is empty"),
    (record("x", payload={"kind": "system_event", "message": "hello"}), "payload.text: is empty"),
    (record("x", payload={"kind": "system_event", "text": 5}), "payload.text: is empty, or no text"),
]


@pytest.mark.parametrize(("broken", "why"), BROKEN)
def test_a_job_with_a_mistake_is_named_by_its_field_and_the_others_run(world: World, broken: object, why: str) -> None:
    world.write(f'{{"jobs": [{json.dumps(record("a"))},\n\n{json.dumps(broken)},\n{json.dumps(record("b"))}]}}')
    assert world.ids() == ["a", "b"]
    (told,) = world.problems()
    assert told.startswith("CRON.json, line 3, job ")
    assert f": {why}" in told
    assert told.isprintable()


@pytest.mark.parametrize(("broken", "why"), [each for each in BROKEN if isinstance(each[0], dict)])
def test_what_is_no_job_is_not_added_either(world: World, broken: dict[str, Any], why: str) -> None:
    given = {**broken, "id": broken.get("id") or "new"}
    if why.startswith("id: it is missing"):
        given["payload"] = why = "payload: must be an object"
    with pytest.raises(CommandError, match="That is no job: ") as refused:
        world.jobs.add(given)
    assert why in str(refused.value)
    assert not world.path.exists()


def test_an_id_is_made_from_the_name_and_the_later_one_of_two_is_told(world: World) -> None:
    world.write([record(name="Morning Summary!"), record("x"), record("morning-summary"), record("x", name="Other")])
    assert world.ids() == ["morning-summary", "x"]
    assert [each.partition(", job ")[2] for each in world.problems()] == [
        "morning-summary: id: the job in line 1 has it already, so give this one another.",
        "x (Other): id: the job in line 1 has it already, so give this one another.",
    ]


def test_what_decides_when_a_job_is_due_can_be_told_from_the_rest(world: World) -> None:
    world.write([record("a"), record("b", name="other", schedule=dict(reversed(HOURLY.items())))])
    a, b = world.jobs.look().jobs
    assert a.written == b.written
    world.write([record("a", schedule={**HOURLY, "expr": "1 * * * *"}), record("b", enabled=False)])
    assert world.job("a").written != a.written
    assert world.job("b").written == b.written


def test_a_thousand_mistakes_are_a_few_lines(world: World) -> None:
    world.write([record(f"j{n}", payload=None) for n in range(1_000)] + [record("a")])
    assert world.ids() == ["a"]
    assert len(world.problems()) == 51
    assert world.problems()[-1] == "CRON.json: 950 more of this kind."


def test_ten_thousand_jobs_are_read_and_one_of_them_is_changed(world: World) -> None:
    world.write([record(f"j{n}", schedule={**HOURLY, "expr": f"{n % 60} * * * *"}) for n in range(10_000)])
    before = world.jobs.look().jobs
    assert len(before) == 10_000
    world.jobs.switch("j5000", False)
    after = world.jobs.look().jobs
    assert [each.id for each in after if not each.enabled] == ["j5000"]
    assert sum(one is other for one, other in zip(before, after, strict=True)) == 9_999  # they are not read anew


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["kind", "message", "x"]), inner),
    max_leaves=4,
)
fields = ["id", "name", "enabled", "schedule", "payload", "agent_id", "channel", "to", "delete_after_run", "more"]


@given(st.dictionaries(st.sampled_from(fields), values))
def test_whatever_a_job_holds_it_is_one_or_a_field_is_named(changed: dict[str, Any]) -> None:
    try:
        made = job({**record("a"), **changed})
    except ValueError as error:
        assert str(error).split(":")[0].split(".")[0] in fields
        assert str(error).isprintable()
    else:
        assert made.id.isprintable()
        assert made.text.strip()


# -- the file as a whole


def test_a_file_that_is_not_there_or_not_any_more_holds_no_jobs(world: World) -> None:
    table = world.jobs.look()
    assert (table.jobs, table.problems) == ((), ())
    assert world.jobs.look() is table
    assert world.jobs.remove("a") is False
    assert not world.path.exists()
    world.write("[5, {}]")
    assert world.jobs.remove("") is False
    world.write([record("a")])
    assert world.ids() == ["a"]
    world.path.unlink()
    assert world.ids() == []


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"jobs": []}', '\ufeff{"jobs":\r\n[]}', '{"version": 1, "more": {"jobs": [1]}}']
)
def test_a_file_may_be_without_jobs(world: World, content: str) -> None:
    world.write(content)
    assert (world.ids(), world.problems()) == ([], ())


def test_a_bare_list_of_jobs_is_taken_too(world: World) -> None:
    world.write(json.dumps([record("a"), record("b")]))
    assert world.ids() == ["a", "b"]
    world.jobs.add(record("c"))
    assert world.ids() == ["a", "b", "c"]
    assert [each["id"] for each in json.loads(world.path.read_bytes())] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", 'line 1, column 1: it begins with {"jobs": ['),
        (b" \n null", 'line 2, column 2: it begins with {"jobs": ['),
        (b'"jobs"', "line 1, column 1: it begins with"),
        (b'{"jobs": {}}', "line 1, column 10: an array of jobs begins with ["),
        (b'{"jobs": null}', "line 1, column 10: an array of jobs begins with ["),
        (b'{\n "Jobs": []}', 'line 2, column 2: no array is called "jobs"'),
        (b'{"jobs": [],\n "jobs": []}', "line 2, column 2: jobs is there twice"),
        (b'{"jobs": [],\n}', "line 2, column 1: a name in quotes is missing"),
        (b"{'jobs': []}", "line 1, column 2: a name in quotes is missing"),
        (b'{"jobs" []}', "line 1, column 9: a colon is missing"),
        (b'{"jobs": []\n "x": 1}', "line 2, column 2: a comma or } is missing"),
        (b'{"jobs": [{}\n {}]}', "line 2, column 2: a comma or ] is missing"),
        (b'{"jobs": [{},\n ]}', "line 2, column 2: Expecting value"),
        (b'{"jobs": []}\n]', "line 2, column 1: nothing can follow the }"),
        (b"[]\n[]", "line 2, column 1: nothing can follow the ]"),
        (b'{"jobs": [\n {"id": tru}]}', "line 2, column 9: Expecting value"),
        (b'{"jobs": [\n // mine\n ]}', "line 2, column 2: Expecting value"),
        ('\ufeff{"jobs": ]'.encode(), "line 1, column 10: an array of jobs"),
        (b'{"jobs": [{"x": "\x80"}]}', "line 1, column 18: it is not UTF-8"),
        ('{"jobs": []}'.encode("utf-16"), "line 1, column 1: it is not UTF-8"),
        (b'{"jobs": [{"x": NaN}]}', "line 1, column 11: a number in this entry"),
        (b'{"jobs": [' + b"[" * 200_000, "nested too deeply"),
        (b"\0" * 50, "line 1, column 1: it begins with"),
    ],
)
def test_a_file_that_is_broken_is_told_with_its_place_and_leaves_everything_as_it_was(
    world: World, content: bytes, what: str
) -> None:
    world.write([record("a"), record("b", enabled=False)])
    before = world.jobs.look().jobs
    world.write(content)
    table = world.jobs.look()
    assert table.jobs == before
    (told,) = table.problems
    assert told.startswith("CRON.json is broken: ")
    assert what in told
    for change in (
        lambda: world.jobs.add(record("c")),
        lambda: world.jobs.remove("a"),
        lambda: world.jobs.switch("a", False),
    ):
        with pytest.raises(CommandError, match=r"CRON\.json is broken: .*Put it right"):
            change()
    assert world.path.read_bytes() == content
    world.write([record("c")])
    assert (world.ids(), world.problems()) == (["c"], ())


def test_a_file_cut_off_at_any_byte_leaves_the_jobs_as_they_were(world: World) -> None:
    whole = json.dumps({"jobs": [record("a", name="é"), record("b")], "more": 1}, ensure_ascii=False).encode()
    world.write(whole)
    before = world.jobs.look().jobs
    for size in range(len(whole)):
        world.write(whole[:size])
        table = world.jobs.look()
        assert table.jobs == before, whole[:size]
        assert "is broken: line 1, column" in table.problems[0]
    world.write(whole)
    assert world.problems() == ()


def a_loop(path: Path) -> None:
    path.symlink_to(path)


def a_huge_file(path: Path) -> None:
    path.touch()
    os.truncate(path, 100 << 20)


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, a_loop, a_huge_file])
def test_what_is_no_usable_file_is_told_and_never_waited_for(world: World, make: Callable[[Path], None]) -> None:
    world.write([record("a")])
    assert world.ids() == ["a"]
    world.path.unlink()
    make(world.path)
    table = world.jobs.look()
    open_files = len(os.listdir("/dev/fd"))
    for _ in range(3):
        assert world.jobs.look() is table
        with pytest.raises(CommandError):
            world.jobs.add(record("b"))
    assert len(os.listdir("/dev/fd")) == open_files
    assert ([each.id for each in table.jobs], len(table.problems)) == (["a"], 1)
    if world.path.is_dir():
        world.path.rmdir()
    else:
        world.path.unlink()
    world.write([record("a")])
    assert (world.ids(), world.problems()) == (["a"], ())


def test_a_look_gives_the_very_same_table_while_nothing_has_changed(world: World) -> None:
    world.write([record("a")])
    table = world.jobs.look()
    assert world.jobs.look() is table
    os.utime(world.path, (1, 1))
    assert world.jobs.look() is table
    world.write([record("b")])
    assert world.ids() == ["b"]


def test_an_edit_of_the_same_size_within_a_tick_is_not_missed(world: World) -> None:
    for turn in range(20):
        for id in ("a", "b"):
            world.write([record(id)])
            assert world.ids() == [id], turn


# -- changes


def test_adding_makes_a_file_that_reads_well_and_what_is_emptied_stays_one(world: World) -> None:
    made = world.jobs.add({"name": "Tea time", "schedule": HOURLY, "payload": ASK})
    assert (made.id, made.name, made.text) == ("tea-time", "Tea time", "Say something.")
    assert world.jobs.add(record("b", enabled=False)).enabled is False
    tea = json.dumps({"id": "tea-time", "name": "Tea time", "schedule": HOURLY, "payload": ASK})
    b = json.dumps(record("b", enabled=False))
    assert world.path.read_text() == f'{{\n  "jobs": [\n    {tea},\n    {b}\n  ]\n}}\n'
    assert world.ids() == ["tea-time", "b"]
    assert world.jobs.remove("tea-time") is True
    assert world.jobs.remove("tea-time") is False
    assert world.path.read_text() == f'{{\n  "jobs": [\n    {b}\n  ]\n}}\n'
    assert world.jobs.remove("b") is True
    assert world.path.read_text() == '{\n  "jobs": []\n}\n'


NEW = json.dumps(record("new"))
A, B = (json.dumps(record(id)) for id in "ab")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("{}", f'{{"jobs": [\n  {NEW}\n]}}'),
        ('{ "version": 1 }', f'{{ "version": 1, "jobs": [\n  {NEW}\n] }}'),
        ('{"jobs": [], "x": [1,  2]}', f'{{"jobs": [\n  {NEW}\n], "x": [1,  2]}}'),
        ("\ufeff  [ ]\n", f"\ufeff  [\n    {NEW}\n  ]\n"),
        (f'{{"jobs":[{A}]}}', f'{{"jobs":[{A}, {NEW}]}}'),
        (f'{{"jobs":[{A},\t{B} ]}}', f'{{"jobs":[{A},\t{B},\t{NEW} ]}}'),
        (f'{{"x":0,\r\n"jobs" : [\r\n\t{A}\r\n]}}', f'{{"x":0,\r\n"jobs" : [\r\n\t{A},\r\n\t{NEW}\r\n]}}'),
        (f"[\n\n {A}  , \n {B}\n\n]\n\n", f"[\n\n {A}  , \n {B}, \n {NEW}\n\n]\n\n"),
    ],
)
def test_a_job_is_added_in_the_manner_of_those_before_it(world: World, before: str, after: str) -> None:
    world.write(before)
    world.jobs.add(record("new"))
    assert world.path.read_bytes().decode() == after
    assert world.ids()[-1] == "new"


@pytest.mark.parametrize(
    ("before", "enabled", "after"),
    [
        ('{"id": "a", %s, "enabled":true }', False, '{"id": "a", %s, "enabled":false }'),
        ('{"enabled" : false, "id": "a", %s}', True, '{"enabled" : true, "id": "a", %s}'),
        ('{"id": "a", %s}', False, '{"id": "a", "enabled": false, %s}'),
        ('{\n  "id": "a",\n  %s\n}', False, '{\n  "id": "a",\n  "enabled": false,\n  %s\n}'),
        ('{"enabled": 5, "id": "a", %s, "enabled": false}', True, '{"enabled": 5, "id": "a", %s, "enabled": true}'),
        ('{"id": "a", %s}', True, '{"id": "a", %s}'),
        ('{"id": "a", "x": {"enabled": true}, %s}', False, '{"id": "a", "enabled": false, "x": {"enabled": true}, %s}'),
    ],
)
def test_switching_a_job_changes_that_word_alone(world: World, before: str, enabled: bool, after: str) -> None:
    rest = '"name":"Zo\\u00eb [{\\"", "schedule" : ' + json.dumps(HOURLY) + ',  "payload":' + json.dumps(ASK)
    around = '{"a":  [1,2] , "jobs": [%s , %s],"b" :1e2}'
    world.write(around % (before.replace("%s", rest), B))
    assert world.jobs.switch("a", enabled).enabled is enabled
    assert world.path.read_text() == around % (after.replace("%s", rest), B)
    assert [each.enabled for each in world.jobs.look().jobs] == [enabled, True]


blanks = st.text(" \n\t", max_size=3)


@given(
    st.lists(st.tuples(st.dictionaries(st.text(max_size=3), values), blanks, blanks), max_size=4),
    st.tuples(blanks, blanks, blanks),
    st.lists(st.tuples(st.sampled_from(["add", "switch", "remove"]), st.integers(0, 9)), max_size=4),
)
def test_in_any_file_a_change_leaves_every_other_job_and_all_around_as_written(
    tmp_path_factory: pytest.TempPathFactory,
    extras: list[tuple[dict[str, Any], str, str]],
    around: tuple[str, str, str],
    changes: list[tuple[str, int]],
) -> None:
    world = World(tmp_path_factory.mktemp("world"))
    texts = [
        (
            json.dumps(record(f"j{n}", note=extra), indent=n % 3 or None).replace("NaN", "0").replace("Infinity", "1"),
            *gaps,
        )
        for n, (extra, *gaps) in enumerate(extras)
    ]
    head, tail = f'{around[0]}{{"x":{around[1]}"]",{around[2]}"jobs":[', f'], {around[1]}"y": [[],{{}}]}}{around[2]}'
    world.write(head + ",".join(f"{before}{text}{after}" for text, before, after in texts) + tail)
    ids = [f"j{n}" for n in range(len(texts))]
    assert world.ids() == ids
    kept = dict(zip(ids, [text for text, *_ in texts], strict=True))
    for change, which in changes:
        if change == "add" or not ids:
            ids.append(world.jobs.add(record(name="new")).id)
        else:
            id = ids[which % len(ids)]
            kept.pop(id, None)
            if change == "switch":
                world.jobs.switch(id, not world.job(id).enabled)
            else:
                assert world.jobs.remove(id)
                ids.remove(id)
        assert world.ids() == ids
        written = world.path.read_text()
        assert written.startswith(head)
        assert written.endswith(tail)
        assert all(text in written for text in kept.values())
        json.loads(written)


def test_an_id_that_is_left_out_is_one_that_nobody_has(world: World) -> None:
    world.write([record("tea"), record("tea-2", payload=None), record(name="Tea-3", id="")])
    assert [world.jobs.add({**record(name="Tea"), "id": id}).id for id in ("", None, "  ")] == [
        "tea-4",
        "tea-5",
        "tea-6",
    ]
    assert [world.jobs.add(record(name=name)).id for name in ("☕", None)] == ["job", "job-2"]
    long = [world.jobs.add(record(name="x" * 200)).id for _ in range(11)]
    assert {len(each) for each in long} == {64}
    assert len(set(long)) == 11
    assert len(world.problems()) == 1


def test_an_id_that_is_taken_is_refused_also_where_that_job_has_a_mistake(world: World) -> None:
    world.write([record("a"), record("b", payload=None)])
    before = world.path.read_bytes()
    for id in "ab":
        with pytest.raises(CommandError, match=f"There is a job {id} already"):
            world.jobs.add(record(id))
    assert world.path.read_bytes() == before


@pytest.mark.parametrize("odd", [{"x": object()}, {"x": float("nan")}, {"x": float("inf")}, {"x": 10**5000}])
def test_what_json_cannot_carry_is_not_written(world: World, odd: dict[str, Any]) -> None:
    with pytest.raises(CommandError, match="That is no job: "):
        world.jobs.add(record("a", **odd))
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(CommandError, match="That is no job: "):
        world.jobs.add(record("a", x=deep))
    assert not world.path.exists()
    while deep:
        deep = deep.pop()


def test_any_text_can_be_added_and_is_read_again(world: World) -> None:
    text = '\ud800 \U0001f600 "\\ \u2028 é \x00'
    world.jobs.add(record("a", payload={"kind": "agent_turn", "message": text}))
    assert world.job("a").text == text


def test_a_job_with_a_mistake_can_be_removed_but_not_switched(world: World) -> None:
    world.write(SAMPLE)
    with pytest.raises(CommandError, match=r"Job broken cannot run \(schedule\.expr: minute: .*put it right"):
        world.jobs.switch("broken", True)
    assert world.path.read_text() == SAMPLE
    assert world.jobs.remove("broken") is True
    assert world.problems() == ()
    with pytest.raises(CommandError, match="There is no job broken: /cron lists them"):
        world.jobs.switch("broken", True)


def test_where_two_jobs_have_an_id_neither_is_taken_for_the_other(world: World) -> None:
    world.write(f"[{A},\n{A}]")
    for change in (lambda: world.jobs.remove("a"), lambda: world.jobs.switch("a", False)):
        with pytest.raises(CommandError, match=r"CRON\.json has 2 jobs a \(lines 1, 2\): give each an id"):
            change()
    assert world.path.read_text() == f"[{A},\n{A}]"


def test_what_is_already_so_is_not_written_again(world: World) -> None:
    world.write([record("a")])
    before = world.path.stat()
    world.jobs.switch("a", True)
    world.jobs.remove("b")
    assert (world.path.stat().st_ino, world.path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_link_stays_one_and_the_file_it_leads_to_keeps_its_rights(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere" / "mine.json"
    real.parent.mkdir()
    real.write_text("[]")
    real.chmod(0o640)
    world = World(tmp_path)
    world.path.symlink_to(real)
    world.jobs.add(record("a"))
    assert world.path.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert world.ids() == ["a"]


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"cannot be changed .*then try again"):
        World(tmp_path / "absent").jobs.add(record("a"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_that_may_not_be_written_is_left_alone(world: World) -> None:
    world.write([record("a")])
    world.path.chmod(0o400)
    with pytest.raises(CommandError, match="write-protected"):
        world.jobs.add(record("b"))
    assert world.ids() == ["a"]


# -- crashes, other processes and hands


def run(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ}, text=True, stdout=-1, stderr=-1)


def finished(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, output + errors
    return output


CRASHES = """
import json, os, sys
from pathlib import Path
from agentkit.jobs import Jobs
from tests.crash import Ending, child

folder, new = Path(sys.argv[1]), json.loads(sys.argv[2])
for at in range(1, 100):
    path = Path(folder, str(at), "CRON.json")
    path.parent.mkdir()
    path.write_bytes(Path(folder, "whole.json").read_bytes())

    def work():
        Ending(at)
        jobs = Jobs(path)
        jobs.add(new)
        jobs.switch("a", False)
        jobs.remove("b")

    child(work)
    if os.waitstatus_to_exitcode(os.wait()[1]) == 0:
        break
print(at)
"""


def test_a_process_that_ends_at_any_step_leaves_the_old_jobs_or_the_new_ones(tmp_path: Path) -> None:
    (tmp_path / "whole.json").write_text(json.dumps([record("a"), record("b")]))
    calls = int(finished(run(CRASHES, tmp_path, json.dumps(record("c")))))
    assert calls > 15
    states = []
    for at in range(1, calls + 1):
        world = World(tmp_path / str(at))
        states.append([(each.id, each.enabled) for each in world.jobs.look().jobs])
        assert world.problems() == ()
        world.jobs.add(record("next"))
    steps = [
        [("a", True), ("b", True)],
        [("a", True), ("b", True), ("c", True)],
        [("a", False), ("b", True), ("c", True)],
        [("a", False), ("c", True)],
    ]
    assert [each for at, each in enumerate(states) if at == 0 or each != states[at - 1]] == steps


ADDS = """
import json, sys
from pathlib import Path
from agentkit.jobs import Jobs

jobs = Jobs(Path(sys.argv[1]))
for _ in range(20):
    jobs.add(json.loads(sys.argv[2]))
"""


def test_two_processes_and_two_threads_that_add_at_once_lose_nothing(world: World) -> None:
    new = record(name="new")
    processes = [run(ADDS, world.path, json.dumps(new)) for _ in range(2)]

    def work() -> None:
        for _ in range(20):
            made = world.jobs.add(new)
            assert made.id in world.ids()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for process in processes:
        finished(process)
    assert sorted(world.ids()) == sorted(["new", *(f"new-{n}" for n in range(2, 81))])


EDITED = """
import json, sys
from pathlib import Path
from agentkit.jobs import Jobs

path, times = Path(sys.argv[1]), int(sys.argv[2])

def hand(event, arguments):
    global times
    if event == "os.rename" and times and arguments[1] != path.name:
        times -= 1
        path.write_text(path.read_text().replace('"jobs"', '"by hand %d": 1, "jobs"' % times))

sys.addaudithook(hand)
try:
    Jobs(path).add(json.loads(sys.argv[3]))
    print("added")
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(("edits", "outcome"), [(1, "added"), (3, "added"), (99, "CommandError")])
def test_an_edit_while_a_job_is_added_is_never_overwritten(world: World, edits: int, outcome: str) -> None:
    world.write([record("a")])
    assert finished(run(EDITED, world.path, edits, json.dumps(record("b")))).startswith(outcome)
    assert world.path.read_text().count("by hand") == min(edits, 5)
    assert world.ids() == (["a", "b"] if outcome == "added" else ["a"])
    assert [each.name for each in world.path.parent.iterdir()] == ["CRON.json"]


HOLDS = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(fd, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_process_that_holds_the_file_for_ever_holds_up_nobody_who_looks(world: World) -> None:
    world.write([record("a")])
    assert world.ids() == ["a"]
    command = [sys.executable, "-c", HOLDS, str(world.path.parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        refused: list[str] = []

        def work() -> None:
            try:
                world.jobs.add(record("b"))
            except CommandError as error:
                refused.append(str(error))

        thread = threading.Thread(target=work)
        thread.start()
        looks = 0
        while thread.is_alive():
            assert world.ids() == ["a"]
            looks += 1
            thread.join(0.05)
        assert looks > 1
        assert "another process is changing it" in refused[0]
        holder.stdin.close()
    world.jobs.add(record("b"))
    assert world.ids() == ["a", "b"]
