"""Plain English requests -> tool calls, by fixed rules: all that the demo model understands."""

from __future__ import annotations

import re
from collections.abc import Callable

Request = tuple[str, dict[str, str]]  # a tool's name and its arguments

_LONG, _SHORT = 20_000, 500  # characters: of a text to be written or a command, and of any other request

_POLITE = (
    r"(?:(?:hi|hello|hey|ok|okay|please|now|then|so|well|thanks|great)\b[\s,!.]*"
    r"|(?:can|could|would|will) you\s|i(?:['’]d| would) like you to\s|i want (?:you )?to\s|let(?:['’]s| us)\s)*"
)
_N = r"""(?:"[^"\n]+"|'[^'\n]+'|`[^`\n]+`|“[^”\n]+”|[^\s"'`“][^\s"`“”]*)"""  # a name: quoted, or one word
_BEFORE_COLON = _N.replace(r"`“][^\s", r"`“:][^\s:")
_A = r"(?:an?|the|my|this)"
# "the pool" is no file's name; "pool", "the file pool" and "the pool.txt" are.
_FILE = rf"(?:(?:{_A} )?(?:new )?file (?:(?:called|named) )?(?P<named>{_N})|{_A} (?P<file>{_N})|(?P<path>{_N}))"
_KINDLY = r"""(?:,? (?:please|for me|now|thanks|thank you))*(?:(?<=[\w"'`”])[.!?]+)?"""
_SAYS = r"(?:(?:the )?(?:text|contents?|words|lines?)\b:?\s)?"
_ROOM = r"(?:here|in (?:all )?(?:(?:the|my|these|this) )?(?:files|code|folder|directory|project|workspace))"
_SHELL = r"(?:(?:(?:the|this) )?(?:following )?(?:shell |bash )?command\b)"

# Text that is taken as it stands. The first row whose groups (see _TAKEN) all make sense counts.
_VERBATIM = (
    ("bash", r"\$\s*(?P<raw>.+)"),
    ("bash", rf"(?:run|execute)(?: {_SHELL})?:?\s(?P<command>.+)"),
    (
        "write_file",
        rf"(?:write|create|save)\s(?:to )?(?:the )?(?:file )?(?P<file>{_BEFORE_COLON})\s?:(?P<content>.+)",
    ),
    ("write_file", rf"write\s(?P<file>{_N})\swith\s{_SAYS}(?P<content>.+)"),
    ("write_file", rf"(?:create|make)\s{_FILE}\s(?:with|containing|that says)\s{_SAYS}(?P<content>.+)"),
    ("write_file", rf"write\s(?P<content>.+)\s(?:in)?to\s+{_FILE}{_KINDLY}"),
    ("write_file", rf"(?:write|save|put)\s(?P<content>.+)\s(?:into|to|in|as)\s+(?P<file>{_N}){_KINDLY}"),
    ("write_file", rf"write\s(?:to )?(?P<path>{_BEFORE_COLON})\s?:\s(?P<content>.+)"),
)
# Requests in which the number of spaces and lines means nothing.
_SPACED = (
    (
        "write_file",
        rf"(?:create|make|touch) (?:an? )?(?:new )?(?:empty )?(?:file )?(?:called )?(?P<file>{_N}){_KINDLY}",
    ),
    ("list_dir", rf"(?:ls|dir)(?: -\S+)*(?: (?P<place>.+?))??{_KINDLY}"),
    (
        "list_dir",
        r"(?:list|show)(?: me)?(?: all)?(?: of)?(?: the| my)? (?:files|folders?|director(?:y|ies)|everything)"
        r"(?: and (?:files|folders|directories))?(?: there are| that are)?(?: here| there)?"
        rf"(?: (?:in|of|from|inside|under) (?P<place>.+?))??{_KINDLY}",
    ),
    ("list_dir", rf"list(?: me)?(?: the)? contents? of (?P<place>.+?){_KINDLY}"),
    ("list_dir", rf"list (?P<folder>.+?){_KINDLY}"),
    (
        "list_dir",
        r"(?:what|which) (?:files|folders)(?: are| do| i| you| we| have| see| exist| there)*"
        rf"(?: here| (?:in|inside) (?P<place>.+?))??{_KINDLY}",
    ),
    ("list_dir", rf"what(?:['’]?s| is)(?: there)?(?: here| (?:in|inside) (?P<folder>.+?)){_KINDLY}"),
    (
        "read_file",
        rf"what(?: does|(?:['’]?s| is) in(?:side)?)(?: the)?(?: file)? (?P<file>{_N})(?: say| contain)?{_KINDLY}",
    ),
    (
        "read_file",
        r"(?:read|show|cat|open|view)(?: me)?(?: (?:the )?(?:contents?|text) of)?"
        rf" {_FILE}(?:(?:,| and| then)+ (?P<more>.+?))??(?: file)?{_KINDLY}",
    ),
    (
        "glob",
        r"(?:find|look for|search for|list|show)(?: me)?(?: all)?(?: the)? files?"
        rf"(?: (?:matching|named|called|like))?(?: the pattern)? (?P<pattern>{_N}){_KINDLY}",
    ),
    ("glob", rf"(?:find|list|show)(?: me)?(?: all)?(?: the)? (?P<pattern>\S*[*?]\S*)(?: files)?{_KINDLY}"),
    ("glob", rf"glob (?P<pattern>{_N}){_KINDLY}"),
    ("glob", rf"find (?P<found>{_N}){_KINDLY}"),
    ("grep", rf"grep(?: -\S+)* (?P<words>{_N})(?: in)? (?P<file>{_N}){_KINDLY}"),
    ("grep", rf"grep(?: -\S+)* (?P<words>.+?)(?: {_ROOM})?{_KINDLY}"),
    ("grep", rf"(?:search|look) for (?P<words>{_N}) in (?P<place>.+?){_KINDLY}"),
    ("grep", rf"(?:search|look) for (?P<words>.+) in (?P<folder>.+?){_KINDLY}"),
    (
        "grep",
        rf"(?:search|look)(?: {_ROOM}| (?:the |all )?(?:files|code))? for (?P<words>.+?)(?: {_ROOM})?{_KINDLY}",
    ),
)
_MISSING = {"list_dir": {"path": "."}, "write_file": {"content": ""}}
_NO_NAME = (
    r"a|all|an|again|everything|files?|folder|help|her|him|how|it|me|more|on|that|the|them|these|this|those|to|up|us"
    r"|what|why|you"
)


