"""A process that serves, as its keeper has it: what it tells, what it is asked, and the signals it gets."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from .program import WAIT

USER = "agent:assistant:direct:websocket-user"


class Serving:
    """told: its lines so far. before: what starts it; program: what Python is to run; waits: until it has begun."""

    def __init__(
        self,
        folder: Path,
        env: Mapping[str, str],
        *arguments: str,
        before: Sequence[str] = (),
        program: Sequence[str] = ("-m", "agentkit"),
        waits: bool = True,
    ) -> None:
        self.told: list[str] = []
        self.folder, self.workspace = folder, folder / "workspace"
        self._changed = threading.Condition()
        self._over = False
        self._reads = threading.Event()
        self._reads.set()
        command = [sys.executable, *program, "serve", "--port", "0", *arguments]
        self.process = subprocess.Popen(
            [*before, *command],
            cwd=folder,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        if waits:
            self.port = self.match(r"listens at ws://127\.0\.0\.1:(\d+)")[1]
            self.wait_for("agentkit has begun")
            self.token = env.get("GATEWAY_TOKEN") or (self.workspace / ".state" / "gateway.token").read_text().strip()

    @property
    def log(self) -> str:
        """What the file holds."""
        return (self.workspace / ".state" / "agentkit.log").read_text()

    def wait_for(self, words: str, times: int = 1) -> str:
        """The line that holds the words, the last of so many."""
        return self.match(re.escape(words), times).string

    def match(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Where a line that is told, or was, matches."""

        def found() -> list[re.Match[str]]:
            return [match for each in self.told if (match := re.search(pattern, each))]

        with self._changed:
            self._changed.wait_for(lambda: self._over or len(found()) >= times, WAIT)
            if len(found()) < times:
                raise AssertionError(f"{pattern!r} was not told, but {''.join(self.told)}")
            return found()[times - 1]

    def client(self) -> ClientConnection:
        headers = {"Authorization": f"Bearer {self.token}"}
        return connect(
            f"ws://127.0.0.1:{self.port}", additional_headers=headers, proxy=None, open_timeout=WAIT, close_timeout=1
        )

    def ask(self, method: str, **params: object) -> Any:
        """The answer of a method."""
        with self.client() as client:
            return call(client, method, **params)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """The exit code."""
        if self.process.poll() is None:
            self.send(number)
        return self.wait()

    def wait(self, timeout: float = WAIT) -> int:
        code = self.process.wait(timeout)
        self.read_on()
        self._reader.join(WAIT)
        if self.process.stderr:
            self.process.stderr.close()
        return code

    def ended_in(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """The exit code, and the seconds from the signal on."""
        began = time.monotonic()
        return self.end(number), time.monotonic() - began

    def stop_reading(self) -> None:
        """Leave what it tells from now on to fill the pipe."""
        self._reads.clear()

    def read_on(self) -> None:
        self._reads.set()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            with self._changed:
                self.told.append(line)
                self._changed.notify_all()
            self._reads.wait()
        with self._changed:
            self._over = True
            self._changed.notify_all()


@contextmanager
def serving(folder: Path, env: Mapping[str, str], *arguments: str, **how: Any) -> Iterator[Serving]:
    made = Serving(folder, env, *arguments, **how)
    try:
        yield made
    finally:
        made.end(signal.SIGKILL)


def say(client: ClientConnection, method: str, **params: object) -> None:
    """Send a request."""
    client.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))


def answer(client: ClientConnection) -> Any:
    """The next answer."""
    while "method" in (message := json.loads(client.recv(WAIT))):
        pass
    return message


def call(client: ClientConnection, method: str, **params: object) -> Any:
    say(client, method, **params)
    return answer(client)
