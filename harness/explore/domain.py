"""Draws values, identifiers and texts: extreme ones as well as ordinary ones.

Pure: the same random generator gives the same draws.
"""

from __future__ import annotations

import string
from random import Random
from typing import Any

PIPE_BYTES = 65_536
BOUNDARY_BYTES = (0, 1, 15, 16, 17, 127, 255, 1_023, 4_000, 4_096, 4_200, 8_192, 65_000, PIPE_BYTES, 66_000, 131_072)
"""Sizes around the limits of pipes, pages and buffers; sizes between them are drawn too."""
NUMBERS = (
    0,
    -1,
    2**31,
    2**53 - 1,
    2**53 + 1,
    2**63 - 1,
    -(2**63),
    2**64 - 1,
    0.0,
    -0.0,
    0.1,
    1.0,
    1e300,
    5e-324,
    -1.5e-7,
)
"""Numbers that change if they are converted to another type and back: 2**53 + 1 as a double, -0.0 as an integer."""
TEXTS = ("", " ", "null", "0", "é", "\u2028", "\U0001f40d", 'quote " and \\', "tab\tand\nline", "\x00", "\x7f")


def text(choice: Random, most_bytes: int) -> str:
    """Return a text of at most `most_bytes` bytes; each part of it differs from the same part of other texts."""
    if choice.random() < 0.2:
        return choice.choice(TEXTS)
    size = size_bytes(choice, most_bytes)
    letters = string.ascii_letters + string.digits
    block = "".join(choice.choices(letters, k=min(size, 997)))  # a prime: a shifted block is not the same text
    return (block * (size // max(len(block), 1) + 1))[:size]


def size_bytes(choice: Random, most_bytes: int) -> int:
    """Return a size from 0 to `most_bytes`: small, near a boundary, or anywhere in between."""
    kind = choice.random()
    if kind < 0.6:
        return min(choice.randrange(64), most_bytes)
    if kind < 0.9:
        return min(max(0, choice.choice(BOUNDARY_BYTES) + choice.randint(-3, 3)), most_bytes)
    return choice.randint(0, most_bytes)


def value(choice: Random, most_bytes: int, depth: int = 3) -> Any:  # noqa: ANN401 - any JSON value
    """Return a JSON value of at most about `most_bytes` bytes."""
    kind = choice.random()
    if kind < 0.3:
        return choice.choice(NUMBERS)
    if kind < 0.4:
        return choice.choice((None, True, False))
    if kind < 0.75 or depth == 0:
        return text(choice, most_bytes)
    count = choice.randrange(4)
    if kind < 0.88:
        return [value(choice, most_bytes // 4, depth - 1) for _ in range(count)]
    return {f"{identifier(choice)}{place}": value(choice, most_bytes // 4, depth - 1) for place in range(count)}


def identifier(choice: Random) -> str:
    """Return one of a few similar identifiers, so that a pool that confuses two of them is found."""
    return choice.choice(identifiers())


def identifiers() -> tuple[str, ...]:
    """Return identifiers that differ in length, in case, in their ends or in their beginnings alone."""
    long = "tenant-0123456789abcdef-0123456789abcdef"
    short = ("a", "A", "ab", "aB", "b a", "a/b", "ä", "1", "01")
    return (*short, f"{long}-1", f"{long}-2", f"{long}-1-x", f"X{long}-1", long)
