"""The charts' specifications: each kind is valid, draws tables by name, and takes its colours from the page."""

from __future__ import annotations

import json
from typing import Any

import pytest

from poolproof.reports.charts import specifications

SIDES = ("v1", "v2")


def _names(part: Any, key: str) -> set[str]:
    if isinstance(part, dict):
        found = {part["name"]} if key == "data" and set(part) == {"name"} else set()
        return found.union(*(_names(value, name) for name, value in part.items()))
    if isinstance(part, list):
        return set().union(*(_names(value, key) for value in part))
    return set()


@pytest.mark.parametrize(
    ("kind", "tables"),
    [
        ("occupancy", {"bars"}),
        ("ecdf", {"steps", "quantiles"}),
        ("flow", {"flow", "struck"}),
        ("levels", {"levels"}),
        ("forest", {"ratios", "limits"}),
        ("response", {"response"}),
        ("overlap", {"overlap"}),
        ("throughput", {"throughput"}),
        ("curves", {"curves"}),
        ("trend", {"trend"}),
    ],
)
def test_a_kind_draws_its_tables_in_the_page_s_colours(kind: str, tables: set[str]) -> None:
    spec = specifications.build_specs([kind], SIDES)[kind]
    assert _names(spec, "") == tables
    assert "datasets" not in spec
    assert "#" not in json.dumps({key: value for key, value in spec.items() if key != "$schema"}), "a colour of its own"


def test_each_kind_is_made_once_with_the_pools_names() -> None:
    specs = specifications.build_specs(["ecdf", "ecdf"], ("pool a", "pool b"))
    assert list(specs) == ["ecdf"]
    assert '"domain": ["pool a", "pool b"]' in json.dumps(specs)


def test_every_kind_is_tested() -> None:
    mark = next(mark for mark in test_a_kind_draws_its_tables_in_the_page_s_colours.pytestmark)  # type: ignore[attr-defined]
    assert {kind for kind, _ in mark.args[1]} == set(specifications.KINDS)
