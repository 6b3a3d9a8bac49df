"""People on Discord, at the stand-in: they talk directly and in a channel, and answer what they are asked. Meanwhile
the connection is cut, messages are refused, and some come twice."""

from __future__ import annotations

import re
import threading
import time
from contextlib import suppress
from typing import Any

from ..discord_server import ANN, BOB, GENERAL, DiscordServer, Trouble
from .account import LOST, Message
from .stage import PATIENCE, Participant, Stage, until

REDIRECT = """
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

from agentkit import tool

Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = {rest!r}, yarl.URL({gateway!r})

@tool
def nothing() -> str:
    "Does nothing."
    return ""
"""

LATE = 5.0  # seconds in which a letter that had waited arrives
ARRIVES = 0.5  # seconds in which what was said has reached the other side
QUESTION = "wants to run:\n"
ENDS = {
    r"\Aerror: ": "an error, told on Discord",
    r"\Ainterrupted\Z": "interrupted",
    r"\Ainterrupted, as agentkit ends": "shutting down",
    r"\A\(The answer is empty\.\)\Z": "an empty answer",
    r"end of mk-": "answered",
}
TROUBLES = (
    Trouble(429, retry_after=0.3),
    Trouble(429, retry_after=0.1, via=False),
    Trouble(500),
    Trouble(503),
    Trouble(),
    Trouble(taken=True),
    Trouble(502, taken=True),
)


class Mouth:
    """What people say, and what they are told, by the message that it refers to. logins: how many there were before the
    process that serves now; speaking: held while something is
    said, so that nobody speaks while the connection is one that Discord has forgotten."""

    def __init__(self, server: DiscordServer, stage: Stage) -> None:
        self.server, self.account = server, stage.account
        self.logins, self.speaking = 0, threading.Lock()
        self._stage = stage
        self._changed = threading.Condition()  # serialises what follows
        self._asked: dict[str, Message] = {}  # by the id of what was said
        self._questions: dict[str, int] = {}  # by that id: how many there are
        self._over = False
        self._thread = threading.Thread(target=self._listen, name="discord ear", daemon=True)
        self._thread.start()

    def say(self, message: Message, author: int, channel: int, twice: bool) -> str:
        """Returns the id of what was said; twice: it comes once more."""
        text = f"{message.marker} {message.words}"
        with self.speaking, self._changed:
            said = self.server.mention(text, author, channel) if channel else self.server.say(text, author)
            self._asked[said["id"]] = message
            if twice:
                self.server.again(said)
        return str(said["id"])

    def decide(self, words: str, author: int, channel: int) -> None:
        """Answer what is asked there."""
        with self.speaking:
            self.server.say(words, author, channel)

    def ended(self, message: Message, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: message.ends, seconds) != []

    def questions(self, id: str) -> int:
        with self._changed:
            return self._questions.get(id, 0)

    def stop(self) -> None:
        self._over = True
        self._thread.join(PATIENCE)

    def _listen(self) -> None:
        seen = 0
        while not self._over:
            with suppress(AssertionError):  # it has not come within that time
                self.server.wait(lambda: len(self.server.sent) > seen, 0.3)  # noqa: B023
            news = self.server.sent[seen:]
            seen += len(news)
            for each in news:
                self._take(each)

    def _take(self, sent: dict[str, Any]) -> None:
        id, text = sent.get("message_reference", {}).get("message_id", ""), sent["content"]
        with self._changed:
            message = self._asked.get(str(id))
            if message is None:
                self.account.letter(str(sent["nonce"]), text)
            elif QUESTION in text:
                self._questions[str(id)] = self._questions.get(str(id), 0) + 1
            elif how := next((how for pattern, how in ENDS.items() if re.search(pattern, text)), ""):
                self.account.ended(message, how)
            self._changed.notify_all()


class Person(Participant):
    """Somebody who speaks in one place. channel: 0 for directly."""

    def __init__(self, name: str, stage: Stage, mouth: Mouth, author: int, channel: int, pause: float) -> None:
        super().__init__(name, stage)
        self.mouth, self.author, self.channel, self.pause = mouth, author, channel, pause
        self._left: list[Message] = []  # what had not ended when the process that serves had

    def present(self) -> None:
        if not until(lambda: self.mouth.server.identified > self.mouth.logins):
            raise TimeoutError("nobody logs in to Discord")
        self._look_after()
        self._say("calm, please")

    def _look_after(self) -> None:
        """What was answered by the process before may come now; not what that has never heard, or not to its end."""
        left, self._left = self._left, []
        until(lambda: all(each.ends for each in left), LATE)
        for each in left:
            account = self.account
            if each.ends:
                continue
            if account.crashed_since(each.at) or any(at < each.at + ARRIVES for at in account.endings[-1:]):
                account.ended(each, LOST)
            else:
                account.complain(f"{each.marker}: no answer on Discord, though the process ended in peace")

    def act(self) -> None:
        if self.rng.random() < 0.3:
            self._say("asks")
        else:
            self._say(*["please"] * self.rng.choice((1, 1, 2)))
        until(lambda: not self.stage.gate.is_open, self.rng.expovariate(1 / self.pause))

    def _say(self, *words: str) -> None:
        """Say this, and wait for what becomes of it; what is asked meanwhile is answered."""
        said = [self.account.say(self.name, each, plain=each == "please") for each in words]
        ids = [self.mouth.say(each, self.author, self.channel, self.rng.random() < 0.2) for each in said]
        answered, deadline = 0, time.monotonic() + PATIENCE
        for message in said:
            while not self.mouth.ended(message, 0.1):
                if (asked := sum(map(self.mouth.questions, ids))) > answered:
                    answered = asked
                    decision = self.rng.choice(("y", "yes", "n", "because I do not want it"))
                    self.mouth.decide(decision, self.author, self.channel)
                if self.stage.served.process.poll() is not None:
                    self._left += [each for each in said if not each.ends]
                    return
                if time.monotonic() > deadline:
                    self.account.complain(f"{message.marker}: no answer on Discord within {PATIENCE:g} s")
                    return


class Weather(Participant):
    """What befalls Discord. pause: seconds between two things, on average."""

    def __init__(self, stage: Stage, mouth: Mouth, pause: float) -> None:
        super().__init__("weather", stage)
        self.mouth, self.pause = mouth, pause

    def present(self) -> None:
        pass

    def act(self) -> None:
        server = self.mouth.server
        if self.rng.random() < 0.7:
            server.trouble.append(self.rng.choice(TROUBLES))
            self.account.note("troubles on Discord")
        elif self.rng.random() < 0.6:
            server.cut()
            self.account.note("connections cut on Discord")
        else:
            self._forget()
        until(lambda: not self.stage.gate.is_open, self.rng.expovariate(1 / self.pause))

    def _forget(self) -> None:
        """Cut the connection for good: what is said before the next login would be lost, so nobody speaks."""
        server, served = self.mouth.server, self.stage.served
        with self.mouth.speaking:
            time.sleep(ARRIVES)
            before = server.identified
            server.cut(forget=True)
            self.account.note("sessions forgotten on Discord")
            is_back = until(lambda: server.identified > before or served.process.poll() is not None, 30.0)
        if not is_back and served is self.stage.served:
            self.account.complain("nobody has logged in to Discord again within 30 s")


def people(stage: Stage, mouth: Mouth, pause: float) -> list[Participant]:
    """Who is there."""
    places = (("da", ANN, 0), ("db", BOB, 0), ("dga", ANN, GENERAL), ("dgb", BOB, GENERAL))
    return [Weather(stage, mouth, pause), *(Person(*each[:1], stage, mouth, *each[1:], pause) for each in places)]
