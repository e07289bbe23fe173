"""Efficiency is achieved over ideal calls a second."""

from __future__ import annotations

import pytest

from benchmarks.effort import Effort
from benchmarks.experiments.efficiency import CALL_S, efficiency


def test_efficiency_is_the_achieved_share_of_the_ideal(tiny: Effort) -> None:
    result = efficiency(tiny)
    [row, bare], [goal] = result.rows, result.goals
    assert (row.system, bare.system) == ("V2", "raw pipes, one a client")
    assert bare.v2_ratio is not None
    assert row.samples == 2
    assert row.metrics["ideal_per_s"] == pytest.approx(3 / CALL_S)
    assert row.metrics["p50_us"] >= CALL_S * 1e6, "no call is shorter than its sleep"
    assert goal.figure is not None
    # A window may hold the ends of calls that began before it: one more a client at most.
    assert 0 < goal.figure.value <= 1.0001 + CALL_S / tiny.crowd_block_s
    assert "3 workers" in goal.name
