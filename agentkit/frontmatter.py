"""Front matter: what people write between two `---` lines at the top of a Markdown file.

It is read as YAML 1.2.2, as far as it gets used there: maps and lists, in blocks or in brackets, quoted and plain text,
text blocks (`|`, `>`), comments. Where this means to differ:

- every value is text, a list or a dict: `3`, `true` and an empty value are "3", "true" and "". Who needs a number
  converts it;
- plain text may hold `: `, as descriptions do ("Use when: ..."), and begin with characters that YAML reserves; anchors,
  aliases and tags are text;
- an escape that YAML does not know stays as it is; a surrogate pair, as JSON writes it, is one character.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import Any, NamedTuple

from .folding import QUOTED, folded, folded_block, unquoted

DEEPEST = 32  # levels of lists and maps: far above any honest file

TAB = "is indented with a tab: use spaces"

_EDGE = re.compile(r"(?:\A|(?<=[\n\r]))---[ \t]*(?:\r\n?|\n|\Z)")
_COLON = re.compile(r":(?=[ \t]|\Z)")
_COMMENT = re.compile(r"[ \t]#|\A#")
_HEADER = re.compile(r"([|>])(?:([+-])([1-9])?|([1-9])([+-])?)?(?:[ \t]+#.*)?")
_END = re.compile(r"[ \t]*(?:(?<=[ \t])#[^\n]*)?(?=\n|\Z)")
_SPACE = re.compile(r"(?:[ \t\n]+|(?<=[ \t\n])#[^\n]*)*")
_ITEM = re.compile(r"(?:(?![ \t\n]#)[^,\[\]{}])+")
_KEY = re.compile(r"(?:(?![ \t\n]#|:[ \t\n,\[\]{}]|:\Z)[^,\[\]{}])+")


class Document(NamedTuple):
    """fields: text, lists and dicts by key; body: what follows the front matter, as it is."""

    fields: dict[str, Any]
    body: str


class Malformed(ValueError):
    """Front matter that cannot be read; its text is "line 3: ..." and says what to do. Lines count from 1."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}")


def parse(text: str) -> Document:
    """A file's front matter and body; text that does not begin with a line `---` is all body.

    The work grows with the length of the text, whatever it holds. Raises Malformed.
    """
    text = text.removeprefix("\ufeff")
    opening = _EDGE.match(text)
    if opening is None:
        return Document({}, text)
    closing = _EDGE.search(text, opening.end())
    if closing is None:
        raise Malformed(1, "opens front matter that no line `---` closes: add one, or begin the file with a blank line")
    source = text[opening.end() : closing.start()].replace("\r\n", "\n").replace("\r", "\n")
    return Document(_Reader(source).document(), text[closing.end() :])


