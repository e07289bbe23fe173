"""A process that owns a pool and is there to be killed: every worker that can be is busy when it says their pids.

Part of the porch. Usage: `python -m harness.owner`, with {"pool": NAME, "config": PoolConfig} as JSON on the first
line. It answers with a JSON list of pids, and ends when its standard input does.
"""

from __future__ import annotations

import json
import os
import sys
import threading

import msgspec

from bridge import Event, EventKind, Pool, PoolConfig, PoolError
from harness.pools import find_pool

BUSY_S = 60.0
SETTLE_S = 0.1


class OwnerOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Which pool to make, and how."""

    pool: str
    config: PoolConfig


def main() -> int:
    """Make the pool, keep it busy, and wait for the end."""
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=OwnerOrder)
    busy = threading.Event()

    def observe(event: Event) -> None:
        if event.kind is EventKind.SEND:
            busy.set()

    subject = find_pool(order.pool)
    pool = subject.make(order.config, observe)
    try:
        pool.warm_up()
        pids = [worker.pid for worker in pool.status().workers]
        for _ in pids:
            threading.Thread(target=_work, args=(pool,), daemon=True).start()
        busy.wait()
        threading.Event().wait(SETTLE_S)
        os.write(1, json.dumps(pids).encode() + b"\n")
        sys.stdin.buffer.read()
    finally:
        pool.close(0.0)
    return 0


def _work(pool: Pool) -> None:
    try:
        pool.execute("sleep", {"seconds": BUSY_S}, timeout_s=BUSY_S)
    except PoolError:
        pass  # the pool is being closed


if __name__ == "__main__":
    sys.exit(main())
