"""Markdown and JUnit as they have been agreed on, to the letter, and stored data of an earlier minor version.

A change that is meant: POOLPROOF_GOLDEN=write pytest tests/reports/test_golden.py, and a look at the difference.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from poolproof.harness.compare.comparison import Comparison, RunResult
from poolproof.harness.model.verdict import Decision, Verdict
from poolproof.harness.run.store import read_comparison
from poolproof.reports.export import FORMATS
from poolproof.reports.schema import Document, schema_of
from poolproof.reports.view import build_view

GOLDEN = Path(__file__).parent / "golden"
MakeResult = Callable[..., RunResult]
MakeComparison = Callable[..., Comparison]


@pytest.mark.parametrize("name", ["md", "junit"])
@pytest.mark.parametrize("decision", list(Decision))
def test_the_text_is_as_agreed(
    name: str, decision: Decision, make_comparison: MakeComparison, make_result: MakeResult
) -> None:
    verdict = {Decision.SAFE: Verdict.PASS, Decision.UNSAFE: Verdict.FAIL, Decision.INCONCLUSIVE: Verdict.UNKNOWN}
    candidate = make_result("v2", verdict[decision])
    reason = "" if decision is Decision.UNSAFE else "one manager"
    reasons = {
        Decision.SAFE: "v2 passes its one scenario",
        Decision.UNSAFE: "parallel_calls: v2 fails overlap: up to 4 workers were at work",
        Decision.INCONCLUSIVE: "parallel_calls on v2: overlap cannot tell: up to 4 workers were at work",
    }
    comparison = make_comparison(candidate=candidate, decision=decision, reason=reason, reasons=(reasons[decision],))
    file_name, render = FORMATS[name]
    text = render(build_view(comparison))
    path = GOLDEN / f"{decision.value.lower()}-{file_name}"
    if os.environ.get("POOLPROOF_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


def test_a_comparison_of_version_1_1_can_be_read_and_shown_and_fits_today_s_schema() -> None:
    path = GOLDEN / "comparison-1.1.json"
    comparison = read_comparison(path)
    assert comparison.schema_version == "1.1"
    jsonschema.validate(json.loads(path.read_text()), schema_of(Document.COMPARISON))
    for _, render in FORMATS.values():
        assert render(build_view(comparison))


def _fields(schema: dict[str, Any]) -> dict[tuple[str, str], Any]:
    return {
        (kind, field): shape
        for kind, found in schema["$defs"].items()
        for field, shape in found.get("properties", {}).items()
    }


def test_every_field_of_version_1_1_is_still_there_with_its_shape_and_no_new_one_is_required() -> None:
    """What a reader of the published schema may rely on, until the major version changes."""
    old = json.loads((GOLDEN / "schema-1.1.json").read_text())
    new = json.loads(json.dumps(schema_of(Document.COMPARISON)))
    fields = _fields(new)
    for place, shape in _fields(old).items():
        if place[1] != "schema_version":
            assert fields.get(place) == shape, place
    for kind, found in old["$defs"].items():
        assert set(new["$defs"][kind].get("required", [])) <= set(found.get("required", [])), kind
