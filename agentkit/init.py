"""`agentkit init`: a .env and a workspace, question by question. It adds to what is there and changes none of it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from .dialogue import say
from .envfile import Envfile
from .errors import SettingsError
from .files import real
from .gitignore import is_exposed
from .interview import ASKED, KEY, URL, Interview, is_set, kept, meant
from .invocation import command
from .printable import printable
from .settings import VARIABLES, load
from .workspace import Workspace, shown
from .workspace import folder as workspace_folder

_LLM = [each.name.replace("<n>", "[1-9][0-9]*") for each in VARIABLES if each.name.startswith("LLM_")]


def init(folder: Path, environ: Mapping[str, str]) -> int:
    """Set up a folder; returns the exit code: 0 done, 1 it could not be written, 2 what is there is in the way, 130 the
    person has left, and nothing is written.

    On a terminal it asks, elsewhere it takes what the environment sets. folder: made, if its parent is there.
    """
    written: list[str] = []
    try:
        with _ended_cleanly():
            setup = _Setup(folder, environ, written)
            if sys.stdin.isatty() and sys.stdout.isatty():
                say(f"This sets up agentkit in {setup.name}. Ctrl-C leaves, and nothing is written.")
                say()
                values = Interview(setup.env, environ).answers()
                say()
            else:
                values = _given(setup.env, environ)
            setup.write(values)
            setup.conclude()
            return 0
    except (KeyboardInterrupt, EOFError):
        with suppress(OSError):  # the terminal may be what has gone
            say()
            say(f"Left. {' '.join(written) or 'Nothing has been written.'}")
        return 130
    except SettingsError as error:
        code, problems = 2, [*error.problems, *written]
    except BrokenPipeError:  # who reads this has gone: nothing can be said
        raise
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        code, problems = 1, [f"{what}{error.strerror or error}. {' '.join(written) or 'Nothing has been written.'}"]
    print("agentkit init cannot go on:", *map(printable, problems), sep="\n  ", file=sys.stderr)
    return code


@contextmanager
def _ended_cleanly() -> Iterator[None]:
    """Have whoever ends this process take the ways out of it: no half file stays, and the terminal echoes again."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    deadly = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is signal.SIG_DFL]
    for each in deadly:
        signal.signal(each, end)
    try:
        yield
    finally:
        for each in deadly:
            signal.signal(each, signal.SIG_DFL)


