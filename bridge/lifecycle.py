"""The states of a worker, as one table: what may follow what.

Pure. Knows no process and no pool; an illegal step raises and is never mended.

Rules
1. A worker is leased only from idle, so it has one owner at a time.
2. A worker that is dying never comes back; only its end follows.
3. Every state but gone counts as living.
"""

from __future__ import annotations

from enum import StrEnum


class WorkerState(StrEnum):
    """Where a worker is in its life."""

    STARTING = "starting"
    IDLE = "idle"
    LEASED = "leased"
    DYING = "dying"
    GONE = "gone"


class WorkerStep(StrEnum):
    """What can happen to a worker."""

    READY = "ready"
    CHECKOUT = "checkout"
    CHECKIN = "checkin"
    CONDEMN = "condemn"
    BURY = "bury"


TRANSITIONS: dict[tuple[WorkerState, WorkerStep], WorkerState] = {
    (WorkerState.STARTING, WorkerStep.READY): WorkerState.IDLE,
    (WorkerState.STARTING, WorkerStep.CONDEMN): WorkerState.DYING,
    (WorkerState.IDLE, WorkerStep.CHECKOUT): WorkerState.LEASED,
    (WorkerState.IDLE, WorkerStep.CONDEMN): WorkerState.DYING,
    (WorkerState.LEASED, WorkerStep.CHECKIN): WorkerState.IDLE,
    (WorkerState.LEASED, WorkerStep.CONDEMN): WorkerState.DYING,
    (WorkerState.DYING, WorkerStep.CONDEMN): WorkerState.DYING,
    (WorkerState.DYING, WorkerStep.BURY): WorkerState.GONE,
}


def advance(state: WorkerState, step: WorkerStep) -> WorkerState:
    """The state that follows. Raises ValueError for a step that the table does not have."""
    try:
        return TRANSITIONS[state, step]
    except KeyError:
        raise ValueError(f"a worker that is {state} cannot take the step {step}") from None
