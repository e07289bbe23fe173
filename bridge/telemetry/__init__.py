"""Observers for any pool: turn its events into log records, metrics and spans.

No pool needs or imports this package. `poolproof.bridge.telemetry.prometheus` and
`poolproof.bridge.telemetry.opentelemetry` need `poolproof[telemetry]`; applications import them directly.
"""

from __future__ import annotations

from poolproof.bridge.telemetry.aggregator import Aggregator, AggregatorSnapshot
from poolproof.bridge.telemetry.composite import fan_out
from poolproof.bridge.telemetry.logs import LoggingObserver

__all__ = ["Aggregator", "AggregatorSnapshot", "LoggingObserver", "fan_out"]
