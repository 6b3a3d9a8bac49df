"""Every point at which a process can be ended, for all stories of the crash tests: `python -m tests.soak.crashes SEED
FOLDER` goes on until it is done or killed, and prints a line of JSON for each story now and then.

A process of its own, because it forks. The short stories come first, the long ones in an order of the seed's.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .. import crash, test_cron_crash, test_outbox_crash
from ..program import ROOT
from ..test_outbox_crash import in_children

Check = Callable[[Path, int], object]
TOLD = 20  # points between two lines


def stories(folder: Path) -> Iterator[tuple[str, int, Check]]:
    """Each story's name, how many points it has, and what ends it at one and looks."""
    for name, story in (("conversation, short", crash.SHORT), ("conversation, long", crash.LONG)):
        calls, states = crash.dry(_made(folder, f"dry {name}"), story)
        yield name, calls + 1, lambda at, k, story=story, states=states: crash.check(at, story, k, states)  # type: ignore[misc]
    for name, texts in (("letters, few", test_outbox_crash.FEW), ("letters, many", test_outbox_crash.MANY)):
        dry = _made(folder, f"dry {name}")
        assert in_children(lambda: test_outbox_crash.tell(dry, texts, -1)) == [0]  # noqa: B023
        calls = int(test_outbox_crash.lines(dry / "calls")[0])
        yield name, calls, lambda at, k, texts=texts: test_outbox_crash.check(at, texts, k)  # type: ignore[misc]
    yield "jobs, few", _calls_of_jobs(_made(folder, "dry few"), False) + 1, test_cron_crash.check_few
    # At its last calls nothing is left to be done afterwards, and that there is, is what is looked for.
    yield "jobs, many", _calls_of_jobs(_made(folder, "dry many"), True) - 41, test_cron_crash.check_many


def _calls_of_jobs(dry: Path, many: bool) -> int:
    jobs = test_cron_crash
    jobs.begun(dry, jobs.MANY if many else jobs.FEW)
    end = jobs.START + (3 * jobs.HOUR if many else 50 * jobs.MINUTE)
    assert in_children(lambda: jobs.story(dry, -1, jobs.START, end)) == [0]
    return int((dry / "calls").read_text())


def main() -> int:
    seed, folder = int(sys.argv[1]), Path(sys.argv[2])
    os.nice(10)
    failed = 0
    for name, points, check in sorted(stories(folder), key=lambda each: each[1]):
        order = random.Random(seed).sample(range(1, points + 1), points)
        for done, at in enumerate(order, 1):
            place = folder / f"{name} {at}"
            try:
                check(place, at)
            except Exception:
                failed += 1
                _tell(story=name, wrong=f"ended at call {at}: {traceback.format_exc()}")
            else:
                shutil.rmtree(place)
            if done % TOLD == 0 or done == points:
                _tell(story=name, done=done, points=points)
    return min(failed, 1)


def _made(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir(parents=True)
    return made


def _tell(**record: Any) -> None:
    print(json.dumps(record), flush=True)


class Crashes:
    """That program beside everything else. It is not waited for where there is no time left."""

    def __init__(self, seed: int, folder: Path) -> None:
        self._told = folder / "crashes.out"
        command = [sys.executable, "-m", "tests.soak.crashes", str(seed), str(folder / "crashes")]
        with self._told.open("wb") as told:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdout=told, stderr=subprocess.STDOUT, start_new_session=True
            )

    def end(self, seconds: float) -> tuple[dict[str, str], list[str]]:
        """Give it so much time; returns how far each story has come, and what was wrong."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, 9)
            self.process.wait()
            code = 0
        come, wrong = self.seen()
        if code and not wrong:
            wrong.append(f"the crash points ended with {code}: {self._told.read_text()[-2000:]}")
        return come, wrong

    def seen(self) -> tuple[dict[str, str], list[str]]:
        come, wrong = {}, []
        for line in self._told.read_text().splitlines():
            if not line.startswith('{"story"'):
                continue
            record = json.loads(line)
            if "wrong" in record:
                wrong.append(f"{record['story']}, {record['wrong']}")
            else:
                come[record["story"]] = f"{record['done']} of {record['points']}"
        return come, wrong


if __name__ == "__main__":
    sys.exit(main())
