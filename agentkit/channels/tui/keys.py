"""Terminal bytes in, keys out; no terminal needed.

Follows ECMA-48 control sequences as xterm sends them, with SGR mouse reports, bracketed paste and the `CSI u` keys of
newer terminals. Whatever is not understood is passed over, never typed.
"""

from __future__ import annotations

import re
from typing import NamedTuple

PASTE_END = b"\x1b[201~"
LONGEST = 64  # bytes of a control sequence; a longer one is noise
ESCAPE = 0.05  # seconds until an ESC is a key
PASTE = 1.0  # seconds of silence until a paste without an end is over


class Key(NamedTuple):
    """name: `text` and `paste` (with what in `text`), `enter`, `up`, `C-a`, `M-b`, `C-left`, `wheel-up` ..."""

    name: str
    text: str = ""


# CSI, with the function keys of the Linux console; SS3, which older terminals give parameters.
_SEQUENCE = re.compile(
    rb"\x1b(?:\[\[(?P<console>[A-E])|\[(?P<given>[0-?]*)[ -/]*(?P<final>[@-Z\\-~])|O[0-9;]*(?P<ss3>[ -/:<-~]))"
)
_BEGUN = re.compile(rb"\x1b(?:\[\[|\[[0-?]*[ -/]*|O[0-9;]*)?")
# What a terminal answers that was asked something: OSC, DCS, SOS, PM, APC, up to BEL or ST.
_ANSWER = re.compile(rb"\x1b[\]PX^_][^\x07\x18\x1a\x1b]*(?:\x07|\x1b\\|(?P<cut>\x1b?\Z)|(?P<broken>[\x18\x1a\x1b]))")
LONGEST_ANSWER = 4096  # bytes
_RUN = re.compile(rb"[^\x00-\x1f\x7f]*")
_BEGUN_CHARACTER = re.compile(rb"(?:[\xc2-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf4][\x80-\xbf]{0,2})$")
_LETTERS = {
    "A": "up", "B": "down", "C": "right", "D": "left", "H": "home", "F": "end", "Z": "S-tab", "M": "enter",
    "P": "f1", "Q": "f2", "R": "f3", "S": "f4",
}  # fmt: skip
_CONSOLE = {"A": "f1", "B": "f2", "C": "f3", "D": "f4", "E": "f5"}
_NUMBERS = {
    1: "home", 2: "insert", 3: "delete", 4: "end", 5: "pgup", 6: "pgdn", 7: "home", 8: "end", 11: "f1", 12: "f2",
}  # fmt: skip
_CONTROLS = {0x0D: "enter", 0x09: "tab", 0x7F: "backspace", 0x08: "backspace", 0x1B: "esc", 0x00: "C-space"}
OTHER = 8 | 16 | 32  # modifiers: Super, Hyper, Meta
_CODES = {13: "enter", 9: "tab", 127: "backspace", 27: "esc", 32: "space"}
_WHEEL = {64: "wheel-up", 65: "wheel-down"}


