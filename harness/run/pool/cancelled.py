"""Cancels a call at the very moment at which it is handed a worker, for which it has waited."""

from __future__ import annotations

import time

from poolproof.harness.history.history import RunInfo
from poolproof.harness.model.workload import Step
from poolproof.harness.oracle.waiters import HOLDING, WAITER_LABEL, keeps_workers
from poolproof.harness.run.pool.probers import Probers

ROUNDS_S = (0.1, 0.4)
"""How many seconds every worker is busy in each round."""


def cancel_waiters(probers: Probers, info: RunInfo) -> None:
    """Occupy every worker, and make one more call, which is cancelled when the first worker becomes free.

    Does nothing to a pool that ends workers by itself.
    """
    if not keeps_workers(info):
        return
    for number, seconds in enumerate(ROUNDS_S):
        label = f"{WAITER_LABEL}{number}"
        holder = Step(command="sleep", args={"seconds": seconds}, label=f"{label}{HOLDING}")
        clients = [probers.client(holder) for _ in range(info.workers)]
        clients.append(probers.client(Step(command="echo", label=label, cancel_after_s=0.0, cancel_at_end=True)))
        for client in clients:
            if client is clients[-1]:
                time.sleep(seconds / 2)
            client.start()
        for client in clients:
            client.join()  # each of their calls has a limit
