"""The log: whole lines, one for each thing, without keys, whatever is told, and however many processes tell it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .program import ROOT, WAIT

KEY = "sk-canary-0123456789"
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (debug|info |warn |error) .+")

BEGIN = f"""
import os, sys
from pathlib import Path
from agentkit import log
from agentkit.events import Done, Error, Notice, ToolStarted
from agentkit.channels.headless import Headless
from agentkit.channels.teller import Teller
workspace, tellers = Path(sys.argv[1]), []
def start(level="info", teller=None):
    if teller:
        teller.begin()
        tellers.append(teller)
    log.start(workspace, level, ("{KEY}", "short"), *tellers)
show = Headless().show
"""
END = "\nfor each in tellers: each.end()\n"


def run(folder: Path, script: str, **env: str) -> str:
    """Run a program that logs; returns what it told on stderr."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BEGIN + script + END, str(folder)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        timeout=WAIT * 3,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def lines(folder: Path, name: str = "agentkit.log") -> list[str]:
    return (folder / ".state" / name).read_text().splitlines()


FORGED = "done\n2026-01-01 00:00:00 info  forged\r\x1b[2K\x1b]0;title\x07\u2028forged\x85\u202egnp"


@pytest.mark.parametrize("how", ["log.log.warning({text!r})", "show(Notice({text!r}, 'warn', session={text!r}))"])
def test_what_anothers_text_holds_is_no_line_of_its_own(tmp_path: Path, how: str) -> None:
    told = run(tmp_path, f"start(teller=Teller())\n{how.format(text=FORGED)}")
    for each in (told.splitlines(), lines(tmp_path)):
        assert len(each) == 1 and LINE.fullmatch(each[0]) and "forged" in each[0]
        assert each[0].isprintable()


def test_a_traceback_is_below_its_line_and_cannot_begin_one_either(tmp_path: Path) -> None:
    failing = f"try:\n    raise ValueError({FORGED!r})\nexcept ValueError:\n    log.log.exception('it failed')"
    script = f"start(teller=Teller())\n{failing}"
    told = run(tmp_path, script).splitlines()
    assert len(told) == 1 and "it failed (ValueError: done | 2026-01-01" in told[0]
    first, *rest = lines(tmp_path)
    assert first == told[0]
    assert rest[0] == "    Traceback (most recent call last):" and all(each.startswith("    ") for each in rest)


def test_keys_are_told_nowhere(tmp_path: Path) -> None:
    hidden = f"the key {KEY[:9]}\x1b[0m{KEY[9:]}"
    script = f"""
start(teller=Teller(os.environ.get("AS") == "json"))
show(ToolStarted("1", "bash", {{"command": "echo {KEY}", "more": ["{KEY}"]}}))
log.log.warning("%s and %s", "{KEY}", {hidden!r})
log.hide("later-0123456789")
show(Done("said later-0123456789", "m", {{}}, 1.0))
log.log.error("a later-0123456789 and {KEY}")
try: raise KeyError("{KEY}")
except KeyError: log.log.exception("failed")
assert "{KEY}" not in log.last_failure().text
"""
    for kind in ("words", "json"):
        told = run(tmp_path, script, AS=kind) + (tmp_path / ".state" / "agentkit.log").read_text()
        assert KEY not in told and "later-0123456789" not in told and told.count("[key]") > 6
        assert "short" not in told  # and a key so short that it may be part of any word is left alone
    assert "KeyError" in told


def test_a_line_of_json_has_what_the_event_has_and_the_time(tmp_path: Path) -> None:
    script = """
start(teller=Teller(True))
show(Error("network", "no \\n way", 2.5, session="s", turn="t"))
show(ToolStarted("1", "bash", {"x": float("nan"), "y": "\\ud800"}))
log.log.warning("in %s", "words")
log.log.debug("not told")
"""
    error, call, words = map(json.loads, run(tmp_path, script).splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", error.pop("time"))
    event = {"type": "error", "session": "s", "turn": "t", "category": "network", "message": "no \n way"}
    assert error == {**event, "retry_after": 2.5}
    assert call["arguments"]["x"] is None
    del words["time"]
    assert words == {"type": "notice", "session": "", "turn": "", "text": "in words", "level": "warn"}
    assert [each[20:25] for each in lines(tmp_path)] == ["error", "info ", "warn "]  # in words, for people


def test_journald_gets_the_level_as_it_wants_it_and_no_date(tmp_path: Path) -> None:
    script = "start(teller=Teller())\nlog.log.info('one')\nlog.log.error('two')"
    reading, writing = os.pipe()
    info = os.fstat(writing)
    with os.fdopen(reading) as told:
        for stream, wanted in ((f"{info.st_dev}:{info.st_ino}", "<6>one\n<3>two\n"), ("1:2", None)):
            subprocess.run(
                [sys.executable, "-c", BEGIN + script + END, str(tmp_path)],
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "JOURNAL_STREAM": stream},
                stderr=writing,
                check=True,
            )
            found = told.readline() + told.readline()
            assert found == wanted or (wanted is None and LINE.match(found))  # it may be another's stderr
        os.close(writing)
    assert LINE.fullmatch(lines(tmp_path)[0])


