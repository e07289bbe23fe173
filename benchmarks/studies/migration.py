"""The cost of a migration for its callers: `python -m benchmarks.studies.migration [--quick]`.

Paired and interleaved: within a pair the same calls go to v1 itself and through a migrating pool over the same v1, in
random order, so that both see the same state of the machine. Intervals are of the pairs' ratios or differences.
"""

from __future__ import annotations

import argparse
import logging
import random
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from benchmarks.blocks import BenchError
from poolproof.bridge import CallTimeout, Pool, PoolConfig, PoolError, Sent, WorkerCrashed
from poolproof.harness.bench.generator import Client, make_clients, run_block
from poolproof.harness.history.stats import paired_ratio, quantile
from poolproof.harness.model.workload import Step
from poolproof.migration import Guardrails, MigratingPool, Plan
from poolproof.pool_v1 import PoolV1
from poolproof.pool_v2 import PoolV2

LAX = Guardrails(
    max_mismatch_rate=1, max_error_rate=1, max_failures_in_row=10**9, max_latency_ratio=10**6, latency_slack_s=3600
)
ARGS = {"key": "k", "value": 1}
CALL_S = 0.002
BLOCK_S = 0.6


class Nothing:
    """A pool that answers at once, so that only the migrating pool's own time remains."""

    version = "nothing"
    name = "nothing"
    capabilities: frozenset[Any] = frozenset()
    fails = False
    gate: threading.Event | None = None

    def execute(self, command: str, args: dict[str, Any] | None = None, **options: Any) -> Any:  # noqa: ANN401
        """Return the arguments."""
        if self.gate is not None:
            self.gate.wait()
        if self.fails:
            raise WorkerCrashed("as asked")
        return args

    def sessions(self) -> tuple[()]:
        """Return no sessions."""
        return ()

    def end_session(self, session_id: str) -> bool:
        """Return False: there is no session to end."""
        return False

    def close(self, grace_s: float | None = None) -> None:
        """Do nothing."""


class Hanging(PoolV2):
    """V2 with calls that all end by their timeout."""

    def execute(self, command: str, args: dict[str, Any] | None = None, **options: Any) -> Any:  # noqa: ANN401
        """Wait for the timeout, then raise CallTimeout."""
        time.sleep(options.get("timeout_s") or CALL_S)
        raise CallTimeout("as asked", sent=Sent.YES)


def nothing() -> Pool:
    """A pool that answers at once, typed as Pool."""
    return cast(Pool, Nothing())


def seconds_of(call: Callable[[], object], count: int) -> float:
    """Processor seconds per call, over `count` calls; processor time excludes other programs."""
    begun = time.thread_time()
    for _ in range(count):
        call()
    return (time.thread_time() - begun) / count


def overhead(pairs: int) -> None:
    """Print the microseconds that v1 mode adds to a call."""
    direct = nothing()
    pool = MigratingPool(direct, nothing(), Plan())
    for what, command, session in (
        ("outside sessions", "echo", None),
        ("in a session, reading", "get", "s"),
        ("in a session, changing its state", "put", "s"),
    ):
        found = []
        for _ in range(pairs):
            blocks = [
                partial(seconds_of, partial(one.execute, command, ARGS, session=session), 2000)
                for one in (direct, pool)
            ]
            first = random.getrandbits(1)
            taken = {first: blocks[first](), 1 - first: blocks[1 - first]()}
            found.append((taken[1] - taken[0]) * 1e6)
            pool.end_session("s")
        told = ", ".join(f"p{q * 100:.0f} {quantile(found, q):.2f}" for q in (0.05, 0.5, 0.95))
        print(f"v1 mode adds, {what}: {told} µs a call ({pairs} pairs of 2000 calls)")
    pool.close()


