"""One conversation on disk: a file of JSON lines that is only ever appended to.

Each line is a message, or a record of what became of those before it (see store.py). Whatever happened to the file,
what can be read of it becomes a conversation that is fit for the next request, and the next line is one of its own.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from . import atomic, jsonl
from .calls import object_of
from .store import Message, Store

SUFFIX = ".jsonl"
KEPT = "results"  # the folder, beside the conversations, of texts that are too long for the model
CURE = "What is said is kept in memory, and saved as soon as that can be done."


class Said(NamedTuple):
    """What a conversation's file holds.

    seen: the messages as the model sees them; whole: all that were said and not taken back, also where a compaction
    has replaced them; kept: the paths of texts that were too long for the model; broken: how many lines could not be
    read.
    """

    seen: list[Message]
    whole: list[Message]
    kept: list[str]
    broken: int


def read(data: bytes, pending: Sequence[Mapping[str, Any]] = ()) -> Said:
    """What a file says, and records after it that are not in it yet."""
    records, broken = jsonl.parse(data)
    live, whole = Store(), Store()
    kept: list[Any] = []
    before: list[list[Message]] = []  # the messages as they were before each compaction
    for record in (*records, *map(dict, pending)):
        if _is_message(record):
            kept.append(record.get("kept"))
            live.append(record)
            whole.append(record)
        elif _is_rewind(record):
            while not live.apply(record) and before:
                live.load(before.pop())
            whole.apply(record)
        elif _is_compaction(record):
            kept += record.get("kept", ())
            before.append(list(live.context.messages))
            live.apply(record)
        else:
            broken += 1
    paths = [path for path in kept if isinstance(path, str)]
    return Said(live.context.messages, whole.context.messages, paths, broken)


class Conversation:
    """One labelled file, open; its first line makes it. A Journal for the store.

    Nothing here raises for want of a disk: `trouble` says why nothing is saved, and what could not be written is kept
    and written as soon as that can be done.
    """

    def __init__(
        self,
        folder: Path,
        label: str = "",
        begin: Callable[[], None] = lambda: None,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        """label: empty for a dated one; begin: called before the file is made; tell: hears when there is trouble, and
        when it is over."""
        self.folder, self.label, self._begin, self._tell = folder, label, begin, tell
        self.trouble = ""
        self.locked = False  # another process has it open: nothing is written
        self._fd: int | None = None
        self._pending: deque[Mapping[str, Any]] = deque()
        self._made = False  # the file has been there

    @property
    def path(self) -> Path:
        return self.folder / f"{self.label}{SUFFIX}"

    def open(self) -> Said:
        """Load the file that is there, and hold it against other processes. Raises FileNotFoundError."""
        self._made = True
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
            self.locked = not _lock(self._fd)
        except FileNotFoundError:
            raise
        except OSError as error:
            self._fail(error)
        return self.load()

    def load(self) -> Said:
        """Everything that was said, read anew; what is not saved yet counts too."""
        data = b""
        if self._made:
            try:
                data = self.path.read_bytes() if self._fd is None else _contents(self._fd)
            except OSError as error:
                self._fail(error)
        return read(data, tuple(self._pending))

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a record; a file is made with the first one."""
        self._pending.append(record)
        self._flush()

    def sync(self) -> None:
        if self._pending:
            self._flush()
        if self._fd is not None:
            try:
                os.fsync(self._fd)
            except OSError as error:
                self._fail(error)

    def keep(self, text: str) -> str:
        folder = self.folder / KEPT
        path = folder / f"{os.urandom(6).hex()}.txt"
        try:
            self._begin()
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            atomic.replace(path, text.encode("utf-8", "replace"), 0o600)
        except OSError as error:
            self._fail(error)
            return ""
        return str(path)

    def rename(self, label: str) -> None:
        """Go by another label. Raises FileExistsError where that one is taken, and OSError."""
        if self._fd is not None or self._made:
            target = self.folder / f"{label}{SUFFIX}"
            # The name is taken first: renaming would overwrite another conversation.
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            try:
                os.replace(self.path, target)
            except OSError:
                os.unlink(target)
                raise
        elif (self.folder / f"{label}{SUFFIX}").exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), label)
        self.label = label

    def close(self) -> None:
        """Let other processes have it; what was said after all is saved, where that can be done."""
        if self._pending:
            self._flush()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _flush(self) -> None:
        if self.locked:
            return
        try:
            if self._fd is None or os.fstat(self._fd).st_nlink == 0:
                self._fd = self._opened()
            while self._pending:
                jsonl.append(self._fd, self._pending[0])
                self._pending.popleft()
        except OSError as error:
            self._fail(error)
        else:
            if self.trouble:
                self.trouble = ""
                self._tell(f"Everything is saved again, in {self.path}.")

    def _opened(self) -> int:
        """The file, opened again where it was replaced by an editor, or made: with all its lines, where it was
        deleted under us."""
        if self._made and self.path.exists():
            fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        else:
            lines = _contents(self._fd) if self._fd is not None else b""
            self._begin()
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = self._create()
            self._made = True
            while lines:
                lines = lines[os.write(fd, lines) :]
        if self._fd is not None:
            os.close(self._fd)
        self.locked = not _lock(fd)
        return fd

    def _create(self) -> int:
        """A new file, under a label that nobody has; the folder remembers it."""
        wanted = self.label or f"{datetime.now():%Y-%m-%d-%H%M}"
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        number = 1
        while True:
            label = wanted if number == 1 else f"{wanted}-{number}"
            try:
                fd = os.open(self.folder / f"{label}{SUFFIX}", flags, 0o600)
                break
            except FileExistsError:
                number += 1
        self.label = label
        atomic.sync_folder(self.folder)
        return fd

    def _fail(self, error: OSError) -> None:
        trouble = f"nothing is saved ({error.strerror or error})"
        if trouble != self.trouble:
            self.trouble = trouble
            self._tell(f"{trouble[0].upper()}{trouble[1:]}: {self.folder}. {CURE}")


