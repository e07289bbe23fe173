"""The three depths at which a suite of program tests can be run.

Pure. What a depth is made of is for `poolproof.harness.fakes.backends.making`.
"""

from __future__ import annotations

from enum import StrEnum


class Backend(StrEnum):
    """How much of a pool is there."""

    MOCK = "mock"
    WIRE = "wire"
    REAL = "real"


DESCRIPTIONS: dict[Backend, str] = {
    Backend.MOCK: "no process: the commands are answered where they are called",
    Backend.WIRE: "a pool, and a scripted worker that checks every frame",
    Backend.REAL: "a pool and the shipped worker, with DSPy if the test needs it",
}


def why_not(allowed: frozenset[Backend], depth: Backend) -> str:
    """Why something that allows these depths is not run at this one; empty if it is."""
    if depth in allowed:
        return ""
    wanted = " or ".join(sorted(allowed))
    return f"it needs the depth {wanted}; this is {depth}: {DESCRIPTIONS[depth]}"
