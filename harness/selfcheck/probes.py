"""Scenarios and checkers that only the self-check needs: small, quick, each aimed at one guarantee."""

from __future__ import annotations

from collections import Counter

import msgspec

from bridge import Capability, EventKind
from harness.checker import Finding, finding
from harness.checkers import CORE, CloseBounded, FaultLanded, LiveBound, NothingLeft, OneOutcome
from harness.fault import Fault, FaultKind
from harness.history import History
from harness.scenario import Scenario
from harness.verdict import Verdict
from harness.workload import Size, steady

ONLY_V2 = frozenset({Capability.CHECKOUT})
MOST_REQUESTS = 5
CLOSE_GRACE_S = 0.3
BUSY_S = 7.0


class ServedBound(msgspec.Struct, frozen=True, kw_only=True):
    """No process serves more than `at_most` requests, by the workers' own journals (G16)."""

    at_most: int
    name: str = "served_bound"
    guarantees: tuple[str, ...] = ("G16",)

    def check(self, history: History) -> Finding:
        """Decide from the journals."""
        served = Counter(interval.pid for interval in history.services)
        if not served:
            return finding(self, Verdict.UNKNOWN, "no work of a worker was recorded")
        most = max(served.values())
        verdict = Verdict.FAIL if most > self.at_most else Verdict.PASS
        return finding(self, verdict, f"a worker served {most} requests; the limit is {self.at_most}")


class PromptHandOff(msgspec.Struct, frozen=True, kw_only=True):
    """A worker that is checked in while calls wait is given to one of them within `within_s` seconds (G6).

    The median decides, so that one pause of the machine accuses nobody.
    """

    within_s: float
    name: str = "prompt_hand_off"
    guarantees: tuple[str, ...] = ("G6",)

    def check(self, history: History) -> Finding:
        """Decide from CHECKIN and the grant of that worker that follows it."""
        waiting = 0
        free_ns: dict[int, int] = {}
        gaps: list[int] = []
        for event in sorted(history.events, key=lambda event: event.at_ns):
            match event.kind:
                case EventKind.ENQUEUE:
                    waiting += 1
                case EventKind.OFFER | EventKind.ACCEPT if event.worker in free_ns:
                    gaps.append(event.at_ns - free_ns.pop(event.worker))
                case EventKind.CHECKIN if event.worker is not None and waiting > history.info.workers:
                    free_ns[event.worker] = event.at_ns
                case EventKind.DONE:
                    waiting -= 1
                case _:
                    pass
        if len(gaps) < 5:
            return finding(self, Verdict.UNKNOWN, f"only {len(gaps)} workers were given back while calls waited")
        median_s = sorted(gaps)[len(gaps) // 2] / 1e9
        verdict = Verdict.FAIL if median_s > self.within_s else Verdict.PASS
        return finding(
            self, verdict, f"a free worker waited {median_s:.4f} s (median of {len(gaps)}) for its next call"
        )


PROBES: tuple[Scenario, ...] = (
    Scenario(
        name="few_calls",
        summary="a few plain calls",
        workload=steady("pid", calls=4),
        commands=("pid",),
        fixed_size=Size(workers=2, clients=3),
        checkers=(OneOutcome(), *CORE),
        budget_s=8.0,
    ),
    Scenario(
        name="one_by_one",
        summary="one client's calls on one worker, each with nobody waiting behind it",
        guarantees=("G8",),
        workload=steady("pid", calls=4, checkout_timeout_s=1.0),
        commands=("pid",),
        fixed_size=Size(workers=1, clients=1),
        checkers=(OneOutcome(), *CORE),
        budget_s=8.0,
    ),
    Scenario(
        name="work_conserved",
        summary="of many calls that wait one is served as soon as a worker is free",
        guarantees=("G6",),
        workload=steady("sleep", {"seconds": 0.02}, calls=1),
        commands=("sleep",),
        fixed_size=Size(workers=2, clients=14),
        checkers=(OneOutcome(), PromptHandOff(within_s=0.1), *CORE),
        budget_s=20.0,
    ),
    Scenario(
        name="full_queue",
        summary="of more calls than may wait the rest is refused",
        guarantees=("G14",),
        workload=steady("sleep", {"seconds": 0.2}, calls=1),
        commands=("sleep",),
        needs=ONLY_V2,
        config={"max_queue": 2},
        fixed_size=Size(workers=1, clients=8),
        checkers=(OneOutcome(allowed=frozenset({"result", "QueueFull"}), at_least={"QueueFull": 1}), *CORE),
    ),
    Scenario(
        name="modest_demand",
        summary="two clients of a lazy pool get two workers",
        guarantees=("G15",),
        workload=steady("sleep", {"seconds": 0.02}, calls=5),
        commands=("sleep",),
        needs=ONLY_V2,
        config={"lazy": True},
        warm=False,
        fixed_size=Size(workers=6, clients=2),
        checkers=(OneOutcome(), LiveBound(at_most=2, name="restraint", guarantees=("G15",)), *CORE),
    ),
    Scenario(
        name="recycled_workers",
        summary="a worker leaves after its last allowed request, and no call is lost",
        guarantees=("G16",),
        workload=steady("echo", calls=8),
        needs=ONLY_V2,
        config={"max_requests": MOST_REQUESTS},
        fixed_size=Size(workers=2, clients=3),
        checkers=(OneOutcome(), ServedBound(at_most=MOST_REQUESTS), *CORE),
    ),
    Scenario(
        name="close_busy",
        summary="a close ends the workers that are still busy when its grace is over",
        guarantees=("G20", "G22"),
        workload=steady("sleep", {"seconds": BUSY_S}, calls=1, label="busy"),
        commands=("sleep",),
        faults=(Fault(kind=FaultKind.CLOSE, when="busy:sent", after_s=0.1, for_s=CLOSE_GRACE_S),),
        fixed_size=Size(workers=1, clients=1),
        checkers=(
            OneOutcome(allowed=frozenset({"PoolClosed"})),
            FaultLanded(kinds=(FaultKind.CLOSE,)),
            CloseBounded(within_s=CLOSE_GRACE_S + 2.0),
            NothingLeft(),
        ),
        config={"call_timeout_s": BUSY_S},
        budget_s=8.0,
    ),
)
