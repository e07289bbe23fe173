"""A cancelled waiter costs no worker: literal rounds that show it, and rounds that show nothing."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.harness.history.history import StatusSample
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.oracle import WaitersLeave
from poolproof.harness.oracle.waiters import HOLDING, WAITER_LABEL, keeps_workers
from tests.harness.oracle.test_status import status, worker

LABEL = f"{WAITER_LABEL}0"


def round_of(build: Any, *left: Any, busy: int = 2, waits_ms: float = 50, outcome: str = "Cancelled") -> Any:
    holders = [build.op(n, 0, 100, command="sleep", label=f"{LABEL}{HOLDING}") for n in range(busy)]
    services = [build.service(101 + n, n, 1, 99, nonce=f"1.0.{n}") for n in range(busy)]
    waiter = build.op(busy, waits_ms, 100, label=LABEL, outcome=outcome)
    samples = [StatusSample(began_ns=build.at(ms), ended_ns=build.at(ms), status=status(*left)) for ms in (110, 120)]
    return build.history(*holders, waiter, services=services, statuses=tuple(samples), info={"workers": 2})


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        ((worker(1), worker(2)), Verdict.PASS),
        ((worker(1, "leased"), worker(2)), Verdict.PASS),
        ((worker(1), worker(3)), Verdict.FAIL),
        ((worker(1, "dying"), worker(2)), Verdict.FAIL),
    ],
    ids=["both live", "one is leased", "one was replaced", "one is ended"],
)
def test_a_waiter_that_is_cancelled_costs_no_worker(build: Any, left: Any, expected: Verdict) -> None:
    assert WaitersLeave().check(round_of(build, *left)).verdict is expected


@pytest.mark.parametrize(
    "shows_nothing", [{"busy": 1}, {"waits_ms": 0.5}, {"waits_ms": 99.5}, {"outcome": "result"}], ids=str
)
def test_a_call_that_may_have_had_a_worker_shows_nothing(build: Any, shows_nothing: dict[str, Any]) -> None:
    finding = WaitersLeave().check(round_of(build, worker(3), **shows_nothing))
    assert (finding.verdict, finding.figures) == (Verdict.PASS, {"rounds": 0})


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({}, True),
        ({"options": {"max_requests": 2}}, False),
        ({"options": {"lazy": True}}, True),
        ({"baseline": "v1"}, False),
    ],
)
def test_only_a_pool_that_ends_no_worker_by_itself_is_asked(build: Any, info: dict[str, Any], expected: bool) -> None:
    assert keeps_workers(build.info(**info)) is expected
