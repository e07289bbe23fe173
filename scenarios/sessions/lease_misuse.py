"""F5: a worker cannot be used through a lease that has ended, and the pool reclaims the lease of a dead thread."""

from __future__ import annotations

from poolproof.harness.checkers import CORE, FaultLanded, OneOutcome, Seen
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Size, steady

NO_LEASE = "no lease"
"""What the fault records if the pool has no leases, so that none can be misused."""

SCENARIO = Scenario(
    name="lease_misuse",
    summary="an ended lease cannot be used, and the worker of an abandoned lease is recovered",
    failures=("F5", "F12"),
    guarantees=("G2", "G8", "G26"),
    workload=steady("sleep", {"seconds": 0.02}, calls=5, label="load"),
    commands=("sleep", "echo"),
    faults=(
        Fault(kind=FaultKind.STALE_LEASE, when="load:sent"),
        Fault(kind=FaultKind.LOST_LEASE, when="load:done"),
    ),
    fixed_size=Size(workers=2, clients=2),
    config=PATIENT,
    checkers=(
        OneOutcome(),
        FaultLanded(kinds=(FaultKind.STALE_LEASE, FaultKind.LOST_LEASE)),
        Seen(kind=FaultKind.STALE_LEASE, allowed=frozenset({"LeaseError", NO_LEASE}), guarantees=("G2",)),
        Seen(kind=FaultKind.LOST_LEASE, allowed=frozenset({"reclaimed", NO_LEASE}), guarantees=("G26",)),
        *CORE,
    ),
)
