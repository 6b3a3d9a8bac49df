"""The program through outages: several keys and models, in real processes and pseudo-terminals."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from .fullscreen import FullScreen
from .loopback import Loopback, Request, Response, call_stream, event, json_error, text_stream
from .program import WAIT, Terminal, agentkit, environment, settled

FIRST, SECOND = "sk-first-0123456789-aaaa", "sk-second-0123456789-bbbb"
NAMES = {f"Bearer {FIRST}": "first", f"Bearer {SECOND}": "second"}
REFUSED = json_error(401, f"Incorrect API key provided: {FIRST}")
GONE = json_error(404, "The model does not exist", code="model_not_found")
FAILED = b'data: {"error": {"message": "Rate limit reached", "type": "rate_limit_error", "code": 429}}\n\n'
PARKED = r"error: Every key is cooling down; the first is back at (\d\d:\d\d) \(rate limit\)\.[^\n]*\n"
TODAY = r"\d{4}-\d\d-\d\d"
ENTER = "\r"


def limited(seconds: int) -> Response:
    return json_error(429, "Rate limit reached", headers={"retry-after": str(seconds)})


def cut(*pieces: str) -> list[bytes]:
    """The chunks of a reply that has begun."""
    return [event({"content": piece}) for piece in pieces]


Answers = Sequence[Response] | Mapping[str, Response]


class Server(Loopback):
    """Answers each key with answers of its own: in their order, the last one over and over; or by the model that is
    asked for."""

    def __init__(self, first: Answers, second: Answers = ()) -> None:
        left = {"first": first, "second": second}

        def script(request: Request, index: int) -> Response:
            answers = left[_key(request)]
            if isinstance(answers, Mapping):
                return answers[request.json["model"]]
            left[_key(request)] = answers[1:] or answers
            return answers[0]

        super().__init__(script)

    def __enter__(self) -> Server:
        super().__enter__()
        return self

    @property
    def keys(self) -> list[str]:
        """Which were used, in order."""
        return [_key(each) for each in self.requests]

    @property
    def asked(self) -> list[tuple[str, str]]:
        """Which key was used for which model, in order."""
        return [(_key(each), each.json["model"]) for each in self.requests]


def _key(request: Request) -> str:
    return NAMES[request.headers["authorization"]]


def two_keys(folder: Path, server: Loopback, **more: str) -> dict[str, str]:
    return environment(folder, server.url, LLM_API_KEY=FIRST, LLM_API_KEY_1=SECOND, **more)


def state(folder: Path) -> Path:
    return folder / "workspace" / ".state" / "profiles.json"


def pass_time(folder: Path, seconds: float) -> None:
    """Have all that is known of the keys be older."""
    known = json.loads(state(folder).read_text())
    for each in known.values():
        for rest in each["rests"].values():
            rest["since"] -= seconds
            rest["until"] -= seconds
    state(folder).write_text(json.dumps(known))


def kept(folder: Path) -> list[tuple[str, str | None]]:
    """What the only conversation's file has: who said what."""
    (path,) = (folder / "workspace" / "sessions").glob("*/*.jsonl")
    return [(each["role"], each["content"]) for each in map(json.loads, path.read_text().splitlines())]


def tells_no_key(folder: Path, *said: str) -> None:
    for text in (*said, *(path.read_text() for path in (folder / "workspace").rglob("*") if path.is_file())):
        assert FIRST not in text and SECOND not in text


# -- run


def test_the_next_key_answers_and_the_limited_one_gets_nothing_until_its_time_is_over(tmp_path: Path) -> None:
    folder = settled(tmp_path)
    with Server([limited(30), text_stream("And first.")], [text_stream("Hello")]) as server:
        env = two_keys(tmp_path, server, LOG_LEVEL="debug")
        done = agentkit(folder, "run", "hi", env=env)
        assert (done.returncode, done.stdout) == (0, "Hello\n")
        assert done.stderr == "note: Profile 0 failed for m (rate limit) and rests for 30 s. Next: profile 1.\n"
        assert server.keys == ["first", "second"]

        again = agentkit(folder, "run", "hi", env=env)
        assert (again.returncode, again.stdout, again.stderr) == (0, "Hello\n", "")
        assert server.keys == ["first", "second", "second"]

        assert state(folder).stat().st_mode & 0o777 == 0o600
        pass_time(folder, 31)
        after = agentkit(folder, "run", "hi", env=env)
        assert (after.returncode, after.stdout, after.stderr) == (0, "And first.\n", "")
        assert server.keys[3:] == ["first"]
        assert not any(each["rests"] for each in json.loads(state(folder).read_text()).values())
    log = (folder / "workspace" / ".state" / "agentkit.log").read_text()
    assert log.count("failover: rate_limit, profile 0, model m, cooldown 30 s, next: profile 1") == 1
    tells_no_key(folder, done.stderr)


