"""The heap, kept about as small as what is in it.

The C library of GNU makes an arena for each thread that meets another, up to 8 for each processor, and what is free in
one is of no use to the others: with many threads most of the memory that is taken holds nothing. Threads of Python
allocate one after the other anyway. See mallopt(3) and malloc_trim(3); other C libraries have no such functions.
"""

from __future__ import annotations

import gc

M_ARENA_MAX = -8  # of malloc.h


def share() -> None:
    """Have all threads of this process use one arena; for a process that has few yet."""
    _call("mallopt", M_ARENA_MAX, 1)


def give_back() -> None:
    """Free what only holds itself, and give what is free back to the system: for a quiet moment after much was let go,
    as everything else waits for some milliseconds."""
    gc.collect()
    _call("malloc_trim", 0)


def _call(function: str, *arguments: int) -> None:
    """A function of the C library, where it can be had: without it there is only more memory taken."""
    try:
        import ctypes  # it makes code when it is imported, which a service may be kept from (MemoryError)

        getattr(ctypes.CDLL(None), function)(*arguments)
    except (ImportError, OSError, AttributeError, MemoryError):
        pass
