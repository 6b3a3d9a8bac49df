"""What the outbox has accepted survives the end of its process at any file call:
`python -m tests.test_outbox_crash few|many FOLDER` tells the story, a process of its own because it forks."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentkit.envelope import DeliveryError, Letter
from agentkit.outbox import Outbox

from .program import ROOT

WAIT = 20.0
LIMIT = 20
FEW = ("short", "a text that has three parts because it is long", "refused at first")
MANY = tuple(f"letter {number}" + " and more of it" * (number % 7 == 0) for number in range(200))
CALLS = ("open", "write", "fsync", "replace", "unlink", "mkdir")


@pytest.mark.parametrize("kind", ["few", "many"])
def test_what_was_accepted_is_delivered_whatever_ends_the_process(tmp_path: Path, kind: str) -> None:
    command = [sys.executable, "-m", "tests.test_outbox_crash", kind, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


class Ending:
    """Ends the process at its k-th file call, a write in its middle; what it does itself does not count.

    An fsync is only counted: what it is for is a loss of power, which is not tried here.
    """

    def __init__(self, at: int) -> None:
        self.at, self.calls = at, 0
        self._lock = threading.Lock()
        self._notes: dict[Path, int] = {}
        self._own = {name: getattr(os, name) for name in CALLS}
        for name in CALLS:
            setattr(os, name, self._counted(name))

    def note(self, path: Path, line: str) -> None:
        if path not in self._notes:
            self._notes[path] = self._own["open"](path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._own["write"](self._notes[path], line.encode() + b"\n")

    def _counted(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            with self._lock:
                self.calls += 1
                if self.calls == self.at:
                    if name == "write":
                        self._own[name](arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                    os._exit(7)
            return None if name == "fsync" else self._own[name](*arguments, **named)

        return call


def in_children(*works: Callable[[], object]) -> list[int]:
    """Do each in a process of its own, side by side; returns their exit codes."""
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in [child(work) for work in works]]


def child(work: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(1)
    return pid


def tell(folder: Path, texts: tuple[str, ...], at: int) -> None:
    """Put all, deliver all, and write down what was accepted, sent and how many calls there were."""
    ending = Ending(at)

    def send(letter: Letter) -> None:
        ending.note(folder / "sent", f"{letter.id} {letter.parts} {letter.text}")
        if letter.text.startswith("refused") and not letter.attempts:
            raise DeliveryError("busy", retry_after=0.01)

    outbox = Outbox(folder / ".state" / "outbox", send, lambda channel: LIMIT)
    outbox.start()
    for number, text in enumerate(texts):
        ending.note(folder / "accepted", "\n".join(outbox.put("discord", str(number % 3), text)))
    pause = threading.Event()
    while outbox.stats().pending:
        pause.wait(0.005)
    assert outbox.stop(WAIT)
    ending.note(folder / "calls", str(ending.calls))


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def check(folder: Path, texts: tuple[str, ...], at: int) -> None:
    """End the process at one call, for few letters also the next one; what was accepted before is then there."""
    folder.mkdir()
    crashes = 0
    for left, each in ((texts, at), ((), at // 3 + 1), ((), -1)) if len(texts) < 10 else ((texts, at), ((), -1)):
        (code,) = in_children(lambda left=left, each=each: tell(folder, left, each))  # type: ignore[misc]
        assert code in (0, 7), (at, code)
        crashes += code == 7
    sent = Counter(line.partition(" ")[0] for line in lines(folder / "sent"))
    again = {line.partition(" ")[0] for line in lines(folder / "sent") if "refused" in line}
    for id in lines(folder / "accepted"):
        assert 1 <= sent[id] <= crashes + 1 + (id in again), (at, id, sent[id], crashes)
    assert max(sent.values(), default=0) <= crashes + 2
    letters = {tuple(line.split()[:2]) for line in lines(folder / "sent")}
    for text, found in Counter((id.partition(".")[0], parts) for id, parts in letters).items():
        assert found == int(text[1]), (at, text, found)  # all parts, or none
    assert not list((folder / ".state" / "outbox").glob("*.json"))


def points(kind: str, calls: int) -> list[int]:
    """At which calls it is ended."""
    return list(range(1, calls + 2)) if kind == "few" else random.Random(4).sample(range(1, calls + 1), 100)


def main() -> int:
    kind, folder = sys.argv[1], Path(sys.argv[2])
    texts = FEW if kind == "few" else MANY
    (folder / "dry").mkdir()
    assert in_children(lambda: tell(folder / "dry", texts, -1)) == [0]
    calls = int(lines(folder / "dry" / "calls")[0])
    ends = points(kind, calls)

    def check_each(some: list[int]) -> None:
        for at in some:
            check(folder / str(at), texts, at)

    codes = in_children(lambda: check_each(ends[::2]), lambda: check_each(ends[1::2]))
    print(f"{kind}: {len(texts)} texts, {calls} calls, the process ended at {len(ends)} of them")
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
