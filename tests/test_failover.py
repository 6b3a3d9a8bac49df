"""The stories of failover, on a loopback server: which key and model is asked, what is said of it, what is kept."""

from __future__ import annotations

import json
import logging
import random
import re
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from email.utils import formatdate
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest

from agentkit import Store, Turn, tool
from agentkit.approval import Approvals
from agentkit.archive import Archive
from agentkit.cancel import Cancel
from agentkit.client import Client
from agentkit.command import Commands
from agentkit.compact import Compact
from agentkit.events import Answer as Decided
from agentkit.events import Compacted, Done, Error, Event, Failover, Inbound, Interrupted, Notice, Text, ToolFinished
from agentkit.failover import Failover as Ask
from agentkit.ledger import Ledger
from agentkit.node import Run
from agentkit.profiles import Profiles
from agentkit.session import Session
from agentkit.settings import Profile
from agentkit.store import State
from agentkit.toolbox import Scope, Tool
from agentkit.tries import BACKOFF, FINAL, REQUESTS
from agentkit.usetool import Toolbox

from .loopback import (
    Answer,
    Loopback,
    Redirect,
    Request,
    Response,
    call_stream,
    event,
    json_answer,
    json_error,
    text_stream,
)

WAIT = 10.0
KEYS = [f"canary-{fruit}-0123456789abcdef" for fruit in ("plum", "pear", "fig", "lime", "date")]
AT_ONCE = ((0.0, 0.0), (0.0, 0.0))
USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}

LIMITED = json_error(429, "slow down", headers={"Retry-After": "30"})
REFUSED = json_error(401, "Incorrect API key provided")
UNPAID = json_error(429, "You exceeded your current quota, check your plan and billing details", "insufficient_quota")
BROKEN = json_error(500, "boom")
BUSY = json_error(503, "The engine is overloaded")
LATE = json_error(504, "upstream request timeout")
ODD = json_error(418, "I am a teapot")
UNKNOWN = json_error(404, "The model `m` does not exist", code="model_not_found")
NOWHERE = json_error(404, "Not Found")
WRONG = json_error(400, "temperature must be at most 2", "invalid_request_error")
FILTERED = json_error(400, "The prompt was flagged by our content policy", code="content_filter")
CUT = Response(chunks=[event({"content": "Hel"})], end="cut")
TOO_LONG = json_error(400, "This model's maximum context length is 8192 tokens.", code="context_length_exceeded")
HELLO = text_stream("Hello")

Rule = Answer | tuple[Answer, ...]


class Clock:
    """Seconds since the epoch that pass when a test says so: `ahead` is moved. No two looks at it are the same."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self._looks = count()

    def __call__(self) -> float:
        return 2e9 + self.ahead + next(self._looks) * 1e-5


class Chat:
    """A session on a folder as App makes it, with a conversation file; another one on the same folder is a restart.

    keys: them, or how many of KEYS; urls, timeouts: by number of the profile, where it is another than the usual one.
    """

    def __init__(
        self,
        folder: Path,
        server: Loopback,
        keys: int | Sequence[str] = 2,
        models: Sequence[str] = (),
        *,
        clock: Clock | None = None,
        tools: Sequence[Tool] = (),
        window: int = 0,
        urls: Mapping[int, str] = {},
        timeouts: Mapping[int, float] = {},
        profiles: Profiles | None = None,
        **how: Any,
    ) -> None:
        self.clock = clock or Clock()
        chosen = KEYS[:keys] if isinstance(keys, int) else keys
        made = [Profile(each, urls.get(each, server.url), key) for each, key in enumerate(chosen)]
        self.state = folder / ".state" / "profiles.json"
        self.profiles = profiles or Profiles(made, self.state, self.clock)
        self.ledger = Ledger(folder / ".state" / "usage")
        self.selected = "m"
        self.cancel = Cancel()
        self.events: list[Event] = []
        self.on_event: Callable[[Event], object] = lambda event: None
        clients = {
            each.number: Client(each.base_url, each.api_key, timeout=timeouts.get(each.number, 2 * WAIT), direct=True)
            for each in made
        }
        toolbox = Toolbox({each.name: each for each in (*tools, idle)}, Approvals("trust"), Scope((folder.resolve(),)))

        def prepare(session: Session) -> Turn:
            session.store.context.tools = toolbox.schemas
            ask = Ask(self.profiles, clients, models, self.ledger, **{"backoff": AT_ONCE, **how})
            return Turn(ask, toolbox, compact=Compact(ask))

        store = Store(state=State("key", "assistant", "m", "cli", "ann", window))
        archive = Archive(folder / "sessions")
        self.session = Session(store, archive, lambda session: self.selected, prepare, Commands())

    def say(self, text: str = "hi") -> Event:
        """One message; returns the event that ends its turn. `events` holds those of this turn."""
        self.events, self.cancel = [], Cancel()
        self.session.take(Inbound(text, "cli", "ann"), Run(self._publish, lambda ask: Decided("deny"), self.cancel))
        return self.events[-1]

    def _publish(self, event: Event) -> None:
        self.events.append(event)
        self.on_event(event)

    def stop_at(self, happened: threading.Event, *kinds: type[Event]) -> None:
        """Have a turn be interrupted, from another thread, once that is set, which such an event does too."""
        self.on_event = lambda each: happened.set() if isinstance(each, kinds) else None

        def wait() -> None:
            if happened.wait(WAIT):
                self.cancel.set()

        threading.Thread(target=wait, daemon=True).start()

    @property
    def steps(self) -> list[Failover]:
        return [each for each in self.events if isinstance(each, Failover)]

    @property
    def kinds(self) -> list[str]:
        return [each.type for each in self.events]

    @property
    def warnings(self) -> list[str]:
        return [each.text for each in self.events if isinstance(each, Notice) and each.level == "warn"]

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What the conversation's file holds."""
        return [json.loads(line) for line in self.session.conversation.path.read_text().splitlines()]

    @property
    def kept(self) -> list[tuple[str, str]]:
        """Its messages."""
        return [(each["role"], each["content"]) for each in self.lines if "role" in each]

    def rests(self, number: int) -> dict[str, tuple[str, int]]:
        """Why this profile rests and for how long, by model, as another process sees it now."""
        rests = Profiles(self.profiles.profiles, self.state, self.clock).standing(number).rests
        return {model: (rest.category, round(rest.until - rest.since)) for model, rest in rests.items()}