def requested(text: str) -> list[Request]:
    """The calls that a text asks for, with the arguments path, content, command or pattern; empty if it asks for none.

    Only the names list_dir, read_file, write_file, bash, glob and grep come out.
    """
    text = text.strip()
    if len(text) > _LONG:
        return []
    polite = re.match(_POLITE, text, re.IGNORECASE)
    opening = polite.group() if polite else ""
    text = text[len(opening) :]
    if "you" in opening.lower():
        text = text.rstrip("?")  # can you ...?
    found = _first(_VERBATIM, text)
    return found or (_first(_SPACED, " ".join(text.split())) if len(text) <= _SHORT else [])


def _first(rows: tuple[tuple[str, str], ...], text: str) -> list[Request]:
    for tool, pattern in rows:
        match = re.fullmatch(pattern, text, re.IGNORECASE | re.DOTALL)
        if match and (arguments := _taken(match)) is not None:
            others = _names(match.groupdict().get("more") or "")
            return [(tool, {**_MISSING.get(tool, {}), **arguments}), *((tool, {"path": name}) for name in others)]
    return []


def _taken(match: re.Match[str]) -> dict[str, str] | None:
    """The arguments that a match stands for; None: one of them makes no sense."""
    arguments = {}
    for group, text in match.groupdict().items():
        if text is None or group == "more":
            continue
        parameter, clean = _TAKEN[group]
        value = clean(text)
        if value is None:
            return None
        arguments[parameter] = value
    return arguments


def _unquoted(text: str) -> str:
    """What is in the quotes or the code fence that a text wholly consists of; else the text."""
    if fenced := re.fullmatch(r"```\w*\n(.*?)\n?```", text, re.DOTALL):
        return fenced[1]
    close = {'"': '"', "'": "'", "`": "`", "“": "”"}.get(text[:1])
    return text[1:-1] if close and len(text) > 1 and text.find(close, 1) == len(text) - 1 else text


def _name(text: str) -> str | None:
    """A file's name without quotes and without the punctuation of the sentence around it."""
    text = re.sub(r"""(?<=[\w"'`”])[.,;:!?]+$|(?<=[/)\]*])[,;:!?]+$""", "", text.strip())
    return _unquoted(text) if re.fullmatch(rf"(?!(?:{_NO_NAME})$){_N}", text, re.IGNORECASE) else None


def _sure(text: str) -> str | None:
    """A name that cannot be any other word: quoted, or with a dot or slash."""
    name = _name(text)
    return name if name and (re.search(r"[./~]", name) or text.strip()[0] in "\"'`“") else None


def _place(text: str) -> str | None:
    """A folder: by name, or "this folder"."""
    words = r"^(?:(?:the|this|my|current|working|folder|directory|called|named)(?:\s|$))+"
    text = re.sub(words, "", text, flags=re.IGNORECASE)
    if not text or text.lower() in ("here", "there", "code", "files", "project", "workspace"):
        return "."
    return _name(re.sub(r"\s(?:folder|directory)$", "", text, flags=re.IGNORECASE))


def _folder(text: str) -> str | None:
    """A place that cannot be anything else."""
    return _place(text) if re.search(r"[/~]|\b(?:folder|directory)\b|^\.+$", text, re.IGNORECASE) else None


def _names(text: str) -> list[str]:
    """What "b.txt, c.txt and d.txt" names; nothing if anything else is said."""
    names = [_sure(part) for part in re.split(r",? and |, ?", text)]
    return [name for name in names if name] if all(names) else []


def _command(text: str) -> str | None:
    text = text.strip()
    if quoted := re.match(r"`([^`]+)`", text):
        return quoted[1]
    if (inner := _unquoted(text)) != text:
        return inner
    text = re.sub(r",? (?:please|for me)$", "", re.sub(r"(?<=\w)\.$", "", text))
    return None if re.match(r"(?:the|an?|my|your|this|that|it|some)(?:\s|$)", text, re.IGNORECASE) else text


def _content(text: str) -> str | None:
    text = text.strip()
    return None if text.lower() in ("it", "that", "this") else _unquoted(re.sub(r"""(?<=["'`”])\.$""", "", text))


_TAKEN: dict[str, tuple[str, Callable[[str], str | None]]] = {
    "raw": ("command", str.strip),
    "command": ("command", _command),
    "content": ("content", _content),
    "path": ("path", _name),
    "named": ("path", _name),
    "file": ("path", _sure),
    "place": ("path", _place),
    "folder": ("path", _folder),
    "pattern": ("pattern", _name),
    "found": ("pattern", _sure),
    "words": ("pattern", lambda text: _unquoted(text.strip())),
}
