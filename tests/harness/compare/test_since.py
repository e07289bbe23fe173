"""The last comparison of the same two pools: where it is found, what is kept of it, and what the report says."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from poolproof.harness.compare.comparison import Comparison
from poolproof.harness.compare.stored.diff import diff
from poolproof.harness.compare.stored.since import MOST_SEARCHED, SINCE_FILE, find_last, record_changes
from poolproof.harness.model.errors import RecordError, UsageError
from poolproof.harness.model.verdict import Decision, Verdict
from poolproof.harness.run.retention import COMPARISON_FILE
from poolproof.reports.sections.section import Mark, Tone
from poolproof.reports.sections.since import MOST_ROWS, since_section
from tests.harness.compare.test_diff import comparison, row, speed


def put(folder: Path, found: Comparison) -> Path:
    """Store a comparison."""
    folder.mkdir(parents=True)
    (folder / COMPARISON_FILE).write_bytes(msgspec.json.encode(found))
    return folder


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    assert find_last(tmp_path / "new", "v1", "v2") is None
    assert find_last(tmp_path / "out" / "compare-20260102-000000-1", "v1", "v2") is None


def test_the_comparison_that_will_be_overwritten_is_the_last_one(tmp_path: Path) -> None:
    folder = put(tmp_path / "kept", comparison(row({}, {}), seed=7))
    found = find_last(folder, "v1", "v2")
    assert found is not None
    assert found.seed == 7


def test_in_out_the_newest_of_the_same_pools_is_found_and_a_damaged_one_is_passed_over(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for day, fields in ((1, {"seed": 1}), (2, {"seed": 2}), (3, {"seed": 3, "candidate": "mine"})):
        put(out / f"compare-2026010{day}-000000-1", comparison(row({}, {}), **fields))
    (put(out / "compare-20260104-000000-1", comparison(row({}, {}))) / COMPARISON_FILE).write_text("{")
    put(out / "named", comparison(row({}, {}), seed=9))

    found = find_last(out / "compare-20260105-000000-1", "v1", "v2")
    assert found is not None
    assert found.seed == 2
    assert find_last(tmp_path / "elsewhere" / "compare-20260105-000000-1", "v1", "v2") is None


def test_only_so_many_results_are_read(tmp_path: Path) -> None:
    out = tmp_path / "out"
    put(out / "compare-20250101-000000-1", comparison(row({}, {})))
    for number in range(MOST_SEARCHED):
        put(out / f"compare-20260101-0000{number:02d}-1", comparison(row({}, {}), candidate="mine"))
    assert find_last(out / "compare-20260105-000000-1", "v1", "v2") is None
    assert find_last(out / "compare-20260105-000000-1", "v1", "mine") is not None


def test_a_named_one_is_read_whatever_its_pools_are(tmp_path: Path) -> None:
    folder = put(tmp_path / "kept", comparison(row({}, {}), candidate="mine"))
    assert find_last(tmp_path, "v1", "v2", folder) == comparison(row({}, {}), candidate="mine")
    with pytest.raises(UsageError, match="nowhere"):
        find_last(tmp_path, "v1", "v2", tmp_path / "nowhere")
    (folder / COMPARISON_FILE).write_text("{")
    with pytest.raises(RecordError, match="damaged"):
        find_last(tmp_path, "v1", "v2", folder)


def test_what_changed_is_kept_beside_the_later_one_and_an_old_difference_is_removed(tmp_path: Path) -> None:
    before, now = comparison(row({}, {"order": Verdict.FAIL})), comparison(row({}, {"order": Verdict.PASS}))
    found = record_changes(before, now, tmp_path)
    assert found == diff(before, now)
    assert found is not None
    assert found.counted == "0 new, 1 fixed, 0 still there, 0 not judged again"
    assert (tmp_path / SINCE_FILE).is_file()

    assert record_changes(None, now, tmp_path) is None
    assert not (tmp_path / SINCE_FILE).exists()
    with pytest.raises(UsageError, match="cannot write"):
        record_changes(before, now, tmp_path / "nowhere")


def test_the_section_tells_findings_timings_and_conditions() -> None:
    before = comparison(
        row({"overlap": Verdict.FAIL}, {"order": Verdict.PASS}), speeds=(speed(4.0),), decision=Decision.SAFE
    )
    now = comparison(
        row({"overlap": Verdict.FAIL}, {"order": Verdict.FAIL}),
        speeds=(speed(2.0),),
        decision=Decision.UNSAFE,
        seed=2,
    )
    section = since_section(msgspec.json.encode(diff(before, now)))

    assert section.sentences[0].endswith("ended with SAFE; this one ends with UNSAFE.")
    assert "Conditions differ: the seed was 1 and is now 2." in section.sentences
    findings, timings = section.grids
    assert [line[0] for line in findings.rows] == [Mark("new", Tone.BAD), Mark("still there", Tone.MUTED)]
    assert timings.rows[0][:4] == ("echo, throughput", "4.000", "2.000", "0.500")
    assert timings.rows[0][-1] == Mark("slower", Tone.BAD)


def test_a_section_of_very_many_findings_says_how_many_it_leaves_out() -> None:
    failing = {f"checker_{number}": Verdict.FAIL for number in range(MOST_ROWS + 5)}
    section = since_section(msgspec.json.encode(diff(comparison(row({}, {})), comparison(row({}, failing)))))
    (findings,) = section.grids
    assert len(findings.rows) == MOST_ROWS
    assert findings.more == "5 more are in since.json"
