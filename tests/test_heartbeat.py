"""Heartbeats, with all that App builds around them and a clock that the test sets."""

from __future__ import annotations

import threading
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from agentkit.events import Done, Error, Interrupted
from agentkit.names import encoded
from agentkit.session import Opening

from .beating import ASKED, DAY, HOUR, HOURLY, MINE, SPENT, Person, World, until
from .loopback import Request, Response, call_stream, json_error, text_stream

HEAD = "---\ninterval: 1h\nactive_hours: 0, 24\n"
OPS = "agent:ops:direct:cli-user"


def roles(request: Request) -> list[str]:
    """Who speaks, without the system prompt."""
    return [each["role"] for each in request.json["messages"][1:]]


def in_turns(request: Request) -> bool:
    """Do question and answer come in turns, as strict servers want it?"""
    return roles(request) == [("user", "assistant")[at % 2] for at in range(len(roles(request)))]


# -- what a beat sends


def test_a_beat_sends_who_it_is_what_it_remembers_the_instructions_and_the_time_and_nothing_else(
    tmp_path: Path,
) -> None:
    with World(tmp_path) as world:
        agent = world.workspace / ".agents" / "assistant"
        (agent / "TOOLS.md").write_text("Use tools with care.")
        (agent / "memory").mkdir()
        (agent / "memory" / "cake.md").write_text("---\ntldr: the cake needs 40 minutes\n---\nA long story.")
        world.person.say("a secret between us")
        assert world.pass_() == "silent"
        [request] = world.asked()
        system, said = request.json["messages"]
        assert system["content"].startswith("You are terse.") and "the cake needs 40 minutes" in system["content"]
        assert "A long story" not in system["content"] and "Use tools" not in system["content"]
        assert said["content"].endswith("Look after the oven.") and ASKED in said["content"]
        assert said["content"].startswith(f"[{date.today()} ")
        assert "secret" not in request.body.decode()


def tools(request: Request) -> set[str]:
    return {each["function"]["name"] for each in request.json.get("tools", ())}


def test_its_tools_only_read_unless_the_settings_list_more(tmp_path: Path) -> None:
    reading = {"read_file", "list_dir", "glob", "grep"}
    with World(tmp_path / "a") as world:
        world.person.say("hello")
        world.pass_()
        assert tools(world.asked()[0]) == reading
    with World(tmp_path / "b", unattended_tools=("bash", "remember")) as world:
        world.person.say("hello")
        world.pass_()
        assert tools(world.asked()[0]) == reading | {"bash", "remember"}


def test_a_tool_that_is_listed_runs_unasked_and_leaves_nothing_in_the_conversation(tmp_path: Path) -> None:
    call = call_stream(("bash", {"command": f"touch {tmp_path}/made"}))
    with World(tmp_path, call, "I have made it.", unattended_tools=("bash",)) as world:
        world.person.say("hello")
        assert world.pass_().startswith("said")
        assert (tmp_path / "made").exists()
        assert [each["role"] for each in world.said()] == ["user", "assistant"] * 2


def test_a_tool_that_is_not_listed_does_not_run(tmp_path: Path) -> None:
    call = call_stream(("bash", {"command": f"touch {tmp_path}/made"}))
    with World(tmp_path, call, "HEARTBEAT_OK") as world:
        world.person.say("hello")
        assert world.pass_() == "silent"
        assert not (tmp_path / "made").exists() and not world.person.notices


def test_a_model_of_its_own_answers_heartbeats_only(tmp_path: Path) -> None:
    with World(tmp_path, instructions=f"{HEAD}model: tiny\n---\nLook.") as world:
        world.person.say("hello")
        world.pass_()
        world.person.say("again")
        assert [each.json["model"] for each in world.model.requests] == ["m", "tiny", "m"]


# -- what is left in the conversation


