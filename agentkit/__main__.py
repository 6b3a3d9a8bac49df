"""The command line."""

from __future__ import annotations

import gc
import os
import signal
import sys

from . import __version__

LARGEST_INPUT = 64 << 20  # bytes of stdin that `run` takes

TYPE_CHECKING = False  # typing, pathlib and all the rest are loaded when they are needed: --version is not slow
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from .app import App
    from .channel import Channel
    from .settings import Settings
    from .toolbox import Tool


def main(argv: Sequence[str] | None = None, tools: Iterable[Tool] = ()) -> int:
    """Run the program; returns the exit code: 0 done, 1 the turn failed, 2 usage or settings, 130 interrupted.

    argv: what follows the program's name, None: the process's own; tools: as App has them, beside those of --tools.
    """
    _complete_streams()
    # A parent that ignores SIGCHLD passes that on, and the kernel would keep the exit codes of our tools from us.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        from .arguments import parser

        options = parser().parse_args(sys.argv[1:] if argv is None else argv)
        code = _print_version() if options.version else _start(options, tuple(tools))
        sys.stdout.flush()
        gc.freeze()  # or the exit looks through all there is for garbage: a tenth of what a short run costs
        return code
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            print(f"agentkit cannot write: {error.strerror}", file=sys.stderr)
        # Python flushes stdout once more at its exit: that must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1


