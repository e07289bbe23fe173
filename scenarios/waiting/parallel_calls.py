"""The purpose of the migration: calls that wait, for example for a model, must run on all workers at the same time."""

from __future__ import annotations

from poolproof.harness.checkers import CORE, OneOutcome, Overlap, StableWorkers
from poolproof.harness.model.intended import BASELINE
from poolproof.harness.model.scenario import PATIENT, IntendedDifference, Scenario
from poolproof.harness.model.workload import steady

CALL_S = 0.05
CALLS = 10

SCENARIO = Scenario(
    name="parallel_calls",
    summary="calls of 50 ms run on all workers at the same time",
    failures=("F1",),
    guarantees=("G10",),
    workload=steady("sleep", {"seconds": CALL_S}, calls=CALLS),
    commands=("sleep",),
    timed=True,
    config=PATIENT,
    budgets=(
        "candidate.errors <= baseline.errors",
        "candidate.throughput >= 0.95 * baseline.throughput @95%",
    ),
    checkers=(OneOutcome(), Overlap(), StableWorkers(), *CORE),
    intended_differences=(
        IntendedDifference(
            pool=BASELINE,
            checker="overlap",
            reason="all I/O of a serial pool goes through one manager, so never more than one worker is at work",
        ),
    ),
)
