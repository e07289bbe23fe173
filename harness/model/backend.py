"""The three backends on which a suite of program tests can be run: mock, wire and real.

Pure. `poolproof.harness.fakes.backends.making` makes the pool of each backend.
"""

from __future__ import annotations

from enum import StrEnum


class Backend(StrEnum):
    """How much of a real pool a backend has; see DESCRIPTIONS."""

    MOCK = "mock"
    WIRE = "wire"
    REAL = "real"


DESCRIPTIONS: dict[Backend, str] = {
    Backend.MOCK: "no process: the commands are answered where they are called",
    Backend.WIRE: "a pool, and a scripted worker that checks every frame",
    Backend.REAL: "a pool and the shipped worker, with DSPy if the test needs it",
}


def why_not(allowed: frozenset[Backend], depth: Backend) -> str:
    """Say why a test that allows only the backends `allowed` is not run on `depth`; empty if it is run."""
    if depth in allowed:
        return ""
    wanted = " or ".join(sorted(allowed))
    return f"it needs the depth {wanted}; this is {depth}: {DESCRIPTIONS[depth]}"
