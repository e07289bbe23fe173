"""What holds for every kind of checker: it knows nothing from nothing, and it names what it decides."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from poolproof.harness import checkers
from poolproof.harness.checkers import ALL, CORE
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.verdict import Verdict

NEEDED: dict[str, dict[str, Any]] = {
    "BoundedStart": {"timeout_s": 1.0},
    "CloseBounded": {"within_s": 1.0},
    "Deadlines": {"slack_s": 0.5},
    "FaultLanded": {"kinds": (FaultKind.KILL,)},
    "Independence": {"epsilon_s": 0.1},
    "LabelledOutcome": {"label": "step", "outcomes": frozenset({"result"})},
    "Prompt": {"label": "step", "within_s": 0.5},
    "Replaced": {"label": "step"},
    "Seen": {"kind": FaultKind.FORK, "allowed": frozenset({"PoolClosed"})},
    "Restraint": {"at_most": 2},
    "TimeoutKills": {"grace_s": 1.0},
    "WorkConserving": {"epsilon_s": 0.1},
}


def instance(kind: type) -> Any:
    return kind(**NEEDED.get(kind.__name__, {}))


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_an_empty_history_is_unknown_to_every_checker(kind: type, build: Any) -> None:
    found = instance(kind).check(build.history(finished=False))
    assert found.verdict is Verdict.UNKNOWN
    assert found.claim


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_a_finding_bears_the_name_and_the_guarantees_of_its_checker(kind: type, build: Any) -> None:
    checker = instance(kind)
    found = checker.check(build.history())
    assert found.checker == checker.name
    assert found.guarantees == checker.guarantees
    assert all(re.fullmatch(r"G\d{1,2}", guarantee) for guarantee in checker.guarantees)
    assert kind.__doc__ is not None


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_a_checker_is_frozen(kind: type) -> None:
    with pytest.raises(AttributeError):
        instance(kind).guarantees = ()


def test_the_room_lists_every_checker_that_it_has() -> None:
    offered = {name for name in checkers.__all__ if isinstance(getattr(checkers, name), type)}
    assert offered == {kind.__name__ for kind in ALL}
    assert all(issubclass(kind, msgspec.Struct) for kind in ALL)


def test_no_two_checkers_of_the_core_share_a_name() -> None:
    names = [checker.name for checker in CORE]
    assert len(set(names)) == len(names) == 10