def _complete_streams() -> None:
    """Open /dev/null in place of what a parent has closed, or the next file opened would take its place."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            fd = os.open(os.devnull, os.O_RDWR)
            if fd != number:
                os.dup2(fd, number)
                os.close(fd)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def _print_version() -> int:
    print(f"agentkit {__version__}")
    return 0


def _start(options: Namespace, tools: Sequence[Tool]) -> int:
    from pathlib import Path

    from .errors import CommandError, SettingsError
    from .settings import load

    given = vars(options) | {"own": tools}
    words = {"WORKSPACE_DIR": given.get("workspace"), "LOG_LEVEL": given.get("log_level")}
    overrides = {name: value for name, value in words.items() if value is not None}
    env_file = Path(given["env_file"]) if "env_file" in given else None
    try:
        if options.command in ("init", "doctor", "zipapp"):  # they work without settings that can be used
            return _before(given, env_file, overrides)
        settings = load(os.environ, _working_directory(), env_file=env_file, overrides=overrides)
        if options.command in ("serve", "status"):
            return _beside(settings, given)
        if options.command == "run" or "plain" in given or not _full_screen():
            return _lines(settings, given)
        return _screen(settings, given)
    except SettingsError as error:
        print("agentkit cannot start:", *error.problems, sep="\n  ", file=sys.stderr)
        return 2
    except CommandError as error:  # the conversation to begin with
        print(f"agentkit cannot start: {error}", file=sys.stderr)
        return 2
    except Exception as error:  # nobody is shown a traceback
        from . import log

        return log.failure(error)


def _before(given: Mapping[str, Any], env_file: Path | None, overrides: Mapping[str, str]) -> int:
    """What is done before one talks to an agent."""
    cwd = _working_directory()
    if given["command"] == "doctor":
        from .doctor import doctor

        return doctor(os.environ, cwd, env_file, overrides)
    if given["command"] == "init":
        from .init import init

        return init(cwd / given.get("folder", ""), {**os.environ, **overrides})
    from .pack import zipapp

    return zipapp(cwd / given.get("output", "agentkit.pyz"))


def _working_directory() -> Path:
    from pathlib import Path

    from .errors import SettingsError

    try:
        return Path.cwd()
    except OSError:
        raise SettingsError(["the working directory is gone: cd to one that is there"]) from None


def _lines(settings: Settings, given: dict[str, Any]) -> int:
    """Plain chat, or one turn."""
    from . import log
    from .channels.jsonl import Jsonl
    from .channels.plain import Plain
    from .events import Inbound

    kind: dict[str, Any] = {name: given[name] for name in ("decision", "timeout") if name in given}
    if given["command"] == "run":
        kind["messages"] = [_prompt(given.get("prompt", []), given.get("timeout"))]
    console = Jsonl(**kind) if given.get("json") else Plain(**kind)
    app = _app(settings, console, given)
    log.start(app.workspace, settings.log_level, settings.secrets)
    try:
        app.start()
        if given["command"] == "run":
            return console.loop(app.commands, app.interrupt, app.session_key)
        app.open(me := Inbound("", console.name, console.peer))
        return console.loop(app.commands, app.interrupt, app.session_key, app.past(me))
    finally:
        _report(app.stop())


def _beside(settings: Settings, given: dict[str, Any]) -> int:
    """Serve, or ask the one that does."""
    from .records import replace
    from .workspace import folder

    if given["command"] == "status":
        from .inquiry import status

        return status(settings, folder(settings.workspace_dir, _working_directory()))
    from .serve import serve

    if "agent" in given:
        settings = replace(settings, default_agent=given["agent"])
    tools = _tools(settings, given)
    ways = [name for name in ("gateway", "discord") if given.get(name)]
    return serve(settings, tools, ways, given.get("host", ""), given.get("port"), given.get("log_json", False))


def _full_screen() -> bool:
    try:
        from .channels.tui.screen import capable
    except ImportError as error:
        if error.name not in ("curses", "_curses"):
            raise
        return False  # this Python was built without it
    return capable()


def _screen(settings: Settings, given: dict[str, Any]) -> int:
    """The full-screen chat: drawn first, so that what is heavy is loaded while it can already be seen."""
    from .channels.tui.app import Tui

    names = [name for name in ("workspace", "env_file", "tools") if name in given]
    options = [word for name in names for word in (f"--{name.replace('_', '-')}", given[name])]
    tui = Tui("assistant", settings.llm_model or "demo", settings.llm_context_window, _stray(settings), options)
    built = []

    def build() -> App:
        from . import log

        app = _app(settings, tui, given)
        log.start(app.workspace, settings.log_level, settings.secrets)
        built.append(app)
        return app

    try:
        return tui.loop(build)
    finally:
        for app in built:
            _report(app.stop())


def _report(unsaved: Sequence[str]) -> None:
    for line in unsaved:
        print(f"not saved: {line}", file=sys.stderr)


def _app(settings: Settings, channel: Channel, given: dict[str, Any]) -> App:
    from .app import App
    from .errors import SettingsError
    from .names import slug
    from .session import Opening

    wanted = given.get("session", "")
    label = slug(wanted)
    if wanted and not label:
        raise SettingsError([f"--session {wanted} cannot be a label: use letters and digits"])
    opening = Opening(label, given.get("resume", False), follow=given["command"] != "run")
    return App(settings, [channel], _tools(settings, given), agent=given.get("agent", ""), opening=opening)


def _stray(settings: Settings) -> int:
    """Where words go that would spoil the screen: to the end of the log, where there is one (see log.start)."""
    state = (settings.workspace_dir or _working_directory() / "workspace") / ".state"
    try:
        if settings.log_level == "debug" or state.parent.is_dir():
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(state / "agentkit.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        pass  # not writable: the chat works all the same
    return os.open(os.devnull, os.O_WRONLY)


def _prompt(words: Sequence[str], timeout: float | None) -> str:
    """What `run` was asked to say; timeout: seconds that stdin has. Raises SettingsError where it is unclear."""
    from .errors import SettingsError

    said = [os.fsencode(word).decode("utf-8", "replace") for word in words if word != "-"]
    if len(said) > 1:
        raise SettingsError([f'the prompt is one argument: put it in quotes, as in agentkit run "{" ".join(said)}"'])
    if "-" in words or (not said and not sys.stdin.isatty()):
        said.append(_stdin(timeout))
    prompt = "\n\n".join(said)
    if not prompt.strip():
        raise SettingsError(['there is nothing to say: agentkit run "your message", or pipe it in'])
    return prompt


def _stdin(timeout: float | None) -> str:
    """Standard input to its end."""
    import select
    import time

    from .errors import SettingsError

    deadline = None if timeout is None else time.monotonic() + timeout
    pieces, size = [], 0
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not select.select([0], [], [], left)[0]:
            raise SettingsError([f"stdin did not end within {timeout:g} s (--timeout)"])
        piece = os.read(0, 1 << 20)
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST_INPUT:
            raise SettingsError([f"stdin holds more than {LARGEST_INPUT >> 20} MB: no model reads that"])
        if not piece:
            return b"".join(pieces).decode("utf-8", "replace")


def _tools(settings: Settings, given: Mapping[str, Any]) -> list[Tool]:
    """The tools that `main` was given, and those of a Python file. Raises SettingsError where it cannot be used."""
    if (path := given.get("tools")) is None:
        return list(given["own"])
    import runpy
    from contextlib import redirect_stdout

    from . import log
    from .errors import SettingsError
    from .toolbox import Tool

    try:
        with redirect_stdout(sys.stderr):  # stdout is for answers
            found = [each for each in runpy.run_path(path).values() if isinstance(each, Tool)]
    except OSError as error:
        raise SettingsError([f"--tools {path}: {error.strerror or error}"]) from None
    except (Exception, SystemExit) as error:  # whatever that file does, and says
        log.hide(*settings.secrets)
        raise SettingsError([f"--tools {path}: {type(error).__name__}: {log.hidden(str(error))}"]) from None
    if not found:
        raise SettingsError([f"--tools {path}: no @tool function in it (from agentkit import tool)"])
    return [*given["own"], *found]


if __name__ == "__main__":
    sys.exit(main())