def shadow_overhead(pairs: int) -> None:
    """Print the microseconds of the caller's own processor time that shadow mode adds to a copied call."""
    for what, hangs in (("v2 is well", False), ("v2 hangs", True)):
        direct, candidate = nothing(), Nothing()
        gate = threading.Event()
        if hangs:
            candidate.gate = gate
        plan = Plan(begin="shadow", idempotent=frozenset({"echo"}), guardrails=LAX)
        pool = MigratingPool(direct, cast(Pool, candidate), plan)
        found = []
        for _ in range(pairs):
            one = seconds_of(partial(direct.execute, "echo", ARGS), 2000)
            found.append((seconds_of(partial(pool.execute, "echo", ARGS), 2000) - one) * 1e6)
        told = ", ".join(f"p{q * 100:.0f} {quantile(found, q):.1f}" for q in (0.05, 0.5, 0.95))
        print(f"shadow mode adds, {what}: {told} µs a call ({pairs} pairs of 2000 calls); {pool.report().shadow}")
        gate.set()
        pool.close()


def latencies(clients: Sequence[Client]) -> list[float]:
    """The seconds of each call of a block. Raises BenchError if an answer is wrong or a call fails."""
    block = run_block(clients, arm="migration", seconds=BLOCK_S)
    if block.failure or block.doubtful:
        raise BenchError(block.failure or f"a wrong answer: {block.doubtful[0]}")
    return [took / 1e9 for client in clients for took in client.response]


def shadow(pairs: int, condition: str) -> None:
    """Print p50 and p99 with shadow mode over those without it."""
    config = PoolConfig(workers=2)
    v1 = PoolV1(config)
    dead = condition == "v2 does not start"
    kind = Hanging if condition == "v2 hangs" else PoolV2
    v2 = kind(PoolConfig(workers=2, worker_command="false", start_timeout_s=1.0) if dead else config)
    plan = Plan(begin="shadow", idempotent=frozenset({"sleep"}), guardrails=LAX, shadow_timeout_s=1.0)
    with MigratingPool(v1, v2, plan) as pool:
        if not dead:
            pool.warm_up()
        ratios: dict[str, tuple[list[float], list[float]]] = {"p50": ([], []), "p99": ([], [])}
        steps = (Step(command="sleep", args={"seconds": CALL_S}),)
        calling = [make_clients(each.execute, (steps,) * 2) for each in (v1, pool)]
        for _pair in range(pairs):
            taken: dict[int, list[float]] = {}
            for side in random.sample((0, 1), 2):
                taken[side] = latencies(calling[side])
            for q, name in ((0.5, "p50"), (0.99, "p99")):
                for side in (0, 1):
                    ratios[name][side].append(quantile(taken[side], q))
        for name, (one, other) in ratios.items():
            found = paired_ratio(one, other)
            print(
                f"shadow, {condition}: {name} is {found.ratio:.3f} times v1's {statistics.median(one) * 1e3:.2f} ms "
                f"(95 % interval {found.low:.3f} to {found.high:.3f}; {pairs} pairs of {BLOCK_S} s of calls of 2 ms)"
            )
        print(f"    {pool.report().shadow}")


def rollback(times: int) -> None:
    """Print the milliseconds from the failure that breaches a guardrail until v1 serves all calls."""
    found = []
    for _ in range(times):
        candidate = Nothing()
        pool = MigratingPool(nothing(), cast(Pool, candidate), Plan(begin="v2", fall_back=False))
        for _ in range(100):
            pool.execute("echo")
        candidate.fails = True
        for _ in range(5):
            try:
                pool.execute("echo")
            except PoolError:
                begun = time.perf_counter()
        while str(pool.position) != "v1":
            time.sleep(0.0005)
        found.append((time.perf_counter() - begun) * 1e3)
        pool.close()
    print(f"rollback: median {statistics.median(found):.1f} ms, worst {max(found):.1f} ms of {times}")


def main() -> None:
    """Run all measurements and print the results."""
    options = argparse.ArgumentParser()
    options.add_argument("--quick", action="store_true")
    quick = options.parse_args().quick
    logging.getLogger("poolproof.migration").setLevel(logging.ERROR)  # rollbacks are expected here
    overhead(30 if quick else 200)
    shadow_overhead(10 if quick else 50)
    rollback(10 if quick else 50)
    for condition in ("v2 is well", "v2 hangs", "v2 does not start"):
        shadow(6 if quick else 24, condition)


if __name__ == "__main__":
    main()