class Keys:
    """Bytes as they are read, cut anywhere."""

    def __init__(self) -> None:
        self._bytes = b""
        self._paste: bytearray | None = None

    @property
    def patience(self) -> float | None:
        """Seconds to wait for more bytes before `flush`: an ESC may be a key or the beginning of a sequence, a paste
        may have lost its end. None: nothing is open."""
        if self._paste is not None:
            return PASTE
        return ESCAPE if self._bytes.startswith(b"\x1b") else None

    def feed(self, data: bytes) -> list[Key]:
        """Take the next bytes."""
        keys: list[Key] = []
        self._bytes += data
        at = 0
        while at < len(self._bytes):
            size = self._pasted(at, keys) if self._paste is not None else self._next(at, keys)
            if not size:
                break
            at += size
        self._bytes = self._bytes[at:]
        return keys

    def flush(self) -> list[Key]:
        """No more bytes have come: an ESC was a key, a paste is over."""
        if self._paste is not None:
            return self.feed(PASTE_END)
        if not self._bytes.startswith(b"\x1b"):
            return []
        rest, self._bytes = self._bytes[1:], b""
        if len(rest) == 1 and rest in b"[O]PX^_":
            return [Key(f"M-{rest.decode()}")]
        if (rest and _BEGUN.fullmatch(b"\x1b" + rest)) or _ANSWER.match(b"\x1b" + rest):
            return []  # it has no end, and is no text
        return [Key("esc"), *self.feed(rest)]

    def _next(self, at: int, keys: list[Key]) -> int:
        """Take one key, or a run of text; how many bytes it was, 0: more are needed."""
        first = self._bytes[at]
        if first == 0x1B:
            return self._escape(at, keys)
        if first < 0x20 or first == 0x7F:
            keys.append(Key(_CONTROLS.get(first) or f"C-{chr(first | 0x60)}"))
            return 1
        run = _RUN.match(self._bytes, at)
        data = run[0] if run else b""
        if at + len(data) == len(self._bytes) and (begun := _BEGUN_CHARACTER.search(data)):
            data = data[: begun.start()]  # the last character is not whole yet
        if data:
            keys.append(Key("text", data.decode("utf-8", "replace")))
        return len(data)

    def _escape(self, at: int, keys: list[Key]) -> int:
        left = len(self._bytes) - at
        if found := _ANSWER.match(self._bytes, at):
            size = found.end() - at
            if found["cut"] is None:
                return size - (found["broken"] == b"\x1b")
            return size if size > LONGEST_ANSWER else 0
        if found := _SEQUENCE.match(self._bytes, at):
            size = found.end() - at
            if found[0] == b"\x1b[M":  # a mouse report of the old form: three bytes follow
                return size + 3 if left >= size + 3 else 0
            if found[0] == b"\x1b[200~":
                self._paste = bytearray()
            elif key := _named(found):
                keys.append(key)
            return size
        begun = _BEGUN.match(self._bytes, at)
        size = begun.end() - at if begun else 1
        if size == left and size <= LONGEST:
            return 0
        if size > 2:  # broken in its middle
            return size
        after = self._bytes[at + 1]
        if after == 0x1B:
            keys.append(Key("esc"))
            return 1
        if after < 0x20 or after == 0x7F:
            keys.append(Key(f"M-{_CONTROLS.get(after) or 'C-' + chr(after | 0x60)}"))
            return 2
        length = 1 if after < 0xC0 else 2 if after < 0xE0 else 3 if after < 0xF0 else 4
        if left < 1 + length:
            return 0
        keys.append(Key(f"M-{self._bytes[at + 1 : at + 1 + length].decode('utf-8', 'replace')}"))
        return 1 + length

    def _pasted(self, at: int, keys: list[Key]) -> int:
        """Within a paste: everything up to its end, which may be cut too."""
        assert self._paste is not None
        end = self._bytes.find(PASTE_END, at)
        if end < 0:
            kept = max(0, len(self._bytes) - at - len(PASTE_END) + 1)
            self._paste += self._bytes[at : at + kept]
            return kept
        self._paste += self._bytes[at:end]
        text = bytes(self._paste).decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
        keys.append(Key("paste", text))
        self._paste = None
        return end - at + len(PASTE_END)


def _named(found: re.Match[bytes]) -> Key | None:
    """The key of a whole sequence; None for what is no key."""
    if found["given"] is None:
        name = _CONSOLE.get((found["console"] or b"").decode()) or _LETTERS.get((found["ss3"] or b"").decode())
        return Key(name) if name else None
    parameters, final = found["given"].decode(), found["final"].decode()
    if parameters.startswith("<"):
        button = parameters[1:].partition(";")[0]
        wheel = _WHEEL.get(int(button)) if button.isdigit() and final == "M" else None
        return Key(wheel) if wheel else None
    fields = [each.split(":") for each in parameters.split(";")]
    numbers = [int(each[0]) if each[0].isdigit() else 1 for each in fields]
    modifiers = numbers[1] - 1 if len(numbers) > 1 else 0
    if modifiers & OTHER or (len(fields) > 1 and fields[1][1:2] == ["3"]):  # such a key is not ours, nor its release
        return None
    modifiers &= 7
    if final == "~" and numbers[0] == 27 and len(numbers) > 2:
        name = _coded(numbers[2])
    elif final == "~":
        name = _NUMBERS.get(numbers[0])
    elif final == "u":
        name = _coded(numbers[0])
    else:
        name = _LETTERS.get(final) if final != "M" else None
    if name is None:
        return None
    if len(name) == 1 and modifiers in (0, 1):
        return Key("text", name)
    if name == "enter" and modifiers:
        return Key("M-enter")  # Shift-Enter and its kin: a new line
    return Key("C-" * bool(modifiers & 4) + "M-" * bool(modifiers & 2) + "S-" * (modifiers == 1) + name)


def _coded(code: int) -> str | None:
    """The key of a Unicode number."""
    if code in _CODES:
        return _CODES[code]
    return chr(code) if 32 < code < 0x110000 and not 0xD800 <= code <= 0xDFFF and chr(code).isprintable() else None
