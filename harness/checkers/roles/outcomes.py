"""Checks how the user's calls ended, and whether calls that wait are served at the same time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from statistics import median
from typing import Any

import msgspec

from poolproof.harness.checkers.roles.own_answers import first_error
from poolproof.harness.history.history import History, OpType
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.verdict import Verdict

ENDED_TOGETHER = 0.4
"""If at least this share of the calls end soon after the call before them, the calls were served at the same time."""


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """Every call of this role has an answer, or at most `lost` have none: those that a fault has hit (G3)."""

    role: str
    lost: int = 0
    guarantees: tuple[str, ...] = ("G3",)

    @property
    def name(self) -> str:
        """The checker's name: `answered:ROLE`."""
        return f"answered:{self.role}"

    def check(self, history: History) -> Finding:
        """Judge the run by the outcomes of the operations with the role's label."""
        ops = history.ops
        chosen = ops.label.are(self.role)
        outcomes = Counter(outcome for (outcome,) in ops.rows("outcome", at=chosen))
        total = sum(outcomes.values())
        if not total:
            return finding(self, Verdict.UNKNOWN, f"no call {self.role!r} was made")
        failed = total - outcomes["result"]
        if failed > self.lost:
            kinds = ", ".join(f"{count} {kind}" for kind, count in outcomes.items() if kind != "result")
            limit = f"; at most {self.lost} may fail" if self.lost else ""
            claim = f"{failed} of {total} calls {self.role!r} have no answer ({kinds}){limit}"
            return finding(self, Verdict.FAIL, f"{claim}{first_error(history, self.role)}")
        return finding(self, Verdict.PASS, f"{total - failed} of {total} calls {self.role!r} have an answer")


class Reported(msgspec.Struct, frozen=True, kw_only=True):
    """Every call of this role ends with the error of its command, which the user's `matches` may examine (G3)."""

    role: str
    matches: Callable[[dict[str, Any], Any], bool] | None = None
    guarantees: tuple[str, ...] = ("G3",)

    @property
    def name(self) -> str:
        """The checker's name: `reported:ROLE`."""
        return f"reported:{self.role}"

    def check(self, history: History) -> Finding:
        """Judge the run by the outcomes and the texts of the errors."""
        wrong: list[str] = []
        ops = history.ops
        chosen = ops.label.are(self.role)
        for index, args, outcome, error, value in ops.rows("index", "args", "outcome", "error", "value", at=chosen):
            if outcome != "CommandError":
                told = str(value) if outcome == "result" else error
                wrong.append(f"call {index} ended as {outcome}, not with the error of its command: {told[:120]}")
            elif self.matches is not None and not self.matches(args, error):
                wrong.append(f"the error of call {index} does not belong to its request: {error[:120]}")
        if wrong:
            return finding(
                self, Verdict.FAIL, f"{len(wrong)} calls {self.role!r} did not end with their error", examples=wrong
            )
        if not chosen.any():
            return finding(self, Verdict.UNKNOWN, f"no call {self.role!r} was made")
        return finding(self, Verdict.PASS, f"each of {int(chosen.sum())} failing calls reported its error")


class Parallel(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that wait are served at the same time: on average at least `at_least` of them (G10).

    The checker compares times as a caller sees them: served one by one, the calls labelled ROLE, which are made
    together, would take as long as the calls labelled ROLE_alone, which are made one after the other.
    """

    role: str
    at_least: float = 1.3
    guarantees: tuple[str, ...] = ("G10",)

    @property
    def name(self) -> str:
        """The checker's name: `parallel:ROLE`."""
        return f"parallel:{self.role}"

    def check(self, history: History) -> Finding:
        """Judge the run by the times of the answered calls."""
        alone = self._times(history, f"{self.role}_alone")
        together = self._times(history, self.role)
        if not alone or len(together) < 2:
            return finding(self, Verdict.UNKNOWN, f"too few calls {self.role!r} had an answer")
        one_s = median(end - begin for begin, end in alone) / 1e9
        whole_s = (max(end for _, end in together) - min(begin for begin, _ in together)) / 1e9
        degree = len(together) * one_s / whole_s
        figures: dict[str, float | int | str] = {"alone_s": round(one_s, 4), "degree": round(degree, 2)}
        told = f"{len(together)} calls of {one_s * 1e3:.0f} ms each took {whole_s * 1e3:.0f} ms together"
        # One by one, two calls never end within less than the time of one; a machine that stands still changes that
        # for single calls only, but stretches the whole.
        ends = sorted(end for _, end in together)
        close = sum(later - sooner < one_s * 0.5e9 for sooner, later in pairwise(ends)) / (len(ends) - 1)
        figures["ended_together"] = round(close, 2)
        if degree < self.at_least and close < ENDED_TOGETHER:
            claim = f"{told}: {degree:.1f} at the same time, at least {self.at_least:g} are needed"
            return finding(self, Verdict.FAIL, claim, figures=figures)
        return finding(self, Verdict.PASS, f"{told}: {degree:.1f} at the same time", figures=figures)

    @staticmethod
    def _times(history: History, label: str) -> list[tuple[int, int]]:
        ops = history.ops
        chosen = ops.label.are(label) & ops.type.are(OpType.OK)
        return [(begin, end) for begin, end in ops.rows("invoked_ns", "completed_ns", at=chosen) if end is not None]