def _lock(fd: int) -> bool:
    """Take the file for this process; the kernel gives it back, whatever becomes of us."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        return error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL)  # a file system without locks
    return True


def _contents(fd: int) -> bytes:
    size = os.fstat(fd).st_size
    pieces: list[bytes] = []
    at = 0
    while at < size and (piece := os.pread(fd, size - at, at)):
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)


# -- what a line may be: files are there to be edited, and what is put in is sent to a server


def _is_message(record: Mapping[str, Any]) -> bool:
    role, content, usage = record.get("role"), record.get("content"), record.get("usage", {})
    if not isinstance(record.get("n", 0), int) or not isinstance(record.get("at", ""), str):
        return False
    if not isinstance(usage, dict) or not all(isinstance(each, int) for each in usage.values()):
        return False
    if role == "user":
        return isinstance(content, str)
    if role == "tool":
        return isinstance(content, str) and isinstance(record.get("tool_call_id"), str)
    if role != "assistant" or not isinstance(content, (str, type(None))):
        return False
    if not isinstance(record.get("thinking", ""), str) or not isinstance(record.get("thinking_field", ""), str):
        return False
    calls = record.get("tool_calls") or []
    return isinstance(calls, list) and all(_is_call(call) for call in calls) and _differ(calls)


def _is_call(call: object) -> bool:
    if not isinstance(call, dict) or not isinstance(call.get("id"), str):
        return False
    function = call.get("function")
    return (
        isinstance(function, dict)
        and isinstance(function.get("name"), str)
        and isinstance(function.get("arguments"), str)
        and object_of(function["arguments"]) is not None
    )


def _differ(calls: Sequence[Mapping[str, Any]]) -> bool:
    return len({call["id"] for call in calls}) == len(calls)


def _is_rewind(record: Mapping[str, Any]) -> bool:
    return record.get("type") == "rewind" and isinstance(record.get("to"), int)


def _is_compaction(record: Mapping[str, Any]) -> bool:
    head, shortened = record.get("head"), record.get("shortened")
    return (
        record.get("type") == "compaction"
        and isinstance(record.get("first", ""), (int, type(None)))
        and isinstance(record.get("kept", []), list)
        and isinstance(head, list)
        and all(isinstance(each, dict) and _is_message(each) for each in head)
        and isinstance(shortened, dict)
        and all(isinstance(text, str) for text in shortened.values())
    )