@tool(read_only=True)
def idle() -> str:
    """Do nothing."""
    return "done"


def key(request: Request) -> int:
    """The number of the profile that it was sent for."""
    return KEYS.index(request.headers["authorization"].removeprefix("Bearer "))


def model(request: Request) -> str:
    return str(request.json["model"])


def by(what: Callable[[Request], Any], rules: Mapping[Any, Rule]) -> Callable[[Request, int], Answer]:
    """A script: for each key, or model, its answer; of several the last one ever after."""
    times: Counter[Any] = Counter()

    def answer(request: Request, index: int) -> Answer:
        rule = rules[what(request)]
        times[what(request)] += 1
        return rule[min(times[what(request)], len(rule)) - 1] if isinstance(rule, tuple) else rule

    return answer


def always(answer: Answer) -> Callable[[Request, int], Answer]:
    return lambda request, index: answer


def asked(server: Loopback, start: int = 0) -> list[int]:
    """The profiles in the order they were asked."""
    return [key(request) for request in server.requests[start:]]


def models(server: Loopback, start: int = 0) -> list[str]:
    return [model(request) for request in server.requests[start:]]


def is_answered(ending: Event, text: str = "Hello", by: str = "m") -> bool:
    return isinstance(ending, Done) and (ending.text, ending.model) == (text, by)


def failed(ending: Event) -> Error:
    """The turn ended with an error that can be shown."""
    assert isinstance(ending, Error), ending
    assert 0 < len(ending.message) <= 300 and ending.message.splitlines() == [ending.message]
    return ending


# -- rate limits


def test_a_limited_key_rests_as_long_as_it_asked_also_after_a_restart_and_the_next_one_answers(tmp_path: Path) -> None:
    with Loopback(by(key, {0: (LIMITED, HELLO), 1: HELLO})) as server:
        chat = Chat(tmp_path, server, backoff=BACKOFF)
        assert is_answered(chat.say())
        assert asked(server) == [0, 1]
        assert chat.kinds == ["turn_started", "failover", "text", "done"]
        assert chat.steps == [Failover("rate_limit", 0, "m", 30.0, "profile 1")]
        assert chat.kept == [("user", "hi"), ("assistant", "Hello")]
        chat.clock.ahead += 29.9
        assert is_answered(chat.say()) and chat.steps == []
        again = Chat(tmp_path, server, clock=chat.clock)
        assert is_answered(again.say()) and again.steps == []
        assert asked(server) == [0, 1, 1, 1]
        chat.clock.ahead += 0.2
        assert is_answered(again.say()) and is_answered(chat.say())
        assert asked(server)[4:] == [0, 0]
        assert chat.rests(0) == {}


@pytest.mark.parametrize(
    ("headers", "words", "seconds"),
    [
        ({"Retry-After": "7"}, "slow down", 7),
        ({"Retry-After-Ms": "45000", "Retry-After": "1"}, "slow down", 45),
        ({"Retry-After": "86400"}, "slow down", 86_400),
        ({"Retry-After": "999999999"}, "slow down", 30),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, "slow down", 30),
        ({"Retry-After": "-1"}, "slow down", 30),
        ({"Retry-After": "NaN"}, "slow down", 30),
        ({"Retry-After": "1e999"}, "slow down", 30),
        ({"Retry-After": "soon"}, "slow down", 30),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m30s"}, "slow down", 90),
        ({}, "Rate limit reached. Please try again in 42s.", 42),
        ({}, "slow down", 30),
    ],
)
@pytest.mark.parametrize("keys", [1, 2])
def test_whatever_wait_a_server_asks_for_the_turn_goes_on_and_the_key_rests(
    tmp_path: Path, headers: dict[str, str], words: str, seconds: int, keys: int
) -> None:
    with Loopback(by(key, {0: json_error(429, words, headers=headers), 1: HELLO})) as server:
        chat = Chat(tmp_path, server, keys)
        ending = chat.say()
        if keys == 2:
            assert is_answered(ending) and asked(server) == [0, 1]
        else:
            assert failed(ending).category == "rate_limit" and len(server.requests) <= 3
        assert chat.rests(0) == {"m": ("rate_limit", seconds)}
        assert chat.steps[-1].cooldown == seconds
        sent = len(server.requests)
        chat.clock.ahead += seconds - 1
        chat.say()
        assert 0 not in asked(server, sent)
        chat.clock.ahead += 2
        chat.say()
        assert 0 in asked(server, sent)


def test_a_wait_may_be_a_date(tmp_path: Path) -> None:
    limited = json_error(429, "slow down", headers={"Retry-After": formatdate(time.time() + 1000, usegmt=True)})
    with Loopback(by(key, {0: limited, 1: HELLO})) as server:
        chat = Chat(tmp_path, server)
        assert is_answered(chat.say()) and asked(server) == [0, 1]
        assert chat.steps[0].cooldown == pytest.approx(1000, abs=60)


def test_without_a_wait_of_the_servers_a_key_rests_longer_each_time_until_it_answers(tmp_path: Path) -> None:
    limited = json_error(429, "slow down")
    with Loopback(by(key, {0: (*[limited] * 4, HELLO, limited), 1: HELLO})) as server:
        chat, cooldowns = Chat(tmp_path, server), []
        for _ in range(6):
            assert is_answered(chat.say())
            cooldowns += [each.cooldown for each in chat.steps]
            chat.clock.ahead += 121
    assert cooldowns == [30, 60, 120, 120, 30]


def test_a_limit_holds_for_that_model_only(tmp_path: Path) -> None:
    with Loopback(by(model, {"m": LIMITED, "small": HELLO})) as server:
        chat = Chat(tmp_path, server, 1, ["small"])
        assert is_answered(chat.say(), by="small")
        assert is_answered(chat.say(), by="small")
        assert models(server) == ["m", "small", "small"]
        assert chat.rests(0) == {"m": ("rate_limit", 30)}


