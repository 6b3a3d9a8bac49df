"""What a server's error answer says, whatever its shape: JSON in any nesting, HTML, XML, plain text, or junk.

Providers, gateways and proxies wrap each other's answers: JSON within a string of JSON, a Python repr within a message,
an array around the object. One bounded walk collects what was said; nobody else looks into a body.
"""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import Any

from ..records import dataclass, field

LIMIT = 100_000  # characters of a body that are looked at; real errors have hundreds, a wrong address can send a film
_NODES = 400  # values of a JSON answer that are looked at
_DEPTH = 16
_MESSAGE = 4_000  # characters kept of each message
_PAGE = 500  # characters of a web page that can be about the error; what follows is about the site


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Keys whose strings are sentences for a person. Compared in lower case without "_" and "-".
_SPOKEN = _words(
    """
    message msg error errors errormessage errormsg errmsg statusmsg statusmessage statustext detail details
    description errordescription raw title cause fault faultstring body response info violations
    """
)
# Keys whose values are words or numbers for a program.
_CODED = _words(
    """
    code type status reason errortype errorcode errcode errorname statuscode httpstatus httpcode exception
    quotaid quotametric subcode
    """
)
# Keys that hold what we sent or what the model wrote: it may speak of anything, so it is never evidence.
_ECHOED = _words(
    """
    input ctx url prompt messages choices failedgeneration request requestbody tools functions model user userid
    requestid documentationurl help links stack stacktrace traceback contentfilterresult contentfilterresults
    """
)
_HINTED = r"(x?ratelimit)?(retry(after|delay|in)|(quota)?resets?(in|at|after|time|delay)?|estimatedtime)\w*"
_PAIR = (
    r"""["'](\w{1,40})["']\s*:\s*(?:"((?:[^"\\]|\\.){0,4000})"|'((?:[^'\\]|\\.){0,4000})'|(-?\d{1,20}(?:\.\d{1,9})?))"""
)
_ANSWER = r"""["'](?:error|errors|message|msg|detail)\\?["']\s*:"""  # unlike a schema, or what we sent
_INNER_STATUS = r"(?i)\b(?:(?:error|status)[ _]?code|http(?: error| status)?)[: =]{1,3}([45]\d\d)\b"


@dataclass
class Complaint:
    """An error answer, taken apart.

    messages: sentences for a person, the most telling first; codes: words for a program; params: the fields of the
    request that it names; statuses: HTTP statuses among the codes; hints: (key, value) pairs about waiting; page: a web
    page answered, not an API; raw: the text as it came, shortened.
    """

    messages: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    params: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    hints: list[tuple[str, str]] = field(default_factory=list)
    page: bool = False
    raw: str = ""