def test_each_step_is_an_event_before_the_text_and_a_fallback_holds_for_one_turn(tmp_path: Path) -> None:
    folder = settled(tmp_path)
    usage = {"prompt_tokens": 11, "completion_tokens": 2, "total_tokens": 13}
    second = {
        "m": GONE,
        "gone": GONE,
        "small": text_stream("From small.", usage=usage),
        "big": text_stream("From big."),
    }
    with Server([REFUSED], second) as server:
        env = two_keys(tmp_path, server, LLM_FALLBACK_MODELS="gone, small,big", LOG_LEVEL="debug")
        done = agentkit(folder, "run", "--json", "hi", env=env)
        events: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
        assert server.asked == [("first", "m"), ("second", "m"), ("second", "gone"), ("second", "small")]
        second["m"] = text_stream("From m.")
        assert agentkit(folder, "run", "hi", env=env).stdout == "From m.\n"
        assert server.asked[4:] == [("second", "m")]
    assert done.returncode == 0
    steps = ["turn_started", "failover", "failover", "notice", "failover", "notice", "text", "done"]
    assert [each["type"] for each in events] == steps
    shared = {name: events[0][name] for name in ("session", "turn")}
    failovers = [each for each in events if each["type"] == "failover"]
    assert failovers == [
        {"type": "failover", **shared, "category": category, "profile": profile, "model": model, "cooldown": cooldown,
         "next": following}
        for category, profile, model, cooldown, following in (
            ("auth", 0, "m", 300.0, "profile 1"),
            ("model_not_found", 1, "m", 0.0, "profile 1, gone"),
            ("model_not_found", 1, "gone", 0.0, "profile 1, small"),
        )
    ]  # fmt: skip
    assert events[0]["model"] == "m"
    assert "small is asked in place of m (model not found)" in events[5]["text"]
    assert (events[-1]["text"], events[-1]["model"], events[-1]["usage"]) == ("From small.", "small", usage)
    said = [path.read_text().splitlines() for path in (folder / "workspace" / "sessions").glob("*/*.jsonl")]
    answers = {each["content"]: each.get("model") for lines in said for each in map(json.loads, lines)}
    assert answers == {"hi": None, "From small.": "small", "From m.": "m"}
    tells_no_key(folder, done.stdout, done.stderr)


# What it says beside the answer goes to a file, so that a terminal shows the answer alone.
APART = """
import os, runpy, sys
os.dup2(os.open("stderr", os.O_WRONLY | os.O_CREAT, 0o600), 2)
runpy.run_module("agentkit", run_name="__main__", alter_sys=True)
"""


def test_an_answer_that_was_cut_begins_again_and_is_there_once(tmp_path: Path) -> None:
    folder = settled(tmp_path)
    words = [f"w{number} " for number in range(100)]
    broken = Response(chunks=cut(*words), end="cut")
    with Server([broken, text_stream(*words, "and the end.")]) as server:
        env = environment(tmp_path, server.url, LLM_API_KEY=FIRST)
        with Terminal(folder, "run", "hi", env=env, program=("-c", APART)) as terminal:
            assert terminal.wait() == 0
        assert len(server.requests) == 2
    whole = "".join(words) + "and the end."
    assert terminal.screen == f"{''.join(words)}\r\n{whole}\r\n"
    said = (folder / "stderr").read_text()
    assert re.fullmatch(
        r"note: Profile 0 failed for m \(network\)\. Next: profile 0 again in \d\.\d s\. The answer begins again\.\n",
        said,
    )
    assert kept(folder)[1:] == [("assistant", whole)] and kept(folder)[0][0] == "user"


def test_into_a_pipe_goes_only_the_last_text_and_no_tool_runs_twice(tmp_path: Path) -> None:
    folder = settled(tmp_path)
    bash = {"name": "bash", "arguments": '{"command": "touch half'}
    half = event({"tool_calls": [{"index": 0, "id": "call_half", "type": "function", "function": bash}]})
    broken = Response(chunks=[*cut("void ", "words "), half, FAILED])
    called = call_stream(("bash", {"command": "echo once >> ran"}), text="Let me see. ")
    with Server([called, broken], [text_stream("It ", "ran.")]) as server:
        done = agentkit(folder, "run", "--yes", "go", env=two_keys(tmp_path, server))
        assert server.keys == ["first", "first", "second"]
        assert server.requests[2].json["messages"] == server.requests[1].json["messages"]
    assert (done.returncode, done.stdout) == (0, "It ran.\n")
    assert "void" not in done.stderr and "begins again" not in done.stderr
    assert (folder / "ran").read_text() == "once\n" and not (folder / "half").exists()
    assert [role for role, _ in kept(folder)] == ["user", "assistant", "tool", "assistant"]
    assert kept(folder)[3] == ("assistant", "It ran.")


