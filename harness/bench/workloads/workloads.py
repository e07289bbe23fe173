"""The works of a bench: a scenario's own steps, or one repeated call.

Pure. A step that is a fault, or that waits for another step, cannot be timed and is refused.
"""

from __future__ import annotations

import json
import random
from typing import Any

from poolproof.harness.checkers import OneOutcome
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Plan, Size, steady

DEFAULT_CALL = 'sleep {"seconds": 0.003}'
DEFAULT_NAME = "short_calls"
BARE_CALL = 'echo {"value": 1}'
BARE_NAME = "bare_calls"
"""Calls without work, by one client: they show the pool's own time, which longer calls hide."""
OTHER_NAME = "one_call"
CALLS = frozenset({DEFAULT_NAME, BARE_NAME, OTHER_NAME})
"""Names of works that are not scenarios."""


def call_scenario(text: str = DEFAULT_CALL) -> Scenario:
    """A scenario whose clients repeat one call: a command and its arguments as JSON. Raises UsageError if malformed."""
    command, _, told = text.strip().partition(" ")
    try:
        args: Any = json.loads(told) if told.strip() else {}
    except ValueError as error:
        raise UsageError(f"the call {text!r}: its arguments are not valid JSON: {error}") from None
    if not command or not isinstance(args, dict):
        raise UsageError(f"the call {text!r}: expected a command and a JSON object, such as {DEFAULT_CALL}")
    return Scenario(
        name={DEFAULT_CALL: DEFAULT_NAME, BARE_CALL: BARE_NAME}.get(text, OTHER_NAME),
        summary=text,
        workload=steady(command, args, calls=1),
        commands=(command,),
        checkers=(OneOutcome(),),
    )


def plan_of(scenario: Scenario, size: Size, seed: int) -> Plan:
    """The steps that each client repeats. Raises UsageError if the scenario cannot be timed."""
    if scenario.faults:
        raise UsageError(
            f"{scenario.name} injects faults, so its speed cannot be measured; choose a scenario without faults"
        )
    plan = scenario.workload(random.Random(f"bench/{scenario.name}/{seed}"), size)
    for step in (step for steps in plan for step in steps):
        if step.fault is not None or step.after:
            raise UsageError(
                f"{scenario.name}: {step.command!r} is a fault or waits for another step, and cannot be timed"
            )
    kept = tuple(steps for steps in plan if steps)
    if not kept:
        raise UsageError(f"{scenario.name} makes no calls")
    return kept
