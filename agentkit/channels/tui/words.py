"""Where the characters and the words of a draft begin and end. A draft may be long: no more of it is looked at than is
needed."""

from __future__ import annotations

from unicodedata import category

from .chips import has_chip
from .wrap import width


def before(text: str, at: int) -> int:
    """Where the character before a place begins, marks included; 0 at the beginning."""
    at = max(0, at - 1)
    while at and _joins(text[at - 1], text[at]):
        at -= 1
    return at


def after(text: str, at: int) -> int:
    """Where the character behind a place ends, marks included; the end of the text at its end."""
    at = min(len(text), at + 1)
    while at < len(text) and _joins(text[at - 1], text[at]):
        at += 1
    return at


def word_start(text: str, place: int) -> int:
    """Where the word at or before a place begins, as in emacs. A chip is a word by itself."""
    at = place
    while at and not text[at - 1].isalnum() and not has_chip(text[at - 1]):
        at -= 1
    if at and has_chip(text[at - 1]):
        return at - 1
    while at and (text[at - 1].isalnum() or _is_mark(text[at - 1])):
        at -= 1
    while at < place and _is_mark(text[at]):
        at += 1  # these belong to what is before the word
    return at


def word_end(text: str, at: int) -> int:
    """Where the word at or behind a place ends."""
    while at < len(text) and not text[at].isalnum() and not has_chip(text[at]):
        at += 1
    if at < len(text) and has_chip(text[at]):
        return at + 1
    while at < len(text) and (text[at].isalnum() or _is_mark(text[at])):
        at += 1
    return at


def _joins(left: str, right: str) -> bool:
    """Are these parts of one character, as `clusters` has it? A line feed and a chip are whole by themselves."""
    if "\n" in (left, right) or has_chip(left) or has_chip(right):
        return False
    return left == "\u200d" or width(right) == 0


def _is_mark(character: str) -> bool:
    """Does it belong to what is before it?"""
    return category(character) in ("Mn", "Me", "Mc", "Cf")
