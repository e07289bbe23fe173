"""The states of a worker as a transition table.

Pure, with no process or pool. An illegal step raises ValueError.

Rules
1. A worker can be leased only from idle, so it has one owner at a time.
2. A dying worker never becomes usable again; it can only become gone.
3. Every state except gone counts as living.
"""

from __future__ import annotations

from enum import StrEnum


class WorkerState(StrEnum):
    """The state of a worker."""

    STARTING = "starting"
    IDLE = "idle"
    LEASED = "leased"
    DYING = "dying"
    GONE = "gone"


class WorkerStep(StrEnum):
    """The steps that change a worker's state."""

    READY = "ready"
    CHECKOUT = "checkout"
    CHECKIN = "checkin"
    RETIRE = "retire"
    RELEASE = "release"


TRANSITIONS: dict[tuple[WorkerState, WorkerStep], WorkerState] = {
    (WorkerState.STARTING, WorkerStep.READY): WorkerState.IDLE,
    (WorkerState.STARTING, WorkerStep.RETIRE): WorkerState.DYING,
    (WorkerState.IDLE, WorkerStep.CHECKOUT): WorkerState.LEASED,
    (WorkerState.IDLE, WorkerStep.RETIRE): WorkerState.DYING,
    (WorkerState.LEASED, WorkerStep.CHECKIN): WorkerState.IDLE,
    (WorkerState.LEASED, WorkerStep.RETIRE): WorkerState.DYING,
    (WorkerState.DYING, WorkerStep.RETIRE): WorkerState.DYING,
    (WorkerState.DYING, WorkerStep.RELEASE): WorkerState.GONE,
}


def advance(state: WorkerState, step: WorkerStep) -> WorkerState:
    """Return the state after the step. Raises ValueError if the table does not have this step."""
    try:
        return TRANSITIONS[state, step]
    except KeyError:
        raise ValueError(f"a worker that is {state} cannot make the transition {step}") from None
