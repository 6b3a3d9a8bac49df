"""The conversations of one session key: a folder of labelled files, one of them current."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import normalize

from . import atomic
from .conversation import KEPT, SUFFIX, Conversation
from .errors import CommandError
from .names import slug
from .past import read

CURRENT = "current"  # the file that names the open conversation
META = "meta.json"  # the file that says who was here last
SMALL = 1 << 16  # bytes of those two, at most


class Entry(NamedTuple):
    """A conversation in a list. messages: those of people and of the assistant; used: when it was last written;
    tokens: what its last request took, or would take."""

    label: str
    messages: int
    used: datetime
    tokens: int


class Archive:
    """folder: `sessions/<session key>`, which need not exist; begin: called before anything is written there; tell:
    hears of trouble (see Conversation). Looking may be done from any thread."""

    def __init__(
        self, folder: Path, begin: Callable[[], None] = lambda: None, tell: Callable[[str], None] = lambda text: None
    ) -> None:
        self.folder, self._begin, self._tell = folder, begin, tell
        self._noted = ("", "", "", "", "")  # what META says of the last message, to the minute
        self._seen: dict[str, tuple[tuple[int, ...], Entry]] = {}  # by label: what the file was like when it was read

    def labels(self) -> list[str]:
        """All labels, the one used last first."""
        used: list[tuple[int, str]] = []
        with suppress(OSError), os.scandir(self.folder) as entries:
            for each in entries:
                with suppress(OSError, UnicodeEncodeError):
                    each.name.encode()
                    if each.name.endswith(SUFFIX) and each.name[0] != "." and each.is_file():
                        used.append((each.stat().st_mtime_ns, each.name.removesuffix(SUFFIX)))
        return [label for _, label in sorted(used, reverse=True)]

    def has(self, label: str) -> bool:
        """Is there anything of that label, even if it cannot be read?"""
        return os.path.lexists(self.folder / f"{label}{SUFFIX}")

    def entries(self) -> list[Entry]:
        """All conversations, the one used last first; files that have not changed are not read again."""
        found = []
        for label in self.labels():
            with suppress(OSError):
                found.append(self._entry(label))
        return found

    def find(self, label: str) -> str:
        """The label meant: itself, or the only one that begins so. Raises CommandError."""
        labels = self.labels()
        wanted = label if label in labels else slug(label)
        if wanted in labels:
            return wanted
        beginnings = {_folded(label), _folded(wanted)} - {""}
        near = [each for each in labels if _folded(each).startswith(tuple(beginnings))]
        if len(near) == 1:
            return near[0]
        if near:
            raise CommandError(f"{label} may be {', '.join(near)}: say more of it.")
        raise CommandError(f"There is no conversation {label}: /list shows what there is.")

    @property
    def current(self) -> str:
        """The label of the current conversation, or of the one used last; empty where there is none."""
        labels = self.labels()
        named = self._small(CURRENT).strip()
        return named if named in labels else labels[0] if labels else ""

    def used_in(self, channel: str) -> str:
        """The label of the conversation that was last used in a channel; empty where that is not known."""
        used = self._meta().get("used")
        label = used.get(channel) if isinstance(used, dict) else None
        return label if isinstance(label, str) and label in self.labels() else ""

    def holding(self, words: str, since: float) -> list[str]:
        """The labels of the conversations that were written to since, in seconds since 1970, and hold these words."""
        found = []
        for label in self.labels():  # the one used last first
            path = self.folder / f"{label}{SUFFIX}"
            with suppress(OSError):
                if path.stat().st_mtime < since:
                    break
                if words.encode() in path.read_bytes():
                    found.append(label)
        return found

    def new(self, label: str = "") -> Conversation:
        """A conversation that gets its file with its first message; label: empty for a dated one."""
        return Conversation(self.folder, label, self._begin, self._tell)

    def note(self, label: str, channel: str, peer: str, to: str = "", session: str = "") -> None:
        """This conversation is the current one, and this person spoke last. to: where letters reach them; session: the
        key, which the folder's name need not tell."""
        now = datetime.now().astimezone()
        noted = (label, channel, peer, to, f"{now:%Y-%m-%d %H:%M}")
        if noted == self._noted:
            return
        meta = self._meta()
        used = meta["used"] if isinstance(meta.get("used"), dict) else {}
        meta.update(
            session=session,
            channel=channel,
            peer=peer,
            to=to or peer,
            at=now.isoformat(timespec="seconds"),
            used={**used, channel: label},
        )
        with suppress(OSError):  # the conversation itself has said what is wrong
            atomic.replace(self.folder / META, json.dumps(meta, indent=1).encode() + b"\n", 0o600)
            if label != self._noted[0]:
                self.make_current(label)
            self._noted = noted

    def make_current(self, label: str) -> None:
        """Go on with this one next time. Raises OSError."""
        atomic.replace(self.folder / CURRENT, f"{label}\n".encode(), 0o600)

    def delete(self, label: str) -> None:
        """Delete a conversation, and the long texts kept for it. Raises CommandError where another process has it."""
        conversation = self.new(label)
        try:
            said = conversation.open()
            if conversation.locked:
                raise CommandError(f"{label} is open in another process: leave it there first.")
            for path in map(Path, said.kept):
                if path.parent == self.folder / KEPT and not self._needs(path, label):
                    path.unlink(missing_ok=True)
            conversation.path.unlink()
        except OSError as error:
            raise CommandError(f"{label} cannot be deleted: {error.strerror}.") from None
        finally:
            conversation.close()

    def _needs(self, path: Path, label: str) -> bool:
        """Does another conversation speak of a long text? One may be a copy of the other."""
        others = (self.folder / f"{each}{SUFFIX}" for each in self.labels() if each != label)
        return any(path.name.encode() in each.read_bytes() for each in others)

    def _entry(self, label: str) -> Entry:
        path = self.folder / f"{label}{SUFFIX}"
        info = path.stat()
        signature = (info.st_mtime_ns, info.st_size, info.st_ino)
        known = self._seen.get(label)
        if known and known[0] == signature:
            return known[1]
        said = read(path.read_bytes())
        messages = sum(each["role"] != "tool" and not each.get("tool_calls") for each in said.whole)
        entry = Entry(label, messages, datetime.fromtimestamp(info.st_mtime).astimezone(), said.tokens)
        self._seen[label] = signature, entry
        return entry

    def _meta(self) -> dict[str, Any]:
        try:
            meta = json.loads(self._small(META))
        except (ValueError, RecursionError):
            return {}
        return meta if isinstance(meta, dict) else {}

    def _small(self, name: str) -> str:
        """The text of a small file, empty where there is none."""
        try:
            return atomic.small(self.folder / name, SMALL).decode("utf-8", "replace")
        except OSError:
            return ""


def _folded(label: str) -> str:
    return normalize("NFC", label).casefold()
