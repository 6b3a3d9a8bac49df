"""What was let go is given back: objects that hold themselves, and memory that the C library keeps."""

from __future__ import annotations

import gc
import platform
import re
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from agentkit import heap

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")

# Threads that all meet in malloc: each asks for memory with the interpreter's lock released.
MEET = """
import ctypes, threading
from agentkit import heap

SHARE
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fdopen.restype = ctypes.c_void_p
barrier = threading.Barrier(8)

def meet():
    barrier.wait()
    for _ in range(20_000):
        libc.free(ctypes.c_void_p(libc.malloc(2000)))

threads = [threading.Thread(target=meet) for _ in range(8)]
[each.start() for each in threads]
[each.join() for each in threads]
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""


class Circle:
    def __init__(self) -> None:
        self.itself = self


def test_what_holds_only_itself_is_freed() -> None:
    gc.disable()
    try:
        circle = weakref.ref(Circle())
        assert circle() is not None
        heap.give_back()
        assert circle() is None
    finally:
        gc.enable()


@glibc
def test_threads_share_one_arena() -> None:
    arenas = []
    for share in ("", "heap.share()"):
        done = subprocess.run(
            [sys.executable, "-c", MEET.replace("SHARE", share)],
            cwd=Path(__file__).parent.parent,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        arenas.append(len(re.findall("<heap nr=", done.stdout)))
    assert arenas[1] == 1 < arenas[0]
