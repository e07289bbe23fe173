"""G7: more clients than workers are served in the order of their arrival, and none starves."""

from __future__ import annotations

from poolproof.harness.checkers import CORE, Fifo, OneOutcome
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Size, steady

SCENARIO = Scenario(
    name="fair_queue",
    summary="twelve clients of two workers are served in the order of their arrival",
    failures=("F13",),
    guarantees=("G7",),
    workload=steady("sleep", {"seconds": 0.01}, calls=8),
    commands=("sleep",),
    fixed_size=Size(workers=2, clients=12),
    config=PATIENT,
    checkers=(OneOutcome(), Fifo(slack_s=0.002), *CORE),
)
