"""The `bash` tool: one shell command in a process group of its own, bounded in time, in memory and in words."""

from __future__ import annotations

import errno
import os
import select
import selectors
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from io import FileIO
from time import monotonic

from ..errors import ToolError
from ..printable import printable
from ..toolbox import Scope, tool
from .processes import holding, in_session
from .words import visible

LONGEST = 3600  # seconds
LIMIT = 30_000  # characters of output that the model gets
KILL_AFTER = 0.1  # seconds from TERM to KILL
LAST_WORDS = 0.02  # seconds from there to the end, and again to the end of the output
LINGER = 0.5  # seconds that background processes have to finish their output once the command has ended
SETTLE = 0.05  # seconds that they have to become what they are called, or to be gone
NAMED = 10  # processes told as still running

# There is no terminal: nothing should draw on one, start an editor, or wait for a key after a screenful.
NO_TERMINAL = {"TERM": "dumb", "PAGER": "cat", "GIT_PAGER": "cat"}


def preview(command: str, timeout: float = 120, *, scope: Scope) -> str:
    """What a person decides about: the whole command, where, and nothing in it that a screen would not show."""
    _check(command, timeout)
    return f"$ {visible(command)}\ncwd {scope.cwd}"


@tool(asks=True, preview=preview)
def bash(command: str, timeout: float = 120, *, scope: Scope) -> str:
    """Run a shell command; timeout in seconds (120), at most 3600.

    Returns stdout and stderr as they came. Raises ToolError unless the exit status is 0; its last line says in
    brackets how it ended. What the command leaves running in the background goes on, and is named.
    """
    _check(command, timeout)
    if scope.cancel.is_set:
        raise ToolError("interrupted before the command started")
    with ExitStack() as ends:
        try:
            running = _Command(command, scope, ends)
        except OSError as error:
            raise ToolError(_why_not(error, str(scope.cwd))) from None
        ending = running.follow(timeout)
        notes = running.left_behind()
    if ending := ending or _exit(running.process.returncode):
        notes.append(ending)
    text = running.output.text()
    if notes:
        text += "\n" * bool(text and not text.endswith("\n")) + "\n".join(f"[{note}]" for note in notes)
    if ending:
        raise ToolError(text)
    return text


def _check(command: str, timeout: float) -> None:
    if not command.strip():
        raise ToolError("the command is empty: give the command to run")
    if "\0" in command:
        raise ToolError("the command contains a NUL character, which no program can be handed: write it as \\0")
    if not 0 < timeout <= LONGEST:
        raise ToolError(f"timeout must be more than 0 and at most {LONGEST} seconds, not {timeout}")


def _exit(status: int) -> str:
    """How the command ended; empty: well."""
    if status >= 0:
        return f"exit {status}" if status else ""
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:  # most of the real-time signals have no name
        return f"killed by signal {-status}"


def _why_not(error: OSError, cwd: str) -> str:
    if error.errno == errno.E2BIG:
        return "the command is longer than the system takes: write it to a file and run that"
    if error.errno in (errno.EAGAIN, errno.ENOMEM):
        return f"the system can start no more processes now ({error.strerror}): end some, or try again later"
    if error.filename == cwd:
        return f"the working directory {cwd} cannot be entered: {error.strerror}"
    return f"the command could not be started: {error.strerror}"


