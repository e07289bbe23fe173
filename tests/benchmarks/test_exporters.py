"""A report survives its JSON, and its tables show every figure with its interval."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.exporters import (
    describe_run,
    goal_table,
    heading,
    interval,
    number,
    print_result,
    read_json,
    write_json,
)
from benchmarks.records import Figure, Load, Machine, Report, Result, Row, judge

RESULT = Result(
    experiment="round-trip",
    title="A call",
    rows=(
        Row(condition="1 client", system="V2", samples=3, metrics={"calls_per_s": 12345.6, "p50_us": 80.04}),
        Row(
            condition="1 client",
            system="peer",
            samples=3,
            metrics={"calls_per_s": 1000.0},
            v2_ratio=Figure(12.3456, 11.0, 13.0),
        ),
    ),
    goals=(judge("twice", Figure(12.3456, 11.0, 13.0), at_least=2), judge("unknown", None, at_most=3)),
    notes=("other: not [installed]",),
    load=Load(loadavg_1m=2.0, busy_before=0.5, busy_after=0.0, steal=0.0),
    seconds=4.4,
)
MACHINE = Machine(
    processor="Some CPU", cpus=2, memory_bytes=8 * 2**30, kernel="6.1", python="CPython 3.11", packages={"loky": "3.4"}
)
REPORT = Report(started="2026-01-01T00:00:00+00:00", effort="quick", seed=7, machine=MACHINE, results=(RESULT,))


def _shown(*things: object) -> str:
    console = Console(file=io.StringIO(), width=160)
    for thing in things:
        print_result(thing, console) if isinstance(thing, Result) else console.print(thing)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "bench.json"
    write_json(REPORT, path)
    write_json(REPORT, path)
    assert read_json(path) == REPORT


def test_a_table_has_every_row_with_its_ratio_and_notes() -> None:
    shown = _shown(RESULT)
    for text in ("A call [4 s]", "calls/s", "p50 µs", "12,346", "80.0", "12.3 (11.0–13.0)"):
        assert text in shown, text
    assert "note: loaded: others used 50%" in shown
    assert "note: other: not [installed]" in shown


def test_goals_have_limit_figure_and_verdict() -> None:
    lines = _shown(goal_table(REPORT)).splitlines()
    [met] = [line for line in lines if "twice" in line]
    [unknown] = [line for line in lines if "unknown" in line]
    assert "≥ 2" in met
    assert "met (loaded)" in met
    assert "≤ 3" in unknown
    assert "unmeasured (loaded)" in unknown


def test_a_run_is_described_in_one_sentence() -> None:
    assert describe_run(REPORT) == (
        "A quick run of 2026-01-01T00:00:00+00:00, seed 7: 2 processors (Some CPU), 8 GiB, Linux 6.1, "
        "CPython 3.11, loky 3.4"
    )


@pytest.mark.parametrize(
    ("metric", "shown"),
    [
        ("calls_per_s", "calls/s"),
        ("median_ms", "median ms"),
        ("p50_us", "p50 µs"),
        ("mb_per_s", "MB/s"),
        ("fairness", "fairness"),
    ],
)
def test_a_heading_ends_in_its_unit(metric: str, shown: str) -> None:
    assert heading(metric) == shown


@pytest.mark.parametrize(("value", "shown"), [(0.123, "0.12"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346")])
def test_a_number_has_three_digits(value: float, shown: str) -> None:
    assert number(value) == shown


def test_an_interval_without_width_is_a_number() -> None:
    assert (interval(Figure(5.0, 5.0, 5.0)), interval(None)) == ("5.00", "")
