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
    Backend.MOCK: "no process: the calling thread answers the commands itself",
    Backend.WIRE: "a pool with scripted workers, which check every frame",
    Backend.REAL: "a pool with the shipped worker, and DSPy if the test needs it",
}


def why_not(allowed: frozenset[Backend], backend: Backend) -> str:
    """Say why a test that allows only the backends `allowed` is not run on `backend`; empty if it is run."""
    if backend in allowed:
        return ""
    wanted = " or ".join(sorted(allowed))
    return f"the test needs the backend {wanted}; the current backend is {backend}: {DESCRIPTIONS[backend]}"
