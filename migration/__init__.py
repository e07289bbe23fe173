"""The migration from v1 to v2: both pools behind one interface, a stepwise switch and an immediate rollback.

Imports no command-line tool.
"""

from __future__ import annotations

if __name__ == "migration":
    raise ImportError("there is no package migration: import poolproof.migration")

from poolproof.harness.model.intended import Comparing
from poolproof.migration.config import load_plan
from poolproof.migration.control import Moved
from poolproof.migration.faces.aio import AsyncMigratingPool
from poolproof.migration.faces.callables import Migrating, migrating
from poolproof.migration.faces.executor import MigratingExecutor
from poolproof.migration.plan import Guardrails, Mode, Moving, OnBreach, Plan, Position, Side
from poolproof.migration.pool import MigratingPool, Report
from poolproof.migration.state import StateConflict, StateError, StateFile

__all__ = [
    "AsyncMigratingPool",
    "Comparing",
    "Guardrails",
    "Migrating",
    "MigratingExecutor",
    "MigratingPool",
    "Mode",
    "Moved",
    "Moving",
    "OnBreach",
    "Plan",
    "Position",
    "Report",
    "Side",
    "StateConflict",
    "StateError",
    "StateFile",
    "load_plan",
    "migrating",
]