def test_a_short_wait_is_waited_out_visibly_where_no_other_key_is_free(tmp_path: Path) -> None:
    soon = json_error(429, "slow down", headers={"Retry-After-Ms": "60"})
    with Loopback(by(key, {0: LIMITED, 1: (soon, HELLO)})) as server:
        chat = Chat(tmp_path, server)
        assert is_answered(chat.say())
        assert asked(server) == [0, 1, 1]
        assert server.requests[2].at - server.requests[1].at >= 0.06
        assert re.fullmatch(r"profile 1 again in \d\.\d s", chat.steps[1].next)
        assert [each.cooldown for each in chat.steps] == [30.0, 0.0]
        assert chat.rests(1) == {}


def test_a_key_that_was_passed_over_for_a_moment_is_asked_again_where_no_other_answers(tmp_path: Path) -> None:
    soon = json_error(429, "slow down", headers={"Retry-After-Ms": "60"})
    with Loopback(by(key, {0: (soon, HELLO), 1: LIMITED})) as server:
        chat = Chat(tmp_path, server)
        assert is_answered(chat.say())
        assert asked(server) == [0, 1, 0]
        assert server.requests[2].at - server.requests[0].at >= 0.06
        assert chat.steps[0].next == "profile 1" and re.fullmatch(r"profile 0 in \d\.\d s", chat.steps[1].next)


def test_a_turn_that_begins_with_a_short_wait_shows_it(tmp_path: Path) -> None:
    with Loopback(always(HELLO)) as server:
        chat = Chat(tmp_path, server, 1)
        chat.profiles.park(0, "m", "rate_limit", 0.06, chat.clock())
        assert is_answered(chat.say())
        assert chat.kinds != ["turn_started", "text", "done"]


def test_a_short_wait_is_not_waited_out_where_another_key_is_free(tmp_path: Path) -> None:
    soon = json_error(429, "slow down", headers={"Retry-After": "4"})
    with Loopback(by(key, {0: soon, 1: HELLO})) as server:
        chat = Chat(tmp_path, server)
        assert is_answered(chat.say()) and asked(server) == [0, 1]
        assert chat.steps == [Failover("rate_limit", 0, "m", 4.0, "profile 1")]


@pytest.mark.parametrize("fallbacks", [(), ("small",)])
def test_a_wait_over_five_seconds_never_blocks_a_turn(tmp_path: Path, fallbacks: tuple[str, ...]) -> None:
    limited = json_error(429, "slow down", headers={"Retry-After": "6"})
    with Loopback(by(model, {"m": limited, "small": HELLO})) as server:
        chat = Chat(tmp_path, server, 1, fallbacks)
        ending = chat.say()
        if fallbacks:
            assert is_answered(ending, by="small")
        else:
            assert failed(ending).retry_after == 6
        assert models(server) == ["m", *fallbacks]


# -- keys and accounts


@pytest.mark.parametrize(
    ("answer", "category", "seconds"),
    [(REFUSED, "auth", 300), (UNPAID, "billing", 600), (json_error(402, "Pay."), "billing", 600)],
)
def test_a_key_or_an_account_that_is_refused_rests_for_all_models_and_is_tried_again(
    tmp_path: Path, answer: Response, category: str, seconds: int
) -> None:
    with Loopback(by(key, {0: (answer, HELLO), 1: (UNKNOWN, HELLO)})) as server:
        chat = Chat(tmp_path, server, 2, ["small"])
        assert is_answered(chat.say(), by="small")
        assert (asked(server), models(server)) == ([0, 1, 1], ["m", "m", "small"])
        assert chat.steps[0] == Failover(category, 0, "m", seconds, "profile 1")
        assert chat.rests(0) == {"": (category, seconds)}
        chat.clock.ahead += seconds - 1
        assert is_answered(chat.say()) and asked(server, 3) == [1]
        chat.clock.ahead += 2
        assert is_answered(chat.say()) and asked(server, 4) == [0]
        assert chat.rests(0) == {}


def test_a_refused_key_and_an_empty_account_are_both_passed_over(tmp_path: Path) -> None:
    with Loopback(by(key, {0: REFUSED, 1: UNPAID, 2: HELLO})) as server:
        chat = Chat(tmp_path, server, 3)
        assert is_answered(chat.say()) and is_answered(chat.say())
        assert asked(server) == [0, 1, 2, 2]
        assert [chat.rests(each) for each in (0, 1, 2)] == [{"": ("auth", 300)}, {"": ("billing", 600)}, {}]
        assert [text for role, text in chat.kept if role == "assistant"] == ["Hello", "Hello"]


@pytest.mark.parametrize(("first", "second"), [(REFUSED, UNPAID), (REFUSED, REFUSED), (UNPAID, UNPAID)])
def test_where_every_key_is_refused_the_turn_ends_and_the_next_one_asks_nobody(
    tmp_path: Path, first: Response, second: Response
) -> None:
    with Loopback(by(key, {0: first, 1: second})) as server:
        chat = Chat(tmp_path, server, 2, ["small", "tiny"])
        ending = failed(chat.say())
        assert ending.category == chat.steps[-1].category in ("auth", "billing")
        assert asked(server) == [0, 1] and chat.steps[-1].next == Failover.NOTHING
        assert chat.kept == [("user", "hi"), ("assistant", f"[no answer: {ending.category}]")]
        assert "cooling down" in failed(chat.say()).message and len(server.requests) == 2


def test_a_key_that_is_given_twice_is_asked_once(tmp_path: Path) -> None:
    for number, answer in enumerate((REFUSED, LIMITED, BROKEN)):
        (tmp_path / str(number)).mkdir()
        with Loopback(always(answer)) as server:
            failed(Chat(tmp_path / str(number), server, [KEYS[0], KEYS[0]]).say())
            assert len(server.requests) == (3 if answer is BROKEN else 1)


def test_a_changed_key_starts_fresh(tmp_path: Path) -> None:
    with Loopback(by(key, {0: REFUSED, 1: HELLO, 2: HELLO})) as server:
        chat = Chat(tmp_path, server, KEYS[:1])
        failed(chat.say())
        changed = Chat(tmp_path, server, KEYS[2:3], clock=chat.clock)
        assert is_answered(changed.say()) and asked(server) == [0, 2]


