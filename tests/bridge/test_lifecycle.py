"""The states of a worker: the table allows what its rules say, and nothing else."""

from __future__ import annotations

import itertools

import pytest

from poolproof.bridge.lifecycle import TRANSITIONS, WorkerState, WorkerStep, advance

LIVING = [state for state in WorkerState if state is not WorkerState.GONE]


def test_a_worker_lives_from_start_to_burial() -> None:
    state = WorkerState.STARTING
    for step, expected in [
        (WorkerStep.READY, WorkerState.IDLE),
        (WorkerStep.CHECKOUT, WorkerState.LEASED),
        (WorkerStep.CHECKIN, WorkerState.IDLE),
        (WorkerStep.CHECKOUT, WorkerState.LEASED),
        (WorkerStep.RETIRE, WorkerState.DYING),
        (WorkerStep.RELEASE, WorkerState.GONE),
    ]:
        state = advance(state, step)
        assert state is expected


@pytest.mark.parametrize("state", [state for state in WorkerState if state is not WorkerState.IDLE])
def test_a_worker_is_leased_only_from_idle(state: WorkerState) -> None:
    with pytest.raises(ValueError, match=f"that is {state} cannot make the transition checkout"):
        advance(state, WorkerStep.CHECKOUT)


@pytest.mark.parametrize("state", LIVING)
def test_every_living_worker_can_be_condemned_and_twice_is_once(state: WorkerState) -> None:
    assert advance(state, WorkerStep.RETIRE) is WorkerState.DYING
    assert advance(WorkerState.DYING, WorkerStep.RETIRE) is WorkerState.DYING


def test_a_dying_worker_never_comes_back() -> None:
    reached = {advance(WorkerState.DYING, step) for _, step in TRANSITIONS if (WorkerState.DYING, step) in TRANSITIONS}
    assert reached == {WorkerState.DYING, WorkerState.GONE}


@pytest.mark.parametrize("step", WorkerStep)
def test_nothing_happens_to_a_worker_that_is_gone(step: WorkerStep) -> None:
    with pytest.raises(ValueError, match="that is gone"):
        advance(WorkerState.GONE, step)


def test_only_the_dying_are_buried() -> None:
    assert [state for state, step in TRANSITIONS if step is WorkerStep.RELEASE] == [WorkerState.DYING]


def test_every_pair_is_either_in_the_table_or_refused() -> None:
    allowed = 0
    for state, step in itertools.product(WorkerState, WorkerStep):
        if (state, step) in TRANSITIONS:
            assert advance(state, step) is TRANSITIONS[state, step]
            allowed += 1
        else:
            with pytest.raises(ValueError):
                advance(state, step)
    assert allowed == len(TRANSITIONS) == 8
