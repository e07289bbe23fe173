"""Where shrinking begins: the failure to keep, the whole plan of the run, and small selections that may be enough."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from poolproof.harness.compare.comparison import RunResult
from poolproof.harness.history.history import RunInfo
from poolproof.harness.model.checker import Finding
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.model.workload import Size
from poolproof.harness.shrink.selection import Whole

NAMED_CALL = re.compile(r"\bcall (\d+)")


def find_plan(scenario: Scenario, info: RunInfo, *, scale: float) -> Whole:
    """The whole plan of a run, rebuilt from its seed."""
    size = Size(workers=info.workers, clients=info.clients, scale=scale)
    plan = scenario.workload(random.Random(f"{info.scenario}/{info.seed}"), size)
    return Whole(plan=plan, faults=scenario.faults, workers=info.workers)


def choose_finding(result: RunResult, checker: str | None, declared: Callable[[str], bool]) -> str:
    """The checker whose failure is kept: the requested one, else the first undeclared one, else the first.

    Raises UsageError if there is no such failure.
    """
    failed = [found.checker for found in result.findings if found.verdict is Verdict.FAIL]
    if not failed:
        raise UsageError(f"the run of {result.scenario!r} on {result.pool} has no failure to shrink")
    if checker is None:
        return next((name for name in failed if not declared(name)), failed[0])
    if checker not in failed:
        raise UsageError(f"the run has no failure of {checker!r}; there are {', '.join(failed)}")
    return checker


def hints_from(finding: Finding, whole: Whole) -> list[frozenset[int]]:
    """Return selections of operations that may be enough for this finding, the smallest first.

    The selections are: the operations that the finding's examples name; these with all calls of their sessions; and
    these with all earlier calls of their clients. If the examples name no operation: one operation, in a session if
    there is one.
    """
    steps = [step for client in whole.plan for step in client]
    named = {int(word) for text in finding.examples for word in NAMED_CALL.findall(text)} & set(range(len(steps)))
    if not named:  # what probes find after the run seldom needs more than one call in it
        return [frozenset({next((op for op, step in enumerate(steps) if step.session is not None), 0)})]
    sessions = {steps[op].session for op in named} - {None}
    of_sessions = {op for op, step in enumerate(steps) if step.session in sessions and op <= max(named)}
    first = min(named)
    alone = frozenset({first}) | {op for op in of_sessions if steps[op].session == steps[first].session and op <= first}
    before = frozenset(op for ops in whole.clients() for op in ops if ops & named and op <= max(ops & named))
    return list(dict.fromkeys((alone, frozenset(named), frozenset(named | of_sessions), before)))


def hints_of(
    result: RunResult, checker: str, info: RunInfo, scenario: Scenario, *, scale: float = 1.0
) -> list[frozenset[int]]:
    """Return the hints of the finding of this checker in a run; see `hints_from`."""
    whole = find_plan(scenario, info, scale=scale)
    return [hint for found in result.findings if found.checker == checker for hint in hints_from(found, whole)]
