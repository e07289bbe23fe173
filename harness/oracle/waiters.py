"""States that a call which is cancelled while it waits for a worker costs no worker."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec
import numpy as np

from poolproof.harness.history.columns import NONE
from poolproof.harness.history.history import History, Op, RunInfo
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.op import RESERVED
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.oracle.status import READY

WAITER_LABEL = f"{RESERVED}cancelled-waiter"
"""The label of a call that is cancelled at the moment at which it is handed a worker, with the number of the round."""
_WAITER = re.compile(rf"{WAITER_LABEL}\d+")
HOLDING = "-busy"
"""The end of the labels of the calls that keep every worker busy until then."""
ENDING_OPTIONS = frozenset({"overflow", "max_requests", "idle_timeout_s", "max_age_s", "max_memory_bytes"})
"""Options by which a pool itself ends workers."""


def keeps_workers(info: RunInfo) -> bool:
    """Return whether the pool ends no worker by itself, and is the only pool of the run."""
    return not ENDING_OPTIONS & info.options.keys() and not info.baseline


class WaitersLeave(msgspec.Struct, frozen=True, kw_only=True):
    """A call that is cancelled at the moment at which it is handed a worker does not end that worker (G9).

    Only rounds count in which all workers were busy when the call was made: then it waited until it was cancelled.
    """

    name: str = "waiters_leave"
    guarantees: tuple[str, ...] = ("G9",)

    def check(self, history: History) -> Finding:
        """Judge each round by the journals and the snapshots around it."""
        labels = [label for label in history.ops.label.counts() if _WAITER.fullmatch(str(label))]
        waiters = history.ops.take(history.ops.label.are(*labels) & history.ops.outcome.are("Cancelled"))
        rounds = [op for op in waiters if _waited(history, op)]
        wrong = [text for op in rounds for text in _lost(history, op)]
        figures: dict[str, float | int | str] = {"rounds": len(rounds)}
        if wrong:
            claim = f"{len(wrong)} calls that were cancelled while they waited have cost a worker"
            return finding(self, Verdict.FAIL, claim, figures=figures, examples=wrong)
        claim = f"{len(rounds)} calls were cancelled as they were handed a worker, and no worker was lost"
        return finding(self, Verdict.PASS, claim, figures=figures)


def _waited(history: History, waiter: Op) -> bool:
    # Every worker had begun a holding call before the waiter was made, and had not answered it then.
    rows = history.ops.label.are(f"{waiter.label}{HOLDING}")
    served = history.serving[rows]
    if not len(served) or (served < 0).any() or len(served) < history.info.workers:
        return False
    services = history.services
    started, ended = services.start_ns[served], services.end_ns[served]
    return bool((started < waiter.invoked_ns).all() and ((ended == NONE) | (ended > waiter.invoked_ns)).all())


def _lost(history: History, waiter: Op) -> Iterator[str]:
    rows = history.ops.label.are(f"{waiter.label}{HOLDING}")
    over_ns = int(np.max(history.ops.completed_ns[rows]))
    pids = set(history.services.pid[history.serving[rows]].tolist())
    for sample in history.statuses:
        if sample.began_ns > over_ns and sample.status is not None:
            left = pids - {worker.pid for worker in sample.status.workers if worker.state in READY}
            if left:
                yield f"call {waiter.index} was cancelled as it was handed a worker; process {min(left)} was ended"
            return
