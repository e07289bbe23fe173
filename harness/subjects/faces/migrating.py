"""The faces of MigratingPool, one for each mode of a migration, over the baseline and the pool under test."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import msgspec

from poolproof.bridge import Pool, PoolConfig
from poolproof.bridge.worker.journal import JOURNAL_VARIABLE
from poolproof.harness.model.errors import RunError
from poolproof.harness.model.face import Face, Setting, Way
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Plan
from poolproof.migration.limits.significance import SIZE
from poolproof.migration.plan import Guardrails
from poolproof.migration.plan import Plan as MigrationPlan
from poolproof.migration.pool import MigratingPool

MODES = {"v1": "v1", "shadow": "shadow", "canary": "canary:50", "v2": "v2"}
MOVING = "moving"
"""The face whose migration moves on while calls run."""
ROUTE = ("canary:50", "v2", "v1", "v2", "canary:50", "v1")
"""The positions that it takes in turn."""
STAY_CALLS = 15
"""How many calls begin at each position."""
SERVED_BY_BASELINE = frozenset({"v1", "shadow", "canary", MOVING})
IDEMPOTENT = frozenset({"echo", "ping", "blob", "binary", "fail"})
"""The commands whose calls shadow mode copies."""
SHADOW_FOLDER = "shadow_journal"
FEW = 10**6
LENIENT = Guardrails(
    min_calls=FEW, min_errors=FEW, max_failures_in_row=FEW, max_lost_sessions=FEW, max_mismatch_rate=0.0, max_call_s=600
)
"""Scenarios cause failures on purpose, so no failure rate rolls back; different answers are reported after the run."""


class Migration(Way):
    """A MigratingPool that stays in one mode from begin to end."""

    def __init__(self, pool: Pool, setting: Setting, mode: str) -> None:
        if setting.baseline is None or setting.baseline_config is None:
            raise RunError("a migration needs a baseline too")
        baseline = setting.baseline(setting.baseline_config, None)
        try:
            plan = MigrationPlan(begin=MODES[mode], idempotent=IDEMPOTENT, guardrails=LENIENT)
            self._migrating = MigratingPool(baseline, pool, plan)
        except BaseException:
            baseline.close(0.0)
            pool.close(0.0)
            raise
        super().__init__(self._migrating)

    def complaints(self) -> tuple[str, ...]:
        """Return whether the migration was rolled back, and how many copies were answered differently."""
        report = self._migrating.report()
        told = []
        if report.last_breach:
            told.append(f"the migration was rolled back: {report.last_breach}")
        if report.shadow.mismatches:
            told.append(
                f"{report.shadow.mismatches} copies in shadow mode got another answer from the candidate than "
                "from the baseline"
            )
        return tuple(told)


class Moving(Migration):
    """A MigratingPool that takes another position after each few calls, so that sessions are handed over and back."""

    def __init__(self, pool: Pool, setting: Setting) -> None:
        super().__init__(pool, setting, "v1")
        self._begun = itertools.count(1)
        self._route = itertools.cycle(ROUTE)

    def execute(
        self,
        command: str,
        args: dict[str, Any],
        *,
        session: str | None = None,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401
        """Make one call; the client of every call that is a multiple of STAY_CALLS moves the migration on first."""
        if next(self._begun) % STAY_CALLS == 0:
            self._migrating.change(next(self._route), why="the run moves on")
        return super().execute(
            command, args, session=session, timeout_s=timeout_s, checkout_timeout_s=checkout_timeout_s
        )


def _configure(config: PoolConfig, setting: Setting, mode: str) -> PoolConfig:
    if mode != "shadow":
        return config
    folder = setting.folder / SHADOW_FOLDER  # copies are not calls of a client, so they have their own journals
    folder.mkdir(exist_ok=True)
    return msgspec.structs.replace(config, env={**config.env, JOURNAL_VARIABLE: str(folder)})


def refuses(scenario: Scenario, plan: Plan, mode: str) -> str:
    """Return why a migration in this mode cannot carry the scenario; empty if it can."""
    if mode in SERVED_BY_BASELINE and scenario.intended_differences:
        return "the baseline serves the calls here, and is declared to fail this scenario"
    if mode == MOVING and (scenario.faults or any(step.fault for steps in plan for step in steps)):
        return "a session whose call is in doubt cannot be handed over"
    if not {"call_timeout_s", "checkout_timeout_s"} <= scenario.config.keys():
        return "the two pools have different default timeouts"
    if mode in TWO_SERVE and any(step.checkout_timeout_s is not None for steps in plan for step in steps):
        return "two pools serve, so a call may get a worker at once that in one pool would have waited too long"
    if {fault.kind for fault in scenario.faults} & {FaultKind.STALE_LEASE, FaultKind.HELD_LEASE, FaultKind.LOST_LEASE}:
        return "a migration has no leases"
    return ""


def void(scenario: Scenario, plan: Plan, mode: str) -> tuple[str, ...]:
    """Return the checkers that do not apply to a migration in this mode."""
    # In these modes two pools serve, each of the size that the scenario asks for.
    return ("stable_workers",) if mode in TWO_SERVE else ()


TWO_SERVE = frozenset({"canary", MOVING})
LACKS = dict.fromkeys(TWO_SERVE, frozenset({"CheckoutTimeout", "QueueFull"}))
"""Outcomes that may never occur in a mode. With two pools, a call that would have to wait in one pool may get a worker
of the other pool at once.
"""


def _face(mode: str, summary: str, over: Callable[[Pool, Setting], Way]) -> Face:
    return Face(
        name=f"migrating_{mode}",
        summary=f"MigratingPool between the baseline and the pool, {summary}",
        over=over,
        configure=functools.partial(_configure, mode=mode),
        refuses=functools.partial(refuses, mode=mode),
        void=functools.partial(void, mode=mode),
        lacks=LACKS.get(mode, frozenset()),
        tells=False,
        two_pools=True,
        remembers=SIZE,
    )


MIGRATING = (
    *(_face(mode, f"in the mode {MODES[mode]}", functools.partial(Migration, mode=mode)) for mode in MODES),
    _face(MOVING, "which goes from one to the other and back while calls run", Moving),
)
