"""The words of the command line: what can be said, and what is wrong with what cannot."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError
from typing import NoReturn


class Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        import re

        if found := re.search(r"invalid choice: ('.*?') \(choose from", message):
            message = f"there is no command {found[1]}. To say it: agentkit run {found[1]}"
        super().error(message)


def parser() -> ArgumentParser:
    """What each command takes; what was not said is not there, but for `command` and `version`."""
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
    init = commands.add_parser(
        "init", parents=[common], argument_default=SUPPRESS, help="set up .env and a workspace, question by question"
    )
    init.add_argument("folder", nargs="?", metavar="DIR", help="where (default: here)")
    commands.add_parser("doctor", parents=[common], help="say what is wrong, and what to do about it")
    pack = commands.add_parser(
        "zipapp", parents=[common], argument_default=SUPPRESS, help="build one file that any Python runs"
    )
    pack.add_argument("-o", "--output", metavar="FILE", help="the file (default: agentkit.pyz)")
    decision = run.add_mutually_exclusive_group()
    decision.add_argument("--yes", action="store_const", dest="decision", const="allow", help="allow every tool call")
    decision.add_argument("--no", action="store_const", dest="decision", const="deny", help="refuse what would ask")
    run.add_argument("--timeout", type=_seconds, metavar="S", help="give up after so many seconds")
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise ArgumentTypeError(f"{text} is not a port: 0 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return seconds
