"""What is put into the outbox arrives: in order for each destination, side by side for several, whatever fails."""

from __future__ import annotations

import json
import math
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agentkit.delivery import BACKOFF, backoff
from agentkit.destinations import MOST_OF_ONE, SIDE_BY_SIDE, SLOW, Destinations
from agentkit.envelope import DeliveryError, Envelope, Letter, NobodyThere
from agentkit.events import Event, Notice
from agentkit.outbox import Outbox

from .program import ROOT

WAIT = 20.0


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Sink:
    """What is on the other end: a rule for each letter, and what it got."""

    def __init__(self, rule: Callable[[Letter], object] = lambda letter: None) -> None:
        self.rule = rule
        self.tries: list[Letter] = []
        self.got: list[Letter] = []
        self._changed = threading.Condition()

    def __call__(self, letter: Letter) -> None:
        with self._changed:
            self.tries.append(letter)
            self._changed.notify_all()
        self.rule(letter)
        with self._changed:
            self.got.append(letter)
            self._changed.notify_all()

    def wait_for(self, tries: int = 0, got: int = 0) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.tries) >= tries and len(self.got) >= got, WAIT), self.tries


class Desk:
    """Outboxes on one folder, one after the other, as after restarts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / ".state" / "outbox"
        self.clock = Clock()
        self.told: list[str] = []
        self.open: list[Outbox] = []

    def outbox(self, sink: Callable[[Letter], None], limit: int | None = None) -> Outbox:
        self.close()
        self.open.append(Outbox(self.folder, sink, lambda channel: limit, clock=self.clock, tell=self.tell))
        return self.open[-1]

    def tell(self, event: Event) -> None:
        assert isinstance(event, Notice)
        self.told.append(event.text)

    def close(self) -> None:
        while self.open:
            self.open.pop().stop(WAIT)

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.json"))

    def later(self, seconds: float) -> None:
        self.clock.now += seconds
        self.open[-1].resume()

    def wait(self) -> float:
        """Seconds until the next try, as soon as the one before is over."""
        until(lambda: (self.open[-1].stats().next or 0) > self.clock.now)
        return (self.open[-1].stats().next or 0) - self.clock.now

    def copies(self, count: int, **changes: object) -> None:
        """So many letters more, made from the one that is there, as a person would; `to` may hold a place for a
        number."""
        record = json.dumps({**json.loads(self.files()[0].read_text()), **changes})
        for number in range(count):
            (self.folder / f"{number:014x}-0000.json").write_text(record.replace("%d", str(number)))


def until(condition: Callable[[], object]) -> None:
    """For what is so a moment later, with nothing to wait on."""
    pause = threading.Event()
    for _ in range(int(WAIT * 1000)):
        if condition():
            return
        pause.wait(0.001)
    raise AssertionError("it never came to be")


def fails(
    reason: str = "busy", *, permanent: bool = False, retry_after: float | None = None
) -> Callable[[Letter], None]:
    def rule(letter: Letter) -> None:
        raise DeliveryError(reason, permanent=permanent, retry_after=retry_after)

    return rule


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.close()


# -- putting


def test_a_letter_arrives_and_its_file_is_gone(desk: Desk) -> None:
    sink = Sink()
    outbox = desk.outbox(sink)
    outbox.start()
    assert not desk.folder.parent.exists()
    ids = outbox.put("discord", "42", "hello")
    sink.wait_for(got=1)
    until(lambda: outbox.stats()[:3] == (0, 1, 0))
    assert not desk.files()
    letter = sink.got[0]
    assert (letter.channel, letter.to, letter.text, letter.part, letter.parts) == ("discord", "42", "hello", 1, 1)
    assert [letter.id] == ids and letter.nonce == letter.id


def test_letters_are_for_their_owner_only(desk: Desk) -> None:
    desk.outbox(Sink()).put("discord", "42", "hello")
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (desk.folder.parent, desk.folder, *desk.files())]
    assert modes == [0o700, 0o700, 0o600]


def test_a_person_can_read_a_letter(desk: Desk) -> None:
    desk.outbox(Sink()).put("discord", "42", "grüße")
    assert "grüße" in desk.files()[0].read_text()
    assert {"channel": "discord", "to": "42", "attempts": 0, "texts": ["grüße"]}.items() <= json.loads(
        desk.files()[0].read_text()
    ).items()


def test_a_letter_keeps_the_nonce_it_was_tried_with_before_and_what_it_replies_to(desk: Desk) -> None:
    desk.outbox(Sink()).put("discord", "42", "hello", "turn-1", "77")
    refuses, takes = Sink(fails()), Sink()
    desk.outbox(refuses).start()
    refuses.wait_for(tries=1)
    desk.wait()
    outbox = desk.outbox(takes)
    outbox.start()
    outbox.retry("all")
    takes.wait_for(got=1)
    assert [(each.nonce, each.reply) for each in (*refuses.tries, *takes.got)] == [("turn-1", "77")] * 2


def test_of_several_parts_each_has_a_nonce_of_its_own(desk: Desk) -> None:
    sink = Sink()
    outbox = desk.outbox(sink, limit=5)
    outbox.put("discord", "42", "hello world", "turn-1")
    outbox.start()
    sink.wait_for(got=2)
    assert [each.nonce for each in sink.got] == [each.id for each in sink.got]


def test_a_letter_from_before_there_were_such_nonces_arrives(desk: Desk) -> None:
    desk.outbox(Sink()).put("discord", "42", "hello")
    [path] = desk.files()
    record = {key: value for key, value in json.loads(path.read_text()).items() if key not in ("nonce", "reply")}
    path.write_text(json.dumps(record))
    sink = Sink()
    desk.outbox(sink).start()
    sink.wait_for(got=1)
    assert [(each.nonce, each.reply) for each in sink.got] == [(sink.got[0].id, "")] and desk.told == []


def test_it_tells_whether_somebody_has_letters_that_wait(desk: Desk) -> None:
    desk.outbox(Sink()).put("discord", "42", "hello")
    sink = Sink()
    outbox = desk.outbox(sink)
    outbox.pause()
    outbox.start()
    assert outbox.waits("discord", "42") and not outbox.waits("discord", "43") and not outbox.waits("cli", "42")
    outbox.resume()
    sink.wait_for(got=1)
    until(lambda: not outbox.waits("discord", "42"))


def test_a_long_text_arrives_in_parts_in_order(desk: Desk) -> None:
    sink = Sink()
    outbox = desk.outbox(sink, limit=10)
    ids = outbox.put("discord", "42", "one two three four five")
    assert len(desk.files()) == 1
    outbox.start()
    sink.wait_for(got=3)
    assert [(each.text, each.part, each.parts) for each in sink.got] == [
        ("one two", 1, 3),
        ("three four", 2, 3),
        ("five", 3, 3),
    ]
    assert [each.id for each in sink.got] == ids and len(set(ids)) == 3
    assert max(map(len, ids)) <= 25


def test_a_blank_text_is_no_letter(desk: Desk) -> None:
    assert desk.outbox(Sink()).put("discord", "42", " \n") == []
    assert not desk.folder.exists()


def test_half_a_surrogate_pair_does_no_harm(desk: Desk) -> None:
    sink = Sink()
    outbox = desk.outbox(sink)
    outbox.put("discord", "4\ud8002", "a\udc00b")
    outbox.start()
    sink.wait_for(got=1)
    assert (sink.got[0].to, sink.got[0].text) == ("4\ud8002", "a\udc00b")


def test_a_letter_that_cannot_be_kept_is_refused(desk: Desk) -> None:
    desk.folder.parent.write_text("a file in the way")
    with pytest.raises(OSError):
        desk.outbox(Sink()).put("discord", "42", "hello")


FULL = """
import os, resource, sys
from pathlib import Path
from agentkit.outbox import Outbox

