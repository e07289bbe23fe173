"""F4: a worker that sends frames but never answers its init ping is ended at the start timeout."""

from __future__ import annotations

from poolproof.harness.checkers import CORE, BoundedStart, FaultLanded, OneOutcome
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Size, steady

START_TIMEOUT_S = 10.0
"""Far more than a normal start takes, even on a busy machine, so that no good worker is ended."""

SCENARIO = Scenario(
    name="mute_start",
    summary="a starting worker that sends frames but never answers its init ping is given up at the start "
    "timeout and replaced",
    failures=("F4",),
    guarantees=("G8", "G13"),
    workload=steady("echo", calls=4),
    config={**PATIENT, "start_timeout_s": START_TIMEOUT_S},
    faults=(Fault(kind=FaultKind.MUTE_START, starts=1),),
    warm=False,
    fixed_size=Size(workers=2, clients=4),
    checkers=(
        # A pool that starts a worker inside a call can report a failed start to that call's client only.
        OneOutcome(allowed=frozenset({"result", "WorkerCrashed"}), at_least={"result": 1}),
        FaultLanded(kinds=(FaultKind.MUTE_START,)),
        BoundedStart(timeout_s=START_TIMEOUT_S, slack_s=3.0, mute=True),
        *CORE,
    ),
    compare_answers=False,
)