class _Reader:
    """Reads a block of YAML line by line; `at` is the line it has come to."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.lines = source.removesuffix("\n").split("\n")
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line) + 1)
        self.contents = [line.strip(" ").rstrip() for line in self.lines]  # of a list's item what follows the dash
        self.indents = [len(line) - len(line.lstrip(" ")) for line in self.lines]
        self.at = 0
        self.depth = 0

    def document(self) -> dict[str, Any]:
        fields = self._map(self.indents[self.at]) if self._more() else {}
        if self._more():
            raise self._wrong("is indented less than the first key: begin all keys in the same column")
        return fields

    def _more(self) -> bool:
        """Go to the next line that is neither blank nor a comment; is there one?"""
        while self.at < len(self.lines):
            content = self.contents[self.at]
            if content and not content.lstrip().startswith("#"):
                if content[0] == "\t":
                    raise self._wrong(TAB)
                return True
            self.at += 1
        return False

    def _wrong(self, what: str, line: int | None = None) -> Malformed:
        return Malformed((self.at if line is None else line) + 2, what)  # the opening line comes before

    def _deeper(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise self._wrong(f"nests more than {DEEPEST} lists and maps: is it the right file?")

    # -- blocks

    def _map(self, indent: int) -> dict[str, Any]:
        """The keys that begin at this column."""
        self._deeper()
        fields: dict[str, Any] = {}
        while self._more() and self.indents[self.at] >= indent:
            if self.indents[self.at] > indent:
                raise self._wrong("is indented, but belongs to no key above it: indent it like the keys around it")
            found = None if self._is_item() else self._key()
            if found is None:
                raise self._wrong("is not `key: value`: write it so, or begin it with # to make it a comment")
            key, rest = found
            if key in fields:
                raise self._wrong(f"gives {key} a second time: keep one of them")
            fields[key] = self._value(rest, indent, items_beside=True)
        self.depth -= 1
        return fields

    def _list(self, indent: int) -> list[Any]:
        """The items whose dashes stand at this column."""
        self._deeper()
        items: list[Any] = []
        while self._more() and self.indents[self.at] >= indent and self._is_item():
            if self.indents[self.at] > indent:
                raise self._wrong("is indented deeper than the list it belongs to: put the dashes below each other")
            content = self.contents[self.at]
            rest = content[1:].lstrip()
            self.contents[self.at] = rest
            self.indents[self.at] += len(content) - len(rest)
            items.append(self._node(indent) if rest and rest[0] != "#" else self._value("", indent))
        self.depth -= 1
        return items

    def _is_item(self) -> bool:
        content = self.contents[self.at]
        return content == "-" or content.startswith(("- ", "-\t"))

    def _key(self) -> tuple[str, str] | None:
        """The key that the line begins with, and what follows its colon."""
        content = self.contents[self.at]
        if content[0] in QUOTED:
            quoted = QUOTED[content[0]].match(content)
            after = content[quoted.end() :].lstrip() if quoted else ""
            return (unquoted(quoted), after[1:].lstrip()) if quoted and _COLON.match(after) else None
        colon = _COLON.search(content)
        key = content[: colon.start()].rstrip() if colon else ""
        if colon is None or not key or key[0] in "[{" or _COMMENT.search(key):
            return None
        return key, content[colon.end() :].lstrip()

    def _node(self, parent: int) -> Any:
        """What begins on this line, inside something that begins at the column `parent`."""
        if self._is_item():
            return self._list(self.indents[self.at])
        found = self._key()
        if found and (self.contents[self.at][0] in QUOTED or len(found[0].split()) == 1):
            return self._map(self.indents[self.at])
        return self._value(self.contents[self.at], parent)

    def _value(self, rest: str, parent: int, *, items_beside: bool = False) -> Any:
        """What the end of the line, `rest`, begins. items_beside: a list may stand at the column of its key."""
        if not rest or rest[0] == "#":
            self.at += 1
            if self._more():
                if self.indents[self.at] > parent:
                    return self._node(parent)
                if items_beside and self.indents[self.at] == parent and self._is_item():
                    return self._list(parent)
            return ""
        position = self.starts[self.at] + len(self.lines[self.at].rstrip()) - len(rest)
        if rest[0] in QUOTED:
            return self._ended(*self._quoted(position, parent))
        if rest[0] in "[{":
            return self._ended(*self._flow(position, _ITEM))
        if header := _HEADER.fullmatch(rest):
            return self._block(header, parent)
        if rest[0] in "|>":
            raise self._wrong(f"has text behind `{rest[0]}`: begin it on the next line, indented, or put it in quotes")
        return self._plain(rest, parent)

    # -- text

    def _plain(self, rest: str, parent: int) -> str:
        """Text without quotes, with the indented lines below it."""
        lines = [rest]
        self.at += 1
        while self.at < len(self.lines) and (not self.contents[self.at] or self.indents[self.at] > parent):
            content = self.contents[self.at]
            if content.startswith("\t"):
                raise self._wrong(TAB)
            if not content.startswith("#"):
                lines.append(content)
            self.at += 1
        commented = ((line, _COMMENT.search(line)) for line in lines)
        return folded([line[: found.start()].rstrip() if found else line for line, found in commented]).strip()

    def _block(self, header: re.Match[str], parent: int) -> str:
        """The lines of a text block (YAML 1.2.2, 8.1)."""
        style, chomp, digit = header[1], header[2] or header[5] or "", header[3] or header[4]
        base = parent + int(digit) if digit else 0
        lines: list[str] = []
        self.at += 1
        while self.at < len(self.lines):
            line, indent = self.lines[self.at], self.indents[self.at]
            if line.strip(" "):
                base = base or max(indent, parent + 1)
                if indent < base:
                    if line[indent] == "\t":
                        raise self._wrong(TAB)
                    break
            lines.append(line[base:] if base else "")
            self.at += 1
        kept = len(lines)
        while kept and not lines[kept - 1].strip(" "):
            kept -= 1
        text = "\n".join(lines[:kept]) if style == "|" else folded_block(lines[:kept])
        ending = "\n" * bool(kept)
        return text + {"-": "", "+": ending + "\n" * (len(lines) - kept)}.get(chomp, ending)

    def _quoted(self, position: int, parent: int = -1) -> tuple[str, int]:
        """Text in quotes, and where it ends. parent: the column that its further lines must be right of."""
        quote = self.source[position]
        found = QUOTED[quote].match(self.source, position)
        below = range(self.at + 1, self._line(found.end()) + 1) if found and parent >= 0 else ()
        if found is None or any(self.contents[line] and self.indents[line] <= parent for line in below):
            raise self._wrong(f"opens a quote ({quote}) that is never closed: close it, or leave the quotes out")
        return unquoted(found), found.end()

    def _ended(self, value: Any, position: int) -> Any:
        """The value that ends at `position`, where its line must end too."""
        if _END.match(self.source, position) is None:
            last = self.source[position - 1]
            raise self._wrong(f"has text behind its closing {last}: put the whole value in one pair of quotes")
        self.at = self._line(position) + 1
        return value

    def _line(self, position: int) -> int:
        return bisect_right(self.starts, position) - 1

    # -- brackets

    def _flow(self, position: int, plain: re.Pattern[str]) -> tuple[Any, int]:
        """What begins at `position` inside brackets, or is one, and where it ends; plain: what text may be."""
        opening = self.source[position : position + 1]
        if opening in QUOTED:
            return self._quoted(position)
        if opening not in ("[", "{"):
            if (found := plain.match(self.source, position)) is None:
                raise self._unclosed(position)
            return folded([line.strip() for line in found[0].split("\n")]).strip(), found.end()
        self._deeper()
        items: list[Any] = []
        fields: dict[str, Any] = {}
        closing = "]" if opening == "[" else "}"
        position = self._space(position + 1)
        while (here := self.source[position : position + 1]) != closing:
            if here == ",":
                position = self._space(position + 1)
            elif opening == "[":
                item, position = self._flow(position, _ITEM)
                items.append(item)
                position = self._separated(position, closing)
            else:
                position = self._separated(self._pair(fields, position), closing)
        self.depth -= 1
        return items if opening == "[" else fields, position + 1

    def _pair(self, fields: dict[str, Any], position: int) -> int:
        """Read `key: value`, or a key alone; returns where it ends."""
        if self.source[position : position + 1] in ("[", "{"):
            raise self._wrong("has a bracket in place of a key: put it in quotes")
        key, position = self._flow(position, _KEY)
        if key in fields:
            raise self._wrong(f"gives {key} a second time: keep one of them")
        value: Any = ""
        position = self._space(position)
        if self.source[position : position + 1] == ":":
            position = self._space(position + 1)
            if self.source[position : position + 1] not in (",", "}"):
                value, position = self._flow(position, _ITEM)
        fields[key] = value
        return position

    def _space(self, position: int) -> int:
        found = _SPACE.match(self.source, position)
        return found.end() if found else position

    def _separated(self, position: int, closing: str) -> int:
        position = self._space(position)
        if self.source[position : position + 1] not in (",", closing):
            raise self._unclosed(position)
        return position

    def _unclosed(self, position: int) -> Malformed:
        if position >= len(self.source):
            return self._wrong("opens a bracket that is never closed: close it, or put the value in quotes")
        return self._wrong(
            f"has an unexpected {self.source[position]} in its brackets: put text that holds it in quotes"
        )
