"""F5: a lease that has ended cannot be used, that of a dead thread is reclaimed, and a drain lets a held one end."""

from __future__ import annotations

from poolproof.harness.checkers import CORE, FaultLanded, OneOutcome, Seen
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Size, steady

NO_LEASE = "no lease"
"""What the fault records if the pool has no leases, so that none can be misused."""

SCENARIO = Scenario(
    name="lease_misuse",
    summary="an ended lease cannot be used, an abandoned one is recovered, and a drain waits for one that is held",
    failures=("F5", "F12", "F22"),
    guarantees=("G2", "G8", "G22", "G26"),
    workload=steady("sleep", {"seconds": 0.02}, calls=5, label="load"),
    commands=("sleep", "echo"),
    faults=(
        Fault(kind=FaultKind.STALE_LEASE, when="load:sent"),
        Fault(kind=FaultKind.HELD_LEASE, when="load:sent"),
        Fault(kind=FaultKind.LOST_LEASE, when="load:done"),
    ),
    fixed_size=Size(workers=2, clients=2),
    config=PATIENT,
    checkers=(
        OneOutcome(),
        FaultLanded(kinds=(FaultKind.STALE_LEASE, FaultKind.HELD_LEASE, FaultKind.LOST_LEASE)),
        Seen(kind=FaultKind.STALE_LEASE, allowed=frozenset({"LeaseError", NO_LEASE}), guarantees=("G2",)),
        Seen(kind=FaultKind.HELD_LEASE, allowed=frozenset({"served", NO_LEASE}), guarantees=("G22",)),
        Seen(kind=FaultKind.LOST_LEASE, allowed=frozenset({"reclaimed", NO_LEASE}), guarantees=("G26",)),
        *CORE,
    ),
)