class _Output:
    """The beginning and the end of what was written, and how much it was: bounded, however much comes."""

    keep = 4 * (LIMIT // 2 + 1)  # bytes: half of the characters at UTF-8's longest, and one that was cut into

    def __init__(self) -> None:
        self.head, self.tail, self.total = bytearray(), bytearray(), 0

    def add(self, data: bytes) -> None:
        self.total += len(data)
        room = self.keep - len(self.head)
        self.head += data[:room]
        self.tail += data[room:]
        if len(self.tail) > 4 * self.keep:
            del self.tail[: -self.keep]

    def text(self) -> str:
        # Where bytes are missing between head and tail, the cut takes out more than the place where they meet.
        text = (self.head + self.tail).decode("utf-8", "surrogateescape")
        if len(text) <= LIMIT:
            return _readable(text)
        head, tail = text[: LIMIT // 2], text[-(LIMIT // 2) :]
        cut = self.total - sum(len(half.encode("utf-8", "surrogateescape")) for half in (head, tail))
        return f"{_readable(head)}\n[... {cut:,} bytes cut ...]\n{_readable(tail)}"


def _readable(text: str) -> str:
    return printable(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


class _Command:
    """One running command, followed by the thread that made it.

    A second thread, the keeper, waits for the shell's end, tells, and reaps it only when all is over: until then the
    dead shell keeps its process id, so that neither its group nor its session can be somebody else's by the time a
    signal is sent.
    """

    def __init__(self, command: str, scope: Scope, ends: ExitStack) -> None:
        """Start it; `ends` closes what is opened here. Raises OSError where that cannot be."""
        self.scope, self.output = scope, _Output()
        self.ended = False  # the shell has
        self.closed = False  # the output is: nobody holds it any more
        self.dying: set[int] = set()  # what got a KILL: a busy machine may take its time
        self.reading, writing = _pipe(ends)
        self.woken, self.wake = _pipe(ends)
        self.selector = ends.enter_context(selectors.DefaultSelector())
        for each in (self.reading, self.woken):
            self.selector.register(each, selectors.EVENT_READ)
        self.over = threading.Event()
        with ExitStack() as failed:
            # The keeper's own, since it may outlive this: a process that hangs in the kernel ends when it likes.
            told = failed.enter_context(FileIO(os.dup(self.wake.fileno()), "w"))
            self.process = _start(command, scope, writing)
            writing.close()
            self.keeper = threading.Thread(target=_keep, args=(self.process, told, self.over), daemon=True)
            try:
                self.keeper.start()
            except RuntimeError:
                self._signal(signal.SIGKILL)
                self.process.wait()
                raise OSError(errno.EAGAIN, "no more threads") from None
            failed.pop_all()
        ends.callback(self._let_go)

    def _let_go(self) -> None:
        if not self.ended:
            self._signal(signal.SIGKILL)
        self.over.set()
        if self.ended:
            self.keeper.join()

    def follow(self, timeout: float) -> str:
        """Take in the output until the command is over, out of time or cancelled; says which of the latter."""
        cancel = self.scope.cancel
        with cancel.on_set(self._interrupt):
            self._read(monotonic() + timeout, lambda: self.ended or cancel.is_set)
            if self.ended:
                self._read(monotonic() + LINGER, lambda: self.closed or cancel.is_set)
                if in_session(self.process.pid):
                    self._read(monotonic() + SETTLE, lambda: cancel.is_set)
            if not cancel.is_set:
                if self.ended:
                    return ""
                self._signal(signal.SIGTERM)
            self._end()
        return "interrupted" if cancel.is_set else f"timed out after {timeout:g} s: timeout may be up to {LONGEST}"

    def _interrupt(self) -> None:
        self._signal(signal.SIGTERM)
        os.write(self.wake.fileno(), b"c")

    def _read(self, deadline: float, until: Callable[[], bool]) -> None:
        """Take in what is written until `until` holds or the deadline is over."""
        while not until():
            left = deadline - monotonic()
            for key, _ in self.selector.select(max(left, 0)):
                data = os.read(key.fd, 65536)
                if key.fd == self.woken.fileno():
                    self.ended = self.ended or b"e" in data
                elif data:
                    self.output.add(data)
                else:
                    self.selector.unregister(key.fd)
                    self.closed = True
            if left <= 0:
                return

    def _end(self) -> None:
        """See to it that what got a TERM is gone, and groups of its own that the command made (`timeout`, `set -m`)."""

        def gone() -> bool:
            return self.ended and not in_session(self.process.pid)

        self._signal_strays(signal.SIGTERM)
        self._read(monotonic() + KILL_AFTER, gone)
        if not gone():
            self.dying.update(in_session(self.process.pid))
            self._signal(signal.SIGKILL)
            self._signal_strays(signal.SIGKILL)
            self._read(monotonic() + LAST_WORDS, gone)
        self._read(monotonic() + LAST_WORDS, lambda: self.closed)

    def _signal(self, number: int) -> None:
        with suppress(OSError):  # a group of nothing but the dead shell, or another user's
            os.killpg(self.process.pid, number)

    def _signal_strays(self, number: int) -> None:
        for pid in in_session(self.process.pid):
            with suppress(OSError):
                if os.getsid(pid) == self.process.pid != os.getpgid(pid):  # still: no id comes round that fast
                    os.kill(pid, number)

    def left_behind(self) -> list[str]:
        """What still runs, as notes; whatever it writes from now on is read by nobody, and does not end it."""
        running = in_session(self.process.pid)
        if not self.closed:
            running |= holding(self.reading.fileno())
            _drain(self.reading, self.scope)
        running = {pid: line for pid, line in running.items() if pid not in self.dying}
        notes = [f"still running: pid {pid}: {line}" for pid, line in sorted(running.items())]
        if len(notes) > NAMED:
            notes[NAMED:] = [f"still running: {len(notes) - NAMED} more"]
        if not running and not self.closed and not self.dying:
            notes.append("still running: a process that cannot be named; it holds the output")
        return notes


def _pipe(ends: ExitStack) -> tuple[FileIO, FileIO]:
    reading, writing = os.pipe()
    return ends.enter_context(FileIO(reading, "r")), ends.enter_context(FileIO(writing, "w"))


def _start(command: str, scope: Scope, output: FileIO) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [_shell(scope), "-c", "--", command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=str(scope.cwd),
            env={**scope.environment, **NO_TERMINAL},
            start_new_session=True,
        )
    except ValueError as error:  # characters that the locale cannot encode
        raise ToolError(f"the command cannot be handed to the shell: {error}") from None


def _shell(scope: Scope) -> str:
    path = scope.environment.get("PATH", os.defpath)
    shell = shutil.which("bash", path=path) or shutil.which("sh", path=path)
    if shell is None:
        raise ToolError(f"there is neither bash nor sh to run the command, in PATH={path}")
    return shell


def _keep(process: subprocess.Popen[bytes], told: FileIO, over: threading.Event) -> None:
    """The keeper's work."""
    with told, suppress(BrokenPipeError):  # nobody waits for it any more
        _await_end(process.pid)
        told.write(b"e")
    over.wait()
    process.wait()


def _await_end(pid: int) -> None:
    """Wait until a process has ended, without reaping it."""
    if sys.platform != "darwin":
        with suppress(ChildProcessError):  # reaped by the kernel: SIGCHLD is ignored
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return
    queue = select.kqueue()  # os.waitid came to macOS with Python 3.13
    try:
        with suppress(ProcessLookupError):  # it had ended before
            queue.control([select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)], 1)
    finally:
        queue.close()


def _drain(output: FileIO, scope: Scope) -> None:
    """Have the output of those left behind read away, by a process that ends with them.

    Without a reader, the next line that a server logs would be its last.
    """
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            ["/bin/sh", "-c", "exec 3<&0 </dev/null; cat <&3 &"],
            check=False,
            stdin=output,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=dict(scope.environment),
            start_new_session=True,
            timeout=1,
        )
