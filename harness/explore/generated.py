"""Makes the scenario of a number: `explore_17` is the same scenario on every machine, until its generator changes."""

from __future__ import annotations

import re
from random import Random

from poolproof.bridge import Capability
from poolproof.harness.checkers import CORE, Deadlines, Fifo, HandOff, Linearizable, SessionCounters
from poolproof.harness.explore.features import PATIENT_S, SHARED, Features, draw_features
from poolproof.harness.explore.workload import Drawing
from poolproof.harness.model.checker import Checker
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.intended import IntendedDifference
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Plan, Size
from poolproof.harness.oracle import (
    ExplainedOutcomes,
    FullCapacity,
    LimitsKept,
    NoGrowth,
    OptionsKept,
    OrderlyLife,
    TrueStatus,
    TurnsKept,
    WaitersLeave,
)

PREFIX = "explore_"
NAME = re.compile(rf"{PREFIX}(0|[1-9][0-9]{{0,17}})")
BUDGET_S = 240.0
"""A run takes 2 to 5 s; on a machine with a load of 30 on two processors, twenty times as long."""
LATE_S = 5.0
"""How long after its limit a call may end on a heavily loaded machine, in seconds; scenarios have closer bounds."""
RESIZES = 0.2
"""The share of runs in which the pool is resized while calls run, if that fits the pool's options."""
DRAINS = 0.5
"""The share of closes in the middle of a run that are drains."""
ENDING = frozenset({"deadlines", "kills", "stops"})
"""Features that end workers, so that the pool must be able to. Such a pool is asked for calls with limits too."""
SERIAL = "v1 has one manager that does all I/O, so calls wait for each other"
IN_MEMORY = "v1 keeps a session's state in the memory of one worker"


def generated_name(number: int) -> str:
    """Return the name of the scenario of this number."""
    return f"{PREFIX}{number}"


def generated_scenario(name: str) -> Scenario | None:
    """Return the scenario of this name; None if it is no name of a generated scenario."""
    found = NAME.fullmatch(name)
    return None if found is None else _make(int(found[1]))


def _make(number: int) -> Scenario:
    choice = Random(f"explore/{number}")
    features = draw_features(choice)
    of_resizes = Random(f"explore/{number}/resizes")  # apart, so that other scenarios stay what they are
    if of_resizes.random() < RESIZES:
        features = features.with_resizes()
    features = features.with_companions(Random(f"explore/{number}/companions"))
    drawing = Drawing(features, choice)
    if "resizes" in features:
        drawing.resize(of_resizes)
    if "close" in features:
        drawing.close_in_the_middle(Random(f"explore/{number}/drain").random() < DRAINS)
    plan = drawing.plan
    kinds = {fault.kind for fault in drawing.faults}

    def workload(_: Random, size: Size) -> Plan:
        if size.clients < len(plan):
            raise UsageError(f"{PREFIX}{number} has {len(plan)} clients, not {size.clients}")
        return plan

    return Scenario(
        name=generated_name(number),
        summary=f"generated: {', '.join(sorted(features.names)) or 'plain calls'}",
        workload=workload,
        checkers=_checkers(features),
        faults=tuple(drawing.faults),
        guarantees=("G1", "G3", "G4", "G8", "G14", "G17", "G18", "G21", "G22", "G25", "G27"),
        needs=_needs(features, kinds),
        commands=tuple(sorted(_commands(plan))),
        config=features.config,
        budget_s=BUDGET_S,
        warm=not features.config.get("lazy", False),
        probed=True,
        fixed_size=features.size,
        compare_answers=False,
        intended_differences=tuple(
            IntendedDifference(pool="v1", checker=checker, reason=reason)
            for checker, reason in (
                ("full_capacity", SERIAL),
                ("deadlines", SERIAL),
                ("limits_kept", SERIAL),
                ("linearizable", IN_MEMORY),
                ("explained_outcomes", SERIAL),
            )
        ),
    )


def _checkers(features: Features) -> tuple[Checker, ...]:
    overflow = int(features.config.get("overflow", 0))
    refusing = {"max_queue", "min_workers"} <= features.config.keys()  # it refuses a call for which a worker must start
    core = tuple(
        type(checker)(at_most=features.size.workers + overflow) if checker.name == "live_bound" else checker  # type: ignore[call-arg]
        for checker in CORE
    )
    of_sessions: tuple[Checker, ...] = (Linearizable(),)
    if "session_ttl_s" not in features.config:  # otherwise all of them have ended when they are counted
        of_sessions = (*of_sessions, SessionCounters())
    return (
        ExplainedOutcomes(),
        TrueStatus(),
        *(() if "close" in features or refusing else (FullCapacity(),)),
        *(() if "close" in features or "max_requests" in features.config else (NoGrowth(),)),
        OptionsKept(),
        OrderlyLife(),
        TurnsKept(),
        WaitersLeave(),
        *(() if "close" in features or not features.names & ENDING else (LimitsKept(),)),
        *(() if "resizes" in features else (HandOff(),)),  # a worker that is to leave takes no call
        Fifo(),
        Deadlines(slack_s=LATE_S),
        *(of_sessions if "sessions" in features else ()),
        *core,
    )


def _needs(features: Features, kinds: set[FaultKind]) -> frozenset[Capability]:
    needs = set()
    if "sessions" in features:
        needs.add(Capability.SESSIONS)
    if kinds & {FaultKind.KILL, FaultKind.STOP} or "deadlines" in features:
        needs.add(Capability.KILL)
    if "resizes" in features:
        needs.add(Capability.RESIZE)
    if FaultKind.DRAIN in kinds:
        needs.add(Capability.DRAIN)
    if features.config.keys() - SHARED:
        needs.add(Capability.OPTIONS)
    return frozenset(needs)


def _commands(plan: Plan) -> set[str]:
    return {step.command for steps in plan for step in steps if not step.command.startswith("unknown_")}


__all__ = ["PATIENT_S", "generated_name", "generated_scenario"]
