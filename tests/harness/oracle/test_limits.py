"""Limits count the wait for a worker: literal rounds that end in time, and rounds that all end late."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.harness.model.verdict import Verdict
from poolproof.harness.oracle import LimitsKept
from poolproof.harness.oracle.limits import LIMITED_LABEL, LIMITED_S


def ended(build: Any, number: int, after: float, **fields: Any) -> Any:
    """A call of a round that ends after so many times the round's seconds."""
    ms = 1000 * LIMITED_S[number]
    return build.op(number, 0, after * ms, command="sleep", label=f"{LIMITED_LABEL}{number}", value={}, **fields)


def call_limit(number: int) -> dict[str, Any]:
    return {"timeout_s": 1.25 * LIMITED_S[number]}


def wait_limit(number: int) -> dict[str, Any]:
    return {"timeout_s": 60.0, "checkout_timeout_s": 0.25 * LIMITED_S[number]}


@pytest.mark.parametrize(
    ("limit", "outcome", "after", "expected"),
    [
        (call_limit, "CallTimeout", 1.3, Verdict.PASS),
        (call_limit, "CallTimeout", 2.0, Verdict.FAIL),
        (call_limit, "result", 1.1, Verdict.PASS),  # it had a worker at once
        (call_limit, "result", 2.0, Verdict.FAIL),
        (wait_limit, "CheckoutTimeout", 0.3, Verdict.PASS),
        (wait_limit, "CheckoutTimeout", 0.9, Verdict.FAIL),
        (wait_limit, "result", 1.1, Verdict.PASS),
        (wait_limit, "result", 2.0, Verdict.FAIL),
    ],
)
def test_calls_that_are_late_in_every_round_are_a_fault(
    build: Any, limit: Any, outcome: str, after: float, expected: Verdict
) -> None:
    ops = [ended(build, number, after, outcome=outcome, **limit(number)) for number in range(len(LIMITED_S))]
    assert LimitsKept().check(build.history(*ops)).verdict is expected


def test_one_round_in_time_is_enough(build: Any) -> None:
    ops = [
        ended(build, number, after, outcome="CallTimeout", **call_limit(number))
        for number, after in enumerate((2, 1.3))
    ]
    found = LimitsKept().check(build.history(*ops))
    assert (found.verdict, found.figures["rounds"]) == (Verdict.PASS, 2)


def test_without_a_round_nothing_is_known(build: Any) -> None:
    assert LimitsKept().check(build.history(build.op(0))).verdict is Verdict.UNKNOWN
