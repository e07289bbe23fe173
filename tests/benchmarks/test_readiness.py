"""Start-up: every starter enters with all its workers ready, and the rounds share the order."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from benchmarks.blocks import BenchError
from benchmarks.effort import Effort
from benchmarks.experiments import readiness
from benchmarks.experiments.readiness import COLD, OPENED, WARM, start_up, timed
from benchmarks.records import Verdict


@pytest.mark.parametrize("name", OPENED)
def test_what_is_opened_has_its_workers_alive(name: str) -> None:
    before = {child.pid for child in psutil.Process().children()}
    with OPENED[name](2):
        started = {child.pid for child in psutil.Process().children()} - before
        assert len(started) >= 2


def test_the_time_ends_when_all_are_ready_and_not_when_all_have_ended() -> None:
    ended: list[str] = []

    @contextmanager
    def slow_to_end(_: int) -> Iterator[None]:
        yield
        time.sleep(0.2)
        ended.append("yes")

    began = time.perf_counter()
    took_ms = timed(slow_to_end)(3)
    assert ended == ["yes"]
    assert took_ms <= (time.perf_counter() - began) * 1000 - 200


def test_a_zygote_starts_workers_too() -> None:
    assert {COLD, WARM} <= readiness.starters().keys()
    assert readiness.v2_warm_zygote(2) > 0
    assert timed(readiness.v2_cold_zygote)(2) > 0


def test_start_up_has_a_row_for_each_starter(tiny: Effort) -> None:
    started: list[tuple[str, int]] = []

    def starter(name: str, took_ms: float) -> readiness.Starter:
        def start(workers: int) -> float:
            started.append((name, workers))
            return took_ms

        return start

    names = {"V1": 100.0, "V2": 50.0, WARM: 10.0}
    result = start_up(tiny, {name: starter(name, took_ms) for name, took_ms in names.items()})
    assert sorted(started) == sorted([(name, 2) for name in names] * 2)
    assert [(row.system, row.metrics["median_ms"]) for row in result.rows] == list(names.items())
    ratios = [row.v2_ratio.value if row.v2_ratio else None for row in result.rows]
    assert ratios == [pytest.approx(0.1), pytest.approx(0.2), None]
    [goal] = result.goals
    assert goal.name == f"2 workers ready, {WARM} (ms)"
    assert goal.verdict is Verdict.MET
    assert result.notes == ()


def test_a_version_without_a_zygote_says_so(tiny: Effort, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "has_zygote", lambda: False)
    assert list(readiness.starters()) == list(OPENED)
    result = start_up(tiny, {"V2": lambda _: 70.0})
    assert result.notes == (readiness.NO_ZYGOTE,)
    assert [(goal.name, goal.verdict) for goal in result.goals] == [("2 workers ready, V2 (ms)", Verdict.MISSED)]


def test_workers_that_never_begin_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "READY_TIMEOUT_S", 0.05)
    with pytest.raises(BenchError, match="0 of 2 workers began"):
        readiness._await(multiprocessing.get_context().Semaphore(0), 2)
