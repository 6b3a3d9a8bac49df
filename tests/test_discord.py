"""The channel to Discord: discord.py itself, unmodified, against a stand-in for Discord on loopback."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agentkit import App, tool
from agentkit.channels.discord import Discord
from agentkit.channels.discord.patience import Patience
from agentkit.channels.discord.seen import Seen
from agentkit.envelope import DeliveryError, Letter, NobodyThere
from agentkit.errors import SettingsError
from agentkit.events import Answer, Ask, Done, Error, Event, Failover, Inbound, Interrupted, Notice, Text, ToolFinished
from agentkit.outbox import Outbox
from agentkit.settings import Settings

from .loopback import Loopback, Request, Response, call_stream, text_stream

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of the standard library, in the modules for sound
    pytest.importorskip("discord", reason="discord.py is not installed: pip install 'agentkit[discord]'")

from .discord_server import (
    ANN,
    BOB,
    GENERAL,
    GUILD,
    HELP,
    ME,
    THREAD,
    TOKEN,
    WAIT,
    DiscordServer,
    Page,
    Refused,
    Trouble,
    redirected,
)


class Side:
    """The other side of the channel: hears messages, and answers as it is told. reply: the events of a turn, by its
    message; None: nothing, the test sees to it."""

    def __init__(self, server: DiscordServer, folder: Path, *, allowed: tuple[int, ...] = (), **more: Any) -> None:
        self.server, self.folder = server, folder
        self.heard: list[Inbound] = []
        self.answers: list[tuple[str, str, Answer]] = []
        self.letters: list[tuple[str, str, str]] = []
        self.marked: list[tuple[str, str]] = []  # of those the nonces, and what they reply to
        self.told: list[str] = []
        self.connected = threading.Event()
        self.reply: Callable[[Inbound], Event | None] = lambda inbound: done("fine")
        self._changed = threading.Condition()
        (folder / "workspace").mkdir(exist_ok=True)
        self.channel = Discord(
            more.pop("token", TOKEN),
            more.pop("channels", ()),
            [str(each) for each in allowed],
            self._put,
            lambda text: self._note(self.told, text),
            self.connected.set,
            folder / "workspace" / ".state" / "discord.seen",
            **more,
        )

    def start(self) -> Side:
        self.channel.start(self._dispatch, self._answer)
        return self

    def log_in(self) -> Side:
        self.start()
        assert self.connected.wait(WAIT), self.told
        return self

    def wait(self, condition: Callable[[], object]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, WAIT), (self.heard, self.answers, self.letters, self.told)

    def hear(self, count: int) -> list[Inbound]:
        self.wait(lambda: len(self.heard) >= count)
        return self.heard

    def show(self, event: Event, inbound: Inbound | None = None) -> None:
        self.channel.show(event.stamped("s", (inbound or self.heard[-1]).turn))

    def ask(self, text: str = "do it", summary: str = "$ ls", tool: str = "bash") -> str:
        """Have Ann's message lead to a question; returns its id when the question is there."""
        self.reply = lambda inbound: None
        sent, heard = len(self.server.sent), len(self.heard)
        self.server.say(text)
        self.hear(heard + 1)
        ask = Ask(tool, summary)
        self.show(ask)
        self.server.wait_for_sent(sent + 1)
        return ask.id

    def _put(self, channel: str, to: str, text: str, nonce: str, reply: str) -> None:
        self.marked.append((nonce, reply))
        self._note(self.letters, (channel, to, text))

    def _dispatch(self, inbound: Inbound) -> None:
        reply = self.reply(inbound)
        self._note(self.heard, inbound)
        if reply is not None:
            self.show(reply, inbound)

    def _answer(self, peer: str, ask: str, answer: Answer) -> bool:
        self._note(self.answers, (peer, ask, answer))
        return True

    def _note(self, notes: list[Any], note: Any) -> None:
        with self._changed:
            notes.append(note)
            self._changed.notify_all()


def done(text: str, model: str = "m") -> Done:
    return Done(text, model, {}, 0.1)


def letter(text: str, to: str, nonce: str = "00000000000000-0000.1") -> Letter:
    return Letter(nonce, "discord", to, text, 1, 1, 0.0, 0, 0.0, "")


@pytest.fixture
def server() -> Iterator[DiscordServer]:
    with DiscordServer() as made, redirected(made):
        yield made


@pytest.fixture
def opened(server: DiscordServer, tmp_path: Path) -> Iterator[Callable[..., Side]]:
    """Makes channels, which are stopped in the end."""
    made: list[Side] = []

    def open(**more: Any) -> Side:
        made.append(Side(server, tmp_path, **more))
        return made[-1]

    yield open
    for each in made:
        each.channel.stop()


@pytest.fixture
def side(opened: Callable[..., Side]) -> Side:
    """One that anyone may talk to, logged in."""
    return opened().log_in()


