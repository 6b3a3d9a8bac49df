"""The workspace on disk: can it be written, locked, who can read what is private, who works in it."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile

from ..background import Background
from . import Case, Finding, fail, ok, warn

ROOM = 100 << 20  # bytes that should be free
SHOWN = 10  # names in one line
KEPT = (".state", "sessions", ".agents", "CRON.json", "routes.json")  # what the program writes to


def check(case: Case) -> Iterator[Finding]:
    root = case.workspace
    if not os.path.isdir(root):
        yield from _absent(root)
        return
    if why := _why_not(root):
        words = f"{root} cannot be written ({why}): the chat works, and nothing is saved"
        yield fail(words, "set WORKSPACE_DIR to a folder you may write to, or make room on its disk")
    else:
        yield ok(f"the workspace {root} can be written")
        yield from _others(root)
        yield from _locks(root)
    free = shutil.disk_usage(root).free
    if free < ROOM:
        words = f"{free >> 20} MB are free on the disk of {root}"
        yield warn(words, "make room: what cannot be saved is kept in memory only")
    yield from _private(root / ".state")
    if who := background(root).elsewhere():
        yield ok(f"process {who} does the background work of this workspace")


def background(root: Path) -> Background:
    """To look who does the background work of a workspace, never to do it."""
    return Background(root / ".state", "doctor", lambda: None, lambda timeout: None, lambda who: None)


def _absent(root: Path) -> Iterator[Finding]:
    cure = "set WORKSPACE_DIR to a folder you may write to"
    above = next(each for each in (*root.parents, Path("/")) if os.path.isdir(each))
    if os.path.lexists(root):
        yield fail(f"the workspace {root} is no folder", cure)
    elif above != root.parent:
        yield fail(f"the workspace {root} cannot be made: {root.parent} is not there", f"make it, or {cure}")
    elif why := _why_not(above):
        yield fail(f"the workspace {root} cannot be made ({why})", cure)
    else:
        yield ok(f"the workspace {root} is made when the first message is saved")


def _why_not(folder: Path) -> str:
    """Why nothing can be written there, empty where it can."""
    try:
        with NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _others(root: Path) -> Iterator[Finding]:
    """What somebody else has made, as by a start with sudo."""
    places = [root / name for name in KEPT]
    places += [each for name in KEPT[:2] if os.path.isdir(root / name) for each in _inside(root / name)]
    closed = [each for each in places if os.path.lexists(each) and not os.access(each, os.W_OK)]
    if closed:
        names = _listed(str(each.relative_to(root)) for each in closed)
        cure = f"sudo chown -R {os.getuid()}:{os.getgid()} {shlex.quote(str(root))}"
        yield fail(f"these in {root} cannot be written: {names}", cure)


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _locks(root: Path) -> Iterator[Finding]:
    """Network file systems may refuse them: then two processes could do the same work."""
    try:
        with NamedTemporaryFile(dir=root, prefix=".doctor-") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        words = f"files in {root} cannot be locked ({error.strerror or error})"
        yield fail(words, "set WORKSPACE_DIR to a folder on a disk of this machine")


def _private(state: Path) -> Iterator[Finding]:
    if not os.path.isdir(state):
        return
    open_ = [path for path in (state, *_inside(state)) if _mode(path) & 0o077]
    if open_:
        names = _listed(path.name for path in open_)
        yield warn(
            f"others on this machine can read {names} in {state.parent}", f"chmod -R go= {shlex.quote(str(state))}"
        )
    else:
        yield ok(f"{state} can be read by you only")


def _mode(path: Path) -> int:
    try:
        found = path.lstat()
    except OSError:
        return 0
    return 0 if stat.S_ISLNK(found.st_mode) else stat.S_IMODE(found.st_mode)


def _listed(names: Iterator[str]) -> str:
    found = [*names]
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(found[:SHOWN]) + more
