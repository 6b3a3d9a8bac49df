"""Paths that lead where no tool may go, each tried with every tool that takes one; test_file_tools.py has the plain
ones."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from agentkit.errors import PathRefused, ToolError
from agentkit.toolbox import Scope
from agentkit.tools.files import edit_file, list_dir, preview_edit, preview_write, read_file, write_file
from agentkit.tools.search import glob, grep

SECRET = "CANARY-of-the-outside"

TOOLS: dict[str, Callable[[str, Scope], str]] = {
    "read_file": lambda path, scope: str(read_file(path, scope=scope)),
    "write_file": lambda path, scope: str(write_file(path, "x", scope=scope)),
    "write_file below": lambda path, scope: str(write_file(f"{path}/new/deep.txt", "x", scope=scope)),
    "edit_file": lambda path, scope: str(edit_file(path, "CANARY", "x", scope=scope)),
    "preview of write_file": lambda path, scope: preview_write(path, "x", scope=scope),
    "preview of edit_file": lambda path, scope: preview_edit(path, "CANARY", "x", scope=scope),
    "list_dir": lambda path, scope: str(list_dir(path, scope=scope)),
    "glob in it": lambda path, scope: str(glob("**/*", path, scope=scope)),
    "glob of it": lambda path, scope: str(glob(path, scope=scope)),
    "glob below it": lambda path, scope: str(glob(f"{path}/**", scope=scope)),
    "grep": lambda path, scope: str(grep("CANARY", path, scope=scope)),
    "grep for a regex": lambda path, scope: str(grep("C[A]NARY", path, scope=scope)),
}


AS_PATTERN = ("glob of it", "glob below it")


@pytest.fixture
def scope(tmp_path: Path) -> Scope:
    """Two folders that may be used, secrets in them and beside them, and links there."""
    base = tmp_path.resolve()
    cwd, ws, outside = base / "cwd", base / "ws", base / "outside"
    for path in (
        outside / "secret.txt",
        base / "cwd-more" / "secret.txt",
        cwd / ".env",
        cwd / ".env.local",
        cwd / ".envrc",
        cwd / "src" / ".ENV",
        cwd / "keys.conf",
        ws / ".state" / "profiles.json",
        ws / ".state" / "outbox" / "1.json",
        ws / "sessions" / "other" / "chat.jsonl",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SECRET)
    for name, target in (
        ("out", "../outside"),
        ("again", "./src/../out"),
        ("src/up", "../.."),
        ("loop", "loop"),
        ("ping", "pong"),
        ("pong", "ping/x"),
        ("new", "../outside/made"),
        ("new-folder", "../outside/made/deep"),
        ("keys", "keys.conf"),
        ("keys-too", "keys"),
        ("environment", "src/../.env"),
        ("state", "../ws/.state"),
        ("others", f"{ws}/sessions/other"),
        ("root", "/proc/self/root"),
        ("fds", "/proc/self/fd"),
        ("input", "/dev/stdin"),
        ("nothing", "/dev/null"),
    ):
        os.symlink(target, cwd / name)
    for number in range(60):
        os.symlink(f"hop{number + 1}" if number < 59 else "../outside", cwd / f"hop{number}")
    os.link(ws / ".state" / "profiles.json", cwd / "profiles.txt")
    os.link(cwd / "keys.conf", cwd / "src" / "plain.txt")
    closed = (ws / ".state", ws / "sessions", cwd / "keys.conf")
    return Scope((cwd, ws), closed, unwritable=(ws / "sessions",), environment={"PATH": os.environ["PATH"]})


def left(scope: Scope) -> list[tuple[str, str]]:
    """All that must stay as it is."""
    base = scope.cwd.parent
    folders = (base / "outside", base / "cwd-more", base / "ws" / ".state", base / "ws" / "sessions")
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    files += [scope.cwd / name for name in (".env", ".env.local", ".envrc", "src/.ENV", "keys.conf")]
    return [(str(path.relative_to(base)), path.read_text()) for path in files]


WAYS = """
    src/../.. ./../cwd/../outside ../cwd-more/secret.txt ..//outside//secret.txt ../outside/ ../outside/.
    {cwd}/../outside/secret.txt //{outside}/secret.txt out/secret.txt again/secret.txt src/up/outside/secret.txt
    new new-folder hop50/secret.txt root/etc/passwd root{outside}/secret.txt fds fds/0 input nothing /dev/null
    /dev/tty /dev/fd/0 /dev/stdin /proc/self/environ /proc/self/fd/0 /proc/self/root/etc/passwd
    /proc/thread-self/environ /proc/1/environ / ~/.ssh ~nobody/x .env ./.env .env/ .env/. .env/..//.env
    src/../.env src//..//.env// .env.local .Env.Local .envrc .env.new .env~ .ｅｎｖ src/.ENV missing/../.env
    ../ws/../cwd/.env environment keys.conf keys keys-too state state/profiles.json state/outbox
    ../ws/.state/outbox/1.json {ws}/.STATE/profiles.json {ws}/sessions/../.state
    {ws}/.agents/../.state/gateway.token src/.state/new {ws}/sessions {ws}/sessions/other/chat.jsonl
    {ws}/sessions/other/../other/new.jsonl {ws}/Sessions/other/chat.jsonl others others/chat.jsonl