@contextmanager
def soon() -> Iterator[None]:
    """What is done within it does not wait for the server, which would take 25 seconds and more."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 12.0


# -- who is heard, and how


def test_a_direct_message_is_answered_with_a_reply_that_mentions_nobody(server: DiscordServer, side: Side) -> None:
    side.reply = lambda inbound: done("@everyone hello <@1001>")
    message = server.say("hi there")
    [sent] = server.wait_for_sent(1, server.direct(ANN))
    inbound = side.heard[0]
    assert (inbound.text, inbound.channel, inbound.peer) == ("hi there", "discord", str(ANN))
    assert (inbound.account, inbound.guild, inbound.group, inbound.sender) == (str(ME), "", "", "Ann")
    assert sent["content"] == "@everyone hello <@1001>"
    assert sent["message_reference"]["message_id"] in (message["id"], int(message["id"]))
    [post] = server.posts()
    assert post["allowed_mentions"] == {"parse": []} and post["message_reference"]["fail_if_not_exists"] is False
    assert 0 < len(post["nonce"]) <= 25 and post["enforce_nonce"] is True


def test_in_a_server_a_mention_is_answered_and_nothing_else(server: DiscordServer, side: Side) -> None:
    server.say("just talking", channel=GENERAL)
    server.say("to another one <@1002>", channel=GENERAL, mentions=[])
    server.mention("what is it?", BOB)
    [sent] = server.wait_for_sent(1)
    assert sent["channel_id"] == str(GENERAL)
    [inbound] = side.heard
    assert (inbound.text, inbound.peer, inbound.sender) == ("what is it?", str(BOB), "Bob")
    assert (inbound.guild, inbound.group) == (str(GUILD), str(GENERAL))


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        (f"<@{ME}> hi", "hi"),
        (f"<@!{ME}>, hi", "hi"),
        (f"  <@{ME}>: /new", "/new"),
        (f"hi <@{ME}> there", "hi there"),
        (f"hi <@{ME}>", "hi"),
        (f"first\nsecond <@{ME}>\nthird", "first\nsecond\nthird"),
        (f"ask <@{BOB}>, <@{ME}>", f"ask <@{BOB}>,"),
    ],
)
def test_the_mention_is_no_part_of_what_is_said(server: DiscordServer, side: Side, text: str, heard: str) -> None:
    server.say(text, channel=GENERAL, mentions=server.mention("first")["mentions"])
    assert side.hear(2)[1].text == heard


def test_bots_webhooks_and_announcements_are_not_heard(server: DiscordServer, side: Side) -> None:
    mention = server.mention("one")
    server.again({**mention, "id": "1", "author": {**mention["author"], "bot": True}})
    server.again({**mention, "id": "2", "webhook_id": "77"})
    server.again({**mention, "id": "3", "type": 6})
    server.say("two")
    assert [each.text for each in side.hear(2)] == ["one", "two"]


@pytest.mark.parametrize("type", [20, 21, 23, 46, 999])
def test_what_discord_announces_in_a_channel_that_is_set_for_it_is_passed_over(
    server: DiscordServer, opened: Callable[..., Side], type: int
) -> None:
    side = opened(channels=[str(HELP)]).log_in()
    server.say("", channel=HELP, type=type)
    server.say("words", channel=HELP, type=type)
    server.say("a reply", channel=HELP, type=19)
    server.wait_for_sent(1)
    assert [each.text for each in side.heard] == ["a reply"] and len(server.sent) == 1


def test_what_was_forwarded_says_what_it_said_there(server: DiscordServer, side: Side) -> None:
    shown = {"type": 0, "content": "the words", "embeds": [], "timestamp": "2026-01-01T00:00:00+00:00"}
    file = {"id": "5", "filename": "a.png", "size": 1, "url": "https://cdn/x", "proxy_url": "https://cdn/x"}
    more = {"edited_timestamp": None, "mentions": [], "mention_roles": [], "flags": 0, "attachments": [file]}
    reference = {"type": 1, "message_id": "7", "channel_id": "8"}
    server.say("", message_reference=reference, message_snapshots=[{"message": {**shown, **more}}])
    assert side.hear(1)[0].text == "the words\n[attached, but not to be read here: a.png]"


def test_in_a_channel_that_is_set_for_it_everything_is_heard_and_threads_are_groups_of_their_own(
    server: DiscordServer, opened: Callable[..., Side]
) -> None:
    side = opened(channels=[str(HELP)]).log_in()
    server.say("not this", channel=GENERAL)
    server.say("this", channel=HELP)
    server.say("and this", BOB, channel=THREAD)
    assert [(each.text, each.group) for each in side.hear(2)] == [("this", str(HELP)), ("and this", str(THREAD))]
    assert server.wait_for_sent(1, THREAD)[0]["content"] == "fine"


def test_a_message_from_a_server_that_is_not_known_yet_is_no_direct_one(server: DiscordServer, side: Side) -> None:
    message = server.mention("one", channel=HELP)
    elsewhere = {**message, "channel_id": "66", "guild_id": "67"}
    server.again({**elsewhere, "id": str(int(message["id"]) + 1), "mentions": []})
    server.again({**elsewhere, "id": str(int(message["id"]) + 2)})
    assert [(each.guild, each.group) for each in side.hear(2)] == [(str(GUILD), str(HELP)), ("67", "66")]


def test_only_allowed_users_are_heard_and_the_log_tells_whom_to_add(
    server: DiscordServer, opened: Callable[..., Side], caplog: pytest.LogCaptureFixture
) -> None:
    side = opened(allowed=(ANN,)).log_in()
    assert side.channel.can_ask
    with caplog.at_level(logging.WARNING, "agentkit"):
        server.say("hello?", BOB)
        server.mention("hello?", BOB)
        server.say("talking", BOB, channel=GENERAL)
        server.say("hi")
        assert [each.peer for each in side.hear(1)] == [str(ANN)]
    logged = [each.getMessage() for each in caplog.records if "DISCORD_ALLOWED_USERS" in each.getMessage()]
    assert len(logged) == 2 and all(str(BOB) in each for each in logged)
    assert f"Bob ({BOB})" in side.channel.status() and "2 messages" in side.channel.status()
    server.wait_for_sent(1)
    assert not server.sent_to(server.direct(BOB)) and not server.sent_to(GENERAL)


def test_a_message_without_text_is_told_that_only_text_is_read(server: DiscordServer, side: Side) -> None:
    picture = {"id": "5", "filename": "a\nb.png", "size": 1, "url": "https://cdn/x", "proxy_url": "https://cdn/x"}
    server.say("", attachments=[picture])
    server.mention("")
    assert all("text" in each["content"] for each in server.wait_for_sent(2)) and side.heard == []
    server.say("look", attachments=[picture])
    server.say("/status", attachments=[picture])
    assert [each.text for each in side.hear(2)] == ["look\n[attached, but not to be read here: a b.png]", "/status"]


def test_names_cannot_act_or_take_more_than_a_line(server: DiscordServer, side: Side) -> None:
    message = server.mention("one")
    named = {**message["author"], "global_name": "A\n\x1b[31mnn\u202e" + "x" * 100}
    server.again({**message, "id": str(int(message["id"]) + 1), "author": named})
    sender = side.hear(2)[1].sender
    assert sender.isprintable() and sender.startswith("A nnx") and len(sender) <= 64


# -- what is answered


def test_a_long_answer_comes_in_parts_of_2000_characters_in_order_with_code_that_stays_code(
    server: DiscordServer, side: Side
) -> None:
    code = "\n".join(f"print({number})" for number in range(600))
    side.reply = lambda inbound: done(f"Look:\n\n```python\n{code}\n```\nThat was it. \U0001f40d")
    message = server.say("code!")
    server.wait(lambda: server.sent and "That was it" in server.sent[-1]["content"])
    texts = [each["content"] for each in server.sent]
    assert len(texts) > 3 and all(len(each) <= 2000 for each in texts)
    assert all(each.count("```") % 2 == 0 for each in texts)
    lines = [line for each in texts for line in each.split("\n") if line.startswith("print")]
    assert lines == code.split("\n")
    assert len({each["nonce"] for each in server.posts()}) == len(texts)
    assert all(int(each["message_reference"]["message_id"]) == int(message["id"]) for each in server.sent)


def test_what_ends_a_turn_is_said_and_what_comes_before_is_not(server: DiscordServer, side: Side) -> None:
    side.reply = lambda inbound: None
    server.say("hi")
    side.hear(1)
    side.show(Text("par"))
    side.show(Failover("rate_limit", 0, "m", 1.0, "profile 1"))
    side.show(Notice("by the way"))
    side.show(Notice("take\ncare " + "!" * 999, "warn"))
    side.channel.show(done("to somebody else").stamped("s", "another-turn"))
    side.show(done("partial no more"))
    side.show(done("too late"))
    server.say("bye")
    side.hear(2)
    side.show(Error("auth", "The key is refused.\nCheck it."))
    server.say("bye")
    side.hear(3)
    side.show(Interrupted("half"))
    server.say("bye")
    side.hear(4)
    side.show(done(" \n"))
    warning, *others = [each["content"] for each in server.wait_for_sent(5)]
    assert warning.startswith("warning: take care !!") and len(warning) < 400
    assert others == [
        "partial no more",
        "error: The key is refused. Check it.",
        "interrupted",
        "(The answer is empty.)",
    ]


def test_who_is_not_answered_because_the_program_ends_is_told_to_say_it_again(
    server: DiscordServer, opened: Callable[..., Side]
) -> None:
    side = opened(ending=lambda: True).log_in()
    side.reply = lambda inbound: Interrupted("")
    server.say("hi")
    assert "say it again when it is back" in server.wait_for_sent(1)[0]["content"]


def test_a_message_that_the_program_stumbles_over_is_answered_with_an_error_and_the_next_one_as_ever(
    server: DiscordServer, side: Side
) -> None:
    def stumble(inbound: Inbound) -> Event:
        if inbound.text == "trip":
            raise RuntimeError("oops")
        return done("fine")

    side.reply = stumble
    server.say("trip")
    server.say("walk")
    assert {each["content"] for each in server.wait_for_sent(2)} == {
        "error: agentkit itself failed (RuntimeError); the log tells more",
        "fine",
    }


def test_many_warnings_of_a_turn_are_not_all_said(server: DiscordServer, side: Side) -> None:
    side.reply = lambda inbound: None
    server.say("hi")
    side.hear(1)
    for number in range(50):
        side.show(Notice(f"careful {number}", "warn"))
    side.show(done("end"))
    server.wait(lambda: server.sent and server.sent[-1]["content"] == "end")
    assert 1 < len(server.sent) < 10


def test_half_a_surrogate_pair_and_control_characters_do_not_keep_an_answer_back(
    server: DiscordServer, side: Side
) -> None:
    side.reply = lambda inbound: done("a\ud83d \x1b[31mb\x00")
    server.say("hi")
    assert server.wait_for_sent(1)[0]["content"] == "a\ufffd b\ufffd"


def test_it_is_shown_as_writing_from_the_message_to_the_end_of_the_turn(server: DiscordServer, side: Side) -> None:
    side.reply = lambda inbound: None
    server.mention("hi")
    server.wait(lambda: server.typing(GENERAL) == 1)
    side.hear(1)
    assert server.sent == []
    side.show(done("there"))
    server.wait_for_sent(1)
    server.mention("again")
    server.wait(lambda: server.typing(GENERAL) == 2)


# -- when Discord is in trouble


@pytest.mark.parametrize(
    ("troubles", "tries"),
    [
        ([Trouble(429, retry_after=0.2)], 2),
        ([Trouble(429, retry_after=0.2, via=False)], 2),
        ([Trouble(503)], 2),
        ([Trouble()], 2),
        ([Trouble(taken=True)], 2),
        ([Trouble(503, taken=True), Trouble(taken=True)], 3),
    ],
    ids=["429", "429 of a proxy", "503", "dropped", "dropped when taken", "lost twice when taken"],
)
def test_an_answer_arrives_once_in_spite_of_trouble(
    server: DiscordServer, side: Side, troubles: list[Trouble], tries: int
) -> None:
    server.trouble.extend(troubles)
    server.say("hi")
    server.wait(lambda: len(server.posts()) == tries)
    side.reply = lambda inbound: done("next")
    server.say("and now?")
    server.wait(lambda: server.sent and server.sent[-1]["content"] == "next")
    assert [each["content"] for each in server.sent] == ["fine", "next"] and side.letters == []
    assert len({each["nonce"] for each in server.posts()[:tries]}) == 1


def test_an_answer_that_is_not_taken_goes_to_the_outbox_from_there_on_and_in_order(
    server: DiscordServer, side: Side
) -> None:
    server.trouble.extend([Trouble(503)] * 3)
    side.reply = lambda inbound: done("\n\n".join(letter * 1500 for letter in "abc"))
    server.say("hi")
    side.wait(lambda: len(side.letters) == 3)
    to = f"channel:{server.direct(ANN)}"
    assert [(channel, to_, text[0]) for channel, to_, text in side.letters] == [("discord", to, each) for each in "abc"]
    assert server.sent == [] and len(server.posts()) == 3


def test_where_it_may_not_speak_it_is_tried_once(server: DiscordServer, side: Side) -> None:
    server.forbidden.add(GENERAL)
    server.mention("hi")
    side.wait(lambda: side.letters == [("discord", f"channel:{GENERAL}", "fine")])
    assert len(server.posts()) == 1


def test_an_answer_that_cannot_even_be_kept_is_told(server: DiscordServer, tmp_path: Path) -> None:
    told: list[str] = []
    lost = threading.Event()

    def full(*letter: str) -> None:
        raise OSError(28, "No space left on device")

    def tell(text: str) -> None:
        told.append(text)
        lost.set()

    channel = Discord(TOKEN, (), (), full, tell, lambda: None, tmp_path / "state" / "seen")
    channel.start(lambda inbound: channel.show(done("x").stamped("s", inbound.turn)), lambda *answer: True)
    try:
        server.forbidden.add(GENERAL)
        server.wait(lambda: server.identified)
        server.mention("hi")
        assert lost.wait(WAIT) and "No space left" in told[0]
    finally:
        channel.stop()


def test_one_channel_that_has_to_wait_holds_up_no_other(server: DiscordServer, side: Side) -> None:
    release = threading.Event()
    server.trouble.append(Trouble(503, until=release))
    server.mention("slow")
    server.wait(lambda: server.posts(GENERAL))
    for number in range(3):
        server.say(f"quick {number}", BOB)
    server.wait_for_sent(3, server.direct(BOB))
    assert server.sent_to(GENERAL) == []
    release.set()
    server.wait_for_sent(1, GENERAL)


def test_a_letter_that_an_answer_has_become_has_its_nonce_and_the_message_it_answers(
    server: DiscordServer, side: Side
) -> None:
    server.trouble.extend([Trouble(503), Trouble(503), Trouble(taken=True)])
    message = server.say("hi")
    side.wait(lambda: side.letters)
    [(_, to, text)], [(nonce, reply)] = side.letters, side.marked
    assert {each["nonce"] for each in server.posts()} == {nonce} and reply == message["id"]
    side.channel.send(letter(text, to, "00000000000000-0000.1")._replace(known_as=nonce, reply=reply))
    assert len(server.sent) == 1 and int(server.posts()[-1]["message_reference"]["message_id"]) == int(reply)
    side.channel.send(letter("more", to, "00000000000000-0000.2")._replace(reply="../me"))
    assert "message_reference" not in server.posts()[-1]


def test_an_answer_that_is_on_its_way_when_it_stops_arrives_once(
    server: DiscordServer, opened: Callable[..., Side]
) -> None:
    first, release = opened().log_in(), threading.Event()
    server.trouble.append(Trouble(taken=True, until=release))
    server.say("hi")
    server.wait(lambda: server.posts())
    first.channel.stop()
    release.set()
    server.wait_for_sent(1)
    [(_, to, text)], [(nonce, _)] = first.letters, first.marked
    opened().log_in().channel.send(letter(text, to)._replace(known_as=nonce))
    assert len(server.posts()) == 2 and len(server.sent) == 1


def test_while_letters_wait_for_a_place_answers_go_there_behind_them(
    server: DiscordServer, opened: Callable[..., Side]
) -> None:
    waiting = {f"channel:{GENERAL}"}
    side = opened(waits=waiting.__contains__).log_in()
    server.mention("one")
    server.say("two")
    side.wait(lambda: side.letters == [("discord", f"channel:{GENERAL}", "fine")])
    server.wait_for_sent(1, server.direct(ANN))
    waiting.clear()
    server.mention("three")
    server.wait_for_sent(1, GENERAL)
    assert len(side.letters) == 1


def test_with_an_outbox_answers_arrive_once_and_in_order(server: DiscordServer, tmp_path: Path) -> None:
    connected = threading.Event()
    outbox = Outbox(tmp_path / "outbox", lambda letter: discord.send(letter), lambda channel: discord.limit)
    discord = Discord(
        TOKEN,
        (),
        (),
        outbox.put,
        print,
        connected.set,
        tmp_path / "state" / "seen",
        waits=lambda to: outbox.waits("discord", to),
    )
    discord.start(lambda inbound: discord.show(done(inbound.text).stamped("s", inbound.turn)), lambda *answer: True)
    try:
        assert connected.wait(WAIT)
        outbox.start()
        outbox.pause()
        server.trouble.extend([Trouble(503), Trouble(503), Trouble(taken=True)])
        server.say("one")
        server.wait(lambda: len(server.posts()) == 3)
        server.say("two")
        server.say("three")
        server.say("elsewhere", BOB)
        server.wait_for_sent(1, server.direct(BOB))
        outbox.resume()
        assert [each["content"] for each in server.wait_for_sent(3, server.direct(ANN))] == ["one", "two", "three"]
        assert all("message_reference" in each for each in server.sent)
    finally:
        discord.stop()
        outbox.stop(WAIT)


@pytest.mark.parametrize(
    "refusal",
    [
        Refused(403, 160002, "Cannot reply without permission to read message history"),
        Refused(
            400,
            50035,
            "Invalid Form Body",
            errors={"message_reference": {"_errors": [{"message": "Cannot reply to a system message"}]}},
        ),
    ],
    ids=str,
)
def test_where_it_may_not_reply_it_says_it_without(server: DiscordServer, side: Side, refusal: Refused) -> None:
    server.no_replies = refusal
    server.mention("hi")
    [sent] = server.wait_for_sent(1, GENERAL)
    first, second = server.posts()
    assert first["nonce"] == second["nonce"] and "message_reference" not in sent and side.letters == []


@pytest.mark.parametrize("writes", [Trouble(429, retry_after=20.0), Trouble(until=threading.Event())])
def test_what_is_said_last_does_not_wait_for_the_sign_that_it_is_being_written_nor_comes_it_later(
    server: DiscordServer, side: Side, writes: Trouble
) -> None:
    server.typing_trouble.append(writes)
    side.reply = lambda inbound: None
    server.mention("hi")
    server.wait(lambda: server.typing(GENERAL) == 1)
    side.hear(1)
    with soon():
        side.show(done("there"))
        server.wait_for_sent(1)
    side.reply = lambda inbound: done("again")
    server.mention("again")
    server.wait_for_sent(2)


def test_the_sign_that_it_is_being_written_comes_before_what_is_said_last(server: DiscordServer, side: Side) -> None:
    release = threading.Event()
    server.typing_trouble.append(Trouble(taken=True, until=release))
    side.reply = lambda inbound: None
    server.mention("hi")
    server.wait(lambda: server.typing(GENERAL) == 1)
    side.hear(1)
    side.show(done("there"))
    release.set()
    server.wait_for_sent(1)
    assert server.typing(GENERAL) == 1


# -- connections


def test_what_discord_says_at_each_login_and_cannot_be_read_makes_no_storm_of_logins(
    server: DiscordServer, opened: Callable[..., Side]
) -> None:
    server.guild = {"id": str(GUILD), "channels": [{"id": "1", "type": 0}]}
    side = opened(patience=Patience((0.0, 0.0, 0.0, 600.0))).start()
    side.wait(lambda: side.told)
    server.wait(lambda: server.identified == 4 and not server.connections)
    assert len(side.told) == 1 and "discord.py stumbled over what Discord said (KeyError)" in side.told[0]
    assert not side.channel.ended
    with soon():
        side.channel.stop()
    assert server.identified == 4 and len(side.told) == 1


def test_a_connection_makes_up_for_failures_only_when_it_has_stood_for_a_while() -> None:
    patience = Patience((1.0, 5.0, 25.0), 60.0)
    assert [patience.pause(failures) for failures in (1, 2, 3, 4, 99)] == [1.0, 5.0, 25.0, 25.0, 25.0]
    assert [patience.failures(4, stood) for stood in (0.0, 59.0, 60.0)] == [5, 5, 1]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Page(503, "<!DOCTYPE html>\n<html><style>x{}</style></html>"), "answered with a web page (status 503)"),
        (Page(403, "<html>error code: 1015</html>"), "answered with a web page (status 403)"),
        (Page(429, "error code: 1015"), "answered with a web page (status 429)"),
        (Page(200, "<html>please log in</html>"), "stumbled over what Discord said (TypeError); the log tells more"),
        (Page(200, "{", "application/json"), "stumbled over what Discord said (JSONDecodeError); the log tells more"),
        (Page(503, '["x"]', "application/json"), "(503)"),
    ],
)
def test_an_odd_answer_at_the_login_is_told_in_clear_words_and_it_is_tried_again(
    server: DiscordServer, opened: Callable[..., Side], answer: Page, told: str
) -> None:
    server.pages.append(answer)
    side = opened(patience=Patience((0.01,))).log_in()
    assert len(side.told) == 1 and told in side.told[0] and "<" not in side.told[0]


def test_a_web_page_in_the_place_of_an_answer_does_not_give_a_letter_up(server: DiscordServer, side: Side) -> None:
    server.pages.append(Page(403, "<html>error code: 1015</html>"))
    with pytest.raises(DeliveryError, match="web page") as raised:
        side.channel.send(letter("hi", f"channel:{GENERAL}"))
    assert not raised.value.permanent


def test_a_token_that_cannot_even_be_sent_is_told(server: DiscordServer, opened: Callable[..., Side]) -> None:
    side = opened(token="abc\ndef").start()
    side.wait(lambda: side.told)
    assert "DISCORD_BOT_TOKEN" in side.told[0] and side.channel.ended and server.calls == []


def test_a_name_that_is_looked_up_holds_up_no_exit() -> None:
    program = """