def test_with_every_key_parked_nothing_is_sent_and_a_line_says_until_when(tmp_path: Path) -> None:
    folder = settled(tmp_path)
    with Server([limited(3600), text_stream("First.")], [limited(600), text_stream("Second.")]) as server:
        env = two_keys(tmp_path, server)
        began = datetime.now()
        failed = agentkit(folder, "run", "hi", env=env)
        ended = datetime.now()
        assert (failed.returncode, failed.stdout, server.keys) == (1, "", ["first", "second"])
        assert failed.stderr.count("note: ") == 1 and failed.stderr.count("error: ") == 1

        parked = agentkit(folder, "run", "hi", env=env)
        assert (parked.returncode, parked.stdout) == (1, "")
        assert (found := re.fullmatch(PARKED, parked.stderr))
        span = int((ended - began).total_seconds()) + 62
        assert found[1] in {f"{began + timedelta(seconds=600 + more):%H:%M}" for more in range(span)}

        remembered = agentkit(folder, "run", "/remember plums They are ripe.\nAll of them.", env=env)
        assert remembered.returncode == 0 and remembered.stdout.startswith("Kept in ")
        assert "cooling down" in remembered.stderr and "first line" in remembered.stderr
        (memory,) = (folder / "workspace" / ".agents" / "assistant" / "memory").glob("*.md")
        assert memory.read_text() == '---\ntldr: "They are ripe."\n---\nThey are ripe.\nAll of them.\n'
        assert len(server.requests) == 2

        chat = agentkit(folder, env=env, stdin="one\n/profiles\n/profiles reset 1\ntwo\n/profiles\n")
        assert server.keys[2:] == ["second"]
    assert chat.returncode == 1 and len(re.findall(PARKED, chat.stderr)) == 1
    before, _, after = chat.stdout.partition("Second.\n")
    assert re.search(r"(?m)^0  127\.0\.0\.1:\d+  \.\.\.aaaa  rests (59|60) minutes \(rate limit, m\)$", before)
    assert re.search(r"(?m)^1  127\.0\.0\.1:\d+  \.\.\.bbbb  rests (9|10) minutes \(rate limit, m\)$", before)
    assert "last answer never, failures: rate limit 1" in before
    assert "aaaa  rests" in after and re.search(
        r"bbbb  ready\n +last answer \d\d:\d\d:\d\d, failures: rate limit 1\n", after
    )
    tells_no_key(folder, chat.stdout, chat.stderr)


def test_with_every_key_refused_each_is_named_and_none_is_asked_again_too_soon(tmp_path: Path) -> None:
    folder = settled(tmp_path)
    with Server([REFUSED, text_stream("Back.")], [json_error(402, "Insufficient credits")]) as server:
        env = two_keys(tmp_path, server, LLM_FALLBACK_MODELS="small")
        failed = agentkit(folder, "run", "hi", env=env)
        parked = agentkit(folder, "run", "hi", env=env)
        assert server.asked == [("first", "m"), ("second", "m")]
        pass_time(folder, 301)
        assert agentkit(folder, "run", "hi", env=env).stdout == "Back.\n"
        assert server.asked[2:] == [("first", "m")]
    assert (failed.returncode, parked.returncode) == (1, 1)
    assert re.search(r"error: No key could answer \(profile 0, m: auth; profile 1, m: billing\)\.", failed.stderr)
    assert re.fullmatch(r"error: Every key is cooling down; [^\n]*\(auth\)\.[^\n]*\n", parked.stderr)
    tells_no_key(folder, failed.stderr)


def test_what_no_key_can_help_is_said_at_once_in_the_servers_own_words(tmp_path: Path) -> None:
    folder = settled(tmp_path)
    quotes = json_error(400, "Invalid content: '429 rate limit'", "invalid_request_error")
    with Server([quotes, text_stream("fine")], [text_stream("never")]) as server:
        done = agentkit(folder, "run", "hi", env=two_keys(tmp_path, server, LLM_FALLBACK_MODELS="small"))
        assert (done.returncode, done.stdout, server.keys) == (1, "", ["first"])
        assert re.fullmatch(r"error: [^\n]*429 rate limit[^\n]*\n", done.stderr)
        assert agentkit(folder, "run", "hi", env=two_keys(tmp_path, server)).stdout == "fine\n"
        assert server.keys == ["first", "first"]


