"""The checkers that only the self-check has, on literal histories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from poolproof.harness.history.history import History
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.mutation.journals import PromptHandOff, ServedBound, ServedInOrder


def served(build: Any, *times: tuple[float, float, float], pids: Sequence[int] = (101,)) -> History:
    """Calls of one client: when each was made, and from when to when it was served; by these workers in turn."""
    ops = [build.op(number, made, end) for number, (made, _, end) in enumerate(times)]
    services = [
        build.service(pids[number % len(pids)], number, start, end, nonce=f"1.0.{number}")
        for number, (_, start, end) in enumerate(times)
    ]
    return build.history(*ops, services=services)


def test_a_worker_that_waits_while_calls_wait_is_found(build: Any) -> None:
    checker = PromptHandOff(within_s=0.1)
    quick = served(build, *((0.0, 100.0 * n, 100.0 * n + 90.0) for n in range(7)))
    slow = served(build, *((0.0, 500.0 * n, 500.0 * n + 90.0) for n in range(7)))
    alone = served(build, *((500.0 * n, 500.0 * n, 500.0 * n + 90.0) for n in range(7)))
    assert checker.check(quick).verdict is Verdict.PASS
    assert checker.check(slow).verdict is Verdict.FAIL
    assert checker.check(alone).verdict is Verdict.UNKNOWN


def test_a_call_that_is_overtaken_by_the_next_one_is_found(build: Any) -> None:
    checker = ServedInOrder(apart_s=0.05)
    in_order = [(100.0 * n, 1000.0 + 10 * n, 1005.0 + 10 * n) for n in range(5)]
    assert checker.check(served(build, *in_order)).verdict is Verdict.PASS
    overtaken = [*in_order[:3], (300.0, 1041.0, 1045.0), (400.0, 1031.0, 1035.0)]
    assert checker.check(served(build, *overtaken)).verdict is Verdict.FAIL
    at_once = [(1.0 * n, 1000.0 - 10 * n, 1005.0 - 10 * n) for n in range(5)]
    assert checker.check(served(build, *at_once)).verdict is Verdict.UNKNOWN


def test_a_call_that_another_worker_has_served_was_not_overtaken(build: Any) -> None:
    checker = ServedInOrder(apart_s=0.05)
    # What comes to the worker 102 finds it idle; the other one is busy to the end.
    split = [(100.0 * n, 100.0 * n + 1 if n % 2 else 1000.0 + n, 1010.0) for n in range(8)]
    assert checker.check(served(build, *split, pids=(101, 102))).verdict is Verdict.PASS
    assert checker.check(served(build, *split)).verdict is Verdict.FAIL
    split[2] = (200.0, 1009.0, 1010.0)
    assert checker.check(served(build, *split, pids=(101, 102))).verdict is Verdict.FAIL


def test_a_worker_that_serves_too_long_is_found(build: Any) -> None:
    history = served(build, *((10.0 * n, 10.0 * n, 10.0 * n + 5.0) for n in range(4)))
    assert ServedBound(at_most=4).check(history).verdict is Verdict.PASS
    assert ServedBound(at_most=3).check(history).verdict is Verdict.FAIL
    assert ServedBound(at_most=3).check(build.history()).verdict is Verdict.UNKNOWN


def test_a_batch_may_go_beyond_the_last_request_but_no_work_comes_after_it(build: Any) -> None:
    batches = [(made, made + n, made + 9.0) for made, count in ((0.0, 2), (10.0, 3), (20.0, 1)) for n in range(count)]
    found = ServedBound(at_most=3).check(served(build, *batches[:5]))
    assert (found.verdict, found.claim) == (
        Verdict.PASS,
        "a worker served 3 requests, and 5 with the rest of its batch; the limit is 3",
    )
    assert ServedBound(at_most=2).check(served(build, *batches[:5])).verdict is Verdict.FAIL
    assert ServedBound(at_most=5).check(served(build, *batches)).verdict is Verdict.FAIL
    assert ServedBound(at_most=6).check(served(build, *batches)).verdict is Verdict.PASS


def test_calls_of_two_clients_are_no_batch(build: Any) -> None:
    ops = [build.op(number, 0.0, 100.0, client=number) for number in range(4)]
    services = [build.service(101, n, 10.0 * n, 10.0 * n + 5, nonce=f"1.0.{n}") for n in range(4)]
    assert ServedBound(at_most=3).check(build.history(*ops, services=services)).verdict is Verdict.FAIL
