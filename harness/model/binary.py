"""The bytes that calls of the command `binary` carry, of any size; they depend on the place and on a seed.

Pure. The worker's handler makes its answers by a formula of its own, so that one is checked against the other.
"""

from __future__ import annotations

PERIOD = 251
"""A prime number, so that bytes that arrive shifted by a power of two are recognized as wrong."""


def pattern(size: int, seed: int) -> bytes:
    """Return `size` bytes; byte number i is (7 i + seed) modulo PERIOD."""
    period = bytes((7 * place + seed) % PERIOD for place in range(PERIOD))
    return (period * (size // PERIOD + 1))[:size]
