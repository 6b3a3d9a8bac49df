"""What failover once did wrong: each of these went another way before, and each is a story of its own."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from agentkit.errors import LLMError
from agentkit.events import Compacted, Failover, Inbound, Notice, Text
from agentkit.ledger import OLDER, Ledger
from agentkit.profiles import Profiles
from agentkit.settings import Profile
from agentkit.tries import BACKOFF, REQUESTS, Tries

from .loopback import Answer, Loopback, Request, Response, call_stream, event, json_error, text_stream
from .program import agentkit, environment, settled
from .test_failover import (
    AT_ONCE,
    BROKEN,
    BUSY,
    HELLO,
    KEYS,
    LATE,
    LIMITED,
    REFUSED,
    TOO_LONG,
    UNKNOWN,
    USAGE,
    Chat,
    always,
    asked,
    by,
    failed,
    is_answered,
    key,
    model,
    models,
)
from .test_profiles import at_once, parked, process, stop_within_a_change
from .test_rooms import ANN, House

SOON = json_error(429, "slow down", headers={"Retry-After-Ms": "60"})
LONG = [f"{number} " + "plum " * 800 for number in range(4)]  # as messages, they fill a window of 8,000 tokens


def many(number: int) -> list[str]:
    """So many keys."""
    return [f"canary-{each:02}-0123456789abcdef" for each in range(number)]


def number_of(request: Request) -> int:
    """The number of the key, one of those many."""
    return int(request.headers["authorization"].split("-")[1])


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """An app on a workspace that is there, as a user has it; begin() starts it."""
    monkeypatch.chdir(settled(tmp_path))
    with Loopback(always(HELLO)) as server:
        made = House(tmp_path, server)
        yield made
        made.end()


def used(house: House) -> str:
    """Who answered last, as the status line has it."""
    assert house.app is not None
    return house.app.view(Inbound("hi", house.door.name, ANN)).used


# -- who is asked


@pytest.mark.parametrize(
    ("keys", "failing", "fallbacks", "ill"),
    [
        (5, 4, 0, BROKEN),
        (12, 11, 0, BROKEN),
        (5, 4, 0, BUSY),
        (4, 4, 1, BROKEN),
        (11, 11, 1, BROKEN),
        (1, 1, 11, BROKEN),
    ],
)
def test_nobody_is_tried_twice_at_the_cost_of_who_would_have_answered(
    tmp_path: Path, keys: int, failing: int, fallbacks: int, ill: Response
) -> None:
    names = [f"m{each}" for each in range(1, fallbacks + 1)]
    last = names[-1] if names else "m"

    def script(request: Request, index: int) -> Response:
        return HELLO if number_of(request) >= failing or (names and model(request) == last) else ill

    with Loopback(script) as server:
        assert is_answered(Chat(tmp_path, server, many(keys), names).say(), by=last)
        assert len(server.requests) <= REQUESTS


@pytest.mark.parametrize("category", ["overloaded", "server_error"])
@pytest.mark.parametrize("hints", [(2.1,), (3.0,), (5.0,), (0.1, 4.9), (3.0, 3.0), (None, 7.9)])
def test_a_wait_that_a_turn_has_time_for_is_waited_also_where_it_is_longer_than_a_backoff(
    category: str, hints: tuple[float | None, ...]
) -> None:
    profiles = Profiles([Profile(0, "http://localhost:1/v1", KEYS[0])])
    tries = Tries(profiles, ["m"], False, BACKOFF)
    for hint, (low, high) in zip(hints, BACKOFF, strict=False):
        pair = tries.next()
        assert pair is not None
        rests, wait = tries.failed(pair, LLMError(category, "boom", retry_after=hint), profiles.now())
        tries.what_next(pair, wait)
        assert wait is not None and max(low, hint or 0.0) <= wait <= max(high, hint or 0.0) and rests == 0


def test_a_busy_server_that_names_a_short_wait_is_asked_after_it(tmp_path: Path) -> None:
    busy = json_error(503, "The engine is overloaded", headers={"Retry-After-Ms": "200"})
    with Loopback([busy, HELLO]) as server:
        chat = Chat(tmp_path, server, 1, backoff=((0.01, 0.02), (0.01, 0.02)))
        assert is_answered(chat.say())
        assert server.requests[1].at - server.requests[0].at >= 0.2
        assert chat.steps == [Failover("overloaded", 0, "m", 0.0, "profile 0 again in 0.2 s")] and chat.rests(0) == {}


@pytest.mark.parametrize("others", [[REFUSED], [BROKEN], [LIMITED], [REFUSED, BROKEN], [BROKEN, UNKNOWN]])
@pytest.mark.parametrize("passes", [True, False])
def test_a_key_that_asked_for_a_moment_is_come_back_to_whatever_became_of_the_others(
    tmp_path: Path, others: list[Response], passes: bool
) -> None:
    rules: dict[Any, Any] = {0: (SOON, HELLO), **dict(enumerate(others, 1))}
    with Loopback(by(key, rules)) as server:
        real = Profiles(
            [Profile(each, server.url, KEYS[each]) for each in rules], tmp_path / ".state" / "profiles.json"
        )
        slowly = ((0.1, 0.2), (0.1, 0.2))  # the moment is over before the others are given up
        chat = Chat(
            tmp_path, server, len(rules), profiles=real if passes else None, backoff=slowly if passes else AT_ONCE
        )
        assert is_answered(chat.say())
        # Where its moment passes meanwhile, it is asked before those that nobody has asked yet.
        assert asked(server)[0] == asked(server)[-1] == 0 and asked(server)[1] == 1
        assert passes or set(asked(server)) == set(rules)
        assert server.requests[-1].at - server.requests[0].at >= 0.06


@pytest.mark.parametrize("how", ["refuses", "hangs", "is cut"])
def test_where_a_server_is_gone_its_other_keys_and_models_are_asked_last_and_the_models_once(
    tmp_path: Path, how: str
) -> None:
    answers: dict[str, Answer] = {
        "refuses": [],
        "hangs": Response(before_headers=threading.Event()),
        "is cut": Response(chunks=[event({"content": "Hel"})], end="cut"),
    }
    healthy: Answer = HELLO
    with Loopback(always(answers[how])) as gone, Loopback(lambda request, index: healthy) as server:
        for second in (HELLO, LIMITED):
            healthy = second
            folder = tmp_path / str(second.status)
            folder.mkdir()
            before, there = len(gone.requests), len(server.requests)
            urls = {0: gone.url, 1: gone.url, 2: server.url}
            chat = Chat(folder, server, 3, ["small"], urls=urls, timeouts={0: 0.02, 1: 0.02})
            ending = chat.say()
            mine = [(key(each), model(each)) for each in gone.requests[before:]]
            if second is HELLO:
                assert is_answered(ending)
                assert set(mine) == {(0, "m")} and asked(server, there) == [2]
            else:
                failed(ending)
                assert models(server, there) == ["m", "small"]
                assert mine[:3] == [(0, "m")] * 3 and mine[-2:] == [(0, "small"), (1, "small")]
                assert set(mine[3:-2]) == {(1, "m")}
                left = gone.requests[before + 3 :]
                assert min(each.at for each in left) > max(each.at for each in server.requests[there:])


@pytest.mark.parametrize(("answer", "times"), [(REFUSED, 1), (LIMITED, 1), (UNKNOWN, 1), (LATE, 3)])
def test_a_key_that_is_given_twice_is_one_key_whatever_it_is_refused_for(
    tmp_path: Path, answer: Response, times: int
) -> None:
    with Loopback(always(answer)) as server:
        chat = Chat(tmp_path, server, [KEYS[0], KEYS[0], KEYS[0]], background=True)
        failed(chat.say())
        assert len(server.requests) == times and {step.profile for step in chat.steps} == {0}
        assert chat.rests(2) == chat.rests(0)


@pytest.mark.parametrize("fallbacks", [0, 1])
def test_a_misspelt_model_is_not_looked_for_with_each_of_many_keys(tmp_path: Path, fallbacks: int) -> None:
    with Loopback(always(UNKNOWN)) as server, Loopback(always(UNKNOWN)) as other:
        urls = {number: other.url for number in range(10, 20)}
        chat = Chat(tmp_path, server, many(20), ["smal"][:fallbacks], urls=urls)
        assert failed(chat.say()).category == "model_not_found"
        for each in (server, other):
            for name in {model(request) for request in each.requests}:
                assert models(each).count(name) <= 2
        assert len(server.requests) + len(other.requests) <= 4 * (1 + fallbacks)


# -- what the turn leaves behind


def test_what_a_fallback_model_takes_is_forgotten_with_its_turn_and_what_the_selected_one_takes_is_not(
    tmp_path: Path,
) -> None:
    limited, too_small = False, ""  # is the selected model?, the model that has no room for the next request

    def script(request: Request, index: int) -> Response:
        nonlocal too_small
        if model(request) == "m" and limited:
            return LIMITED
        if "tools" not in request.json:
            return text_stream("They talked.")
        if model(request) != too_small:
            return HELLO
        too_small = ""
        return TOO_LONG

    with Loopback(script) as server:
        chat = Chat(tmp_path, server, 1, ["small"], window=8_000)
        for text in LONG:
            chat.say(text)
        limited, too_small = True, "small"
        assert is_answered(chat.say("and?"), by="small") and not too_small
        assert any(isinstance(each, Compacted) for each in chat.events)
        assert chat.session.store.state.window == 8_000
        chat.profiles.reset()
        limited = False
        for text in LONG:
            assert is_answered(chat.say(text))
        too_small = "m"
        assert is_answered(chat.say("and?")) and not too_small
        lowered = chat.session.store.state.window
        assert lowered < 8_000
        assert is_answered(chat.say("and?")) and chat.session.store.state.window == lowered


def test_who_answers_in_place_of_whom_is_said_in_the_turn_also_where_the_summary_was_the_first_to_need_it(
    tmp_path: Path,
) -> None:
    with Loopback(by(model, {"m": (*[HELLO] * 4, LIMITED), "small": HELLO})) as server:
        chat = Chat(tmp_path, server, 1, ["small"], window=8_000)
        for text in LONG:
            chat.say(text)
        chat.session.store.state.window = 4_000
        assert is_answered(chat.say("and?"), by="small")
        assert "tools" not in server.requests[4].json, "it is the summary that falls back first"
        kinds = [type(each) for each in chat.events]
        told = [at for at, each in enumerate(chat.events) if isinstance(each, Notice) and "small is asked" in each.text]
        assert len(told) == 1 and told[0] < kinds.index(Text) and Compacted in kinds


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Response(chunks=[event({"content": "Hel"})], end="hang"), "interrupted"),
        (LIMITED, "error"),
        (json_error(400, "temperature"), "error"),
        (Response(chunks=[event({"content": "Hel"}), event({}, "content_filter")]), "error"),
    ],
)
def test_a_reply_that_did_not_come_leaves_nobody_who_has_answered(tmp_path: Path, answer: Response, kind: str) -> None:
    with Loopback([HELLO, answer]) as server:
        chat = Chat(tmp_path, server, 1)
        chat.say()
        assert chat.session.view.used == "m"
        chat.on_event = lambda each: chat.cancel.set() if kind == "interrupted" and isinstance(each, Text) else None
        assert chat.say().type == kind
        assert chat.session.view.used == ""


@pytest.mark.parametrize("command", ["/new", "/new second", "/load first", "/model other", "/model off"])
def test_another_conversation_and_another_model_begin_with_nobody_who_has_answered(house: House, command: str) -> None:
    door = house.begin()
    for said in ("hi", "/save first", "/new", "hi", "/model m"):
        door.answer(said)
    assert used(house) == ""
    door.answer("hi")
    assert used(house) == "m"
    door.answer(command)
    assert used(house) == ""


# -- what is shown


@pytest.mark.parametrize(
    ("category", "last"),
    [
        ("content_filter", event({}, error={"message": "It was flagged", "code": "content_filter"})),
        ("content_filter", event({}, "content_filter")),
        ("bad_request", event({}, error={"message": "Invalid value", "type": "invalid_request_error", "code": 400})),
    ],
)
def test_text_that_a_refusal_breaks_off_is_void_before_the_error_is_shown(
    tmp_path: Path, category: str, last: bytes
) -> None:
    with Loopback(always(Response(chunks=[event({"content": "Hel"}), last, b"data: [DONE]\n\n"]))) as server:
        chat = Chat(tmp_path, server, 2, ["small"])
        assert failed(chat.say()).category == category
        assert chat.kinds == ["turn_started", "text", "failover", "error"]
        assert chat.steps == [Failover(category, 0, "m", 0.0, Failover.NOTHING)] and len(server.requests) == 1
        assert chat.kept == [("user", "hi"), ("assistant", f"[no answer: {category}]")]


OWN, OTHER = ("plumpearfig" * 15)[:160], ("QUINCELIMEDATE" * 12)[:160]


@pytest.mark.parametrize("secret", [OWN, OTHER], ids=["the first", "the second"])
@pytest.mark.parametrize("before", [0, 100, 150, 180, 200, 220, 4_000 - 80])
@pytest.mark.parametrize("status", [400, 401])
def test_of_a_long_key_that_a_server_quotes_nothing_is_shown_wherever_it_is_cut_off(
    house: House, caplog: pytest.LogCaptureFixture, secret: str, before: int, status: int
) -> None:
    caplog.set_level(logging.DEBUG)
    with Loopback(always(json_error(status, f"{('slow ' * 1000)[:before]} {secret} is no good"))) as server:
        house.server = server
        door = house.begin(llm_more_profiles=(Profile(1, server.url, OWN), Profile(2, server.url, OTHER)))
        door.say("hi")
    told = [json.dumps(each.record()) for each in door.events]
    told += [record.getMessage() for record in caplog.records if record.name == "agentkit"]
    told += [path.read_text() for path in (house.folder / "workspace").rglob("*") if path.is_file()]
    assert len(server.requests) == (1 if status == 400 else 3)
    assert any("is no good" in text or "slow" in text or "[key]" in text for text in told)
    assert not [text for text in told if secret[:12] in text or secret[-12:] in text]


# -- many at once


def test_who_only_looks_does_not_wait_for_a_stopped_process_and_who_writes_waits_beside_the_others(
    tmp_path: Path,
) -> None:
    path, ours = tmp_path / ".state" / "profiles.json", [Profile(0, "http://localhost:1/v1", KEYS[0])]
    profiles = Profiles(ours, path)
    parked(profiles, model="m")
    with process(stop_within_a_change, path) as stopped:
        try:
            _, status = os.waitpid(stopped.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            began = time.monotonic()

            def work(number: int) -> None:
                for _ in range(20):
                    assert profiles.rest(0, "m") is not None and profiles.rest(0, f"m{number}") is None
                parked(profiles, model=f"m{number}")

            at_once(24, work)
            assert time.monotonic() - began < 20, "one wait after another"  # it would take 48 seconds
        finally:
            stopped.kill()
    assert len(Profiles(ours, path).standing(0).rests) == 25


# -- commands


def blocks(usage: str) -> tuple[list[str], list[str]]:
    """What /usage says of this conversation, and of all."""
    here, _, everywhere = usage.partition("\nin all\n")
    return here.partition("\nthis conversation\n")[2].splitlines(), everywhere.splitlines()


@pytest.mark.parametrize("usage", [None, USAGE])
def test_requests_are_counted_also_where_the_server_counts_no_tokens_and_all_sums_agree(
    house: House, usage: dict[str, int] | None
) -> None:
    with Loopback(
        [call_stream(("glob", {"pattern": "*"}), usage=usage), *[text_stream("Hi", usage=usage)] * 2]
    ) as server:
        house.server = server
        door = house.begin()
        door.answer("one")
        door.answer("two")
        assert len(server.requests) == 3
        here, everywhere = blocks(door.answer("/usage"))
        assert here == everywhere
        assert len(here) == 1 and "  m  requests: 3, " in here[0]
        assert here[0].endswith("tokens read: 21, written: 6" if usage else "tokens not told by the server")


def test_days_that_are_long_past_are_one_row(house: House) -> None:
    folder = house.folder / "workspace" / ".state" / "usage"
    folder.mkdir(parents=True)
    line = json.dumps({"model": "m", "requests": 2, "prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110})
    past = [str(date.today() - timedelta(days=ago)) for ago in range(1, 101)]
    for day in past:
        (folder / f"{day}.jsonl").write_text(f"{line}\n")
    (folder / "2001-01-01.jsonl").write_text(line.replace('"m"', '"old"') + "\n")
    rows = blocks(house.begin().answer("/usage"))[1]
    assert [row.split()[0] for row in rows[:-2]] == past[:31]
    assert re.fullmatch(rf"  {OLDER} +m +requests: 138, tokens read: 6,900, written: 690", rows[-2])
    assert re.fullmatch(rf"  {OLDER} +old +requests: 2, tokens read: 100, written: 10", rows[-1])
    days = Ledger(folder).days()
    assert len(days) == 32 and list(days)[-1] == OLDER


@pytest.mark.parametrize(
    "command", ["/profiles reset 0", "/profiles  reset   0", "/profiles\treset\t0 ", "/profiles reset"]
)
def test_a_key_is_reset_however_the_words_are_set_apart(house: House, command: str) -> None:
    with Loopback([LIMITED, HELLO]) as server:
        house.server = server
        door = house.begin()
        door.say("hi")
        assert "rests" in door.answer("/profiles")
        assert "rests" not in door.answer(command)
        assert door.answer("hi") == "Hello"


@pytest.mark.parametrize("arguments", [("run", "hello"), ()])
def test_the_demo_model_keeps_no_books(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    folder = settled(tmp_path)
    done = agentkit(
        folder, *arguments, env=environment(tmp_path), stdin="" if arguments else "hello\n/profiles\n/usage\n"
    )
    assert done.returncode == 0 and done.stdout
    state = folder / "workspace" / ".state"
    assert [path.name for path in state.glob("*") if path.name.startswith(("usage", "profiles"))] == []
