"""Chooses which scenarios run through which face, so that each face meets each kind of fault and of workload.

Pairwise coverage by a greedy choice, as in combinatorial testing (Cohen et al., 1997). Pairs that a limit leaves
uncovered are returned, never dropped silently.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum

import msgspec

from poolproof.harness.compare.cells import NO_FAULT
from poolproof.harness.model.face import Face
from poolproof.harness.model.fault import CLIENT_FAULTS, START_FAULTS, FaultKind
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Plan

LARGE_BYTES = 4096
"""The bytes that one write to a pipe takes at once; longer arguments count as another workload."""


class FaultGroup(StrEnum):
    """Groups of fault kinds that test the same ability of a pool."""

    NONE = NO_FAULT
    DEATH = "a worker dies"
    SILENCE = "a worker is silent or late"
    WRONG_BYTES = "a worker writes wrong bytes"
    START = "a worker starts badly"
    CLIENT = "a client is interrupted"
    POOL = "something is done to the pool"


_GROUPS: dict[FaultKind, FaultGroup] = {
    **dict.fromkeys((FaultKind.KILL, FaultKind.EXIT, FaultKind.MEMORY_HOG, FaultKind.TRUNCATED), FaultGroup.DEATH),
    **dict.fromkeys(
        (FaultKind.STOP, FaultKind.HANG, FaultKind.LATE, FaultKind.HALF_ANSWER, FaultKind.MODEL_OUTAGE),
        FaultGroup.SILENCE,
    ),
    **dict.fromkeys(
        (
            FaultKind.GARBAGE,
            FaultKind.OVERSIZE,
            FaultKind.DUPLICATED,
            FaultKind.WRONG_ID,
            FaultKind.PRINT,
            FaultKind.RAW_WRITE,
            FaultKind.STDERR_FLOOD,
        ),
        FaultGroup.WRONG_BYTES,
    ),
    **dict.fromkeys(START_FAULTS, FaultGroup.START),
    **dict.fromkeys(CLIENT_FAULTS, FaultGroup.CLIENT),
}

_WORKLOADS = {
    "plain": frozenset({"echo", "ping", "pid"}),
    "waiting": frozenset({"sleep", "cpu"}),
    "large": frozenset({"blob", "binary"}),
    "session state": frozenset({"put", "get", "append", "list", "delete"}),
    "programs": frozenset({"create_program", "execute_program", "configure_lm"}),
    "errors": frozenset({"fail", "not_json", "no_such_command"}),
    "parts": frozenset({"parts"}),
}


class Pick(msgspec.Struct, frozen=True, kw_only=True):
    """One run to make: this scenario through this face."""

    scenario: str
    face: str


class Cover(msgspec.Struct, frozen=True, kw_only=True):
    """The runs in order, and the pairs (face, kind) that could be covered and are not."""

    picks: tuple[Pick, ...]
    missing: tuple[tuple[str, str], ...] = ()


def fault_groups(scenario: Scenario, plan: Plan) -> frozenset[str]:
    """Return the groups of the faults of a run; NO_FAULT if it has none."""
    kinds = {fault.kind for fault in scenario.faults}
    kinds |= {step.fault for steps in plan for step in steps if step.fault is not None}
    return frozenset(_GROUPS.get(kind, FaultGroup.POOL).value for kind in kinds) or frozenset({NO_FAULT})


def workload_kinds(scenario: Scenario, plan: Plan) -> frozenset[str]:
    """Return the kinds of workload of a run, in a few words."""
    steps = [step for client in plan for step in client]
    commands = {step.command for step in steps}
    found = {kind for kind, of_kind in _WORKLOADS.items() if commands & of_kind}
    if any(len(word) > LARGE_BYTES for step in steps for word in step.args.values() if isinstance(word, str)):
        found.add("large")
    if any(step.session is not None for step in steps):
        found.add("sessions")
    return frozenset(found)


def choose(
    scenarios: Sequence[Scenario],
    faces: Sequence[Face],
    plan_of: Callable[[Scenario], Plan],
    why_not: Callable[[Scenario, Face], str],
    *,
    most: int | None = None,
) -> Cover:
    """Choose scenarios for each face; at most `most` runs in all (None: no limit).

    Each face first gets the `smoke` scenarios, whose answers are fully checked at every size. Then each choice is the
    scenario that covers the most uncovered pairs; of two such scenarios, the shorter one.
    """
    plans = {scenario.name: plan_of(scenario) for scenario in scenarios}
    kinds = {
        scenario.name: fault_groups(scenario, plans[scenario.name]) | workload_kinds(scenario, plans[scenario.name])
        for scenario in scenarios
    }
    able = {face.name: [one for one in scenarios if not why_not(one, face)] for face in faces}
    open_pairs = {(face, kind) for face, ones in able.items() for one in ones for kind in kinds[one.name]}
    left = [(face.name, one) for face in faces for one in able[face.name]]
    picks: list[Pick] = []

    def take(face: str, scenario: Scenario) -> None:
        picks.append(Pick(scenario=scenario.name, face=face))
        open_pairs.difference_update((face, kind) for kind in kinds[scenario.name])
        left.remove((face, scenario))

    def full() -> bool:
        return most is not None and len(picks) >= most

    for scenario in [one for one in scenarios if one.smoke]:
        for face in [face.name for face in faces if scenario in able[face.name]]:
            if not full():
                take(face, scenario)
    counts = Counter(pick.face for pick in picks)
    while open_pairs and left and not full():
        # Of equal gains: the face with the fewest runs, the scenario with the fewest faces, then the smaller budget.
        uses = Counter(pick.scenario for pick in picks)
        gains = [(sum((face, kind) in open_pairs for kind in kinds[one.name]), face, one) for face, one in left]
        best = max(gains, key=lambda gain: (gain[0], -counts[gain[1]], -uses[gain[2].name], -gain[2].budget_s))
        take(best[1], best[2])
        counts[best[1]] += 1
    return Cover(picks=tuple(picks), missing=tuple(sorted(open_pairs)))


def everything(scenarios: Sequence[Scenario], faces: Sequence[Face], why_not: Callable[[Scenario, Face], str]) -> Cover:
    """Choose each scenario for each face that can run it."""
    return Cover(
        picks=tuple(
            Pick(scenario=one.name, face=face.name) for face in faces for one in scenarios if not why_not(one, face)
        )
    )
