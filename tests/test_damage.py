"""Files and folders that were edited, moved, deleted, taken by others or cut short: the conversation goes on."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from agentkit.archive import Archive
from agentkit.compact import Compact
from agentkit.conversation import Conversation
from agentkit.errors import CommandError
from agentkit.events import ENDINGS, Done, Error, Event, Notice
from agentkit.jsonl import line as line_of
from agentkit.past import Said, read
from agentkit.session import Opening, Session
from agentkit.store import Message, Store
from agentkit.wire import encode, request

from .chats import Chat
from .loopback import Loopback
from .scripted import Scripted, say, session
from .test_agents import Talk, ok
from .test_conversation import calls, kept, limited, result, said, texts, user

Record = dict[str, Any]


def lines(*records: Record) -> bytes:
    return b"".join(json.dumps(each, ensure_ascii=False).encode() + b"\n" for each in records)


def numbered(*records: Record) -> list[Record]:
    return [{**each, "n": number} for number, each in enumerate(records, 1)]


def compaction(first: int | None, *head: Record, **more: Any) -> Record:
    return {"type": "compaction", "head": list(head), "first": first, "shortened": {}, **more}


SUMMARY = {"role": "user", "content": "in short", "summary": True}
UNDERSTOOD = {"role": "assistant", "content": "I see", "summary": True}


def assert_strict(messages: list[Message], open_end: bool = False) -> None:
    """A server that holds to the protocol takes it. open_end: calls at the very end may wait for their results."""
    waiting: list[str] = []
    before = "assistant"
    for message in messages:
        if message["role"] == "tool":
            waiting.remove(message["tool_call_id"])
        else:
            assert not waiting
            assert before in {"user": ("assistant",), "assistant": ("user", "tool")}[message["role"]]
            waiting = [call["id"] for call in message.get("tool_calls") or ()]
            assert all("type" in call for call in message.get("tool_calls") or ())
        before = message["role"]
    assert open_end or not waiting
    encode(request("m", "", messages))


def ending_of(talk: Session, text: str) -> Event:
    """The one event that ends it."""
    (ending,) = [each for each in say(talk, text) if isinstance(each, ENDINGS)]
    return ending


def answer(talk: Session, text: str) -> str:
    ending = ending_of(talk, text)
    assert isinstance(ending, Done), ending
    return ending.text


def refusal(talk: Session, text: str) -> str:
    ending = ending_of(talk, text)
    assert isinstance(ending, Error) and ending.category == "bad_request", ending
    return ending.message


def written(folder: Path, label: str, *records: Record) -> Path:
    """A conversation of a session (see scripted.session), as a file."""
    (folder / "sessions").mkdir(exist_ok=True)
    path = folder / "sessions" / f"{label}.jsonl"
    path.write_bytes(lines(*records))
    return path


def contents(path: Path) -> list[str]:
    return texts(read(path.read_bytes()).seen)


# -- lines that are not as they were written


@pytest.mark.parametrize(
    "line",
    [
        {"role": "assistant", "n": 2},
        {"role": "user", "n": 2},
        {"role": "assistant", "contenu": "2", "n": 2},
        {"rolf": "assistant", "content": "2", "n": 2},
        {"role": "tool", "tool_call_id": "a", "n": 2},
        {"role": "tool", "content": "2", "n": 2},
        {"role": ["user"], "content": "2", "n": 2},
        {"role": {}, "content": "2"},
        {"type": ["rewind"], "to": 1},
        {},
    ],
)
@pytest.mark.parametrize("replaced", [True, False])
def test_a_line_with_a_key_missing_does_not_stop_the_compaction_behind_it(
    tmp_path: Path, line: Record, replaced: bool
) -> None:
    """replaced: by the compaction; else it is among those that stay."""
    one, two, three, four, five, six = numbered(
        user("1"), said("2"), user("3"), said("4"), user("5 " + "plum " * 400), said("6")
    )
    story = [one, line, three, four] if replaced else [one, two, three, {**line, "n": 4}]
    written(tmp_path, "talk", *story, compaction(3, SUMMARY, UNDERSTOOD), five, six)
    talk = session(tmp_path, Scripted(), opening=Opening("talk"))
    assert "talk" in answer(talk, "/list")
    answer(talk, "next " + "pear " * 400)
    assert_strict(talk.store.context.messages)
    assert texts(talk.store.context.messages)[:3] == ["in short", "I see", "3"]
    answer(talk, "/compact")
    assert_strict(talk.store.context.messages)


@pytest.mark.parametrize(
    "record",
    [
        compaction(1, result("a")),
        compaction(None, SUMMARY, calls("a")),
        compaction(None, SUMMARY, {"role": "system", "content": "x"}),
        compaction(None, {"role": "user"}),
        compaction(None, "text"),  # type: ignore[arg-type]
        compaction(4),
        compaction(5, SUMMARY, UNDERSTOOD),
        compaction(99, SUMMARY),
        compaction(-1, SUMMARY),
        compaction("1", SUMMARY),  # type: ignore[arg-type]
        compaction(1, kept=None),
        compaction(1, kept={"a": 1}),
        compaction(1, shortened=["x"]),
        compaction(1, shortened={"4": 7}),
        {"type": "compaction"},
        {"type": "compaction", "head": [SUMMARY], "shortened": {}},
    ],
)
def test_a_compaction_that_cannot_be_is_counted_and_changes_nothing(record: Record) -> None:
    story = numbered(user("go"), said("yes"), calls("a", "b"), result("a"), result("b"), said("done"))
    story[2:2] = [{**user("use it"), "n": 2}]
    before = read(lines(*story))
    after = read(lines(*story, record))
    assert (after.seen, after.whole, after.broken) == (before.seen, before.whole, 1)


def each_with(record: Record, key: str, *values: Any) -> list[Record]:
    return [{**record, key: value} for value in values]


WRONG = [
    *each_with(user("x"), "n", -1, 2**53, 10**400, 1.0, None, "1", []),
    *each_with(user("x"), "at", None, 7, [], {}),
    *each_with({"type": "rewind"}, "to", -1, 2**60, 1.5, None, "1", []),
    *each_with(said("x"), "usage", None, 7, [], {"total_tokens": None}, {"total_tokens": 1.5}),
    {**said("x"), "thinking_field": "reasoning"},
    {**said("x"), "thinking": None},
    {**said("x"), "thinking": "hm", "thinking_field": 7},
    {**calls("a"), "tool_calls": [{"id": "a", "type": "function"}]},
    {**calls("a", "a")},
    {**calls("a"), "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "[]"}}]},
]


@pytest.mark.parametrize("line", WRONG, ids=lambda line: json.dumps(line)[:60])
def test_a_line_with_a_value_that_cannot_be_is_left_out_and_counted(line: Record) -> None:
    found = read(lines(user("one"), said("two"), line, user("three")))
    assert (texts(found.seen), found.broken, found.next) == (["one", "two", "three"], 1, 4)


DEEP = 50_000


@pytest.mark.parametrize(
    "line",
    [
        b"[" * DEEP,
        b'{"a":' * DEEP,
        b"[" * DEEP + b"]" * DEEP,
        b'{"role":"user","content":"x","z":' + b"[" * DEEP + b"]" * DEEP + b"}",
        b'{"role":"user","content":"x","n":' + b"1" * DEEP + b"}",
        b"1" * DEEP,
        b'{"role":"assistant","content":"","tool_calls":[{"id":"a","function":{"name":"f","arguments":"'
        + rb"{\"a\":" * DEEP
        + b'"}}]}',
        b'{"role":"user","content":"x","z":NaN}',
        b'{"role":"assistant","content":"","tool_calls":[{"id":"a","index":NaN,'
        b'"function":{"name":"f","arguments":"{}"}}]}',
        b'{"role":"assistant","content":"x","usage":{"total_tokens":Infinity}}',
    ],
    ids=lambda line: str(line[:24]),
)
def test_a_line_that_only_python_would_read_is_left_out_and_counted(line: bytes) -> None:
    found = read(lines(user("one"), said("two")) + line + b"\n" + lines(user("three")))
    assert (texts(found.seen), found.broken) == (["one", "two", "three"], 1)
    assert_strict(found.seen)


@pytest.mark.parametrize("mark", ["\ufeff", "\ufeff\ufeff", "\ufeff  ", "\0\0\ufeff"])
def test_a_byte_order_mark_costs_no_line(mark: str) -> None:
    found = read(mark.encode() + lines(user("one"), said("two")).replace(b"\n", b"\r\n"))
    assert (texts(found.seen), found.broken) == (["one", "two"], 0)


def test_a_call_that_does_not_say_its_type_is_sent_with_it() -> None:
    call = {"id": "a", "function": {"name": "f", "arguments": "{}"}}
    found = read(lines(user("go"), {**calls(), "tool_calls": [call]}, result("a"), said("done")))
    assert (found.broken, found.seen[1]["tool_calls"][0]["type"]) == (0, "function")


def story(folder: Path) -> bytes:
    """A conversation with calls, compactions and rewinds, also behind a compaction."""
    conversation = Conversation(folder, "whole")
    chat = Chat(window=2_000, journal=conversation)
    chat.says("one " + "plum " * 50).asks("look").looks("found " * 40).store.append(said("looked"))
    chat.asks("more").looks("x " * 300).store.append({**said("seen"), "thinking": "hm", "thinking_field": "reasoning"})
    for number in range(4):
        chat.says(f"turn {number} " + "pear " * 120)
    Compact(Scripted(), always=True).run(chat.store)
    chat.asks("again").looks("a", "b", "c").store.append(said("all three"))
    to = chat.messages[-1]["n"] + 1
    chat.says("a mistake")
    chat.store.apply({"type": "rewind", "to": to})
    for number in range(4):
        chat.says(f"turn {number} " + "fig " * 120)
    Compact(Scripted(), always=True).run(chat.store)
    conversation.write({"type": "rewind", "to": to})
    loaded = conversation.load()
    chat.store.load(loaded.seen, conversation, loaded.next)
    chat.says("bye").asks("last").looks("z").store.append(said("done"))
    conversation.close()
    data = conversation.path.read_bytes()
    assert data.count(b'"compaction"') == 2 and data.count(b'"rewind"') == 2
    return data


def damaged(seed: int, whole: bytes) -> bytes:
    """The same after some edits and flipped bits."""
    chance = random.Random(seed)
    found = whole.rstrip(b"\n").split(b"\n")
    for _ in range(chance.choice((1, 1, 2, 4))):
        kind, at = chance.randrange(7), chance.randrange(len(found))
        if kind == 0:
            found[at : at + chance.randrange(1, 6)] = [b""]
        elif kind == 1:
            found.insert(chance.randrange(len(found)), found[at])
        elif kind == 2:
            found.insert(chance.randrange(len(found)), found.pop(at))
        elif kind == 3:
            found[at] = found[at][: chance.randrange(len(found[at]) + 1)]
        elif kind == 4:
            found[0] = b"\xef\xbb\xbf" + found[0]
        elif kind == 5 and found[at].startswith(b"{"):
            found[at] = changed(chance, found[at])
        elif found[at]:
            line = bytearray(found[at])
            line[chance.randrange(len(line))] ^= 1 << chance.randrange(8)
            found[at] = bytes(line)
    return b"\n".join(found) + b"\n"


def changed(chance: random.Random, line: bytes) -> bytes:
    """A line with one key gone, or with a value of another kind."""
    try:
        record = json.loads(line)
    except ValueError:
        return line
    key = chance.choice([*record, "n"])
    value: Any = chance.choice((None, "", 0, -1, [], {}, "x", 1.5, 7, 2**60, [{}], {"a": None}, float("nan"), ...))
    record.pop(key, None)
    return json.dumps(record if value is ... else {**record, key: value}).encode()


def assert_goes_on(folder: Path, data: bytes) -> None:
    """What can be read is fit for a strict server, goes on as such, and loads again as it then is."""
    path = folder / "damaged.jsonl"
    path.write_bytes(data)
    conversation, store = Conversation(folder, "damaged"), Store()
    found = conversation.open()
    try:
        assert_strict(found.seen, open_end=True)
        store.load(found.seen, conversation, found.next)
        store.settle("[interrupted]")
        store.append(user("next"))
        store.append(said("yes"))
        assert_strict(store.context.messages)
        again = conversation.load().seen
        assert [sent(each) for each in again] == [sent(each) for each in store.context.messages]
        assert not {each["n"] for each in again[-2:]} & {each.get("n") for each in found.seen}
    finally:
        conversation.close()
    assert path.read_bytes().startswith(data)


def sent(message: Message) -> tuple[Any, ...]:
    return message["role"], message["content"], message.get("tool_calls"), message.get("tool_call_id")


@pytest.mark.parametrize("edit", ["lost", "doubled", "swapped", "cut in two", "moved to the front", "moved to the end"])
def test_whatever_line_is_edited_the_conversation_goes_on(tmp_path: Path, edit: str) -> None:
    found = story(tmp_path).rstrip(b"\n").split(b"\n")
    for at, line in enumerate(found):
        before, after = found[:at], found[at + 1 :]
        now = {
            "lost": [*before, *after],
            "doubled": [*before, line, line, *after],
            "swapped": [*before, *after[:1], line, *after[1:]],
            "cut in two": [*before, line[: len(line) // 2], line[len(line) // 2 :], *after],
            "moved to the front": [line, *before, *after],
            "moved to the end": [*before, *after, line],
        }[edit]
        assert_goes_on(tmp_path, b"\n".join(now) + b"\n")


@pytest.mark.parametrize("start", range(0, 400, 100))
def test_a_file_that_was_damaged_at_random_goes_on(tmp_path: Path, start: int) -> None:
    whole = story(tmp_path)
    for seed in range(start, start + 100):
        assert_goes_on(tmp_path, damaged(seed, whole))


# -- what was taken back


TEN = numbered(*(user(str(number)) if number % 2 else said(str(number)) for number in range(1, 11)))
SHORTENED = (*TEN[:6], compaction(5, SUMMARY, UNDERSTOOD), *TEN[6:])


@pytest.mark.parametrize("to", [11, 12, 9999, 2**53 - 1])
def test_taking_back_what_is_still_to_come_changes_nothing(to: int) -> None:
    before = read(lines(*SHORTENED))
    assert read(lines(*SHORTENED, {"type": "rewind", "to": to})).seen == before.seen
    assert texts(before.seen)[0] == "in short"


@pytest.mark.parametrize("to", range(1, 11))
@pytest.mark.parametrize("lost", [False, True])
def test_a_compaction_is_undone_only_by_taking_back_what_is_before_it(to: int, lost: bool) -> None:
    """lost: the line that is taken back to cannot be read."""
    records = [each for each in SHORTENED if not (lost and each.get("n") == to)]
    found = read(lines(*records, {"type": "rewind", "to": to}))
    was_shortened = to >= 6 if lost else to >= 5  # the compaction itself speaks of 5
    assert (texts(found.seen)[:2] == ["in short", "I see"]) is was_shortened
    assert texts(found.whole) == [str(number) for number in range(1, to)]
    assert found.next == (10 if lost and to == 10 else 11)


def test_a_number_is_never_given_twice(tmp_path: Path) -> None:
    model = Scripted()
    talk = session(tmp_path, model, opening=Opening("talk"))
    for number in range(6):
        answer(talk, f"message {number} " + "plum " * 200)
    answer(talk, "/compact")
    answer(talk, "/rewind 4")
    for number in range(3):
        talk.close()
        talk = session(tmp_path, model, opening=Opening("talk"))
        answer(talk, f"later {number}")
        assert "later" in answer(talk, "/rewind")
        answer(talk, f"instead {number}")
    records = [json.loads(line) for line in talk.conversation.path.read_bytes().splitlines()]
    given = [each["n"] for each in records if "n" in each]
    assert len(given) == len(set(given))
    assert "The message was: instead 1" in answer(talk, "/rewind 2")
    assert "The message was: message 1" in answer(talk, "/rewind 2")


def steps(work: Callable[[], object]) -> int:
    """How many lines of Python it takes."""
    count, before = 0, sys.gettrace()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += 1
        return trace

    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("first", [[], [compaction(1, SUMMARY, UNDERSTOOD)]])
def test_what_a_rewind_costs_does_not_depend_on_how_long_the_conversation_is(first: list[Record]) -> None:
    def cost(messages: int) -> int:
        told = numbered(*(make("x") for _ in range(messages // 2) for make in (user, said)))
        retried: list[Record] = []
        for number in range(messages + 1, messages + 101, 2):
            retried.append({"type": "rewind", "to": number - 2})
            retried += [{**user("again"), "n": number}, {**said("yes"), "n": number + 1}]
        plain, whole = lines(*told, *first), lines(*told, *first, *retried)
        return steps(lambda: read(whole)) - steps(lambda: read(plain))

    assert cost(1_600) < 2 * cost(400)


# -- files that go away while they are open


def told_of(told: list[str], folder: Path, *messages: Message) -> tuple[Store, Conversation]:
    """A store whose messages are in a file; told: gets what is said of trouble with it."""
    store, conversation = Store(), Conversation(folder, "story", tell=told.append)
    store.journal = conversation
    for message in messages:
        store.append(message)
    return store, conversation


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_file_deleted_on_a_full_disk_is_lost_only_as_long_as_the_disk_is_full(tmp_path: Path, share: float) -> None:
    told: list[str] = []
    store, conversation = told_of(told, tmp_path, *(make(f"line {at}") for at in range(20) for make in (user, said)))
    size = conversation.path.stat().st_size

    def work() -> None:
        conversation.path.unlink()
        store.append(user("on a full disk"))
        assert conversation.trouble and conversation.unsaved == 1 and len(told) == 1, told
        assert list(tmp_path.iterdir()) == []
        assert len(conversation.load().seen) == 41
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        store.append(said("there is room"))
        assert not conversation.trouble and "saved again" in told[-1], told

    limited(int(size * share), work)
    found = read(conversation.path.read_bytes())
    assert (len(found.seen), texts(found.seen)[0], found.broken) == (42, "line 0", 0)
    assert list(tmp_path.iterdir()) == [conversation.path]


def take(folder: Path, label: str, text: str) -> Conversation:
    """Another process's conversation of that label, which is open."""
    _, other = kept(folder, user(text), said("theirs"), label=label)
    assert other.label == label and not other.locked
    return other


