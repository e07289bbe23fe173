"""The bytes that calls of the command `binary` carry: any size, and at each place and for each seed another value.

Pure. The worker's handler makes its answers by a formula of its own, so that one is checked against the other.
"""

from __future__ import annotations

PERIOD = 251
"""A prime: bytes that were shifted by any power of two are other bytes."""


def pattern(size: int, seed: int) -> bytes:
    """Return `size` bytes; byte number i is (7 i + seed) modulo PERIOD."""
    period = bytes((7 * place + seed) % PERIOD for place in range(PERIOD))
    return (period * (size // PERIOD + 1))[:size]
