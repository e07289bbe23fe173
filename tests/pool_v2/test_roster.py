"""What the pool knows of a worker, and how its limits are spread so that not all workers end at once."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolproof.bridge.lifecycle import WorkerState
from poolproof.pool_v2.core.worker_table import AGE_SPREAD, NEVER_NS, Limits, Worker, age_limit_ns, request_limit


def limits(size: int = 4, **options: Any) -> Limits:
    return Limits(size=size, floor=size, most=size, **options)


def test_without_limits_a_worker_lives_for_ever() -> None:
    assert request_limit(limits(), 3) == NEVER_NS
    assert age_limit_ns(limits(), 3) == NEVER_NS


@given(size=st.integers(1, 64), max_requests=st.integers(1, 10**6), worker_id=st.integers(1, 10**6))
def test_a_worker_may_serve_at_least_three_quarters_of_the_limit_and_never_more_than_it(
    size: int, max_requests: int, worker_id: int
) -> None:
    limit = request_limit(limits(size, max_requests=max_requests), worker_id)

    assert max(1, max_requests * 3 // 4) <= limit <= max_requests


def test_workers_of_one_birth_end_after_different_numbers_of_requests() -> None:
    found = {request_limit(limits(4, max_requests=1000), worker_id) for worker_id in range(1, 5)}

    assert found == {1000, 938, 875, 813}


@given(max_age_ns=st.integers(0, 10**18), worker_id=st.integers(1, 10**6))
def test_a_worker_may_become_almost_as_old_as_the_limit_and_never_older(max_age_ns: int, worker_id: int) -> None:
    limit = age_limit_ns(limits(max_age_ns=max_age_ns), worker_id)

    assert int(max_age_ns * (1 - AGE_SPREAD)) <= limit <= max_age_ns


def test_workers_of_one_birth_become_old_at_times_that_lie_apart() -> None:
    size, max_age_ns = 8, 10**12
    ages = sorted(age_limit_ns(limits(size, max_age_ns=max_age_ns), worker_id) for worker_id in range(1, size + 1))
    gaps = [later - earlier for earlier, later in pairwise(ages)]

    assert min(gaps) > max_age_ns * AGE_SPREAD / size / 3


def test_a_new_worker_is_starting_and_unused() -> None:
    worker = Worker(3, 17)

    assert (worker.worker_id, worker.born_ns, worker.phase, worker.served) == (3, 17, WorkerState.STARTING, 0)
    assert not worker.exited
    assert not worker.usable


@pytest.mark.parametrize(
    ("phase", "exited_ns", "overdue", "usable"),
    [
        (WorkerState.IDLE, 0, False, True),
        (WorkerState.IDLE, 5, False, False),
        (WorkerState.IDLE, 0, True, False),
        (WorkerState.DYING, 0, False, False),
        (WorkerState.STARTING, 0, False, False),
    ],
)
def test_only_a_ready_living_worker_that_is_not_overdue_is_usable(
    phase: WorkerState, exited_ns: int, overdue: bool, usable: bool
) -> None:
    worker = Worker(1)
    worker.phase, worker.exited_ns, worker.overdue = phase, exited_ns, overdue

    assert worker.usable is usable
    assert worker.exited is (exited_ns > 0)
