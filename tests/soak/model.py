"""A model that fails in every way at random, and does well in every way too: what it does to a message follows from the
seed, the message and how often it was asked for it, whatever order the threads run in."""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from ..beating import ASKED
from ..loopback import (
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
from .account import MARKER

LONG = 8.0  # seconds: longer than the program waits for a first piece
STORM = 0.9  # which part fails in one
ROUNDS = 2  # of calls in a turn
USAGE = {"prompt_tokens": 50, "completion_tokens": 9, "total_tokens": 59}

SLOW = "is stopped"  # what a message says whose answer is to take its time
EMPTY = "an empty stream"  # which is an answer, though a poor one

Failure = Callable[[Random, str], Answer]


def _bytes(response: Response) -> bytes:
    """A chunked answer as it goes over the wire, without its end."""
    return response.head() + b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in response.pieces())


def _words(marker: str) -> list[bytes]:
    return [event({"role": "assistant", "content": ""}), event({"content": f"answer to {marker} which"})]


def _call(marker: str) -> list[bytes]:
    function = {"name": "list_dir", "arguments": '{"path": ".'}
    first = {"index": 0, "id": f"call_{marker}", "type": "function", "function": function}
    return [event({"role": "assistant", "content": None}), event({"tool_calls": [first]})]


def _pings() -> Answer:
    head = Response(chunks=[]).head()
    ping = b"8\r\n: ping\n\n\r\n"
    return [head, *itertools.chain.from_iterable((ping, 0.3) for _ in range(20))]


def _page(status: int, text: str) -> Response:
    return Response(status, "text/html", framing="length", chunks=[f"<html><h1>{text}</h1></html>".encode()])


FAILURES: dict[str, Failure] = {
    "401": lambda rng, marker: json_error(401, "Incorrect API key provided.", code="invalid_api_key"),
    "402": lambda rng, marker: json_error(402, "Insufficient credits."),
    "403": lambda rng, marker: json_error(403, "This key may not use that model."),
    "404": lambda rng, marker: json_error(404, "The model does not exist.", code="model_not_found"),
    "400": lambda rng, marker: json_error(400, "messages[1]: a value is invalid."),
    "overflow": lambda rng, marker: json_error(
        400, "This model's maximum context length is 32000 tokens.", code="context_length_exceeded"
    ),
    "429": lambda rng, marker: json_error(429, "Slow down.", headers={"Retry-After": "1"}),
    "429 without a time": lambda rng, marker: json_error(429, "Rate limit reached."),
    "500": lambda rng, marker: json_error(500, "The server had an error."),
    "502, a page": lambda rng, marker: _page(502, "Bad gateway"),
    "503": lambda rng, marker: json_error(503, "Overloaded.", headers={"Retry-After": "1"}),
    "529": lambda rng, marker: json_error(529, "Overloaded", "overloaded_error"),
    "nothing at all": lambda rng, marker: [LONG],
    "stall in text": lambda rng, marker: [_bytes(Response(chunks=_words(marker))), LONG],
    "stall in a call": lambda rng, marker: [_bytes(Response(chunks=_call(marker))), LONG],
    "cut in text": lambda rng, marker: Response(chunks=_words(marker), end="cut"),
    "cut in a call": lambda rng, marker: Response(chunks=_call(marker), end="cut"),
    "bare end in text": lambda rng, marker: Response(chunks=_words(marker), framing="close", end="fin"),
    "bare end in a call": lambda rng, marker: Response(chunks=_call(marker), framing="close", end="fin"),
    "reset in text": lambda rng, marker: Response(chunks=_words(marker), end="rst"),
    "reset in a call": lambda rng, marker: Response(chunks=_call(marker), end="rst"),
    "closed at once": lambda rng, marker: [b""],
    "garbage": lambda rng, marker: [rng.randbytes(300)],
    "garbage in a stream": lambda rng, marker: Response(chunks=[*_words(marker), rng.randbytes(200)], end="cut"),
    "broken JSON in a stream": lambda rng, marker: Response(chunks=[*_words(marker), b"data: {\n\n"], end="cut"),
    "a page in place of a stream": lambda rng, marker: _page(200, "Log in first"),
    "an error in a stream": lambda rng, marker: Response(
        chunks=[*_words(marker), b'data: {"error": {"message": "gone", "code": 502}}\n\n']
    ),
    EMPTY: lambda rng, marker: Response(chunks=[b"data: [DONE]\n\n"]),
    "filtered": lambda rng, marker: text_stream(f"answer to {marker}", finish="content_filter"),
    "pings for ever": lambda rng, marker: _pings(),
    "sent elsewhere, where nobody is": lambda rng, marker: Redirect("http://127.0.0.1:9/v1/chat/completions"),
}

READS: Sequence[tuple[str, Any]] = (
    ("list_dir", {"path": "."}),
    ("read_file", {"path": "workspace/CRON.json"}),
    ("read_file", {"path": "no such file"}),
    ("read_file", {"path": "/etc/passwd"}),
    ("glob", {"pattern": "**/*.md"}),
    ("grep", {"pattern": "terse", "path": "workspace/.agents"}),
    ("no_such_tool", {"x": 1}),
    ("list_dir", '{"path": '),
    ("read_file", {"wrong": "argument"}),
)


