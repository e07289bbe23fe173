"""After a run every worker works: literal rounds, whole and with one worker less."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.harness.model.verdict import Verdict
from poolproof.harness.oracle import FullCapacity
from poolproof.harness.oracle.capacity import FULL_LABEL


@pytest.mark.parametrize(("starts", "expected"), [((0, 5), Verdict.PASS), ((0, 10), Verdict.FAIL)])
def test_as_many_calls_as_workers_run_at_the_same_time(build: Any, starts: tuple[int, int], expected: Verdict) -> None:
    ops = [build.op(n, command="sleep", label=f"{FULL_LABEL}0", args={"seconds": 0.01}, value={}) for n in range(2)]
    services = [build.service(101 + n, n, start, start + 10, nonce=f"1.0.{n}") for n, start in enumerate(starts)]
    assert FullCapacity().check(build.history(*ops, services=services)).verdict is expected


def test_one_full_round_is_enough(build: Any) -> None:
    ops = [
        build.op(n, 0, 10 * (n + 1), command="sleep", label=f"{FULL_LABEL}{n // 2}", args={"seconds": 0.01}, value={})
        for n in range(4)
    ]
    starts = (0, 10, 20, 20)
    services = [build.service(101 + n, n, start, start + 10, nonce=f"1.0.{n}") for n, start in enumerate(starts)]
    assert FullCapacity().check(build.history(*ops, services=services)).verdict is Verdict.PASS


def test_without_journals_the_ends_of_the_sleeps_decide(build: Any) -> None:
    def round_of(*ends: float) -> Any:
        args = {"seconds": 0.01}
        return build.history(
            *(
                build.op(n, 0, end, command="sleep", label=f"{FULL_LABEL}0", args=args, value={})
                for n, end in enumerate(ends)
            )
        )

    assert FullCapacity().check(round_of(10, 11)).verdict is Verdict.PASS
    assert FullCapacity().check(round_of(10, 20)).verdict is Verdict.FAIL


def test_without_a_round_nothing_is_known(build: Any) -> None:
    assert FullCapacity().check(build.history(build.op(0))).verdict is Verdict.UNKNOWN
