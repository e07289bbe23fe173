"""States what `resize`, `drain` and `close` promise while calls run: the size follows, and what has begun is finished.

Exact, whatever the machine does: each rule compares moments of which one is certainly before the other.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from poolproof.bridge import PoolStatus
from poolproof.harness.history.columns import NONE
from poolproof.harness.history.history import History
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.fault import CLOSING, FaultKind
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.oracle.faces import DIRECT

SERVED = ("result", "CommandError")


class OrderlyLife(msgspec.Struct, frozen=True, kw_only=True):
    """A pool has the size that it was given last; once it refuses a call it serves no later one (G14, G22).

    A drained pool finishes every call that waited or ran before.
    """

    name: str = "orderly_life"
    guarantees: tuple[str, ...] = ("G14", "G22")

    def check(self, history: History) -> Finding:
        """Decide from the operations, the status snapshots and the fault records."""
        kinds = {fault.kind for fault in history.faults if fault.landed}
        if not kinds & {*CLOSING, FaultKind.RESIZE}:
            return finding(self, Verdict.PASS, "the pool was neither resized nor closed while calls ran")
        wrong = [*_sizes(history), *_serves_again(history), *_unfinished(history)]
        if wrong:
            return finding(self, Verdict.FAIL, f"{len(wrong)} promises were broken", examples=wrong)
        return finding(self, Verdict.PASS, "the pool was resized and closed in order")


def _sizes(history: History) -> Iterator[str]:
    # Between a resize to one worker and the next one, each snapshot has that size, and no more idle workers.
    resizes = [fault.at_ns for fault in history.faults if fault.kind is FaultKind.RESIZE and fault.landed]
    most = 1 + int(history.info.options.get("overflow", 0))
    for begin_ns, end_ns in zip(resizes[::2], resizes[1::2], strict=False):
        for sample in history.statuses:
            if sample.began_ns < begin_ns or sample.ended_ns > end_ns:
                continue
            for status in (sample.status, sample.status_after):
                if status is None or status.state != "open":
                    continue
                if status.target != 1:
                    yield f"its target is {status.target} workers; it was resized to 1"
                if (idle := _in_state(status, "idle")) > most:
                    yield f"{idle} workers are idle; after the resize at most {most} may stay"


def _serves_again(history: History) -> Iterator[str]:
    # Whoever calls after somebody was refused because of the end is refused too.
    ops = history.ops
    if history.info.face not in DIRECT:
        return
    refused_ns = ops.completed_ns[ops.outcome.are("PoolClosed")]
    refused_ns = refused_ns[refused_ns != NONE]
    if not len(refused_ns):
        return
    later = ops.take((ops.invoked_ns > refused_ns.min()) & ops.outcome.are(*SERVED))
    for op in later:
        yield f"call {op.index} ({op.command}) was made after another call had got PoolClosed, and was served"


def _unfinished(history: History) -> Iterator[str]:
    # Of the calls that were open at a snapshot before the drain, those that waited or had a worker must end well.
    ops, options = history.ops, history.info.options
    if history.info.face not in DIRECT:
        return
    own = int("session_ttl_s" in options) + int(options.get("max_idle_pings", 1)) * ("ping_interval_s" in options)
    for fault in history.faults:
        if fault.kind is not FaultKind.DRAIN or not fault.landed:
            continue
        for sample in history.statuses:
            if sample.ended_ns >= fault.at_ns or sample.status is None:
                continue
            begun = sample.status.waiting + _in_state(sample.status, "leased") - own
            open_then = (ops.invoked_ns < sample.ended_ns) & (
                (ops.completed_ns == NONE) | (ops.completed_ns > sample.began_ns)
            )
            refused = int(np.count_nonzero(open_then & ops.outcome.are("PoolClosed")))
            if refused > np.count_nonzero(open_then) - begun:
                yield f"{refused} of {begun} calls that waited or had a worker before the drain got PoolClosed"


def _in_state(status: PoolStatus, state: str) -> int:
    return sum(worker.state == state for worker in status.workers)
