"""Renders a report as Markdown, and writes it into a page between two markers. Measures nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.exporters import describe_run, heading, interval, limit, number
from benchmarks.records import Report, Result
from poolproof.harness.model.errors import UsageError

BEGIN = "<!-- results: begin -->"
END = "<!-- results: end -->"


def update_page(report: Report, path: Path) -> None:
    """Replace the text between the markers of the page. Raises UsageError if the page has no markers."""
    text = path.read_text() if path.exists() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise UsageError(f"{path} has no lines {BEGIN!r} and {END!r} to put the results between")
    path.write_text(f"{before}{BEGIN}\n{to_markdown(report)}{END}{after}")


def to_markdown(report: Report) -> str:
    """The run in a sentence, the goals, then a section for each experiment."""
    parts = [f"{describe_run(report)}.\n", "### Goals\n", _goals(report)]
    parts += [section(result) for result in report.results]
    return "\n".join(parts)


def section(result: Result) -> str:
    """One experiment: its title, its table and its notes."""
    metrics = list(dict.fromkeys(metric for row in result.rows for metric in row.metrics))
    compared = any(row.v2_ratio is not None for row in result.rows)
    head = ["condition", "system", *map(heading, metrics), *(["V2 / this"] if compared else []), "n"]
    lines = [
        [
            row.condition,
            row.system,
            *(number(row.metrics[metric]) if metric in row.metrics else "" for metric in metrics),
            *([interval(row.v2_ratio)] if compared else []),
            str(row.samples),
        ]
        for row in result.rows
    ]
    labels = result.load.labels() if result.load else ()
    notes = "".join(f"\nNote: {note}.\n" for note in (*labels, *result.notes))
    return f"### {result.title}\n\n{_table(head, lines, left=2)}{notes}"


def _goals(report: Report) -> str:
    lines = [
        [goal.name, limit(goal), interval(goal.figure), str(goal.verdict) + _doubt(result)]
        for result in report.results
        for goal in result.goals
    ]
    return _table(["goal", "limit", "measured (95 % interval)", "verdict"], lines, left=1)


def _doubt(result: Result) -> str:
    return " (loaded)" if result.load and result.load.labels() else ""


def _table(head: Sequence[str], lines: Sequence[Sequence[str]], *, left: int) -> str:
    rule = ["---" if number < left else "---:" for number in range(len(head))]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rule, *lines))
