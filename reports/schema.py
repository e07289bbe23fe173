"""The JSON Schema of comparison.json, versioned with it.

Pure. A reader may rely on every field of its major version; a new field raises the minor one.
"""

from __future__ import annotations

from typing import Any

import msgspec

from harness.comparison import SCHEMA_VERSION, Comparison

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def comparison_schema() -> dict[str, Any]:
    """The schema as JSON values."""
    schema = msgspec.json.schema(Comparison)
    return {
        "$schema": DIALECT,
        "$id": f"urn:poolproof:comparison:{SCHEMA_VERSION}",
        "title": f"poolproof comparison {SCHEMA_VERSION}",
        **schema,
    }
