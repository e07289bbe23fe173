"""Sweeps: points and curves from literal numbers, and one small sweep of real pools."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from poolproof.harness.bench.plan import SweepPlan
from poolproof.harness.bench.show import curve_rows, sweep_markdown
from poolproof.harness.bench.statistics.curves import curve, summarize
from poolproof.harness.bench.sweep import carry_out_sweep
from poolproof.harness.bench.workloads.workloads import call_scenario
from poolproof.harness.model.errors import UsageError
from poolproof.harness.pytest_plugin.session import Silence
from poolproof.harness.subjects.pools import find_pool


def test_a_point_adds_its_blocks_up_and_tells_only_what_suffices(make: Any) -> None:
    blocks = [make.block("v2", [0.01] * 150, seconds=2.0), make.block("v2", [0.01] * 150, seconds=1.0)]
    point = summarize("v2", 4, 8, blocks)
    assert (point.calls, point.throughput) == (300, 100.0)
    assert point.p50_s == pytest.approx(0.01, rel=0.001)
    assert point.p90_s is None


def test_a_flat_and_a_linear_pool_are_told_apart() -> None:
    sizes = [1.0, 2.0, 4.0, 8.0, 16.0]
    flat = curve("v1", "workers", [(n, 10.0) for n in sizes])
    linear = curve("v2", "workers", [(n, 10.0 * n) for n in sizes])
    assert flat.text == (
        "v1 against workers: 1 times the throughput with 16 times the workers; the throughput stops growing at 1; "
        "100.00% of a call is serial (95 % interval 100.00% to 100.00%)"
    )
    assert linear.text == (
        "v2 against workers: 16 times the throughput with 16 times the workers; 0.00% of a call is serial "
        "(95 % interval 0.00% to 0.00%)"
    )
    assert linear.knee is None
    assert curve_rows([linear])[0][:3] == ("v2", "workers", "10/s")


def test_too_few_points_have_no_law() -> None:
    assert curve("v2", "clients", [(1.0, 10.0), (2.0, 20.0)]).rate is None


def test_no_points_are_refused() -> None:
    plan = SweepPlan(call=call_scenario(), pools=(find_pool("v2"),), sizes=(), block_s=0.1, rounds=1, seed=1)
    with pytest.raises(UsageError, match="at least one size"):
        carry_out_sweep(plan, progress=Silence())


def test_real_pools_are_measured_at_each_size(runtime_dir: Any) -> None:
    plan = SweepPlan(
        call=call_scenario('sleep {"seconds": 0.05}'),
        pools=(find_pool("v1"), find_pool("v2")),
        sizes=((4, 4, "workers"),),
        block_s=0.6,
        rounds=1,
        seed=1,
    )
    report = carry_out_sweep(plan, progress=Silence())
    rates = {point.pool: point.throughput for point in report.points}
    assert 0 < rates["v1"] <= 20 + 2  # one after another, 20 a second at most
    assert rates["v2"] > rates["v1"]
    assert {point.errors for point in report.points} == {0}
    assert "| v2 | 4 | 4 |" in sweep_markdown(report)


def test_a_wrong_answer_makes_a_sweep_invalid(runtime_dir: Any, fake_pool: Any, fake_subject: Any) -> None:
    numbers = itertools.count()

    def answer(command: str, args: dict[str, Any]) -> Any:
        return [-1, 1] if next(numbers) == 1 else args["value"]

    subject = fake_subject(name="bad", make=lambda config, observer: fake_pool(observer, answer=answer))
    call = call_scenario('echo {"value": 1}')
    plan = SweepPlan(call=call, pools=(subject,), sizes=((2, 2, "workers"),), block_s=0.05, rounds=1, seed=1)
    report = carry_out_sweep(plan, progress=Silence())
    (wrong,) = report.wrong
    assert wrong.startswith("bad: the request echo {'value': [")
    assert not report.validity.valid
