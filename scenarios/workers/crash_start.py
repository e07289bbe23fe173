"""F3: workers that crash at their start are started again, and the waiting clients lose no call."""

from __future__ import annotations

from poolproof.harness.checkers import CORE, FaultLanded, OneOutcome
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Size, steady

CRASHES = 2

SCENARIO = Scenario(
    name="crash_start",
    summary="if two workers crash at their start, the pool starts others, and no call is lost",
    failures=("F3",),
    guarantees=("G8", "G13"),
    workload=steady("echo", calls=4),
    faults=(Fault(kind=FaultKind.CRASH_START, starts=CRASHES),),
    warm=False,
    fixed_size=Size(workers=2, clients=4),
    config=PATIENT,
    checkers=(
        # A pool that starts a worker inside a call can report a failed start to that call's client only.
        OneOutcome(
            allowed=frozenset({"result", "WorkerCrashed"}),
            at_least={"result": 1},
            at_most={"WorkerCrashed": CRASHES},
            guarantees=("G3", "G13"),
        ),
        FaultLanded(kinds=(FaultKind.CRASH_START,)),
        *CORE,
    ),
    compare_answers=False,
)
