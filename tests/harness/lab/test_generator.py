"""The generator: who is late is told apart, and a pool's queue cannot hide from an open loop."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from bridge import CallTimeout, Sent
from harness.errors import RunError
from harness.lab.generator import Watch, run_block
from harness.workload import Step

PLAN = ((Step(command="echo", args={"value": 1}),),) * 2


def test_a_closed_loop_counts_all_calls_that_begin_in_its_time(fake_pool: Any) -> None:
    watch = Watch()
    pool = fake_pool(watch.observe, answer=lambda command, args: time.sleep(0.01))
    block = run_block(pool, PLAN, arm="candidate", seconds=0.1, watch=watch)
    assert block.calls == len(pool.asked) == sum(block.response.values()) == sum(block.service.values())
    assert block.p10_s is not None
    assert block.p50_s is not None
    assert 0.01 <= block.p10_s <= block.p50_s
    assert block.seconds >= 0.1
    assert block.errors == {}


def test_an_open_loop_makes_each_arrival_once_and_none_before_its_time(fake_pool: Any) -> None:
    begun: list[float] = []
    pool = fake_pool(answer=lambda command, args: begun.append(time.monotonic()))
    times = [0.0, 0.0, 0.05, 0.1, 0.15]
    block = run_block(pool, PLAN, arm="candidate", seconds=20.0, arrivals=times)
    assert (block.calls, block.dropped) == (5, 0)
    assert begun == sorted(begun)
    assert begun[-1] - begun[0] >= 0.1  # 0.15 s apart, if the first was not late


def test_a_queue_shows_in_the_response_but_is_not_the_generators_lag(fake_pool: Any) -> None:
    one_at_a_time = threading.Lock()

    def serial(command: str, args: dict[str, Any]) -> None:
        with one_at_a_time:
            time.sleep(0.02)

    block = run_block(fake_pool(answer=serial), PLAN, arm="baseline", seconds=20.0, arrivals=[0.0] * 8)
    assert block.calls == 8
    assert block.late >= 6  # two clients took two in time
    longest = max(number for number in block.response)
    assert longest > 2048  # past the first, linear buckets: far more than 2 ms
    assert block.p50_s is not None
    assert block.p50_s >= 0.07  # the fourth and fifth of 20 ms each, one after another, from the same intended begin


def test_arrivals_that_nobody_could_begin_are_dropped_and_counted(fake_pool: Any) -> None:
    pool = fake_pool(answer=lambda command, args: time.sleep(0.1))
    block = run_block(pool, PLAN[:1], arm="baseline", seconds=0.05, arrivals=[0.0] * 10)
    assert block.dropped > 0
    assert block.calls + block.dropped == 10


def test_failed_calls_are_counted_by_their_error_and_not_timed(fake_pool: Any) -> None:
    def fail(command: str, args: dict[str, Any]) -> None:
        time.sleep(0.002)
        raise CallTimeout("too late", sent=Sent.YES)

    block = run_block(fake_pool(answer=fail), PLAN, arm="baseline", seconds=0.02)
    assert (block.calls, block.p50_s) == (0, None)
    assert block.errors["CallTimeout"] > 0


def test_a_call_that_breaks_otherwise_ends_the_bench(fake_pool: Any) -> None:
    with pytest.raises(RunError, match="a client of the baseline broke: ZeroDivisionError"):
        run_block(fake_pool(answer=lambda command, args: 1 / 0), PLAN, arm="baseline", seconds=0.02)
