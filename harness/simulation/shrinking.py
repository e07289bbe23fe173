"""The smallest part of a plan that still violates the same guarantee: delta debugging on its operations and faults."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec

from poolproof.harness.shrink.reduction import Spent, ddmin
from poolproof.harness.simulation.plan import Plan
from poolproof.harness.simulation.run import run_plan

LONGEST_S = 30.0


class Cut(msgspec.Struct, frozen=True):
    """A part of a plan: operations, starts and deaths by their numbers. The options in `plain` have their defaults."""

    ops: tuple[int, ...]
    starts: tuple[int, ...]
    deaths: tuple[int, ...]
    plain: tuple[str, ...] = ()

    def of(self, plan: Plan) -> Plan:
        """Return this part of the plan."""
        return plan.keep(ops=self.ops, starts=self.starts, deaths=self.deaths, plain=self.plain)

    def as_options(self) -> str:
        """Return the options of the command that simulates this part again."""
        told = [f"--ops {_joined(self.ops)}"]
        if self.starts:
            told.append(f"--starts {_joined(self.starts)}")
        if self.deaths:
            told.append(f"--deaths {_joined(self.deaths)}")
        if self.plain:
            told.append(f"--plain {_joined(self.plain)}")
        return " ".join(told)


def shrink(plan: Plan, guarantee: str, longest_s: float = LONGEST_S) -> Cut:
    """Return the smallest part found within `longest_s` seconds in which this guarantee is violated."""
    best = Cut(tuple(op.index for op in plan.ops), tuple(plan.starts), tuple(range(len(plan.deaths))))
    until = time.monotonic() + longest_s

    def holds(cut: Cut) -> bool:
        nonlocal best
        if time.monotonic() > until:
            raise Spent("time")
        found = any(violation.guarantee == guarantee for violation in run_plan(cut.of(plan)).found)
        if found:
            best = cut
        return found

    def part(name: str) -> Callable[[Sequence[Any]], bool]:
        return lambda kept: holds(msgspec.structs.replace(best, **{name: tuple(kept)}))

    try:
        while True:
            before = best
            ddmin(best.deaths, part("deaths"))
            ddmin(best.starts, part("starts"))
            ddmin(best.ops, part("ops"))
            for option in plan.options:
                if option not in best.plain:
                    holds(msgspec.structs.replace(best, plain=(*best.plain, option)))
            if best == before:
                break
    except Spent:
        pass
    return best


def _joined(values: Collection[object]) -> str:
    return ",".join(map(str, values)) or "-"