@pytest.mark.parametrize("more", [(), ("story-2",), ("story-2", "story-3")])
def test_who_finds_the_label_taken_goes_on_beside_it(tmp_path: Path, more: tuple[str, ...]) -> None:
    told: list[str] = []
    store, conversation = told_of(told, tmp_path, user("one"), said("two"))
    conversation.path.unlink()
    others = [take(tmp_path, label, f"of {label}") for label in ("story", *more)]
    before = [each.path.read_bytes() for each in others]
    store.append(user("three"))
    store.append(said("four"))
    label = f"story-{len(others) + 1}"
    assert conversation.label == label and label in told[0] and len(told) == 1
    assert contents(tmp_path / f"{label}.jsonl") == ["one", "two", "three", "four"]
    assert [each.path.read_bytes() for each in others] == before
    again = Conversation(tmp_path, label)
    again.open()
    assert again.locked  # by the first
    for each in (again, conversation, *others):
        each.close()


def test_a_file_put_in_place_of_the_open_one_belongs_to_who_holds_it(tmp_path: Path) -> None:
    store, conversation = kept(tmp_path, user("one"), said("two"))
    other = take(tmp_path, "copy", "of somebody else")
    other.path.replace(conversation.path)
    store.append(user("three"))
    assert contents(tmp_path / "story.jsonl") == ["of somebody else", "theirs"]
    assert contents(tmp_path / "story-2.jsonl") == ["one", "two", "three"]
    other.close()
    conversation.close()