def test_what_runs_at_the_same_time_learns_together_and_nothing_of_it_is_lost(tmp_path: Path) -> None:
    folder, runs, together = settled(tmp_path), 4, threading.Event()
    limit = limited(600)
    late = Response(429, limit.content_type, limit.headers, "length", limit.chunks, before_headers=together)
    with Server([late], [text_stream("Hello")]) as server:
        env = two_keys(tmp_path, server)
        command = [sys.executable, "-m", "agentkit", "run", "hi"]
        pipes: Any = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        started = [subprocess.Popen(command, cwd=folder, env=env, **pipes) for _ in range(runs)]
        server.wait_for_requests(runs, WAIT)
        together.set()
        assert [process.communicate(timeout=WAIT)[0] for process in started] == [b"Hello\n"] * runs
        assert sorted(server.keys) == ["first"] * runs + ["second"] * runs
    first, second = json.loads(state(folder).read_text()).values()
    assert first["failures"] == {"rate_limit": runs} and second["failures"] == {}
    assert first["rests"]["m"]["times"] == 1 and second["used"] > 0


def test_profiles_tells_no_key_and_says_what_it_can_be_told(tmp_path: Path) -> None:
    env = environment(
        tmp_path, "http://127.0.0.1:9/v1", LLM_API_KEY="", LLM_API_KEY_1="ollama", LLM_FALLBACK_MODELS="a,b"
    )
    env |= {"LLM_API_KEY_2": "sk-elevench", "LLM_API_KEY_7": FIRST, "LLM_BASE_URL_7": "http://localhost:8/v1"}
    stdin = "/profiles\n/profiles reset 7\n/profiles reset\n/profiles reset 3\n/profiles reset x\n/profiles forget\n"
    done = agentkit(settled(tmp_path), env=env, stdin=stdin)
    assert done.returncode == 1
    listing = "\n".join(
        f"{line}  ready\n   last answer never, failures: none"
        for line in ("0  127.0.0.1:9  no key", "1  127.0.0.1:9  a short key", "2  127.0.0.1:9  a short key",
                     "7  localhost:8  ...aaaa")
    )  # fmt: skip
    assert done.stdout == f"{listing}\nmodels  m, then a, then b\n" * 3
    assert done.stderr.splitlines() == [
        "error: There is no profile 3: there are 0, 1, 2, 7.",
        "error: There is no profile x: there are 0, 1, 2, 7.",
        "error: It is /profiles, /profiles reset or /profiles reset N.",
    ]


# -- chats


def test_processes_side_by_side_leave_a_key_alone_together_and_a_chat_goes_on(tmp_path: Path) -> None:
    folder = settled(tmp_path)
    first = [text_stream("fine one"), limited(3600), text_stream("fine four")]
    second = [text_stream("Hello"), text_stream("fine two"), limited(600)]
    with Server(first, second) as server:
        env = two_keys(tmp_path, server)
        with Terminal(folder, "--plain", env=env) as chat:

            def say(text: str, *answer: str) -> None:
                chat.expect("> $")
                chat.send(f"{text}\n")
                for each in answer:
                    chat.expect(each)

            say("one", "fine one")
            assert agentkit(folder, "run", "hi", env=env).stdout == "Hello\n"
            say("two", "fine two")
            assert server.keys == ["first", "first", "second", "second"]
            assert agentkit(folder, "run", "hi", env=env).returncode == 1
            say("three", "error: Every key is cooling down")
            assert server.keys[4:] == ["second"]
            say("/profiles reset", "aaaa  ready", "bbbb  ready")
            say("four", "fine four")
            assert agentkit(folder, "run", "hi", env=env).stdout == "fine four\n"
            assert server.keys[5:] == ["first", "first"]
            chat.expect("> $")
            chat.send("\x04")
            assert chat.wait() == 0
        assert server.requests[5].said[1:] == [
            "one",
            "fine one",
            "two",
            "fine two",
            "three",
            "[no answer: rate_limit]",
            "four",
        ]