import asyncio, threading
from agentkit.channels.discord.lookups import Daemons
async def live():
    asyncio.get_running_loop().set_default_executor(Daemons())
    loop = asyncio.get_running_loop()
    print(await loop.run_in_executor(None, lambda: "found"))
    hangs = loop.run_in_executor(None, threading.Event().wait)
    await asyncio.wait({hangs}, timeout=0.01)
loop = asyncio.new_event_loop()
loop.run_until_complete(live())
loop.close()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=WAIT, check=True)
    assert (ended.stdout, ended.stderr) == ("found\n", "")


def test_after_a_cut_connection_the_session_is_resumed_and_each_message_is_answered_once(
    server: DiscordServer, side: Side
) -> None:
    first = server.say("one")
    server.wait_for_sent(1)
    server.cut()
    server.say("two")
    server.wait(lambda: server.resumed == 1)
    server.again(first)
    server.say("three")
    server.wait_for_sent(3)
    assert [each.text for each in side.heard] == ["one", "two", "three"] and server.identified == 1
    assert "connected as kit" in side.channel.status() and "the last event was at" in side.channel.status()


def test_a_session_that_is_gone_is_begun_anew(server: DiscordServer, side: Side) -> None:
    first = server.say("one")
    server.wait_for_sent(1)
    server.cut(forget=True)
    server.wait(lambda: server.identified == 2)  # discord.py takes five seconds
    server.again(first)
    server.say("two")
    assert server.wait_for_sent(2) and [each.text for each in side.hear(2)] == ["one", "two"]