"""
CLOSED = [*WAYS.split(), "a\0b", ".env\0.txt", "bad\ud800name"]


@pytest.mark.parametrize("path", CLOSED)
def test_no_tool_goes_there_by_whatever_way(scope: Scope, path: str) -> None:
    path = path.format(cwd=scope.cwd, ws=scope.roots[1], outside=scope.cwd.parent / "outside")
    before = left(scope)
    for name, call in TOOLS.items():
        if name in AS_PATTERN:
            with suppress(ToolError):
                said = call(path, scope)
                # The name of a link itself is shown, as in any listing.
                assert said == path or said.startswith("nothing matches"), (name, said)
            continue
        with pytest.raises(ToolError) as refused:
            call(path, scope)
        said = str(refused.value)
        assert SECRET not in said and len(said) < 1000 and "\n" not in said.replace(path, ""), name
        assert isinstance(refused.value, PathRefused) or "preview" not in name, (name, said)
    assert left(scope) == before
    assert sorted(os.listdir(scope.cwd.parent)) == ["cwd", "cwd-more", "outside", "ws"]


DEAD_ENDS = [
    "hop0/secret.txt",
    "loop",
    "loop/x",
    "ping",
    "ping/y",
    "hop0" + "/x" * 2000,
    "n" * 256,
    "n" * 5000,
    "d/" * 3000 + "x",
]


@pytest.mark.parametrize("path", DEAD_ENDS, ids=lambda path: path[:12])
def test_a_path_that_leads_nowhere_is_told_in_a_sentence(scope: Scope, path: str) -> None:
    for name, call in TOOLS.items():
        if name in AS_PATTERN:
            continue  # a pattern: it matches nothing, or is refused as a path is
        with pytest.raises(ToolError) as refused:
            call(path, scope)
        assert "\n" not in str(refused.value) and "Traceback" not in str(refused.value), name
    assert not any(name.startswith("nnn") or name == "d" for name in os.listdir(scope.cwd))


@pytest.mark.parametrize(
    "name", ["two\nlines.txt", "tab\there", "bell\x07\x1b[31m", "\udcff\udcfe.txt", " ", "-rf", "*"]
)
def test_a_name_that_is_odd_but_possible_is_one_file_like_any_other(scope: Scope, name: str) -> None:
    write_file(name, "plum\n", scope=scope)
    assert (scope.cwd / name).read_bytes() == b"plum\n"
    assert read_file(name, scope=scope) == "1\tplum"
    edit_file(name, "plum", "pear", scope=scope)
    assert (scope.cwd / name).read_bytes() == b"pear\n"
    shown = "".join((list_dir(scope=scope), glob("*", scope=scope), grep("pear", scope=scope)))
    assert "\x1b" not in shown and "\x07" not in shown and "pear" in shown
    shown.encode()


# What climbs by a pattern. Those that a person may mean find what is inside, the others are refused.
PATTERNS = r"""
    ../* ../** **/../.. **/../../outside/* */../../outside/* {..,src}/* src/up/* src/up/** out/* root/etc/*
    [.][.]/* ?./outside/* **/.env **/.e?v* .[e]nv **/.state/** */*/.ENV {outside}/* {,/}etc/*
    /proc/[0-9]*/environ /proc/self/* ~/* ..\*
"""
CLIMBING = [*PATTERNS.split(), "**/" * 40 + "*"]


@pytest.mark.parametrize("pattern", CLIMBING)
def test_a_pattern_shows_nothing_of_the_outside_or_of_what_is_closed(scope: Scope, pattern: str) -> None:
    for path in (".", str(scope.roots[1]), "src"):
        for tool, given in ((glob, (pattern, path)), (grep, ("CANARY", path, pattern))):
            try:
                said = str(tool(*given, scope=scope))
            except ToolError as error:
                said = str(error)
            assert SECRET not in said and "secret.txt" not in said and "profiles.json" not in said
            assert ".env" not in said.replace(pattern, "").lower() and "chat.jsonl" not in said