def test_processes_that_share_a_log_lose_no_line_and_tear_none_when_it_is_full(tmp_path: Path) -> None:
    script = "start()\nfor n in range(2500): log.log.info('%s %d %s', sys.argv[2], n, 'x' * 150)"
    command = [sys.executable, "-c", BEGIN + script, str(tmp_path)]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    running = [subprocess.Popen([*command, f"p{each}"], env=env) for each in range(3)]
    assert [each.wait(WAIT * 3) for each in running] == [0, 0, 0]
    found = [each.split(" ") for name in ("agentkit.log.1", "agentkit.log") for each in lines(tmp_path, name)]
    assert sorted((each[4], int(each[5])) for each in found) == [(f"p{p}", n) for p in range(3) for n in range(2500)]
    assert all(each[6] == "x" * 150 for each in found)
    for name in ("agentkit.log.1", "agentkit.log"):
        assert (tmp_path / ".state" / name).stat().st_mode & 0o777 == 0o600


def test_what_comes_before_the_workspace_is_written_when_it_is_there(tmp_path: Path) -> None:
    place = tmp_path / "w"
    run(place, "start()\nlog.log.info('one')\nassert not workspace.exists()\nworkspace.mkdir()\nlog.log.info('two')")
    assert [each[26:] for each in lines(place)] == ["one", "two"]
    run(tmp_path / "v", "start('debug')\nlog.log.info('one')")
    assert len(lines(tmp_path / "v")) == 1


def test_a_log_that_somebody_puts_away_or_deletes_is_begun_anew(tmp_path: Path) -> None:
    file = tmp_path / ".state" / "agentkit.log"
    file.parent.mkdir()
    file.write_text("old\n")
    file.chmod(0o644)
    script = f"""
start()
file = Path({str(file)!r})
log.log.info("one")
file.rename(file.with_name("put-away"))
log.log.info("two")
assert file.read_text().endswith("two\\n")
log.reopen()
file.unlink()
log.log.info("three")
"""
    run(tmp_path, script)
    assert [each[26:] for each in lines(tmp_path)] == ["three"]
    assert lines(tmp_path, "put-away")[0] == "old" and lines(tmp_path, "put-away")[1].endswith("one")
    assert {each.stat().st_mode & 0o777 for each in file.parent.iterdir()} == {0o600}


@pytest.mark.parametrize("what", ["fifo", "folder", "file for the folder"])
def test_a_log_that_cannot_be_written_is_not_in_the_way(tmp_path: Path, what: str) -> None:
    state = tmp_path / ".state"
    if what == "file for the folder":
        state.touch()
    else:
        state.mkdir()
        (os.mkfifo if what == "fifo" else os.mkdir)(state / "agentkit.log")
    assert run(tmp_path, "start(teller=Teller())\nfor n in range(3): log.log.info('%d', n)").count("\n") == 3


def test_a_line_that_a_full_disk_has_cut_off_is_not_gone_on_with(tmp_path: Path) -> None:
    script = """
import resource
start()
log.log.info("x" * 500)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
for _ in range(3): log.log.info("y" * 600)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.log.info("whole")
"""
    run(tmp_path, script)
    assert LINE.fullmatch(lines(tmp_path)[0]) and lines(tmp_path)[-1].endswith("info  whole")


def test_a_warning_that_is_both_logged_and_shown_is_told_once_but_each_error_of_a_turn_is_told(tmp_path: Path) -> None:
    script = """
start()
log.log.warning("the disk is full")
show(Notice("the disk is full", "warn"))
for _ in range(2): show(Error("network", "no way", session="s"))
"""
    run(tmp_path, script)
    assert [each[20:] for each in lines(tmp_path)] == [
        "warn  the disk is full",
        *["error s: failed (network): no way"] * 2,
    ]
