"""CTRF: each case has the status that its verdict deserves, and the counts are those of the cases."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from poolproof.harness.compare.comparison import Comparison, RunResult
from poolproof.harness.model.verdict import Decision, Verdict
from poolproof.reports.formats.ctrf import render_ctrf
from poolproof.reports.view import build_view

MakeResult = Callable[..., RunResult]
MakeComparison = Callable[..., Comparison]


def _read(comparison: Comparison) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    told = json.loads(render_ctrf(build_view(comparison)))
    assert told["reportFormat"] == "CTRF"
    return told["results"]["summary"], told["results"]["tests"]


def test_a_good_comparison(make_comparison: MakeComparison) -> None:
    summary, tests = _read(make_comparison())
    assert [(test["name"].split()[-1], test["status"]) for test in tests] == [
        ("v1", "skipped"),  # it fails as declared
        ("v2", "passed"),
        ("v1", "passed"),  # v2 replacing v1
    ]
    assert [summary[name] for name in ("tests", "passed", "failed", "skipped", "pending", "other")] == [
        3,
        2,
        0,
        1,
        0,
        0,
    ]
    assert summary["stop"] - summary["start"] == sum(test["duration"] for test in tests)


@pytest.mark.parametrize(
    ("verdict", "decision", "status"),
    [(Verdict.FAIL, Decision.UNSAFE, "failed"), (Verdict.UNKNOWN, Decision.INCONCLUSIVE, "other")],
)
def test_what_is_no_pass_says_why(
    verdict: Verdict, decision: Decision, status: str, make_comparison: MakeComparison, make_result: MakeResult
) -> None:
    candidate = make_result("v2", verdict)
    summary, tests = _read(make_comparison(candidate=candidate, reason="", decision=decision))
    assert [test["status"] for test in tests[1:]] == [status, status]
    assert "to run it again: poolproof run parallel_calls --pool v2" in tests[1]["trace"]
    assert tests[2]["message"].startswith(f"{decision.value.upper()}: ")
    assert summary[status] >= 2
