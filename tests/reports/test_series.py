"""What the charts draw is what the comparison holds, and the sentence beside it says the same."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from poolproof.harness.compare.comparison import Busy, Comparison, Metrics, RunResult, Speed
from poolproof.harness.history.chart_data import OTHERS, ChartData, Flow, Level, Share, Step, Struck
from poolproof.reports.charts import overview, series
from poolproof.reports.charts.drawing import LEAST_MS, Drawing, Table, side_names

MakeResult = Callable[..., RunResult]
MakeComparison = Callable[..., Comparison]
SIDES = ("v1", "v2")


def _with(comparison: Comparison, picture: ChartData) -> Comparison:
    row = comparison.scenarios[0]
    candidate = msgspec.structs.replace(row.candidate, picture=picture)
    return msgspec.structs.replace(comparison, scenarios=(msgspec.structs.replace(row, candidate=candidate),))


def _rows(drawing: Drawing | None, table: str) -> list[dict[str, object]]:
    assert drawing is not None
    found = drawing.tables[table]
    return [dict(zip(found.fields, row, strict=True)) for row in found.rows]


def test_occupancy_has_a_lane_a_worker_and_a_bar_a_stretch_for_each_pool(make_comparison: MakeComparison) -> None:
    picture = ChartData(offset_s=1.0, struck=(Struck(kind="kill", at_s=1.5, until_s=2.0, landed=True, worker=3),))
    drawing = series.occupancy(_with(make_comparison(), picture).scenarios[0], SIDES)
    bars = _rows(drawing, "bars")
    assert {bar["title"] for bar in bars} == {
        f"{s}: at most {n} workers at work at the same time" for s, n in (("v1", 1), ("v2", 4))
    }
    mine = [bar for bar in bars if bar["side"] == "v2"]
    assert [bar["lane"] for bar in mine] == ["worker 1", "worker 2", "worker 3", "worker 4", None]
    assert (mine[0]["start"], mine[0]["end"], mine[0]["what"], mine[0]["ended"]) == (1010, 1060, "sleep", "answered")
    assert (mine[4]["fault"], mine[4]["start"], mine[4]["end"], mine[4]["took"]) == ("kill", 1500, 2000, 500)
    assert drawing is not None
    assert (
        drawing.words
        == "v1: at most 1 workers at work at the same time; v2: at most 4 workers at work at the same time"
    )


def test_a_large_history_is_drawn_as_shares_and_says_so(make_comparison: MakeComparison) -> None:
    picture = ChartData(stretches=5000, shares=(Share(2, 0.0, 0.1, 0.75, 12), Share(OTHERS, 0.0, 0.1, 0.5, 3)))
    drawing = series.occupancy(_with(make_comparison(), picture).scenarios[0], SIDES)
    mine = [bar for bar in _rows(drawing, "bars") if bar["side"] == "v2"]
    assert [(bar["lane"], bar["busy"]) for bar in mine] == [("worker 2", 0.75), ("all other workers", 0.5)]
    assert (mine[0]["busy"], mine[0]["calls"], mine[0]["what"]) == (0.75, 12, None)
    assert drawing is not None
    assert "the chart of v2 shows all 5000 stretches of work as shares of time" in drawing.caption


def test_the_distribution_has_every_step_and_the_usual_quantiles(make_comparison: MakeComparison) -> None:
    drawing = series.ecdf(
        _with(make_comparison(), ChartData(steps=(Step(0.0, 0.5), Step(70.0, 1.0)))).scenarios[0], SIDES
    )
    assert [(row["side"], row["time"], row["share"]) for row in _rows(drawing, "steps")] == [
        ("v2", LEAST_MS, 0.5),
        ("v2", 70.0, 1.0),
    ]
    assert [row["name"] for row in _rows(drawing, "quantiles")] == ["p50", "p90", "p99"] * 2
    assert drawing is not None
    assert "v2: p50 50 ms, p90 60 ms, p99 70 ms" in drawing.words


def test_the_course_has_rates_and_faults_that_never_landed_are_told(make_comparison: MakeComparison) -> None:
    picture = ChartData(
        flow=(Flow(0.0, 0.5, 10, 1, 5.0, 9.0), Flow(0.5, 1.0, 0, 0, None, None)),
        struck=(Struck(kind="stop", at_s=0.2, landed=False, detail="nobody was busy"),),
        struck_total=3,
    )
    drawing = series.flow(_with(make_comparison(), picture).scenarios[0], SIDES)
    assert [(row["rate"], row["others"], row["p50"]) for row in _rows(drawing, "flow")] == [
        (20.0, 1, 5.0),
        (0.0, 0, None),
    ]
    [struck] = _rows(drawing, "struck")
    assert (struck["told"], struck["start"], struck["end"]) == ("never landed: nobody was busy", 200, 200)
    assert drawing is not None
    assert "the first 1 of 3 faults are drawn" in drawing.words


def test_levels_are_megabytes_and_counts(make_comparison: MakeComparison) -> None:
    picture = ChartData(levels=(Level(0.5, 20_000_000, 12, 4, 5),), levels_total=90)
    drawing = series.levels(_with(make_comparison(), picture).scenarios[0], SIDES)
    assert _rows(drawing, "levels") == [
        {"side": "v2", "at": 500, "memory, MB": 20.0, "descriptors": 12, "threads": 4, "children": 5}
    ]
    assert drawing is not None
    assert "of each group of samples, the sample with the most memory is shown" in drawing.caption


@pytest.mark.parametrize(
    ("low", "high", "tone", "told"),
    [
        (1.0, 2.0, "good", "at least as fast"),
        (0.96, 1.2, "good", "no worse than by 5%"),
        (0.9, 1.2, "doubt", "cannot be excluded"),
        (0.5, 0.94, "bad", "slower by more than 5%"),
    ],
)
def test_an_interval_is_judged_by_the_margin(low: float, high: float, tone: str, told: str) -> None:
    found, meaning = overview.speed_tone(
        Speed(scenario="s", metric="throughput", baseline=1, candidate=1, ratio=1, low=low, high=high, blocks=6)
    )
    assert found == tone
    assert told in meaning


def test_the_forest_has_the_ratio_both_ends_and_the_margin(make_comparison: MakeComparison) -> None:
    drawing = overview.forest(make_comparison().speeds)
    [row] = _rows(drawing, "ratios")
    assert (row["what"], row["ratio"], row["low"], row["high"], row["tone"]) == (
        "parallel_calls",
        3.98,
        3.9,
        4.01,
        "good",
    )
    assert [(row["name"], row["at"]) for row in _rows(drawing, "limits")] == [("equally fast", 1.0), ("margin", 0.95)]


def test_overviews_have_a_value_for_each_pool(make_comparison: MakeComparison) -> None:
    comparison = make_comparison()
    assert [(r["side"], r["value"]) for r in _rows(overview.overlap(comparison, SIDES), "overlap")] == [
        ("v1", 1),
        ("v2", 4),
    ]
    assert [r["value"] for r in _rows(overview.throughput(comparison, SIDES), "throughput")] == [80.0, 80.0]
    assert [(r["p50"], r["p99"]) for r in _rows(overview.response(comparison, SIDES), "response")] == [(50.0, 70.0)] * 2


def test_nothing_recorded_is_no_chart(make_comparison: MakeComparison, make_result: MakeResult) -> None:
    bare = msgspec.structs.replace(make_result("v1"), metrics=Metrics())
    comparison = make_comparison(baseline=bare, candidate=msgspec.structs.replace(bare, pool="v2"), speeds=())
    assert overview.forest(()) is None
    for chart in (overview.overlap, overview.response, overview.throughput):
        assert chart(comparison, SIDES) is None
    for part in (series.occupancy, series.ecdf, series.flow, series.levels):
        assert part(comparison.scenarios[0], SIDES) is None


def test_columns_tell_each_text_once() -> None:
    table = Table(("who", "n", "empty"), (("a", 1, None), ("b", 2, None), ("a", None, None)))
    assert table.columns() == {"who": {"of": ["a", "b"], "at": [0, 1, 0]}, "n": [1, 2, None]}


def test_a_pool_against_itself_has_two_names() -> None:
    assert side_names("v1", "v2") == ("v1", "v2")
    assert side_names("v1", "v1") == ("v1 (baseline)", "v1 (candidate)")


def test_short_calls_are_drawn_in_microseconds_on_an_axis_that_they_fill(make_comparison: MakeComparison) -> None:
    steps = tuple(Step(0.2 + part / 1000, part / 10) for part in range(1, 11))
    [row] = _with(make_comparison(), ChartData(steps=steps)).scenarios
    drawing = series.ecdf(row, SIDES)
    assert drawing is not None
    assert drawing.settings == {"unit": "µs", "scale": "linear", "log": ""}
    assert next(found["time"] for found in _rows(drawing, "steps")) == 201.0


def test_times_far_apart_are_drawn_on_a_logarithmic_scale(make_comparison: MakeComparison) -> None:
    [row] = _with(make_comparison(), ChartData(steps=(Step(2.0, 0.9), Step(4000.0, 1.0)))).scenarios
    drawing = series.ecdf(row, SIDES)
    assert drawing is not None
    assert (drawing.settings["scale"], drawing.settings["log"]) == ("log", ", log scale")


def test_a_bar_too_short_to_be_seen_is_drawn_longer_and_tells_its_true_time(make_comparison: MakeComparison) -> None:
    comparison = make_comparison()
    [row] = comparison.scenarios
    stretches = (
        Busy(worker=1, start_ms=0.0, end_ms=0.01, command="echo", ok=True),
        Busy(worker=1, start_ms=3999.0, end_ms=4000.0, command="echo", ok=True),
    )
    metrics = msgspec.structs.replace(row.candidate.metrics, timeline=stretches)
    candidate = msgspec.structs.replace(row.candidate, metrics=metrics)
    drawing = series.occupancy(msgspec.structs.replace(row, candidate=candidate), SIDES)
    assert drawing is not None
    assert drawing.settings["unit"] == "s"
    [bar] = [bar for bar in _rows(drawing, "bars") if bar["side"] == "v2" and bar["start"] == 0.0]
    assert (bar["end"], bar["took"]) == (0.01, 0.0)
