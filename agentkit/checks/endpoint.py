"""Each server and key: is it reached, does it know the model, does that do what agentkit needs?"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Iterator
from difflib import get_close_matches
from urllib.parse import urlsplit

from .. import probe
from ..errors import LLMError
from ..settings import Profile, Settings
from . import Finding, fail, ok, warn

CONNECT = 5.0  # seconds
LISTED, TRIED = 10.0, 30.0  # seconds for the list of models, and for a trial
SKEW = 120.0  # seconds that the clock may be off
SMALL = 4000  # tokens: the prompt and the tools take a quarter of it
TOKENS = "about 200 tokens"  # that a trial takes, at most


def check(settings: Settings, profile: Profile) -> Iterator[Finding]:
    """One key, from the name of its host to an answer; what fails first ends it, as the rest would only repeat it."""
    parts = urlsplit(profile.base_url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    label = f"key {profile.number} at {parts.netloc.rpartition('@')[2]}"
    if parts.scheme == "http" and profile.api_key and not _is_near(host):
        yield warn(f"{label}: the key and all that is said travel unencrypted", "use https:// in LLM_BASE_URL")
    if proxy := _proxy(profile.base_url):
        yield ok(f"{label}: through the proxy {proxy}")
        if _is_near(host):
            yield warn(f"{label}: a server near by is asked through a proxy", f"NO_PROXY={host} in the environment")
    elif problem := _unreachable(label, host, port):
        yield problem
        return
    yield from _answers(settings, profile, label)
    skew = probe.skew(profile.base_url, CONNECT)
    if skew is not None and abs(skew) > SKEW:
        cure = "timedatectl set-ntp true, or set the clock: schedules and certificates depend on it"
        yield warn(f"{label}: this machine's clock is off by {skew:+.0f} s", cure)


def _unreachable(label: str, host: str, port: int) -> Finding | None:
    try:
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return fail(f"{label}: the name {host} is not known", "check LLM_BASE_URL, the network, and /etc/resolv.conf")
    began = time.monotonic()
    try:
        socket.create_connection((host, port), CONNECT).close()
    except OSError as error:
        took = time.monotonic() - began
        if isinstance(error, TimeoutError):
            return fail(
                f"{label}: nothing answers within {took:.0f} s", "check the address, the firewall, and the proxy"
            )
        cure = "start the server, or check the port in LLM_BASE_URL"
        return fail(f"{label}: no connection to {host}:{port} ({error.strerror or error})", cure)
    return None


def _answers(settings: Settings, profile: Profile, label: str) -> Iterator[Finding]:
    url, key = profile.base_url, profile.api_key
    listed: list[str] = []
    try:
        listed = [each.id for each in probe.models(url, key, LISTED)]
        yield ok(f"{label}: the server lists {len(listed)} models")
    except LLMError as error:
        if error.category in ("auth", "billing") or error.status is None:
            yield _failed(label, error)
            return
        yield ok(f"{label}: the server lists no models (not all do)")
    for model in dict.fromkeys((settings.llm_model, *settings.llm_fallback_models)):
        try:
            yield from _tried(settings, probe.trial(url, key, model, TRIED), label)
        except LLMError as error:
            found = _failed(f"{label}, {model}", error)
            if listed and error.category == "model_not_found":
                near = get_close_matches(model, listed, 3, 0.4) or [each for each in listed if model in each] or listed
                found = found._replace(cure=f"set LLM_MODEL to one that it has, such as {', '.join(near[:3])}")
            yield found if model == settings.llm_model else found._replace(level="warn")
            continue
        yield from _window(settings, probe.window(url, key, model), f"{label}, {model}")


def _failed(label: str, error: LLMError) -> Finding:
    """The words of an error end with what to do."""
    what, _, cure = error.message.partition(". ")
    return fail(f"{label}: {what.rstrip('.')}", cure.strip() or "look at the server's own log")


def _tried(settings: Settings, trial: probe.Trial, label: str) -> Iterator[Finding]:
    label = f"{label}, {trial.model}"
    yield ok(f"{label}: answers, in {trial.seconds:g} s for two requests ({TOKENS})")
    if not trial.streams:
        yield warn(
            f"{label}: the answer comes in one piece", "a proxy may hold it back; it works, but nothing is seen grow"
        )
    if not trial.calls_tools:
        cure = "choose a model that calls tools; llama.cpp needs --jinja, vLLM --enable-auto-tool-choice and a parser"
        yield warn(f"{label}: it did not call the tool it was told to", cure)
    if not trial.counts:
        yield warn(f"{label}: the server does not count tokens", "agentkit estimates them; /usage is a guess then")


def _window(settings: Settings, served: int | None, label: str) -> Iterator[Finding]:
    stated = settings.llm_context_window
    if stated < SMALL:
        cure = "the prompt and the tools take about 1,000 of them: a larger window leaves more for what is said"
        yield warn(f"LLM_CONTEXT_WINDOW is {stated:,} tokens", cure)
    if served is None:
        yield ok(f"{label}: how much it takes is not told; LLM_CONTEXT_WINDOW says {stated:,} tokens")
    elif served < stated:
        words = f"{label}: it takes {served:,} tokens, and LLM_CONTEXT_WINDOW says {stated:,}"
        yield fail(
            words, f"set LLM_CONTEXT_WINDOW={served}, or start the server with more: the rest is refused or dropped"
        )
    else:
        yield ok(f"{label}: it takes {served:,} tokens, LLM_CONTEXT_WINDOW says {stated:,}")


def _proxy(url: str) -> str:
    """The one that the environment names for an address, without its password; empty: none."""
    from requests.utils import get_environ_proxies, select_proxy

    found = select_proxy(url, get_environ_proxies(url)) or ""
    return urlsplit(found).netloc.rpartition("@")[2] or found


def _is_near(host: str) -> bool:
    """On this machine, or in a private network."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return host == "localhost" or host.endswith((".local", ".localhost", ".internal", ".lan")) or "." not in host
