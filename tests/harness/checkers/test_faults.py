"""Whether those who were hit saw what they should, on literal histories."""

from __future__ import annotations

from typing import Any

import msgspec

from poolproof.harness.checkers import Seen
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.verdict import Verdict

CHECKER = Seen(kind=FaultKind.FORK, allowed=frozenset({"PoolClosed"}), guarantees=("G23",))


def faults(build: Any, *seen: str, landed: bool = True) -> Any:
    made = [build.fault(FaultKind.FORK, landed=landed) for _ in seen]
    return [msgspec.structs.replace(fault, seen=what) for fault, what in zip(made, seen, strict=True)]


def test_what_was_to_be_seen_was_seen(build: Any) -> None:
    found = CHECKER.check(build.history(faults=faults(build, "PoolClosed", "PoolClosed")))
    assert (found.checker, found.verdict, found.guarantees) == ("seen:fork", Verdict.PASS, ("G23",))


def test_one_that_saw_something_else_is_a_failure(build: Any) -> None:
    found = CHECKER.check(build.history(faults=faults(build, "PoolClosed", "served")))
    assert found.verdict is Verdict.FAIL
    assert "served" in found.examples[0]


def test_a_fault_of_another_kind_or_that_did_not_land_tells_nothing(build: Any) -> None:
    others = [build.fault(FaultKind.KILL), *faults(build, "served", landed=False)]
    assert CHECKER.check(build.history(faults=others)).verdict is Verdict.UNKNOWN
