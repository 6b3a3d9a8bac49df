"""The workspace on disk: can it be written, who can read what is private, what in it cannot be used."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile

from ..background import Background
from ..beats import Beats
from ..contacts import Contacts
from ..jobs import Jobs
from ..names import agent_id
from ..plans import Plans
from ..routes import Routes
from ..workspace import SAMPLE, Workspace
from . import Case, Finding, fail, ok, warn

ROOM = 100 << 20  # bytes that should be free
SHOWN = 10  # files that are too open, in one line


def check(case: Case) -> Iterator[Finding]:
    root = case.workspace
    if not root.is_dir():
        yield from _absent(root)
        return
    if (why := _why_not(root)) is not None:
        yield fail(
            f"{root} cannot be written ({why}): the chat works, and nothing is saved",
            "set WORKSPACE_DIR to another one",
        )
    else:
        yield ok(f"the workspace {root} can be written")
        yield from _locks(root)
    free = shutil.disk_usage(root).free
    if free < ROOM:
        yield warn(
            f"{free >> 20} MB are free on the disk of {root}", "make room: what cannot be saved is kept in memory only"
        )
    yield from _private(root / ".state")
    yield from _files(case)
    if who := Background(root / ".state", "doctor", lambda: None, lambda timeout: None, lambda who: None).elsewhere():
        yield ok(f"process {who} does the background work of this workspace")


def _absent(root: Path) -> Iterator[Finding]:
    cure = "set WORKSPACE_DIR to a folder you may write to"
    above = next((each for each in root.parents if each.is_dir()), None)
    if os.path.lexists(root):
        yield fail(f"the workspace {root} is no folder", cure)
    elif above is None or (why := _why_not(above)) is not None:
        yield fail(f"the workspace {root} cannot be made ({why if above else 'there is no folder above it'})", cure)
    else:
        yield ok(f"the workspace {root} is made when the first message is saved")


def _why_not(folder: Path) -> str | None:
    try:
        with NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.strerror or str(error)
    return None


def _locks(root: Path) -> Iterator[Finding]:
    """Network file systems may refuse them: then two processes could do the same work."""
    try:
        with NamedTemporaryFile(dir=root, prefix=".doctor-") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        why = error.strerror or error
        yield fail(
            f"files in {root} cannot be locked ({why})", "set WORKSPACE_DIR to a folder on a disk of this machine"
        )


def _private(state: Path) -> Iterator[Finding]:
    if not state.is_dir():
        return
    open_ = [path for path in (state, *sorted(state.iterdir())) if _mode(path) & 0o077]
    if open_:
        names = ", ".join(path.name for path in open_[:SHOWN])
        yield warn(f"others on this machine can read {names} in {state.parent}", f"chmod -R go= {state}")
    else:
        yield ok(f"{state} can be read by you only")


def _mode(path: Path) -> int:
    try:
        found = path.lstat()
    except OSError:
        return 0
    return 0 if stat.S_ISLNK(found.st_mode) else stat.S_IMODE(found.st_mode)


def _files(case: Case) -> Iterator[Finding]:
    """What the files of the workspace hold, as the program itself reads them."""
    root, home = case.workspace, case.environ.get("HOME")
    files = Workspace(root, case.cwd, Path(home) if home else None)
    agents = files.agents()
    for agent in agents.values():
        files.files(agent)
    wrong = [*files.notices()]
    usual = SAMPLE if SAMPLE in agents else next(iter(agents))
    wrong += Routes(root / "routes.json", lambda: agents.keys(), lambda: usual).problems()
    jobs = Jobs(root / "CRON.json").look()
    wrong += jobs.problems
    for job in jobs.jobs:
        if job.agent_id and agent_id(job.agent_id) not in agents:
            wrong.append(f"CRON.json, job {job.id}: there is no agent {job.agent_id}.")
    plans = Plans(root / ".agents", Beats(root / ".state" / "none", lambda: 0.0), Contacts(root / "none"), wrong.append)
    plans.read()
    for each in wrong:
        yield warn(each.rstrip("."), "put that file right: until then the rest counts")
    yield ok(f"agents: {', '.join(agents)}; jobs: {len(jobs.jobs)}")
