"""How often the guardrails are wrong, and how soon they are right: `python -m benchmarks.studies.guardrails`.

The product's own router and guardrails in virtual time, seeded: calls of a Poisson process, failures at a base rate,
latencies from a lognormal distribution with a heavy tail. A rollback of equal pools is false. `--days 10` takes some
minutes for each share; `--quick` is a small part of it.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import time

import msgspec

from poolproof.migration import Guardrails, Mode, Position, Side
from poolproof.migration.limits.guardrails import Guard
from poolproof.migration.router import route_call
from poolproof.migration.spread import Spread

SHARES = (1, 5, 25, 50)
LOOK_NS = 100_000_000
TABLE = 65_536
DAY_S = 86_400


class World(msgspec.Struct, frozen=True, kw_only=True):
    """The traffic and the candidate. Rates are calls per second or fractions; `spread` is the lognormal's sigma.

    `more_errors`, `slowdown` and `mismatches` are what the candidate does worse: a rate, a factor, a rate of copies.
    """

    calls_per_s: float = 50.0
    copies_per_s: float = 0.0
    errors: float = 0.005
    spread: float = 0.7
    median_s: float = 0.02
    more_errors: float = 0.0
    slowdown: float = 1.0
    mismatches: float = 0.0


def simulate(world: World, percent: int, seconds: float, seed: int, *, settled_s: float = 600.0) -> tuple[float, str]:
    """Return when a breach was found, in seconds after the step began, and which; (inf, "") if none was.

    For `settled_s` before the step, v1 was measured alone (as in shadow mode).
    """
    numbers = random.Random(seed)
    table = [world.median_s * math.exp(world.spread * numbers.gauss(0, 1)) for _ in range(TABLE)]
    limits = Guardrails()
    guard, spread = Guard(limits), Spread(numbers)
    position = Position(Mode.CANARY, percent)
    chance, arrive = numbers.random, numbers.expovariate
    at_s = 0.0
    while at_s < settled_s:
        at_s += arrive(world.calls_per_s)
        failed = chance() < world.errors
        guard.ended(Side.V1, int(at_s * 1e9), table[int(chance() * TABLE)], "WorkerCrashed" if failed else "result")
    begun_ns = int(at_s * 1e9)
    guard.restart(begun_ns)
    end_ns, look_ns = begun_ns + int(seconds * 1e9), begun_ns + LOOK_NS
    next_copy_s = at_s + arrive(world.copies_per_s) if world.copies_per_s else math.inf
    worse = {Side.V1: world.errors, Side.V2: world.errors + world.more_errors}
    slower = {Side.V1: 1.0, Side.V2: world.slowdown}
    while True:
        at_s += arrive(world.calls_per_s)
        now_ns = int(at_s * 1e9)
        while look_ns <= now_ns:
            if why := guard.find_breach(look_ns):
                return (look_ns - begun_ns) / 1e9, why
            look_ns += LOOK_NS
        if now_ns >= end_ns:
            return math.inf, ""
        while next_copy_s <= at_s:
            guard.compared(int(next_copy_s * 1e9), "another answer" if chance() < world.mismatches else "")
            next_copy_s += arrive(world.copies_per_s)
        side = route_call(position, spread.rank("echo"))
        outcome = "WorkerCrashed" if chance() < worse[side] else "result"
        urgent = guard.ended(side, now_ns, table[int(chance() * TABLE)] * slower[side], outcome)
        if urgent and (why := guard.find_breach(now_ns)):
            return (now_ns - begun_ns) / 1e9, why


def falsely(days: float, percent: int, world: World, seed: int) -> None:
    """Print how many rollbacks of equal pools there are in so many days; after each, the step begins anew."""
    found: list[str] = []
    left_s = days * DAY_S
    begun = time.perf_counter()
    while left_s > 0:
        after_s, why = simulate(world, percent, left_s, seed + len(found))
        if why:
            found.append(why)
        left_s -= after_s
    told = "".join(f"\n    {why}" for why in found)
    print(
        f"equal pools, {percent} %, {world.errors:.1%} errors, sigma {world.spread}: {len(found)} false rollbacks in "
        f"{days:g} days ({time.perf_counter() - begun:.0f} s){told}",
        flush=True,
    )


def rightly(what: str, world: World, percent: int, within_s: float, times: int, seed: int) -> None:
    """Print how soon a worse candidate is found."""
    found = sorted(simulate(world, percent, within_s * 4, seed + n)[0] for n in range(times))
    late = sum(after_s > within_s for after_s in found)
    print(
        f"{what}, {percent} %: median {statistics.median(found):.0f} s, 95th {found[int(times * 0.95)]:.0f} s, worst "
        f"{found[-1]:.0f} s of {times}; {late} later than {within_s:g} s",
        flush=True,
    )


def main() -> None:
    """Print both kinds of figures."""
    options = argparse.ArgumentParser()
    options.add_argument("--quick", action="store_true")
    options.add_argument("--days", type=float, default=10.0)
    options.add_argument("--share", type=int, choices=SHARES, action="append")
    options.add_argument("--times", type=int, default=200)
    options.add_argument("--errors", type=float, default=0.005)
    options.add_argument("--sigma", type=float, default=0.7)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    times, days = (20, 0.1) if chosen.quick else (chosen.times, chosen.days)
    equal = World(errors=chosen.errors, spread=chosen.sigma)
    for percent, within_s in ((25, 60.0), (5, 300.0)):
        for what, fault in (
            ("doubled latency", {"slowdown": 2.0}),
            ("3 % more errors", {"more_errors": 0.03}),
            ("1 % mismatches", {"mismatches": 0.01, "copies_per_s": 50.0 * percent / 100}),
        ):
            rightly(what, msgspec.structs.replace(equal, **fault), percent, within_s, times, chosen.seed)
    seldom = msgspec.structs.replace(equal, calls_per_s=1.0, copies_per_s=0.2, mismatches=1.0)
    rightly("each of 0.2 copies/s is wrong", seldom, 5, 60.0, times, chosen.seed)
    for percent in chosen.share or SHARES:
        falsely(days, percent, equal, chosen.seed)


if __name__ == "__main__":
    main()
