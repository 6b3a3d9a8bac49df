"""The soak finds nothing wrong where nothing is, and finds what is lost, doubled, left open or left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from .soak import audit, beating, census
from .soak.account import Account, Message
from .soak.play import Plan, play
from .soak.stage import Gate

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="it counts what /proc tells")


def test_a_short_soak_holds(tmp_path: Path) -> None:
    told: list[str] = []
    plan = Plan(2.0, 5, clients=3, pause=0.4, failing=0.1, patience=0.3, ends=False, points=False)
    outcome = play(tmp_path, plan, told.append)
    assert outcome.wrong == []
    assert "Nothing is wrong" in outcome.report and "seed 5" in outcome.report


# -- what is in the files

CALL = {"id": "c1", "type": "function", "function": {"name": "list_dir", "arguments": "{}"}}
CALLS = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "x"}


def user(marker: str) -> dict[str, Any]:
    return {"role": "user", "content": f"{marker} please"}


def said(text: str = "Well.") -> dict[str, Any]:
    return {"role": "assistant", "content": text}


@pytest.fixture
def account() -> Account:
    return Account()


def two(account: Account, **how: Any) -> list[Message]:
    """Two messages that were answered."""
    found = [account.say("c01", "please", **how) for _ in range(2)]
    for each in found:
        account.ended(each, "answered")
    return found


def audited(folder: Path, account: Account, *records: dict[str, Any]) -> list[str]:
    path = folder / "sessions" / "agent:assistant:direct:c01" / "a.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"{json.dumps(each)}\n" for each in records))
    audit.ends(account)
    audit.sessions(folder / "sessions", account)
    return account.wrong


def test_a_conversation_that_holds_all_is_fine(tmp_path: Path, account: Account) -> None:
    one, other = two(account)
    records = user(one.marker), CALLS, RESULT, said(), user(other.marker), said("[no answer: network]")
    assert audited(tmp_path, account, *records) == []


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([user("mk-c01-00001"), said()], "mk-c01-00002 (answered) is in the files 0 times"),
        ([user("mk-c01-00001"), said(), user("mk-c01-00002"), said(), user("mk-c01-00002"), said()], "2 times"),
        ([user("mk-c01-00001"), user("mk-c01-00002"), said()], "mk-c01-00001 has no answer"),
        ([user("mk-c01-00001"), said(), user("mk-c01-00002")], "without an answer to mk-c01-00002"),
        ([user("mk-c01-00002"), said(), user("mk-c01-00001"), said()], "mk-c01-00001 comes behind"),
        ([user("mk-c01-00001"), CALLS, said(), user("mk-c01-00002"), said()], "calls without a result"),
        ([user("mk-c01-00001"), CALLS, RESULT, RESULT, said()], "a result that no call waits for"),
        ([user("mk-c01-00001"), said(), user("mk-c01-00002"), CALLS], "without an answer"),
        ([user("mk-c01-00001"), said(), user("mk-c09-00001"), said()], "mk-c09-00001 is in a file, and was never said"),
    ],
)
def test_what_is_lost_doubled_or_unanswered_in_a_conversation_is_found(
    tmp_path: Path, account: Account, records: list[dict[str, Any]], words: str
) -> None:
    two(account)
    assert words in "\n".join(audited(tmp_path, account, *records))


def test_a_message_without_an_end_or_with_two_is_found(tmp_path: Path, account: Account) -> None:
    silent, twice = account.say("c01", "please"), account.say("c01", "please")
    account.ended(twice, "answered")
    account.ended(twice, "answered")
    wrong = audited(tmp_path, account, user(silent.marker), said(), user(twice.marker), said())
    assert [each.split(":")[0] for each in wrong] == [silent.marker, f"{twice.marker} ended 2 times"]


def test_a_crash_excuses_a_repeat_only_of_what_has_a_key(tmp_path: Path, account: Account) -> None:
    one, other = two(account, key="k")
    other.key = ""
    account.crashes.append(other.at)
    again = [user(one.marker), said(), user(one.marker), said(), user(other.marker), said(), user(other.marker), said()]
    assert [each.split()[0] for each in audited(tmp_path, account, *again)] == [other.marker]


# -- letters


def ran(folder: Path, *texts: str) -> None:
    """Runs of a job that said this."""
    path = folder / ".state" / "cron-runs.jsonl"
    path.parent.mkdir()
    for number, text in enumerate(texts):
        record = {"job": "ask-ws", "status": "ok", "due_at": number + 1.0, "started_at": number + 1.0, "seconds": 0.1}
        with path.open("a") as file:
            print(json.dumps({**record, "text": text}), file=file)


def test_letters_that_came_once_are_fine(tmp_path: Path, account: Account) -> None:
    ran(tmp_path, "letter lt-00001", "letter lt-00002")
    account.letter("a.1", "letter lt-00001")
    account.letter("b.1", "letter lt-00002")
    beating.check(tmp_path, account)
    assert account.wrong == []


def test_a_letter_that_was_lost_came_twice_or_was_written_twice_is_found(tmp_path: Path, account: Account) -> None:
    ran(tmp_path, *(f"letter lt-0000{number}" for number in range(1, 4)))
    for id, number in (("a.1", 1), ("a.1", 1), ("b.1", 2), ("c.1", 2)):
        account.letter(id, f"letter lt-0000{number}")
    beating.check(tmp_path, account)
    doubled, twice, lost = account.wrong
    assert "a.1 came 2 times" in doubled and "lt-00002 was said in 2 letters" in twice
    assert "lt-00003 has never arrived" in lost


# -- processes


def test_descriptors_threads_and_children_that_are_left_are_found(tmp_path: Path) -> None:
    before = census.taken(os.getpid())
    assert census.compared(before, before) == []
    go = threading.Event()
    threads = [threading.Thread(target=go.wait) for _ in range(3)]
    for each in threads:
        each.start()
    files = [(tmp_path / "leaked").open("w") for _ in range(3)]
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    after = census.taken(os.getpid())
    go.set()
    child.wait()
    for each in (*threads, *files):
        each.join() if isinstance(each, threading.Thread) else each.close()
    found = "\n".join(census.compared(before, after))
    assert "threads" in found and f"3 descriptors of {tmp_path}/leaked" in found and "not waited for" in found
    grown = before._replace(rss=before.rss * 3 + 100)
    assert "MB" in census.compared(before, grown)[0]


def test_a_process_that_is_left_in_the_folder_is_found(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], cwd=tmp_path, stdin=subprocess.PIPE) as child:
        assert [each.split()[0] for each in census.strays(tmp_path)] == [str(child.pid)]
        child.communicate(b"\n")
    assert list(census.strays(tmp_path)) == []


@pytest.mark.parametrize(
    "line",
    ["Traceback (most recent call last):", "error: agentkit itself failed", "Exception in thread x", "sk-canary-1"],
)
def test_what_should_never_be_in_a_log_is_found(account: Account, line: str) -> None:
    audit.logs("all is well\n", account)
    assert account.wrong == []
    audit.logs(f"all is well\n{line}\n", account)
    assert len(account.wrong) == 1


def test_who_rests_goes_on_with_the_next_round() -> None:
    gate, rested = Gate(), threading.Event()

    def live() -> None:
        while not gate.is_open:
            gate.rest("somebody", gate.round, 20.0)
        rested.set()

    thread = threading.Thread(target=live)
    thread.start()
    assert gate.all_rest(1)
    gate.set(False, begin=True)
    assert gate.all_rest(1)
    gate.set(True)
    thread.join()
    assert rested.is_set()
