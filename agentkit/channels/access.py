"""Who may talk to the gateway: the token, and what a request's headers must say. No sockets here."""

from __future__ import annotations

import hmac
import os
import re
import socket
import stat
from collections.abc import Collection, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import NamedTuple, Protocol

from .. import atomic

SHORTEST, LONGEST = 16, 512  # characters of a token that is made here, or that somebody has put in its place

_HOST = re.compile(r"(?:\[([^\[\]]+)\]|([^\[\]:@/\s]+))(?::[0-9]{1,5})?")
_TOKEN = re.compile(rf"[!-~]{{{SHORTEST},{LONGEST}}}")


class Headers(Protocol):
    def get_all(self, name: str) -> Sequence[str]: ...


class Refusal(NamedTuple):
    """An HTTP status, and a line for whoever set the client up. Never holds what the client has sent."""

    status: int
    text: str


class Access:
    """token: what clients must know; origins: those that web pages may have; host: the name or address that is
    listened at; loopback: it is this machine alone that can reach it."""

    def __init__(self, token: str, origins: Collection[str], host: str, loopback: bool) -> None:
        self._token, self._origins, self._loopback = token.encode(), frozenset(origins), loopback
        self._names = frozenset(
            (host.casefold(), "localhost", *([] if loopback else [socket.gethostname().casefold()]))
        )

    def is_token(self, text: str) -> bool:
        """Compared in constant time."""
        return hmac.compare_digest(text.encode("utf-8", "backslashreplace"), self._token)

    def refusal(self, path: str, headers: Headers) -> Refusal | None:
        """Why a request to connect is refused; None: it is not. One without Authorization has to say the token next."""
        hosts, origins, tokens = (headers.get_all(name) for name in ("Host", "Origin", "Authorization"))
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return Refusal(403, "The Host header names another machine: connect to the address that is listened at.")
        if any(origin not in self._origins for origin in origins):
            return Refusal(403, "Web pages of this origin may not connect: GATEWAY_ORIGINS lists those that may.")
        if "?" in path:
            return Refusal(400, "The address must have no query: the token belongs into the Authorization header.")
        if not tokens:
            return None
        scheme, _, token = tokens[0].partition(" ")
        if len(tokens) != 1 or scheme.casefold() != "bearer" or not self.is_token(token.strip()):
            return Refusal(401, "That is not the token: it is GATEWAY_TOKEN, or in .state/gateway.token.")
        return None

    def _is_ours(self, header: str) -> bool:
        """A page whose name has been rebound to this machine's address still sends that name as its Host."""
        match = _HOST.fullmatch(header.strip())
        if match is None:
            return False
        name = (match[1] or match[2]).casefold().removesuffix(".")
        try:
            is_near = address(name).is_loopback
        except ValueError:
            return name in self._names
        # Names can be rebound, addresses cannot; which ones a machine has that others reach, it does not always know.
        return is_near or name in self._names or not self._loopback


def address(text: str) -> IPv4Address | IPv6Address:
    """An IP address; an IPv4 address in the form of IPv6 (RFC 4291, section 2.5.5.2) is that IPv4 address.

    Raises ValueError.
    """
    found = ip_address(text.partition("%")[0])
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def is_token(text: str) -> bool:
    """Has it the form of a token?"""
    return _TOKEN.fullmatch(text) is not None


def kept_token(path: Path) -> str:
    """The token in a file, made where there is none in it; nobody else may read it. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return _made(path)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(f"{path} is no regular file")
        text = os.read(fd, 2 * LONGEST).decode("utf-8", "replace").strip()
        if is_token(text):
            os.fchmod(fd, 0o600)
            return text
    finally:
        os.close(fd)
    return _made(path)


def _made(path: Path) -> str:
    token = os.urandom(32).hex()
    atomic.replace(path, f"{token}\n".encode(), 0o600)
    return token
