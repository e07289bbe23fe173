"""The rules that every simulated history must obey, written from the guarantees G1–G27 and N1–N47, not from the code.

Pure. A history is a list of notes: a kind, a virtual time in nanoseconds, and values that depend on the kind.
`observed` builds from the notes what an observer from outside knows: workers, calls, the queue. Each rule compares that
with the plan, and reports each note that breaks a guarantee (a violation). For each kind of note there is a method
`on_KIND` in `observed.Observed` and in the rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from poolproof.harness.simulation.plan import Plan
from poolproof.harness.simulation.properties.calls import CallRules
from poolproof.harness.simulation.properties.closing import ClosingRules
from poolproof.harness.simulation.properties.observed import Observed, Rules, Violation
from poolproof.harness.simulation.properties.queue import QueueRules
from poolproof.harness.simulation.properties.sessions import SessionRules
from poolproof.harness.simulation.properties.starts import StartRules
from poolproof.harness.simulation.properties.workers import WorkerRules

RULES: tuple[type[Rules], ...] = (CallRules, QueueRules, WorkerRules, StartRules, SessionRules, ClosingRules)
__all__ = ["Violation", "violations"]


def violations(plan: Plan, history: Sequence[tuple[Any, ...]]) -> list[Violation]:
    """Return the broken guarantees of this history, the earliest first."""
    observed = Observed(plan)
    rules = [rule(observed) for rule in RULES]
    react: dict[str, list[Any]] = {}
    for note in history:
        kind = note[0]
        found = react.get(kind)
        if found is None:
            name = f"on_{kind.replace(' ', '_')}"
            found = react[kind] = [getattr(rule, name) for rule in rules if hasattr(rule, name)]
            if hasattr(observed, name):
                found.append(getattr(observed, name))  # last: the rules see the state before
        observed.now_ns = note[1]
        told = note[2:]
        for each in found:
            each(*told)
    for rule in rules:
        rule.at_end()
    return observed.found
