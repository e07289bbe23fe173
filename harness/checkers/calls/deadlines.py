"""Checks that calls end in time."""

from __future__ import annotations

import msgspec
import numpy as np

from poolproof.harness.history.columns import NONE
from poolproof.harness.history.history import History
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.verdict import Verdict

EARLY_S = 0.02
"""How many seconds before its limit a timeout may be reported, because of clocks and rounding."""


class Deadlines(msgspec.Struct, frozen=True, kw_only=True):
    """Every call ends at most `slack_s` seconds after its limit, and no timeout is reported before its limit (G11)."""

    slack_s: float
    name: str = "deadlines"
    guarantees: tuple[str, ...] = ("G11",)

    def check(self, history: History) -> Finding:
        """Judge the run by the operations' own limits, or from the pool's defaults.

        If a limit counts from the begin of the service, that begin is read in the workers' journals, and a call that no
        worker has begun cannot be late.
        """
        ops = history.judged_ops
        if not len(ops):
            return finding(self, Verdict.UNKNOWN, "no call was made")
        limits_s = np.where(ops.outcome.are("CheckoutTimeout"), history.patience_s(ops), history.limits_s(ops))
        ended = ops.completed_ns != NONE
        begun_ns = history.limit_begins_ns(ops)
        times_s = np.where(begun_ns == NONE, 0.0, (ops.completed_ns - begun_ns) / 1e9)
        latest_s = max(0.0, float(np.max(times_s - limits_s, where=ended, initial=0.0)))
        late = times_s > limits_s + self.slack_s
        early = ops.outcome.are("CheckoutTimeout", "CallTimeout") & (begun_ns != NONE) & (times_s < limits_s - EARLY_S)
        missed = ~ended | late | early
        wrong: list[str] = []
        for op, took_s, limit_s in zip(ops.take(missed), times_s[missed], limits_s[missed], strict=True):
            if op.completed_ns is None:
                wrong.append(f"call {op.index} ({op.command}) never ended")
            elif took_s > limit_s:
                wrong.append(f"call {op.index} ({op.command}) took {took_s:.3f} s; its limit was {limit_s:g} s")
            else:
                wrong.append(f"call {op.index} timed out after {took_s:.3f} s; its limit was {limit_s:g} s")
        figures: dict[str, float | int | str] = {"latest_past_limit_s": round(latest_s, 4)}
        if wrong:
            return finding(
                self,
                Verdict.FAIL,
                f"{len(wrong)} calls did not end at their time limit, or timed out too early",
                figures=figures,
                examples=wrong,
            )
        claim = f"each of {len(ops)} calls ended within {self.slack_s:g} s of its limit"
        return finding(self, Verdict.PASS, claim, figures=figures)


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """Every call with the label ended within `within_s` seconds of its intended begin, whatever else ran (G10)."""

    label: str
    within_s: float
    guarantees: tuple[str, ...] = ("G10",)

    @property
    def name(self) -> str:
        """The checker's name: `prompt:LABEL`."""
        return f"prompt:{self.label}"

    def check(self, history: History) -> Finding:
        """Judge the run by the operations with the label."""
        ops = history.labelled(self.label)
        if not len(ops):
            return finding(self, Verdict.UNKNOWN, f"no call with the label {self.label!r} was made")
        ended = ops.completed_ns != NONE
        times_s = (ops.completed_ns - ops.intended_ns)[ended] / 1e9
        slow = int((times_s > self.within_s).sum()) + len(ops) - len(times_s)
        slowest_s = float(times_s.max()) if len(times_s) else None
        worst = "no end" if slowest_s is None else f"{slowest_s:.3f} s"
        figures: dict[str, float | int | str] = {} if slowest_s is None else {"slowest_s": round(slowest_s, 4)}
        if slow:
            claim = (
                f"{slow} of {len(ops)} calls {self.label!r} took longer than {self.within_s:g} s; the "
                f"slowest one: {worst}"
            )
            return finding(self, Verdict.FAIL, claim, figures=figures)
        claim = f"each of {len(ops)} calls {self.label!r} ended within {self.within_s:g} s; the slowest one: {worst}"
        return finding(self, Verdict.PASS, claim, figures=figures)
