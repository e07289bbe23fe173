"""The reference model of resize, drain and close: literal histories, in order and out of order."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.bridge import PoolStatus, Statistics
from poolproof.bridge.interface import WorkerStatus
from poolproof.harness.history.history import StatusSample
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.oracle import OrderlyLife


def sample(build: Any, ms: float, *, idle: int = 0, leased: int = 0, target: int = 3, waiting: int = 0) -> StatusSample:
    """A snapshot between these two milliseconds."""
    states = ["idle"] * idle + ["leased"] * leased + ["dying"]
    workers = tuple(WorkerStatus(worker_id=n, pid=100 + n, state=state, served=0) for n, state in enumerate(states))
    status = PoolStatus(
        name="literal",
        version="v2",
        state="open",
        target=target,
        workers=workers,
        waiting=waiting,
        sessions=0,
        statistics=Statistics(submitted=0, in_flight=0, outcomes={}),
    )
    return StatusSample(began_ns=build.at(ms), ended_ns=build.at(ms + 1), status=status, status_after=status)


def verdict(history: Any) -> Verdict:
    return OrderlyLife().check(history).verdict


@pytest.mark.parametrize(
    ("ms", "told", "right"),
    [
        (15, {"target": 1, "idle": 1, "leased": 2}, True),
        (15, {"target": 3}, False),
        (15, {"target": 1, "idle": 2}, False),
        (5, {"target": 3, "idle": 3}, True),
        (9.5, {"target": 3, "idle": 3}, True),
        (19.5, {"target": 3, "idle": 3}, True),
    ],
)
def test_a_pool_that_is_resized_to_one_worker_has_that_size_until_it_is_resized_again(
    build: Any, ms: float, told: dict[str, int], right: bool
) -> None:
    resizes = [build.fault(FaultKind.RESIZE, ms=10), build.fault(FaultKind.RESIZE, ms=20)]
    history = build.history(faults=resizes, statuses=(sample(build, ms, **told),))
    assert verdict(history) is (Verdict.PASS if right else Verdict.FAIL)


@pytest.mark.parametrize(
    ("begun", "outcome", "face", "right"),
    [
        (21, "result", "execute", False),
        (21, "CommandError", "execute", False),
        (19, "result", "execute", True),
        (21, "PoolClosed", "execute", True),
        (21, "result", "asyncio_batches", True),
    ],
)
@pytest.mark.parametrize("kind", [FaultKind.CLOSE, FaultKind.DRAIN])
def test_after_the_first_refusal_nobody_is_served(
    build: Any, kind: FaultKind, begun: float, outcome: str, face: str, right: bool
) -> None:
    refused = build.op(0, 15, 20, outcome="PoolClosed")
    other = build.op(1, begun, 30, outcome=outcome)
    history = build.history(refused, other, faults=[build.fault(kind, ms=10)], info={"face": face})
    assert verdict(history) is (Verdict.PASS if right else Verdict.FAIL)


@pytest.mark.parametrize(
    ("refused", "ms", "kind", "right"),
    [
        (0, 5, FaultKind.DRAIN, True),
        (1, 5, FaultKind.DRAIN, True),
        (2, 5, FaultKind.DRAIN, False),
        (2, 12, FaultKind.DRAIN, True),
        (2, 5, FaultKind.CLOSE, True),
    ],
)
def test_what_waited_or_ran_before_a_drain_is_finished(
    build: Any, refused: int, ms: float, kind: FaultKind, right: bool
) -> None:
    # Four calls were open; the snapshot has seen three of them in the pool, so one may have come too late.
    ops = [build.op(n, 1, 30, outcome="PoolClosed" if n < refused else "result") for n in range(4)]
    seen = sample(build, ms, leased=1, waiting=2)
    history = build.history(*ops, faults=[build.fault(kind, ms=10)], statuses=(seen,))
    assert verdict(history) is (Verdict.PASS if right else Verdict.FAIL)


def test_other_runs_have_no_such_promise(build: Any) -> None:
    assert verdict(build.history(build.op(0))) is Verdict.PASS
