"""Blocks count what ended in their time, share every round, and fail when a call does."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from benchmarks import blocks
from benchmarks.blocks import (
    BenchError,
    Block,
    MissingPeer,
    measure_blocks,
    middle,
    open_all,
    orders,
    paired,
    ratio_of_rates,
    run_block,
)
from benchmarks.effort import Limit
from benchmarks.records import Figure


class ManualClock:
    """Stands still but for `advance`, a tenth of a second a time."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns

    def advance(self) -> None:
        self.now_ns += 10**8


def test_a_block_counts_calls_and_their_time() -> None:
    made: list[int] = []
    block = run_block(lambda: made.append(1), clients=1, seconds=0.05)
    assert 1 <= block.calls <= len(made)
    assert block.rate == block.calls / block.seconds
    assert block.p50_us > 0
    assert block.fairness == 1.0


def test_every_client_has_a_thread_of_its_own() -> None:
    seen: set[int] = set()
    run_block(lambda: seen.add(threading.get_ident()), clients=5, seconds=0.05)  # each makes one call at least
    assert len(seen) == 5


def test_calls_count_from_the_end_of_the_lead_to_the_end_of_the_block() -> None:
    clock = ManualClock()
    # A call takes 0.1 s; those that end at 0.5, 0.6, … 1.4 s count.
    block = run_block(clock.advance, clients=1, seconds=1.0, lead_s=0.5, clock=clock)
    assert (block.calls, block.seconds, block.rate) == (10, 1.0, 10.0)
    assert block.p50_us == 100_000


def test_a_call_that_outlasts_its_block_is_the_block() -> None:
    gate = threading.Event()
    block = run_block(lambda: gate.wait(0.1), clients=2, seconds=0.001)
    assert block.calls == 2
    assert block.seconds >= 0.1
    assert block.p50_us >= 100_000


def test_a_client_that_is_never_served_makes_the_fairness_0() -> None:
    clock = ManualClock()
    starved, over = threading.Lock(), threading.Event()
    victim: list[int] = []

    def call() -> None:
        if starved.acquire(blocking=False):
            victim.append(threading.get_ident())
        if threading.get_ident() in victim:
            assert over.wait(20)
            return
        clock.advance()
        if clock() >= 10**9:
            over.set()

    block = run_block(call, clients=2, seconds=1.0, clock=clock)
    assert (block.calls, block.fairness) == (9, 0.0)


def test_a_failing_call_fails_the_block() -> None:
    def call() -> None:
        raise ValueError("broken")

    with pytest.raises(BenchError, match="ValueError: broken"):
        run_block(call, clients=2, seconds=0.02)


def test_a_stuck_client_fails_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "JOIN_TIMEOUT_S", 0.1)
    gate = threading.Event()
    try:
        with pytest.raises(BenchError, match="stuck"):
            run_block(gate.wait, clients=1, seconds=0.01)
    finally:
        gate.set()


def test_every_round_has_every_name_in_an_order_of_the_seed() -> None:
    names = ["a", "b", "c", "d"]
    found = orders(names, 30, seed=3)
    assert all(sorted(order) == names for order in found)
    assert found == orders(names, 30, seed=3)
    assert found != orders(names, 30, seed=4)
    assert len({tuple(order) for order in found}) > 5


def test_each_system_gets_one_block_a_round() -> None:
    calls: dict[str, Callable[[], object]] = {"a": lambda: 1, "b": lambda: 2}
    found = measure_blocks(calls, clients=1, rounds=3, seconds=0.02, seed=1, limit=Limit(3600))
    assert {name: len(mine) for name, mine in found.items()} == {"a": 3, "b": 3}


def test_the_limit_ends_whole_rounds() -> None:
    calls: dict[str, Callable[[], object]] = {"a": lambda: 1, "b": lambda: 2}
    found = measure_blocks(calls, clients=1, rounds=9, seconds=0.02, seed=1, limit=Limit(0, least=2))
    assert {name: len(mine) for name, mine in found.items()} == {"a": 2, "b": 2}


def test_what_is_not_installed_is_left_out_and_named(instant: Any) -> None:
    log: list[str] = []

    def missing(_: int) -> Any:
        raise MissingPeer("not installed")

    with ExitStack() as stack:
        calls, notes = open_all(stack, {"here": instant(log), "gone": missing}, 3)
        assert list(calls) == ["here"]
        assert notes == ("gone: not installed",)
    assert log == ["open 3", "close"]


def test_a_later_system_that_fails_closes_the_earlier(instant: Any) -> None:
    log: list[str] = []

    def broken(_: int) -> Any:
        raise BenchError("no")

    with pytest.raises(BenchError), ExitStack() as stack:
        open_all(stack, {"here": instant(log), "broken": broken}, 1)
    assert log == ["open 1", "close"]


def test_ratios_are_paired_by_round() -> None:
    slow = [Block(100 * n, 1.0, 1.0, 1.0) for n in (1, 2, 3)]
    fast = [Block(200 * n, 1.0, 1.0, 1.0) for n in (1, 2, 3)]
    figure = ratio_of_rates(slow, fast, seed=1)
    assert (figure.value, figure.low, figure.high) == pytest.approx((2, 2, 2))
    assert paired([1.0, 1.0], [3.0, 3.0], seed=1).value == pytest.approx(3)


def test_the_middle_is_the_median_within_its_interval() -> None:
    figure = middle([1.0, 2.0, 3.0, 4.0, 100.0], seed=1)
    assert figure.value == 3.0
    assert 1.0 <= figure.low <= figure.value <= figure.high <= 100.0
    assert middle([7.0, 7.0], seed=1) == Figure(7.0, 7.0, 7.0)


def test_clients_run_on_the_processors_that_are_named_and_nobody_else_does() -> None:
    here = os.sched_getaffinity(0)
    seen: set[frozenset[int]] = set()

    def call() -> None:
        seen.add(frozenset(os.sched_getaffinity(0)))

    one = frozenset({max(here)})
    measure_blocks({"a": call}, clients=2, rounds=1, seconds=0.02, seed=1, limit=Limit(3600), cpus=one)
    assert seen == {one}
    assert os.sched_getaffinity(0) == here
