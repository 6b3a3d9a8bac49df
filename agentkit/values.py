"""What the text of a setting may be: each function returns the value it stands for, or raises Bad."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Mapping
from ipaddress import IPv6Address
from typing import Any, TypeVar
from urllib.parse import urlsplit

Word = TypeVar("Word", bound=str)


class Bad(ValueError):
    """Why a value cannot be taken: the end of the sentence `NAME (where) ...`. show: the value may be shown with it."""

    def __init__(self, reason: str, show: bool = False) -> None:
        super().__init__(reason)
        self.show = show


def word(text: str) -> str:
    if not text.isprintable():
        raise Bad("holds a character that cannot be printed")
    return text


def words(text: str) -> tuple[str, ...]:
    """Each once, from a list with commas."""
    return tuple(dict.fromkeys(word(each.strip()) for each in text.split(",") if each.strip()))


_AUTHORITY = re.compile(r"(?:\[([^\[\]]+)\]|([\w-]{1,63}(?:\.[\w-]{1,63})*\.?))(?::([0-9]{1,5}))?")


def url(text: str) -> str:
    for position, character in enumerate(text, 1):
        if character.isspace() or not character.isprintable():
            raise Bad(f"holds a blank or invisible character (character {position})")
    if not text.lower().startswith(("http://", "https://")):
        raise Bad("must begin with http:// or https://")
    authority = re.split(r"[/?#]", text.split("://", 1)[1], maxsplit=1)[0]
    if "@" in authority:
        raise Bad("must not hold a user name or password: put the key in LLM_API_KEY")
    if "?" in text or "#" in text:
        raise Bad("must not go on with ? or #: leave that part out, and put the key in LLM_API_KEY")
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise Bad("must name a host, and a port if any, after the //: letters, digits, dots; then :port")
    if match[3] is not None and not 1 <= int(match[3]) <= 65535:
        raise Bad("must have a port from 1 to 65535")
    try:
        urlsplit(text)
        if match[1]:
            IPv6Address(match[1])
    except ValueError:
        raise Bad("must name a host after the //: what stands there is no address") from None
    return text


def key(text: str) -> str:
    if re.match(r"bearer(\s|$)", text, re.IGNORECASE):
        raise Bad("begins with the word Bearer: drop it and leave the key alone")
    for position, character in enumerate(text, 1):
        if character.isspace() or not character.isprintable() or ord(character) > 255:
            what = "a blank" if character.isspace() else "one that no HTTP header can hold"
            raise Bad(f"cannot be a key: its character {position} is {what}, so copy the key again")
    return text


def token(text: str) -> str:
    """A key that WebSocket clients of any kind can send."""
    for position, character in enumerate(key(text), 1):
        if not character.isascii():
            raise Bad(f"cannot be a token: its character {position} is not ASCII, so take another one")
    return text


def host(text: str) -> str:
    """A name or an address, without the brackets of IPv6."""
    match = _AUTHORITY.fullmatch(text if ":" not in text or "[" in text else f"[{text}]")
    if match is None or match[3] is not None:
        raise Bad("must be the name or the address of this machine, without a port")
    try:
        return str(IPv6Address(match[1])) if match[1] else match[2]
    except ValueError:
        raise Bad("must be the name or the address of this machine: that is no IPv6 address") from None


_PORTS = {"http": "80", "https": "443"}


def origins(text: str) -> tuple[str, ...]:
    """Each as browsers send it (RFC 6454, section 6.2)."""
    return tuple(dict.fromkeys(map(_origin, words(text))))


def _origin(text: str) -> str:
    scheme, separator, rest = text.lower().removesuffix("/").partition("://")
    match = _AUTHORITY.fullmatch(rest)
    if match is None or not separator or not re.fullmatch("[a-z][a-z0-9+.-]*", scheme) or not text.isascii():
        raise Bad("must list origins as browsers send them: https://, a host, a port if any, and no path")
    usual = f":{_PORTS.get(scheme, '')}"
    return f"{scheme}://{rest.removesuffix(usual)}"


_ID = re.compile(r"(?:<[@#][!&]?)?([0-9]{1,19})>?", re.ASCII)


def ids(text: str) -> tuple[str, ...]:
    """Ids as Discord has them, bare or copied as a mention (<@123>, <#123>)."""
    found = [_ID.fullmatch(each) for each in words(text)]
    if not found or not all(found):
        raise Bad("must list ids, which are numbers, with commas: Copy ID in Discord's developer mode gives them")
    return tuple(dict.fromkeys(each[1] for each in found if each))


_INTEGER = re.compile(r"([0-9]{1,15}(?:_[0-9]{1,15}){0,9}) ?([kKmM]?)")


def integer(low: int, high: int, also: str = "") -> Callable[[str], int]:
    def check(text: str) -> int:
        match = _INTEGER.fullmatch(text)
        number = int(match[1]) * {"": 1, "k": 1000, "m": 1_000_000}[match[2].lower()] if match else -1
        if not low <= number <= high:
            raise Bad(f"must be a whole number from {low} to {high}{also}", show=True)
        return number

    return check


def seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    # Above a day nothing is gained, and the system's own timers end somewhere.
    if not 0 < number <= 86_400:
        raise Bad("must be a number of seconds above 0, at most 86400", show=True)
    return number


_OURS = ("model", "messages", "tools", "stream", "stream_options", "n")


def extra(text: str) -> dict[str, Any]:
    try:
        fields = json.loads(text)
        json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()  # NaN and half characters stop here
    except json.JSONDecodeError as error:
        raise Bad(f"is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except (ValueError, RecursionError):
        raise Bad("holds what JSON cannot carry (such as NaN, half a character or endless nesting)") from None
    if not isinstance(fields, dict):
        kind = "a list" if isinstance(fields, list) else "a single value"
        raise Bad(f"must be a JSON object, not {kind}")
    if taken := [name for name in _OURS if name in fields]:
        raise Bad(f"must not set {', '.join(taken)}: agentkit sets that itself")
    return fields


def expanded(text: str, environ: Mapping[str, str]) -> str:
    """A path with `~` and `~user` replaced."""
    if "\0" in text:
        raise Bad("holds a NUL character")
    if text.startswith("~"):
        home = environ.get("HOME", "")
        text = home + text[1:] if home and (text + "/").startswith("~/") else os.path.expanduser(text)
        if text.startswith("~"):
            raise Bad("names the home folder of nobody: write ./~ for a folder that begins with ~")
    return text


def choice(*options: Word) -> Callable[[str], Word]:
    def check(text: str) -> Word:
        for option in options:
            if option == text.lower():
                return option
        raise Bad(f"must be one of {', '.join(options)}", show=True)

    return check


def level(text: str) -> str:
    return "warn" if text.lower() == "warning" else choice("debug", "info", "warn", "error")(text)
