"""States that a pool still has all of its workers after a run: as many calls as it has workers run at the same time."""

from __future__ import annotations

import msgspec
import numpy as np

from poolproof.harness.history.columns import NONE
from poolproof.harness.history.history import History
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.op import RESERVED
from poolproof.harness.model.verdict import Verdict

FULL_LABEL = f"{RESERVED}full"
"""The label of the calls that together need every worker at once; the number of the round follows it."""


class FullCapacity(msgspec.Struct, frozen=True, kw_only=True):
    """In one of the rounds after the run, every worker of the pool worked at the same time (G8).

    Each round makes as many calls as there are workers, and each round's calls last longer than the last one's. A pool
    that has lost a worker never gets all of them to work; a loaded machine gets there in a later round.
    """

    name: str = "full_capacity"
    guarantees: tuple[str, ...] = ("G8",)

    def check(self, history: History) -> Finding:
        """Judge the run by the operations with the label, and the service intervals of their requests."""
        ops = history.ops
        labels = sorted(label for label in ops.label.counts() if str(label).startswith(FULL_LABEL))
        if not labels:
            return finding(self, Verdict.UNKNOWN, "no round was made")
        best = max(self._together(history, str(label)) for label in labels)
        figures: dict[str, float | int | str] = {"together": best, "workers": history.info.workers}
        if best < history.info.workers:
            claim = f"at most {best} of {history.info.workers} workers worked at the same time after the run"
            return finding(self, Verdict.FAIL, claim, figures=figures)
        claim = f"after the run all {history.info.workers} workers worked at the same time"
        return finding(self, Verdict.PASS, claim, figures=figures)

    def _together(self, history: History, label: str) -> int:
        rows = history.ops.label.are(label) & (history.ops.outcome.are("result"))
        served = history.serving[rows]
        services = history.services
        if len(services) and (served >= 0).all():
            start, end = services.start_ns[served], services.end_ns[served]
        else:  # without journals: a call that was answered was at work at the end of its sleep
            seconds = [args.get("seconds", 0.0) for (args,) in history.ops.rows("args", at=rows)]
            end = history.ops.completed_ns[rows]
            start = end - (np.array(seconds) * 1e9).astype(np.int64)
        start, end = start[end != NONE], end[end != NONE]
        return max((int(((start <= at) & (end > at)).sum()) for at in start), default=0)