# -- failures that pass


@pytest.mark.parametrize(
    ("answer", "category"),
    [
        (BROKEN, "server_error"),
        (BUSY, "overloaded"),
        (LATE, "timeout"),
        (ODD, "unknown"),
        (CUT, "network"),
        ([], "network"),
        (Response(chunks=[event({"content": "Hel"})], end="fin", framing="close"), "network"),
        (Response(chunks=[b'data: {"error":{"message":"boom","code":500}}\n\n']), "server_error"),
    ],
)
def test_what_may_pass_is_tried_twice_more_on_the_same_key_then_on_the_next(
    tmp_path: Path, answer: Answer, category: str
) -> None:
    with Loopback(by(key, {0: answer, 1: HELLO})) as server:
        chat = Chat(tmp_path, server)
        assert is_answered(chat.say())
        assert asked(server) == [0, 0, 0, 1]
        again = "profile 0 again in 0.0 s"
        assert [(each.category, each.cooldown, each.next) for each in chat.steps] == [
            (category, 0.0, again),
            (category, 0.0, again),
            (category, 30.0, "profile 1"),
        ]
        assert chat.kept == [("user", "hi"), ("assistant", "Hello")]
        assert chat.rests(0) == {"m": (category, 30)}
        assert is_answered(chat.say()) and asked(server, 4) == [1]
        chat.clock.ahead += 31
        chat.say()
        assert asked(server, 5)[0] == 0


def test_what_has_passed_leaves_nothing_behind(tmp_path: Path) -> None:
    with Loopback([BROKEN, BUSY, HELLO, HELLO]) as server:
        chat = Chat(tmp_path, server)
        assert is_answered(chat.say()) and is_answered(chat.say())
        assert asked(server) == [0, 0, 0, 0] and chat.rests(0) == {}


def test_a_server_that_wants_more_time_than_a_retry_takes_is_left_alone_for_it(tmp_path: Path) -> None:
    busy = json_error(503, "The engine is overloaded", headers={"Retry-After": "120"})
    with Loopback(by(key, {0: busy, 1: HELLO})) as server:
        chat = Chat(tmp_path, server, backoff=BACKOFF)
        assert is_answered(chat.say()) and asked(server) == [0, 1]
        assert chat.rests(0) == {"m": ("overloaded", 120)}


@pytest.mark.parametrize("answer", [LATE, Response(end="hang", before_headers=threading.Event())])
def test_a_turn_in_the_background_parks_no_key_for_being_slow(tmp_path: Path, answer: Response) -> None:
    with Loopback(by(key, {0: answer, 1: HELLO})) as server:
        chat = Chat(tmp_path, server, background=True, timeouts={0: 0.01})
        assert is_answered(chat.say())
        assert asked(server) == [0, 0, 0, 1]
        assert [(each.category, each.cooldown) for each in chat.steps] == [("timeout", 0.0)] * 3
        assert chat.rests(0) == {}


def test_a_turn_in_the_background_uses_the_same_failover_for_all_else(tmp_path: Path) -> None:
    with Loopback(by(key, {0: LIMITED, 1: HELLO})) as server:
        chat = Chat(tmp_path, server, background=True)
        assert is_answered(chat.say())
        assert chat.steps == [Failover("rate_limit", 0, "m", 30.0, "profile 1")]
        assert chat.rests(0) == {"m": ("rate_limit", 30)}


def test_where_a_server_is_gone_another_one_answers(tmp_path: Path) -> None:
    with Loopback([]) as gone:
        pass
    with Loopback(always(HELLO)) as server:
        chat = Chat(tmp_path, server, 2, ["small"], urls={0: gone.url})
        assert is_answered(chat.say())
        assert asked(server) == [1] and {each.category for each in chat.steps} == {"network"}
        assert is_answered(chat.say()) and chat.steps == []


# -- what no other key has a better answer to


@pytest.mark.parametrize(
    ("answer", "category", "words"),
    [
        (WRONG, "bad_request", "temperature must be at most 2"),
        (FILTERED, "content_filter", "flagged by our content policy"),
        (json_error(422, "messages.0.content: field required"), "bad_request", "field required"),
        (
            json_error(400, 'Invalid value for messages[1].content: "429 rate limit"', "invalid_request_error"),
            "bad_request",
            "429 rate limit",
        ),
        (
            json_error(400, "The input 'error 429: rate limit reached' is not valid here", "invalid_request_error"),
            "bad_request",
            "rate limit reached",
        ),
        (
            json_error(400, 'Could not parse the arguments of the call: "429 rate limit"', "invalid_request_error"),
            "bad_request",
            "429 rate limit",
        ),
    ],
)
def test_a_request_that_is_refused_for_what_it_says_is_sent_once_and_the_server_is_quoted(
    tmp_path: Path, answer: Response, category: str, words: str
) -> None:
    with Loopback(always(answer)) as server:
        chat = Chat(tmp_path, server, 2, ["small"])
        ending = failed(chat.say())
        assert ending.category == category and words in ending.message
        assert (asked(server), chat.steps) == ([0], [])
        assert chat.rests(0) == chat.rests(1) == {}
        assert chat.kept == [("user", "hi"), ("assistant", f"[no answer: {category}]")]


# -- overflow