def test_what_it_says_is_marked_in_the_conversation_and_can_be_answered(tmp_path: Path) -> None:
    with World(tmp_path, "The oven is hot.") as world:
        world.person.say("hello")
        assert world.pass_() == "said 16 characters to cli:cli-user"
        assert world.letter().text == "The oven is hot."
        marked = [(each["role"], each["content"], each.get("by")) for each in world.said()]
        assert marked[2:] == [("user", "[heartbeat]", "heartbeat"), ("assistant", "The oven is hot.", "heartbeat")]
        world.person.say("which one?")
        asked = world.model.requests[-1]
        assert asked.said[-2:] == ["The oven is hot.", "which one?"] and in_turns(asked)
        assert "by" not in asked.json["messages"][-2]


def test_silence_leaves_the_conversation_byte_for_byte_as_it_was(tmp_path: Path) -> None:
    with World(tmp_path, "HEARTBEAT_OK", "All is well. HEARTBEAT_OK", json_error(400, "no")) as world:
        world.person.say("hello")
        [path] = (world.workspace / "sessions" / encoded(MINE)).glob("*.jsonl")
        before = path.read_bytes(), path.stat().st_mtime_ns
        assert [world.pass_() for _ in range(2)] == ["silent", "silent"]
        assert world.pass_().startswith("failed: ")
        assert (path.read_bytes(), path.stat().st_mtime_ns) == before
        assert world.put == [] and world.person.notices == []


def test_after_a_restart_the_conversation_goes_on_in_turns_with_what_was_said(tmp_path: Path) -> None:
    with World(tmp_path, "one", "two", opening=Opening(resume=True)) as world:
        world.person.say("hello")
        world.pass_()
        world.pass_()
        world.restart()
        world.person.say("and now?")
        asked = world.model.requests[-1]
        assert asked.said[1:] == ["hello", "You said: hello", "[heartbeat]", "one", "[heartbeat]", "two", "and now?"]
        assert in_turns(asked)


@pytest.mark.parametrize(("command", "left"), [("/rewind", []), ("/retry", ["hello", "You said: hello"])])
def test_what_is_taken_back_is_the_last_message_of_the_person_with_all_that_came_after(
    tmp_path: Path, command: str, left: list[str]
) -> None:
    with World(tmp_path, "The oven is hot.") as world:
        world.person.say("hello")
        world.pass_()
        assert isinstance(world.person.say(command), Done)
        world.person.say("next")
        asked = world.model.requests[-1]
        assert asked.said[1:] == [*left, "next"] and in_turns(asked)


def test_an_answer_to_a_heartbeat_can_be_taken_back_without_it(tmp_path: Path) -> None:
    with World(tmp_path, "The oven is hot.") as world:
        world.person.say("hello")
        world.pass_()
        world.person.say("which?")
        world.person.say("/rewind")
        world.person.say("next")
        assert world.model.requests[-1].said[-2:] == ["The oven is hot.", "next"]


def test_a_compaction_keeps_question_and_answer_in_turns(tmp_path: Path) -> None:
    with World(tmp_path, *[f"The oven is at {each}." for each in range(10)]) as world:
        for number in range(4):
            world.person.say(f"hello {number} " + "x" * 20_000)
            world.pass_()
        ending = world.person.say("/compact")
        assert isinstance(ending, Done), ending
        world.pass_()
        world.person.say("next")
        assert in_turns(world.model.requests[-1]) and "The oven is at 4." in world.model.requests[-1].said


def test_history_and_export_say_who_has_spoken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with World(tmp_path, "The oven is hot.") as world:
        world.person.say("hello")
        world.pass_()
        history = world.person.say("/history").text
        assert "assistant (heartbeat): The oven is hot." in history and "[heartbeat]" not in history
        world.person.say("/export said.md")
        exported = (tmp_path / "said.md").read_text()
        assert "Assistant (heartbeat)" in exported and "The oven is hot." in exported and "[heartbeat]" not in exported


# -- when


def local(hour: int, minute: int = 0, day: int = 5) -> float:
    return datetime(2026, 8, day, hour, minute).astimezone().timestamp()


