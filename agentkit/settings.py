"""Environment and .env -> one frozen Settings.

The command line wins over the environment, the environment over the .env file in the working directory. A variable
that is blank counts as unset; only LLM_API_KEY, and LLM_API_KEY_<n> beside LLM_BASE_URL_<n>, may be empty on purpose:
no key needed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from . import dotenv, values
from .errors import SettingsError
from .records import dataclass, field

Approval = Literal["ask", "auto", "trust"]
T = TypeVar("T")


class Variable(NamedTuple):
    """A setting as the documentation shows it; `default` as it would be written, empty: none."""

    name: str
    default: str
    help: str
    example: str


VARIABLES = (
    Variable("LLM_MODEL", "", "the model's name, as the server knows it", "gpt-4.1-mini"),
    Variable("LLM_BASE_URL", "", "the address of an OpenAI-compatible server", "https://api.openai.com/v1"),
    Variable("LLM_API_KEY", "", "your key, or LLM_API_KEY= (empty) for a local server that needs none", "sk-..."),
    Variable("LLM_CONTEXT_WINDOW", "", "the model's context size in tokens; 128_000, 128k and 1M are fine", "128000"),
    Variable("LLM_API_KEY_<n>", "", "more keys, n from 1 on: tried in order when the first cannot answer", "sk-..."),
    Variable("LLM_BASE_URL_<n>", "", "where key n is for another server than LLM_BASE_URL", "http://localhost:8080/v1"),
    Variable("LLM_FALLBACK_MODELS", "", "models to try when LLM_MODEL cannot answer, with commas", "gpt-4.1-nano"),
    Variable("LLM_TIMEOUT", "120", "seconds to wait for each piece of an answer, five times that for the first", "120"),
    Variable("LLM_EXTRA", "{}", "a JSON object merged into each request", '{"temperature": 0.2}'),
    Variable("WORKSPACE_DIR", "./workspace", "the folder of agents, sessions and jobs", "~/agents"),
    Variable("DEFAULT_AGENT", "", "the agent that answers; else assistant, or the first there is", "assistant"),
    Variable("LOG_LEVEL", "info", "debug, info, warn or error (RUST_LOG, its old name, loses to it)", "debug"),
    Variable(
        "TOOL_APPROVAL", "ask", "ask before tools that change things; auto: before few of them; trust: never", "auto"
    ),
    Variable(
        "UNATTENDED_TOOLS", "", "tools beside reading ones for heartbeats and cron jobs, with commas", "bash,remember"
    ),
    Variable(
        "BACKGROUND_TOKENS_PER_DAY",
        "500000",
        "tokens that heartbeats and cron jobs may take in a day; 0: no limit",
        "1M",
    ),
    Variable("MAX_MODEL_CALLS", "50", "model calls in one turn, at most", "50"),
    Variable("MAX_TURNS", "16", "turns that run at once, at most", "16"),
    Variable("GATEWAY_HOST", "127.0.0.1", "where the gateway listens; other addresses need GATEWAY_TOKEN", "127.0.0.1"),
    Variable("GATEWAY_PORT", "8765", "its port; 0: any that is free", "8765"),
    Variable("GATEWAY_TOKEN", "", "what its clients must know; else one is made, in .state/gateway.token", "gw-..."),
    Variable("GATEWAY_ORIGINS", "", "web pages that may connect to it, with commas", "https://chat.example.org"),
    Variable("GATEWAY_MAX_CLIENTS", "2000", "clients of the gateway, at most", "2000"),
    Variable("DISCORD_BOT_TOKEN", "", "the token of your Discord bot", "MTA..."),
    Variable("DISCORD_CHANNELS", "", "ids of Discord channels where it answers everything", "123456789012345678"),
    Variable(
        "DISCORD_ALLOWED_USERS", "", "ids of those it hears; else all, but no tool that asks", "123456789012345678"
    ),
)
_BY_NAME = {each.name: each for each in VARIABLES}
_NUMBERED = re.compile(r"(LLM_API_KEY|LLM_BASE_URL)_([0-9]+)")
_TOKENS = ("LLM_API_KEY", "GATEWAY_TOKEN", "DISCORD_BOT_TOKEN")
_REQUIRED = ("LLM_MODEL", "LLM_BASE_URL", "LLM_API_KEY", "LLM_CONTEXT_WINDOW")


@dataclass(frozen=True)
class Profile:
    """A key and the server it is for. number: 0 for LLM_API_KEY, n for LLM_API_KEY_<n>; api_key: empty for none."""

    number: int
    base_url: str
    api_key: str = field(repr=False)


@dataclass(frozen=True)
class Settings:
    """How the program is set up.

    llm_api_key: empty where none is needed; llm_context_window: tokens; llm_more_profiles: those of the numbered keys,
    in the order of n; llm_timeout: seconds between two pieces of an answer; workspace_dir: absolute, None: not set;
    default_agent: as it was written; log_level: debug, info, warn or error; gateway_host: a name or an address;
    gateway_token: empty: one is made; gateway_origins: as browsers send them; env_file: the one in use, absolute;
    unattended_tools: names; background_tokens_per_day: 0 for no limit;
    demo: none of the four required variables is set, and the fields for them are empty.
    """

    llm_model: str
    llm_base_url: str
    llm_api_key: str = field(repr=False)
    llm_context_window: int
    llm_more_profiles: tuple[Profile, ...] = ()
    llm_fallback_models: tuple[str, ...] = ()
    llm_timeout: float = 120.0
    llm_extra: Mapping[str, Any] = field(default_factory=dict)
    workspace_dir: Path | None = None
    default_agent: str = ""
    log_level: str = "info"
    tool_approval: Approval = "ask"
    unattended_tools: tuple[str, ...] = ()
    background_tokens_per_day: int = 500_000
    max_model_calls: int = 50
    max_turns: int = 16
    gateway_host: str = "127.0.0.1"
    gateway_port: int = 8765
    gateway_token: str = field(default="", repr=False)
    gateway_origins: tuple[str, ...] = ()
    gateway_max_clients: int = 2000
    discord_bot_token: str = field(default="", repr=False)
    discord_channels: tuple[str, ...] = ()
    discord_allowed_users: tuple[str, ...] = ()
    env_file: Path | None = None
    demo: bool = False

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """All keys there are, in the order they are tried."""
        return (Profile(0, self.llm_base_url, self.llm_api_key), *self.llm_more_profiles)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The keys and tokens we hold, which nobody else may see."""
        held = (*(each.api_key for each in self.profiles), self.gateway_token, self.discord_bot_token)
        return tuple(each for each in held if each)


