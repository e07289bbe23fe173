"""A report becomes Markdown between the marks of a page, and nothing else of the page changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.markdown import BEGIN, END, to_markdown, update_page
from benchmarks.records import Figure, Load, Machine, Report, Result, Row, judge
from poolproof.harness.model.errors import UsageError

RATIO = Figure(12.3, 11, 13)
RESULT = Result(
    experiment="round-trip",
    title="A call",
    rows=(
        Row(condition="1 client", system="V2", samples=3, metrics={"calls_per_s": 12345.6, "p50_us": 80.04}),
        Row(
            condition="1 client", system="peer", samples=3, metrics={"calls_per_s": 1.0}, v2_ratio=Figure(12.3, 11, 13)
        ),
    ),
    goals=(judge("twice", Figure(12.3456, 11.0, 13.0), at_least=2),),
    notes=("other: not installed",),
    load=Load(loadavg_1m=2.0, busy_before=0.5, busy_after=0.0, steal=0.0),
)
MACHINE = Machine(processor="Some CPU", cpus=2, memory_bytes=2**33, kernel="6.1", python="CPython 3.11", packages={})
REPORT = Report(started="2026-01-01", effort="quick", seed=7, machine=MACHINE, results=(RESULT,))


def test_a_report_has_its_goals_and_a_table_for_each_experiment() -> None:
    lines = to_markdown(REPORT).splitlines()
    assert lines[0] == "A quick run of 2026-01-01, seed 7: 2 processors (Some CPU), 8 GiB, Linux 6.1, CPython 3.11."
    assert "| twice | ≥ 2 | 12.3 (11.0–13.0) | met (loaded) |" in lines
    at = lines.index("### A call")
    assert lines[at + 2 : at + 6] == [
        "| condition | system | calls/s | p50 µs | V2 / this | n |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
        "| 1 client | V2 | 12,346 | 80.0 |  | 3 |",
        "| 1 client | peer | 1.00 |  | 12.3 (11.0–13.0) | 3 |",
    ]
    assert "Note: other: not installed." in lines
    assert any(line.startswith("Note: loaded: others used 50%") for line in lines)


def test_only_what_stands_between_the_marks_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    update_page(REPORT, page)
    update_page(REPORT, page)
    assert page.read_text() == f"before\n{BEGIN}\n{to_markdown(REPORT)}{END}\nafter\n"


@pytest.mark.parametrize("text", ["", f"{BEGIN}\n", f"{END}\n{BEGIN}\n"])
def test_a_page_without_both_marks_in_order_is_left_as_it_is(text: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(UsageError, match="to put the results between"):
        update_page(REPORT, page)
    assert page.read_text() == text