def backed_up(path: Path) -> None:
    """As editors that keep the old file by renaming it do."""
    backup = path.with_name(path.name + "~")
    path.rename(backup)
    shutil.copy(backup, path)


def test_what_is_said_after_an_editor_has_backed_up_the_file_is_in_the_file(tmp_path: Path) -> None:
    store, conversation = kept(tmp_path, user("one"), said("two"))
    for text in ("three", "five"):
        backed_up(conversation.path)
        store.append(user(text))
        store.append(said("yes"))
    backup = conversation.path.with_name("story.jsonl~")
    assert contents(conversation.path) == ["one", "two", "three", "yes", "five", "yes"]
    assert contents(backup) == ["one", "two", "three", "yes"]
    assert not conversation.trouble
    conversation.close()


def test_a_file_that_was_only_moved_is_gone_on_with_where_it_is(tmp_path: Path) -> None:
    store, conversation = kept(tmp_path, user("one"), said("two"))
    moved = conversation.path.rename(tmp_path / "elsewhere.jsonl")
    store.append(user("three"))
    assert (contents(moved), list(tmp_path.iterdir())) == (["one", "two", "three"], [moved])
    moved.unlink()
    store.append(said("four"))
    assert contents(tmp_path / "story.jsonl") == ["one", "two", "three", "four"]
    conversation.close()