def test_by_default_it_comes_every_half_hour_from_nine_to_ten_in_the_evening(tmp_path: Path) -> None:
    world = World(tmp_path, instructions="Look.")
    world.now = local(8, 50)
    world.spoke()
    beats: list[float] = []
    with world:
        for _ in range(18 * 60):
            count = len(world.asked())
            world.pass_(60.0)
            beats += [world.now] * (len(world.asked()) - count)
    assert [datetime.fromtimestamp(each).strftime("%H:%M") for each in beats] == [
        f"{hour}:{minute:02}".rjust(5, "0") for hour in range(9, 22) for minute in (20, 50)
    ]


@pytest.mark.parametrize(
    ("fields", "now", "due"),
    [
        ("active_hours: 9, 22", local(23), local(9, day=6)),
        ("active_hours: 22, 6", local(12), local(22)),
        ("active_hours: 22, 6", local(23), local(23, 30)),
        ("interval: 90m", local(12), local(13, 30)),
        ("interval: 600", local(12), local(12, 10)),
    ],
)
def test_fields_of_the_file_say_when(tmp_path: Path, fields: str, now: float, due: float) -> None:
    world = World(tmp_path, instructions=f"---\n{fields}\n---\nLook.")
    world.now = now
    world.spoke()
    with world:
        plan = world.plan()
        assert plan and plan.due == due
        assert bool(plan.why) == (datetime.fromtimestamp(now).hour in (12, 23) and due - now > 2 * HOUR)


def test_hours_are_those_of_its_zone(tmp_path: Path) -> None:
    world = World(tmp_path, instructions="---\ntimezone: Asia/Tokyo\n---\nLook.")
    world.now = datetime(2026, 8, 5, 15, 0, tzinfo=timezone.utc).timestamp()  # midnight there
    world.spoke()
    with world:
        plan = world.plan()
        assert plan and plan.due == datetime(2026, 8, 6, 0, 0, tzinfo=timezone.utc).timestamp()
        assert plan.why == "outside 9:00 to 22:00 (Asia/Tokyo)"