def test_a_message_is_answered_once_also_after_a_restart(server: DiscordServer, opened: Callable[..., Side]) -> None:
    first = opened().log_in()
    message = server.say("one")
    server.wait_for_sent(1)
    first.channel.stop()
    second = opened().log_in()
    server.again(message)
    server.say("two")
    server.wait_for_sent(2)
    assert [each.text for each in second.heard] == ["two"]


def test_an_event_that_makes_no_sense_does_not_end_it(server: DiscordServer, side: Side) -> None:
    server.again({"id": "1"})
    server.wait(lambda: server.identified == 2)
    server.say("hi")
    server.wait_for_sent(1)
    assert side.told == []


def test_a_token_that_is_refused_is_told_once_and_not_tried_again(
    server: DiscordServer, opened: Callable[..., Side]
) -> None:
    side = opened(token="wrong").start()
    side.wait(lambda: side.told)
    assert "DISCORD_BOT_TOKEN" in side.told[0] and "DISCORD_BOT_TOKEN" in side.channel.status()
    assert side.channel.ended
    with pytest.raises(NobodyThere, match="DISCORD_BOT_TOKEN"):
        side.channel.send(letter("hi", "user:1001"))
    side.channel.stop()
    assert len(side.told) == 1 and len(server.calls) == 1