def read(body: bytes | str) -> Complaint:
    """Take an answer apart. Any body is fine; the work is bounded whatever its size and shape."""
    text = _decoded(body)
    walk = _Walk(Complaint(raw=text[:_MESSAGE]))
    found = walk.complaint
    if re.match(r"(?i)\s*<(!doctype|html|head|body|\?xml|!--|[a-z]+\b)", text):
        found.page = "<html" in text[:5_000].lower() or "<!doctype html" in text[:5_000].lower()
        found.messages.extend(_page(text))
    else:
        data = _parsed(text)
        if data is not None:
            walk.take("error" if isinstance(data, str) else "", data, 0)
        if not found.messages and (data is None or (isinstance(data, (dict, list)) and data)):
            walk.sentence(text.strip(), 0)
            if len(text) > _MESSAGE:
                found.messages.append(text[-_MESSAGE // 4 :].strip())
    return found


def statuses(message: str) -> list[int]:
    """The HTTP statuses that a sentence speaks of."""
    return [int(number) for number in re.findall(_INNER_STATUS, message)]


def _decoded(body: bytes | str) -> str:
    """The body as text; of a long one the beginning and the end, where an error of a proxy would stand."""
    pieces = (body,) if len(body) <= LIMIT else (body[: LIMIT // 8], body[-LIMIT // 16 :])
    text = " ".join(piece if isinstance(piece, str) else piece.decode("utf-8", "replace") for piece in pieces)
    return text.lstrip("\ufeff")


def _parsed(text: str) -> Any:
    """The JSON value that a text is, or holds after a prefix ("data: {...}", "Error: {...}"); None if there is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _embedded(text)


def _embedded(text: str) -> Any:
    """The first JSON object or array of objects inside a text, or None."""
    for start in islice(re.finditer(r"\{\s*[\"}]|\[\s*\{", text), 3):
        try:
            return json.JSONDecoder().raw_decode(text, start.start())[0]
        except (ValueError, RecursionError):
            continue
    return None


class _Walk:
    """One walk over one answer; the budget is what bounds it."""

    def __init__(self, complaint: Complaint) -> None:
        self.complaint = complaint
        self.budget = _NODES

    def take(self, key: str, value: Any, depth: int) -> None:
        self.budget -= 1
        name = re.sub("[_-]", "", key[:60].lower())
        if self.budget < 0 or depth > _DEPTH or name in _ECHOED:
            return
        if isinstance(value, dict):
            self._object(value, depth)
        elif isinstance(value, list):
            for item in value[:50]:
                self.take(key, item, depth + 1)
        elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
            self._scalar(name, value, depth)

    def _object(self, value: dict[str, Any], depth: int) -> None:
        # Pydantic's lists say where in `loc` and what in `msg`: only together they are a sentence.
        where = value.get("loc")
        if isinstance(where, list) and isinstance(value.get("msg"), str):
            path = ".".join(str(part)[:60] for part in where[:12] if isinstance(part, (str, int)))
            self.complaint.params.append(path)
            value = {**value, "msg": f"{path}: {value['msg']}", "loc": None}
        for key, item in list(value.items())[:100]:
            self.take(str(key), item, depth + 1)

    def _scalar(self, name: str, value: str | int | float, depth: int) -> None:
        found, text = self.complaint, str(value)[:_MESSAGE]
        if re.fullmatch(_HINTED, name):
            found.hints.append((name, text))
        elif name in _CODED:
            found.codes.append(text[:300])
            if re.fullmatch("[45][0-9][0-9]", text):
                found.statuses.append(int(text))
        elif name in ("param", "field"):
            found.params.append(text[:100])
        elif name in _SPOKEN and isinstance(value, str):
            self.sentence(value.strip(), depth)

    def sentence(self, text: str, depth: int) -> None:
        """A message, or the messages of the answer that is wrapped in it; a wrapper is told after what it wraps."""
        found = self.complaint
        count = len(found.messages), len(found.codes)
        if re.search(_ANSWER, text):
            text = text[: LIMIT // 4]
            inner = _embedded(text)
            if inner is not None:
                self.take("", inner, depth + 1)
            if len(found.messages) == count[0]:
                for key, double, single, number in re.findall(_PAIR, text):
                    self.take(key, double or single or number, depth + 1)
            if len(found.messages) == count[0]:  # it only quotes some JSON
                del found.codes[count[1] :]
            else:
                text = re.split(r"[{\[]\s*[\"'{]", text)[0]
        elif re.match(r"<(!doctype|html|head)", text, re.I):
            found.messages.extend(_page(text))
            return
        if text and text not in found.messages:
            found.messages.append(text[:_MESSAGE])


def _page(text: str) -> list[str]:
    """The words of an HTML or XML page: its title, then its beginning, without scripts, styles and the long rest."""
    first, *rest = re.split(r"(?i)<(?:script|style)\b", text[: LIMIT // 4])
    shown = [
        first,
        *(re.split(r"(?i)</(?:script|style)[^<>]*>", part, maxsplit=1)[-1] for part in rest if "</" in part),
    ]
    from html import unescape  # a table of 2,000 names, for the one answer in many that is a page

    words = unescape(" ".join(re.sub(r"<[^<>]*>", " ", " ".join(shown)).split()))[:_PAGE]
    title = re.search(r"(?i)<(?:title|h1|message)\b[^<>]*>([^<]{1,200})", first)
    named = unescape(" ".join(title[1].split())) if title else ""
    return list(dict.fromkeys(part for part in (named, words) if part))
