"""The lifecycle test of asyncio tasks that call V2 in ways which no face covers: leases, batches and streams.

It knows nothing of mutants.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from poolproof.harness.model.checker import Finding
from poolproof.harness.mutation.lifecycle_tests.lifecycle_test import Bench, LifecycleTest, claim, lifecycle_test
from poolproof.harness.mutation.mutant import V2
from poolproof.pool_v2 import AsyncPool, PoolV2

CALLS = 4
PATIENT_S = 15.0


def task_ways(bench: Bench) -> list[Finding]:
    """A task calls through a lease, in a batch and in a stream; each answer must be right."""
    return asyncio.run(_act(cast("PoolV2", bench.make(workers=1, checkout_timeout_s=PATIENT_S))))


async def _act(pool: PoolV2) -> list[Finding]:
    items = [{"value": f"value {number}"} for number in range(CALLS)]
    wanted = [item["value"] for item in items]
    async with AsyncPool.over(pool) as tasks:
        async with tasks.checkout() as worker:
            leased = [await worker.execute("echo", item) for item in items]
        batched = await tasks.execute_many("echo", items)
        async with tasks.execute_stream("parts", {"count": CALLS}) as stream:
            streamed = [part async for part in stream]
    numbers = [part.get("index") if isinstance(part, dict) else None for part in streamed]
    return [
        _claim("task_lease", leased, wanted),
        _claim("task_many", batched, wanted),
        _claim("task_stream", numbers, list(range(CALLS))),
    ]


def _claim(name: str, found: list[Any], wanted: list[Any]) -> Finding:
    return claim(name, ("G1",), found == wanted, f"the answers were {found!r:.100}, and should be {wanted!r:.100}")


TASK_DRILLS: tuple[LifecycleTest, ...] = (lifecycle_test(task_ways, ("G1",), (V2,)),)
