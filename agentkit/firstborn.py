"""Where we are process 1, as in a container: a child does the work, and this process does what only that one can.

The kernel hands it all processes whose parents are gone, such as what a tool has left running, and keeps each of them
as a zombie until it is waited for; and it drops signals for which process 1 has no handler. The child has neither to
mind: it gets the signals that come here, and its exit code is that of the container.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

PASSED_ON = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}


def look_after() -> int | None:
    """Wait for the child that does the work, and for all orphans; returns its exit code. None: we are not process 1,
    or we are the child. To be called before there are threads."""
    if os.getpid() != 1:
        return None
    return foster()


def foster() -> int | None:
    """The same, whatever the number of this process."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*PASSED_ON, signal.SIGCHLD})
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)  # Ctrl-C in a terminal is for this process, which passes it on: once, not twice
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return None
    while True:
        number = signal.sigwait({*PASSED_ON, signal.SIGCHLD})
        if number != signal.SIGCHLD:
            with suppress(ProcessLookupError):
                os.kill(child, number)
        elif (status := _waited_for(child)) is not None:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _waited_for(child: int) -> int | None:
    """Let all that have ended go; returns how the child did, None: it goes on."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == child:
            found = status
