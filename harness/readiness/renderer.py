"""The checklist as one page of Markdown.

Pure. A new format is one more function.
"""

from __future__ import annotations

from poolproof.harness.model.verdict import Verdict
from poolproof.harness.readiness.checklist import Checklist

MEANING = {
    Verdict.PASS: "Every line passed.",
    Verdict.UNKNOWN: "At least one line was not decided or not run. Such a line does not count as passed.",
    Verdict.FAIL: "At least one line failed.",
}


def render_checklist(checklist: Checklist) -> str:
    """The checklist as a Markdown page."""
    rows = [f"| {item.word} | {item.name} | {_cell(item.evidence)} |" for item in checklist.items]
    lines = [
        f"# Migration checklist: {checklist.candidate} replacing {checklist.baseline}",
        "",
        f"**{checklist.verdict.value.upper()}**. {MEANING[checklist.verdict]}",
        "",
        "| | line | evidence |",
        "|---|---|---|",
        *rows,
        "",
        f"Written at {checklist.created_at} by `{checklist.command}`."
        + (f" The report of the comparison: `{checklist.report}`." if checklist.report else ""),
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