def test_a_folder_in_place_of_the_file_is_waited_out(tmp_path: Path) -> None:
    store, conversation = kept(tmp_path, user("one"), said("two"))
    conversation.path.unlink()
    conversation.path.mkdir()
    store.append(user("three"))
    assert conversation.trouble and texts(conversation.load().seen) == ["one", "two", "three"]
    conversation.path.rmdir()
    store.append(said("four"))
    assert not conversation.trouble and contents(conversation.path) == ["one", "two", "three", "four"]
    conversation.close()


def test_a_write_that_fails_at_any_byte_leaves_no_part_of_its_line(tmp_path: Path) -> None:
    _, conversation = kept(tmp_path, user("one"), said("two"))
    before = conversation.path.read_bytes()
    record = {**user("three, größer"), "n": 3, "at": ""}

    def work() -> None:
        conversation.write(record)
        for size in range(len(line_of(record))):
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + size, resource.RLIM_INFINITY))
            conversation.sync()
            assert conversation.trouble and conversation.unsaved == 1
            assert conversation.path.read_bytes() == before, size
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        conversation.sync()
        assert not conversation.trouble

    limited(len(before), work)
    found = read(conversation.path.read_bytes())
    assert (texts(found.seen), found.broken) == (["one", "two", "three, größer"], 0)
    conversation.close()


