"""Every round has a block of each system, and one failed call or wrong answer is no figure."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from contextlib import ExitStack
from typing import Any

import pytest

from benchmarks.blocks import (
    BenchError,
    Execute,
    MissingPeer,
    measure_blocks,
    middle,
    open_all,
    orders,
    paired,
    ratio_of_rates,
)
from benchmarks.effort import Limit
from benchmarks.records import Figure
from poolproof.bridge import CommandError
from poolproof.harness.bench.block import Block


def echo(command: str, args: dict[str, Any]) -> Any:
    return args["value"]


def measure(execute: Execute, **options: Any) -> dict[str, list[Block]]:
    usual: dict[str, Any] = {
        "clients": 2,
        "rounds": 1,
        "seconds": 0.01,
        "seed": 1,
        "limit": Limit(3600),
        "warm_s": 0.01,
    }
    return measure_blocks({"a": execute}, **{**usual, **options})


def test_every_round_has_every_name_in_an_order_of_the_seed() -> None:
    names = ["a", "b", "c", "d"]
    found = orders(names, 30, seed=3)
    assert all(sorted(order) == names for order in found)
    assert found == orders(names, 30, seed=3)
    assert found != orders(names, 30, seed=4)
    assert len({tuple(order) for order in found}) > 5


def test_each_system_gets_one_block_a_round() -> None:
    found = measure_blocks({"a": echo, "b": echo}, clients=1, rounds=3, seconds=0.01, seed=1, limit=Limit(3600))
    assert {name: len(mine) for name, mine in found.items()} == {"a": 3, "b": 3}


def test_the_limit_ends_whole_rounds() -> None:
    found = measure_blocks({"a": echo, "b": echo}, clients=1, rounds=9, seconds=0.01, seed=1, limit=Limit(0, least=2))
    assert {name: len(mine) for name, mine in found.items()} == {"a": 2, "b": 2}


@pytest.mark.parametrize("error", [ValueError("broken"), CommandError("broken")])
def test_a_failing_call_fails_the_figure(error: Exception) -> None:
    def fail(command: str, args: dict[str, Any]) -> Any:
        raise error

    with pytest.raises(BenchError, match=rf"a.*{type(error).__name__}: broken"):
        measure(fail)


def test_one_answer_that_is_not_its_requests_fails_the_figure() -> None:
    numbers = itertools.count()
    with pytest.raises(BenchError, match=r"a: a wrong answer: the request echo .* was answered with \[-1, "):
        measure(lambda command, args: [-1, "x"] if next(numbers) == 5 else args["value"], seconds=0.05)


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
    slow = [Block(arm="slow", calls=100 * n, seconds=1.0, response=Counter()) for n in (1, 2, 3)]
    fast = [Block(arm="fast", calls=200 * n, seconds=1.0, response=Counter()) for n in (1, 2, 3)]
    figure = ratio_of_rates(slow, fast)
    assert (figure.value, figure.low, figure.high) == pytest.approx((2, 2, 2))
    assert paired([1.0, 1.0], [3.0, 3.0]).value == pytest.approx(3)


def test_the_middle_is_the_median_within_its_interval() -> None:
    figure = middle([1.0, 2.0, 3.0, 4.0, 100.0], seed=1)
    assert figure.value == 3.0
    assert 1.0 <= figure.low <= figure.value <= figure.high <= 100.0
    assert middle([7.0, 7.0], seed=1) == Figure(7.0, 7.0, 7.0)


def test_options_go_to_the_blocks() -> None:
    seen: set[int] = set()
    measure(lambda command, args: seen.add(threading.get_ident()) or args["value"], clients=1, here=True)
    assert seen == {threading.get_ident()}
