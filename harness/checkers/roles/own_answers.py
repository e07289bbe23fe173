"""Checks, by the user's own function, that every answer belongs to its request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from poolproof.harness.history.history import History, OpType
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.verdict import Verdict

SHOWN = 120
FOUND_WITH_95_PERCENT = 3.0
"""If one call in n/3 is wrong, a run of n calls misses the error with a probability of 5 %: (1 - 3/n)^n = e^-3."""


class OwnMatch(msgspec.Struct, frozen=True, kw_only=True):
    """Every answer to a call of this role belongs to its request, by the user's `matches` or by the nonce (G1).

    If `matches` raises, the answer has another shape and counts as one that does not belong to its request.
    """

    role: str
    matches: Callable[[dict[str, Any], Any], bool] | None = None
    nonce: str = ""
    guarantees: tuple[str, ...] = ("G1",)

    @property
    def name(self) -> str:
        """The checker's name: `own_answer:ROLE`."""
        return f"own_answer:{self.role}"

    def check(self, history: History) -> Finding:
        """Judge the run by the answered operations with the role's label."""
        ops = history.ops
        chosen = ops.label.are(self.role) & ops.type.are(OpType.OK)
        wrong: list[str] = []
        for index, command, args, value in ops.rows("index", "command", "args", "value", at=chosen):
            if told := self._wrong(args, value):
                wrong.append(
                    f"call {index} ({command} {str(args)[:SHOWN]}) was answered with {str(value)[:SHOWN]}{told}"
                )
        decided = int(chosen.sum())
        if wrong:
            return finding(
                self,
                Verdict.FAIL,
                f"{len(wrong)} of {decided} answers do not belong to the request of their call",
                examples=wrong,
                figures={"decided": decided, "wrong": len(wrong)},
            )
        if not decided:
            return finding(
                self, Verdict.UNKNOWN, f"no call {self.role!r} had an answer{first_error(history, self.role)}"
            )
        rate = max(2, int(decided / FOUND_WITH_95_PERCENT))
        claim = (
            f"each of {decided} answers belongs to its request; one wrong answer in {rate} would have been found with "
            "95 % probability"
        )
        return finding(self, Verdict.PASS, claim, figures={"decided": decided})

    def _wrong(self, request: dict[str, Any], answer: Any) -> str | None:  # noqa: ANN401
        # Why the answer is not the request's own; None or empty if it is.
        if self.nonce:
            told = answer.get(self.nonce) if isinstance(answer, dict) else None
            if told != request.get(self.nonce):
                return f", whose {self.nonce!r} is not the request's"
        if self.matches is not None:
            try:
                return "" if self.matches(request, answer) else ", which does not belong to its request"
            except Exception as error:
                return f"; matches() raised {type(error).__name__}: {error}"
        return ""


def first_error(history: History, label: str) -> str:
    """Return "; the first error: …" of the calls with this label; empty if there is none."""
    ops = history.ops
    found = next((error for (error,) in ops.rows("error", at=ops.label.are(label)) if error), "")
    return f"; the first error: {found[:200]}" if found else ""
