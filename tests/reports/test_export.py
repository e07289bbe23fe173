"""Files are written whole, and what cannot be written is one clear error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from poolproof.harness.compare.comparison import Comparison
from poolproof.harness.model.errors import RecordError, UsageError
from poolproof.harness.run.store import read_comparison
from poolproof.reports.export import FORMATS, write_reports

MakeComparison = Callable[..., Comparison]


def test_all_formats_are_written_and_the_data_read_back_equal(make_comparison: MakeComparison, tmp_path: Path) -> None:
    comparison = make_comparison()
    written = write_reports(comparison, tmp_path / "new" / "folder")
    assert {path.name for path in written.values()} == {name for name, _ in FORMATS.values()}
    assert all(path.stat().st_size > 0 for path in written.values())
    assert read_comparison(tmp_path / "new" / "folder") == comparison
    assert read_comparison(written["json"]) == comparison
    assert not list((tmp_path / "new" / "folder").glob(".*"))


def test_one_format_can_be_asked_for(make_comparison: MakeComparison, tmp_path: Path) -> None:
    assert list(write_reports(make_comparison(), tmp_path, ["md"])) == ["md"]
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]


def test_an_unknown_format_is_named_and_nothing_written(make_comparison: MakeComparison, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'pdf'; there are json, html, md, junit"):
        write_reports(make_comparison(), tmp_path, ["md", "pdf"])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_a_usage_error(make_comparison: MakeComparison, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(UsageError, match="cannot write to"):
        write_reports(make_comparison(), tmp_path / "taken")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"{}", "damaged"),
        (b'{"schema_version": "9.0"}', "schema version 9.0; this poolproof reads 1"),
        (b"\xff", "damaged"),
    ],
)
def test_a_damaged_or_foreign_comparison_is_a_record_error(data: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_bytes(data)
    with pytest.raises(RecordError, match=told):
        read_comparison(tmp_path)


def test_a_missing_comparison_is_a_record_error(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="cannot read"):
        read_comparison(tmp_path)
