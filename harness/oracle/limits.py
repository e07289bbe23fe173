"""States that the limits of a call count all of its time, so also the time for which it waits for a worker."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from poolproof.harness.history.history import History
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.op import RESERVED
from poolproof.harness.model.verdict import Verdict

LIMITED_LABEL = f"{RESERVED}limited"
"""The label of the calls that wait for a worker until their limit, followed by the number of the round."""
LIMITED_S = (0.15, 0.7, 2.5)
"""How many seconds every worker is busy in each round, and how long each of the waiting calls would last."""
MOST_LATE = 0.4
"""How late a call of a round may be, as a share of the round's seconds."""


class LimitsKept(msgspec.Struct, frozen=True, kw_only=True):
    """In one of the rounds, every call that waited for a worker beyond its limit ended at its limit (G11).

    The rounds become longer, up to one in which a loaded machine has a second to spare. A pool that does not count a
    part of a call's time is late in each of them.
    """

    name: str = "limits_kept"
    guarantees: tuple[str, ...] = ("G11",)

    def check(self, history: History) -> Finding:
        """Decide from the operations with the label."""
        late: list[str] = []
        rounds = 0
        for number, seconds in enumerate(LIMITED_S):
            label = f"{LIMITED_LABEL}{number}"
            if not history.ops.label.are(label).any():
                break
            rounds += 1
            late = list(_late(history, label, seconds))
            if not late:
                break
        figures: dict[str, float | int | str] = {"rounds": rounds}
        if late and rounds == len(LIMITED_S):
            claim = f"in each of {rounds} rounds, calls went on beyond their limits"
            return finding(self, Verdict.FAIL, claim, figures=figures, examples=late)
        if not rounds:
            return finding(self, Verdict.UNKNOWN, "no round was made")
        return finding(self, Verdict.PASS, "the calls that waited for a worker ended at their limits", figures=figures)


def _late(history: History, label: str, seconds: float) -> Iterator[str]:
    ops = history.ops.take(history.ops.label.are(label))
    limits_s, patience_s = history.limits_s(ops), history.patience_s(ops)
    for op, limit_s, wait_s in zip(ops, limits_s.tolist(), patience_s.tolist(), strict=True):
        if op.completed_ns is None:
            yield f"call {op.index} never ended"
            continue
        took_s = (op.completed_ns - op.invoked_ns) / 1e9
        waited_s = took_s - seconds if op.outcome == "result" else took_s
        most_s = MOST_LATE * seconds
        if took_s > limit_s + most_s:
            yield f"call {op.index} ended as {op.outcome} after {took_s:.3f} s; its limit was {limit_s:g} s"
        elif waited_s > wait_s + most_s and op.outcome in ("result", "CheckoutTimeout"):
            yield f"call {op.index} waited {waited_s:.3f} s for a worker; its limit for that was {wait_s:g} s"
