"""Where it all happens: one folder, one process that serves, and everybody who does something there in rounds.

A round begins with everybody being present and saying something that is answered well; then, while the gate is open,
they do what they like. It is closed to have everybody rest: before a census, a restart, the end.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import threading
import time
import traceback
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from agentkit.channel import TERMINAL

from ..gateway import BEARER, TOKEN
from ..program import environment
from ..serving import Serving
from .account import Account

PATIENCE = 60.0  # seconds that anything may take at all
STORMY = 0.1  # of the times that the operator does something
GONE = 10.0  # seconds that a process that serves has to be gone
NOBODY = "nobody"  # whose letters wait for ever, for they never come
KEYS = 12  # of the model's endpoint


class Gate:
    """May be used from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()  # serialises what follows
        self.round, self.is_open, self.over = 0, False, False
        self._resting: dict[object, int] = {}  # who rests, and in which round

    def rest(self, who: object, round: int, seconds: float) -> bool:
        """Wait, for so long at most, until there is something to do; may one act?"""
        with self._changed:
            if self.is_open or self.over or self.round != round:
                self._resting.pop(who, None)
                return self.is_open and self.round == round
            self._resting[who] = round
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.is_open or self.over or self.round != round, seconds)
            if self.is_open or self.over or self.round != round:
                del self._resting[who]
            return False

    def all_rest(self, count: int, seconds: float = PATIENCE) -> bool:
        """Wait until so many rest in this round."""
        with self._changed:
            return self._changed.wait_for(lambda: list(self._resting.values()).count(self.round) >= count, seconds)

    def set(self, is_open: bool, begin: bool = False, over: bool = False) -> None:
        """begin: another round."""
        with self._changed:
            self.is_open, self.over = is_open, over
            self.round += begin
            self._changed.notify_all()


class Participant:
    """Somebody who does one thing after the other, in a thread; a failure of theirs is something wrong."""

    def __init__(self, name: str, stage: Stage) -> None:
        self.name, self.stage, self.account = name, stage, stage.account
        self.thread = threading.Thread(target=self.run, name=name, daemon=True)
        self.rng = Random(f"{stage.seed} {name}")

    def run(self) -> None:
        gate, round = self.stage.gate, 0
        try:
            while not gate.over:
                if gate.round != round:
                    round = gate.round
                    self.present()
                if gate.rest(self, round, 0.2):
                    self.act()
                else:
                    self.idle()
            self.leave()
        except Exception:
            self.account.complain(f"{self.name} failed:\n{traceback.format_exc()}")

    @abstractmethod
    def present(self) -> None:
        """Be there, and say something that is answered well."""

    @abstractmethod
    def act(self) -> None:
        """Do one thing, and pause."""

    def idle(self) -> None:
        """Called again and again while nothing is to be done."""

    def leave(self) -> None:
        """It is over."""


