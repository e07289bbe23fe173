"""Checks that the victim of each fault saw what it should see."""

from __future__ import annotations

import msgspec

from poolproof.harness.history.history import History
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.verdict import Verdict


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """Each victim of a fault of this kind saw one of `allowed`: an error's name, or what the fault's code records."""

    kind: FaultKind
    allowed: frozenset[str]
    guarantees: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The checker's name: `seen:KIND`."""
        return f"seen:{self.kind}"

    def check(self, history: History) -> Finding:
        """Judge the run by the records of the faults that landed."""
        landed = [fault for fault in history.faults if fault.kind is self.kind and fault.landed]
        if not landed:
            return finding(self, Verdict.UNKNOWN, f"the fault {self.kind} was never in effect")
        wrong = [f"{fault.kind}: {fault.seen} {fault.detail}" for fault in landed if fault.seen not in self.allowed]
        meant = " or ".join(sorted(self.allowed))
        if wrong:
            claim = f"{len(wrong)} of {len(landed)} faults {self.kind} did not have the expected effect: {meant}"
            return finding(self, Verdict.FAIL, claim, examples=wrong)
        return finding(self, Verdict.PASS, f"each of {len(landed)} faults {self.kind} had the expected effect: {meant}")
