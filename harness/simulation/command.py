"""Simulates plans from fresh or given seeds. For a broken guarantee, prints seed, smallest plan and replay command.

Entry point.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections.abc import Callable, Collection, Sequence

import msgspec

from poolproof.harness.cli.output import say
from poolproof.harness.simulation.plan import Plan, make_plan
from poolproof.harness.simulation.run import Result, run_plan
from poolproof.harness.simulation.shrinking import Cut, shrink

CALLS = 250
Say = Callable[[str], object]


def simulate(
    *,
    seed: int | None,
    seconds: float | None,
    calls: int | None,
    cut: Cut | None = None,
    shrinking: bool = True,
    say: Say,
) -> int:
    """Simulate plan after plan from `seed` on, for `seconds` or `calls`. Returns 1 if a guarantee was broken, else 0.

    With a `cut`, or with a seed and no limit, only the plan of `seed` is simulated.
    """
    first = secrets.randbelow(2**31) if seed is None else seed
    once = cut is not None or (seed is not None and seconds is None and calls is None)
    began, began_cpu = time.monotonic(), time.process_time()
    made = plans = 0
    limit_s = seconds if seconds is not None else 10.0 if calls is None else float("inf")
    while True:
        plan = make_plan(first + plans, CALLS)
        result = run_plan(plan if cut is None else cut.of(plan))
        plans += 1
        made += result.calls
        if result.found:
            _tell(result, say)
            if shrinking and cut is None:
                _tell_smallest(plan, result, say)
            return 1
        if once or made >= (calls or float("inf")) or time.monotonic() - began >= limit_s:
            break
    spent_s = max(time.process_time() - began_cpu, 1e-6)
    say(f"seeds {first} to {first + plans - 1}: {made} calls, {made / spent_s:.0f} calls a second, no violation")
    if once:
        say(f"trace {result.trace:08x}")
    return 0


def _tell(result: Result, say: Say) -> None:
    say(f"seed {result.plan.seed}: {result.found[0].guarantee}: {result.found[0].what}")
    for other in result.found[1:5]:
        say(f"  also {other.guarantee}: {other.what}")
    say(f"trace {result.trace:08x}")


def _tell_smallest(plan: Plan, result: Result, say: Say) -> None:
    cut = shrink(plan, result.found[0].guarantee)
    small = run_plan(cut.of(plan))
    say("the smallest plan that shows it:")
    say(f"  options {small.plan.options}")
    say(f"  machine {small.plan.traits}")
    for op in small.plan.ops:
        say(f"  client {op.client}: {_short(op)}")
    for number, kind in small.plan.starts.items():
        say(f"  start {number}: {kind}")
    for at_ms, kind in small.plan.deaths:
        say(f"  after {at_ms} ms a worker dies: {kind}")
    say(f"  {small.found[0].guarantee}: {small.found[0].what}")
    say(f"replay: poolproof simulate --seed {plan.seed} {cut.as_options()}")


def _short(op: msgspec.Struct) -> str:
    told = msgspec.structs.asdict(op)
    kept = {
        name: value for name, value in told.items() if (value and name not in ("client", "count")) or name == "index"
    }
    if told["count"] > 1:
        kept["count"] = told["count"]
    return ", ".join(f"{name} {value}" for name, value in kept.items())


def numbers(text: str) -> Collection[int]:
    """Read numbers, separated by commas; `-` is none."""
    return () if text == "-" else tuple(int(word) for word in text.split(","))


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate without the packages that the command line needs; used only by `power`."""
    parser = argparse.ArgumentParser(prog="simulate")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--for", dest="seconds", type=float)
    parser.add_argument("--calls", type=int)
    parser.add_argument("--no-shrink", action="store_true")
    told = parser.parse_args(arguments)
    return simulate(
        seed=told.seed,
        seconds=told.seconds,
        calls=told.calls,
        shrinking=not told.no_shrink,
        say=say,
    )


if __name__ == "__main__":
    sys.exit(main())
