"""Parts that are there when their data are: benches, sweeps, kill matrices, cells and coverage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from poolproof.harness.compare.comparison import Comparison, Cover, FileCover, Minimum, ScenarioCover
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.mutation.matrix import KillMatrix, Row
from poolproof.reports.export import view_with_extras
from poolproof.reports.formats.render import render_html
from poolproof.reports.sections.extras import comparison_sections, read_sections
from poolproof.reports.sections.section import Mark, Tone

MakeComparison = Callable[..., Comparison]

BENCH = {
    "claim": "better",
    "created_at": "2026-01-01",
    "unknown_field": 1,
    "benches": [
        {
            "work": "echo",
            "baseline": "v1",
            "candidate": "v2",
            "claim": "better",
            "tests": [
                {
                    "metric": "p50",
                    "better": "lower",
                    "ratio": {"value": 0.5, "low": 0.4, "high": 0.6},
                    "margin": 0.05,
                    "claim": "better",
                },
                {"metric": "rss", "better": "lower", "margin": 0.1, "claim": "inconclusive", "settle": "more rounds"},
            ],
            "budgets": [{"text": "p99 < 5 ms", "verdict": "fail", "why": "7 ms"}],
            "validity": {"problems": ["the machine was busy"], "warnings": []},
        }
    ],
}
SWEEP = {
    "call": "calls of 50 ms",
    "points": [
        {"pool": pool, "workers": 4, "clients": n, "throughput": rate * n, "p50_s": 0.05, "errors": 0}
        for pool, rate in (("v1", 5.0), ("v2", 20.0))
        for n in (1, 2, 4)
    ],
    "curves": [{"pool": "v2", "axis": "clients", "contention": 0.01, "text": "grows to the last point"}],
}
MATRIX = KillMatrix(
    profile="quick",
    seeds=(1,),
    rows=(
        Row(mutant="lifo", pool="v2", about="a stack", breaks=("G12",), seeds=1, killed=1, killers={"fair:order": 1}),
        Row(mutant="lost", pool="v2", about="drops", breaks=("G3",), seeds=1, killed=0, survived=(1,), why="nothing"),
    ),
    cells=(),
    guarantees={"G12": ("v2.lifo",)},
    fixes={},
    detection_rate=0.5,
    lowest_detection_rate=0.5,
    good_runs=3,
    false_alarms=(),
)


def test_each_file_beside_the_data_is_a_part_with_its_chart(make_comparison: MakeComparison, tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_bytes(msgspec.json.encode(BENCH))
    (tmp_path / "sweep.json").write_bytes(msgspec.json.encode(SWEEP))
    (tmp_path / "kill-matrix.json").write_bytes(msgspec.json.encode(MATRIX))
    bench, sweep, matrix = read_sections(tmp_path, make_comparison())
    assert bench.grids[0].rows[0][:5] == ("echo", "p50", Mark("better", Tone.GOOD), "0.500", "0.400 to 0.600")
    assert bench.grids[0].rows[1][2] == Mark("inconclusive", Tone.DOUBT)
    assert bench.grids[1].rows == (("echo", "p99 < 5 ms", Mark("fail", Tone.BAD), "7 ms"),)
    assert "echo: invalid, so these figures must not be quoted: the machine was busy" in bench.sentences
    assert [drawing.kind for drawing in (*bench.drawings, *sweep.drawings)] == ["forest", "curves"]
    curve = sweep.drawings[0].tables["curves"].rows
    assert [(row[0], row[2], row[3]) for row in curve if "calls per second" in row[1]] == [
        *(("v1", n, 5.0 * n) for n in (1, 2, 4)),
        *(("v2", n, 20.0 * n) for n in (1, 2, 4)),
    ]
    assert [row[3] for row in matrix.grids[0].rows] == [Mark("1 of 1", Tone.GOOD), Mark("0 of 1", Tone.BAD)]
    text = render_html(view_with_extras(make_comparison(), tmp_path))
    for title in ("Bench", "Scalability", "Kill matrix", "What was tried"):
        assert f">{title}</h2>" in text


def test_a_damaged_file_is_told_and_no_file_is_no_part(make_comparison: MakeComparison, tmp_path: Path) -> None:
    assert read_sections(tmp_path, make_comparison()) == []
    (tmp_path / "bench.json").write_text("{")
    [part] = read_sections(tmp_path, make_comparison())
    assert part.title == "Bench"
    assert part.sentences[0].startswith("bench.json could not be read")


def test_cells_and_coverage_say_what_was_never_done(make_comparison: MakeComparison) -> None:
    cover = Cover(
        sources=("pool_v2",),
        files=(
            FileCover(path="pool_v2/a.py", statements=10, executed=10),
            FileCover(
                path="pool_v2/b.py", statements=10, executed=4, branches=4, taken=1, missing="3-8", untaken="2->3"
            ),
        ),
        scenarios=(ScenarioCover(scenario="parallel_calls", lines=14, branches=1, alone=14, files={}),),
    )
    cells, faces, coverage = comparison_sections(make_comparison(coverage=cover, minimum=Minimum(cells=1, lines=50.0)))
    assert cells.grids[0].rows[0][:4] == ("no fault", "", "", "1")
    assert faces.grids[0].rows[0][:5] == ("execute", "yes", "no fault", "", "1")
    assert f"0 of {len(FaultKind)} kinds of faults were in effect in at least one scenario" in cells.sentences
    assert "14 of 20 statements (70.0 %) and 1 of 4 branches of pool_v2" in coverage.sentences[0]
    assert [row[0] for row in coverage.grids[0].rows] == ["pool_v2/b.py", "pool_v2/a.py"]
    assert coverage.grids[0].rows[0][3:] == ("3-8", "2->3")


@pytest.mark.parametrize("missing", ["curves", "p50_s"])
def test_a_sweep_without_what_it_may_lack_is_shown(
    missing: str, make_comparison: MakeComparison, tmp_path: Path
) -> None:
    points = [{key: value for key, value in point.items() if key != missing} for point in SWEEP["points"]]  # type: ignore[attr-defined]
    data = {key: value for key, value in {**SWEEP, "points": points}.items() if key != missing}
    (tmp_path / "sweep.json").write_bytes(msgspec.json.encode(data))
    [part] = read_sections(tmp_path, make_comparison())
    assert part.drawings
