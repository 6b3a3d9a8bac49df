"""Names that people choose, made safe as names of files: for conversations, memories, agents, session keys."""

from __future__ import annotations

import re
import unicodedata
from hashlib import sha256

LONGEST = 150  # bytes of a slug: with an ending and a date it stays below the 255 of most file systems
LONGEST_KEY = 180  # bytes of an encoded session key

# Device names of Windows, also with an ending ("Naming Files, Paths, and Namespaces" in its documentation): a folder
# is copied, synced, and shared with WSL.
_DEVICE = re.compile(r"(?:con|prn|aux|nul|(?:com|lpt)[0-9¹²³])(?=\.|\Z)", re.IGNORECASE)

# Letters and marks that nobody sees (Default_Ignorable_Code_Point in Unicode's DerivedCoreProperties.txt).
_INVISIBLE = "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"


def slug(text: str, longest: int = 64) -> str:
    """A label or a memory's name as the name of a file, without an ending; "" where nothing is left of it.

    Letters, digits, `.`, `_` and `-` of any script stay as they are (in Unicode's form C), all else becomes `-`.
    longest: characters; there are at most 150 bytes of UTF-8 too. A slug's slug is itself.
    """
    composed = text if text.isascii() else unicodedata.normalize("NFC", re.sub(_INVISIBLE, "", text))
    name = re.sub("--+", "-", "".join(_kept(composed)))
    name = _cut(name.lstrip("-."), longest)
    if device := _DEVICE.match(name):
        name = _cut(f"{device[0][: longest - 1]}_{name[device.end() :]}", longest)
    return name


def _kept(text: str) -> list[str]:
    """Its characters, each as it may stand in a name. An accent stands on a letter only."""
    kept: list[str] = []
    bare = True
    for character in text:
        kind = unicodedata.category(character)[0]
        stays = character in "._-" or kind in "LN" or (kind == "M" and not bare)
        kept.append(character if stays else "-")
        bare = not stays or character in "._-"
    return kept


def _cut(name: str, longest: int) -> str:
    return name[:longest].encode()[:LONGEST].decode("utf-8", "ignore").rstrip("-.")


def agent_id(text: str) -> str:
    """An agent's id, `[a-z0-9][a-z0-9_-]{0,63}`, from what its folder is called or somebody typed; "": nothing is left.

    Accents are dropped: `Café Déjà` is `cafe-deja`. An id's id is itself.
    """
    plain = "".join(each for each in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(each))
    return re.sub(r"[^a-z0-9_-]+", "-", plain.lower()).lstrip("-_")[:64].rstrip("-")


def encoded(key: str) -> str:
    """A session key as the name of a folder; no two keys share one, on any file system.

    What is not of `[a-z0-9:_@+=.-]`, and a dot in front, is percent-encoded UTF-8 (RFC 3986): some file systems take
    upper and lower case, or two Unicode forms of a letter, for the same. A long name ends in `~` and a hash.
    """
    name = re.sub(r"[^a-z0-9:_@+=.-]|\A\.", lambda found: _percent(found[0]), key) or "%"
    if len(name) <= LONGEST_KEY:
        return name
    digest = sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{name[: LONGEST_KEY - len(digest) - 1]}~{digest}"


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
