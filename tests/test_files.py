"""Confined opening and atomic replacing, with real folders, links and full disks."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentkit.errors import PathRefused, ToolError
from agentkit.files import Fence, open_in, real_path, replace_in

SECRET = b"what nobody may read"


class World:
    """A working directory, a workspace and what is outside of both."""

    def __init__(self, base: Path) -> None:
        self.cwd, self.ws, self.outside = base / "cwd", base / "ws", base / "outside"
        for each in (self.cwd / "sub", self.ws / "sessions" / "key", self.outside):
            each.mkdir(parents=True)
        self.roots = (self.cwd, self.ws)
        self.closed = (self.ws / "sessions", self.cwd / "settings.conf")
        (self.cwd / "file.txt").write_bytes(b"inside")
        (self.cwd / "sub" / "deep.txt").write_bytes(b"deep")
        (self.ws / "note.md").write_bytes(b"note")
        self.secrets = [
            self.outside / "secret.txt",
            self.ws / "sessions" / "key" / "chat.jsonl",
            *(self.cwd / name for name in ("settings.conf", ".env", ".ENV.local", ".envrc")),
            *(self.ws / ".state" / name for name in ("token", "deep/token")),
        ]
        for each in self.secrets:
            each.parent.mkdir(parents=True, exist_ok=True)
            each.write_bytes(SECRET)
        self.link("file-link", self.outside / "secret.txt")
        self.link("up-link", "../outside/secret.txt")
        self.link("dir-link", self.outside)
        self.link("dangling", "../outside/missing.txt")
        self.link("dangling-dir", "../outside/missing/x")
        self.link("hop", "hop2")
        self.link("hop2", "sub/hop3")
        self.link("sub/hop3", "../file-link")
        self.link("slash", "/")
        self.link("root", "/proc/self/root")
        self.link("proc-cwd", "/proc/self/cwd")
        self.link("fd", "/proc/self/fd")
        self.link("to-env", ".env")
        self.link("to-state", self.ws / ".state")
        self.link("to-sessions", "../ws/sessions")
        self.link("detour", "../outside/../cwd/file.txt")
        os.link(self.cwd / "settings.conf", self.cwd / "hard.txt")
        os.link(self.ws / "sessions" / "key" / "chat.jsonl", self.ws / "hard.jsonl")

    def link(self, name: str, target: str | Path) -> None:
        os.symlink(target, self.cwd / name)

    def read(self, path: str) -> bytes:
        fd = open_in(path, self.roots, os.O_RDONLY, closed=self.closed)
        with open(fd, "rb") as file:
            return file.read()

    def path(self, text: str) -> str:
        return text.format(cwd=self.cwd, ws=self.ws, outside=self.outside)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(Path(os.path.realpath(tmp_path)))


OUTSIDE = [
    "..",
    "../outside/secret.txt",
    "sub/../../outside/secret.txt",
    "missing/../../outside/secret.txt",
    "./sub/.././../outside/secret.txt",
    "../cwd-beside/x",
    "{outside}",
    "{outside}/secret.txt",
    "{outside}/missing/at/all.txt",
    "{outside}/secret.txt/not-a-folder",
    "{cwd}/../outside/secret.txt",
    "{cwd}x/secret.txt",
    "//{outside}/secret.txt",
    "/",
    "/etc/passwd",
    "/proc/self/root{outside}/secret.txt",
    "/proc/self/cwd/..",
    "/proc/self/cwd/../../../etc/passwd",
    "/dev/null",
    "file-link",
    "up-link",
    "dir-link",
    "dir-link/secret.txt",
    "dir-link/missing.txt",
    "dangling",
    "dangling-dir/y",
    "hop",
    "sub/hop3",
    "slash{outside}/secret.txt",
    "slash/etc/passwd",
    "root{outside}/secret.txt",
    "root/etc/passwd",
    "proc-cwd/x",
    "fd/0",
    "detour",
]
CLOSED = [
    ".env",
    "sub/../.env",
    ".ENV",
    ".Env.Local",
    ".ENV.local",
    ".envrc",
    ".env.production/missing",
    "sub/.env.example.local",
    "\uff0eenv",
    "{cwd}/.env",
    "to-env",
    "{ws}/.state/token",
    "{ws}/.STATE/token",
    "{ws}/.\u017ftate/token",
    "{ws}/.state",
    "to-state",
    "to-state/deep/token",
    ".state/new",
    "settings.conf",
    "SETTINGS.CONF",
    "sub/../settings.conf",
    "hard.txt",
    "{ws}/hard.jsonl",
    "{ws}/sessions",
    "{ws}/sessions/key/chat.jsonl",
    "{ws}/Sessions/key/chat.jsonl",
    "{ws}/sessions/missing",
    "to-sessions/key/chat.jsonl",
]
NO_NAMES = ["", "~", "~/file.txt", "~root/x", "file\0.txt", "\0", "lone\ud800"]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize("path", OUTSIDE)
def test_the_outside_is_refused_in_the_same_words_whatever_is_there(world: World, path: str) -> None:
    path = world.path(path)
    for flags in (os.O_RDONLY, os.O_RDONLY | os.O_DIRECTORY, os.O_WRONLY | os.O_CREAT | os.O_TRUNC):
        with pytest.raises(PathRefused) as refused:
            open_in(path, world.roots, flags, closed=world.closed)
        assert str(refused.value) == f"{path} is outside the folders that tools may use ({world.cwd}, {world.ws})"
    with pytest.raises(PathRefused, match="outside the folders"):
        real_path(path, world.roots)
    with pytest.raises(PathRefused, match="outside the folders"):
        replace_in(path, world.roots, b"changed", closed=world.closed)
    assert [each.read_bytes() for each in world.secrets] == [SECRET] * len(world.secrets)
    assert os.listdir(world.outside) == ["secret.txt"]


@pytest.mark.parametrize("path", CLOSED)
def test_what_is_closed_stays_so_under_every_name(world: World, path: str) -> None:
    path = world.path(path)
    before = sorted(world.cwd.rglob("*")) + sorted(world.ws.rglob("*"))
    for flags in (os.O_RDONLY, os.O_WRONLY | os.O_CREAT | os.O_TRUNC):
        with pytest.raises(PathRefused, match=r"is closed to tools: "):
            open_in(path, world.roots, flags, closed=world.closed)
    with pytest.raises(PathRefused, match=r"is closed to tools: "):
        replace_in(path, world.roots, b"changed", closed=world.closed)
    assert [each.read_bytes() for each in world.secrets] == [SECRET] * len(world.secrets)
    assert sorted(world.cwd.rglob("*")) + sorted(world.ws.rglob("*")) == before


@pytest.mark.parametrize("path", NO_NAMES)
def test_what_names_no_file_is_refused(world: World, path: str) -> None:
    with pytest.raises(PathRefused):
        world.read(path)
    with pytest.raises(PathRefused):
        replace_in(path, world.roots, b"")
    with pytest.raises(PathRefused):
        real_path(path, world.roots)


@pytest.mark.parametrize(
    ("path", "real", "text"),
    [
        ("file.txt", "{cwd}/file.txt", b"inside"),
        ("./sub//deep.txt", "{cwd}/sub/deep.txt", b"deep"),
        ("sub/../file.txt", "{cwd}/file.txt", b"inside"),
        ("../cwd/file.txt", "{cwd}/file.txt", b"inside"),
        ("../ws/note.md", "{ws}/note.md", b"note"),
        ("{ws}/note.md", "{ws}/note.md", b"note"),
        ("{cwd}/../ws/note.md", "{ws}/note.md", b"note"),
        ("good/deep.txt", "{cwd}/sub/deep.txt", b"deep"),
        ("absolute", "{cwd}/file.txt", b"inside"),
        ("across", "{ws}/note.md", b"note"),
        ("sub/up", "{cwd}/file.txt", b"inside"),
        ("through", "{cwd}/file.txt", b"inside"),
        ("good/../file.txt", "{cwd}/file.txt", b"inside"),
        (".env.example", "{cwd}/.env.example", b"example"),
        ("./~", "{cwd}/~", b"tilde"),
    ],
)
def test_links_that_stay_inside_work(world: World, path: str, real: str, text: bytes) -> None:
    world.link("good", "sub")
    world.link("absolute", world.cwd / "file.txt")
    world.link("across", "../ws/note.md")
    world.link("sub/up", ".././/file.txt")
    world.link("through", "good/../file.txt")
    (world.cwd / ".env.example").write_bytes(b"example")
    (world.cwd / "~").write_bytes(b"tilde")
    assert world.read(world.path(path)) == text
    assert real_path(world.path(path), world.roots) == world.path(real)


def test_a_links_target_goes_up_from_where_it_leads_as_for_every_other_program(world: World) -> None:
    (world.ws / "a" / "b").mkdir(parents=True)
    (world.ws / "a" / "here.txt").write_bytes(b"the real one")
    world.link("far", world.ws / "a" / "b")
    world.link("up", "far/../here.txt")
    assert world.read("up") == (world.cwd / "up").read_bytes() == b"the real one"


def test_links_in_a_circle_end(world: World) -> None:
    world.link("one", "two")
    world.link("two", "one")
    world.link("deeper", "deeper/deeper")
    for path in ("one", "deeper"):
        with pytest.raises(OSError, match="symbolic links") as failed:
            world.read(path)
        assert failed.value.errno == errno.ELOOP
        with pytest.raises(ToolError, match="symbolic links"):
            real_path(path, world.roots)


def test_a_root_may_be_named_by_a_link_that_leads_to_it(world: World, tmp_path: Path) -> None:
    alias = tmp_path / "alias"
    alias.symlink_to(world.cwd)
    assert world.read(f"{alias}/sub/deep.txt") == b"deep"
    assert real_path(f"{alias}/new.txt", world.roots) == f"{world.cwd}/new.txt"
    fd, real = Fence([alias]).open("file.txt", os.O_RDONLY)
    os.close(fd)
    assert real == f"{world.cwd}/file.txt"
    with pytest.raises(PathRefused, match="outside"):
        world.read(f"{alias}/file-link")
    with pytest.raises(PathRefused, match="outside"):
        world.read(f"{alias}/../outside/secret.txt")


def test_a_root_that_becomes_a_link_does_not_move(world: World) -> None:
    assert world.read("../ws/note.md") == b"note"
    (world.outside / "note.md").write_bytes(SECRET)
    world.ws.rename(world.ws.with_name("away"))
    world.ws.symlink_to(world.outside)
    for path in ("../ws/note.md", f"{world.ws}/note.md"):
        with pytest.raises(OSError):
            world.read(path)


def test_the_root_of_all_files_is_a_root_like_others(world: World) -> None:
    roots = (Path("/"),)
    for path in (f"{world.cwd}/file.txt", f".{world.cwd}/file.txt", f"../../..{world.cwd}/file.txt"):
        fd = open_in(path, roots, os.O_RDONLY)
        assert os.read(fd, 10) == b"inside"
        os.close(fd)
    os.close(open_in("/", roots, os.O_RDONLY | os.O_DIRECTORY))
    with pytest.raises(PathRefused, match="closed"):
        open_in(f"{world.cwd}/.env", roots, os.O_RDONLY)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize("path", ["/proc/self/environ", "/proc/thread-self/environ", "/proc/{pid}/environ"])
def test_the_environment_of_a_process_is_closed(path: str) -> None:
    with pytest.raises(PathRefused, match="closed"):
        open_in(path.format(pid=os.getpid()), (Path("/"),), os.O_RDONLY)


def test_a_root_may_be_inside_another_and_inside_what_is_closed_elsewhere(world: World) -> None:
    inner = world.cwd / ".env.d" / "project"
    inner.mkdir(parents=True)
    (inner / "code.py").write_bytes(b"code")
    roots = (inner, world.cwd)
    for path in ("code.py", f"{inner}/code.py"):
        fd = open_in(path, roots, os.O_RDONLY)
        assert os.read(fd, 10) == b"code"
        os.close(fd)
    assert real_path("../../file.txt", roots) == f"{world.cwd}/file.txt"
    with pytest.raises(PathRefused, match="closed"):
        open_in("../x", roots, os.O_RDONLY)


def test_a_link_in_the_place_of_an_inner_root_is_seen_from_the_outer_one(world: World) -> None:
    (world.cwd / "inner").symlink_to(world.outside)
    roots = (world.cwd, world.cwd / "inner")
    with pytest.raises(PathRefused):
        open_in(f"{world.cwd}/inner/../dir-link/secret.txt", roots[:1], os.O_RDONLY)
    with pytest.raises(PathRefused):
        open_in("inner/secret.txt", roots[:1], os.O_RDONLY)


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_CREAT | os.O_TRUNC])
def test_what_is_no_file_is_neither_opened_nor_waited_for(world: World, flags: int) -> None:
    os.mkfifo(world.cwd / "fifo")
    world.link("to-fifo", "fifo")
    with socket.socket(socket.AF_UNIX) as listener, tempfile.TemporaryDirectory() as short:
        listener.bind(f"{short}/socket")  # a socket's path may have 100 characters only
        os.rename(f"{short}/socket", world.cwd / "socket")
        for path in ("fifo", "to-fifo", "socket"):
            with pytest.raises(ToolError, match="not a regular file"):
                open_in(path, world.roots, flags)
            with pytest.raises(ToolError, match="not a regular file"):
                replace_in(path, world.roots, b"")
    with pytest.raises(ToolError, match="not a regular file"):
        open_in("/dev/null", (Path("/"),), flags)


@pytest.mark.parametrize(
    ("path", "flags", "number"),
    [
        ("missing.txt", os.O_RDONLY, errno.ENOENT),
        ("missing/x.txt", os.O_RDONLY, errno.ENOENT),
        ("missing/x.txt", os.O_WRONLY | os.O_CREAT, errno.ENOENT),
        ("file.txt/x", os.O_RDONLY, errno.ENOTDIR),
        ("file.txt", os.O_RDONLY | os.O_DIRECTORY, errno.ENOTDIR),
        ("sub", os.O_WRONLY, errno.EISDIR),
        ("x" * 300, os.O_RDONLY, errno.ENAMETOOLONG),
        ("x/" * 3000 + "y", os.O_RDONLY, errno.ENAMETOOLONG),
        ("file.txt", os.O_WRONLY | os.O_CREAT | os.O_EXCL, errno.EEXIST),
    ],
)
def test_inside_errors_are_those_of_the_system(world: World, path: str, flags: int, number: int) -> None:
    with pytest.raises(OSError) as failed:
        open_in(path, world.roots, flags)
    assert failed.value.errno == number


def test_files_are_opened_as_the_flags_say(world: World) -> None:
    fd = open_in("sub/new.txt", world.roots, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    assert not os.get_inheritable(fd)
    os.write(fd, b"12345")
    os.close(fd)
    new = world.cwd / "sub" / "new.txt"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(new.stat().st_mode) == 0o640 & ~umask
    os.close(open_in("sub/new.txt", world.roots, os.O_WRONLY | os.O_TRUNC))
    assert new.read_bytes() == b""
    fd = open_in("sub", world.roots, os.O_RDONLY)
    assert os.listdir(fd) == os.listdir(world.cwd / "sub")
    os.close(fd)
    fd = open_in(".", world.roots, os.O_RDONLY | os.O_DIRECTORY)
    assert "file.txt" in os.listdir(fd)
    os.close(fd)


def test_no_descriptor_is_left_open(world: World) -> None:
    def count() -> int:
        return len(os.listdir("/dev/fd"))

    before = count()
    for path in (*OUTSIDE, *CLOSED, *NO_NAMES, "missing/x", "file.txt/x", "sub", "file.txt"):
        for flags in (os.O_RDONLY, os.O_WRONLY):
            try:
                os.close(open_in(world.path(path), world.roots, flags, closed=world.closed))
            except (ToolError, OSError):
                pass
    assert count() == before


def test_the_real_path_of_what_does_not_exist_yet_is_where_it_would_be(world: World) -> None:
    world.link("good", "sub")
    world.link("later", "good/later/folder")
    assert real_path("new.txt", world.roots) == f"{world.cwd}/new.txt"
    assert real_path("good/a/b.txt", world.roots) == f"{world.cwd}/sub/a/b.txt"
    assert real_path("later/x", world.roots) == f"{world.cwd}/sub/later/folder/x"
    assert real_path(".", world.roots) == str(world.cwd)
    with pytest.raises(ToolError, match="Not a directory"):
        real_path("file.txt/x", world.roots)


# -- links that are swapped meanwhile


@pytest.fixture
def swapping(world: World) -> Iterator[threading.Event]:
    """Another thread turns `turning` and `turning-dir` inside and outside as fast as it can."""
    (world.cwd / "sub" / "secret.txt").write_bytes(b"deep")
    (world.cwd / "sub" / "deep.txt").unlink()
    stop, begun = threading.Event(), threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for base in ("sub", "../outside"):
                for name, target in (("turning", f"{base}/secret.txt"), ("turning-dir", base)):
                    os.symlink(target, world.cwd / "next")
                    os.rename(world.cwd / "next", world.cwd / name)
            begun.set()

    thread = threading.Thread(target=swap)
    thread.start()
    assert begun.wait(30)
    yield begun
    stop.set()
    thread.join()


def test_no_read_leaks_while_links_are_swapped(world: World, swapping: threading.Event) -> None:
    seen = {"turning": set(), "turning-dir/secret.txt": set()}
    for _ in range(1500):
        for path, results in seen.items():
            try:
                results.add(world.read(path))
            except PathRefused:
                results.add(b"refused")
    assert all(results <= {b"deep", b"refused"} for results in seen.values())
    assert any(b"deep" in results for results in seen.values())


def test_no_write_leaks_while_links_are_swapped(world: World, swapping: threading.Event) -> None:
    written = 0
    for _ in range(150):
        for path in ("turning", "turning-dir/secret.txt", "turning-dir/new.txt"):
            try:
                replace_in(path, world.roots, b"deep")
                written += 1
            except PathRefused:
                pass
    assert written
    assert os.listdir(world.outside) == ["secret.txt"]
    assert (world.outside / "secret.txt").read_bytes() == SECRET


def test_a_folder_that_becomes_a_link_and_back_never_leaks(world: World) -> None:
    stop, begun = threading.Event(), threading.Event()
    (world.cwd / "kept").mkdir()
    (world.cwd / "kept" / "secret.txt").write_bytes(b"deep")
    (world.cwd / "link").symlink_to(world.outside)

    def swap() -> None:
        while not stop.is_set():
            os.rename(world.cwd / "kept", world.cwd / "turning")
            begun.set()
            os.rename(world.cwd / "turning", world.cwd / "kept")
            os.rename(world.cwd / "link", world.cwd / "turning")
            os.rename(world.cwd / "turning", world.cwd / "link")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        assert begun.wait(30)
        for _ in range(1500):
            try:
                assert world.read("turning/secret.txt") == b"deep"
            except (PathRefused, FileNotFoundError):
                pass
    finally:
        stop.set()
        thread.join()


# -- replacing


def test_a_file_is_replaced_with_its_mode_and_folders_are_made(world: World) -> None:
    file = world.cwd / "file.txt"
    file.chmod(0o751)
    replace_in("file.txt", world.roots, b"new")
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"new", 0o751)
    replace_in("file.txt", world.roots, b"newer", mode=0o600)
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"newer", 0o600)
    replace_in("a/b/c.txt", world.roots, b"made")
    made = world.cwd / "a" / "b" / "c.txt"
    umask = os.umask(0)
    os.umask(umask)
    assert (made.read_bytes(), stat.S_IMODE(made.stat().st_mode)) == (b"made", 0o666 & ~umask)
    replace_in("n" * 255, world.roots, b"a name as long as can be")
    assert (world.cwd / ("n" * 255)).exists()


def test_a_link_is_written_through(world: World) -> None:
    world.link("good", "sub/deep.txt")
    world.link("later", "sub/new/file.txt")
    replace_in("good", world.roots, b"through")
    replace_in("later", world.roots, b"made")
    assert (world.cwd / "good").is_symlink()
    assert (world.cwd / "sub" / "deep.txt").read_bytes() == b"through"
    assert (world.cwd / "sub" / "new" / "file.txt").read_bytes() == b"made"


@pytest.mark.parametrize("path", ["sub", ".", "{ws}", "sub/"])
def test_a_folder_is_not_replaced(world: World, path: str) -> None:
    with pytest.raises(IsADirectoryError):
        replace_in(world.path(path), world.roots, b"")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_that_may_not_be_written_is_not_replaced(world: World) -> None:
    (world.cwd / "file.txt").chmod(0o444)
    with pytest.raises(PermissionError):
        replace_in("file.txt", world.roots, b"new")


@pytest.mark.parametrize("limit", [0, 4096, 100_000])
def test_where_the_disk_is_full_the_old_file_stays_whole_and_nothing_else(world: World, limit: int) -> None:
    code = f"""