def test_a_bot_that_may_not_read_messages_is_told_what_to_switch_on(tmp_path: Path) -> None:
    with DiscordServer(message_content=False) as server, redirected(server):
        side = Side(server, tmp_path).start()
        side.wait(lambda: side.told)
        side.channel.stop()
    assert "Message Content Intent" in side.told[0] and len(side.told) == 1 and server.connections == 0


def test_discord_that_cannot_be_reached_is_told_once_and_tried_again(tmp_path: Path) -> None:
    with DiscordServer() as gone:
        pass
    with DiscordServer() as server:
        with redirected(gone):
            side = Side(server, tmp_path).start()
            side.wait(lambda: side.told)
        with redirected(server):
            assert side.connected.wait(WAIT)
            server.say("hi")
            server.wait_for_sent(1)
            side.channel.stop()
    assert len(side.told) == 1 and "cannot be reached" in side.told[0]


def test_a_gateway_that_cannot_be_reached_at_first_is_tried_again(tmp_path: Path) -> None:
    with DiscordServer() as gone:
        pass
    with DiscordServer() as server:
        gateway, server.gateway = server.gateway, gone.gateway
        with redirected(server):
            side = Side(server, tmp_path).start()
            side.wait(lambda: side.told)
        server.gateway = gateway
        with redirected(server):
            assert side.connected.wait(WAIT)
            side.channel.stop()
    assert "cannot be reached" in side.told[0]