# -- what lies in the folder


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


def make_dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def make_folder(path: Path) -> None:
    (path / "in it").mkdir(parents=True)


ODD = [make_fifo, make_loop, make_dangling, make_folder]


@pytest.mark.parametrize("make", ODD)
@pytest.mark.parametrize("name", ["current", "meta.json"])
def test_what_stands_in_the_place_of_a_note_makes_nobody_wait(
    tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    talk = session(tmp_path, Scripted(), opening=Opening("talk"))
    answer(talk, "hi")
    talk.close()
    (tmp_path / "sessions" / name).unlink()
    make(tmp_path / "sessions" / name)
    again = session(tmp_path, Scripted(), opening=Opening(resume=True))
    answer(again, "and on")
    assert again.conversation.label == "talk" and "talk" in answer(again, "/list")
    assert contents(talk.conversation.path)[0] == "hi"


@pytest.mark.parametrize("make", ODD)
def test_what_is_no_file_hides_no_other_conversation(tmp_path: Path, make: Callable[[Path], None]) -> None:
    labels = [f"talk-{number}" for number in range(20)]
    for label in labels:
        written(tmp_path, label, user("hi"), said("hello"))
        if label == "talk-10":  # a folder has no order: some are found before it, some after it
            make(tmp_path / "sessions" / "odd.jsonl")
    archive = Archive(tmp_path / "sessions")
    assert set(archive.labels()) == {each.label for each in archive.entries()} == set(labels)
    assert archive.find("talk-19") == "talk-19"
    with pytest.raises(CommandError, match="no conversation"):
        archive.find("odd")


@pytest.mark.parametrize("make", [make_loop, make_dangling, make_folder])
def test_a_label_that_is_there_but_cannot_be_read_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    (tmp_path / "sessions").mkdir()
    make(tmp_path / "sessions" / "odd.jsonl")
    talk = session(tmp_path, Scripted(), opening=Opening("odd"))
    assert "cannot be read" in refusal(talk, "hello")
    assert os.listdir(tmp_path / "sessions") == ["odd.jsonl"]
    assert "already" in refusal(talk, "/new odd")


def test_list_and_load_agree_about_labels_typed_by_hand(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "café")
    for label in ("My Chat", decomposed, "[x]", "ß", "CON", "a.b"):
        written(tmp_path, label, user(f"about {label}"), said("yes"))
    for label in (".hid", ".jsonl"):
        written(tmp_path, label, user("hidden"))
    with open(os.fsencode(tmp_path / "sessions") + b"/\xff.jsonl", "wb") as file:
        file.write(lines(user("no name that can be shown")))
    talk = session(tmp_path, Scripted())
    shown = answer(talk, "/list").split("\n")[1:]
    assert len(shown) == len(talk.archive.labels()) == 6
    for label in talk.archive.labels():
        assert any(f" {label} " in line for line in shown)
        assert "2 messages" in answer(talk, f"/load {label}")
        assert texts(talk.store.context.messages)[0] == f"about {label}"
    for label in (".hid", "hid", ".", "\udcff"):
        assert "no conversation" in refusal(talk, f"/load {label}")


@pytest.mark.parametrize("made", [True, False])
@pytest.mark.parametrize("make", [*ODD, lambda path: path.write_bytes(b"precious")])
def test_a_label_that_is_taken_by_anything_is_not_taken_away(
    tmp_path: Path, make: Callable[[Path], None], made: bool
) -> None:
    make(tmp_path / "other.jsonl")
    before = os.lstat(tmp_path / "other.jsonl")
    _, conversation = kept(tmp_path, *([user("mine")] if made else []))
    with pytest.raises(FileExistsError):
        conversation.rename("other")
    assert os.path.samestat(os.lstat(tmp_path / "other.jsonl"), before)
    assert conversation.label == "story" and conversation.path.exists() is made
    conversation.write(user("more"))
    assert not conversation.trouble and b"more" in conversation.path.read_bytes()
    conversation.close()


def test_a_conversation_can_be_named_on_a_full_disk(tmp_path: Path) -> None:
    talk = session(tmp_path, Scripted(), opening=Opening("talk"))
    answer(talk, "hi")
    before = talk.conversation.path.read_bytes()
    folder = tmp_path / "sessions"

    def work() -> None:
        answer(talk, "/save fresh")
        assert {path.name for path in folder.iterdir()} == {"fresh.jsonl", "current", "meta.json"}
        assert "fresh" in answer(talk, "/list")

    limited(0, work)
    assert (folder / "fresh.jsonl").read_bytes() == before
    assert [each.label for each in Archive(folder).entries()] == ["fresh"]
    assert Archive(folder).current == "fresh"


# -- long texts


def test_a_long_text_that_cannot_be_kept_is_no_trouble_for_the_conversation(tmp_path: Path) -> None:
    store, conversation = kept(tmp_path, user("one"))
    (tmp_path / "results").write_text("in the way")
    assert conversation.keep("very long") == ""
    assert (conversation.trouble, conversation.unsaved) == ("", 0)
    store.append(said("two"))
    assert (conversation.trouble, conversation.unsaved) == ("", 0)
    assert contents(conversation.path) == ["one", "two"]
    (tmp_path / "results").unlink()
    assert Path(conversation.keep("very long")).read_text() == "very long"
    conversation.close()


def test_a_copy_that_is_deleted_leaves_the_long_texts_of_the_other(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    store, conversation = Store(), archive.new("a")
    store.journal = conversation
    shared, old = conversation.keep("a long text"), conversation.keep("an older one")
    store.append({**user("see it"), "kept": shared})
    store.append(said("yes"))
    store.apply(compaction(None, {**SUMMARY, "kept": old}, UNDERSTOOD))
    conversation.close()
    shutil.copy(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    archive.delete("b")
    assert Path(shared).exists() and Path(old).exists()
    archive.delete("a")
    assert not Path(shared).exists() and not Path(old).exists()


def test_the_whole_of_a_cut_request_goes_with_its_conversation(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    conversation = archive.new("a")
    chat = Chat(window=4_000, journal=conversation)
    chat.says("plum " * 1_000).asks("PLEASE " + "do it all " * 600)
    for number in range(6):
        chat.looks(f"result {number} " + "pear " * 200)
    Compact(Scripted(), always=True).run(chat.store)
    assert any(each.get("request") for each in chat.messages)
    (path,) = (each["kept"] for each in chat.messages if each.get("request"))
    assert Path(path).read_text().startswith("PLEASE")
    conversation.close()
    archive.delete("a")
    assert list((tmp_path / "results").iterdir()) == []


# -- what could not be saved yet


def blocked(folder: Path) -> Path:
    """A file where the folder of conversations is to be."""
    path = folder / "sessions"
    path.write_text("in the way")
    return path


@pytest.mark.parametrize("leave", ["/new", "/new b", "/save b"])
def test_what_was_left_before_it_could_be_saved_is_saved_later(tmp_path: Path, leave: str) -> None:
    path = blocked(tmp_path)
    talk = session(tmp_path, Scripted(), opening=Opening("a"))
    answer(talk, "one")
    assert talk.view.trouble
    answer(talk, leave)
    answer(talk, "two")
    assert talk.view.trouble
    assert len(talk.close()) == (1 if leave == "/save b" else 2)
    path.unlink()
    answer(talk, "three")
    assert (talk.view.trouble, talk.close()) == ("", [])
    found = sorted(text for each in path.glob("*.jsonl") for text in contents(each) if not text.startswith("You"))
    assert found == ["one", "three", "two"]


def test_a_conversation_left_for_another_one_is_saved_when_its_folder_is_back(tmp_path: Path) -> None:
    path, away = tmp_path / "sessions", tmp_path / "away"
    talk = session(tmp_path, Scripted(), opening=Opening("a"))
    answer(talk, "one")
    answer(talk, "/new b")
    answer(talk, "two")
    answer(talk, "/load a")
    path.rename(away)
    blocked(tmp_path)
    answer(talk, "/new c")
    answer(talk, "three")
    assert talk.view.trouble
    assert [line.partition(":")[0] for line in talk.close()] == ["c"]
    path.unlink()
    away.rename(path)
    answer(talk, "/load b")
    assert (talk.view.trouble, talk.close()) == ("", [])
    assert contents(path / "c.jsonl") == ["three", "You said: three"]
    assert contents(path / "b.jsonl") == ["two", "You said: two"]


@pytest.fixture
def chat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Talk]:
    monkeypatch.chdir(tmp_path)
    with Loopback(ok) as server:
        made = Talk(tmp_path, server)
        yield made
        if made.app:
            made.app.stop()


def test_an_app_that_stops_says_what_is_not_saved(chat: Talk) -> None:
    listener = chat.begin()
    (chat.folder / "workspace").mkdir()
    path = blocked(chat.folder / "workspace")
    listener.answer("one")
    listener.answer("/new b")
    listener.answer("two")
    assert chat.app is not None
    told = chat.app.stop()
    assert len(told) == 2 and all("2 lines" in each and "nothing is saved" in each for each in told), told
    assert any("Nothing is saved" in each for each in listener.notices)
    path.unlink()
    assert chat.app.stop() == []
    assert len(list(path.glob("*/*.jsonl"))) == 2
    chat.app = None


# -- a conversation that is open elsewhere


def test_a_conversation_becomes_ours_when_the_other_has_left(tmp_path: Path) -> None:
    model = Scripted()
    holder = session(tmp_path, Scripted(), opening=Opening("held"))
    answer(holder, "one")
    other = session(tmp_path, model, opening=Opening("held"))
    assert "another process" in refusal(other, "not yet") and other.view.locked
    answer(holder, "two")
    assert "another process" in refusal(other, "still not")
    answer(holder, "/rewind")
    answer(holder, "three")
    holder.close()
    answer(other, "four")
    assert model.seen[-1] == ["one", "You said: one", "three", "You said: three", "four"]
    assert not other.view.locked and other.view.trouble == ""
    records = [json.loads(line) for line in other.conversation.path.read_bytes().splitlines()]
    given = [each["n"] for each in records if "n" in each]
    assert len(given) == len(set(given))
    assert "another process" in refusal(session(tmp_path, Scripted(), opening=Opening("held")), "me too")


@pytest.mark.parametrize("command", ["/rewind", "/retry", "/save mine", "/delete held"])
def test_a_command_too_finds_that_the_other_has_left(tmp_path: Path, command: str) -> None:
    holder = session(tmp_path, Scripted(), opening=Opening("held"))
    answer(holder, "one")
    other = session(tmp_path, Scripted(), opening=Opening("held"))
    assert "another process" in refusal(other, command)
    answer(holder, "two")
    holder.close()
    answer(other, command)
    answer(other, "on")
    assert other.view.trouble == "" and not other.view.locked


def test_what_was_refused_while_it_was_open_elsewhere_is_not_written_later(tmp_path: Path) -> None:
    holder = session(tmp_path, Scripted(), opening=Opening("held"))
    answer(holder, "one")
    other = session(tmp_path, Scripted(), opening=Opening("held"))
    events = say(other, "refused")
    assert any(isinstance(each, Notice) and "another process" in each.text for each in events)
    holder.close()
    answer(other, "taken")
    found: Said = read(other.conversation.path.read_bytes())
    assert texts(found.seen) == ["one", "You said: one", "taken", "You said: taken"]


# -- files that are none, and what is left over


@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
def test_what_is_no_file_is_no_conversation(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "sessions" / "x.jsonl"
    path.parent.mkdir()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/null")
    else:
        path.mkdir()
    talk = session(tmp_path, Scripted(), opening=Opening("x"))
    ending = say(talk, "hello")[-1]
    assert isinstance(ending, Error) and "cannot be read" in ending.message


def test_a_conversation_that_is_left_unsaved_loses_nothing_when_it_is_loaded_again(tmp_path: Path) -> None:
    model = Scripted()
    talk = session(tmp_path, model, opening=Opening("a"))
    say(talk, "one")
    (tmp_path / "sessions").rename(tmp_path / "away")
    (tmp_path / "sessions").write_text("in the way")
    (tmp_path / "away" / "a.jsonl").rename(tmp_path / "away" / "gone.jsonl")
    (tmp_path / "away" / "gone.jsonl").unlink()
    say(talk, "two")
    say(talk, "/new b")
    (tmp_path / "sessions").unlink()
    (tmp_path / "away").rename(tmp_path / "sessions")
    assert isinstance(say(talk, "/load a")[-1], Done)
    say(talk, "three")
    assert [text for text in model.seen[-1] if not text.startswith("You said")] == ["one", "two", "three"]
    talk.close()
    again = session(tmp_path, model, opening=Opening("a"))
    say(again, "four")
    assert [text for text in model.seen[-1] if not text.startswith("You said")] == ["one", "two", "three", "four"]


def test_a_conversation_that_its_holder_renamed_or_deleted_is_not_brought_back(tmp_path: Path) -> None:
    for command in ("/save fresh", "/delete held"):
        folder = tmp_path / command[1:5].strip()
        holder = session(folder, Scripted(), opening=Opening("held"))
        say(holder, "mine")
        other = session(folder, Scripted(), opening=Opening("held"))
        say(other, "/history")
        assert isinstance(say(holder, command)[-1], Done)
        holder.close()
        ending = say(other, "hello")[-1]
        assert isinstance(ending, Error) and "not there any more" in ending.message
        assert not (folder / "sessions" / "held.jsonl").exists()


def test_what_is_told_of_a_damaged_file_comes_behind_the_turns_beginning(tmp_path: Path) -> None:
    (tmp_path / "sessions").mkdir()
    (tmp_path / "sessions" / "x.jsonl").write_text('{"broken')
    events = say(session(tmp_path, Scripted(), opening=Opening("x")), "hello")
    assert [type(each).__name__ for each in events] == ["TurnStarted", "Notice", "Done"]


def test_an_export_through_a_link_is_judged_by_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "link.md").symlink_to("AGENTS.md")
    talk = session(tmp_path, Scripted())
    say(talk, "hello")
    assert isinstance(say(talk, "/export link.md")[-1], Error)
    assert not (tmp_path / "AGENTS.md").exists()


@pytest.mark.parametrize("number", [2**53 - 1, 2**53, -1, True, 10**400])
def test_a_number_that_no_message_has_is_no_message(number: int) -> None:
    line = json.dumps({"role": "user", "content": "x", "n": number}).encode() if number != 10**400 else b'{"n": 1e999}'
    assert (read(line).seen, read(line).broken) == ([], 1)


@pytest.mark.parametrize("count", ["1" + "0" * 400, "-5", "true", '"7"', "1.5"])
def test_a_count_that_no_server_sends_is_not_believed(count: str) -> None:
    line = f'{{"role": "assistant", "content": "x", "usage": {{"prompt_tokens": {count}}}}}'
    assert read(line.encode()).broken == 1


def test_compactions_with_odd_heads_are_read_and_compacted_again() -> None:
    head = [{"role": "user", "content": "s", "n": 1}, {"role": "assistant", "content": "k"}]
    records = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "1"},
        {"type": "compaction", "first": None, "head": head, "shortened": {}},
        {"type": "compaction", "first": 1, "head": [], "shortened": {}},
        {"type": "compaction", "first": None, "head": [{"role": "assistant", "content": "k"}], "shortened": {}},
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": "2"},
    ]
    found = read(b"".join(json.dumps(each).encode() + b"\n" for each in records))
    assert [each["role"] for each in found.seen] == ["user", "assistant", "user", "assistant"]
    store = Store()
    store.load(found.seen)
    Compact(Scripted(), always=True).run(store)
