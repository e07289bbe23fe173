"""A stored plan: the steps and faults of one run, apart from the workload that made them, so that they can be run.

It is one JSON file, written by `poolproof shrink` and named like a scenario: `poolproof run PLAN.json`.
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
    """What to run. `file` defines the scenario if the catalogue does not; the rest of it is as it is there.

    `checker` is the one whose finding the plan was reduced for, on `pool` with `seed`.
    """

    scenario: str
    file: str = ""
    pool: str
    seed: int
    workers: int
    checker: str = ""
    plan: Plan
    faults: tuple[Fault, ...] = ()
    schema_version: str = PLAN_VERSION

    @property
    def origin(self) -> str:
        """How the scenario is named where scenarios are."""
        return f"{self.file}::{self.scenario}" if self.file else self.scenario

    def as_scenario(self, scenario: Scenario, file: str) -> Scenario:
        """The scenario with this plan and these faults in place of its own; `file` is where the plan is stored."""
        return msgspec.structs.replace(
            scenario,
            workload=lambda _, __: self.plan,
            faults=self.faults,
            fixed_size=Size(workers=self.workers, clients=len(self.plan)),
            timed=False,
            file=file,
        )


def write_plan(path: Path, plan: StoredPlan) -> None:
    """Store it. Raises UsageError if a step's arguments are not JSON or the file cannot be written."""
    try:
        told = redact(msgspec.json.decode(msgspec.json.encode(plan)))  # a plan is sent around: a key stays here
        write_whole(path, msgspec.json.format(msgspec.json.encode(told), indent=1) + b"\n")
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"the plan of {plan.scenario!r} cannot be stored as JSON: {error}") from error
    except OSError as error:
        raise UsageError(f"cannot write to {path}: {error.strerror}") from error


def read_plan(path: Path) -> StoredPlan:
    """Read it. Raises UsageError if there is none, RecordError if it is damaged or of another major version."""
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    try:
        found = msgspec.json.decode(path.read_bytes(), type=StoredPlan)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{path} is no plan: {error}") from error
    if found.schema_version.partition(".")[0] != PLAN_VERSION.partition(".")[0]:
        raise RecordError(f"{path} is a plan of version {found.schema_version}; this poolproof reads {PLAN_VERSION}")
    return found