def test_without_a_token_or_discord_py_it_tells_what_to_do(
    server: DiscordServer, opened: Callable[..., Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="DISCORD_BOT_TOKEN"):
        opened(token="").start()
    monkeypatch.setitem(sys.modules, "discord", None)
    with pytest.raises(SettingsError, match=r"pip install 'agentkit\[discord\]'"):
        opened().start()


def test_a_broken_installation_is_told(opened: Callable[..., Side], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "agentkit.channels.discord.bot", raising=False)
    monkeypatch.setitem(sys.modules, "discord.gateway", None)
    side = opened().start()
    side.wait(lambda: side.told)
    assert "pip install 'agentkit[discord]'" in side.told[0] and "not connected" in side.channel.status()


# -- messages that were taken


def test_a_restart_knows_the_last_thousand_messages(tmp_path: Path) -> None:
    path = tmp_path / ".state" / "seen"
    seen = Seen(path)
    assert all(seen.add(number) for number in range(2500)) and not seen.add(2499)
    again = Seen(path)
    again.load()
    assert not any(again.add(number) for number in range(1500, 2500)) and again.add(1499)
    assert len(path.read_text().splitlines()) <= 2000


@pytest.mark.parametrize("data", [b"", b"1\n2\n3", b"\xff\x00\n1\n2\n{}\n\n3\n", b"1\n2\n3\n" * 99])
def test_a_damaged_file_keeps_what_can_be_read_and_can_be_added_to(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "state" / "seen"
    path.parent.mkdir()
    path.write_bytes(data)
    seen = Seen(path)
    seen.load()
    assert seen.add(4) and seen.add(5)
    again = Seen(path)
    again.load()
    assert not again.add(4) and not again.add(5) and (not data or not again.add(2))


def test_where_nothing_can_be_written_a_message_is_known_as_long_as_it_runs(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file in the folder's place")
    for path in (tmp_path / "state" / "seen", tmp_path / "no workspace" / ".state" / "seen"):
        seen = Seen(path)
        seen.load()
        assert seen.add(1) and not seen.add(1)
    assert not (tmp_path / "no workspace").exists()
    (tmp_path / "no workspace").mkdir()
    assert seen.add(2) and path.read_text() == "1\n2\n"


# -- the end


def stop_at_once(server: DiscordServer, side: Side) -> None:
    pass


def stop_while_it_logs_in(server: DiscordServer, side: Side) -> None:
    server.wait(lambda: server.calls)


def stop_while_it_connects(server: DiscordServer, side: Side) -> None:
    server.wait(lambda: server.connections)


def stop_when_connected(server: DiscordServer, side: Side) -> None:
    assert side.connected.wait(WAIT)


@pytest.mark.parametrize(
    ("silent", "moment"),
    [
        ("", stop_at_once),
        ("rest", stop_while_it_logs_in),
        ("gateway", stop_while_it_connects),
        ("", stop_while_it_logs_in),
        ("", stop_while_it_connects),
        ("", stop_when_connected),
    ],
)
def test_it_can_be_stopped_at_any_moment(
    server: DiscordServer,
    opened: Callable[..., Side],
    silent: str,
    moment: Callable[[DiscordServer, Side], None],
) -> None:
    server.silent = silent
    before = set(threading.enumerate())
    side = opened().start()
    moment(server, side)
    with soon():
        side.channel.stop()
    left = [each.name for each in set(threading.enumerate()) - before if each.name.startswith("discord")]
    assert left == [] and side.told == []


@pytest.mark.parametrize(
    "trouble", [Trouble(429, retry_after=25.0), Trouble(429, retry_after=60.0)], ids=["sat out", "too long"]
)
def test_in_the_middle_of_a_long_rate_limit_it_stops_and_the_answer_is_kept(
    server: DiscordServer, side: Side, trouble: Trouble
) -> None:
    server.trouble.append(trouble)
    server.say("hi")
    server.wait(lambda: server.posts())
    with soon():
        side.channel.stop()
    assert side.letters == [("discord", f"channel:{server.direct(ANN)}", "fine")]


def test_a_letter_that_is_on_its_way_when_it_stops_is_not_delivered_but_not_lost(
    server: DiscordServer, side: Side
) -> None:
    release = threading.Event()
    server.trouble.append(Trouble(503, until=release))
    raised: list[BaseException] = []

    def deliver() -> None:
        try:
            side.channel.send(letter("hi", f"channel:{GENERAL}"))
        except DeliveryError as error:
            raised.append(error)

    sender = threading.Thread(target=deliver)
    sender.start()
    server.wait(lambda: server.posts())
    side.channel.stop()
    sender.join(WAIT)
    release.set()
    assert [type(each) for each in raised] == [NobodyThere] and side.letters == []


def test_after_the_end_nothing_is_shown_and_nothing_is_taken(server: DiscordServer, side: Side) -> None:
    side.reply = lambda inbound: None
    server.say("hi")
    side.hear(1)
    side.channel.stop()
    side.show(Notice("careful", "warn"))
    with pytest.raises(NobodyThere):
        side.channel.send(letter("hi", f"channel:{GENERAL}"))
    side.channel.stop()
    assert server.sent == [] and side.letters == [] and "stopped" in side.channel.status()


def test_a_turn_that_runs_when_it_stops_ends_in_a_letter(server: DiscordServer, opened: Callable[..., Side]) -> None:
    side = opened(allowed=(ANN,)).log_in()
    side.reply = lambda inbound: None
    first, second = server.say("hi"), server.mention("and there?")
    one, two = side.hear(2)[:2]
    assert side.channel.awaited
    side.channel.stop()
    late = Ask("bash", "$ ls")
    side.show(late, one)
    assert side.answers == [(str(ANN), late.id, Answer("deny", "Discord was switched off"))]
    side.show(ToolFinished("c", "bash", False, "the user refused this call: Discord was switched off", 0.0), one)
    side.show(done("a" * 2500), one)
    side.show(Error("auth", "The key is refused."), two)
    side.show(done("too late"), two)
    to = f"channel:{server.direct(ANN)}"
    assert [(place, text[0]) for _, place, text in side.letters] == [(to, "a"), (to, "a"), (f"channel:{GENERAL}", "e")]
    assert [reply for _, reply in side.marked] == [first["id"], first["id"], second["id"]]
    assert len({nonce for nonce, _ in side.marked}) == 3 and not side.channel.awaited and server.sent == []


def test_no_question_stays_open_when_it_stops(server: DiscordServer, asking: Side) -> None:
    ask = asking.ask()
    asking.channel.stop()
    assert asking.answers == [(str(ANN), ask, Answer("deny", "Discord was switched off"))]


def test_no_question_stays_open_when_the_connection_ends_for_good(server: DiscordServer, asking: Side) -> None:
    ask = asking.ask()
    server.end(4014)
    asking.wait(lambda: asking.answers)
    assert [(id, answer.decision) for _, id, answer in asking.answers] == [(ask, "deny")]
    asking.wait(lambda: asking.told)
    assert asking.channel.ended and "Message Content Intent" in asking.told[0]


# -- letters


def test_a_letter_goes_to_a_channel_or_a_user_with_its_own_nonce(server: DiscordServer, side: Side) -> None:
    places = [
        (f"channel:{GENERAL}", GENERAL),
        (f"user:{BOB}", server.direct(BOB)),
        (str(BOB), server.direct(BOB)),
        (str(GENERAL), GENERAL),
    ]
    for number, (to, channel) in enumerate(places):
        side.channel.send(letter(f"number {number}", to, f"nonce-{number}"))
        assert (server.sent[-1]["content"], server.sent[-1]["channel_id"]) == (f"number {number}", str(channel))
        assert server.sent[-1]["nonce"] == f"nonce-{number}" and "message_reference" not in server.sent[-1]
        side.channel.send(letter(f"number {number}", to, f"nonce-{number}"))
        assert len(server.sent) == number + 1
    assert all(each["allowed_mentions"] == {"parse": []} for each in server.posts())


@pytest.mark.parametrize(
    ("to", "trouble"),
    [
        ("channel:12", None),
        ("user:12", None),
        ("12", None),
        ("nobody", None),
        ("channel:99999999999999999999999", None),
        (f"channel:{HELP}", None),
        (f"channel:{GENERAL}", Trouble(400)),
    ],
)
def test_a_letter_that_can_never_arrive_says_so(
    server: DiscordServer, side: Side, to: str, trouble: Trouble | None
) -> None:
    server.forbidden.add(HELP)
    if trouble:
        server.trouble.append(trouble)
    with pytest.raises(DeliveryError) as raised:
        side.channel.send(letter("hi", to))
    assert raised.value.permanent and server.sent == []


@pytest.mark.parametrize(
    ("trouble", "retry_after"),
    [
        (Trouble(429, retry_after=90.0), 90.0),
        (Trouble(429, retry_after=7.0, via=False), 7.0),
        (Trouble(503), None),
        (Trouble(401), None),
        (Trouble(), None),
    ],
)
def test_a_letter_that_may_arrive_later_says_when(
    server: DiscordServer, side: Side, trouble: Trouble, retry_after: float | None
) -> None:
    server.trouble.append(trouble)
    with pytest.raises(DeliveryError) as raised:
        side.channel.send(letter("hi", f"channel:{GENERAL}"))
    assert not raised.value.permanent and raised.value.retry_after == retry_after
    assert not isinstance(raised.value, NobodyThere)


def test_while_it_is_not_connected_nobody_is_there(server: DiscordServer, opened: Callable[..., Side]) -> None:
    side = opened()
    with pytest.raises(NobodyThere):
        side.channel.send(letter("hi", f"channel:{GENERAL}"))
    side.log_in()
    side.channel.send(letter("hi", f"channel:{GENERAL}"))
    server.wait_for_sent(1)


# -- approvals


@pytest.fixture
def asking(opened: Callable[..., Side]) -> Side:
    """One that Ann and Bob may talk to, logged in."""
    return opened(allowed=(ANN, BOB)).log_in()


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("y", Answer("allow")),
        (" Yes ", Answer("allow")),
        ("n", Answer("deny")),
        ("NO", Answer("deny")),
        ("always", Answer("deny", "always")),
        ("use ls -l instead", Answer("deny", "use ls -l instead")),
        ("yes, but later", Answer("deny", "yes, but later")),
    ],
)
def test_the_next_message_answers_the_question(server: DiscordServer, asking: Side, said: str, answer: Answer) -> None:
    ask = asking.ask(summary="$ rm -r x\ncwd /tmp")
    assert "**bash**" in server.sent[-1]["content"] and "```\n$ rm -r x\ncwd /tmp\n```" in server.sent[-1]["content"]
    server.say(said)
    asking.wait(lambda: asking.answers)
    assert asking.answers == [(str(ANN), ask, answer)] and len(asking.heard) == 1


def test_a_question_in_a_server_is_answered_there_by_the_same_user_without_a_mention(
    server: DiscordServer, asking: Side
) -> None:
    asking.reply = lambda inbound: None
    server.mention("do it")
    asking.hear(1)
    ask = Ask("bash", "$ ls")
    asking.show(ask)
    server.wait_for_sent(1, GENERAL)
    server.say("y", BOB, channel=GENERAL)
    server.say("y", ANN, channel=HELP)
    server.mention("y", BOB)
    server.say("what about this?")
    assert [each.text for each in asking.hear(3)[1:]] == ["y", "what about this?"] and asking.answers == []
    server.say("y", channel=GENERAL)
    asking.wait(lambda: asking.answers == [(str(ANN), ask.id, Answer("allow"))])


def test_the_same_answer_twice_answers_once(server: DiscordServer, asking: Side) -> None:
    asking.ask()
    answer = server.say("y")
    server.again(answer)
    asking.wait(lambda: asking.answers)
    server.say("next")
    assert asking.hear(2)[1].text == "next" and len(asking.answers) == 1


def test_a_command_is_no_answer(server: DiscordServer, asking: Side) -> None:
    ask = asking.ask()
    server.say("/status")
    assert asking.hear(2)[1].text == "/status" and asking.answers == []
    server.say("y")
    asking.wait(lambda: asking.answers == [(str(ANN), ask, Answer("allow"))])


def test_what_was_said_before_the_question_was_there_is_no_answer(server: DiscordServer, asking: Side) -> None:
    asking.reply = lambda inbound: None
    server.say("do it")
    asking.hear(1)
    release = threading.Event()
    server.trouble.append(Trouble(503, until=release))
    ask = Ask("bash", "$ rm -r .")
    asking.show(ask)
    server.wait(lambda: server.posts())
    server.say("y")
    server.say("a marker", BOB)
    assert asking.hear(2)[1].text == "a marker"
    release.set()
    assert asking.hear(3)[2].text == "y" and asking.answers == []
    server.say("n")
    asking.wait(lambda: asking.answers == [(str(ANN), ask.id, Answer("deny"))])


def test_a_question_that_cannot_be_shown_is_refused(server: DiscordServer, asking: Side) -> None:
    asking.reply = lambda inbound: None
    server.mention("do it")
    asking.hear(1)
    server.forbidden.add(GENERAL)
    ask = Ask("bash", "$ ls")
    asking.show(ask)
    asking.wait(lambda: asking.answers)
    peer, id, answer = asking.answers[0]
    assert (peer, id, answer.decision) == (str(ANN), ask.id, "deny") and "shown" in answer.reason
    assert asking.letters == []


def test_a_question_that_nobody_has_answered_is_over_and_that_is_said(server: DiscordServer, asking: Side) -> None:
    asking.ask()
    asking.show(ToolFinished("c", "bash", False, "the user refused this call: nobody answered within 120 s", 0.0))
    assert "nobody answered" in server.wait_for_sent(2)[1]["content"]
    server.say("y")
    assert asking.hear(2)[1].text == "y" and asking.answers == []


def test_a_question_stays_within_its_block_and_within_bounds(server: DiscordServer, asking: Side) -> None:
    asking.ask(summary="$ echo '```'\n````\n" + "x\n" * 20_000 + "$ rm -r /")
    server.wait(lambda: "Allow it?" in server.sent[-1]["content"])
    texts = [each["content"] for each in server.sent]
    assert len(texts) <= 4 and all(len(each) <= 2000 for each in texts)
    assert all(each.count("```") in (0, 2) for each in texts) and "```" in texts[-1]
    assert "characters left out" in "".join(texts) and "$ rm -r /" in texts[-1]


# -- the whole program


@tool(asks=True)
def launch(what: str) -> str:
    """Launch something."""
    return f"{what} is launched"


def answer_by_message(request: Request, index: int) -> Response:
    last = request.json["messages"][-1]
    if last["role"] == "tool":
        return text_stream(f"It says: {last['content']}")
    if "launch" in request.said[-1]:
        return call_stream(("launch", {"what": "the rocket"}))
    return text_stream("You said ", request.said[-1])


@pytest.fixture
def program(
    server: DiscordServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[tuple[int, ...], float], App]]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "workspace" / ".agents" / "assistant").mkdir(parents=True)
    (tmp_path / "workspace" / ".agents" / "assistant" / "AGENT.md").write_text("You are terse.")
    apps: list[App] = []
    with Loopback(answer_by_message) as model:

        def open(allowed: tuple[int, ...], ask_limit: float) -> App:
            connected = threading.Event()
            seen = tmp_path / "workspace" / ".state" / "discord.seen"
            users = [str(each) for each in allowed]
            discord = Discord(TOKEN, (), users, lambda *letter: None, print, connected.set, seen, ask_limit)
            app = App(Settings("m", model.url, "", 32_000), [discord], [launch], environ={"HOME": str(tmp_path)})
            apps.append(app)
            app.start()
            assert connected.wait(WAIT)
            return app

        yield open
        for app in apps:
            assert app.stop() == []


