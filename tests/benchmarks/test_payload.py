"""Payloads: every size that the effort allows, against both kinds of socketpair."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.blocks import BenchError, Execute
from benchmarks.effort import Effort
from benchmarks.experiments import payload as module
from benchmarks.experiments.payload import BYTES, CODEC, payload


def test_each_size_is_moved_by_each_system(tiny: Effort) -> None:
    result = payload(tiny)
    assert [(row.condition, row.system) for row in result.rows] == [
        (size, system) for size in ("1 kB", "16 kB") for system in ("V2", CODEC, BYTES)
    ]
    assert all(row.samples == 2 and row.metrics["mb_per_s"] > 0 for row in result.rows)
    assert [row.v2_ratio is None for row in result.rows] == [True, False, False] * 2
    assert result.goals == (), "the goal is that of 64 MB, which was not moved"


def test_the_goals_come_from_their_size(tiny: Effort, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GOAL_BYTES", 16_000)
    result = payload(tiny)
    assert [goal.figure for goal in result.goals] == [row.v2_ratio for row in result.rows[-2:]]


def test_an_echo_that_changes_its_payload_is_no_figure(tiny: Effort, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def broken() -> Iterator[Execute]:
        yield lambda command, args: [*args["value"], "!"]

    monkeypatch.setattr(module, "codec_echo", broken)
    with pytest.raises(BenchError, match="socketpair with the codec: a wrong answer"):
        payload(tiny)
