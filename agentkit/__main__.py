"""The command line."""

from __future__ import annotations

import os
import signal
import sys

from . import __version__

LARGEST_INPUT = 64 << 20  # bytes of stdin that `run` takes

TYPE_CHECKING = False  # typing, pathlib and all the rest are loaded when they are needed: --version is not slow
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any, NoReturn

    from .app import App
    from .channel import Channel
    from .settings import Settings
    from .toolbox import Tool


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns the exit code: 0 done, 1 the turn failed, 2 usage or settings, 130 interrupted."""
    _complete_streams()
    # A parent that ignores SIGCHLD passes that on, and the kernel would keep the exit codes of our tools from us.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        options = _parser().parse_args(sys.argv[1:] if argv is None else argv)
        code = _print_version() if options.version else _start(options)
        sys.stdout.flush()
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


def _parser() -> ArgumentParser:
    import re
    from argparse import SUPPRESS, ArgumentParser

    class Parser(ArgumentParser):
        def error(self, message: str) -> NoReturn:
            if found := re.search(r"invalid choice: ('.*?') \(choose from", message):
                message = f"there is no command {found[1]}. To say it: agentkit run {found[1]}"
            super().error(message)

    common = Parser(add_help=False, argument_default=SUPPRESS)
    common.add_argument("--workspace", metavar="DIR", help="the workspace (default: WORKSPACE_DIR, or ./workspace)")
    common.add_argument("--env-file", metavar="FILE", help="settings file (default: .env, where it is there)")
    common.add_argument("--log-level", metavar="LEVEL", help="debug, info, warn or error")
    common.add_argument("--agent", metavar="ID", help="who answers (default: DEFAULT_AGENT, or assistant)")
    common.add_argument("--tools", metavar="FILE", help="a Python file with @tool functions")
    chat = Parser(add_help=False, argument_default=SUPPRESS)
    chat.add_argument("--plain", action="store_true", help="line by line, append-only, for screen readers and pipes")

    begin = chat.add_mutually_exclusive_group()
    begin.add_argument("--session", metavar="LABEL", help="go on with this conversation, or begin one of that name")
    begin.add_argument("--resume", action="store_true", help="go on with the conversation used last")

    parser = Parser(prog="agentkit", parents=[common, chat], description="A terminal agent; talk to it.")
    parser.set_defaults(version=False)
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    commands.add_parser("chat", parents=[common, chat], help="talk to the agent (the default)")
    run = commands.add_parser("run", parents=[common], argument_default=SUPPRESS, help="one turn, then exit")
    run.add_argument("prompt", nargs="*", metavar="PROMPT", help="the message; - puts what stdin holds after it")
    run.add_argument("--session", metavar="LABEL", help="go on with this conversation, or begin one of that name")
    run.add_argument("--json", action="store_true", help="print events, one JSON object a line")
    serve = commands.add_parser(
        "serve", parents=[common], argument_default=SUPPRESS, help="no screen: let programs in over a WebSocket"
    )
    serve.add_argument("--gateway", action="store_true", help="the WebSocket gateway (the default)")
    serve.add_argument("--discord", action="store_true", help="Discord (by itself where DISCORD_BOT_TOKEN is set)")
    serve.add_argument("--host", metavar="H", help="where to listen (default: GATEWAY_HOST)")
    serve.add_argument("--port", metavar="P", type=_port, help="its port (default: GATEWAY_PORT); 0 for any")
    serve.add_argument("--log-json", action="store_true", help="events on stderr as JSON, one a line")
    commands.add_parser("status", parents=[common], help="ask the one that serves how it stands")
    decision = run.add_mutually_exclusive_group()
    decision.add_argument("--yes", action="store_const", dest="decision", const="allow", help="allow every tool call")
    decision.add_argument("--no", action="store_const", dest="decision", const="deny", help="refuse what would ask")
    run.add_argument("--timeout", type=_seconds, metavar="S", help="give up after so many seconds")
    return parser


def _start(options: Namespace) -> int:
    from pathlib import Path

    from .errors import CommandError, SettingsError
    from .settings import load

    given = vars(options)
    overrides = {"WORKSPACE_DIR": given.get("workspace"), "LOG_LEVEL": given.get("log_level")}
    try:
        settings = load(
            os.environ,
            _working_directory(),
            env_file=Path(given["env_file"]) if "env_file" in given else None,
            overrides={name: value for name, value in overrides.items() if value is not None},
        )
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
    from .serve import serve, status
    from .workspace import folder

    if given["command"] == "status":
        return status(settings, folder(settings.workspace_dir, _working_directory()))
    if "agent" in given:
        settings = replace(settings, default_agent=given["agent"])
    tools = _tools(given.get("tools"))
    ways = [name for name in ("gateway", "discord") if given.get(name)]
    return serve(settings, tools, ways, given.get("host", ""), given.get("port"), given.get("log_json", False))


def _full_screen() -> bool:
    try:
        from .channels.tui.screen import capable
    except ImportError:  # a Python without curses
        return False
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
    return App(settings, [channel], _tools(given.get("tools")), agent=given.get("agent", ""), opening=opening)


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


def _tools(path: str | None) -> list[Tool]:
    """The tools a Python file defines. Raises SettingsError where it cannot be used."""
    if path is None:
        return []
    import runpy
    from contextlib import redirect_stdout

    from .errors import SettingsError
    from .toolbox import Tool

    try:
        with redirect_stdout(sys.stderr):  # stdout is for answers
            found = [each for each in runpy.run_path(path).values() if isinstance(each, Tool)]
    except OSError as error:
        raise SettingsError([f"--tools {path}: {error.strerror or error}"]) from None
    except (Exception, SystemExit) as error:  # whatever that file does
        raise SettingsError([f"--tools {path}: {type(error).__name__}: {error}"]) from None
    if not found:
        raise SettingsError([f"--tools {path}: no @tool function in it (from agentkit import tool)"])
    return found


def _port(text: str) -> int:
    from argparse import ArgumentTypeError

    if not text.isdecimal() or int(text) > 65535:
        raise ArgumentTypeError(f"{text} is not a port: 0 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    from argparse import ArgumentTypeError

    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
