"""A pool owner for the SIGKILL fault. Prints the pids of its workers once the pool is busy.

Entry point. Usage: `python -m poolproof.harness.faults.owner`, with {"pool": NAME, "config": PoolConfig} as JSON
on the first line of stdin. Prints a JSON list of pids, and exits when stdin is closed.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time

import msgspec

from poolproof.bridge import Pool, PoolConfig, PoolError
from poolproof.bridge.processes.interpreter import adopt
from poolproof.bridge.worker.journal import JOURNAL_VARIABLE
from poolproof.harness.subjects.pools import find_pool

BUSY_S = 60.0
SETTLE_S = 0.1
BEGIN_WAIT_S = 2.0
LOOK_EVERY_S = 0.01


class OwnerOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Which pool to make, and its options."""

    pool: str
    config: PoolConfig


def main() -> int:
    """Make the pool, keep it busy, and wait until stdin is closed."""
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=OwnerOrder)
    subject = find_pool(order.pool)
    pool = subject.make(order.config, None)
    try:
        pool.warm_up()
        pids = [worker.pid for worker in pool.status().workers]
        for _ in pids:
            threading.Thread(target=_work, args=(pool,), daemon=True).start()
        _await_work(order.config.env.get(JOURNAL_VARIABLE, ""))
        os.write(1, json.dumps(pids).encode() + b"\n")
        sys.stdin.buffer.read()
    finally:
        pool.close(0.0)
    return 0


def _await_work(journals: str) -> None:
    # Waits until a worker has a request in its journal. For workers that keep no journal, waits a fixed time.
    deadline = time.monotonic() + BEGIN_WAIT_S
    while time.monotonic() < deadline and not _any_began(journals):
        time.sleep(LOOK_EVERY_S)
    time.sleep(SETTLE_S)


def _any_began(journals: str) -> bool:
    return bool(journals) and any(entry.stat().st_size for entry in os.scandir(journals))


def _work(pool: Pool) -> None:
    try:
        pool.execute("sleep", {"seconds": BUSY_S}, timeout_s=BUSY_S)
    except PoolError:
        pass  # the pool is closing


if __name__ == "__main__":
    adopt()
    sys.exit(main())
