"""The published schema describes what is written, and refuses what is not."""

from __future__ import annotations

import json
from collections.abc import Callable

import jsonschema
import pytest

from poolproof.harness.compare.comparison import SCHEMA_VERSION, Comparison
from poolproof.reports.export import render_json
from poolproof.reports.schema import Document, schema_of
from poolproof.reports.view import build_view

MakeComparison = Callable[..., Comparison]


def test_a_written_comparison_fits_the_schema(make_comparison: MakeComparison, hostile: Comparison) -> None:
    schema = schema_of(Document.COMPARISON)
    jsonschema.Draft202012Validator.check_schema(schema)
    for comparison in (make_comparison(), hostile):
        jsonschema.validate(json.loads(render_json(build_view(comparison))), schema)


def test_a_comparison_without_a_decision_or_with_another_is_refused(make_comparison: MakeComparison) -> None:
    data = json.loads(render_json(build_view(make_comparison())))
    for broken in ({key: value for key, value in data.items() if key != "decision"}, {**data, "decision": "FINE"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, schema_of(Document.COMPARISON))


def test_the_schema_carries_the_version_of_the_data(make_comparison: MakeComparison) -> None:
    assert schema_of(Document.COMPARISON)["$id"].endswith(f":{SCHEMA_VERSION}")
    assert json.loads(render_json(build_view(make_comparison())))["schema_version"] == SCHEMA_VERSION
