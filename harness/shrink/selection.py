"""The remaining part of a run's plan while it is reduced: a selection of its operations, faults and workers.

Pure. A selection is kept consistent: a step that waits for a removed step, and a fault whose moment cannot come, are
removed too.
"""

from __future__ import annotations

import msgspec

from poolproof.harness.model.fault import COMMAND_FAULTS, Fault
from poolproof.harness.model.workload import Plan, Step


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Operations and faults, by their numbers in the whole plan, and a number of workers."""

    ops: frozenset[int]
    faults: frozenset[int]
    workers: int


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """The whole plan of a run. Operations are numbered client by client, faults as they are listed."""

    plan: Plan
    faults: tuple[Fault, ...]
    workers: int

    @property
    def everything(self) -> Selection:
        """The selection of the whole plan."""
        count = sum(map(len, self.plan))
        return Selection(ops=frozenset(range(count)), faults=frozenset(range(len(self.faults))), workers=self.workers)

    def clients(self) -> list[frozenset[int]]:
        """The operations of each client."""
        found, first = [], 0
        for steps in self.plan:
            found.append(frozenset(range(first, first + len(steps))))
            first += len(steps)
        return found

    def settle(self, selection: Selection) -> Selection:
        """The selection without steps and faults that could not happen in it."""
        steps = dict(enumerate(step for steps in self.plan for step in steps))
        ops = set(selection.ops)
        while True:
            labels = {steps[op].label for op in ops}
            stuck = {op for op in ops if (name := awaited(steps[op].after)) and name not in labels}
            if not stuck:
                break
            ops -= stuck
        faults = {number for number in selection.faults if self._can_come(self.faults[number], labels)}
        return msgspec.structs.replace(selection, ops=frozenset(ops), faults=frozenset(faults))

    def build(self, selection: Selection) -> tuple[Plan, tuple[Fault, ...]]:
        """The plan and the faults of a selection; a client without operations is left out."""
        plan: list[tuple[Step, ...]] = []
        number = 0
        for steps in self.plan:
            kept = tuple(step for offset, step in enumerate(steps) if number + offset in selection.ops)
            number += len(steps)
            if kept:
                plan.append(kept)
        return tuple(plan), tuple(fault for index, fault in enumerate(self.faults) if index in selection.faults)

    def _can_come(self, fault: Fault, labels: set[str]) -> bool:
        return fault.kind in COMMAND_FAULTS or not fault.when or awaited(fault.when) in labels


def awaited(moment: str) -> str:
    """The label of a moment such as "LABEL:sent"; empty for an empty moment."""
    return moment.rpartition(":")[0]
