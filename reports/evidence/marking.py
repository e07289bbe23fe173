"""Marks where two texts differ.

Pure.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from itertools import takewhile

import msgspec

MOST_CHARACTERS = 600
"""An excerpt has at most this many characters of each text."""
BEFORE = 80
"""How many equal characters an excerpt keeps before the first difference."""
_TOKEN = re.compile(r"\w+|\W")


class Piece(msgspec.Struct, frozen=True):
    """A part of a text; `differs` if the other text does not have it in this place."""

    text: str
    differs: bool = False


Marked = tuple[Piece, ...]


def mark(one: str, other: str) -> tuple[Marked, Marked]:
    """Both texts in pieces, each difference marked; of long texts an excerpt around the first difference."""
    one, other = _excerpts(one, other)
    before, after = _TOKEN.findall(one), _TOKEN.findall(other)
    left: list[Piece] = []
    right: list[Piece] = []
    for kind, start, end, begin, until in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        for found, tokens in ((left, before[start:end]), (right, after[begin:until])):
            if tokens:
                found.append(Piece("".join(tokens), kind != "equal"))
    return tuple(left), tuple(right)


def _excerpts(one: str, other: str) -> tuple[str, str]:
    if max(len(one), len(other)) <= MOST_CHARACTERS:
        return one, other
    equal = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
    start = 0 if equal <= BEFORE else equal - BEFORE
    return _excerpt(one, start), _excerpt(other, start)


def _excerpt(text: str, start: int) -> str:
    shown = text[start : start + MOST_CHARACTERS]
    left = len(text) - start - len(shown)
    before = f"[{start} characters] " if start else ""
    return f"{before}{shown}" + (f" [{left} more characters]" if left > 0 else "")
