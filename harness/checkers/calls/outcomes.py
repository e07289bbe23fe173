"""Checks that every call ended in exactly one of the outcomes that a pool promises."""

from __future__ import annotations

import msgspec

from poolproof.bridge import OUTCOMES
from poolproof.harness.history.history import History
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.verdict import Verdict


class OneOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """Every call has exactly one outcome, and the scenario allows this outcome (G3).

    `at_least` and `at_most` bound how often an outcome may occur. A call without an end is a failure, unless the run
    itself was cut off.
    """

    allowed: frozenset[str] = frozenset({"result"})
    at_least: dict[str, int] = {}
    at_most: dict[str, int] = {}
    name: str = "one_outcome"
    guarantees: tuple[str, ...] = ("G3",)

    @property
    def demands(self) -> tuple[frozenset[str], ...]:
        """Return a set with the allowed outcomes, and one for each outcome in `at_least`."""
        return (self.allowed, *(frozenset({outcome}) for outcome, least in self.at_least.items() if least > 0))

    def check(self, history: History) -> Finding:
        """Judge the run by the operations."""
        ops = history.judged_ops
        if not len(ops):
            return finding(self, Verdict.UNKNOWN, "no call was made")
        counts = ops.outcome.counts()
        good = ops.outcome.are(*self.allowed & set(OUTCOMES)) & (ops.completions == 1)
        wrong = [
            f"call {op.index} ({op.command}) ended as {op.outcome}, and its end was reported {op.completions} "
            f"times: {op.error[:200]}"
            for op in ops.take(~good)
        ]
        wrong += [
            f"{counts[o]} calls ended as {o}; at least {n} calls must end so"
            for o, n in self.at_least.items()
            if counts[o] < n and history.finished
        ]
        wrong += [
            f"{counts[o]} calls ended as {o}; at most {n} calls may end so"
            for o, n in self.at_most.items()
            if counts[o] > n
        ]
        figures: dict[str, float | int | str] = {"calls": len(ops), **counts}
        if wrong:
            claim = (
                f"{len(wrong)} violations of the rule that each of the {len(ops)} calls ends once, with an "
                "allowed outcome"
            )
            return finding(self, Verdict.FAIL, claim, figures=figures, examples=wrong)
        told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
        return finding(
            self, Verdict.PASS, f"each of {len(ops)} calls ended once, with an allowed outcome: {told}", figures=figures
        )


class LabelledOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """Every call of the steps with the label ended in one of `outcomes`."""

    label: str
    outcomes: frozenset[str]
    guarantees: tuple[str, ...] = ("G3",)

    @property
    def name(self) -> str:
        """The checker's name: `outcome:LABEL`."""
        return f"outcome:{self.label}"

    @property
    def demands(self) -> tuple[frozenset[str], ...]:
        """Return `outcomes` as the only set."""
        return (self.outcomes,)

    def check(self, history: History) -> Finding:
        """Judge the run by the operations with the label."""
        ops = history.labelled(self.label)
        if not len(ops):
            return finding(self, Verdict.UNKNOWN, f"no call with the label {self.label!r} was made")
        wrong = [
            f"call {op.index} ended as {op.outcome}: {op.error[:200]}"
            for op in ops.take(~ops.outcome.are(*self.outcomes))
        ]
        meant = " or ".join(sorted(self.outcomes))
        if wrong:
            claim = f"{len(wrong)} of {len(ops)} calls {self.label!r} did not end as {meant}"
            return finding(self, Verdict.FAIL, claim, examples=wrong)
        return finding(self, Verdict.PASS, f"each of {len(ops)} calls {self.label!r} ended as {meant}")