folder = Path(sys.argv[1])
got = []
outbox = Outbox(folder, lambda letter: got.append(letter.text), lambda channel: 100)
outbox.put("discord", "1", "small")
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
for text in ("word " * 2000, "small too", "word " * 3000):
    try:
        outbox.put("discord", "1", text)
        print("accepted")
    except OSError as error:
        print("refused")
print(len(os.listdir(folder)))
"""


def test_a_full_disk_refuses_a_letter_loses_none_and_leaves_no_half_one(desk: Desk) -> None:
    command = [sys.executable, "-c", FULL, str(desk.folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["refused", "accepted", "refused", "2"], done.stderr
    sink = Sink()
    desk.outbox(sink).start()
    sink.wait_for(got=2)
    assert [each.text for each in sink.got] == ["small", "small too"]


FULL_LATER = """
import resource, sys, threading
from pathlib import Path
from agentkit.envelope import DeliveryError
from agentkit.outbox import Outbox

done = threading.Semaphore(0)

def send(letter):
    if letter.to == "never":
        done.release()
        raise DeliveryError("forbidden", permanent=True)
    if letter.part == 1 and letter.attempts < 2:
        raise DeliveryError("busy", retry_after=0.01)
    if letter.part == letter.parts:
        done.release()

outbox = Outbox(Path(sys.argv[1]), send, lambda channel: 10)
outbox.put("discord", "1", "one two three four")
outbox.put("discord", "never", "no")
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
outbox.start()
assert all(done.acquire(timeout=20) for _ in range(2))
outbox.stop(20)
print(outbox.stats()[:3])
"""


FULL_LOG = """
import resource, sys, threading
from pathlib import Path
from agentkit import delivery, log
from agentkit.outbox import Outbox