@pytest.mark.parametrize(
    "answer",
    [
        TOO_LONG,
        json_error(500, "the request exceeds the available context size. try increasing it"),
        json_error(413, "Request too large"),
        json_error(
            429,
            "Request too large for m on tokens per min (TPM): Limit 10000, Requested 12000.",
            "tokens",
            "rate_limit_exceeded",
            headers={"Retry-After": "1"},
        ),
        json_answer(
            {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long"}}, 400
        ),
        Response(chunks=[b'data: {"error":{"code":"context_length_exceeded","message":"too many tokens"}}\n\n']),
    ],
)
@pytest.mark.parametrize("heals", [True, False])
def test_a_conversation_that_is_too_long_is_shortened_and_no_key_is_to_blame(
    tmp_path: Path, answer: Response, heals: bool
) -> None:
    refused: list[Request] = []

    def script(request: Request, index: int) -> Response:
        if "tools" not in request.json:
            return text_stream("They talked.")
        if index < 4 or (heals and refused):
            return HELLO
        refused.append(request)
        return answer

    with Loopback(script) as server:
        chat = Chat(tmp_path, server, 2, ["small"], window=8_000)
        for number in range(4):
            chat.say(f"{number} " + "plum " * 800)
        ending = chat.say("and?")
        assert set(asked(server)) == {0} and set(models(server)) == {"m"}
        assert chat.steps == [] and chat.rests(0) == chat.rests(1) == {}
        if heals:
            assert is_answered(ending) and any(isinstance(each, Compacted) for each in chat.events)
        else:
            assert failed(ending).category == "overflow" and "Shorten it" in failed(ending).message
            assert 2 <= len(refused) <= 3


def test_a_conversation_that_cannot_be_shortened_is_a_clear_error_at_once(tmp_path: Path) -> None:
    with Loopback(always(TOO_LONG)) as server:
        chat = Chat(tmp_path, server, 2, ["small"], window=8_000)
        ending = failed(chat.say())
        assert ending.category == "overflow" and "maximum context length is 8192" in ending.message
        assert asked(server) == [0] and chat.steps == []


def test_a_fallback_model_with_less_room_has_the_conversation_shortened_too(tmp_path: Path) -> None:
    small: list[Request] = []

    def script(request: Request, index: int) -> Response:
        if index < 4:
            return HELLO
        if model(request) == "m":
            return LIMITED
        if "tools" not in request.json:
            return text_stream("They talked.")
        small.append(request)
        return TOO_LONG if len(small) == 1 else HELLO

    with Loopback(script) as server:
        chat = Chat(tmp_path, server, 1, ["small"], window=8_000)
        for number in range(4):
            chat.say(f"{number} " + "plum " * 800)
        assert is_answered(chat.say("and?"), by="small")
        assert models(server, 4)[0] == "m" and set(models(server, 5)) == {"small"} and len(small) == 2
        assert chat.rests(0) == {"m": ("rate_limit", 30)}
        assert chat.session.store.state.window == 8_000


def test_text_that_an_overflow_breaks_off_is_void_too(tmp_path: Path) -> None:
    error = b'data: {"error":{"code":"context_length_exceeded","message":"too many tokens"}}\n\n'
    with Loopback([Response(chunks=[event({"content": "Hel"}), error])]) as server:
        chat = Chat(tmp_path, server)
        assert failed(chat.say()).category == "overflow"
        assert chat.kinds == ["turn_started", "text", "failover", "error"]
        assert chat.kept == [("user", "hi"), ("assistant", "[no answer: overflow]")] and chat.rests(0) == {}


# -- fallback models


def test_fallback_models_are_tried_in_order_each_over_the_keys_that_are_free(tmp_path: Path) -> None:
    rules: dict[Any, Rule] = {
        (0, "small"): REFUSED,
        (1, "small"): LIMITED,
        (1, "tiny"): text_stream("Hello", usage=USAGE),
    }
    rules |= {(0, "m"): LIMITED, (1, "m"): LIMITED}
    with Loopback(by(lambda request: (key(request), model(request)), rules)) as server:
        chat = Chat(tmp_path, server, 2, ["small", "tiny"])
        assert is_answered(chat.say(), by="tiny")
        assert [(key(each), model(each)) for each in server.requests] == list(
            zip((0, 1, 0, 1, 1), ("m", "m", "small", "small", "tiny"), strict=True)
        )
        assert [each.next for each in chat.steps] == ["profile 1", "profile 0, small", "profile 1", "profile 1, tiny"]
        assert [text for text in chat.warnings if "tiny is asked in place of m" in text]
        view, state = chat.session.view, chat.session.store.state
        assert (view.model, view.used, state.model, state.used) == ("m", "tiny", "m", "tiny")
        assert [each["model"] for each in chat.lines if each.get("role") == "assistant"] == ["tiny"]
        spent = next(iter(chat.ledger.days(1).values()))
        assert {each: tokens["total_tokens"] for each, tokens in spent.items()} == {"tiny": 9}


def test_a_fallback_holds_for_its_turn_and_the_next_turn_tries_the_selected_model_first(tmp_path: Path) -> None:
    clock = Clock()

    @tool
    def sleep() -> str:
        """Sleep for an hour."""
        clock.ahead += 3600
        return "slept"

    small = call_stream(("sleep", {})), call_stream(("sleep", {})), HELLO
    with Loopback(by(model, {"m": (LIMITED, HELLO), "small": small})) as server:
        chat = Chat(tmp_path, server, 1, ["small"], clock=clock, tools=[sleep])
        assert is_answered(chat.say(), by="small")
        assert models(server) == ["m", "small", "small", "small"]
        assert len([text for text in chat.warnings if "in place of" in text]) == 1
        assert is_answered(chat.say(), by="m")
        assert models(server, 4) == ["m"] and chat.warnings == []
        assert chat.session.view.used == "m"


def test_a_fallback_that_already_makes_the_summary_is_said_too(tmp_path: Path) -> None:
    with Loopback(by(model, {"m": (*[HELLO] * 4, LIMITED), "small": HELLO})) as server:
        chat = Chat(tmp_path, server, 1, ["small"], window=8_000)
        for number in range(4):
            chat.say(f"{number} " + "plum " * 800)
        chat.session.store.state.window = 4_000
        assert is_answered(chat.say("and?"), by="small")
        assert "tools" not in server.requests[4].json and any(isinstance(each, Compacted) for each in chat.events)
        assert len([text for text in chat.warnings if "small is asked in place of m" in text]) == 1


def test_where_a_fallback_fails_later_in_its_turn_the_others_are_tried(tmp_path: Path) -> None:
    rules: dict[Any, Rule] = {"m": (UNKNOWN, HELLO), "small": (call_stream(("idle", {})), LIMITED)}
    with Loopback(by(model, rules)) as server:
        chat = Chat(tmp_path, server, 1, ["small"])
        assert is_answered(chat.say(), by="m")
        assert models(server) == ["m", "small", "small", "m"]


def test_a_chosen_model_falls_back_likewise_and_that_is_said(tmp_path: Path) -> None:
    with Loopback(by(model, {"chosen": LIMITED, "small": BROKEN, "m": HELLO})) as server:
        chat = Chat(tmp_path, server, 1, ["small", "m"])
        chat.selected = "chosen"
        assert is_answered(chat.say(), by="m")
        assert models(server) == ["chosen", "small", "small", "small", "m"]
        assert chat.events[0].record()["model"] == "chosen"
        assert [text for text in chat.warnings if "m is asked in place of chosen (rate limit)" in text]
        assert (chat.session.view.model, chat.session.view.used) == ("chosen", "m")
        assert is_answered(chat.say(), by="m") and models(server, 5) == ["m"]
        assert [text for text in chat.warnings if "m is asked in place of chosen (rate limit)" in text]


def test_a_model_that_is_not_there_gives_way_to_the_next_and_no_key_rests(tmp_path: Path) -> None:
    with Loopback(by(model, {"m": UNKNOWN, "small": HELLO})) as server:
        chat = Chat(tmp_path, server, 2, ["small"])
        assert is_answered(chat.say(), by="small")
        assert (asked(server), models(server)) == ([0, 0], ["m", "small"])
        assert chat.steps == [Failover("model_not_found", 0, "m", 0.0, "profile 0, small")]
        assert chat.rests(0) == chat.rests(1) == {}
        assert is_answered(chat.say(), by="small") and models(server, 2) == ["m", "small"]


# -- a stream that breaks


@pytest.mark.parametrize("end", ["cut", "rst", "fin"])
@pytest.mark.parametrize("times", [1, 3])
def test_of_a_reply_that_breaks_off_nothing_is_stored_and_it_is_void_before_the_next_begins(
    tmp_path: Path, end: Any, times: int
) -> None:
    broken = Response(chunks=[event({"content": f"old{number} "}) for number in range(100)], end=end)
    told = threading.Event()  # a reset also takes what was sent, but not read

    def script(request: Request, index: int) -> Response:
        if index >= times:
            return text_stream("new ", "reply")
        return Response(chunks=broken.chunks, end=end, between=lambda i: i < 99 or told.wait(WAIT))

    with Loopback(script) as server:
        chat = Chat(tmp_path, server)

        def hear(each: Event) -> None:
            if isinstance(each, Text) and each.text == "old99 ":
                told.set()
            elif isinstance(each, Failover):
                told.clear()

        chat.on_event = hear
        assert is_answered(chat.say(), "new reply")
        assert asked(server) == ([0, 0] if times == 1 else [0, 0, 0, 1])
        assert chat.kept == [("user", "hi"), ("assistant", "new reply")]
        if times == 3:
            chat.say("and?")
            assert server.requests[-1].said == ["hi", "new reply", "and?"]
            return
        void = chat.kinds.index("failover")
        before = "".join(each.text for each in chat.events[:void] if isinstance(each, Text))
        after = "".join(each.text for each in chat.events[void:] if isinstance(each, Text))
        assert before == "".join(f"old{number} " for number in range(100)) and after == "new reply"


def test_half_of_a_call_never_runs_and_what_ran_does_not_run_again(tmp_path: Path) -> None:
    ran: list[str] = []

    @tool
    def note(text: str) -> str:
        """Note a text."""
        ran.append(text)
        return "noted"

    whole, second = (
        call_stream(("note", {"text": "one"})),
        call_stream(("note", {"text": "two"}), ("note", {"text": "3"})),
    )
    halves = [Response(chunks=second.chunks[:length], end="cut") for length in (2, 3, 4)]
    with Loopback([whole, *halves, second, Response(chunks=second.chunks[:5], end="cut"), HELLO]) as server:
        chat = Chat(tmp_path, server, 3, tools=[note])
        assert is_answered(chat.say())
        assert ran == ["one", "two", "3"]
        assert len([each for each in chat.events if isinstance(each, ToolFinished)]) == 3
        roles = ["user", "assistant", "tool", "assistant", "tool", "tool", "assistant"]
        assert [role for role, _ in chat.kept] == roles
        assert [each["role"] for each in server.requests[-1].json["messages"]] == roles[:-1]
        assert asked(server) == [0, 0, 0, 0, 1, 1, 1]


# -- bounds

WORST: dict[str, Answer] = {
    "429": json_error(429, "slow down"),
    "429, again at once": json_error(429, "slow down", headers={"Retry-After-Ms": "1"}),
    "429, for a day": json_error(429, "slow down", headers={"Retry-After": "86400"}),
    "500": BROKEN,
    "504": LATE,
    "418": ODD,
    "401": REFUSED,
    "404": NOWHERE,
    "404, the model": UNKNOWN,
    "405": json_error(405, "Method Not Allowed"),
    "400": WRONG,
    "in circles": Redirect("/api/chat/completions"),
    "once around": Redirect("/elsewhere", 308),
    "a page": Response(content_type="text/html", chunks=[b"<!doctype html><html><body>Welcome</body></html>"]),
    "nothing": Response(),
    "no answer": [],
    "cut": CUT,
    "no HTTP": [b"SSH-2.0-OpenSSH_9.6\r\n"],
    "broken off": Response(chunks=[b'data: {"error":{"message":"boom","code":500}}\n\n']),
}


def unwilling(request: Request, index: int) -> Answer:
    """Refuses each field that can be left out, then everything."""
    if "stream_options" in request.json:
        return json_error(400, "Unrecognized request argument supplied: stream_options")
    return json_error(400, "tools is not supported") if "tools" in request.json else BROKEN


def most(keys: int, fallbacks: int, folder: Path, script: Callable[[Request, int], Answer]) -> int:
    """Ask twice over so many keys and models, on a server whose address leaves open where it is; each step says truly
    what comes next. Returns the requests that the first turn took."""
    with Loopback(script) as server:
        urls = dict.fromkeys(range(keys), f"http://127.0.0.1:{server.port}/api")
        chat = Chat(folder, server, keys, [f"m{each}" for each in range(fallbacks)], urls=urls)
        taken = []
        for _ in range(2):
            before = len(server.requests)
            ending = failed(chat.say())
            taken.append(len(server.requests) - before)
            for step, following in pairwise(chat.steps):
                model = "" if following.model == step.model else f", {following.model}"
                assert re.fullmatch(rf"profile {following.profile}{model}( again in .*)?", step.next)
            if chat.steps and ending.category not in FINAL:
                assert chat.steps[-1].next == Failover.NOTHING
    assert max(taken) <= REQUESTS
    return taken[0]


@pytest.mark.parametrize("answer", WORST.values(), ids=WORST)
def test_one_reply_takes_twelve_requests_at_most_whatever_the_answer(tmp_path: Path, answer: Answer) -> None:
    assert 1 <= most(5, 4, tmp_path, always(answer)) <= 12 == REQUESTS


@pytest.mark.parametrize(("keys", "fallbacks"), [(1, 0), (5, 4)])
def test_fields_that_are_refused_count_too(tmp_path: Path, keys: int, fallbacks: int) -> None:
    assert 3 <= most(keys, fallbacks, tmp_path, unwilling) <= 12


@pytest.mark.parametrize("seed", range(12))
def test_twelve_holds_however_the_answers_fall(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    answers = [each for name, each in WORST.items() if name != "429, again at once"]

    def script(request: Request, index: int) -> Answer:
        return unwilling(request, index) if dice.random() < 0.2 else dice.choice(answers)

    most(dice.randint(1, 5), dice.randint(0, 4), tmp_path, script)


def test_the_bound_is_for_each_reply_not_for_the_turn(tmp_path: Path) -> None:
    calls = [call_stream(("idle", {})) for _ in range(4)]
    answers = [each for call in calls for each in (BROKEN, BUSY, call)]
    with Loopback([*answers, BROKEN, HELLO]) as server:
        chat = Chat(tmp_path, server, 1)
        assert is_answered(chat.say()) and len(server.requests) == 14


@pytest.mark.parametrize(("keys", "requests"), [(1, 1), (2, 2), (5, 5)])
def test_where_all_are_limited_each_is_asked_once_and_the_turn_ends(tmp_path: Path, keys: int, requests: int) -> None:
    with Loopback(always(LIMITED)) as server:
        chat = Chat(tmp_path, server, keys)
        ending = failed(chat.say())
        assert ending.category == "rate_limit" and ending.retry_after == 30
        assert asked(server) == list(range(requests))
        assert len(chat.steps) == requests and chat.steps[-1].next == Failover.NOTHING
        assert chat.kept == [("user", "hi"), ("assistant", "[no answer: rate_limit]")]


def test_where_all_are_parked_no_request_is_sent_and_one_line_says_when_and_why(tmp_path: Path) -> None:
    longer = json_error(429, "slow down", headers={"Retry-After": "600"})
    with Loopback(by(key, {0: REFUSED, 1: longer, 2: (LIMITED, HELLO)})) as server:
        chat = Chat(tmp_path, server, 3)
        failed(chat.say())
        chat.clock.ahead += 10
        for again in (chat, Chat(tmp_path, server, 3, clock=chat.clock)):
            ending = failed(again.say())
            assert re.match(
                r"Every key is cooling down; the first is back at \d\d:\d\d \(rate limit\)\.", ending.message
            )
            assert ending.category == "rate_limit" and ending.retry_after == pytest.approx(20, abs=0.2)
            assert again.kinds == ["turn_started", "error"]
        assert len(server.requests) == 3
        chat.clock.ahead += 21
        assert is_answered(chat.say()) and asked(server, 3) == [2]


def test_a_reset_has_them_asked_at_once(tmp_path: Path) -> None:
    with Loopback(by(key, {0: (LIMITED, HELLO), 1: LIMITED})) as server:
        chat = Chat(tmp_path, server)
        failed(chat.say())
        chat.profiles.reset()
        assert is_answered(chat.say()) and asked(server) == [0, 1, 0]


# -- cancelling


@pytest.mark.parametrize("when", ["a retry waits", "a limit is waited out", "before headers", "mid-stream"])
def test_cancel_wins_over_everything(tmp_path: Path, when: str) -> None:
    answer = {
        "a retry waits": BROKEN,
        "a limit is waited out": json_error(429, "slow down", headers={"Retry-After": "5"}),
        "before headers": Response(before_headers=threading.Event()),
        "mid-stream": Response(chunks=[event({"content": "Hel"})], end="hang"),
    }[when]
    happened = threading.Event()

    def script(request: Request, index: int) -> Response:
        if index:
            return HELLO
        if when == "before headers":
            happened.set()
        return answer

    with Loopback(script) as server:
        chat = Chat(tmp_path, server, 1, ["small"] if when == "mid-stream" else [], backoff=[(600.0, 600.0)] * 2)
        chat.stop_at(happened, Failover, Text)
        ended = threading.Event()
        endings: list[Event] = []

        def run() -> None:
            endings.append(chat.say())
            ended.set()

        threading.Thread(target=run, daemon=True).start()
        assert ended.wait(WAIT), "the wait of 600 seconds goes on"
        said = "Hel" if when == "mid-stream" else ""
        assert endings == [Interrupted(said)] and len(server.requests) == 1
        assert chat.rests(0) == {}
        assert chat.kept == [("user", "hi"), ("assistant", said or "[interrupted]")]
        assert is_answered(chat.say())


def test_cancel_ends_the_wait_for_a_key_that_was_passed_over(tmp_path: Path) -> None:
    soon, happened = json_error(429, "slow down", headers={"Retry-After": "5"}), threading.Event()
    with Loopback(by(key, {0: soon, 1: LIMITED})) as server:
        chat, steps = Chat(tmp_path, server), count(1)
        chat.stop_at(happened)
        chat.on_event = lambda each: happened.set() if isinstance(each, Failover) and next(steps) == 2 else None
        assert chat.say() == Interrupted("")
        assert asked(server) == [0, 1]


def test_cancel_wins_between_two_keys_and_what_was_learnt_is_kept(tmp_path: Path) -> None:
    with Loopback(by(key, {0: LIMITED, 1: HELLO})) as server:
        chat = Chat(tmp_path, server)
        chat.on_event = lambda each: chat.cancel.set() if isinstance(each, Failover) else None
        assert chat.say() == Interrupted("") and asked(server) == [0]
        assert chat.rests(0) == {"m": ("rate_limit", 30)}


# -- what is told


def test_each_step_is_one_event_and_one_line_of_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "agentkit")
    rules: dict[Any, Rule] = {(0, "m"): LIMITED, (1, "m"): BROKEN, (2, "m"): REFUSED, (0, "small"): (BUSY, HELLO)}
    with Loopback(by(lambda request: (key(request), model(request)), rules)) as server:
        chat = Chat(tmp_path, server, 3, ["small"])
        assert is_answered(chat.say(), by="small")
    told = [each.getMessage() for each in caplog.records if each.getMessage().startswith("failover")]
    assert len(chat.steps) == len(told) == len(server.requests) - 1 == 6
    for step, line in zip(chat.steps, told, strict=True):
        words = [step.category, f"profile {step.profile}", step.model, f"{step.cooldown:.0f} s", step.next]
        assert all(each in line for each in words)
    assert [each.cooldown for each in chat.steps] == [30, 0, 0, 30, 300, 0]


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_a_key_is_never_shown_logged_or_written_down(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    caplog.set_level(logging.DEBUG)

    def script(request: Request, index: int) -> Response:
        return json_error(status, f"no: {request.headers['authorization']} ({KEYS[key(request)]})")

    with Loopback(script) as server:
        chat = Chat(tmp_path, server, 3, ["small"])
        told = [json.dumps(each.record()) for each in (chat.say(), *chat.events, chat.say(), *chat.events)]
    told += [each.getMessage() for each in caplog.records]
    told += [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert not [text for text in told for each in KEYS if each in text or each[7:18] in text]


@pytest.mark.parametrize("length", range(180, 260, 9))
def test_of_a_key_that_a_long_message_quotes_at_its_end_no_part_is_shown(tmp_path: Path, length: int) -> None:
    with Loopback(always(json_error(429, f"{'x' * length} {KEYS[0]} is slow"))) as server:
        ending = failed(Chat(tmp_path, server, 1).say())
    assert KEYS[0][:12] not in ending.message


def test_the_state_is_for_its_owner_only(tmp_path: Path) -> None:
    with Loopback(always(LIMITED)) as server:
        chat = Chat(tmp_path, server)
        chat.say()
        assert stat.S_IMODE(chat.state.stat().st_mode) == 0o600
        assert stat.S_IMODE(chat.state.parent.stat().st_mode) == 0o700


# -- many at once


def test_twenty_sessions_on_two_keys_park_the_failing_one_once_and_one_of_them_tries_it_out(tmp_path: Path) -> None:
    crowd = 20
    everyone, first = threading.Barrier(crowd, timeout=WAIT), threading.Barrier(crowd, timeout=WAIT)
    others, ended = threading.Event(), threading.Semaphore(0)
    limited = json_error(429, "slow down")
    phase = 1

    def script(request: Request, index: int) -> Answer:
        if key(request):
            return HELLO
        if phase == 1:
            first.wait()  # all of them are under way together
            return limited
        return Response(
            limited.status, limited.content_type, framing="length", chunks=limited.chunks, before_headers=others
        )

    with Loopback(script) as server:
        clock = Clock()
        keys = [Profile(each, server.url, KEYS[each]) for each in (0, 1)]
        shared = Profiles(keys, tmp_path / ".state" / "profiles.json", clock)
        chats = [Chat(tmp_path, server, clock=clock, profiles=shared) for _ in range(crowd)]

        def say(chat: Chat) -> None:
            everyone.wait()
            chat.say()
            ended.release()

        def all_say(but: int = 0) -> list[threading.Thread]:
            threads = [threading.Thread(target=say, args=(each,), daemon=True) for each in chats]
            for thread in threads:
                thread.start()
            for _ in range(crowd - but):
                assert ended.acquire(timeout=WAIT)
            return threads

        all_say()
        assert all(is_answered(each.events[-1]) for each in chats)
        assert Counter(asked(server)) == {0: crowd, 1: crowd}
        assert chats[0].rests(0) == {"m": ("rate_limit", 30)}
        assert shared.standing(0).rests["m"].times == 1
        all_say()
        assert Counter(asked(server, 2 * crowd)) == {1: crowd}
        phase = 2
        clock.ahead += 31
        tried = all_say(but=1)  # the one that tries it out waits for it, the others do not
        assert Counter(asked(server, 3 * crowd)) == {0: 1, 1: crowd - 1}
        others.set()
        for thread in tried:
            thread.join(WAIT)
        assert all(is_answered(each.events[-1]) for each in chats)
        assert chats[0].rests(0) == {"m": ("rate_limit", 60)}
        shared.close()
        assert Profiles(keys, tmp_path / ".state" / "profiles.json", clock).standing(0).failures == {
            "rate_limit": crowd + 1
        }


def test_two_turns_that_fail_together_say_truly_whom_they_ask_next(tmp_path: Path) -> None:
    both, parted = threading.Barrier(2, timeout=WAIT), threading.Barrier(2, timeout=WAIT)
    ready = False

    def script(request: Request, index: int) -> Answer:
        if not ready:
            return LIMITED
        if key(request) == 0:
            both.wait()
            return LIMITED
        parted.wait()  # neither has an answer before both ask
        return HELLO

    with Loopback(script) as server:
        clock = Clock()
        keys = [Profile(each, server.url, KEYS[each]) for each in range(3)]
        shared = Profiles(keys, tmp_path / ".state" / "profiles.json", clock)
        chats = [Chat(tmp_path, server, 3, clock=clock, profiles=shared) for _ in range(2)]
        failed(chats[0].say("all rest"))
        ready = True
        clock.ahead += 31
        shared.reset(0)
        threads = [threading.Thread(target=chat.say, args=(f"chat {each}",)) for each, chat in enumerate(chats)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
        assert sorted(asked(server, 3)) == [0, 0, 1, 2]
        for each, chat in enumerate(chats):
            mine = [key(request) for request in server.requests if request.said[-1] == f"chat {each}"]
            assert is_answered(chat.events[-1])
            assert [step.next for step in chat.steps] == [f"profile {mine[1]}"]
