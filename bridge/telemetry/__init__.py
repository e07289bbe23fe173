"""Observers for any pool: what its events say, as log records, metrics and spans.

Nothing here is needed by a pool, and no pool imports it. `poolproof.bridge.telemetry.prometheus` and
`poolproof.bridge.telemetry.opentelemetry` need `poolproof[telemetry]` and are imported by who uses them.
"""

from __future__ import annotations

from poolproof.bridge.telemetry.aggregator import Aggregator, AggregatorSnapshot
from poolproof.bridge.telemetry.composite import fan_out
from poolproof.bridge.telemetry.logs import LoggingObserver

__all__ = ["Aggregator", "AggregatorSnapshot", "LoggingObserver", "fan_out"]