def test_in_the_whole_program_people_talk_command_and_are_kept_apart(
    server: DiscordServer, program: Callable[[tuple[int, ...], float], App]
) -> None:
    program((), 120.0)
    for number in range(3):
        server.say(f"number {number}")
    server.mention("hello", BOB)
    assert [each["content"] for each in server.wait_for_sent(3, server.direct(ANN))] == [
        f"You said number {number}" for number in range(3)
    ]
    assert server.wait_for_sent(1, GENERAL)[0]["content"] == "You said Bob: hello"
    server.say("/list")
    server.say("/nonsense")
    assert "/nonsense" in server.wait_for_sent(5, server.direct(ANN))[4]["content"]
    server.say("launch it")
    sent = [each["content"] for each in server.wait_for_sent(7, server.direct(ANN))]
    assert "launch was refused" in sent[5] and "refused" in sent[6]


@pytest.mark.parametrize(
    ("said", "result"),
    [
        (["y"], "the rocket is launched"),
        (["n"], "the user refused this call"),
        (["not today"], "the user refused this call: not today"),
        ([], "nobody answered within 0.3 s"),
    ],
)
def test_in_the_whole_program_a_tool_asks_the_user_first(
    server: DiscordServer, program: Callable[[tuple[int, ...], float], App], said: list[str], result: str
) -> None:
    program((ANN,), 120.0 if said else 0.3)
    server.say("launch it")
    assert "**launch**" in server.wait_for_sent(1)[0]["content"]
    for each in said:
        server.say(each)
    server.wait(lambda: server.sent[-1]["content"].startswith("It says"))
    assert result in server.sent[-1]["content"]
