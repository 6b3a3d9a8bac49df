"""Programs at the gateway: they send with and without a stream, repeat themselves, interrupt, approve, look back, and
leave in the middle of it all."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import suppress
from typing import Any

from websockets.exceptions import ConnectionClosed

from agentkit.errors import CATEGORIES

from .account import LOST, Message
from .model import SLOW, Model
from .stage import PATIENCE, Line, Participant, Stage

ENDINGS = ("done", "error", "interrupted")
FAILED = {*CATEGORIES, "interrupted"}
REFUSED = {-32002: "too busy", -32003: "shutting down"}
RETRIED = ("shutting down",)  # what has a key is then sent again
COMMANDS = ("/status", "/list", "/help", "/usage", "/profiles", "/new", "/approvals", "/lanes")
PLAIN = ("send",) * 5 + ("stream",) * 4
ACTIONS = (*PLAIN, "asks", "asks", "several", "repeat", "repeat_later", "interrupt", "history", "command", "leave")
Gone = (ConnectionClosed, OSError, EOFError)


class Caller(Participant):
    """Client number so and so, whose session is its own. pause: seconds between two things, on average; settled: it
    never leaves by itself, so that no letter to it can be lost on the way."""

    def __init__(self, number: int, stage: Stage, model: Model, pause: float, settled: bool) -> None:
        super().__init__(f"c{number:02}", stage)
        self.model, self.pause, self.settled = model, pause, settled
        self.session = f"agent:assistant:direct:{self.name}"
        self._line: Line | None = None
        self._waiting: dict[int, tuple[Message, bool]] = {}  # by request: and is it streamed?
        self._seen: dict[int, list[dict[str, Any]]] = defaultdict(list)  # events by request
        self._unsent: Message | None = None
        self._of: object = None  # the life of the process that the line belongs to
        self._unheard: list[Message] = []  # with a key, of which nothing was heard before the line was gone

    # -- as a Participant

    def present(self) -> None:
        for _ in range(3):
            try:
                self._connect()
                self._settle()
                for more in range(1 + self.stage.is_last):
                    if more:
                        self._open.answer(self._open.ask("send", text="/new", peer_id=self.name))
                    self._send("calm, please")
                    self._settle()
                return
            except Gone:  # the process that serves has been ended
                self._lost()
        raise TimeoutError("there is no gateway")

    def act(self) -> None:
        try:
            self._connect()
            action = self.rng.choice(ACTIONS)
            if action in PLAIN:
                self._send("please", action == "stream", plain=True)
            else:
                getattr(self, f"_{action}")(self._open)
            self._settle()
            self._listen(self.rng.expovariate(1 / self.pause))
        except Gone:
            self._lost()
            time.sleep(0.2)

    def idle(self) -> None:
        try:
            self._listen(0.05)
        except Gone:
            self._lost()

    def leave(self) -> None:
        if self._line is not None:
            self._line.answer(self._line.ask("status"))  # what was sent before has come
            self._take()
            self._line.close()

    # -- what it does

    @property
    def _open(self) -> Line:
        assert self._line is not None
        return self._line

    def _send(self, words: str, stream: bool = False, key: str = "", plain: bool = False) -> Message:
        message = self.account.say(self.name, words, key, plain)
        self._again(message, stream)
        return message

    def _again(self, message: Message, stream: bool = False) -> None:
        more = {"idempotency_key": message.key} if message.key else {}
        text = f"{message.marker} {message.words}"
        # Known before it is sent: it may arrive though sending fails.
        self._unsent = message
        id = self._open.ask("send", text=text, peer_id=self.name, stream=stream, **more)
        self._waiting[id] = (message, stream)
        self._unsent = None

    def _asks(self, line: Line) -> None:
        self._send("asks", self.rng.random() < 0.5)

    def _several(self, line: Line) -> None:
        for _ in range(self.rng.randrange(2, 5)):
            self._send("please", self.rng.random() < 0.5)

    def _repeat(self, line: Line) -> None:
        self._again(self._send("please", key=_key()), True)

    def _repeat_later(self, line: Line) -> None:
        message = self._send("please", key=_key())
        self._settle()
        if message.ends[:1] == ["answered"] and self.rng.random() < 0.3:
            answer = line.answer(line.ask("send", text="others", peer_id=self.name, idempotency_key=message.key))
            if answer.get("error", {}).get("code") != -32602:
                self.account.complain(f"{message.marker}: its key was taken for other words: {answer}")
        self._again(message)

    def _interrupt(self, line: Line) -> None:
        self._send(f"asks, and {SLOW}", True)
        self._listen(self.rng.uniform(0.0, 0.5))
        line.ask("interrupt", session_key=self.session)

    def _history(self, line: Line) -> None:
        answer = line.answer(line.ask("sessions.history", session_key=self.session, limit=20))
        if not all({"role", "text"} <= each.keys() for each in answer.get("result", {}).get("messages", [{}])):
            self.account.complain(f"{self.name}: its history is {str(answer)[:300]}")

    def _command(self, line: Line) -> None:
        command = self.rng.choice(COMMANDS)
        answer = line.answer(line.ask("send", text=command, peer_id=self.name))
        if "result" not in answer and answer["error"]["code"] not in REFUSED:
            self.account.complain(f"{self.name}: {command} was answered with {answer}")

    def _leave(self, line: Line) -> None:
        """Be gone in mid-turn; what has a key is asked for again."""
        if self.settled:
            return
        self._send("asks", True, _key() if self.rng.random() < 0.7 else "")
        self._listen(self.rng.uniform(0.0, 0.3))
        self._lost(rudely=self.rng.random() < 0.5)
        self._connect()

    # -- the line

    def _connect(self) -> None:
        """Be connected with the process that serves now."""
        if self._line is not None and self._of is self.stage.served:
            return
        if self._line is not None:
            self._lost()
        self._of = self.stage.served
        self._line = self.stage.line()
        unheard, self._unheard = self._unheard, []
        for at, message in enumerate(unheard):
            self._unheard = unheard[at:]  # until it is sent
            self._again(message)
        self._unheard = []

    def _lost(self, rudely: bool = False) -> None:
        line = self._line
        if line is None:
            return
        self._take()
        waiting, self._waiting = [each for each, _ in self._waiting.values()], {}
        if self._unsent is not None and self._unsent not in self._unheard:
            waiting.append(self._unsent)
        self._unsent = None
        self._seen.clear()
        for message in {each.marker: each for each in waiting}.values():
            if message.key and not message.ends:
                self._unheard.append(message)
            elif not message.ends:
                self.account.ended(message, LOST)
        self._line = None
        with suppress(OSError):
            line.close(rudely)

    def _settle(self) -> None:
        """Wait for all that was sent, and answer what is asked."""
        deadline = time.monotonic() + PATIENCE
        while self._waiting:
            if time.monotonic() > deadline:
                late = [message.marker for message, _ in self._waiting.values()]
                self.account.complain(f"{', '.join(late)}: no answer within {PATIENCE:g} s")
                self._waiting.clear()
                return
            self._read(1.0)

    def _listen(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and (not self.stage.gate.over):
            self._read(min(left, 0.5))
            if not self.stage.gate.is_open and left > 0.1:
                return

    def _read(self, seconds: float) -> None:
        """Take what comes within that time, and what has come."""
        if self._line is None:
            time.sleep(seconds)
            return
        self._line.read(seconds)
        self._take()

    def _take(self) -> None:
        line = self._open
        events, line.events[:] = list(line.events), []
        for event in events:
            if event["type"] == "letter":
                self.account.letter(event["id"], event["text"])
                continue
            id = event["request"]
            self._seen[id].append({"type": event["type"], "text": event.get("text", "")})
            if event["type"] == "ask":
                decision = self.rng.choice(("allow", "allow", "deny", "always"))
                with suppress(*Gone):  # what has come before is still to be taken
                    line.ask("approve", id=event["id"], decision=decision, reason="so I want it")
        for id in [each for each in self._waiting if each in line.answers]:
            self._ended(id, line.answers.pop(id))
        line.answers.clear()

    def _ended(self, id: int, answer: dict[str, Any]) -> None:
        message, streamed = self._waiting.pop(id)
        seen = self._seen.pop(id, [])
        how = _outcome(answer)
        if not how:
            self.account.complain(f"{message.marker}: it ended without a name: {str(answer)[:300]}")
        if how in RETRIED and message.key:
            self._unheard.append(message)
            return
        if message.ends and message.ends[0] not in (how, *REFUSED.values()):
            self.account.complain(f"{message.marker}: it ended as {message.ends[0]}, and its repeat as {how}")
        if not message.ends:
            self.account.ended(message, how or "?")
        reply = answer["result"]["reply"] if how == "answered" else ""
        if how == "answered" and message.marker not in self.model.odd and f"end of {message.marker}" not in reply:
            self.account.complain(f"{message.marker}: it was answered with {reply[:200]!r}")
        if streamed and any(each["type"] == "turn_started" for each in seen):  # else it has joined later
            self._check(message, seen, reply)

    def _check(self, message: Message, seen: list[dict[str, Any]], reply: str) -> None:
        """Do its events end once, and say what the answer says?"""
        kinds = [each["type"] for each in seen]
        if sum(each in ENDINGS for each in kinds) != 1 or kinds[-1] not in ENDINGS:
            self.account.complain(f"{message.marker}: its events end so: {kinds[-6:]}")
        begins = max((at for at, kind in enumerate(kinds) if kind in ("failover", "tool_finished")), default=0)
        text = "".join(each["text"] for each in seen[begins:] if each["type"] == "text")
        in_circles = seen[-1]["text"].startswith("stopped: ")  # which the model does by chance
        if kinds[-1] == "done" and text != reply and not in_circles:
            self.account.complain(f"{message.marker}: its events said {text[-200:]!r}, its answer {reply[-200:]!r}")


def _key() -> str:
    return f"key-{time.time_ns()}"


def _outcome(answer: dict[str, Any]) -> str:
    """How it ended, in a word of those there are; empty: in none of them."""
    if "result" in answer:
        return "answered"
    error = answer["error"]
    category = (error.get("data") or {}).get("category", "")
    if error["code"] == -32000:
        return category if category in FAILED else ""
    return REFUSED.get(error["code"], "")
