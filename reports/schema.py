"""The JSON Schemas of the files that programs read; each schema has the version of its file format.

Pure. Readers of a major version may rely on all of its fields; a new field raises the minor version.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from poolproof.harness.bench.statistics import figures
from poolproof.harness.bench.statistics.figures import BenchReport, SweepReport
from poolproof.harness.compare import comparison
from poolproof.harness.compare.comparison import Comparison

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Document(StrEnum):
    """The files that have a schema, by their names without `.json`."""

    COMPARISON = "comparison"
    BENCH = "bench"
    SWEEP = "sweep"


_DESCRIBED: dict[Document, tuple[type[msgspec.Struct], str]] = {
    Document.COMPARISON: (Comparison, comparison.SCHEMA_VERSION),
    Document.BENCH: (BenchReport, figures.SCHEMA_VERSION),
    Document.SWEEP: (SweepReport, figures.SCHEMA_VERSION),
}


def schema_of(document: Document) -> dict[str, Any]:
    """The JSON Schema of the document, as JSON values."""
    kind, version = _DESCRIBED[document]
    return {
        "$schema": DIALECT,
        "$id": f"urn:poolproof:{document}:{version}",
        "title": f"poolproof {document} {version}",
        **msgspec.json.schema(kind),
    }
