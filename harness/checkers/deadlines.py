"""Whether calls end in time."""

from __future__ import annotations

import msgspec

from harness.checker import Finding, finding
from harness.history import History
from harness.verdict import Verdict

EARLY_S = 0.02
"""How much before its limit a timeout may be told; clocks and rounding."""


class Deadlines(msgspec.Struct, frozen=True, kw_only=True):
    """Every call ends at most `slack_s` seconds after its limit, and no timeout is told before its limit (G11)."""

    slack_s: float
    name: str = "deadlines"
    guarantees: tuple[str, ...] = ("G11",)

    def check(self, history: History) -> Finding:
        """Decide from the operations' own limits, or the pool's defaults."""
        ops = history.judged_ops
        if not ops:
            return finding(self, Verdict.UNKNOWN, "no call was made")
        wrong: list[str] = []
        latest_s = 0.0
        for op in ops:
            limit_s = history.info.call_timeout_s if op.timeout_s is None else op.timeout_s
            if op.completed_ns is None:
                wrong.append(f"call {op.index} ({op.command}) never ended")
                continue
            took_s = (op.completed_ns - op.invoked_ns) / 1e9
            if op.outcome == "CheckoutTimeout":
                patience_s = op.checkout_timeout_s
                limit_s = min(limit_s, history.info.checkout_timeout_s if patience_s is None else patience_s)
            latest_s = max(latest_s, took_s - limit_s)
            if took_s > limit_s + self.slack_s:
                wrong.append(f"call {op.index} ({op.command}) took {took_s:.3f} s; its limit was {limit_s:g} s")
            if op.outcome in ("CheckoutTimeout", "CallTimeout") and took_s < limit_s - EARLY_S:
                wrong.append(f"call {op.index} timed out after {took_s:.3f} s; its limit was {limit_s:g} s")
        figures: dict[str, float | int | str] = {"latest_past_limit_s": round(latest_s, 4)}
        if wrong:
            return finding(self, Verdict.FAIL, f"{len(wrong)} calls missed a limit", figures=figures, examples=wrong)
        claim = f"each of {len(ops)} calls ended within {self.slack_s:g} s of its limit"
        return finding(self, Verdict.PASS, claim, figures=figures)


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """Every call with the label ended within `within_s` seconds of its begin, whatever else was going on (G10)."""

    label: str
    within_s: float
    guarantees: tuple[str, ...] = ("G10",)

    @property
    def name(self) -> str:
        """`prompt:LABEL`."""
        return f"prompt:{self.label}"

    def check(self, history: History) -> Finding:
        """Decide from the operations with the label."""
        ops = history.labelled(self.label)
        if not ops:
            return finding(self, Verdict.UNKNOWN, f"no call with the label {self.label!r} was made")
        times = [(op.completed_ns - op.intended_ns) / 1e9 for op in ops if op.completed_ns is not None]
        slow = sum(took > self.within_s for took in times) + len(ops) - len(times)
        worst = f"{max(times):.3f} s" if times else "no end"
        figures: dict[str, float | int | str] = {"slowest_s": round(max(times), 4)} if times else {}
        if slow:
            claim = f"{slow} of {len(ops)} calls {self.label!r} took over {self.within_s:g} s; the slowest: {worst}"
            return finding(self, Verdict.FAIL, claim, figures=figures)
        claim = f"each of {len(ops)} calls {self.label!r} ended within {self.within_s:g} s; the slowest: {worst}"
        return finding(self, Verdict.PASS, claim, figures=figures)