def test_the_first_one_comes_an_interval_after_the_session_was_first_seen(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.person.say("hello")
        world.pass_(HOUR - 1)
        assert not world.asked()
        world.pass_(1)
        assert len(world.asked()) == 1


def test_a_restart_neither_beats_again_early_nor_forgets_what_is_due(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.person.say("hello")
        world.clock.tick()
        world.pass_(HOUR)
        world.restart()
        world.settle()
        world.pass_(HOUR - 1)
        assert len(world.asked()) == 1
        world.app.stop()
        world.now += HOUR
        world.start()
        world.settle()
        assert len(world.asked()) == 2


def test_after_a_suspend_there_is_one_beat_and_not_one_for_each_that_was_slept_through(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.person.say("hello")
        world.clock.tick()
        world.pass_(10 * HOUR)
        world.pass_(60)
        assert len(world.asked()) == 1


@pytest.mark.parametrize("back", [600.0, 2 * HOUR, 30 * HOUR])
def test_a_clock_that_is_set_back_neither_repeats_nor_stalls(tmp_path: Path, back: float) -> None:
    with World(tmp_path) as world:
        world.person.say("hello")
        world.clock.tick()
        world.pass_()
        world.pass_(-back)
        assert len(world.asked()) == 1
        world.pass_(HOUR - 60)
        assert len(world.asked()) == 1
        world.pass_(61)
        assert len(world.asked()) == 2


def test_a_session_beats_for_three_days_after_a_person_has_spoken(tmp_path: Path) -> None:
    with World(tmp_path, "one", "two", "three", "four") as world:
        world.person.say("hello")
        world.clock.tick()
        for _ in range(3):
            world.pass_(DAY - 60)
        assert len(world.asked()) == 3  # what the agent says itself does not count as somebody's words
        world.pass_(DAY)
        assert len(world.asked()) == 3 and world.plan() is None
        assert world.heartbeats.idle() == [("assistant", "nobody has spoken to it within 3 days")]


def test_an_agent_to_whom_nobody_has_spoken_has_none_and_heartbeat_says_so(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.pass_()
        assert not world.asked()
        shown = world.person.say("/heartbeat").text
        assert "assistant  no heartbeat: nobody has spoken to it within 3 days" in shown
        world.person.say("hello")
        assert f"{MINE}  every 60 minutes; last: none yet; next: 2" in world.person.say("/heartbeat").text


def test_an_edit_of_the_file_counts_at_the_next_look(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.person.say("hello")
        world.pass_(60)
        world.agent("assistant", HOURLY.replace("1h", "10m").replace("oven", "stove"))
        world.pass_(600)
        [request] = world.asked()
        assert request.said[-1].endswith("Look after the stove.")
        (world.workspace / ".agents" / "assistant" / "HEARTBEAT.md").unlink()
        world.pass_(DAY)
        assert len(world.asked()) == 1 and world.plan() is None


def test_a_broken_file_gives_one_notice_and_its_siblings_go_on(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        path = world.agent("ops", "---\ninterval: soon\n---\nLook.")
        world.person.say("hello")
        for _ in range(3):
            world.pass_()
        [told] = world.told
        assert told.startswith(f"{path} is skipped: interval is soon: write seconds")
        assert len(world.asked()) == 3
        why = dict(world.heartbeats.idle())["ops"]
        assert why.startswith("its HEARTBEAT.md is skipped: interval is soon")
        world.agent("ops", HOURLY)
        world.pass_()
        world.agent("ops", "---\ninterval: soon\n---\nLook.")
        world.pass_()
        assert len(world.told) == 2


def test_trigger_says_what_is_wrong_with_the_file(tmp_path: Path) -> None:
    with World(tmp_path, instructions=None) as world:
        assert "has no HEARTBEAT.md" in world.person.say("/trigger").message
        world.agent("assistant", "---\ninterval: soon\n---\nLook.")
        assert "is skipped: interval is soon" in world.person.say("/trigger").message
        world.agent("assistant", "# Nothing\n<!-- yet -->\n")
        assert "says nothing to do" in world.person.say("/trigger").message


# -- stop, start, limits


def test_stop_ends_them_and_start_goes_on(tmp_path: Path) -> None:
    with World(tmp_path, "one", "two") as world:
        world.person.say("hello")
        world.clock.tick()
        world.heartbeats.pause()
        world.pass_(5 * HOUR)
        assert not world.asked()
        plan = world.plan()
        assert plan and plan.due is None and plan.why == "stopped" and world.heartbeats.idle() == []
        world.heartbeats.resume()
        world.pass_(0)
        assert len(world.asked()) == 1


def test_the_commands_stop_and_start_say_how_it_stands(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.person.say("hello")
        assert "heartbeats  running" in world.person.say("/heartbeat").text
        stopped = world.person.say("/heartbeat stop").text
        assert "heartbeats  stopped" in stopped and "next: never (stopped)" in stopped
        assert "heartbeats  running" in world.person.say("/heartbeat start").text
        assert isinstance(world.person.say("/heartbeat now"), Error)


def test_stop_has_a_beat_that_runs_say_nothing(tmp_path: Path) -> None:
    with World(tmp_path, Response(end="hang")) as world:
        world.person.say("hello")
        world.clock.tick()
        world.now += 2 * HOUR
        world.clock.tick()
        until(world.asked)
        world.heartbeats.pause()
        world.settle()
        assert world.status() == "interrupted" and not world.put
        assert [each["role"] for each in world.said()] == ["user", "assistant"]


@pytest.mark.parametrize(("status", "reason"), [(401, "The key was refused"), (402, "no credit left")])
def test_three_failures_that_no_waiting_heals_pause_all_with_one_notice(
    tmp_path: Path, status: int, reason: str
) -> None:
    with World(tmp_path, json_error(status, "no")) as world:
        world.person.say("hello")
        world.clock.tick()
        for _ in range(5):
            assert world.pass_().startswith("failed: ")
        [told] = world.told
        assert told.startswith("Heartbeats are paused after 3 failures: ") and reason in told
        assert "/heartbeat start goes on" in told
        beat = world.beat()
        assert beat and world.now - beat.at > 2 * HOUR
        world.heartbeats.resume()
        world.person.say("/profiles reset")
        world.says[0] = "HEARTBEAT_OK"
        assert world.pass_() == "silent" and len(world.told) == 1


def test_other_failures_do_not_pause(tmp_path: Path) -> None:
    with World(tmp_path, json_error(400, "no")) as world:
        world.person.say("hello")
        world.clock.tick()
        for _ in range(5):
            assert world.pass_().startswith("failed: ")
        assert len(world.asked()) == 5 and not world.told


def test_the_tokens_of_a_day_end_beats_until_the_next_one(tmp_path: Path) -> None:
    with World(tmp_path, background_tokens_per_day=10) as world:
        world.person.say("hello")
        world.clock.tick()
        assert [world.pass_() for _ in range(2)] == ["silent", "silent"]
        assert "used up (BACKGROUND_TOKENS_PER_DAY)" in world.pass_() and len(world.asked()) == 2
        plan = world.plan()
        assert plan and "today's 10 tokens" in plan.why
        assert "tokens today: 14 of 10" in world.person.say("/heartbeat").text
        assert isinstance(world.person.say("hello"), Done)  # who asks is answered
        usage = world.workspace / ".state" / "usage"
        world.app.stop()
        (usage / f"{date.today()}.jsonl").rename(usage / f"{date.today() - timedelta(days=1)}.jsonl")
        world.start()
        assert world.pass_() == "silent"


def test_the_limit_is_looked_at_before_each_call_of_the_model(tmp_path: Path) -> None:
    call = call_stream(("list_dir", {}), usage=SPENT)
    with World(tmp_path, call, background_tokens_per_day=10) as world:
        world.person.say("hello")
        world.clock.tick()
        assert "used up" in world.pass_()
        assert len(world.asked()) == 2


# -- who wins


def test_a_busy_session_skips_the_beat(tmp_path: Path) -> None:
    opened = threading.Event()
    with World(tmp_path) as world:
        world.person.say("hello")
        world.clock.tick()
        world.slow = opened
        world.person.begin("take your time")
        until(lambda: len(world.model.requests) == 2)
        world.now += 2 * HOUR
        world.clock.tick()
        assert world.status() == "skipped: the session was busy" and not world.asked()
        opened.set()
        assert isinstance(world.person.answer(), Done)
        world.pass_(HOUR - 1)
        assert not world.asked()  # it is skipped, not put off


def test_a_message_interrupts_the_beat_at_once_and_nothing_of_that_is_left(tmp_path: Path) -> None:
    with World(tmp_path, Response(chunks=text_stream("The oven").chunks[:2], end="hang")) as world:
        world.person.say("hello")
        world.clock.tick()
        world.now += 2 * HOUR
        world.clock.tick()
        until(world.asked)
        assert world.person.say("are you there?").text == "You said: are you there?"
        world.settle()
        assert world.status() == "interrupted" and not world.put
        assert [each["content"] for each in world.said()] == [
            "hello", "You said: hello", "are you there?", "You said: are you there?",
        ]  # fmt: skip
        assert in_turns(world.model.requests[-1])


@pytest.mark.parametrize(("turns", "most"), [(2, 1), (8, 6)])
def test_many_sessions_that_are_due_leave_room_for_whoever_speaks(tmp_path: Path, turns: int, most: int) -> None:
    with World(tmp_path, Response(end="hang"), max_turns=turns) as world:
        for number in range(30):
            world.spoke(f"agent:assistant:direct:{number}", to=str(number))
        world.clock.tick()
        world.now += 2 * HOUR
        world.clock.tick()
        until(lambda: len(world.asked()) == most)
        assert world.person.say("hello").text == "You said: hello"
        assert len(world.asked()) == most


def test_many_sessions_that_are_due_all_get_their_turn(tmp_path: Path) -> None:
    with World(tmp_path, max_turns=4) as world:
        for number in range(12):
            world.spoke(f"agent:assistant:direct:{number}", to=str(number))
        world.clock.tick()
        world.now += 2 * HOUR
        world.clock.tick()
        world.settle()
        assert len(world.asked()) == 12


def test_the_end_of_the_program_ends_a_beat(tmp_path: Path) -> None:
    with World(tmp_path, Response(end="hang")) as world:
        world.person.say("hello")
        world.clock.tick()
        world.now += 2 * HOUR
        world.clock.tick()
        until(world.asked)
        assert world.app.stop() == []
        assert world.status() == "interrupted" and not world.put
        world.now += 2 * HOUR
        world.clock.tick()
        assert world.status() == "interrupted"  # what is due after the end is left to the next process
        world.start()


# -- where to


def test_trigger_beats_at_once_whatever_hours_and_limits_say_and_shows_the_answer_once(tmp_path: Path) -> None:
    never = "---\nactive_hours: 3, 3:01\n---\nLook."
    with World(tmp_path, "The oven is hot.", instructions=never, background_tokens_per_day=1) as world:
        for _ in range(2):
            assert world.person.say("/trigger").text == "The oven is hot."
        world.app.outbox.put("cli", "cli-user", "the end")
        assert world.letter().text == "the end" and not world.put
        assert [each["role"] for each in world.said()] == ["user", "assistant"] * 2
        world.person.say("which?")
        assert world.model.requests[-1].said[-2:] == ["The oven is hot.", "which?"]
        world.says[0] = "HEARTBEAT_OK"
        assert world.person.say("/trigger").text == "(silent)"


def test_trigger_tells_of_an_error_and_is_interrupted_like_any_turn(tmp_path: Path) -> None:
    with World(tmp_path, json_error(400, "it is too warm"), Response(end="hang")) as world:
        assert "(failed: " in world.person.say("/trigger").text
        world.person.begin("/trigger")
        until(lambda: len(world.asked()) == 2)
        assert world.person.say("/stop").text == "Interrupted."
        assert isinstance(world.person.answer(), Interrupted)


def test_another_address_gets_what_is_said_and_trigger_tells_where_to(tmp_path: Path) -> None:
    other = Person("discord")
    world = World(tmp_path, "The oven is hot.", instructions=f"{HEAD}deliver: discord:channel:7\n---\nLook.")
    world.channels = [world.person, other]
    with world:
        world.person.say("hello")
        world.clock.tick()
        assert world.pass_() == "said 16 characters to discord:channel:7"
        letter = other.letters.get(timeout=20)
        assert (letter.text, letter.to) == ("The oven is hot.", "channel:7")
        assert "said 16 characters to discord:channel:7" in world.person.say("/trigger").text
        assert other.letters.get(timeout=20).text == "The oven is hot." and world.person.letters.empty()


def test_last_is_where_the_person_spoke_last(tmp_path: Path) -> None:
    other = Person("discord")
    world = World(tmp_path, "one", "two", instructions=f"{HEAD}deliver: last\n---\nLook.")
    world.channels = [world.person, other]
    with world:
        world.agent("assistant", prompt="---\ndm_scope: main\n---\nYou are terse.")
        world.person.say("hello")
        world.clock.tick()
        world.pass_()
        assert world.letter().text == "one"
        other.say("hello from here")
        world.pass_()
        assert other.letters.get(timeout=20).text == "two"


def test_a_session_that_is_not_in_memory_goes_on_with_its_current_conversation(tmp_path: Path) -> None:
    other = Person("discord")
    world = World(tmp_path, "one", opening=Opening())
    world.channels = [world.person, other]
    key = "agent:assistant:direct:discord-user"
    with world:
        other.say("hello")
        world.restart()
        world.pass_(1)
        world.now += HOUR
        world.clock.tick()
        world.settle()
        assert world.status(key) == "said 3 characters to discord:discord-user"
        assert [each["content"] for each in world.said(key)][-2:] == ["[heartbeat]", "one"]
        other.say("and?")
        assert world.model.requests[-1].said[-3:] == ["[heartbeat]", "one", "and?"]


def test_the_terminal_begins_anew_and_a_beat_speaks_in_the_new_conversation(tmp_path: Path) -> None:
    with World(tmp_path, "one") as world:
        world.person.say("yesterday")
        world.clock.tick()
        world.restart()
        world.pass_()
        world.person.say("which?")
        assert world.model.requests[-1].said[1:] == ["[heartbeat]", "one", "which?"]


def test_without_a_terminal_what_a_beat_says_waits_for_one_and_is_part_of_what_is_said_there(tmp_path: Path) -> None:
    world = World(tmp_path, "one", opening=Opening(resume=True))
    with world:
        world.person.say("yesterday")
        world.clock.tick()
        world.app.stop()
        world.channels = []
        world.start()
        assert world.pass_() == "said 3 characters to cli:cli-user"
        assert world.app.outbox.stats().pending == 1 and not [each for each in world.said() if each.get("by")]
        world.app.stop()
        world.channels = [world.person]
        world.start()
        assert world.letter().text == "one"
        world.person.say("which?")
        assert world.model.requests[-1].said[-3:] == ["[heartbeat]", "one", "which?"]


def test_a_beat_of_another_agents_session_does_not_begin_the_conversation_the_terminal_was_given(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, "one", opening=Opening(label="baking"))
    world.agent("ops", HOURLY)
    with world:
        world.spoke(OPS)
        world.person.say("hello")
        world.clock.tick()
        world.pass_()
        assert world.status(OPS) == "said 3 characters to cli:cli-user"
        assert not (world.workspace / "sessions" / encoded(OPS) / "baking.jsonl").exists()
        assert (world.workspace / "sessions" / encoded(MINE) / "baking.jsonl").exists()


def test_the_terminal_that_shows_another_agent_still_hears_the_first_one(tmp_path: Path) -> None:
    with World(tmp_path, "The oven is hot.") as world:
        world.agent("ops")
        world.person.say("hello")
        world.clock.tick()
        world.person.say("/switch ops")
        world.person.say("hello, ops")
        assert world.pass_() == "said 16 characters to cli:cli-user"
        assert world.letter().text == "The oven is hot."
        assert not [each for each in world.said(OPS) if each.get("by")]
        world.person.say("/switch off")
        world.person.say("which?")
        assert world.model.requests[-1].said[-2:] == ["The oven is hot.", "which?"]


def test_a_session_nobody_looks_at_leaves_memory_so_that_others_can_have_its_conversation(tmp_path: Path) -> None:
    other = Person("discord")
    world = World(tmp_path)
    world.channels = [other]
    key = "agent:assistant:direct:discord-user"
    with world:
        other.say("hello")
        world.clock.tick()
        world.now += 2 * HOUR
        world.clock.tick()
        world.settle()
        label = world.app.beside.contacts.since(0.0)[0].session
        assert label == key and world.status(key) == "silent"
        session = world.app.contacted(world.contact(key))
        conversation = session.archive.new(session.archive.current)
        conversation.open()
        assert not conversation.locked
        conversation.close()


def test_where_another_process_has_the_conversation_the_letter_is_sent_and_nothing_is_lost(tmp_path: Path) -> None:
    other = Person("discord")
    world = World(tmp_path, "one")
    world.channels = [other]
    key = "agent:assistant:direct:discord-user"
    with world:
        other.say("hello")
        world.clock.tick()
        world.restart()
        archive = world.app.contacted(world.contact(key)).archive
        elsewhere = archive.new(archive.current)
        elsewhere.open()
        world.now += 2 * HOUR
        world.clock.tick()
        world.settle()
        assert world.status(key) == (
            "said 3 characters to discord:discord-user, not in the conversation: another process has it"
        )
        assert other.letters.get(timeout=20).text == "one"
        assert [each["content"] for each in world.said(key)] == ["hello", "You said: hello"]
        elsewhere.close()
        other.say("again")
        assert [each["content"] for each in world.said(key)][-2:] == ["again", "You said: again"]


# -- crashes, damage, others


def test_a_beat_whose_agent_is_gone_says_so_and_others_go_on(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.spoke(OPS)
        path = world.agent("ops", HOURLY)
        world.person.say("hello")
        world.clock.tick()
        (path.parent / "AGENT.md").unlink()
        world.pass_()
        assert world.status() == "silent"
        assert world.status(OPS).startswith("failed: There is no agent ops any more")


@pytest.mark.parametrize("damaged", [b"", b"{", b"null", b'{"x": 5}', b"\xff"])
def test_damage_to_what_is_known_of_the_last_beat_costs_a_beat_at_most(tmp_path: Path, damaged: bytes) -> None:
    with World(tmp_path) as world:
        world.person.say("hello")
        world.clock.tick()
        world.pass_()
        (tmp_path / "heartbeat.json").write_bytes(damaged)
        world.restart()
        world.pass_(60)
        assert len(world.asked()) == 1
        world.pass_(HOUR)
        assert len(world.asked()) == 2


def test_an_outbox_that_cannot_keep_it_is_a_failure_and_the_same_text_is_said_next_time(tmp_path: Path) -> None:
    with World(tmp_path, "The oven is hot.") as world:
        world.person.say("hello")
        world.clock.tick()
        outbox = world.workspace / ".state" / "outbox"
        outbox.write_text("a file in its place")
        assert world.pass_().startswith("failed: it cannot be kept for delivery")
        assert len(world.said()) == 2
        outbox.unlink()
        assert world.pass_().startswith("said 16 characters")
        assert world.letter().text == "The oven is hot."


def test_a_session_of_a_time_that_is_far_ahead_has_none(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.spoke(at=world.now + 400 * DAY)
        world.clock.tick()
        world.pass_(2 * HOUR)
        assert not world.asked() and world.plan() is None


def test_who_does_not_do_the_background_work_only_looks(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.person.say("hello")
        world.clock.tick()
        world.pass_()
        before = (tmp_path / "heartbeat.json").read_bytes()
        onlooker = world.made()
        [(plan, beat)] = onlooker.plans()
        assert beat == world.beat() and plan == world.plan()
        world.pass_()
        [(plan, beat)] = onlooker.plans()
        assert beat == world.beat() and plan == world.plan()
        world.spoke(OPS)
        world.agent("ops", HOURLY)
        after = (tmp_path / "heartbeat.json").read_bytes()
        assert len(onlooker.plans()) == 2
        assert (tmp_path / "heartbeat.json").read_bytes() == after != before


def test_the_beat_of_a_group_goes_to_the_group(tmp_path: Path) -> None:
    other = Person("discord")
    world = World(tmp_path, "one")
    world.channels = [other]
    key = "agent:assistant:discord:group:5001"
    with world:
        world.spoke(key, "discord", "channel:5001")
        world.clock.tick()
        world.now += 2 * HOUR
        world.clock.tick()
        world.settle()
        assert world.status(key) == "said 3 characters to discord:channel:5001"
        assert other.letters.get(timeout=20).to == "channel:5001"


def test_a_server_that_cannot_be_reached_is_a_failure_that_is_tried_again_at_the_next_beat(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.person.say("hello")
        world.clock.tick()
        cut: list[Any] = []
        world.says[0] = cut  # the connection is closed without a word
        first = world.pass_()
        assert first.startswith("failed: ") and not world.told and not world.put
        world.person.say("/profiles reset")
        world.says[0] = "The oven is hot."
        assert world.pass_().startswith("said")


def test_no_two_beats_of_a_session_run_at_once(tmp_path: Path) -> None:
    with World(tmp_path, Response(end="hang")) as world:
        world.person.say("hello")
        world.clock.tick()
        world.now += 2 * HOUR
        world.clock.tick()
        until(world.asked)
        world.now += 2 * HOUR
        world.clock.tick()
        assert world.status() == "skipped: the session was busy" and len(world.asked()) == 1
        world.heartbeats.pause()
        world.settle()
