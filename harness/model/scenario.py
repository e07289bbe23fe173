"""A scenario: a seeded workload, faults, checkers and a budget, with what it needs from a pool.

Pure data: it does not know how it is run.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from poolproof.bridge import Capability
from poolproof.harness.fakes.models.service import ModelService
from poolproof.harness.model.backend import Backend
from poolproof.harness.model.checker import Checker, demanded_by
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.fault import Fault
from poolproof.harness.model.intended import Comparing, IntendedDifference, resolved
from poolproof.harness.model.timing.budget import parse_budget
from poolproof.harness.model.timing.load import parse_load
from poolproof.harness.model.workload import Size, Workload

NAME_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,59}")
PATIENT = {"call_timeout_s": 30.0, "checkout_timeout_s": 30.0}
"""The `config` of a scenario that does not test the usual timeouts: on a busy machine workers start slowly."""


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One test of a pool.

    `failures` are the failure modes by their catalogue numbers (F1 …), and `guarantees` those that the scenario decides
    (G1 …). `config` holds options of poolproof.bridge.PoolConfig; options of the run, such as workers, take precedence.
    `budget_s` bounds the whole run in seconds. `warm` starts all workers before the first call. With
    `probed` the pool's status is read all the time, and after the last call its capacity and growth are measured.
    `fixed_size` replaces
    the requested size if the scenario needs a certain one. `compare_answers` compares each operation with the other
    pool's, by the hooks of `comparing`. `timed` marks a scenario whose speed counts: it is run in alternating blocks,
    alone on the machine; the candidate may lose the share `allowed_loss` of the throughput. `load` (as "poisson:400")
    and `budgets` (as "v2.p99 / v1.p99 < 1.10 @95%") are for its bench;
    docs/explanation/measuring.md has both grammars. `config_of` holds options for one pool alone, by the pool's name,
    such as a zygote that the other pool does not have. With `models` a model server of this behaviour runs beside the
    pool, and the workers find its address in their environment. The scenario is skipped unless all `packages` are
    installed.
    `backends` are the backends that the scenario fits: see harness.fakes.backends. `quick` scenarios are in the profile
    quick; those that are also `smoke` are in the profile smoke.
    """

    name: str
    summary: str
    workload: Workload
    checkers: tuple[Checker, ...]
    failures: tuple[str, ...] = ()
    guarantees: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    needs: frozenset[Capability] = frozenset()
    commands: tuple[str, ...] = ("echo",)
    config: dict[str, Any] = {}
    config_of: dict[str, dict[str, Any]] = {}
    models: ModelService | None = None
    packages: tuple[str, ...] = ()
    backends: frozenset[Backend] = frozenset({Backend.REAL})
    budget_s: float = 30.0
    warm: bool = True
    probed: bool = False
    fixed_size: Size | None = None
    compare_answers: bool = True
    timed: bool = False
    allowed_loss: float = 0.05
    load: str = "closed"
    budgets: tuple[str, ...] = ()
    quick: bool = True
    smoke: bool = False
    comparing: Comparing = Comparing()
    intended_differences: tuple[IntendedDifference, ...] = ()
    file: str = ""

    def __post_init__(self) -> None:
        if not NAME_PATTERN.fullmatch(self.name):
            raise UsageError(
                f"scenario name {self.name!r}: use at most 60 small letters, digits and '_', with a letter first"
            )
        if not self.checkers:
            raise UsageError(f"scenario {self.name!r} has no checkers, so the scenario could never fail")
        if not 0 < self.budget_s <= 3600:
            raise UsageError(f"scenario {self.name!r}: budget_s {self.budget_s!r} is not between 0 and 3600 s")
        parse_load(self.load)
        for budget in self.budgets:
            parse_budget(budget)

    def options_for(self, pool: str) -> dict[str, Any]:
        """Return the options for `pool`, `config_of` included; the environment variables of both are merged."""
        own = self.config_of.get(pool, {})
        env = {**self.config.get("env", {}), **own.get("env", {})}
        return {**self.config, **own, **({"env": env} if env else {})}

    def demands(self, outcomes: frozenset[str]) -> bool:
        """Return whether the scenario's checkers can pass only if one of these outcomes occurs."""
        return any(demanded <= outcomes for checker in self.checkers for demanded in demanded_by(checker))

    def intended(self, pool: str, checker: str) -> IntendedDifference | None:
        """Return the declared reason why `pool` may fail `checker`; None if there is no declaration."""
        for difference in resolved(self.intended_differences):
            if (difference.pool, difference.checker) == (pool, checker):
                return difference
        return None


__all__ = ["NAME_PATTERN", "PATIENT", "IntendedDifference", "Scenario"]