def _asking(rng: Random, marker: str) -> tuple[str, Any]:
    """A call that somebody is asked about."""
    command = rng.choice(
        (
            f"echo {marker}",
            "sleep 0.2; echo rested",
            "exit 3",
            "yes | head -c 200000",
            "cat; echo read",
            "sleep 0.3 & echo begun",
            "kill -TERM $$",
            "head -c 3000 /dev/urandom",
        )
    )
    path = f"notes/{marker}.txt"
    return rng.choice(
        (
            ("bash", {"command": command}),
            ("bash", {"command": command, "timeout": 5}),
            ("write_file", {"path": path, "content": f"{marker}\n"}),
            ("edit_file", {"path": path, "old": marker, "new": f"edited {marker}"}),
            ("remember", {"name": "soak", "text": f"It was {marker}."}),
        )
    )


class Model:
    """The script of a Loopback. failing: which part of the requests fails; calm: none does for now; storm: almost
    all do for now. injected: what was
    done, by name; odd: markers that an answer may lack."""

    def __init__(self, seed: int, failing: float) -> None:
        self.seed, self.failing, self.calm, self.storm = seed, failing, True, False
        self.injected: Counter[str] = Counter()
        self.odd: set[str] = set()
        self.server = Loopback(self)
        self._lock = threading.Lock()  # serialises the counting
        self._asked: Counter[str] = Counter()
        self._letters = itertools.count(1)

    def __call__(self, request: Request, index: int) -> Answer:
        del self.server.requests[:-20]  # nobody looks at them, and they are large
        body = request.json
        said = next((each for each in reversed(body["messages"]) if each["role"] == "user"), {"content": ""})
        markers = MARKER.findall(said["content"])
        is_beat, is_job = ASKED in said["content"], "This is job " in said["content"]
        marker = markers[-1] if markers else "beat" if is_beat else "job" if is_job else "summary"
        with self._lock:
            self._asked[marker] += 1
            rng = Random(f"{self.seed} {marker} {self._asked[marker]}")
        if not self.calm and "calm" not in said["content"] and rng.random() < (STORM if self.storm else self.failing):
            name = rng.choice(list(FAILURES))
            if name == EMPTY:
                self.odd.add(marker)
            return self._counted(f"fails: {name}", FAILURES[name](rng, marker))
        if "tools" not in body and not (is_beat or is_job):
            return self._counted("does: a summary", text_stream("In short: they talked.", usage=USAGE))
        if is_beat and rng.random() < 0.5:
            return self._counted("does: nothing to say", text_stream("HEARTBEAT_OK", usage=USAGE))
        if is_beat or is_job:
            return self._counted("does: a letter", text_stream(self._letter(), usage=USAGE))
        return self._answer(rng, marker, said["content"], body["messages"])

    def _answer(self, rng: Random, marker: str, said: str, messages: list[dict[str, Any]]) -> Answer:
        rounds = 0
        for each in reversed(messages):
            if each["role"] == "user":
                break
            rounds += bool(each.get("tool_calls"))
        if "calm" not in said and rounds < ROUNDS and rng.random() < (0.8 if "asks" in said else 0.25):
            return self._call(rng, marker, "asks" in said)
        filler = ["words of no weight "] * (30 if SLOW in said else rng.choice((1, 5, 40)))
        texts = [f"answer to {marker}\n\n", *filler, f"\n\nend of {marker}"]
        how = rng.choice(("plain",) * 4 + ("dripped", "pinged", "thought", "whole", "closed", "redirected", "huge"))
        if how == "redirected" and "calm" not in said:
            return self._counted("does: redirected", Redirect(f"{self.server.url}/chat/completions"))
        if how == "whole":
            message = {"role": "assistant", "content": "".join(texts)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return self._counted("does: whole", json_answer({"choices": [choice], "usage": USAGE}))
        if SLOW in said:
            how = "slowly"
        elif how == "huge" and marker.startswith("mk-c"):
            texts[1:-1] = ["a great many words " * 100] * 20
        more: dict[str, Any] = {"slowly": {"gap": 0.05}, "dripped": {"gap": 0.02}, "closed": {"framing": "close"}}
        answer = text_stream(*texts, usage=USAGE, **more.get(how, {}))
        if how in ("pinged", "thought"):
            first = b": ping\n\n" if how == "pinged" else event({"reasoning_content": f"about {marker}"})
            answer = Response(chunks=[first, *answer.chunks[:2], first, *answer.chunks[2:]])
        return self._counted(f"does: {how}", answer)

    def _call(self, rng: Random, marker: str, asks: bool) -> Answer:
        calls = [rng.choice(READS) for _ in range(rng.choice((1, 1, 2, 4)))]
        if asks:
            calls[rng.randrange(len(calls))] = _asking(rng, marker)
        finish = "length" if rng.random() < 0.05 else "tool_calls"
        for name, _ in calls:
            self._counted(f"calls: {name}", None)
        return call_stream(*calls, text=f"looking, {marker}", usage=USAGE, finish=finish)

    def _letter(self) -> str:
        return f"letter lt-{next(self._letters):05}"

    def _counted(self, name: str, answer: Any) -> Any:
        with self._lock:
            self.injected[name] += 1
        return answer


def describe(injected: Counter[str], kind: str) -> str:
    """What of a kind there was, in a line."""
    found = {name.removeprefix(f"{kind}: "): times for name, times in injected.items() if name.startswith(kind)}
    return json.dumps(dict(sorted(found.items())), ensure_ascii=False).replace('"', "").strip("{}")