def test_a_plain_chat_says_who_answers_in_place_of_whom_and_what_it_cost(tmp_path: Path) -> None:
    folder = settled(tmp_path)
    usage = {"prompt_tokens": 1100, "completion_tokens": 7, "total_tokens": 1107}
    answers = {"m": text_stream("fine", usage=usage), "other": GONE}
    with Server(answers, {"m": text_stream("never", usage=usage), "other": GONE}) as server:
        env = two_keys(tmp_path, server)
        agentkit(folder, "run", "hi", env=env)
        with Terminal(folder, "--plain", env=env) as chat:

            def say(text: str, *answer: str) -> str:
                chat.expect("> $")
                chat.send(f"{text}\n")
                return "".join(chat.expect(each) for each in answer)

            say("/model other", "other answers here")
            say("one", "model not found", r"warn: m is asked in place of other \(model not found\)\.", "fine")
            assert server.asked[1:] == [("first", "other"), ("first", "m")]
            assert "m answered last" in say("/status", "model +other at [^\n]+\n")
            answers["m"] = Response(chunks=[*cut("void ", "words"), FAILED])
            say("/model off", "m answers here")
            again = say("two", "void words", r"rests for 30 s\. Next: profile 1\. The answer begins again\.", "never")
            assert again.count("never") == 1
            assert "answered last" not in say("/status", "model +m at [^\n]+\n", "context ")
            say(
                "/usage",
                rf"this conversation\r\n  {TODAY}  m  requests: 2, tokens read: 2,200, written: 14\r\n",
                rf"in all\r\n  {TODAY}  m  requests: 3, tokens read: 3,300, written: 21\r\n",
            )
            chat.expect("> $")
            chat.send("\x04")
            assert chat.wait() == 0


def test_ctrl_c_ends_a_wait_at_once_and_the_chat_goes_on(tmp_path: Path) -> None:
    folder = settled(tmp_path)
    waits = event({}, error={"message": "Rate limit reached. Please try again in 5s.", "code": "rate_limit_exceeded"})
    broken = Response(chunks=[*cut("void ", "words"), waits])
    with Server([broken, text_stream("fine")]) as server:
        env = environment(tmp_path, server.url, LLM_API_KEY=FIRST)
        with Terminal(folder, "--plain", env=env) as chat:
            chat.expect("> $")
            chat.send("one\n")
            chat.expect(r"void words\r\n[^\n]*Next: profile 0 again in 5\.\d s\. The answer begins again\.")
            chat.send("\x03")
            chat.expect("interrupted")
            chat.expect("> $")
            assert len(server.requests) == 1
            chat.send("two\n")
            chat.expect("fine")
            assert server.requests[1].said[1:] == ["one", "[interrupted]", "two"]


def test_on_the_full_screen_a_cut_reply_is_taken_back_also_where_one_reads_in_it(tmp_path: Path) -> None:
    folder, scrolled = settled(tmp_path), threading.Event()
    early, void = ([f"{word} {number}\n" for number in range(40)] for word in ("early", "void"))
    broken = Response(chunks=[*cut(*void), FAILED], between=lambda number: number == 39 and scrolled.wait(WAIT))
    first = [text_stream(*early), broken, text_stream("The second reply.")]
    with Server(first, [GONE, text_stream("Third.")]) as server:
        env = two_keys(tmp_path, server, LLM_FALLBACK_MODELS="small")
        screen = FullScreen(folder, env={**env, "TERM": "xterm-256color"})
        with screen:
            screen.shows("ready")
            screen.send("one" + ENTER)
            screen.shows("early 39")
            screen.shows(r"assistant · m ·(.|\n)*ready ")
            screen.send("two" + ENTER)
            screen.shows("void 39")
            screen.send("\x1b[5~")
            screen.shows("void 19\n(.|\n)*more below")
            assert "void 20" not in screen.text
            scrolled.set()
            screen.gone("void")
            screen.shows("small for m")
            screen.shows("early 39(.|\n)*› two")  # what was read there is gone: what stood before it is seen
            screen.send("\x1b[6~" * 9)
            screen.shows("The second reply")
            screen.gone("below")
            assert screen.text.count("The second reply") == 1 and "void" not in screen.text
            assert re.search(r"Profile 0 failed for m \(rate limit\)", screen.text)
            assert re.search("small is asked in place of m", screen.text)
            assert server.asked[1:] == [("first", "m"), ("second", "m"), ("first", "small")]
            screen.send("\x1b[5~" * 20)
            screen.shows("› one(.|\n)*early 5")
            screen.send("three" + ENTER)
            screen.shows("● Third")
            screen.shows("ready")
            screen.gone("small for m")
            assert server.asked[4:] == [("second", "m")]
            screen.send("\x04")
            assert screen.wait() == 0
    said = kept(folder)
    assert [role for role, _ in said] == ["user", "assistant"] * 3
    assert (said[3][1], said[5][1]) == ("The second reply.", "Third.")
