"""Literal comparisons for the tests of the reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from poolproof.harness.compare.comparison import (
    Busy,
    Comparison,
    Difference,
    Machine,
    Metrics,
    Quantiles,
    RunResult,
    ScenarioComparison,
    Speed,
)
from poolproof.harness.model.checker import Finding
from poolproof.harness.model.verdict import Decision, Verdict

MakeResult = Callable[..., RunResult]
MakeComparison = Callable[..., Comparison]


def _metrics(overlap: int) -> Metrics:
    quantiles = Quantiles(count=80, p50_ms=50.0, p90_ms=60.0, p99_ms=70.0, max_ms=71.0)
    stretches = tuple(
        Busy(worker=worker, start_ms=10.0 * worker, end_ms=10.0 * worker + 50, command="sleep", ok=True)
        for worker in range(1, 5)
    )
    return Metrics(
        ops=80,
        outcomes={"result": 80},
        wall_s=1.0,
        throughput_per_s=80.0,
        overlap_max=overlap,
        overlap_mean=overlap / 1.5,
        response=quantiles,
        service=quantiles,
        timeline=stretches,
    )


@pytest.fixture
def make_result() -> MakeResult:
    """A result that passes, unless told otherwise."""

    def make(pool: str = "v2", verdict: Verdict = Verdict.PASS, **fields: Any) -> RunResult:
        found = Finding(checker="overlap", verdict=verdict, claim="up to 4 workers were at work", guarantees=("G10",))
        given: dict[str, Any] = {
            "scenario": "parallel_calls",
            "pool": pool,
            "seed": 1,
            "verdict": verdict,
            "findings": (found,),
            "metrics": _metrics(4 if pool == "v2" else 1),
            "folder": "runs/x",
            "duration_s": 1.5,
        }
        return RunResult(**{**given, **fields})

    return make


@pytest.fixture
def make_comparison(make_result: MakeResult) -> MakeComparison:
    """A comparison of one scenario in which v1 fails as declared and v2 passes, unless told otherwise."""

    def make(
        baseline: RunResult | None = None,
        candidate: RunResult | None = None,
        reason: str = "one manager",
        **fields: Any,
    ) -> Comparison:
        baseline = baseline or make_result("v1", Verdict.FAIL)
        candidate = candidate or make_result("v2")
        differences = tuple(
            Difference(kind="finding", pool=result.pool, checker=found.checker, text=found.claim, reason=reason)
            for result in (baseline, candidate)
            for found in result.findings
            if found.verdict is Verdict.FAIL
        )
        row = ScenarioComparison(
            name="parallel_calls",
            summary="calls of 50 ms run on all workers at the same time",
            failures=("F1",),
            guarantees=("G10",),
            baseline=baseline,
            candidate=candidate,
            differences=differences,
            answers_compared=80,
        )
        given: dict[str, Any] = {
            "decision": Decision.SAFE,
            "reasons": ("v2 passes the one scenario that was run",),
            "baseline": baseline.pool,
            "candidate": candidate.pool,
            "seed": 1,
            "workers": 4,
            "clients": 8,
            "profile": "quick",
            "scenarios": (row,),
            "speeds": (
                Speed(
                    scenario="parallel_calls",
                    metric="throughput",
                    baseline=19.7,
                    candidate=78.4,
                    ratio=3.98,
                    low=3.9,
                    high=4.01,
                    blocks=6,
                ),
            ),
            "machine": Machine(system="Linux", python="3.11.0", cpus=2, load_before=0.5, load_after=0.7),
            "created_at": "2026-01-02T03:04:05+00:00",
            "duration_s": 60.0,
            "command": "poolproof compare",
            "tool_version": "0.1.0",
        }
        return Comparison(**{**given, **fields})

    return make


@pytest.fixture
def hostile(make_comparison: MakeComparison, make_result: MakeResult) -> Comparison:
    """A comparison in which every text that a worker or a user can choose tries to break out of its place."""
    nasty = (
        "</script><script>alert(1)</script>\"'&|`<img src=x onerror=alert(2)>\x00\x1b[31m\u2028]]> {{ 7*7 }} @team #1"
    )
    found = Finding(checker="own_answer", verdict=Verdict.FAIL, claim=nasty, examples=(nasty, nasty))
    result = make_result("v2", Verdict.FAIL, findings=(found,), trouble=nasty)
    stretch = Busy(worker=1, start_ms=0.0, end_ms=1.0, command=nasty, ok=None)
    result = msgspec.structs.replace(result, metrics=msgspec.structs.replace(result.metrics, timeline=(stretch,)))
    return make_comparison(
        candidate=result, reason="", decision=Decision.UNSAFE, reasons=(nasty,), warnings=(nasty,), command=nasty
    )
