"""A view in the Common Test Report Format (ctrf.io): one test for each scenario on each pool, and one for the decision.

Writes nothing. A declared failure is `skipped` with its reason; an undecided case is `other`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from poolproof.bridge.safe_text import json_text, printable
from poolproof.harness.model.verdict import Decision
from poolproof.reports.sections.section import Tone
from poolproof.reports.view import Cell, Row, View

SPEC_VERSION = "0.0.0"
STATUS = {
    Tone.GOOD: "passed",
    Tone.BAD: "failed",
    Tone.DOUBT: "other",
    Tone.DECLARED: "skipped",
    Tone.MUTED: "skipped",
}
OF_DECISION = {Decision.SAFE: "passed", Decision.UNSAFE: "failed", Decision.INCONCLUSIVE: "other"}


def render_ctrf(view: View) -> str:
    """The report as CTRF JSON."""
    tests = [
        _test(row, cell, result.duration_s)
        for row in view.rows
        for cell, result in ((row.baseline, row.source.baseline), (row.candidate, row.source.candidate))
    ]
    reasons = "\n".join((*view.reasons, *(f"warning: {warning}" for warning in view.warnings)))
    tests.append(
        {
            "name": printable(view.title),
            "status": OF_DECISION[view.source.decision],
            "duration": 0,
            "suite": ["poolproof", "comparison"],
            "message": printable(f"{view.decision}: {view.headline}"),
            "trace": printable(reasons),
        }
    )
    counts = {
        status: sum(test["status"] == status for test in tests) for status in ("passed", "failed", "skipped", "other")
    }
    began_ms = int(datetime.fromisoformat(view.source.created_at).timestamp() * 1000)
    took_ms = sum(test["duration"] for test in tests)
    summary = {"tests": len(tests), "pending": 0, **counts, "start": began_ms, "stop": began_ms + took_ms}
    results = {"tool": {"name": "poolproof"}, "summary": summary, "tests": tests}
    told = {"reportFormat": "CTRF", "specVersion": SPEC_VERSION, "results": results}
    return json_text(msgspec.json.encode(told)) + "\n"


def _test(row: Row, cell: Cell, duration_s: float) -> dict[str, Any]:
    test: dict[str, Any] = {
        "name": printable(f"{row.name} on {cell.pool}"),
        "status": STATUS[cell.tone],
        "rawStatus": cell.word,
        "duration": int(duration_s * 1000),
        "suite": ["poolproof", printable(cell.pool)],
        "tags": [printable(tag) for tag in row.tags],
    }
    if cell.tone is not Tone.GOOD:
        findings = [f"{found.word}  {found.checker}  {found.claim}" for found in cell.findings]
        test["message"] = printable(cell.note)
        test["trace"] = printable("\n".join((*findings, f"to run it again: {cell.replay}")))
    return test
