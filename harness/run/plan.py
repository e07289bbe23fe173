"""A stored plan: the steps and faults of one run, without the workload that made them, so that they can be run again.

A plan is one JSON file, written by `poolproof shrink`. It takes the place of a scenario: `poolproof run PLAN.json`.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from poolproof.bridge.redaction import redact
from poolproof.harness.model.errors import RecordError, UsageError
from poolproof.harness.model.fault import Fault
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Plan, Size
from poolproof.harness.run.store import write_whole

PLAN_VERSION = "1.0"


class StoredPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The steps and faults to run, and their scenario. `file` defines the scenario if it is not in the catalogue.

    The plan was reduced for the finding of `checker`, on `pool` with `seed`. Without `probed`, the pool is not probed
    even if the scenario says so, since the finding does not need it.
    """

    scenario: str
    file: str = ""
    pool: str
    seed: int
    workers: int
    checker: str = ""
    plan: Plan
    faults: tuple[Fault, ...] = ()
    probed: bool = True
    schema_version: str = PLAN_VERSION

    @property
    def origin(self) -> str:
        """The name of the scenario as commands take it."""
        return f"{self.file}::{self.scenario}" if self.file else self.scenario

    def as_scenario(self, scenario: Scenario, file: str) -> Scenario:
        """Return `scenario` with this plan and these faults in place of its own; `file` is where the plan is stored."""
        return msgspec.structs.replace(
            scenario,
            workload=lambda _, __: self.plan,
            faults=self.faults,
            fixed_size=Size(workers=self.workers, clients=len(self.plan)),
            timed=False,
            probed=scenario.probed and self.probed,
            file=file,
        )


def write_plan(path: Path, plan: StoredPlan) -> None:
    """Store a plan. Raises UsageError if a step's arguments are not JSON or the file cannot be written."""
    try:
        told = redact(msgspec.json.decode(msgspec.json.encode(plan)))  # plans are sent around: no secrets
        write_whole(path, msgspec.json.format(msgspec.json.encode(told), indent=1) + b"\n")
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"the plan of {plan.scenario!r} cannot be stored as JSON: {error}") from error
    except OSError as error:
        raise UsageError(f"cannot write to {path}: {error.strerror}") from error


def read_plan(path: Path) -> StoredPlan:
    """Read a plan. Raises UsageError if there is no file, RecordError if it is damaged or of another major version."""
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    try:
        found = msgspec.json.decode(path.read_bytes(), type=StoredPlan)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{path} is not a plan: {error}") from error
    if found.schema_version.partition(".")[0] != PLAN_VERSION.partition(".")[0]:
        raise RecordError(f"{path} is a plan of version {found.schema_version}; this poolproof reads {PLAN_VERSION}")
    return found
