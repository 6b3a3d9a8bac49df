"""requests set up for one endpoint. Loading this module loads requests, so it is loaded with the first request."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin, urlsplit

from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from . import __version__

REDIRECTS = 5
CONNECTIONS = 32  # kept alive

_HEADERS = {
    "User-Agent": f"agentkit/{__version__}",
    "Content-Type": "application/json",
    "Accept": "text/event-stream, application/json",
    "Accept-Encoding": "identity",  # compressed streams arrive in bursts
}


def session(direct: bool) -> Session:
    """A session that keeps its connections; direct: no proxy, whatever the environment says."""
    made = Session()
    made.headers.update(_HEADERS)
    made.trust_env = not direct
    for scheme in ("http://", "https://"):
        made.mount(scheme, _Adapter(pool_maxsize=CONNECTIONS))
    return made


def post(
    session: Session,
    url: str,
    key: str,
    data: bytes,
    timeout: tuple[float, float],
    connected: Callable[[socket.socket], object],
    allowed: Callable[[], bool],
) -> Response:
    """POST and return with the headers. Redirects are followed as a POST; the key stays with the endpoint's own host.

    timeout: seconds to connect and between two bytes; connected: gets the socket once the request is sent, so that
    the wait for its answer can be ended; allowed: asked before each redirect.
    """
    return ask(session, url, key, data, timeout, connected, allowed)


def ask(
    session: Session,
    url: str,
    key: str,
    data: bytes | None,
    timeout: tuple[float, float],
    connected: Callable[[socket.socket], object],
    allowed: Callable[[], bool] = lambda: True,
    scheme: str = "Bearer",
) -> Response:
    """The same, and without data a GET; scheme: of the Authorization header."""
    _waiting.connected = connected
    how: dict[str, Any] = {"stream": True, "timeout": timeout, "allow_redirects": False}
    for redirects in range(REDIRECTS + 1):
        response = session.request("GET" if data is None else "POST", url, data=data, auth=_Key(key, scheme), **how)
        target = response.headers.get("location") if 300 <= response.status_code < 400 else None
        if not target or redirects == REDIRECTS or not allowed():
            break
        response.close()
        target = urljoin(url, target)
        if not _same_host(url, target):
            key = ""
        url = target
    return response


class _Key:
    """The key as requests wants it: given as `auth`, it also keeps requests from looking into ~/.netrc."""

    def __init__(self, key: str, scheme: str) -> None:
        self._key, self._scheme = key, scheme

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        if self._key:
            request.headers["Authorization"] = f"{self._scheme} {self._key}"
        return request


def _same_host(url: str, target: str) -> bool:
    """Same host and port over the same scheme, or the step from http to https."""
    a, b = urlsplit(url), urlsplit(target)
    ports = {"http": 80, "https": 443}
    if a.hostname == b.hostname and (a.scheme, b.scheme) == ("http", "https"):
        return a.port in (None, 80) and b.port in (None, 443)
    return (a.scheme, a.hostname, a.port or ports.get(a.scheme)) == (
        b.scheme,
        b.hostname,
        b.port or ports.get(b.scheme),
    )


# Each request is made in a thread of its own: this is how its connection finds who waits for it.
_waiting = threading.local()


class _Connection(HTTPConnection):
    def getresponse(self) -> Any:
        _waiting.connected(self.sock)
        return super().getresponse()


class _SecureConnection(HTTPSConnection):
    def getresponse(self) -> Any:
        _waiting.connected(self.sock)
        return super().getresponse()


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Adapter(HTTPAdapter):
    """Connections that tell their socket, also through a proxy."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
        return manager
