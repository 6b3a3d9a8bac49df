"""Which messages were taken: Discord may bring one twice, when a connection is resumed, and none is answered twice."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from ... import atomic

log = logging.getLogger("agentkit")

MOST = 1000  # messages that are remembered
FULL = 2 * MOST  # lines of the file: it is then written anew


class Seen:
    """Their ids, one a line in a file that a restart survives; used by one thread. A file that is damaged or cannot be
    written is no reason to stop: what cannot be kept is remembered until the program ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ids: dict[str, None] = {}  # the oldest in front
        self._lines = FULL  # in the file, as far as that can be appended to
        self._told = False

    def load(self) -> None:
        """Read what an earlier run has left."""
        try:
            data = atomic.small(self._path, 1 << 20)
        except OSError:
            return
        ids = [line for line in data.decode("ascii", "replace").split("\n") if line.isdigit()]
        self._ids = dict.fromkeys(ids[-MOST:])
        if data.endswith(b"\n"):
            self._lines = len(ids)

    def add(self, id: int) -> bool:
        """Remember a message; False: it was known."""
        if (line := str(id)) in self._ids:
            return False
        self._ids[line] = None
        if len(self._ids) > MOST:
            del self._ids[next(iter(self._ids))]
        try:
            self._keep(line)
        except OSError as error:
            self._lines = FULL
            if not self._told:
                self._told = True
                log.warning("%s cannot be written: %s", self._path, error.strerror)
        return True

    def _keep(self, line: str) -> None:
        folder = self._path.parent
        if not folder.parent.is_dir():  # no workspace yet: it is not made for this
            return
        folder.mkdir(mode=0o700, exist_ok=True)
        if self._lines >= FULL or not self._path.is_file():
            atomic.replace(self._path, "".join(f"{each}\n" for each in self._ids).encode(), 0o600, durable=False)
            self._lines = len(self._ids)
            return
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(self._path, flags)
        try:
            os.write(fd, f"{line}\n".encode())
        finally:
            os.close(fd)
        self._lines += 1