@contextmanager
def _failing_as(what: str) -> Iterator[None]:
    """Have an OSError name this: the file that was being made beside it tells nobody anything."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), what) from None


def _given(env: Envfile, environ: Mapping[str, str]) -> dict[str, str]:
    """What the environment sets and the file does not, but for what cannot be used, which is said."""
    names = sorted(name for name in environ if any(re.fullmatch(each, name) for each in _LLM))
    values = {name: environ[name] for name in names if environ[name].strip()}
    if not environ.get(KEY, "-").strip() and URL in values:
        values[KEY] = ""  # on purpose
    try:
        meant(values)
    except SettingsError as error:
        for problem in error.problems:
            values.pop(problem.split(" ")[0], None)
            say(f"Not taken from the environment: {problem}")
    if is_set(env, URL) and KEY in values and values.get(URL, env.text(URL)) != env.text(URL):
        del values[KEY]
        say(f"{KEY} is not taken from the environment: it is for another server than the one in {env.label}.")
    return {name: text for name, text in values.items() if not is_set(env, name)}


class _Setup:
    """What is written, and what is said of it. Raises SettingsError where the folder or its .env is in the way."""

    def __init__(self, folder: Path, environ: Mapping[str, str], written: list[str]) -> None:
        self._folder, self._environ, self._written = folder, environ, written
        self._here = Path.cwd()
        self.name = shown(folder, self._here) if folder != self._here else "this folder"
        self._check_folder()
        self.env = Envfile(folder / ".env", shown(folder / ".env", self._here), environ)
        if len(kept(self.env)) < len(ASKED):
            self.env.check_writable()

    def _check_folder(self) -> None:
        folder, parent = self._folder, self._folder.parent
        if os.path.lexists(folder):
            if not folder.is_dir():
                raise SettingsError([f"{self.name} is no folder: name another one"])
        elif not parent.is_dir():
            raise SettingsError([f"{shown(parent, self._here)} does not exist: make it, or name another folder"])
        elif not os.access(parent, os.W_OK | os.X_OK):
            raise SettingsError([f"{shown(parent, self._here)} is write-protected: name another folder"])

    def write(self, values: Mapping[str, str]) -> None:
        """Make what is missing. Raises OSError and SettingsError, and lists what was made till then in `written`."""
        if not self._folder.is_dir():
            self._folder.mkdir()
            self._done(f"Made the folder {self.name}.")
        self._write_env(values)
        try:
            root = workspace_folder(self._workspace(), self._folder)
        except SettingsError as error:
            say(f"No workspace has been made. {error}")
            return
        with _failing_as(f"the workspace {root}"):
            made = Workspace(root, self._here).make()
        if made:
            self._done(made)
        elif not self._written:
            say(f"Nothing to do: {self.env.label} and the workspace are there already.")

    def _write_env(self, values: Mapping[str, str]) -> None:
        env, is_new, readers = self.env, not os.path.lexists(self.env.path), self.env.open_to()
        with _failing_as(env.label):
            meanwhile = env.add(values)
        for name in meanwhile:
            say(f"{name} has come into {env.label} meanwhile: kept.")
        names = ", ".join(name for name in values if name not in meanwhile)
        if is_new:
            self._done(f"Wrote {env.label}, which only you can read.")
        elif names:
            self._done(f"Added to {env.label}: {names}.")
        if readers and env.close():
            self._done(f"{env.label} could be read by {readers}: now only you can (mode 0600).")
        elif readers:
            say(f"{env.label} can be read by {readers}: chmod 600 {shlex.quote(os.path.realpath(env.path))}")

    def _workspace(self) -> Path | None:
        """The one that WORKSPACE_DIR names. Raises SettingsError where it names none."""
        name = "WORKSPACE_DIR"
        text = self._environ.get(name, "").strip() or self.env.text(name)
        home = {"HOME": self._environ["HOME"]} if "HOME" in self._environ else {}
        return meant({name: text}, home, self._folder).workspace_dir if text.strip() else None

    def _done(self, text: str) -> None:
        self._written.append(text)
        say(text)

    # -- and then

    def conclude(self) -> None:
        """Say what is in the way of what was written, what is still to be filled in, and what to do next."""
        for each in VARIABLES:
            if self.env.line(each.name) and self._differs(each.name):
                say(f"{each.name} is set in the environment too, to another value, which wins over {self.env.label}.")
        if is_exposed(self.env.path):
            say(f"git would take {self.env.label}, and a key with it: add .env to .gitignore.")
        try:
            if load(self._environ, self._folder).demo:
                names = " ".join(ASKED)
                say(f"To be filled in, in {self.env.label}: {names}. Until then the built-in demo model answers.")
        except SettingsError as error:
            say("To be put right before it can start:")
            for problem in error.problems:
                say(f"  {problem}", indent="    ")
        say()
        say("Next:")
        is_elsewhere = real(self._folder) != real(self._here)
        if is_elsewhere:
            say(f"  cd {shlex.quote(str(self._folder))}", whole=True)
        started = os.path.abspath(sys.argv[0]) if is_elsewhere else None
        say(f"  {command(started=started)}")
        say(f"  {command('doctor', started=started)}   (says what is wrong, if anything is)", indent="    ")

    def _differs(self, name: str) -> bool:
        """Does the environment say something else than the file, to the settings?"""
        if name not in self._environ or not (self._environ[name].strip() or name == KEY):
            return False
        try:
            return bool(meant({name: self._environ[name]}) != meant({name: self.env.text(name)}))
        except SettingsError:
            return self._environ[name] != self.env.text(name)
