"""The heap, kept about as small as what is in it.

The C library of GNU makes an arena for each thread that meets another, up to 8 for each processor, and what is free in
one is of no use to the others: with many threads most of the memory that is taken holds nothing. Threads of Python
allocate one after the other anyway. See mallopt(3) and malloc_trim(3); other C libraries have no such functions.
"""

from __future__ import annotations

import gc
from contextlib import suppress

M_ARENA_MAX = -8  # of malloc.h


def share() -> None:
    """Have all threads of this process use one arena; for a process that has few yet."""
    import ctypes  # a chat does without it until it is idle

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def give_back() -> None:
    """Free what only holds itself, and give what is free back to the system: for a quiet moment after much was let go,
    as everything else waits for some milliseconds."""
    import ctypes

    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
