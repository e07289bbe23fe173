"""A GitHub job: the summary is appended, annotations are commands, and no text can become another command."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from poolproof.harness.compare.comparison import Comparison, RunResult
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.verdict import Decision, Verdict
from poolproof.reports.formats.github import MOST_ANNOTATIONS, publish, workflow_commands
from poolproof.reports.view import build_view

MakeResult = Callable[..., RunResult]
MakeComparison = Callable[..., Comparison]


def test_nothing_is_written_outside_a_job(make_comparison: MakeComparison) -> None:
    stream = io.StringIO()
    publish(build_view(make_comparison()), {}, stream)
    assert stream.getvalue() == ""


def test_the_summary_is_appended_to_what_other_steps_wrote(make_comparison: MakeComparison, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    stream = io.StringIO()
    publish(build_view(make_comparison()), {"GITHUB_STEP_SUMMARY": str(summary)}, stream)
    assert summary.read_text().startswith("before\n## poolproof: SAFE\n")
    assert stream.getvalue() == ""
    with pytest.raises(UsageError, match="GITHUB_STEP_SUMMARY"):
        publish(build_view(make_comparison()), {"GITHUB_STEP_SUMMARY": str(tmp_path)}, stream)


def test_a_failure_is_an_error_and_a_doubt_a_warning(make_comparison: MakeComparison, make_result: MakeResult) -> None:
    comparison = make_comparison(
        make_result("v1", Verdict.UNKNOWN), make_result("v2", Verdict.FAIL), reason="", decision=Decision.UNSAFE
    )
    stream = io.StringIO()
    publish(build_view(comparison), {"GITHUB_ACTIONS": "true"}, stream)
    lines = stream.getvalue().splitlines()
    assert [line.split(" ", 1)[0] for line in lines] == ["::error", "::error", "::warning"]
    assert "title=parallel_calls on v2%3A fails::overlap: up to 4" in lines[1]
    assert "%0Ato run it again: poolproof run parallel_calls --pool v2" in lines[1]
    assert workflow_commands(build_view(make_comparison()))[0].startswith("::notice title=poolproof%3A SAFE::")


def test_what_is_too_much_for_annotations_is_counted(make_comparison: MakeComparison, make_result: MakeResult) -> None:
    comparison = make_comparison(candidate=make_result("v2", Verdict.FAIL), reason="", decision=Decision.UNSAFE)
    rows = tuple(msgspec.structs.replace(comparison.scenarios[0], name=f"s{n}") for n in range(20))
    lines = workflow_commands(build_view(msgspec.structs.replace(comparison, scenarios=rows)))
    assert len(lines) == MOST_ANNOTATIONS + 1
    assert lines[-1].endswith("::31 more annotations are in the report")


def test_no_text_becomes_a_command(make_comparison: MakeComparison, make_result: MakeResult) -> None:
    nasty = make_result("v2", Verdict.FAIL, trouble="x\r\n::set-output name=a::b%0A\x1b[2J")
    nasty = msgspec.structs.replace(nasty, findings=())
    lines = workflow_commands(build_view(make_comparison(candidate=nasty, decision=Decision.INCONCLUSIVE, reason="")))
    told = [line for line in lines if "set-output" in line]
    assert told
    assert all("\n" not in line and "\r" not in line and "\x1b" not in line for line in lines)
    assert "x%0D%0A::set-output name=a::b%250A" in told[0]
