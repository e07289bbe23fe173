"""F19: SIGKILL of a process with a pool leaves none of the pool's workers behind, although they are busy."""

from __future__ import annotations

from poolproof.bridge import Capability
from poolproof.harness.checkers import CORE, FaultLanded, OneOutcome, Seen
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Size, steady

GONE_WITHIN_S = 20.0
"""Far more than a busy machine needs. The busy workers would go on for a minute."""

SCENARIO = Scenario(
    name="parent_killed",
    summary="if the process that owns a pool is killed, the pool's workers end too, even busy ones",
    failures=("F19",),
    guarantees=("G20",),
    workload=steady("echo", calls=4, after="parent_kill:landed"),
    faults=(Fault(kind=FaultKind.PARENT_KILL, for_s=GONE_WITHIN_S),),
    needs=frozenset({Capability.WARM_UP}),
    commands=("echo", "sleep"),
    fixed_size=Size(workers=2, clients=2),
    config=PATIENT,
    checkers=(
        OneOutcome(),
        FaultLanded(kinds=(FaultKind.PARENT_KILL,)),
        Seen(kind=FaultKind.PARENT_KILL, allowed=frozenset({"all gone"}), guarantees=("G20",)),
        *CORE,
    ),
)
