"""DSPy workers: each preload has a row with both goals, and without DSPy the reason stands in their place."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

from benchmarks.effort import Effort
from benchmarks.experiments.programs import MISSING, PRELOADS, programs, proportional_mb, start_programs
from benchmarks.records import Verdict
from poolproof.bridge.dspy.adapter import DSPY_PRELOAD


def test_each_preload_has_a_row_and_two_goals(tiny: Effort) -> None:
    started: list[tuple[tuple[str, ...], int]] = []

    def start(preload: tuple[str, ...], workers: int) -> tuple[float, list[float]]:
        started.append((preload, workers))
        return (100.0, [4.0, 5.0]) if "litellm" not in preload else (400.0, [12.0, 20.0])

    result = programs(tiny, start, installed=True)
    assert [row.system for row in result.rows] == list(PRELOADS)
    assert result.rows[0].metrics == {"median_ms": 100.0, "largest_ms": 100.0, "idle_mb": 5.0}
    assert [goal.verdict for goal in result.goals] == [Verdict.MET, Verdict.MET, Verdict.MISSED, Verdict.MISSED]
    assert started == list(zip(PRELOADS.values(), [tiny.start_workers] * 2, strict=True)) * tiny.starts


def test_without_dspy_the_reason_is_told(tiny: Effort) -> None:
    result = programs(tiny, installed=False)
    assert (result.rows, result.goals, result.notes) == ((), (), (MISSING,))


def test_the_memory_of_a_process_is_read() -> None:
    assert 1 < proportional_mb(os.getpid()) < 10_000


@pytest.mark.skipif(not find_spec("dspy"), reason=MISSING)
def test_workers_are_forked_beside_the_first() -> None:
    took_ms, shares = start_programs(DSPY_PRELOAD, 1)
    assert took_ms > 0
    assert len(shares) == 2
