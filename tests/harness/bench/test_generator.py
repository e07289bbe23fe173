"""The generator: who is late is told apart, and a pool's queue cannot hide from an open loop."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import pytest

from poolproof.bridge import CallTimeout, PoolClosed, Sent
from poolproof.harness.bench import generator
from poolproof.harness.bench.generator import Client, make_clients
from poolproof.harness.bench.generator import run_block as run_clients
from poolproof.harness.model.errors import RunError
from poolproof.harness.model.workload import Step

ECHO = Step(command="echo", args={"value": 1})
PLAN = ((ECHO,),) * 2


def run_block(pool: Any, plan: Any, **options: Any) -> Any:
    return run_clients(make_clients(pool.execute, plan), **options)


def sleeping(seconds: float) -> Any:
    """An echo that takes so long."""

    def answer(command: str, args: dict[str, Any]) -> Any:
        time.sleep(seconds)
        return args["value"]

    return answer


def test_a_closed_loop_counts_all_calls_that_begin_in_its_time(fake_pool: Any) -> None:
    pool = fake_pool(answer=sleeping(0.01))
    block = run_block(pool, PLAN, arm="candidate", seconds=0.1)
    assert block.calls == len(pool.asked) == sum(block.response.values())
    assert block.p10_s is not None
    assert block.p50_s is not None
    assert 0.01 <= block.p10_s <= block.p50_s
    assert block.seconds >= 0.1
    assert (block.errors, block.failure, block.doubtful, block.right) == ({}, "", (), {"echo"})


def test_every_client_has_a_thread_of_its_own_unless_it_is_alone_and_here(fake_pool: Any) -> None:
    seen: set[int] = set()
    pool = fake_pool(answer=lambda command, args: seen.add(threading.get_ident()) or args["value"])
    run_block(pool, PLAN * 2, arm="candidate", seconds=0.02)
    assert len(seen) == 4
    assert threading.get_ident() not in seen
    seen.clear()
    run_block(pool, PLAN[:1], arm="candidate", seconds=0.02, here=True)
    assert seen == {threading.get_ident()}


def test_with_a_lead_the_calls_count_that_end_after_it_and_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns = [0]

    def execute(command: str, args: dict[str, Any]) -> Any:
        now_ns[0] += 10**8
        return args["value"]

    monkeypatch.setattr(generator, "now_ns", lambda: now_ns[0])
    # A call takes 0.1 s; those that end at 0.5, 0.6, … 1.4 s count.
    block = run_clients(make_clients(execute, PLAN[:1]), arm="v2", seconds=1.0, lead_s=0.5, here=True)
    assert (block.calls, block.seconds, block.throughput, block.p50_s) == (10, 1.0, 10.0, 0.1)


def test_what_still_runs_at_the_end_is_cut_off_and_no_failure(fake_pool: Any) -> None:
    closed = threading.Event()

    def hang(command: str, args: dict[str, Any]) -> Any:
        assert closed.wait(20)
        raise PoolClosed("cut off")

    block = run_block(fake_pool(answer=hang), PLAN, arm="v1", seconds=0.02, lead_s=0.01, cut=closed.set)
    assert (block.calls, block.errors, block.failure) == (0, {}, "")


def test_fairness_is_the_fewest_calls_of_a_client_over_the_most(fake_pool: Any) -> None:
    first = threading.local()
    held = iter([True])

    def answer(command: str, args: dict[str, Any]) -> Any:
        if not hasattr(first, "slow"):
            first.slow = next(held, False)
        time.sleep(0.5 if first.slow else 0.005)
        return args["value"]

    block = run_block(fake_pool(answer=answer), PLAN, arm="v2", seconds=0.5)
    assert block.fairness <= 0.25


def test_clients_run_on_the_processors_that_are_named_and_nobody_else_does(fake_pool: Any) -> None:
    here = os.sched_getaffinity(0)
    seen: set[frozenset[int]] = set()
    pool = fake_pool(answer=lambda command, args: seen.add(frozenset(os.sched_getaffinity(0))) or args["value"])
    one = frozenset({max(here)})
    run_block(pool, PLAN, arm="v2", seconds=0.02, cpus=one)
    assert seen == {one}
    assert os.sched_getaffinity(0) == here


def test_no_nonce_comes_twice_and_the_steps_go_on_from_block_to_block(fake_pool: Any) -> None:
    pool = fake_pool()
    steps = tuple(Step(command="echo", args={"value": word}) for word in "abc")
    clients = make_clients(pool.execute, (steps,))
    for _ in range(3):
        run_clients(clients, arm="v2", seconds=0.002)
    values = [args["value"] for _, args in pool.asked]
    assert [number for number, _ in values] == list(range(len(values)))
    assert "".join(word for _, word in values) == ("abc" * len(values))[: len(values)]


def test_doubtful_answers_are_kept_but_not_without_end(fake_pool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "MOST_DOUBTFUL", 3)
    steps = (ECHO, Step(command="own", args={}))
    client = Client(lambda command, args: None, steps, 0)
    for _ in range(20):
        client.call_until(0)  # one call
    assert [answer.command for answer in client.doubtful] == ["echo", "own"] * 3
    assert not client.right


def test_a_stuck_client_is_told(fake_pool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "JOIN_TIMEOUT_S", 0.05)
    gate = threading.Event()
    try:
        with pytest.raises(RunError, match="a client of the v2 was stuck"):
            run_block(fake_pool(answer=lambda command, args: gate.wait()), PLAN, arm="v2", seconds=0.01)
    finally:
        gate.set()


def test_an_open_loop_makes_each_arrival_once_and_none_before_its_time(fake_pool: Any) -> None:
    begun: list[float] = []
    pool = fake_pool(answer=lambda command, args: begun.append(time.monotonic()))
    times = [0.0, 0.0, 0.05, 0.1, 0.15]
    before = time.monotonic()
    block = run_block(pool, PLAN, arm="candidate", seconds=20.0, arrivals=times)
    assert (block.calls, block.dropped) == (5, 0)
    assert all(at - before >= intended for at, intended in zip(sorted(begun), times, strict=True))


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
    assert block.failure.endswith("raised CallTimeout: too late")


def test_a_call_that_breaks_otherwise_ends_the_bench(fake_pool: Any) -> None:
    with pytest.raises(RunError, match="a client of the baseline failed: ZeroDivisionError"):
        run_block(fake_pool(answer=lambda command, args: 1 / 0), PLAN, arm="baseline", seconds=0.02)
