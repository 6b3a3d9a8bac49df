"""Which files a person names after an @ in what is typed. Pure, but for the question whether there is such a file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator

LOOKS = 1000  # times that the disk is asked about one message
ENDS = 16  # places where one path may end
TRAILING = ".,;:!?)]}>\"'`’”»…。，、；：！？）】」』"
INNER = re.compile(r"[,;:)\]}>\"'`’”»，、；：）】」』]")  # a dot or a mark within a word is part of its name

# Where a word begins: not within an address such as me@example.com.
BEGINNING = r"(?<![^\s(\[{<\"'`‘“«（【「『])@"
_MENTION = re.compile(BEGINNING + r"(?:\"([^\"\n]{1,4096})\"|(\S{1,4096}))")


def mentions(typed: str, exists: Callable[[str], bool] = os.path.lexists) -> list[str]:
    """The paths after an @, in order, each once: `@notes.txt`, `@"my notes.txt"`, `(see @src/a.py:12)`.

    exists: is there such a path, seen from the working directory? What is not there is just a word, and so is an
    address. `~` is the home folder.
    """
    found: dict[str, None] = {}
    at, looks = 0, LOOKS
    while looks > 0 and (word := _MENTION.search(typed, at)):
        at = word.start() + 1
        for path, end in _readings(word):
            looks -= 1
            if exists(home(path)):
                found[home(path)] = None
                at = end
                break
    return list(found)


def _readings(word: re.Match[str]) -> Iterator[tuple[str, int]]:
    """The paths that a word may mean, with the place where each ends: the longest first, since a name may end in a
    mark that belongs to the sentence elsewhere."""
    if word[1]:
        yield word[1], word.end()
        return
    path, start = word[2], word.start(2)
    bare = len(path.rstrip(TRAILING))
    ends = [*range(len(path), max(bare, len(path) - ENDS), -1), bare]
    ends += [each.start() for each in INNER.finditer(path, 1, bare)][:ENDS][::-1]
    # Dots alone are an ellipsis, or a folder.
    yield from ((path[:end], start + end) for end in ends if path[:end].strip("./"))


def home(path: str) -> str:
    """The path without the `~` of people, which file tools do not know."""
    return os.path.expanduser(path) if path.startswith("~/") else path
