"""The face of AsyncMigratingPool, which goes from one pool to the other and back while calls run."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from poolproof.bridge import Pool
from poolproof.harness.model.errors import RunError
from poolproof.harness.model.face import Face, Setting
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Plan as Steps
from poolproof.harness.model.workload import Step
from poolproof.harness.subjects.faces.migrating import LACKS, LENIENT, MOVING, ROUTE, STAY_CALLS, refuses, void
from poolproof.harness.subjects.faces.tasks import Tasks
from poolproof.migration.faces.aio import AsyncMigratingPool
from poolproof.migration.plan import Plan

OF_ONE_POOL = ("conserved", "session_counters", "true_status")
"""The checkers of what a pool says of itself: no object speaks for both pools of a migration of tasks."""


class MovingTasks(Tasks):
    """An AsyncMigratingPool on an asyncio loop; it takes another position after each few calls."""

    def __init__(self, pool: Pool, setting: Setting) -> None:
        if setting.baseline is None or setting.baseline_config is None:
            raise RunError("a migration needs a baseline too")
        baseline = setting.baseline(setting.baseline_config, None)
        super().__init__(pool, asyncio.new_event_loop)
        try:
            self.migrating = AsyncMigratingPool(baseline, self._tasks, Plan(guardrails=LENIENT))
        except BaseException:
            baseline.close(0.0)
            super().close(0.0)
            self.release()
            raise
        self._begun = itertools.count(1)
        self._route = itertools.cycle(ROUTE)

    async def call(self, step: Step, args: dict[str, Any]) -> Any:  # noqa: ANN401
        """Make one call; every call whose number is a multiple of STAY_CALLS moves the migration on first."""
        if next(self._begun) % STAY_CALLS == 0:
            self.migrating.change(next(self._route), why="the run moves on")
        return await self.migrating.execute(
            step.command,
            args,
            session=step.session,
            timeout_s=step.timeout_s,
            checkout_timeout_s=step.checkout_timeout_s,
        )

    def close(self, grace_s: float) -> None:
        """Close both pools from a task."""
        if not self._loop.is_closed():
            self._run(self.migrating.close(grace_s))

    def complaints(self) -> tuple[str, ...]:
        """Return what is left on the loop, and whether the migration was rolled back."""
        breach = self.migrating.report().last_breach
        return (*super().complaints(), *((f"the migration was rolled back: {breach}",) if breach else ()))


def _void(scenario: Scenario, plan: Steps) -> tuple[str, ...]:
    return (*void(scenario, plan, MOVING), *OF_ONE_POOL)


MIGRATING_TASKS = Face(
    name="migrating_tasks",
    summary="AsyncMigratingPool between the baseline and the pool, which goes from one to the other and back while "
    "calls run as tasks",
    over=MovingTasks,
    refuses=lambda scenario, plan: refuses(scenario, plan, MOVING),
    void=_void,
    lacks=LACKS[MOVING],
    tells=False,
    two_pools=True,
)
