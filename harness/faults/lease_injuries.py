"""Faults of a client that holds a worker: it uses its lease too late, loses it, or holds it during a drain."""

from __future__ import annotations

import threading
import time

import msgspec

from poolproof.bridge.worker.journal import JOURNAL_VARIABLE
from poolproof.harness.faults.stage import Drainable, Stage
from poolproof.harness.model.fault import Fault

ANSWER_WAIT_S = 5.0
"""How many seconds a forked child, a lost lease or a drained pool may take."""
LOOK_EVERY_S = 0.01
HELD_S = 0.3
"""How long a client holds its worker while the pool is drained, in seconds."""
HELD_GRACE_S = 0.05
"""The grace of a close of that pool: after a drain, no client may need it."""


def use_after_checkin(fault: Fault, stage: Stage) -> None:
    """Check a worker in, then use its lease."""
    checkout = getattr(stage.pool, "checkout", None)
    if checkout is None:
        stage.tell(fault, landed=True, detail="this pool's clients never hold a worker", seen="no lease")
        return
    with checkout() as lease:
        pass
    try:
        lease.execute("echo", {"value": "given back"})
    except Exception as error:
        stage.tell(fault, landed=True, detail=str(error), seen=type(error).__name__)
    else:
        stage.tell(fault, landed=True, seen="served")


def lose_lease(fault: Fault, stage: Stage) -> None:
    """Check a worker out in a thread that ends without a checkin. `seen` is "reclaimed" once no worker is leased."""
    checkout = getattr(stage.pool, "checkout", None)
    if checkout is None:
        stage.tell(fault, landed=True, detail="this pool's clients never hold a worker", seen="no lease")
        return
    kept: list[object] = []
    thread = threading.Thread(target=lambda: kept.append(checkout()), name="lost-lease")
    thread.start()
    thread.join()
    if not kept:
        stage.tell(fault, landed=False, detail="no worker could be checked out")
        return
    deadline = time.monotonic() + (fault.for_s or ANSWER_WAIT_S)
    seen = "still held"
    while seen != "reclaimed" and time.monotonic() < deadline:
        if all(worker.state != "leased" for worker in stage.pool.status().workers):
            seen = "reclaimed"
        elif stage.stop.wait(LOOK_EVERY_S):
            deadline = min(deadline, time.monotonic() + 1.0)
            time.sleep(LOOK_EVERY_S)
    stage.tell(fault, landed=True, detail="its thread ended", seen=seen)


def hold_lease(fault: Fault, stage: Stage) -> None:
    """Drain a second pool while a client holds its worker; then the client makes a call on the lease.

    `seen` is "served", or the name of the error.
    """
    if stage.config is None or stage.make is None:
        stage.tell(fault, landed=False, detail="no second pool can be made here")
        return
    env = {**stage.config.env, JOURNAL_VARIABLE: ""}  # none of this pool's calls is one of the run's
    name = f"{stage.pool.name}-held"
    config = msgspec.structs.replace(stage.config, name=name, env=env, workers=1, close_grace_s=HELD_GRACE_S)
    second = stage.make(config, None)
    try:
        checkout = getattr(second, "checkout", None)
        if checkout is None or not isinstance(second, Drainable):
            stage.tell(fault, landed=True, detail="no client of this pool holds a worker in a drain", seen="no lease")
            return
        drain = threading.Thread(target=second.drain, args=(ANSWER_WAIT_S,), name="drain")
        seen, detail = "served", ""
        try:
            with checkout() as lease:
                drain.start()
                deadline = time.monotonic() + ANSWER_WAIT_S
                while second.status().state == "open" and time.monotonic() < deadline:
                    time.sleep(LOOK_EVERY_S)
                time.sleep(HELD_S)
                lease.execute("echo", {"value": "held"})
        except Exception as error:
            seen, detail = type(error).__name__, str(error)
        if drain.ident is not None:
            drain.join()
        stage.tell(fault, landed=True, detail=detail, seen=seen)
    finally:
        second.close(0.0)
