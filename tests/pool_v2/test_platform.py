"""Jobs of a pool: one after another, and none is lost that is posted while the pool ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from poolproof.pool_v2.running.platform import Jobs
from tests.waiting import wait_until

LIMIT_S = 20.0


@pytest.fixture
def jobs() -> Jobs:
    """Jobs that are functions without arguments."""
    return Jobs("jobs", cast(Any, lambda job: job()))


def noting(done: list[int], number: int) -> Callable[[], object]:
    return lambda: done.append(number)


def test_jobs_run_in_their_order(jobs: Jobs) -> None:
    done: list[int] = []
    for number in range(5):
        jobs.post(noting(done, number))
    jobs.stop(LIMIT_S)
    assert done == [0, 1, 2, 3, 4]


def test_a_job_that_is_posted_after_the_end_runs_at_the_next_end(jobs: Jobs) -> None:
    done: list[int] = []
    jobs.post(noting(done, 1))
    jobs.stop(LIMIT_S)
    jobs.post(noting(done, 2))
    assert done == [1]
    jobs.stop(LIMIT_S)
    assert done == [1, 2]


def test_jobs_that_never_had_a_thread_run_at_the_end(jobs: Jobs) -> None:
    done: list[int] = []
    jobs.stop(LIMIT_S)
    jobs.post(noting(done, 1))
    jobs.stop(LIMIT_S)
    assert done == [1]


def test_a_job_may_end_the_jobs(jobs: Jobs) -> None:
    done: list[int] = []

    def end() -> None:
        jobs.post(noting(done, 2))
        jobs.stop(LIMIT_S)
        done.append(3)

    jobs.post(end)
    wait_until(lambda: done == [2, 3], "the job and the one behind it have run")
    jobs.stop(LIMIT_S)


def test_a_job_that_hangs_is_not_waited_for_and_nothing_behind_it_runs_elsewhere(jobs: Jobs) -> None:
    done: list[int] = []
    let_go = threading.Event()
    jobs.post(let_go.wait)
    jobs.post(noting(done, 1))
    jobs.stop(0.01)
    assert done == []
    let_go.set()
    jobs.stop(LIMIT_S)
    assert done == [1]
