"""G14: bursts of calls are all served, by no more workers than the pool may have."""

from __future__ import annotations

from poolproof.harness.checkers import CORE, OneOutcome, StableWorkers
from poolproof.harness.model.composition import bursts, mix, phases, ramp
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Step

MIXED = mix((4, Step(command="sleep", args={"seconds": 0.005})), (1, Step(command="echo")))

SCENARIO = Scenario(
    name="bursts",
    summary="bursts of calls, and then a rising rate of calls, are all served without exceeding the pool's size",
    failures=("F3",),
    guarantees=("G14", "G16"),
    workload=phases(
        (0.0, bursts(MIXED, calls=24, every_s=0.2, count=3)),
        (0.6, ramp(MIXED, from_per_s=20, to_per_s=80, for_s=0.4)),
    ),
    commands=("sleep", "echo"),
    config=PATIENT,
    checkers=(OneOutcome(), StableWorkers(), *CORE),
)
