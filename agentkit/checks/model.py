"""A model on its server: does it answer, does it do what agentkit needs, how much does it take?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from urllib.parse import urlsplit

from .. import probe
from ..errors import LLMError
from ..servers import SERVERS
from ..settings import Profile, Settings
from . import Finding, fail, ok, split, warn

TRIED, TOLD = 30.0, 5.0  # seconds for a trial, and for the context window
PATIENCE = TRIED + TOLD + 1
ELSEWHERE = re.compile("JSON|html|web page|chat API|no chat", re.IGNORECASE)  # it is another address than the API's
PASSING = ("rate_limit", "overloaded", "timeout")  # what is over by itself
# What OpenSSL says of a connection that has failed, in more words.
TRUST = "REQUESTS_CA_BUNDLE=FILE, a PEM file with the certificate of who has signed it (a proxy may have its own)"
TLS = (
    ("self[- ]signed", "nobody but itself has signed its certificate", TRUST),
    ("local issuer", "who has signed its certificate is not known here", f"install ca-certificates, or {TRUST}"),
    (
        "protocol[ _]version|unsupported[ _]protocol|handshake[ _]failure|no[ _]protocols|too[ _]small|too[ _]weak",
        "its TLS is too old for this machine's",
        "have the server speak TLS 1.2 or newer, with a key of today",
    ),
)


def check(settings: Settings, profile: Profile, name: str, listed: Sequence[probe.Model]) -> Iterator[Finding]:
    """listed: the models that the server tells of, empty where it tells of none."""
    label = f"{urlsplit(profile.base_url).netloc}, {name}"
    try:
        trial = probe.trial(profile.base_url, profile.api_key, name, TRIED, settings.llm_extra)
    except LLMError as error:
        yield _refused(settings, profile, name, listed, error, label)
        return
    yield from _tried(trial, label)
    told = next((each.window for each in listed if each.id == name), None)
    yield _window(settings, told or probe.window(profile.base_url, profile.api_key, name, TOLD), label)


def failed(label: str, profile: Profile, error: LLMError) -> Finding:
    """The words of an error end with what to do."""
    what, cure = split(error.message, "look at the server's own log")
    netloc, address = urlsplit(profile.base_url).netloc, profile.base_url.rstrip("/")
    usual = next((each.url for each in SERVERS if urlsplit(each.url).netloc == netloc and each.url != address), "")
    for says, words, remedy in TLS:
        if error.category == "network" and re.search(says, error.detail, re.IGNORECASE):
            what, cure = words, remedy
    if error.status in (404, 405) or ELSEWHERE.search(what):
        cure = f"LLM_BASE_URL={usual} is its usual address" if usual else f"{cure}; mostly it ends in /v1"
    if profile.number:
        cure = re.sub("LLM_API_KEY(?!_)", f"LLM_API_KEY_{profile.number}", cure)
    return fail(f"{label}: {what}", cure)


def _refused(
    settings: Settings, profile: Profile, name: str, listed: Sequence[probe.Model], error: LLMError, label: str
) -> Finding:
    found = failed(label, profile, error)
    ids = [each.id for each in listed]
    if ids and name not in ids and error.category in ("model_not_found", "bad_request", "unknown", "server_error"):
        near = get_close_matches(name, ids, 3, 0.4) or [each for each in ids if name in each] or ids
        where = "LLM_MODEL" if name == settings.llm_model else "its place"
        found = found._replace(cure=f"put one that it has into {where}, such as {', '.join(near[:3])}")
    elif error.category == "timeout":
        found = found._replace(cure="try again: a server may load the model first; LLM_TIMEOUT is how long chats wait")
    is_passing = error.category in PASSING or name != settings.llm_model
    return found._replace(level="warn") if is_passing else found


def _tried(trial: probe.Trial, label: str) -> Iterator[Finding]:
    cost = f"{trial.tokens:,} tokens" if trial.tokens else "about 250 tokens"
    yield ok(f"{label}: it answers (two small requests, {cost})")
    if not trial.streams:
        cure = "a proxy may hold it back; all works, but nothing is seen to grow"
        yield warn(f"{label}: the answer comes in one piece", cure)
    if not trial.calls_tools:
        cure = "choose a model that calls tools; llama.cpp needs --jinja, vLLM --enable-auto-tool-choice and a parser"
        yield warn(f"{label}: it did not call the tool it was told to", cure)
    if not trial.counts:
        yield warn(f"{label}: the server does not count tokens", "agentkit estimates them, so /usage is a guess")


def _window(settings: Settings, served: int | None, label: str) -> Finding:
    stated = settings.llm_context_window
    words = f"LLM_CONTEXT_WINDOW says {stated:,} tokens"
    if served is None:
        return ok(f"{label}: how much it takes is not told; {words}")
    if served < stated:
        cure = f"set LLM_CONTEXT_WINDOW={served}, or start the server with more: the rest is refused or dropped"
        return fail(f"{label}: it takes {served:,} tokens, and {words}", cure)
    return ok(f"{label}: it takes {served:,} tokens; {words}")
