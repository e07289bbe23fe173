"""The migration itself: two pools as one, switched over step by step, and back at once. No tool is imported."""

from __future__ import annotations

from harness.intended import Comparing
from harness.migration.config import load_plan
from harness.migration.control import Moved
from harness.migration.plan import Guardrails, Mode, Moving, Plan, Position, Side
from harness.migration.pool import MigratingPool, Report
from harness.migration.state import StateConflict, StateError, StateFile

__all__ = [
    "Comparing",
    "Guardrails",
    "MigratingPool",
    "Mode",
    "Moved",
    "Moving",
    "Plan",
    "Position",
    "Report",
    "Side",
    "StateConflict",
    "StateError",
    "StateFile",
    "load_plan",
]
