"""Each server and key, on the way to it: its name, the proxy, the connection, what it lists."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from urllib.parse import urlsplit

from .. import probe
from ..errors import LLMError
from ..settings import Profile, Settings
from . import Case, Finding, content, fail, model, ok, split, warn
from .together import side_by_side

CONNECT, LISTED = 5.0, 10.0  # seconds
SKEW = 120.0  # seconds that the clock may be off
MODELS = 8  # of a server that are tried, at most
BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def check(case: Case, settings: Settings, profile: Profile) -> Iterator[Finding]:
    """One key, from the name of its host to an answer; what fails first ends it, as the rest would only repeat it."""
    parts = urlsplit(profile.base_url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    label = _label(settings, profile)
    if parts.scheme == "http" and profile.api_key and not _is_near(host):
        yield warn(f"{label}: the key and all that is said travel unencrypted", "https:// in LLM_BASE_URL")
    if parts.scheme == "https":
        yield from _bundle(case.environ)
    if proxy := proxy_for(profile.base_url):
        if _is_near(host):
            yield warn(f"{label}: a server near by is asked through a proxy", f"NO_PROXY={host} in the environment")
        way = _proxied(label, proxy)
    else:
        way = _reached(label, host, port)
    yield way
    if way.level == "FAIL":
        return
    listed: list[probe.Model] = []
    try:
        listed = probe.models(profile.base_url, profile.api_key, LISTED)
        yield ok(f"{label}: models that it lists: {len(listed)}")
    except LLMError as error:
        if error.category in ("auth", "billing", "network", "timeout"):
            yield model.failed(label, profile, error)
            return
        # What is wrong, if anything is, a model will show.
        what, _ = split(error.message, "")
        yield ok(f"{label}: it lists no models, as some servers do not" + f" ({what})" * (error.status != 404))
    tried = {
        f"{label}, {name}": partial(model.check, settings, profile, name, listed) for name in _models(case, settings)
    }
    yield from side_by_side({**tried, "clock": partial(_clock, label, profile)}, model.PATIENCE)


def proxy_for(url: str) -> str:
    """The one that the environment names for an address, without its password; empty: none."""
    from requests.utils import get_environ_proxies, select_proxy  # takes long to load

    found = select_proxy(url, get_environ_proxies(url)) or ""
    scheme, _, rest = found.rpartition("://")
    return f"{scheme or 'http'}://{rest.rpartition('@')[2].rstrip('/')}" if rest else ""


def _label(settings: Settings, profile: Profile) -> str:
    """Which server, and with which of several keys."""
    name = f"LLM_API_KEY_{profile.number}" if profile.number else "LLM_API_KEY"
    return f"{urlsplit(profile.base_url).netloc}{f' with {name}' if settings.llm_more_profiles else ''}"


def _models(case: Case, settings: Settings) -> list[str]:
    """The usual one, those that stand in for it, those of agents."""
    own = [each.model for each in content.open_workspace(case).agents().values() if each.model]
    return list(dict.fromkeys((settings.llm_model, *settings.llm_fallback_models, *own)))[:MODELS]


def _bundle(environ: Mapping[str, str]) -> Iterator[Finding]:
    for name in BUNDLES:
        if (path := environ.get(name)) and not os.path.exists(path):
            yield fail(f"{name} names {path}, which is not there", f"name the file of certificates, or unset {name}")


def _proxied(label: str, proxy: str) -> Finding:
    """The proxy is what the connection goes to."""
    parts = urlsplit(proxy)
    if parts.scheme.startswith("socks") and find_spec("socks") is None:
        return fail(f"{label}: the proxy {proxy} needs the package PySocks", "pip install PySocks, or take another one")
    usual = {"https": 443, "socks5": 1080, "socks5h": 1080, "socks4": 1080}.get(parts.scheme, 80)
    if why := _unreachable(parts.hostname or "", parts.port or usual):
        cure = "check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY, or name the host in NO_PROXY"
        return fail(f"{label}: the proxy {proxy}: {why}", cure)
    return ok(f"{label}: through the proxy {proxy}")


def _reached(label: str, host: str, port: int) -> Finding:
    why = _unreachable(host, port)
    if not why:
        return ok(f"{label}: it takes connections")
    if "name" in why:
        return fail(f"{label}: {why}", "check LLM_BASE_URL, the network, and /etc/resolv.conf")
    if _is_near(host):
        return fail(f"{label}: {why}", "start the server, or check the port in LLM_BASE_URL")
    return fail(f"{label}: {why}", "check LLM_BASE_URL, the network, the firewall, and whether a proxy is needed")


def _unreachable(host: str, port: int) -> str:
    """Why there is no connection, empty where there is one."""
    try:
        socket.create_connection((host, port), CONNECT).close()
    except (socket.gaierror, UnicodeError):
        return f"the name {host} is not known"
    except TimeoutError:
        return f"nothing answers at port {port}"
    except OSError as error:
        return f"no connection to port {port} ({error.strerror or error})"
    return ""


def _clock(label: str, profile: Profile) -> Iterator[Finding]:
    skew = probe.skew(profile.base_url, CONNECT)
    if skew is not None and abs(skew) > SKEW:
        what = "ahead" if skew > 0 else "behind"
        cure = "timedatectl set-ntp true, or set the clock: schedules and certificates depend on it"
        yield warn(f"{label}: this machine's clock is {abs(skew):,.0f} s {what} of the server's", cure)


def _is_near(host: str) -> bool:
    """On this machine, or in a private network."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return host == "localhost" or host.endswith((".local", ".localhost", ".internal", ".lan")) or "." not in host
