"""The reference model of a pool's own statements: literal snapshots, true and false."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.bridge import Health, PoolStatus, Statistics
from poolproof.bridge.interface import WorkerStatus
from poolproof.harness.history.history import StatusSample
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.oracle import TrueStatus
from poolproof.harness.oracle.status import CROWD_LABEL


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


@pytest.mark.parametrize(("kept", "expected"), [(0, Verdict.FAIL), (1, Verdict.PASS), (2, Verdict.FAIL)])
def test_a_session_with_an_answer_is_kept(build: Any, kept: int, expected: Verdict) -> None:
    def told(*further: Any, **info: Any) -> Any:
        op = build.op(0, 0, 3, session="s", command="put")
        return history(build, op, *further, told=status(worker(1), sessions=kept, outcomes={"result": 1}), info=info)

    assert verdict(told()) is expected
    if not kept:
        assert verdict(told(face="migrating_v1")) is Verdict.PASS  # another pool has the sessions
        assert verdict(told(options={"session_ttl_s": 0.001})) is Verdict.PASS
        assert verdict(told(build.op(1, 8, 9, session="s", command="cleanup_session"))) is Verdict.PASS
        crashed = build.op(1, 4, 9, command="exit", outcome="WorkerCrashed")
        assert verdict(told(crashed)) is Verdict.PASS  # what a session loses with its worker, `linearizable` judges


@pytest.mark.parametrize(
    ("waiting", "in_flight", "expected"),
    [(2, 4, Verdict.PASS), (1, 4, Verdict.FAIL), (2, 3, Verdict.FAIL)],
    ids=["all of them", "one does not wait", "one is not in flight"],
)
def test_a_crowd_is_counted_as_a_whole(build: Any, waiting: int, in_flight: int, expected: Verdict) -> None:
    def crowd(end: float = 3_000.0, **info: Any) -> Any:
        ops = [build.op(number, number, end + number, label=f"{CROWD_LABEL}2", client=number) for number in range(4)]
        told = status(worker(1, "leased"), worker(2, "leased"), waiting=waiting, in_flight=in_flight)
        return history(build, *ops, told=told, info=info)

    assert verdict(crowd()) is expected
    assert verdict(crowd(end=1_500.0)) is Verdict.PASS  # a thread may not have arrived
    assert verdict(crowd(face="executor")) is Verdict.PASS  # its calls wait in its own queue


def test_a_crowd_of_which_no_snapshot_was_taken_is_not_judged(build: Any) -> None:
    ops = [build.op(number, 0, 3_000, label=f"{CROWD_LABEL}2", client=number) for number in range(4)]
    told = status(worker(1), outcomes={"result": 4})
    assert verdict(history(build, *ops, told=told, ms=3_500)) is Verdict.PASS


def test_a_closed_pool_may_refuse_to_tell_its_status(build: Any) -> None:
    def closed(close_began: float | None) -> Any:
        sample = StatusSample(began_ns=build.at(1), ended_ns=build.at(2), error="PoolClosed: no")
        return build.history(statuses=(sample,), **({} if close_began is None else {"close_began": close_began}))

    assert verdict(closed(1.5)) is Verdict.PASS
    assert verdict(closed(2.5)) is Verdict.FAIL
    assert verdict(closed(None)) is Verdict.FAIL


def test_health_may_differ_from_the_status_if_workers_come_or_go_meanwhile(build: Any) -> None:
    def told(before: PoolStatus, after: PoolStatus) -> Any:
        health = Health(healthy=True, live=1, target=2)
        sample = StatusSample(
            began_ns=build.at(1), ended_ns=build.at(2), status=before, health=health, status_after=after
        )
        return build.history(statuses=(sample,))

    starting = status(worker(1, "starting"))
    assert verdict(told(starting, starting)) is Verdict.FAIL  # it was not ready in between
    assert verdict(told(starting, status(worker(2, "starting")))) is Verdict.PASS  # it was, and then it ended
    assert verdict(told(status(worker(1, "leased")), status(worker(1)))) is Verdict.PASS
    assert verdict(told(status(), status())) is Verdict.PASS  # one came and went


def test_the_call_by_which_a_pool_ends_an_unused_session_may_wait_and_be_served(build: Any) -> None:
    def told(waiting: int, **options: float) -> Any:
        one = status(worker(1, "leased"), worker(2, "leased"), waiting=waiting, in_flight=1)
        return history(build, build.op(0, 0, 10), told=one, info={"options": options})

    assert verdict(told(1)) is Verdict.PASS
    assert verdict(told(2)) is Verdict.FAIL
    assert verdict(told(2, session_ttl_s=1.0)) is Verdict.PASS
    assert verdict(told(3, session_ttl_s=1.0)) is Verdict.FAIL