workspace, tried, arrived = Path(sys.argv[1]), threading.Semaphore(0), threading.Event()
log.start(workspace, "info", ())
full = True

def send(letter):
    if full:
        tried.release()
        raise ValueError("the channel failed")
    arrived.set()

outbox = Outbox(workspace / ".state" / "outbox", send, lambda channel: 10)
outbox.put("discord", "1", "one")
delivery.log.info("x" * 5000)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
outbox.start()
for _ in range(3):
    assert tried.acquire(timeout=20)
    while not outbox.retry("all"):
        pass
full = False
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert arrived.wait(20)
outbox.stop(20)
print(outbox.stats().sent)
"""


def test_a_log_that_cannot_be_written_stops_no_delivery(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_LOG, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "1", done.stdout + done.stderr


def test_what_a_file_from_elsewhere_is_called_does_not_spoil_the_names_of_letters(desk: Desk) -> None:
    desk.folder.mkdir(parents=True)
    (desk.folder / "ffffffffffffff-0000.json").write_text("{}")
    outbox = desk.outbox(Sink())
    outbox.put("discord", "1", "hi")
    sink = Sink()
    desk.outbox(sink).start()
    sink.wait_for(got=1)


def test_a_disk_that_is_full_while_letters_go_out_stops_none_of_them(desk: Desk) -> None:
    command = [sys.executable, "-c", FULL_LATER, str(desk.folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "(0, 1, 1)", done.stdout + done.stderr


# -- order, and side by side


def test_each_destination_gets_its_letters_in_order(desk: Desk) -> None:
    sink = Sink()
    outbox = desk.outbox(sink)
    outbox.start()
    for number in range(40):
        outbox.put("discord", str(number % 3), str(number))
    sink.wait_for(got=40)
    for to in "012":
        texts = [int(each.text) for each in sink.got if each.to == to]
        assert texts == sorted(texts)


def test_a_letter_that_is_tried_again_holds_back_those_behind_it(desk: Desk) -> None:
    sink = Sink(fails())
    outbox = desk.outbox(sink)
    outbox.put("discord", "1", "first")
    outbox.start()
    sink.wait_for(tries=1)
    outbox.put("discord", "1", "second")
    outbox.put("discord", "2", "other")
    sink.wait_for(tries=2)
    sink.rule = lambda letter: None
    desk.later(700)
    sink.wait_for(got=3)
    assert [each.text for each in sink.got if each.to == "1"] == ["first", "second"]
    assert [each.text for each in sink.tries[:2]] == ["first", "other"]


def test_the_same_name_on_two_channels_is_two_destinations(desk: Desk) -> None:
    sink = Sink(lambda letter: fails()(letter) if letter.channel == "a" else None)
    outbox = desk.outbox(sink)
    outbox.start()
    outbox.put("a", "1", "stays")
    outbox.put("b", "1", "goes")
    sink.wait_for(got=1)
    assert sink.got[0].text == "goes"


def test_destinations_are_tried_side_by_side(desk: Desk) -> None:
    meet = threading.Barrier(4)
    sink = Sink(lambda letter: meet.wait(WAIT))
    outbox = desk.outbox(sink)
    outbox.start()
    for to in "abcd":
        outbox.put("discord", to, "hello")
    sink.wait_for(got=4)


def test_many_that_hang_starve_nobody(desk: Desk) -> None:
    release = threading.Event()
    sink = Sink(lambda letter: release.wait(WAIT) if letter.channel == "slow" else None)
    outbox = desk.outbox(sink)
    for number in range(MOST_OF_ONE + 10):
        outbox.put("slow", str(number), "hangs")
    outbox.put("quick", "1", "goes")
    outbox.start()
    try:
        sink.wait_for(got=1)
        assert sink.got[0].text == "goes"
        assert not outbox.stop(0)
    finally:
        release.set()


def test_thousands_of_letters_to_a_dead_destination_hold_up_no_other(desk: Desk) -> None:
    sink = Sink(lambda letter: fails()(letter) if letter.to == "dead" else None)
    outbox = desk.outbox(sink)
    outbox.put("discord", "live", "goes")
    desk.copies(5000, to="dead")
    outbox = desk.outbox(sink)
    outbox.start()
    sink.wait_for(got=1)
    assert len(sink.tries) <= 2
    assert outbox.stats().pending >= 5000


def test_each_wake_up_costs_what_is_due(desk: Desk) -> None:
    sink = Sink()
    desk.outbox(sink).put("discord", "1", "hello")
    desk.copies(3000, to="%d-", next=desk.clock.now + 60, tried=desk.clock.now)
    outbox = desk.outbox(sink)
    outbox.start()
    sink.wait_for(got=1)
    for number in range(20):
        outbox.put("discord", "new", str(number))
    sink.wait_for(got=21)
    assert len(sink.tries) == 21 and outbox.stats().pending >= 3000


def test_channels_take_turns_and_none_takes_all_threads() -> None:
    waiting = Destinations()
    for number in range(300):
        waiting.add(Envelope(f"{number:014x}-0000", "slow", str(number), 1, 0.0))
    for number in range(3):
        waiting.add(Envelope(f"{number:014x}-1111", "quick", str(number), 1, 0.0))
    taken = []
    for ticks in range(200):
        while (destination := waiting.take(1.0, ticks * SLOW)) is not None:
            taken.append(destination.channel)
    assert taken[:6] == ["slow", "quick"] * 3
    assert len(taken) - 3 == MOST_OF_ONE


def test_so_many_are_tried_at_once_and_those_that_take_long_do_not_count() -> None:
    waiting = Destinations()
    for number in range(50):
        waiting.add(Envelope(f"{number:014x}-0000", "discord", str(number), 1, 0.0))
    assert [waiting.take(1.0, 0.0) is not None for _ in range(SIDE_BY_SIDE + 1)] == [True] * SIDE_BY_SIDE + [False]
    assert 0 < waiting.sleep(1.0) <= SLOW
    assert waiting.take(1.0, SLOW) is not None


# -- trying again


@pytest.mark.parametrize("attempts, seconds", list(enumerate(BACKOFF, 1)))
def test_each_wait_is_longer_and_no_two_are_alike(attempts: int, seconds: float) -> None:
    waits = {backoff(attempts) for _ in range(100)}
    assert len(waits) > 20
    assert seconds * 0.8 <= min(waits) and max(waits) <= seconds * 1.2


@pytest.mark.parametrize("asked, waits", [(17.5, 17.5), (0.2, 0.2), (1e9, 86_400.0), (math.inf, 86_400.0)])
def test_the_server_says_how_long_to_wait(asked: float, waits: float) -> None:
    assert backoff(1, asked) == waits


@pytest.mark.parametrize("asked", [0.0, -5.0, math.nan])
def test_a_wait_that_is_none_is_not_believed(asked: float) -> None:
    assert 4 <= backoff(1, asked) <= 6


def test_a_letter_is_given_up_after_five_tries(desk: Desk) -> None:
    sink = Sink(fails("gateway timeout"))
    outbox = desk.outbox(sink)
    ids = outbox.put("discord", "42", "hello")
    outbox.start()
    for number, seconds in enumerate(BACKOFF, 1):
        sink.wait_for(tries=number)
        wait = desk.wait()
        assert seconds * 0.8 <= wait <= seconds * 1.2
        assert outbox.stats().destinations[0].error == "gateway timeout"
        desk.later(wait - 0.01)
        assert len(sink.tries) == number
        desk.later(0.02)
    sink.wait_for(tries=5)
    until(lambda: outbox.stats()[::2][:2] == (0, 1))
    assert outbox.stats()[:3] == (0, 0, 1)
    assert {each.id for each in sink.tries} == set(ids)
    assert [each.attempts for each in sink.tries] == [0, 1, 2, 3, 4]
    failed = outbox.failed()
    assert [(each.id, each.text, each.error, each.attempts) for each in failed] == [
        (ids[0], "hello", "gateway timeout", 5)
    ]
    assert len(desk.told) == 1 and "/delivery retry" in desk.told[0]


def test_what_the_server_asks_for_is_waited_for(desk: Desk) -> None:
    sink = Sink(fails(retry_after=77.0))
    outbox = desk.outbox(sink)
    outbox.put("discord", "42", "hello")
    outbox.start()
    sink.wait_for(tries=1)
    until(lambda: outbox.stats().next == desk.clock.now + 77)


def test_a_permanent_error_is_given_up_at_once_and_the_next_goes_on(desk: Desk) -> None:
    sink = Sink(lambda letter: fails("forbidden", permanent=True)(letter) if letter.text == "no" else None)
    outbox = desk.outbox(sink)
    outbox.put("discord", "42", "no")
    outbox.put("discord", "42", "yes")
    outbox.start()
    sink.wait_for(got=1)
    until(lambda: outbox.stats().pending == 0)
    assert [(each.text, each.error) for each in outbox.failed()] == [("no", "forbidden")]


def test_any_error_of_a_channel_is_a_failed_try(desk: Desk) -> None:
    def rule(letter: Letter) -> None:
        raise KeyError("a bug")

    sink = Sink(rule)
    outbox = desk.outbox(sink)
    outbox.put("discord", "42", "hello")
    outbox.start()
    sink.wait_for(tries=1)
    assert 4 <= desk.wait() <= 6
    assert "KeyError" in outbox.stats().destinations[0].error


def test_a_channel_that_exits_ends_neither_the_outbox_nor_the_letter(desk: Desk) -> None:
    def rule(letter: Letter) -> None:
        raise SystemExit(3)

    sink = Sink(rule)
    outbox = desk.outbox(sink)
    outbox.put("discord", "42", "hello")
    outbox.start()
    sink.wait_for(tries=1)
    sink.rule = lambda letter: None
    outbox.put("discord", "43", "other")
    sink.wait_for(got=1)
    desk.wait()
    desk.later(30)
    sink.wait_for(got=2)


def test_parts_that_have_arrived_are_not_sent_again(desk: Desk) -> None:
    sink = Sink(lambda letter: fails(permanent=True)(letter) if letter.part == 2 else None)
    outbox = desk.outbox(sink, limit=5)
    outbox.put("discord", "42", "one two three four")
    outbox.start()
    until(lambda: outbox.stats()[::2][:2] == (0, 1))
    sink.rule = lambda letter: None
    assert outbox.retry("all") == 1
    sink.wait_for(got=4)
    assert [each.text for each in sink.got] == ["one", "two", "three", "four"]


@pytest.mark.parametrize("whole", [True, False])
def test_a_letter_that_failed_is_tried_again_on_demand(desk: Desk, whole: bool) -> None:
    sink = Sink(fails(permanent=True))
    outbox = desk.outbox(sink)
    ids = outbox.put("discord", "42", "hello")
    outbox.put("discord", "43", "other")
    outbox.start()
    until(lambda: outbox.stats()[::2][:2] == (0, 2))
    assert [outbox.retry(each) for each in ("nonsense", "", "../x", ids[0] + "/..", "al")] == [0] * 5
    sink.rule = lambda letter: None
    assert outbox.retry(ids[0].partition(".")[0] if whole else ids[0]) == 1
    sink.wait_for(got=1)
    assert sink.got[0].id == ids[0] and sink.got[0].attempts == 0
    until(lambda: outbox.stats()[:3] == (0, 1, 1))
    assert outbox.retry("all") == 1
    sink.wait_for(got=2)


def test_a_letter_that_a_person_has_copied_is_delivered_once(desk: Desk) -> None:
    sink = Sink(fails(permanent=True))
    outbox = desk.outbox(sink)
    outbox.put("discord", "42", "hello")
    outbox.start()
    until(lambda: outbox.stats()[::2][:2] == (0, 1))
    (copied,) = (desk.folder / "failed").iterdir()
    (desk.folder / copied.name).write_bytes(copied.read_bytes())
    sink.rule = lambda letter: None
    outbox = desk.outbox(sink)
    outbox.pause()
    outbox.start()
    assert outbox.retry("all") >= 1
    outbox.resume()
    until(lambda: outbox.stats().pending == 0)
    assert len(sink.got) == 1


@pytest.mark.parametrize("all", [True, False])
def test_what_waits_for_its_next_try_is_tried_at_once_on_demand(desk: Desk, all: bool) -> None:
    sink = Sink(fails())
    outbox = desk.outbox(sink)
    ids = outbox.put("discord", "42", "hello")
    outbox.start()
    sink.wait_for(tries=1)
    desk.wait()
    sink.rule = lambda letter: None
    assert outbox.retry("all" if all else ids[0]) == 1
    sink.wait_for(got=1)


def test_nothing_goes_out_while_it_is_paused(desk: Desk) -> None:
    sink = Sink()
    outbox = desk.outbox(sink)
    outbox.start()
    outbox.pause()
    outbox.put("discord", "42", "hello")
    assert outbox.stats().paused and outbox.stats().pending == 1
    assert not sink.tries
    outbox.resume()
    sink.wait_for(got=1)


# -- nobody is there


def nobody(letter: Letter) -> None:
    raise NobodyThere("no terminal is open")


def test_what_nobody_is_there_for_waits_for_somebody_and_was_not_tried(desk: Desk) -> None:
    sink = Sink(nobody)
    outbox = desk.outbox(sink)
    outbox.put("terminal", "1", "first")
    outbox.start()
    sink.wait_for(tries=1)
    until(lambda: outbox.stats().destinations[0].next is None)
    outbox.put("terminal", "1", "second")
    desk.later(100_000)
    assert outbox.stats().next is None and len(sink.tries) == 1
    sink.rule = lambda letter: None
    outbox.wake("websocket")
    outbox.wake("terminal", "2")
    outbox.wake("terminal")
    sink.wait_for(got=2)
    assert [each.text for each in sink.got] == ["first", "second"]
    assert [each.attempts for each in sink.tries] == [0, 0, 0]


def test_what_another_process_has_taken_out_of_the_folder_counts_no_more(desk: Desk) -> None:
    sink = Sink(nobody)
    outbox = desk.outbox(sink)
    outbox.start()
    for text in ("first", "second", "third"):
        outbox.put("cli", "me", text)
    outbox.put("cli", "you", "hello")
    sink.wait_for(tries=2)
    until(lambda: outbox.stats().next is None)
    files = desk.files()
    files[0].unlink()
    files[2].unlink()
    assert (outbox.stats().pending, [each.pending for each in outbox.stats().destinations]) == (2, [1, 1])
    files[1].unlink()
    assert [(each.to, each.pending) for each in outbox.stats().destinations] == [("you", 1)]
    files[3].unlink()
    assert (outbox.stats().pending, outbox.stats().destinations) == (0, ()) and not outbox.waits("cli", "me")
    sink.rule = lambda letter: None
    outbox.put("cli", "me", "fourth")
    sink.wait_for(got=1)
    assert [each.text for each in sink.got] == ["fourth"]


def test_only_whom_somebody_is_there_for_is_woken(desk: Desk) -> None:
    sink = Sink(nobody)
    outbox = desk.outbox(sink)
    for to in "12":
        outbox.put("websocket", to, "hello")
    outbox.start()
    sink.wait_for(tries=2)
    until(lambda: outbox.stats().next is None)
    sink.rule = lambda letter: None
    outbox.wake("websocket", "2")
    sink.wait_for(got=1)
    assert [each.to for each in sink.got] == ["2"]


def test_somebody_who_comes_in_the_middle_of_a_try_is_not_missed(desk: Desk) -> None:
    def rule(letter: Letter) -> None:
        if len(sink.tries) == 1:
            outbox.wake("terminal")
            nobody(letter)

    sink = Sink(rule)
    outbox = desk.outbox(sink)
    outbox.put("terminal", "1", "hello")
    outbox.start()
    sink.wait_for(got=1)


def test_somebody_who_comes_does_not_shorten_the_waits_of_others(desk: Desk) -> None:
    sink = Sink(fails())
    outbox = desk.outbox(sink)
    outbox.put("discord", "1", "hello")
    outbox.start()
    sink.wait_for(tries=1)
    desk.wait()
    outbox.wake("discord")
    assert (outbox.stats().next or 0) > desk.clock.now


# -- restarts and clocks


def test_tries_and_their_times_survive_a_restart(desk: Desk) -> None:
    sink = Sink(fails())
    outbox = desk.outbox(sink)
    outbox.put("discord", "42", "hello")
    outbox.start()
    for number in (1, 2):
        sink.wait_for(tries=number)
        desk.wait()
        if number == 1:
            desk.later(10)
    next = outbox.stats().next
    outbox = desk.outbox(sink)
    outbox.start()
    assert outbox.stats().next == next and next
    assert outbox.stats().destinations[0].error == "busy"
    assert len(sink.tries) == 2
    desk.later(next - desk.clock.now)
    sink.wait_for(tries=3)
    assert sink.tries[-1].attempts == 2


def test_what_was_put_but_never_begun_goes_out_after_a_restart_in_order(desk: Desk) -> None:
    for text in ("one", "two", "three"):
        desk.outbox(Sink()).put("discord", "42", text)
        desk.clock.now -= 1000
    sink = Sink()
    outbox = desk.outbox(sink)
    outbox.put("discord", "42", "four")
    outbox.start()
    sink.wait_for(got=4)
    assert [each.text for each in sink.got] == ["one", "two", "three", "four"]


@pytest.mark.parametrize("restart", [True, False])
def test_a_clock_that_is_set_back_makes_nobody_wait_longer(desk: Desk, restart: bool) -> None:
    sink = Sink(fails())
    outbox = desk.outbox(sink)
    outbox.put("discord", "42", "hello")
    outbox.start()
    sink.wait_for(tries=1)
    desk.wait()
    desk.clock.now -= 86_400 * 365
    if restart:
        outbox = desk.outbox(sink)
        outbox.start()
    outbox.resume()
    until(lambda: 0 < (outbox.stats().next or 0) - desk.clock.now <= 6)
    assert len(sink.tries) == 1
    desk.later(6)
    sink.wait_for(tries=2)


def test_a_clock_that_is_set_forward_causes_one_try_not_many(desk: Desk) -> None:
    sink = Sink(fails())
    outbox = desk.outbox(sink)
    outbox.put("discord", "42", "hello")
    outbox.start()
    sink.wait_for(tries=1)
    desk.wait()
    desk.later(86_400 * 365)
    sink.wait_for(tries=2)
    until(lambda: 20 <= (outbox.stats().next or 0) - desk.clock.now <= 30)
    assert len(sink.tries) == 2


def test_what_is_put_when_all_is_over_is_kept(desk: Desk) -> None:
    sink = Sink()
    outbox = desk.outbox(sink)
    outbox.start()
    assert outbox.stop(WAIT)
    outbox.put("discord", "42", "late")
    assert not sink.tries
    desk.outbox(sink).start()
    sink.wait_for(got=1)


def test_a_try_that_ends_after_the_stop_is_still_written_down(desk: Desk) -> None:
    release = threading.Event()
    sink = Sink(lambda letter: release.wait(WAIT))
    outbox = desk.outbox(sink)
    outbox.put("discord", "42", "hello")
    outbox.start()
    sink.wait_for(tries=1)
    assert not outbox.stop(0)
    release.set()
    assert outbox.stop(WAIT)
    assert not desk.files()


def test_an_idle_outbox_is_one_thread(desk: Desk) -> None:
    before = threading.active_count()
    sink = Sink()
    outbox = desk.outbox(sink)
    outbox.start()
    for number in range(20):
        outbox.put("discord", str(number), "hello")
    sink.wait_for(got=20)
    until(lambda: threading.active_count() == before + 1)


# -- what is on disk may be anything


def test_a_letter_cut_off_anywhere_is_put_aside_and_the_others_go_out(desk: Desk) -> None:
    sink = Sink()
    desk.outbox(sink).put("discord", "42", "the whole letter, with an ü in it")
    whole = desk.files()[0].read_bytes()
    cut = [at for at in range(len(whole)) if at < len(whole) - 1]  # without its line feed it is whole
    for at in cut:
        (desk.folder / f"{at:014x}-0000.json").write_bytes(whole[:at])
    outbox = desk.outbox(sink)
    outbox.start()
    sink.wait_for(got=1)
    until(lambda: outbox.stats().pending == 0)
    assert len(list((desk.folder / "corrupt").iterdir())) == len(cut) == len(desk.told)
    assert len(sink.tries) == 1


WRONG: list[dict[str, object]] = [
    {"texts": []},
    {"texts": [1]},
    {"texts": "hello"},
    {"channel": None},
    {"to": 42},
    {"part": 0},
    {"part": 2},
    {"part": True},
    {"attempts": -1},
    {"attempts": 1.5},
    {"next": math.nan},
    {"next": math.inf},
    {"tried": 10**400},
    {"at": "today"},
    {"error": None},
    {"nonce": 5},
    {"reply": None},
]


@pytest.mark.parametrize("changes", WRONG, ids=str)
def test_a_letter_that_cannot_be_one_is_put_aside(desk: Desk, changes: dict[str, object]) -> None:
    sink = Sink()
    desk.outbox(sink).put("discord", "42", "hello")
    desk.copies(1, **changes)
    outbox = desk.outbox(sink)
    outbox.start()
    sink.wait_for(got=1)
    until(lambda: outbox.stats().pending == 0)
    assert len(desk.told) == 1 and "corrupt" in desk.told[0]


def test_what_is_no_file_or_no_letter_stops_nothing(desk: Desk) -> None:
    sink = Sink()
    desk.outbox(sink).put("discord", "42", "hello")
    (desk.folder / f"{1:014x}-0000.json").mkdir()
    os.mkfifo(desk.folder / f"{2:014x}-0000.json")
    (desk.folder / f"{3:014x}-0000.json").symlink_to("/nonexistent")
    (desk.folder / f"{4:014x}-0000.json").write_text("[" * 100_000)
    (desk.folder / "notes.txt").write_text("mine")
    outbox = desk.outbox(sink)
    outbox.start()
    sink.wait_for(got=1)
    until(lambda: outbox.stats().pending == 0)
    assert len(desk.told) == 3
    assert (desk.folder / "notes.txt").read_text() == "mine"


def test_a_letter_that_is_damaged_while_it_waits_is_put_aside(desk: Desk) -> None:
    sink = Sink(fails())
    outbox = desk.outbox(sink)
    outbox.put("discord", "42", "hello")
    outbox.put("discord", "42", "next")
    outbox.start()
    sink.wait_for(tries=1)
    desk.wait()
    desk.files()[0].write_text("nonsense")
    sink.rule = lambda letter: None
    desk.later(30)
    sink.wait_for(got=1)
    assert sink.got[0].text == "next" and len(desk.told) == 1


def test_a_damaged_letter_among_those_that_failed_is_put_aside(desk: Desk) -> None:
    outbox = desk.outbox(Sink(fails(permanent=True)))
    outbox.put("discord", "42", "hello")
    outbox.put("discord", "42", "other")
    outbox.start()
    until(lambda: outbox.stats()[::2][:2] == (0, 2))
    sorted((desk.folder / "failed").iterdir())[0].write_text("nonsense")
    told = len(desk.told)
    assert [each.text for each in outbox.failed()] == ["other"]
    assert len(desk.told) == told + 1
    assert outbox.stats().failed == 1


def test_a_letter_whose_file_a_person_removes_is_withdrawn(desk: Desk) -> None:
    sink = Sink(fails())
    outbox = desk.outbox(sink)
    outbox.put("discord", "42", "hello")
    outbox.put("discord", "42", "next")
    outbox.start()
    sink.wait_for(tries=1)
    desk.wait()
    desk.files()[0].unlink()
    sink.rule = lambda letter: None
    desk.later(30)
    sink.wait_for(got=1)
    assert [each.text for each in sink.got] == ["next"]


def test_what_an_unfinished_write_left_behind_is_removed_at_the_start(desk: Desk) -> None:
    desk.outbox(Sink()).put("discord", "42", "hello")
    (desk.folder / ".0123456789abcdef.tmp").write_text("half")
    desk.outbox(Sink()).start()
    assert not list(desk.folder.glob(".*.tmp"))


def test_ten_thousand_letters_that_wait_are_known_after_the_start(desk: Desk) -> None:
    sink = Sink(nobody)
    desk.outbox(sink).put("terminal", "1", "hello")
    desk.copies(9_999)
    outbox = desk.outbox(sink)
    outbox.start()
    assert outbox.stats().pending == 10_000
    sink.wait_for(tries=1)
