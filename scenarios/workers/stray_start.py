"""F4: stray frames during a worker's start must neither count as its init answer nor extend its start deadline."""

from __future__ import annotations

from poolproof.harness.checkers import CORE, FaultLanded, OneOutcome
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Size, steady

SCENARIO = Scenario(
    name="stray_start",
    summary="frames that a worker sends before it answers its init ping are ignored",
    failures=("F4",),
    guarantees=("G13", "G25"),
    workload=steady("echo", calls=4),
    faults=(
        Fault(kind=FaultKind.STRAY_START, for_s=0.5, amount=50),
        Fault(kind=FaultKind.NOISY_START, amount=300_000),
    ),
    warm=False,
    fixed_size=Size(workers=2, clients=4),
    config=PATIENT,
    checkers=(
        OneOutcome(guarantees=("G3", "G13", "G25")),
        FaultLanded(kinds=(FaultKind.STRAY_START, FaultKind.NOISY_START)),
        *CORE,
    ),
)
