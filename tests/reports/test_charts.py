"""The charts' data are the comparison's figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from harness.comparison import Comparison, Metrics, RunResult
from reports import charts
from reports.view import build_view


def _values(spec: charts.Spec, part: charts.Spec | None = None) -> list[dict[str, Any]]:
    values: list[dict[str, Any]] = spec["datasets"][(part or spec)["data"]["name"]]
    return values


MakeResult = Callable[..., RunResult]
MakeComparison = Callable[..., Comparison]


def test_occupancy_has_a_lane_a_worker_and_a_bar_a_stretch_for_each_pool(make_comparison: MakeComparison) -> None:
    spec = charts.occupancy(build_view(make_comparison()).rows[0], workers=4)
    assert spec is not None
    titles = [part["title"] for part in spec["vconcat"]]
    assert titles == ["v1: at most 1 at work at the same time", "v2: at most 4 at work at the same time"]
    bars = _values(spec, spec["vconcat"][1])
    assert [bar["lane"] for bar in bars] == ["worker 1", "worker 2", "worker 3", "worker 4"]
    assert (bars[0]["start"], bars[0]["end"]) == (10.0, 60.0)


def test_overlap_response_and_throughput_have_a_value_for_each_pool(make_comparison: MakeComparison) -> None:
    comparison = make_comparison()
    overlap = charts.overlaps(comparison)
    assert overlap is not None
    assert [(v["pool"], v["value"]) for v in _values(overlap)] == [("v1", 1), ("v2", 4)]
    response = charts.response_times(comparison)
    assert response is not None
    assert [(v["pool"], v["p50"], v["p99"]) for v in _values(response)] == [
        ("v1", 50.0, 70.0),
        ("v2", 50.0, 70.0),
    ]
    throughput = charts.throughputs(comparison)
    assert throughput is not None
    assert [v["value"] for v in _values(throughput)] == [80.0, 80.0]


def test_the_forest_has_the_ratio_and_both_ends(make_comparison: MakeComparison) -> None:
    spec = charts.forest(make_comparison().speeds)
    assert spec is not None
    assert _values(spec, spec["layer"][1]) == [{"scenario": "parallel_calls", "ratio": 3.98, "low": 3.9, "high": 4.01}]


def test_nothing_recorded_is_no_chart(make_comparison: MakeComparison, make_result: MakeResult) -> None:
    bare = msgspec.structs.replace(make_result("v1"), metrics=Metrics())
    comparison = make_comparison(baseline=bare, candidate=msgspec.structs.replace(bare, pool="v2"), speeds=())
    assert charts.forest(()) is None
    assert charts.overlaps(comparison) is charts.response_times(comparison) is charts.throughputs(comparison) is None
    assert charts.occupancy(build_view(comparison).rows[0], workers=4) is None
