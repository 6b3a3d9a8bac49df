"""The course of a soak: everybody comes, everything happens at once, the process that serves is ended in between, and
at the end all is counted."""

from __future__ import annotations

import signal
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

from . import audit, beating, report
from .account import Account
from .census import Census, compared, least, strays, taken, with_all_open
from .clients import Caller
from .crashes import Crashes
from .model import Model
from .people import REDIRECT, Mouth, people
from .stage import PATIENCE, Operator, Participant, Stage, until
from .terminal import Chat

EVERY = 10.0  # seconds between two lines that are told
LIFE = (35.0, 70.0)  # seconds after which the process that serves is ended, if at all
LAST = 0.3  # of the whole time that the last life has at least, so that what grows slowly can be seen
AWAY = 1.0  # seconds that nobody serves, and the chat does the background work
SETTLE = 10.0  # seconds in which threads and descriptors go back to what they were


@dataclass
class Plan:
    """clients: how many; pause: seconds between two things that one does, on average; failing: which part of the
    model's answers fails; patience: seconds that the program waits for each piece of one; ends: is the process that
    serves ended now and then? points: are the crash tests run?"""

    seconds: float
    seed: int
    clients: int = 50
    pause: float = 6.0
    failing: float = 0.15
    patience: float = 1.0
    ends: bool = True
    points: bool = True


@dataclass
class Outcome:
    """report: in words; wrong: what should not be."""

    report: str
    wrong: list[str]


def play(folder: Path, plan: Plan, tell: Callable[[str], None]) -> Outcome:
    """folder: an empty one."""
    began, account, model = time.monotonic(), Account(), Model(plan.seed, plan.failing)
    crashes = Crashes(plan.seed, folder) if plan.points else None
    points: dict[str, str] = {}
    try:
        with ExitStack() as stack:
            stack.enter_context(model.server)
            course = _Course(folder, plan, account, model, stack, tell, crashes)
            course.live()
            counted = course.end()
        if crashes is not None:
            tell(f"The crash points go on for {plan.seconds / 2:.0f} s at most.")
            points, wrong = crashes.end(plan.seconds / 2)
            account.wrong += wrong
    finally:
        if crashes is not None:
            crashes.end(0)
    audit.ends(account)
    audit.sessions(course.stage.workspace / "sessions", account)
    audit.logs(course.stage.logs(), account)
    beating.check(course.stage.workspace, account)
    until(lambda: not list(strays(folder)), SETTLE)
    account.wrong += [f"a process was left behind: {each}" for each in strays(folder)]
    told = report.whole(plan.seed, time.monotonic() - began, account, model, counted, points)
    return Outcome(told, account.wrong)


