"""The index of many runs: every run with its decision, trends, histories, and what could not be read."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from poolproof.harness.compare.comparison import Comparison, RunResult
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.verdict import Decision, Verdict
from poolproof.reports.export import write_reports, write_site
from poolproof.reports.sections.section import Mark, Tone
from poolproof.reports.site import MOST_COLUMNS, Stored, build_index

MakeResult = Callable[..., RunResult]
MakeComparison = Callable[..., Comparison]


def _stored(comparison: Comparison, day: int) -> Stored:
    made = msgspec.structs.replace(comparison, created_at=f"2026-01-{day:02d}T00:00:00+00:00")
    return Stored(name=f"run-{day}", page=f"./run-{day}/report.html", comparison=made)


def test_the_newest_run_is_first_and_trends_begin_with_the_oldest(
    make_comparison: MakeComparison, make_result: MakeResult
) -> None:
    bad = make_comparison(
        candidate=make_result("v2", Verdict.FAIL), decision=Decision.UNSAFE, reason="", reasons=("v2 fails",)
    )
    index = build_index([_stored(bad, 3), _stored(make_comparison(), 1)])
    assert [entry.name for entry in index.entries] == ["run-3", "run-1"]
    assert (index.entries[0].decision, index.entries[0].passed, index.entries[0].why) == (
        Mark("UNSAFE", Tone.BAD),
        "0 of 1",
        "v2 fails",
    )
    assert index.lead == "2 comparisons, 1 of them SAFE. The latest, of 2026-01-03T00:00:00+00:00: UNSAFE."
    trends, histories = index.parts
    [drawing] = trends.drawings
    assert [(row[0], row[3], row[6]) for row in drawing.tables["trend"].rows] == [
        (1, 3.98, "SAFE"),
        (2, 3.98, "UNSAFE"),
    ]
    assert histories.grids[0].rows == (("parallel_calls", Mark("pass", Tone.GOOD), Mark("fail", Tone.BAD)),)


def test_older_histories_are_told_of_and_never_lost_in_silence(make_comparison: MakeComparison) -> None:
    index = build_index([_stored(make_comparison(), day) for day in range(1, MOST_COLUMNS + 2)])
    [_, histories] = index.parts
    assert histories.grids[0].columns[:2] == ("scenario", "2")
    assert "the 1 earlier comparisons" in histories.grids[0].more
    assert len(index.entries) == MOST_COLUMNS + 1


def test_a_site_has_every_run_below_it_and_writes_the_reports_that_are_missing(
    make_comparison: MakeComparison, tmp_path: Path
) -> None:
    write_reports(make_comparison(), tmp_path / "a b" / "deep", ["json"])
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "comparison.json").write_text("{}")
    path, index = write_site(tmp_path)
    text = path.read_text()
    assert path == tmp_path / "index.html"
    assert 'href="./a%20b/deep/report.html"' in text
    assert (tmp_path / "a b" / "deep" / "report.html").is_file()
    assert len(index.unread) == 1
    assert "is damaged" in text


def test_hostile_names_stay_text(hostile: Comparison, tmp_path: Path) -> None:
    write_reports(hostile, tmp_path / "<img src=x>", ["json"])
    text = write_site(tmp_path)[0].read_text()
    shown = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert "alert(1)" in shown
    assert "<img" not in shown
    assert "<script" not in shown


def test_a_folder_that_is_none_is_a_usage_error_and_an_empty_one_an_empty_index(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        write_site(tmp_path / "none")
    assert write_site(tmp_path)[1].lead == "No stored comparison was found."