import resource, sys
from pathlib import Path
from agentkit.files import replace_in
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
for attempt in (
    lambda: replace_in("file.txt", (Path({str(world.cwd)!r}),), b"x" * 200_000),
    lambda: replace_in("new.txt", (Path({str(world.cwd)!r}),), b"x" * 200_000),
):
    try:
        attempt()
    except OSError as error:
        print(error.errno)
"""
    before = sorted(os.listdir(world.cwd))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == [str(errno.EFBIG)] * 2
    assert sorted(os.listdir(world.cwd)) == before
    assert (world.cwd / "file.txt").read_bytes() == b"inside"


def test_readers_see_the_old_file_or_the_new_one_and_no_other(world: World) -> None:
    texts = {b"a" * 300_000, b"b" * 200_000}
    replace_in("file.txt", world.roots, min(texts))
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for text in texts:
                replace_in("file.txt", world.roots, text)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert {world.read("file.txt") for _ in range(200)} <= texts
    finally:
        stop.set()
        thread.join()
    assert [name for name in os.listdir(world.cwd) if name.endswith(".tmp")] == []


def test_a_process_that_is_killed_leaves_the_old_file_or_the_new_one(world: World) -> None:
    code = f"""
from pathlib import Path
from agentkit.files import replace_in
print("begun", flush=True)
while True:
    for letter in b"ab":
        replace_in("file.txt", (Path({str(world.cwd)!r}),), bytes([letter]) * 1_000_000)
"""
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
            assert process.stdout and process.stdout.readline()
            while world.read("file.txt") == b"inside":
                pass
            process.kill()
        assert world.read("file.txt") in (b"a" * 1_000_000, b"b" * 1_000_000)
