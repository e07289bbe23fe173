"""What options promise: literal journals and snapshots that keep the promise, and that break it by one."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.harness.history.history import StatusSample
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.oracle import OptionsKept
from poolproof.harness.oracle.capacity import FULL_LABEL
from poolproof.harness.oracle.ends import FOUND_NS, NOTED_NS, ending_times
from poolproof.harness.oracle.options import LAST_LOOKS, PROBING_LABELS
from tests.harness.oracle.test_status import status, worker


def verdict(history: Any) -> Verdict:
    return OptionsKept().check(history).verdict


def sample(build: Any, ms: float, *workers: Any) -> StatusSample:
    return StatusSample(began_ns=build.at(ms), ended_ns=build.at(ms), status=status(*workers))


def served(build: Any, *pids: int, **fields: Any) -> Any:
    ops = [build.op(number, number * 10, number * 10 + 5, pid=pid) for number, pid in enumerate(pids)]
    services = [build.service(pid, n, n * 10 + 1, n * 10 + 4, nonce=f"1.0.{n}") for n, pid in enumerate(pids)]
    return build.history(*ops, services=services, **fields)


@pytest.mark.parametrize(
    ("pids", "expected"),
    [((101, 101, 102), Verdict.PASS), ((101, 101, 101), Verdict.FAIL), ((101, 102, 102), Verdict.FAIL)],
    ids=["two each", "one too many", "replaced too early"],
)
def test_a_worker_serves_exactly_max_requests(build: Any, pids: tuple[int, ...], expected: Verdict) -> None:
    statuses = (sample(build, 500, worker(2)),)
    assert verdict(served(build, *pids, statuses=statuses, info={"options": {"max_requests": 2}})) is expected


def test_a_worker_that_a_fault_ended_may_have_served_fewer(build: Any) -> None:
    info = {"options": {"max_requests": 2}}
    statuses = (sample(build, 500, worker(2)),)
    faults = [build.fault(FaultKind.KILL)]
    assert verdict(served(build, 101, 102, 102, statuses=statuses, faults=faults, info=info)) is Verdict.PASS


def test_a_repetition_in_a_handover_does_not_count(build: Any) -> None:
    info = {"options": {"max_requests": 1}}
    again = [build.service(101, 1, 1, 2, nonce="1.0.0"), build.service(102, 2, 6, 7, nonce="1.0.0")]
    again.append(build.service(102, 3, 8, 9, nonce="1.0.1"))
    ops = [build.op(0, 0, 5, session="s"), build.op(1, 5, 10, session="s")]
    assert verdict(build.history(*ops, services=again, info=info)) is Verdict.PASS


def test_a_batch_is_served_as_a_whole(build: Any) -> None:
    info = {"options": {"max_requests": 2}, "together": 2}
    assert verdict(served(build, 101, 101, 101, info=info)) is Verdict.PASS
    assert verdict(served(build, 101, 101, 101, 101, info=info)) is Verdict.FAIL


def test_a_lazy_pool_has_no_worker_before_its_first_call(build: Any) -> None:
    def lazy(*workers: Any) -> Any:
        op = build.op(0, 20, 30)
        return build.history(op, statuses=(sample(build, 10, *workers),), info={"options": {"lazy": True}})

    assert verdict(lazy()) is Verdict.PASS
    assert verdict(lazy(worker(1))) is Verdict.FAIL


@pytest.mark.parametrize("options", [{"min_workers": 1}, {"overflow": 1}])
def test_an_idle_pool_shrinks(build: Any, options: dict[str, int]) -> None:
    most = options.get("min_workers", 2)

    def idle(count: int) -> Any:
        last = sample(build, 400, *(worker(number) for number in range(count)))
        return build.history(statuses=(last,), close_began=500, info={"options": options})

    assert verdict(idle(most)) is Verdict.PASS
    assert verdict(idle(most + 1)) is Verdict.FAIL


@pytest.mark.parametrize(("overflow", "expected"), [(0, Verdict.FAIL), (1, Verdict.PASS)])
def test_no_more_workers_work_than_may_live(build: Any, overflow: int, expected: Verdict) -> None:
    ops = [build.op(number, 0, 20, pid=101 + number) for number in range(3)]
    services = [build.service(101 + number, number, 1, 19, nonce=f"1.0.{number}") for number in range(3)]
    assert verdict(build.history(*ops, services=services, info={"options": {"overflow": overflow}})) is expected


@pytest.mark.parametrize(("living", "expected"), [(1, Verdict.PASS), (2, Verdict.FAIL)])
def test_a_lazy_pool_has_no_more_workers_than_calls_were_open_at_once(
    build: Any, living: int, expected: Verdict
) -> None:
    def lazy(*, pinged: bool = False, face: str = "execute", faults: tuple[Any, ...] = (), **further: float) -> Any:
        options: dict[str, Any] = {"lazy": True} | ({"ping_interval_s": 0.1} if pinged else {}) | further
        told = StatusSample(
            began_ns=build.at(15), ended_ns=build.at(16), status_after=status(*(worker(n) for n in range(living)))
        )
        ops = [build.op(0, 0, 10), build.op(1, 11, 20), build.op(2, 30, 40)]
        return build.history(*ops, statuses=(told,), faults=faults, info={"options": options, "face": face})

    assert verdict(lazy()) is expected
    assert verdict(lazy(pinged=True)) is Verdict.PASS  # a call may wait while its worker is pinged
    assert verdict(lazy(session_ttl_s=0.5)) is Verdict.PASS  # the pool ends a session by a call of its own
    assert verdict(lazy(face="executor")) is Verdict.PASS
    assert verdict(lazy(faults=(build.fault(FaultKind.KILL, ms=14),))) is Verdict.PASS
    assert verdict(lazy(faults=(build.fault(FaultKind.KILL, ms=17),))) is expected
    assert verdict(lazy(faults=(build.fault(FaultKind.PRINT, ms=14),))) is expected


@pytest.mark.parametrize(
    ("label", "expected"), [("", Verdict.FAIL), *((f"{label}0-busy", Verdict.PASS) for label in PROBING_LABELS)]
)
def test_the_workers_that_a_probe_asks_for_are_not_held_against_a_lazy_pool(
    build: Any, label: str, expected: Verdict
) -> None:
    told = StatusSample(began_ns=build.at(15), ended_ns=build.at(16), status_after=status(worker(1), worker(2)))
    ops = [build.op(0, 0, 10), build.op(1, 11, 20, label=label)]
    assert verdict(build.history(*ops, statuses=(told,), info={"options": {"lazy": True}})) is expected


def test_calls_that_overlap_may_have_a_worker_each_and_dying_workers_do_not_count(build: Any) -> None:
    def lazy(*workers: Any) -> Any:
        told = StatusSample(began_ns=build.at(15), ended_ns=build.at(16), status_after=status(*workers))
        ops = [build.op(0, 0, 10), build.op(1, 9, 20), build.op(2, 30, 40)]
        return build.history(*ops, statuses=(told,), info={"options": {"lazy": True}})

    assert verdict(lazy(worker(1), worker(2))) is Verdict.PASS
    assert verdict(lazy(worker(1), worker(2), worker(3))) is Verdict.FAIL
    assert verdict(lazy(worker(1), worker(2), worker(3, "dying"))) is Verdict.PASS


def test_the_workers_that_the_harness_asks_for_after_the_run_do_not_count(build: Any) -> None:
    ops = [build.op(0, 0, 10), build.op(1, 12, 20, label=f"{FULL_LABEL}0")]
    told = StatusSample(began_ns=build.at(11), ended_ns=build.at(11), status_after=status(worker(1), worker(2)))
    assert verdict(build.history(*ops, statuses=(told,), info={"options": {"lazy": True}})) is Verdict.PASS


@pytest.mark.parametrize(
    ("counts", "expected"),
    [((0, 1, 2, 2), Verdict.PASS), ((2, 1, 2, 2), Verdict.FAIL), ((0, 1, 1, 1), Verdict.PASS)],
    ids=["it grows", "it falls below", "it never had so many"],
)
def test_a_pool_that_shrinks_keeps_its_smallest_size(build: Any, counts: tuple[int, ...], expected: Verdict) -> None:
    def shrinking(faults: tuple[Any, ...] = (), **options: Any) -> Any:
        samples = [sample(build, 10 * n, *(worker(one) for one in range(count))) for n, count in enumerate(counts)]
        return build.history(
            build.op(0, 0, 10), statuses=tuple(samples), faults=faults, info={"options": {"min_workers": 2, **options}}
        )

    assert verdict(shrinking()) is expected
    assert verdict(shrinking(lazy=True, ping_interval_s=1.0, max_idle_pings=9)) is Verdict.PASS
    assert verdict(shrinking(max_requests=5)) is Verdict.PASS
    assert verdict(shrinking(faults=(build.fault(FaultKind.KILL),))) is Verdict.PASS


@pytest.mark.parametrize(("living", "expected"), [(2, Verdict.PASS), (1, Verdict.FAIL)])
def test_an_idle_pool_has_its_smallest_size_whatever_was_done_to_it(build: Any, living: int, expected: Verdict) -> None:
    def ended(count: int, **options: Any) -> Any:
        last = [sample(build, 400 + 10 * n, *(worker(one) for one in range(living))) for n in range(count)]
        resized = [build.fault(FaultKind.RESIZE, ms=ms) for ms in (20, 50)]
        info = {"options": {"min_workers": 2, **options}}
        return build.history(build.op(0, 0, 10), statuses=tuple(last), faults=resized, close_began=500, info=info)

    assert verdict(ended(LAST_LOOKS)) is expected
    assert verdict(ended(LAST_LOOKS - 1)) is Verdict.PASS  # one of them may be between two of its steps
    assert verdict(ended(LAST_LOOKS, lazy=True)) is Verdict.PASS


@pytest.mark.parametrize(("left", "expected"), [(99.0, Verdict.FAIL), (111.0, Verdict.PASS)])
def test_a_worker_is_idle_for_its_time_before_it_leaves(build: Any, left: float, expected: Verdict) -> None:
    def leaving(*more: Any, state: str = "dying", faults: tuple[Any, ...] = (), **options: Any) -> Any:
        services = [build.service(101, 1, 10, 20, nonce="1.0.0")]
        statuses = (sample(build, 30, worker(1)), sample(build, left, worker(1, state)))
        info = {"options": {"min_workers": 0, "idle_timeout_s": 0.1, **options}}
        ops = [build.op(0, 0, 25), *more]
        return build.history(*ops, services=services, statuses=statuses, faults=faults, info=info)

    assert verdict(leaving()) is expected
    assert verdict(leaving(state="leased")) is Verdict.PASS
    assert verdict(leaving(overflow=1)) is Verdict.PASS
    assert verdict(leaving(build.op(1, 70, 80, outcome="CallTimeout"))) is Verdict.PASS
    assert verdict(leaving(build.op(1, 70, None))) is Verdict.PASS
    assert verdict(leaving(build.op(1, 200, 210, outcome="CallTimeout"))) is expected
    assert verdict(leaving(faults=(build.fault(FaultKind.KILL, ms=60),))) is Verdict.PASS
    assert verdict(leaving(faults=(build.fault(FaultKind.PRINT, ms=60),))) is expected


def test_an_end_may_be_noted_a_little_later(build: Any) -> None:
    begins, ends = ending_times(
        build.history(
            build.op(0, 0, 5), build.op(1, 0, 10, outcome="CallTimeout"), build.op(2, 0, 20, outcome="Cancelled")
        )
    )
    assert begins.tolist() == [build.at(0), build.at(0)]
    assert ends.tolist() == [build.at(10) + NOTED_NS, build.at(20) + FOUND_NS]
