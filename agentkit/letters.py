"""Letters on disk: what somebody is to get, kept until they have it.

A file is one text, with all its parts, so that a crash leaves all of them or none; its name is the letter's id, and
ids grow with time. In `failed/` is what nobody tries any more, in `corrupt/` what is no letter. A person may read,
edit, copy and delete them.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from . import atomic
from .envelope import Damaged, Envelope, Letter, data, letter_id, parse

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

CENTURY = 100 * 365 * 86_400.0  # seconds

_NAME = re.compile(r"[0-9a-f]{14}-[0-9a-f]{4}\.json")
_NO_FILE = (errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENXIO)  # a folder, a FIFO, a socket in its place


class Letters:
    """The files of the folder, which is made with the first letter. May be used from any thread, a letter by one at a
    time; what is written survives a loss of power. A file that somebody else has removed is gone: FileNotFoundError."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.failed, self.corrupt = folder, folder / "failed", folder / "corrupt"
        self._lock = threading.Lock()  # serialises the giving of ids
        self._last = 0

    def write(
        self,
        channel: str,
        to: str,
        texts: Sequence[str],
        at: float,
        nonce: str = "",
        reply: str = "",
        by: str = "",
        session: str = "",
    ) -> Envelope:
        """Keep a new letter: it is there when this returns. Raises OSError, and then there is nothing of it."""
        with self._lock:
            self._last = stamp = max(int(at * 1e6), self._last + 1)
        id = f"{stamp:014x}-{os.urandom(2).hex()}"
        envelope = Envelope(id, channel, to, len(texts), at, nonce=nonce, reply=reply, by=by, session=session)
        try:
            folder = os.open(self.folder, FOLDER)
        except FileNotFoundError:
            _make(self.folder)
            folder = os.open(self.folder, FOLDER)
        try:
            atomic.replace_at(folder, f"{envelope.id}.json", data(envelope, texts), 0o600, None)
        finally:
            os.close(folder)
        return envelope

    def load(self, now: float) -> tuple[list[Envelope], list[str]]:
        """All that is to be delivered, the oldest first, and what there is to say about the rest. Raises OSError."""
        found, said = [], []
        for name in _names(self.folder):
            path = f"{self.folder}/{name}"
            try:
                envelope, _ = _parsed(path)
            except Damaged as error:
                said.append(self.put_aside(Path(path), error))
            except OSError as error:
                if not isinstance(error, FileNotFoundError):
                    said.append(f"{path} cannot be read ({error.strerror}): it goes out when that works at a start.")
            else:
                envelope.look_at(now)
                found.append(envelope)
                stamp = int(name.partition("-")[0], 16)
                if stamp < (now + CENTURY) * 1e6:  # else it was not given here, and those behind it would be too long
                    self._last = max(self._last, stamp)
        return found, said

    def sweep(self) -> None:
        """Remove what writing has left behind where it did not come to its end. Only by the one who writes."""
        for folder in (self.folder, self.failed):
            with suppress(OSError):
                for name in os.listdir(folder):
                    if name.startswith(".") and name.endswith(".tmp"):
                        os.unlink(folder / name)

    def open(self, envelope: Envelope) -> Letter:
        """The part that is due, with its text. Raises OSError, and Damaged."""
        return envelope.letter(_parsed(self.path(envelope))[1])

    def note(self, envelope: Envelope) -> None:
        """Write down how far it has come. Raises OSError, and Damaged."""
        path = self.path(envelope)
        atomic.replace(path, data(envelope, _parsed(path)[1]), 0o600)

    def remove(self, envelope: Envelope) -> None:
        """It was delivered. After a loss of power it may be there again. Raises OSError."""
        os.unlink(self.path(envelope))

    def drop(self, id: str) -> None:
        """The letter of that id, or of its part, was delivered, as far as there is one. Raises OSError."""
        with suppress(FileNotFoundError):
            os.unlink(self.folder / f"{letter_id(id)}.json")

    def give_up(self, envelope: Envelope) -> None:
        """Write down why, and move it to failed/. Raises OSError, and Damaged."""
        with suppress(OSError):  # on a full disk the move may do, and is worth more
            self.note(envelope)
        _make(self.failed)
        os.replace(self.path(envelope), self.failed / f"{envelope.id}.json")

    def failures(self) -> tuple[list[Letter], list[str]]:
        """What has failed, the oldest first, each with the part that did and the reason; and what there is to say
        about the rest. Raises OSError."""
        found, said = [], []
        for id in self.failed_ids():
            path = self.failed / f"{id}.json"
            try:
                envelope, texts = _parsed(path)
                found.append(envelope.letter(texts))
            except Damaged as error:
                said.append(self.put_aside(path, error))
            except OSError as error:
                if not isinstance(error, FileNotFoundError):
                    said.append(f"{path} cannot be read ({error.strerror}).")
        return found, said

    def failed_ids(self) -> list[str]:
        """The ids of those. Raises OSError."""
        return [name.removesuffix(".json") for name in _names(self.failed)]

    def take_back(self, id: str) -> Envelope | None:
        """Have a letter that has failed delivered after all, from the part that did; None: there is no such one.
        Raises OSError. Not by two threads at once."""
        path = self.failed / f"{id}.json"
        try:
            envelope, texts = _parsed(path)
            envelope.attempts, envelope.next = 0, 0.0
            atomic.replace(path, data(envelope, texts), 0o600)
            os.replace(path, self.path(envelope))
        except (FileNotFoundError, Damaged):
            return None
        return envelope

    def put_aside(self, path: Path, why: Damaged) -> str:
        """Move what is no letter out of the way; returns what to tell a person."""
        new = self.corrupt / path.name
        try:
            _make(self.corrupt)
            os.replace(path, new)
        except OSError as error:
            return f"{path} is no letter ({why}), and cannot be moved ({error.strerror}): remove it."
        return f"A letter was damaged ({why}) and is not delivered: see {new}."

    def path(self, envelope: Envelope) -> Path:
        """Where it is."""
        return self.folder / f"{envelope.id}.json"


def _make(folder: Path) -> None:
    """Make it, and what it is in, for nobody else to see."""
    for each in (folder.parent, folder):
        if not each.is_dir():
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
            atomic.sync_folder(each.parent)


def _names(folder: Path) -> list[str]:
    """The letters of a folder, the oldest first."""
    try:
        return sorted(name for name in os.listdir(folder) if _NAME.fullmatch(name))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _parsed(path: str | Path) -> tuple[Envelope, list[str]]:
    """Raises OSError, and Damaged."""
    try:
        return parse(os.path.basename(path).removesuffix(".json"), _read(path))
    except OSError as error:
        if error.errno in _NO_FILE:
            raise Damaged("it is no regular file") from None
        raise


def _read(path: str | Path) -> bytes:
    """All of a regular file. Raises OSError. (As atomic.small does, but much faster: there may be many.)"""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        read = b""
        while len(read) < info.st_size and (more := os.read(fd, info.st_size - len(read))):
            read += more
        return read
    finally:
        os.close(fd)
