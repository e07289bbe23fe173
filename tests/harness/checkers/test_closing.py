"""CloseBounded, Conserved and NothingLeft: a pool ends well."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.bridge import Statistics
from poolproof.harness.checkers import CloseBounded, Conserved, NothingLeft
from poolproof.harness.history.history import Leftovers
from poolproof.harness.model.verdict import Verdict


def counted(submitted: int, in_flight: int = 0, **outcomes: int) -> Statistics:
    return Statistics(submitted=submitted, in_flight=in_flight, outcomes=outcomes)


def refused(build: Any, end: float | None, **fields: Any) -> Any:
    return build.op(0, fields.pop("start", 0.0), end, **{"outcome": "PoolClosed", "sent": "no", **fields})


def test_a_close_within_its_bound_passes(build: Any) -> None:
    history = build.history(refused(build, 120), close_began=100, close_ended=600)
    found = CloseBounded(within_s=1.0).check(history)
    assert found.verdict is Verdict.PASS
    assert found.figures == {"close_s": 0.5}


def test_a_close_over_its_bound_fails(build: Any) -> None:
    history = build.history(close_began=100, close_ended=2101)
    assert CloseBounded(within_s=2.0).check(history).verdict is Verdict.FAIL


def test_a_close_that_never_ended_fails(build: Any) -> None:
    assert CloseBounded(within_s=2.0).check(build.history(close_began=100)).verdict is Verdict.FAIL


def test_a_close_that_was_cut_off_with_its_run_is_unknown(build: Any) -> None:
    history = build.history(close_began=100, finished=False)
    assert CloseBounded(within_s=2.0).check(history).verdict is Verdict.UNKNOWN


def test_a_waiter_that_heard_late_of_the_close_fails(build: Any) -> None:
    history = build.history(refused(build, 700), close_began=100, close_ended=800)
    found = CloseBounded(within_s=1.0, refusal_s=0.5).check(history)
    assert found.verdict is Verdict.FAIL
    assert "call 0 was refused 0.600 s after" in found.examples[0]


def test_a_call_that_was_sent_or_came_after_the_close_is_no_waiter(build: Any) -> None:
    for op in (refused(build, 700, sent="yes"), refused(build, 900, start=150)):
        history = build.history(op, close_began=100, close_ended=950)
        assert CloseBounded(within_s=1.0, refusal_s=0.5).check(history).verdict is Verdict.PASS


def test_counts_that_are_the_callers_pass(build: Any) -> None:
    ops = (build.op(0), build.op(1), build.op(2, outcome="CommandError"))
    history = build.history(*ops, statistics=counted(3, result=2, CommandError=1, QueueFull=0))
    assert Conserved().check(history).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("statistics", "told"),
    [
        (counted(2, result=1, CommandError=1), "result: the pool counted 1"),
        (counted(3, result=3), "result: the pool counted 3"),
        (counted(3, in_flight=1, result=2), "1 calls are still in flight"),
        (counted(5, result=2), "5 submitted calls are not 0 + 2"),
        (counted(0), "result: the pool counted 0 calls with this outcome, its callers saw 2"),
    ],
)
def test_counts_that_are_not_the_callers_fail(build: Any, statistics: Statistics, told: str) -> None:
    found = Conserved().check(build.history(build.op(0), build.op(1), statistics=statistics))
    assert found.verdict is Verdict.FAIL
    assert any(told in example for example in found.examples)


def test_what_a_face_leaves_uncounted_the_pool_has_not_counted(build: Any) -> None:
    ops = (build.op(0), build.op(1, outcome="QueueFull"), build.op(2, outcome="CommandError"))
    info = {"uncounted": ("CheckoutTimeout", "QueueFull")}
    for statistics, verdict in (
        (counted(2, result=1, CommandError=1), Verdict.PASS),
        (counted(3, result=1, CommandError=1, QueueFull=1), Verdict.FAIL),
        (counted(1, result=1), Verdict.FAIL),
    ):
        assert Conserved().check(build.history(*ops, info=info, statistics=statistics)).verdict is verdict


def test_nothing_left_passes(build: Any) -> None:
    assert NothingLeft().check(build.history(leftovers=Leftovers())).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("left", "told"),
    [
        (Leftovers(processes=(4711,)), "process 4711"),
        (Leftovers(processes=(4711,), commands=("sleep 60",)), "process 4711: sleep 60"),
        (Leftovers(descriptors=("7 -> pipe:[1]",)), "file descriptor 7 -> pipe:[1]"),
        (Leftovers(threads=("manager",)), "thread manager"),
    ],
)
def test_anything_left_fails_and_is_named(build: Any, left: Leftovers, told: str) -> None:
    found = NothingLeft().check(build.history(leftovers=left))
    assert found.verdict is Verdict.FAIL
    assert found.examples == (told,)


@pytest.mark.parametrize(("ended", "verdict"), [(1190, Verdict.PASS), (1210, Verdict.FAIL)])
def test_a_close_takes_its_bound_at_most(build: Any, ended: float, verdict: Verdict) -> None:
    history = build.history(close_began=200, close_ended=ended)
    assert CloseBounded(within_s=1.0).check(history).verdict is verdict


@pytest.mark.parametrize(("refusal", "verdict"), [(690, Verdict.PASS), (710, Verdict.FAIL)])
def test_a_waiter_hears_of_the_close_within_half_a_second(build: Any, refusal: float, verdict: Verdict) -> None:
    history = build.history(refused(build, refusal), close_began=200, close_ended=900)
    assert CloseBounded(within_s=1.0).check(history).verdict is verdict


def test_what_was_not_recorded_is_unknown(build: Any) -> None:
    history = build.history(build.op(0))
    for checker in (CloseBounded(within_s=1.0), Conserved(), NothingLeft()):
        assert checker.check(history).verdict is Verdict.UNKNOWN


def test_a_waiter_that_never_heard_of_the_close_is_no_late_refusal(build: Any) -> None:
    history = build.history(refused(build, None), close_began=100, close_ended=200)
    assert CloseBounded(within_s=1.0).check(history).verdict is Verdict.PASS
