"""Measuring speed: blocks are counted and paired as planned. Nothing here asserts how fast anything was."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import harness.speed
from bridge import CommandError, PoolError
from harness.errors import RunError
from harness.pools import find_pool
from harness.runner import Request
from harness.speed import Block, measure_speed, run_block
from harness.workload import Size, Step, steady


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> int:
    """As few pairs as there can be."""
    monkeypatch.setattr(harness.speed, "QUICK_PAIRS", 2)
    monkeypatch.setattr(harness.speed, "FULL_PAIRS", 3)
    return 2


def test_a_block_makes_every_call_of_the_plan_once(fake_pool: type) -> None:
    pool = fake_pool()
    plan = steady("echo", {"a": 1}, calls=3)(random.Random(1), Size(clients=2))
    block = run_block("fake", pool, plan)
    assert (block.pool, block.calls) == ("fake", 6)
    assert block.seconds > 0
    nonces = sorted(args["nonce"] for _, args in pool.asked)
    assert nonces == ["0.0", "0.1", "0.2", "1.0", "1.1", "1.2"]
    assert all(args["a"] == 1 for _, args in pool.asked)


def test_the_clients_of_a_block_call_side_by_side(fake_pool: type) -> None:
    together = threading.Barrier(3)
    pool = fake_pool(answer=lambda command, args: together.wait(15) >= 0)
    plan = ((Step(command="echo"),),) * 3
    assert run_block("fake", pool, plan).calls == 3


@pytest.mark.parametrize("error", [CommandError("no"), PoolError("no"), ValueError("foreign")])
def test_a_block_with_a_failed_call_counts_for_nothing(fake_pool: type, error: Exception) -> None:
    def answer(command: str, args: dict[str, Any]) -> Any:
        if args["nonce"] == "1.0":
            raise error
        return args

    plan = ((Step(command="echo"),),) * 2
    with pytest.raises(RunError, match=f"a call on fake raised {type(error).__name__}"):
        run_block("fake", fake_pool(answer=answer), plan)


def test_pairs_hold_one_block_of_each_pool_in_an_order_of_their_own(
    tiny: Callable[..., Any],
    fake_subject: Callable[..., Any],
    fake_pool: type,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blocks: list[str] = []

    def record(name: str, pool: Any, plan: Any) -> Block:
        blocks.append(name)
        return Block(name, 10, 0.5 if name == "slow" else 0.125)

    monkeypatch.setattr(harness.speed, "run_block", record)
    heard: list[tuple[int, int]] = []
    pools: list[Any] = []

    def make(config: Any, observer: Any) -> Any:
        pools.append(fake_pool(observer))
        return pools[-1]

    slow, fast = (fake_subject(name=name, make=make) for name in ("slow", "fast"))
    speed = measure_speed(
        tiny(), slow, fast, Request(profile="full"), on_block=lambda done, total: heard.append((done, total))
    )
    assert blocks[:2] == ["slow", "fast"]
    timed = [tuple(blocks[index : index + 2]) for index in range(2, len(blocks), 2)]
    assert len(timed) == speed.blocks == harness.speed.FULL_PAIRS
    assert {frozenset(pair) for pair in timed} == {frozenset({"slow", "fast"})}
    assert len(set(timed)) == 2
    assert heard == [(number + 1, 2 * len(timed)) for number in range(2 * len(timed))]
    assert (speed.baseline, speed.candidate) == (20.0, 80.0)
    assert (speed.ratio, speed.low, speed.high) == pytest.approx((4.0, 4.0, 4.0))
    assert (speed.scenario, speed.metric) == ("tiny", "throughput")
    assert not any("pairs of blocks" in note for note in speed.notes)
    assert [len(pool.closed) for pool in pools] == [1, 1]


def test_one_seed_gives_one_schedule(
    tiny: Callable[..., Any], fake_subject: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def schedule(seed: int) -> list[str]:
        blocks: list[str] = []

        def record(name: str, pool: Any, plan: Any) -> Block:
            blocks.append(name)
            return Block(name, 1, 1.0)

        monkeypatch.setattr(harness.speed, "run_block", record)
        one, other = fake_subject(name="one"), fake_subject(name="other")
        measure_speed(tiny(), one, other, Request(seed=seed, profile="full"))
        return blocks

    assert schedule(1) == schedule(1)
    assert any(schedule(1) != schedule(seed) for seed in range(2, 6))


def test_the_quick_profile_says_that_it_took_few_pairs(
    tiny: Callable[..., Any], fake_subject: Callable[..., Any], pairs: int
) -> None:
    speed = measure_speed(tiny(), fake_subject(name="one"), fake_subject(name="other"), Request())
    assert speed.blocks == pairs
    assert any(f"{pairs} pairs of blocks" in note for note in speed.notes)


def test_a_busy_machine_is_noted(
    tiny: Callable[..., Any], fake_subject: Callable[..., Any], pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness.speed.os, "getloadavg", lambda: (99.0, 99.0, 99.0))
    speed = measure_speed(tiny(), fake_subject(name="one"), fake_subject(name="other"), Request())
    assert any("load 99.0" in note for note in speed.notes)


def test_the_real_pools_are_measured_warm_and_closed(tiny: Callable[..., Any], pairs: int, runtime_dir: Path) -> None:
    request = Request(size=Size(workers=1, clients=2, scale=1.0))
    speed = measure_speed(tiny(fixed_size=None), find_pool("v1"), find_pool("v2"), request)
    assert speed.blocks == pairs
    assert 0 < speed.low <= speed.ratio <= speed.high
    assert speed.baseline > 0
    assert speed.candidate > 0
    assert [path.name for path in (runtime_dir / "pools").iterdir()] == []


def test_the_fixed_size_of_a_scenario_counts_here_too(
    tiny: Callable[..., Any], fake_subject: Callable[..., Any], fake_pool: type, pairs: int
) -> None:
    configs: list[Any] = []

    def make(config: Any, observer: Any) -> Any:
        configs.append(config)
        return fake_pool(observer)

    scenario = tiny(fixed_size=Size(workers=3, clients=1), config={"workers": 9, "max_frame_bytes": 4096})
    one, other = (fake_subject(name=name, make=make) for name in ("one", "other"))
    measure_speed(scenario, one, other, Request(worker_command="some program"))
    assert [config.workers for config in configs] == [3, 3]
    assert [config.max_frame_bytes for config in configs] == [4096, 4096]
    assert [config.call_timeout_s for config in configs] == [scenario.budget_s] * 2
    assert configs[0].worker_command == "some program"
    assert len({config.name for config in configs}) == 2


@pytest.mark.parametrize("pool", ["v1", "v2"])
def test_a_pool_that_does_not_warm_up_cannot_be_measured(
    tiny: Callable[..., Any], fake_subject: Callable[..., Any], pool: str
) -> None:
    with pytest.raises(RunError, match="the speed of 'tiny' could not be measured"):
        measure_speed(tiny(), fake_subject(), find_pool(pool), Request(worker_command="false"))


def test_when_a_call_fails_both_pools_are_closed_all_the_same(
    tiny: Callable[..., Any], fake_subject: Callable[..., Any], fake_pool: type
) -> None:
    pools: list[Any] = []

    def answer(command: str, args: dict[str, Any]) -> Any:
        raise CommandError("no")

    def make(config: Any, observer: Any) -> Any:
        pools.append(fake_pool(observer, answer=answer))
        return pools[-1]

    with pytest.raises(RunError, match="raised CommandError"):
        measure_speed(tiny(), fake_subject(make=make), fake_subject(make=make), Request())
    assert all(len(pool.closed) == 1 for pool in pools)