def load(
    environ: Mapping[str, str], cwd: Path, *, env_file: Path | None = None, overrides: Mapping[str, str] = {}
) -> Settings:
    """Read the settings, or raise SettingsError with one line for each variable that is missing or malformed.

    env_file: read instead of `cwd`/.env, and must exist; overrides: by variable name, from the command line.
    """
    cwd = cwd.absolute()
    path, file = _env_file(environ, cwd, env_file)
    found = _Values((("command line", overrides), ("environment", environ)), file)
    take = found.take
    settings = Settings(
        llm_model=take("LLM_MODEL", values.word, ""),
        llm_base_url=take("LLM_BASE_URL", values.url, ""),
        llm_api_key=take("LLM_API_KEY", values.key, ""),
        llm_context_window=take(
            "LLM_CONTEXT_WINDOW", values.integer(1000, 1_000_000_000, " (128_000, 128k for 128000 and 1M are fine)"), 0
        ),
        llm_more_profiles=found.profiles(),
        llm_fallback_models=take("LLM_FALLBACK_MODELS", values.words, ()),
        llm_timeout=take("LLM_TIMEOUT", values.seconds, Settings.llm_timeout),
        llm_extra=take("LLM_EXTRA", values.extra, {}),
        workspace_dir=take("WORKSPACE_DIR", lambda text: cwd / values.expanded(text, environ), None),
        default_agent=take("DEFAULT_AGENT", values.word, ""),
        log_level=take("LOG_LEVEL", values.level, _old_level(found.text("RUST_LOG")) or Settings.log_level),
        tool_approval=take("TOOL_APPROVAL", values.choice("ask", "auto", "trust"), Settings.tool_approval),
        unattended_tools=take("UNATTENDED_TOOLS", values.words, ()),
        background_tokens_per_day=take(
            "BACKGROUND_TOKENS_PER_DAY",
            values.integer(0, 1_000_000_000_000, " (500k and 1M are fine)"),
            Settings.background_tokens_per_day,
        ),
        max_model_calls=take("MAX_MODEL_CALLS", values.integer(1, 1_000_000), Settings.max_model_calls),
        max_turns=take("MAX_TURNS", values.integer(1, 10_000), Settings.max_turns),
        gateway_host=take("GATEWAY_HOST", values.host, Settings.gateway_host),
        gateway_port=take("GATEWAY_PORT", values.integer(0, 65535), Settings.gateway_port),
        gateway_token=take("GATEWAY_TOKEN", values.token, ""),
        gateway_origins=take("GATEWAY_ORIGINS", values.origins, ()),
        gateway_max_clients=take("GATEWAY_MAX_CLIENTS", values.integer(1, 100_000), Settings.gateway_max_clients),
        discord_bot_token=take("DISCORD_BOT_TOKEN", values.token, ""),
        discord_channels=take("DISCORD_CHANNELS", values.ids, ()),
        discord_allowed_users=take("DISCORD_ALLOWED_USERS", values.ids, ()),
        env_file=path,
        demo=found.demo,
    )
    if found.problems:
        raise SettingsError(found.problems)
    return settings


