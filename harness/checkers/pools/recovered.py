"""Checks that the pool recovered after each fault, and counts the calls that were lost."""

from __future__ import annotations

import msgspec

from poolproof.harness.history.history import History
from poolproof.harness.history.recovery import recoveries
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.verdict import Verdict


class Recovered(msgspec.Struct, frozen=True, kw_only=True):
    """After each fault a call has a result within `first_ok_s`, and the pool its old size within `full_size_s` (G8).

    Both are seconds from the fault; None sets no bound. Only calls that began after the fault count for `first_ok_s`.
    At most `lost` of the calls that were in flight may have no answer. If the run ended too early to decide, the result
    is UNKNOWN. The size is checked only in an observed run.
    """

    first_ok_s: float | None = None
    full_size_s: float | None = None
    lost: int | None = None
    name: str = "recovered"
    guarantees: tuple[str, ...] = ("G8",)

    def check(self, history: History) -> Finding:
        """Judge the run by the faults that landed, the operations, and READY, KILL and REAP."""
        found = recoveries(history)
        if not found:
            return finding(self, Verdict.UNKNOWN, "no fault was in effect before the pool was closed")
        last_ns = history.close_began_ns or history.ended_ns
        wrong: list[str] = []
        unseen: list[str] = []
        figures: dict[str, float | int | str] = {"faults": len(found), "lost": max(one.lost for one in found)}
        for one in found:
            for what, took_s, limit_s in (
                ("first_ok_s", one.first_ok_s, self.first_ok_s),
                ("full_size_s", one.full_size_s, self.full_size_s),
            ):
                if took_s is not None:
                    figures[what] = max(round(took_s, 4), float(figures.get(what, 0.0)))
                if limit_s is None or (what == "full_size_s" and not history.info.observed):
                    continue  # only events show which workers are ready
                if took_s is not None and took_s > limit_s:
                    wrong.append(f"after {one.kind} the {what} is {took_s:.3f}; the limit is {limit_s:g}")
                elif took_s is None and last_ns is not None and (last_ns - one.at_ns) / 1e9 > limit_s:
                    wrong.append(
                        f"after {one.kind} there was no {what} before the pool was closed; the limit is {limit_s:g}"
                    )
                elif took_s is None:
                    unseen.append(f"after {one.kind} the run ended before {what} was seen")
            if self.lost is not None and one.lost > self.lost:
                wrong.append(f"after {one.kind} {one.lost} calls got no answer; at most {self.lost} calls may get none")
        if wrong:
            return finding(
                self,
                Verdict.FAIL,
                f"{len(wrong)} limits of the recovery after a fault were exceeded",
                figures=figures,
                examples=wrong,
            )
        if unseen:
            claim = "the run ended too early to decide whether the pool recovered"
            return finding(self, Verdict.UNKNOWN, claim, figures=figures, examples=unseen)
        return finding(
            self,
            Verdict.PASS,
            f"the pool recovered within the limits after each of {len(found)} faults",
            figures=figures,
        )
