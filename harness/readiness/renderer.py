"""The checklist as one page of Markdown.

Pure. A new format is one more function.
"""

from __future__ import annotations

from poolproof.bridge.safe_text import code_span, escape_markdown
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.readiness.checklist import Checklist

MEANING = {
    Verdict.PASS: "Every line passed.",
    Verdict.UNKNOWN: "At least one line was not decided or not run. Such a line does not count as passed.",
    Verdict.FAIL: "At least one line failed.",
}


def render_checklist(checklist: Checklist) -> str:
    """The checklist as a Markdown page."""
    rows = [(item.word, escape_markdown(item.name), escape_markdown(item.evidence)) for item in checklist.items]
    candidate, baseline = escape_markdown(checklist.candidate), escape_markdown(checklist.baseline)
    lines = [
        f"# Migration checklist: {candidate} replacing {baseline}",
        "",
        f"**{checklist.verdict.value.upper()}**. {MEANING[checklist.verdict]}",
        "",
        "| | line | evidence |",
        "|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        f"Written at {checklist.created_at} by {code_span(checklist.command)}."
        + (f" The report of the comparison: {code_span(checklist.report)}." if checklist.report else ""),
    ]
    return "\n".join(lines) + "\n"