_SECRET_NAMES = re.compile(r"LLM_API_KEY.*|DISCORD_BOT_TOKEN|GATEWAY_TOKEN", re.DOTALL)
# No child works without these, and no real key is part of one; a made-up key for a local server ("ollama") may be.
_NEEDED = frozenset(("PATH", "HOME", "PWD", "USER", "LOGNAME", "SHELL", "TERM", "LANG", "TMPDIR"))
_SHORTEST_PART = 6  # a made-up key shorter than this ("x", "none") is looked for as a whole value only


def child_environment(environ: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """The environment for child processes: without our secrets, under whatever name they are there."""
    named = {name: _bare(value) for name, value in environ.items() if _SECRET_NAMES.fullmatch(name)}
    secrets = {*settings.secrets, *named.values()} - {""}

    def tells(value: str) -> bool:
        return any(secret in value if len(secret) >= _SHORTEST_PART else secret == value for secret in secrets)

    return {
        name: value for name, value in environ.items() if name not in named and (name in _NEEDED or not tells(value))
    }


def _env_file(environ: Mapping[str, str], cwd: Path, given: Path | None) -> tuple[Path | None, dotenv.Dotenv]:
    """The env file in use, and what it says."""
    path = cwd / given if given is not None else cwd / ".env"
    # A folder .env with a pyvenv.cfg is a virtual environment: nothing to do with us.
    if given is None and (not os.path.lexists(path) or os.path.exists(path / "pyvenv.cfg")):
        return None, dotenv.Dotenv()
    # Blank is unset, also to ${NAME}.
    present = {name: value for name, value in environ.items() if value.strip()}
    return path, dotenv.read(path, present, ".env" if given is None else f"env file {str(given)!r}")


class _Values:
    """Looks names up where they may be set, and collects what is wrong with them."""

    def __init__(self, layers: Sequence[tuple[str, Mapping[str, str]]], file: dotenv.Dotenv) -> None:
        self._layers = layers
        self._file = file
        self.problems = list(file.problems)
        self._numbered = self._numbers()
        self.demo = not any(text for name in _REQUIRED for text, _ in self._found(name))

    def _found(self, name: str) -> list[tuple[str, str]]:
        """Every value of a name, bare, and where it comes from; the winning one first."""
        found = [(_bare(layer[name]), origin) for origin, layer in self._layers if name in layer]
        entry = self._file.entries.get(name)
        if entry is not None and entry.value is not None:
            found.append((_bare(entry.value), f"{self._file.label} line {entry.line}"))
        return found

    def text(self, name: str) -> str:
        return next((text for text, _ in self._found(name) if text), "")

    def profiles(self) -> tuple[Profile, ...]:
        """Those of LLM_API_KEY_<n>; a key without an address of its own is for LLM_BASE_URL."""
        found = []
        for number in self._numbered:
            key, url = f"LLM_API_KEY_{number}", f"LLM_BASE_URL_{number}"
            if self.text(key) or (self.text(url) and self._found(key)):
                api_key = self.take(key, values.key, "")
                found.append(Profile(number, self.take(url, values.url, self.text("LLM_BASE_URL")), api_key))
            elif self.text(url):
                cure = f"set it, or {key}= (empty) for a server that needs none"
                self.problems.append(f"{url} is set and {key} is not: {cure}")
        return tuple(found)

    def _numbers(self) -> list[int]:
        """Those that names end in, in order."""
        numbers = set()
        for name in {name for names in (*(layer for _, layer in self._layers), self._file.entries) for name in names}:
            if match := _NUMBERED.fullmatch(name):
                if re.fullmatch("[1-9][0-9]{0,14}", match[2]):
                    numbers.add(int(match[2]))
                elif self.text(name):
                    self.problems.append(f"{name} is not numbered from 1 on: it is {match[1]}_1, {match[1]}_2 ...")
        return sorted(numbers)

    def take(self, name: str, check: Callable[[str], T], default: T) -> T:
        """The value as `check` makes it; a problem, or a value that is not set, leaves `default`."""
        variable = _BY_NAME[_NUMBERED.sub(r"\1_<n>", name)]
        for text, origin in self._found(name):
            if text or self._may_be_empty(name):
                try:
                    return check(text)
                except values.Bad as bad:
                    shown = f" {text!r}" if bad.show and self._harmless(text) else ""
                    hint = f"; for example {name}={variable.example}"
                    self.problems.append(f"{name}{shown} ({origin}) {bad}{hint}")
                    return default
        # The line that sets it may be the one in the file that cannot be read.
        if name in _REQUIRED and not self.demo and not self._file.problems:
            self.problems.append(f"{name} is missing: {variable.help}; for example {name}={variable.example}")
        return default

    def _may_be_empty(self, name: str) -> bool:
        """A key, on purpose; a numbered one beside its own address only."""
        return name == "LLM_API_KEY" or ("API_KEY_" in name and self.text(name.replace("API_KEY", "BASE_URL")) != "")

    def _harmless(self, text: str) -> bool:
        """May this value be shown? Keys get pasted into the wrong line."""
        names = (*_TOKENS, *(f"LLM_API_KEY_{number}" for number in self._numbered))
        return len(text) <= 16 and not any(key and key in text for name in names for key, _ in self._found(name))


def _bare(text: str) -> str:
    """Without what gets pasted around a value: `docker --env-file` leaves quotes on, for one."""
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1].strip()
    return text


def _old_level(text: str) -> str | None:
    """The level that a RUST_LOG begins with; what else it may hold ("off", "hyper=warn") means nothing here."""
    match = re.match(r"(debug|info|warn(?:ing)?|error)\s*(?:[,/]|$)", text, re.IGNORECASE)
    return values.level(match[1]) if match else None