class _Course:
    """What happens, in order."""

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        account: Account,
        model: Model,
        stack: ExitStack,
        tell: Callable[[str], None],
        crashes: Crashes | None,
    ) -> None:
        self.plan, self.account, self.model, self.tell, self.crashes = plan, account, model, tell, crashes
        self.rng = Random(f"{plan.seed} course")
        self.began = time.monotonic()
        mouth_of, tools, more = _discord(folder, stack)
        self.stage = stage = Stage(
            folder,
            plan.seed,
            model.server.url,
            account,
            tools,
            LLM_TIMEOUT=f"{plan.patience:g}",
            BACKGROUND_TOKENS_PER_DAY="0",
            **more,
        )
        beating.write(stage.workspace, mouth_of is not None)
        stage.start()
        stack.callback(self._kill)
        self.mouth = mouth_of(stage) if mouth_of else None
        self.chat = Chat(stage, plan.pause / 2)
        callers = [Caller(each, stage, model, plan.pause, settled=each < 2) for each in range(plan.clients)]
        self.all: list[Participant] = [self.chat, *callers, Operator(stage, self._storm)]
        self.all += people(stage, self.mouth, plan.pause / 2) if self.mouth else []
        for each in self.all:
            each.thread.start()

    def live(self) -> None:
        """Until the time is over."""
        self._come()
        until_end = time.monotonic() + self.plan.seconds
        end_of_life = time.monotonic() + self.rng.uniform(*LIFE)
        told, last_life = time.monotonic(), until_end - max(LAST * self.plan.seconds, LIFE[0] / 4)
        while time.monotonic() < until_end:
            time.sleep(0.1)
            if time.monotonic() - told >= EVERY:
                told = time.monotonic()
                self._tell()
            if self.plan.ends and end_of_life < time.monotonic() < last_life:
                self._again()
                end_of_life = time.monotonic() + self.rng.uniform(*LIFE)

    def end(self) -> list[tuple[str, Census, Census]]:
        """Have everybody rest, count, and let them go; returns what each process had, before and after."""
        stage = self.stage
        self._rest()
        stage.is_last = True
        self._round()
        stage.quiet()
        counted = []
        for name, pid, before in (("serve", stage.pid, self.before), ("chat", self._chat_pid, self.before_chat)):
            after = least(pid, self._ports, SETTLE, before)
            self.account.wrong += [f"{name}: {each}" for each in compared(before, after)]
            counted.append((name, before, after))
        stage.gate.set(False, over=True)
        for each in self.all:
            each.thread.join(PATIENCE)
            if each.thread.is_alive():
                self.account.complain(f"{each.name} does not end")
        if (code := stage.end(signal.SIGTERM)) != 0:
            self.account.complain(f"serve ended with {code} on SIGTERM")
        if self.mouth:
            self.mouth.stop()
        return counted

    # -- the parts of it

    @property
    def _chat_pid(self) -> int:
        assert self.chat.screen is not None
        return self.chat.screen.pid

    @property
    def _ports(self) -> list[int]:
        """Of the model, and of Discord."""
        return [self.model.server.port, *([urlsplit(self.mouth.server.rest).port or 0] if self.mouth else [])]

    def _tell(self) -> None:
        come = self.crashes.seen()[0] if self.crashes else {}
        done = sum(int(each.split()[0]) for each in come.values())
        census = taken(self.stage.pid)
        self.tell(report.line(self.began, self.account, self.model, census, f"{done:,}"))

    def _come(self) -> None:
        """Have everybody there, count what the processes have while nothing happens, and let it begin."""
        self._round()
        self.stage.quiet()
        sessions = len(list((self.stage.workspace / "sessions").iterdir()))
        self.before = with_all_open(least(self.stage.pid, self._ports, 0.5), sessions)
        self.before_chat = least(self._chat_pid, self._ports, 0.5)
        self.stage.lively()
        self.model.calm = False
        self.stage.gate.set(True)

    def _round(self) -> None:
        """Have everybody be present, and rest."""
        self.model.calm = True
        self.stage.order("/profiles reset")
        self.stage.gate.set(False, begin=True)
        self._rest()

    def _rest(self) -> None:
        self.stage.gate.set(False)
        alive = [each for each in self.all if each.thread.is_alive()]
        if not self.stage.gate.all_rest(len(alive), 2 * PATIENCE):
            self.account.complain("not everybody comes to rest")

    def _again(self) -> None:
        """End the process that serves, kindly or not, have the chat do its work for a while, and start it anew."""
        stage, kindly = self.stage, self.rng.random() < 0.3
        if kindly:
            self.account.endings.append(time.time())
            code, wanted = stage.end(signal.SIGTERM), 0
        else:
            self.account.crashes.append(time.time())
            code, wanted = stage.end(signal.SIGKILL), -signal.SIGKILL
        self.tell(f"{time.monotonic() - self.began:5.0f} s  serve was {'asked to end' if kindly else 'killed'}")
        if code != wanted:
            self.account.complain(f"serve ended with {code}, not {wanted}")
        self._rest()
        time.sleep(AWAY)
        self.chat.wanted_away = True
        if not self.chat.away.wait(PATIENCE):
            self.account.complain("the chat does not leave")
        if self.mouth:
            self.mouth.logins = self.mouth.server.identified
        stage.start()
        self._come()

    def _storm(self, is_on: bool) -> None:
        self.model.storm = is_on

    def _kill(self) -> None:
        """Leave no process behind, however it ends."""
        self.stage.gate.set(False, over=True)
        if self.stage.served.process.poll() is None:
            self.stage.end(signal.SIGKILL)
        if (screen := self.chat.screen) is not None:
            screen.__exit__(None, None, None)


def _discord(folder: Path, stack: ExitStack) -> tuple[Callable[[Stage], Mouth] | None, str, dict[str, str]]:
    """Who hears people on Discord, a file for --tools, more of the environment; nobody where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of the standard library, in the modules for sound
            import discord  # noqa: F401
    except ImportError:
        return None, "", {}
    from ..discord_server import ANN, BOB, TOKEN, DiscordServer

    server = stack.enter_context(DiscordServer())
    path = folder / "redirect.py"
    path.write_text(REDIRECT.format(rest=server.rest, gateway=server.gateway))
    more = {"DISCORD_BOT_TOKEN": TOKEN, "DISCORD_ALLOWED_USERS": f"{ANN},{BOB}"}
    return lambda stage: Mouth(server, stage), str(path), more