class Line:
    """A connection to the gateway. events, answers: those that have come, the latter by the request's id."""

    def __init__(self, url: str) -> None:
        opening = connect(
            url, additional_headers=BEARER, proxy=None, open_timeout=PATIENCE, close_timeout=1, max_queue=None
        )
        self._socket = opening.__enter__()
        self.events: list[dict[str, Any]] = []
        self.answers: dict[int, dict[str, Any]] = {}
        self._ids = itertools.count(1)

    def ask(self, method: str, **params: Any) -> int:
        """Send a request; returns its id."""
        id = next(self._ids)
        self._socket.send(json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": id}))
        return id

    def read(self, seconds: float) -> bool:
        """Take the next message, if it comes within that time; has it?"""
        try:
            message = json.loads(self._socket.recv(seconds))
        except TimeoutError:
            return False
        if "method" in message:
            self.events.append(message["params"])
        else:
            self.answers[message["id"]] = message
        return True

    def answer(self, id: int) -> dict[str, Any]:
        """Wait for it. Raises TimeoutError."""
        while id not in self.answers:
            if not self.read(PATIENCE):
                raise TimeoutError(f"no answer to request {id} within {PATIENCE:g} s")
        return self.answers.pop(id)

    def close(self, rudely: bool = False) -> None:
        """rudely: without a word."""
        if rudely:
            self._socket.socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class Stage:
    """served: the process that serves, in its present life. url: the model's; tools: a file for --tools, empty: none;
    more: of the environment."""

    def __init__(self, folder: Path, seed: int, url: str, account: Account, tools: str = "", **more: str) -> None:
        self.folder, self.seed, self.account = folder, seed, account
        self.workspace = folder / "workspace"
        self.gate = Gate()
        self.told: list[str] = []  # by processes that have ended
        self.is_last = False  # who is present then begins a new conversation, so that the old ones take no memory
        self._tools = ["--tools", tools] if tools else []
        keys = {f"LLM_API_KEY_{number}": f"sk-canary-{number:010}" for number in range(1, KEYS)}
        self.env = environment(folder, url, **keys, **more, LLM_FALLBACK_MODELS="spare", GATEWAY_TOKEN=TOKEN)
        agent = self.workspace / ".agents" / "assistant"
        agent.mkdir(parents=True)
        (agent / "AGENT.md").write_text("You are terse.")

    def start(self) -> None:
        self.served = Serving(self.folder, self.env, *self._tools)

    def end(self, number: Any) -> int:
        """Send a signal; returns the exit code."""
        code, seconds = self.served.ended_in(number)
        self.told += self.served.told
        if seconds > GONE:
            self.account.complain(f"serve ended {seconds:.0f} s after a signal, and not within {GONE:g} s")
        return code

    @property
    def pid(self) -> int:
        return self.served.process.pid

    def line(self) -> Line:
        return Line(f"ws://127.0.0.1:{self.served.port}")

    def ask(self, method: str, **params: Any) -> Any:
        """An answer of the gateway's, in full."""
        line = self.line()
        try:
            return line.answer(line.ask(method, **params))
        finally:
            line.close()

    def order(self, command: str) -> str:
        """Have the operator give a command."""
        answer = self.ask("send", text=command, peer_id="operator")
        return str(answer.get("result", {}).get("reply") or json.dumps(answer))

    def is_idle(self) -> bool:
        """Is nothing done, and are no letters on their way but those that a chat looks for in its own time?"""
        if self.ask("status")["result"]["busy"]:
            return False
        waiting = self.ask("delivery.stats")["result"]["destinations"]
        return all(each["to"] == NOBODY or each["channel"] == TERMINAL for each in waiting)

    def quiet(self) -> None:
        """Stop what goes on by itself, and wait until nothing is done and nothing waits."""
        self.order("/heartbeat stop")
        self.order("/cron stop")
        if not until(self.is_idle):
            stats, status = self.ask("delivery.stats")["result"], self.ask("status")["result"]
            self.account.complain(f"it does not come to rest: {json.dumps(stats)}, lanes {json.dumps(status['lanes'])}")

    def lively(self) -> None:
        self.order("/heartbeat start")
        self.order("/cron start")

    def logs(self) -> str:
        """All that was told, by whatever process."""
        files = sorted((self.workspace / ".state").glob("agentkit.log*"))
        return "".join([*self.told, *(each.read_text(errors="replace") for each in files)])


class Operator(Participant):
    """Has keys that rest be asked again, triggers what goes on by itself, and looks how things stand. storm: begins or
    ends one, in which the model hardly ever answers."""

    def __init__(self, stage: Stage, storm: Callable[[bool], None]) -> None:
        super().__init__("operator", stage)
        self._storm = storm

    def present(self) -> None:
        self.stage.order("/profiles reset")

    def act(self) -> None:
        stage, rng = self.stage, self.rng
        is_storm = rng.random() < STORMY
        self._storm(is_storm)
        self.account.note("storms", is_storm)
        try:
            if not is_storm:
                stage.order("/profiles reset")
            sessions = stage.ask("sessions.list")["result"] if rng.random() < 0.5 else []
            if sessions:
                found = stage.ask("heartbeat.trigger", session_key=rng.choice(sessions)["session_key"])
                self.account.note("heartbeats triggered", "result" in found)
            stage.ask("cron.trigger", id=rng.choice(("ask-ws", "ask-cli", "tick-ws")))
            for method in ("cron.list", "delivery.stats", "heartbeat.status", "agents.list", "rpc.discover"):
                if "result" not in (answer := stage.ask(method)):
                    self.account.complain(f"{method} answers {answer}")
        except (OSError, ConnectionClosed, TimeoutError, EOFError):
            pass  # the process that serves has been ended
        until(lambda: not stage.gate.is_open, rng.uniform(0.5, 4.0 if is_storm else 1.5))


def until(ready: Callable[[], object], seconds: float = PATIENCE) -> bool:
    """Wait until something has come about that nobody tells of."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
