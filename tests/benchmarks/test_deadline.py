"""Deadlines: every call ends in CallTimeout, never before its time."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.blocks import BenchError
from benchmarks.effort import Effort
from benchmarks.experiments.deadline import TIMEOUTS_S, deadline, one_round, timeouts


def test_no_call_is_told_before_its_deadline(tiny: Effort) -> None:
    result = deadline(tiny)
    assert [row.condition for row in result.rows] == [
        *("1 client, the worker sleeps", "1 client, the worker is stopped"),
        *("2 clients, the worker sleeps", "2 clients, the worker is stopped"),
    ]
    assert [row.samples for row in result.rows] == [2, 2, 4, 4]
    for row, goal in zip(result.rows, result.goals, strict=True):
        assert row.metrics["p50_ms"] > 0
        assert goal.figure is not None
        assert goal.figure.value == row.metrics["largest_ms"], "the goal is held by the latest call"


def test_the_timeouts_span_the_range() -> None:
    assert timeouts(4, 0, 9) == pytest.approx([0.05, 0.1, 0.15, 0.2])
    assert [timeouts(1, step, 3) for step in range(3)] == [[TIMEOUTS_S[0]], [pytest.approx(0.125)], [TIMEOUTS_S[1]]]


def test_a_call_that_ends_otherwise_is_an_error() -> None:
    class Prompt:
        def execute(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("something else")

    with pytest.raises(BenchError, match=r"0 of 1 calls ended in CallTimeout; others: .*something else"):
        one_round(Prompt(), [0.01], stopped=False)  # type: ignore[arg-type]