def test_a_search_of_everything_passes_over_what_is_closed(scope: Scope) -> None:
    (scope.cwd / "src" / "open.txt").write_text(SECRET)
    assert grep("CANARY", scope=scope).split("\n")[0] == f"src/open.txt:1: {SECRET}"
    assert grep("CANARY", str(scope.roots[1]), scope=scope).split("\n")[0] == "no line matches CANARY"
    found = glob("**/*", scope=scope).split("\n")
    assert "src/open.txt" in found and not any(".env" in each.lower() for each in found)
    assert not any("secret" in each for each in found)  # links are names, and nobody goes along them


# -- what is no file


@pytest.fixture
def bound(scope: Scope) -> Iterator[None]:
    """Things that are no files: a read or write of one could wait for ever, or reach another program."""
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.getcwd()
        os.chdir(scope.cwd)  # the path of a socket is short
        try:
            listening.bind("socket")
        finally:
            os.chdir(here)
        os.mkfifo(scope.cwd / "fifo")
        os.symlink("fifo", scope.cwd / "to-fifo")
        yield


@pytest.mark.parametrize("name", ["fifo", "socket", "to-fifo"])
def test_nobody_waits_for_what_is_no_file(scope: Scope, bound: None, name: str) -> None:
    for tool, call in TOOLS.items():
        if tool.startswith("glob"):
            continue
        with pytest.raises(ToolError):
            call(name, scope)
    assert name in glob("*", scope=scope).split("\n")
    assert grep("CANARY", scope=scope)
    assert f"{name}  no regular file" in list_dir(scope=scope) or "->" in list_dir(scope=scope)


def test_a_file_of_terabytes_costs_nobody_more_than_others(scope: Scope) -> None:
    with open(scope.cwd / "huge.txt", "wb") as file:
        file.write(b"CANARY first\n" * 1000)
        file.flush()
        os.truncate(file.fileno(), 1 << 42)
    assert read_file("huge.txt", limit=1, scope=scope).startswith("1\tCANARY first\n[more: offset=2")
    with pytest.raises(ToolError, match="sed"):
        read_file("huge.txt", 2000, scope=scope)
    with pytest.raises(ToolError, match="more than"):
        edit_file("huge.txt", "CANARY", "x", scope=scope)
    assert "not searched: 1 larger than" in grep("CANARY", "huge.txt", scope=scope)
    assert "[not searched: 1 larger than" in grep("CANARY", scope=scope)
    preview_write("huge.txt", "x", scope=scope)


# -- other names of one file


def test_what_holds_for_other_names_of_one_file(scope: Scope) -> None:
    """A hard link inside is a file like any other: it may be read, as whoever made it could have copied the text. A
    write through it never reaches the other name, and one of what is closed is as closed as that."""
    outside = scope.cwd.parent / "outside" / "secret.txt"
    os.link(outside, scope.cwd / "linked.txt")
    assert SECRET in read_file("linked.txt", scope=scope)
    edit_file("linked.txt", "CANARY", "x", scope=scope)
    write_file("linked.txt", "y", scope=scope)
    assert outside.read_text() == SECRET and outside.stat().st_nlink == 1
    for name in ("profiles.txt", "src/plain.txt"):
        for tool in ("read_file", "write_file", "edit_file", "grep"):
            with pytest.raises(ToolError):
                TOOLS[tool](name, scope)
    assert "profiles.txt:" not in grep("CANARY", scope=scope)


def test_a_folder_on_the_way_that_is_swapped_for_a_link_leads_no_tool_out(scope: Scope) -> None:
    """The swap is of a folder in the middle of the path, by two renames; that of a link is in test_file_tools.py."""
    (scope.cwd / "a" / "b").mkdir(parents=True)
    (scope.cwd / "a" / "b" / "secret.txt").write_text("fine")
    os.symlink("../../outside", scope.cwd / "a" / "away")
    stop, begun = threading.Event(), threading.Event()

    def swap() -> None:
        names = scope.cwd / "a"
        while not stop.is_set():
            for old, new in (("b", "real"), ("away", "b"), ("b", "away"), ("real", "b")):
                os.rename(names / old, names / new)
            begun.set()

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        assert begun.wait(30)
        for _ in range(100):
            for name in ("read_file", "edit_file", "grep", "list_dir", "glob in it"):
                with suppress(ToolError):
                    assert SECRET not in TOOLS[name](
                        "a/b" if name in ("list_dir", "glob in it") else "a/b/secret.txt", scope
                    )
    finally:
        stop.set()
        thread.join()
    assert os.listdir(scope.cwd.parent / "outside") == ["secret.txt"]
    assert (scope.cwd.parent / "outside" / "secret.txt").read_text() == SECRET
