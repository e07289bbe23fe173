"""The reference model of a pool's own statements: literal snapshots, true and false."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.bridge import Health, PoolStatus, Statistics
from poolproof.bridge.interface import WorkerStatus
from poolproof.harness.history.history import StatusSample
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.oracle import TrueStatus


def worker(number: int, state: str = "idle") -> WorkerStatus:
    return WorkerStatus(worker_id=number, pid=100 + number, state=state, served=0)


def status(*workers: WorkerStatus, **fields: Any) -> PoolStatus:
    outcomes = fields.pop("outcomes", {})
    in_flight = fields.pop("in_flight", 0)
    submitted = fields.pop("submitted", in_flight + sum(outcomes.values()))
    usual: dict[str, Any] = {
        "name": "literal",
        "version": "v2",
        "state": "open",
        "target": 2,
        "workers": workers,
        "waiting": 0,
        "sessions": 0,
        "statistics": Statistics(submitted=submitted, in_flight=in_flight, outcomes=outcomes),
    }
    return PoolStatus(**{**usual, **fields})


def history(
    build: Any, *ops: Any, told: PoolStatus, health: Health | None = None, ms: float = 5.0, **fields: Any
) -> Any:
    sample = StatusSample(
        began_ns=build.at(ms), ended_ns=build.at(ms + 1), status=told, health=health, status_after=told
    )
    return build.history(*ops, statuses=(sample,), **fields)


def verdict(found: Any) -> Verdict:
    return TrueStatus().check(found).verdict


def test_without_snapshots_nothing_is_known(build: Any) -> None:
    assert verdict(build.history(build.op(0))) is Verdict.UNKNOWN


def test_a_status_that_raises_is_false(build: Any) -> None:
    sample = StatusSample(began_ns=build.at(1), ended_ns=build.at(2), error="RuntimeError: no")
    assert verdict(build.history(statuses=(sample,))) is Verdict.FAIL


@pytest.mark.parametrize(("ms", "counted", "expected"), [
    (5.0, 0, Verdict.PASS), (5.0, 1, Verdict.PASS), (5.0, 2, Verdict.FAIL),
    (15.0, 0, Verdict.FAIL), (15.0, 1, Verdict.PASS), (15.0, 2, Verdict.FAIL),
])  # fmt: skip
def test_counts_lie_between_the_ends_before_and_the_begins_until_then(
    build: Any, ms: float, counted: int, expected: Verdict
) -> None:
    told = status(worker(1), outcomes={"result": counted})
    assert verdict(history(build, build.op(0, 0, 10), told=told, ms=ms)) is expected


def test_a_snapshot_does_not_contradict_itself(build: Any) -> None:
    told = status(worker(1), in_flight=0, outcomes={}, submitted=1)
    assert verdict(history(build, build.op(0, 0, 10), told=told)) is Verdict.FAIL


@pytest.mark.parametrize(
    "told",
    [
        status(worker(1), worker(1)),
        status(worker(1), worker(2), worker(3)),
        status(worker(1, "leased"), worker(2, "leased")),
        status(worker(1), in_flight=2),
        status(worker(1), waiting=2),
        status(worker(1), state="closed"),
        status(worker(1), sessions=1),
    ],
    ids=["one twice", "too many", "too many leased", "too many in flight", "too many wait", "closed", "sessions"],
)
def test_numbers_beyond_what_callers_did_are_false(build: Any, told: PoolStatus) -> None:
    assert verdict(history(build, build.op(0, 8, 10), told=status(worker(1)))) is Verdict.PASS
    assert verdict(history(build, build.op(0, 8, 10), told=told)) is Verdict.FAIL


def test_the_queue_never_holds_more_than_its_limit(build: Any) -> None:
    calls = [build.op(number, 0, 20) for number in range(4)]
    told = status(worker(1), waiting=2)
    assert verdict(history(build, *calls, told=told, info={"options": {"max_queue": 2}})) is Verdict.PASS
    assert verdict(history(build, *calls, told=told, info={"options": {"max_queue": 1}})) is Verdict.FAIL


def test_overflow_allows_more_workers(build: Any) -> None:
    told = status(worker(1), worker(2), worker(3))
    assert verdict(history(build, told=told, info={"options": {"overflow": 1}})) is Verdict.PASS


def test_a_worker_in_the_middle_of_a_call_is_not_idle(build: Any) -> None:
    def served(start: float, end: float) -> Any:
        service = build.service(101, 1, start, end, nonce="1.0.0")
        return history(build, build.op(0, 0, 20), told=status(worker(1)), services=[service])

    assert verdict(served(1, 19)) is Verdict.FAIL
    assert verdict(served(5.5, 19)) is Verdict.PASS  # it began during the snapshot


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        (Health(healthy=True, live=2, target=2), Verdict.PASS),
        (Health(healthy=True, live=1, target=2), Verdict.FAIL),
        (Health(healthy=True, live=2, target=2, reasons=("no",)), Verdict.FAIL),
        (Health(healthy=False, live=2, target=2), Verdict.FAIL),
        (Health(healthy=True, live=2, target=3), Verdict.FAIL),
    ],
)
def test_health_fits_the_status_around_it(build: Any, health: Health, expected: Verdict) -> None:
    assert verdict(history(build, told=status(worker(1), worker(2)), health=health)) is expected
