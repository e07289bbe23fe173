"""Asks a pool whose workers are all busy for calls with limits of time, which therefore pass while the calls wait.

Each round lasts longer than the one before, until the calls of a round ended at their limits. A pool that forgets a
part of a call's time is late in every round; a loaded machine is in time in a later round.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec

from poolproof.harness.model.workload import Step
from poolproof.harness.oracle.limits import LIMITED_LABEL, LIMITED_S, MOST_LATE
from poolproof.harness.run.pool.probers import Probers

HOLDING = "-busy"
"""The end of the labels of the calls that keep every worker busy."""
CALL_TIMES = 1.25
"""The limit of a whole call, as a multiple of the time for which every worker is busy and for which the call lasts."""
WAIT_TIMES = 0.25
"""The limit of the wait for a worker, as such a multiple."""
PATIENT_S = 60.0
"""The limit of the whole call where only the wait is to be limited."""


def ask_with_limits(probers: Probers, workers: int, *, in_sessions: bool) -> None:
    """Occupy this many workers, and make further calls whose limits pass before they could be answered."""
    for number, seconds in enumerate(LIMITED_S):
        label = f"{LIMITED_LABEL}{number}"
        holder = Step(command="sleep", args={"seconds": seconds}, label=f"{label}{HOLDING}")
        busy = [probers.client(holder) for _ in range(workers)]
        limited = [probers.client(step) for step in _limited(label, seconds, in_sessions)]
        for client in busy:
            client.start()
        began_s = time.monotonic()
        for client in limited:
            client.start()
        late = False
        for client, limit_s in zip(limited, (CALL_TIMES, WAIT_TIMES) * 2, strict=False):
            client.join(max(0.0, began_s + seconds * (limit_s + MOST_LATE) - time.monotonic()))
            late = late or client.is_alive()
        for client in (*busy, *limited):
            client.join()  # each of their calls has a limit
        if not late:
            break


def _limited(label: str, seconds: float, in_sessions: bool) -> Iterator[Step]:
    step = Step(command="sleep", args={"seconds": seconds}, label=label)
    for sessions in ((None, None), *([(f"{label}-call", f"{label}-wait")] if in_sessions else [])):
        yield msgspec.structs.replace(step, session=sessions[0], timeout_s=CALL_TIMES * seconds)
        yield msgspec.structs.replace(
            step, session=sessions[1], timeout_s=PATIENT_S, checkout_timeout_s=WAIT_TIMES * seconds
        )
