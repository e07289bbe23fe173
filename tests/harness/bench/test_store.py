"""Baselines and the index: what is kept comes back, what is not fit is refused, and many writers do no harm."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from poolproof.harness.bench.records.baselines import Baselines
from poolproof.harness.bench.records.index import INDEX_FILE, Index
from poolproof.harness.bench.report import assemble, read_report, verdict_of, write_report
from poolproof.harness.bench.statistics.figures import Validity
from poolproof.harness.model.errors import RecordError, UsageError
from poolproof.harness.model.verdict import Verdict

ADD = """
import sys
from pathlib import Path
from poolproof.harness.bench.records.index import Index
from poolproof.harness.bench.report import read_report
report = read_report(Path(sys.argv[1]))
for _ in range(5):
    with Index() as index:
        index.add(report, Path(sys.argv[1]))
"""


def test_a_report_comes_back_from_its_file_as_it_was(make: Any, tmp_path: Path) -> None:
    report = assemble([make.bench(make.rounds(6))])
    path = write_report(report, tmp_path / "new")
    assert path.name == "bench.json"
    assert read_report(path) == read_report(tmp_path / "new") == report
    path.write_text("{}")
    with pytest.raises(RecordError, match="is damaged"):
        read_report(path)


def test_a_worse_candidate_fails_and_an_open_question_is_unknown(make: Any) -> None:
    worse = assemble([make.bench(make.rounds(20, slower=1.5))])
    assert verdict_of(worse) is Verdict.FAIL
    invalid = assemble([make.bench(make.rounds(20, slower=1.5), validity=Validity(problems=("so",)))])
    assert verdict_of(invalid) is Verdict.UNKNOWN


def test_a_baseline_is_kept_by_name_and_not_overwritten_unasked(make: Any, store: Path) -> None:
    report, baselines = assemble([make.bench(make.rounds(6))]), Baselines()
    baselines.save("main", report)
    assert Baselines().load("main") == report
    assert baselines.names() == ("main",)
    with pytest.raises(UsageError, match="a baseline 'main' exists already"):
        baselines.save("main", report)
    baselines.save("main", report, replace=True)
    with pytest.raises(UsageError, match="there is no baseline 'other'; the saved baselines are: main"):
        baselines.load("other")
    with pytest.raises(UsageError, match=r"the baseline's name '\.\./x'"):
        baselines.load("../x")


def test_invalid_figures_are_no_baseline(make: Any, store: Path) -> None:
    report = assemble([make.bench(make.rounds(6), validity=Validity(problems=("the gate was not held",)))])
    with pytest.raises(
        UsageError,
        match="short_calls cannot be saved as a baseline, because the measurement is invalid: the gate was not held",
    ):
        Baselines().save("main", report)


def test_the_index_gives_the_last_benches_of_a_metric_the_oldest_first(make: Any, store: Path) -> None:
    with Index() as index:
        for slower in (1.0, 1.1, 1.2):
            index.add(assemble([make.bench(make.rounds(20, slower=slower))]), Path("bench.json"))
        index.add(assemble([make.bench(make.rounds(20), work="other")]), Path("bench.json"))
        entries = index.entries(metric="p50", work="short_calls", limit=2)
        assert [round(entry.ratio or 0, 1) for entry in entries] == [1.1, 1.2]
        assert [entry.unit for entry in entries] == ["s", "s"]
        assert len(index.entries(metric="p50")) == 4
        assert index.entries(metric="p99")[0].ratio is None
        assert index.entries(candidate="v9") == ()
        with pytest.raises(UsageError, match="limit 0"):
            index.entries(limit=0)


def test_processes_that_write_at_once_lose_nothing(make: Any, store: Path, tmp_path: Path) -> None:
    path = write_report(assemble([make.bench(make.rounds(6))]), tmp_path)
    command = [sys.executable, "-c", ADD, str(path)]
    writers = [subprocess.Popen(command) for _ in range(3)]
    try:
        assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    finally:
        for writer in writers:
            writer.kill()
    with Index() as index:
        assert len(index.entries(metric="p50", limit=100)) == 15


def test_a_file_of_another_version_or_of_something_else_is_refused(store: Path) -> None:
    with Index():
        pass
    base = sqlite3.connect(store / INDEX_FILE)
    base.execute("pragma user_version = 9")
    base.close()
    with pytest.raises(RecordError, match="it has the version 9; this version of poolproof supports 1"):
        Index()
    (store / INDEX_FILE).write_bytes(b"no database " * 100)
    with pytest.raises(RecordError, match="cannot be used"):
        Index()
