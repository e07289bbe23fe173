"""Rules by which a scenario needs each of its checkers, so that a checker that is left out is noticed.

Pure. `broken_rules` is empty for every scenario of the catalogue, which a test asserts; so if removing
a checker breaks a rule, its removal is noticed.
"""

from __future__ import annotations

import msgspec

from poolproof.harness.checkers import CORE, FaultLanded, OneOutcome, Seen
from poolproof.harness.model.checker import Checker
from poolproof.harness.model.fault import CLIENT_FAULTS, FaultKind
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Plan

HITTING = frozenset({FaultKind.KILL, FaultKind.STOP, *CLIENT_FAULTS})
"""Faults that wait for a certain call, and then hit this call, its worker or its client."""

TELLING = frozenset(
    {
        FaultKind.BAD_OPTION,
        FaultKind.FORK,
        FaultKind.HELD_LEASE,
        FaultKind.HOOK_JUNK,
        FaultKind.LOST_LEASE,
        FaultKind.PARENT_KILL,
        FaultKind.SECOND_OWNER,
        FaultKind.STALE_LEASE,
    }
)
"""Faults whose record says what their victim saw."""


def broken_rules(scenario: Scenario, plan: Plan) -> tuple[str, ...]:
    """Return a sentence for each rule that the scenario breaks; `plan` has the steps of its clients."""
    names = {checker.name for checker in scenario.checkers}
    told = [f"the checker {checker.name} of every scenario is missing" for checker in CORE if checker.name not in names]
    inflicted = {fault.kind for fault in scenario.faults} | {step.fault for steps in plan for step in steps} - {None}
    checked = {kind for checker in scenario.checkers if isinstance(checker, FaultLanded) for kind in checker.kinds}
    told += [f"nobody checks that the fault {kind} lands" for kind in sorted(str(k) for k in inflicted - checked)]
    seen = {checker.kind for checker in scenario.checkers if isinstance(checker, Seen)}
    untold = sorted(kind.value for kind in {fault.kind for fault in scenario.faults} & TELLING - seen)
    told += [f"nobody judges what the victim of the fault {kind} saw" for kind in untold]
    decided = {guarantee for checker in scenario.checkers for guarantee in checker.guarantees}
    told += [f"no checker decides {guarantee}" for guarantee in scenario.guarantees if guarantee not in decided]
    outcomes = [checker for checker in scenario.checkers if isinstance(checker, OneOutcome)]
    if not outcomes:
        told.append("nobody says which outcomes are allowed")
    judged = {label for checker in scenario.checkers if (label := getattr(checker, "label", ""))}
    labels = {step.label for steps in plan for step in steps if step.label}
    victims = {fault.when.partition(":")[0] for fault in scenario.faults if fault.kind in HITTING} & labels
    victims |= {step.label for steps in plan for step in steps if step.label and step.fault is not None}
    bounded = judged and any(checker.at_most for checker in outcomes)
    if len(victims) == 1 or not bounded:  # a bound judges many victims together
        told += [f"nobody judges the calls {label}, which a fault hits" for label in sorted(victims - judged)]
    moments = {fault.when for fault in scenario.faults} | {step.after for steps in plan for step in steps}
    told_apart = {difference.label for difference in scenario.intended_differences}
    unused = labels - judged - told_apart - {moment.partition(":")[0] for moment in moments}
    told += [f"nobody judges or waits for a call {label}" for label in sorted(unused)]
    return tuple(told)


def without(scenario: Scenario, checker: Checker) -> Scenario:
    """The scenario with this checker left out."""
    left = tuple(each for each in scenario.checkers if each is not checker)
    return msgspec.structs.replace(scenario, checkers=left)
