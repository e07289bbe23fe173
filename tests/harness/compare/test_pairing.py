"""Which scenarios go through which face: every pair that can be met is met, and what a cap leaves out is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from poolproof.harness.checkers import OneOutcome
from poolproof.harness.compare.catalogue import all_scenarios
from poolproof.harness.compare.pairing import FaultGroup, choose, everything, fault_groups, workload_kinds
from poolproof.harness.model.face import Face
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Step, steady
from poolproof.harness.run.runner import Request, plan_of, why_skipped
from poolproof.harness.subjects.faces import ALL_FACES
from poolproof.harness.subjects.shipped import SUBJECTS

ONE, TWO = Face(name="one", summary="a face"), Face(name="two", summary="another")


def scenario(name: str, command: str = "echo", **fields: Any) -> Scenario:
    return Scenario(
        name=name,
        summary=name,
        checkers=(OneOutcome(),),
        **{"workload": steady(command, calls=1), "commands": (command,), **fields},
    )


PLAIN = scenario("plain")
SLEEP = scenario("sleeping", "sleep")
KILLS = scenario("kills", "sleep", faults=(Fault(kind=FaultKind.KILL),))
BOTH = scenario("both", workload=lambda _, __: ((Step(command="echo"), Step(command="sleep")),))


def plan(one: Scenario) -> Any:
    return plan_of(one, Request())


def anything(_: Scenario, __: Face) -> str:
    return ""


def pairs(cover: Any) -> list[tuple[str, str]]:
    return [(pick.face, pick.scenario) for pick in cover.picks]


def test_the_scenario_that_covers_most_is_taken_and_what_adds_nothing_is_not() -> None:
    cover = choose([PLAIN, SLEEP, BOTH], [ONE], plan, anything)
    assert (pairs(cover), cover.missing) == ([("one", "both")], ())
    cover = choose([PLAIN, SLEEP, KILLS], [ONE], plan, anything)
    assert sorted(pairs(cover)) == [("one", "kills"), ("one", "plain")]


def test_what_a_face_cannot_carry_is_not_asked_of_it() -> None:
    cover = choose([PLAIN, KILLS], [ONE, TWO], plan, lambda one, face: "no" if (one, face) == (KILLS, TWO) else "")
    assert sorted(pairs(cover)) == [("one", "kills"), ("one", "plain"), ("two", "plain")]
    assert cover.missing == ()


def test_a_cap_leaves_pairs_open_and_tells_which() -> None:
    cover = choose([PLAIN, KILLS], [ONE], plan, anything, most=1)
    assert len(cover.picks) == 1
    assert set(cover.missing) == {("one", "no fault"), ("one", "plain")} or set(cover.missing) == {
        ("one", FaultGroup.DEATH.value),
        ("one", "waiting"),
    }


def test_smoke_scenarios_come_first_and_to_every_face_before_the_next() -> None:
    first, second = scenario("first", smoke=True), scenario("second", smoke=True)
    cover = choose([first, KILLS, second], [ONE, TWO], plan, anything, most=4)
    assert pairs(cover) == [("one", "first"), ("two", "first"), ("one", "second"), ("two", "second")]


def test_everything_is_the_whole_product() -> None:
    assert len(everything([PLAIN, SLEEP, KILLS], [ONE, TWO], anything).picks) == 6


@pytest.mark.parametrize(
    ("steps", "kinds"),
    [
        ((Step(command="echo"),), {"plain"}),
        ((Step(command="echo", args={"text": "x" * 5000}),), {"plain", "large"}),
        ((Step(command="put", session="s"), Step(command="blob")), {"session state", "sessions", "large"}),
        ((Step(command="exit", fault=FaultKind.EXIT),), set()),
    ],
)
def test_a_workload_has_its_kinds(steps: tuple[Step, ...], kinds: set[str]) -> None:
    assert workload_kinds(PLAIN, (steps,)) == kinds


def test_a_command_that_is_a_fault_counts_as_one() -> None:
    steps = (Step(command="exit", fault=FaultKind.EXIT), Step(command="odd_answer", fault=FaultKind.HALF_ANSWER))
    assert fault_groups(PLAIN, (steps,)) == {FaultGroup.DEATH, FaultGroup.SILENCE}
    assert fault_groups(PLAIN, ()) == {"no fault"}


@pytest.mark.parametrize("profile", ["quick", "smoke"])
def test_each_face_of_v2_meets_answers_of_every_size(profile: str, uses: Callable[[str], bool]) -> None:
    scenarios = [one for one in all_scenarios().values() if profile == "quick" or one.smoke]
    v1, v2 = SUBJECTS["v1"], SUBJECTS["v2"]
    request = Request(observed=False)

    def why_not(one: Scenario, face: Face) -> str:
        return why_skipped(one, v2, Request(observed=False, face=face.name), v1)

    faces = [face for face in ALL_FACES if uses(face.package)]
    cover = choose(scenarios, faces, lambda one: plan_of(one, request), why_not, most=100)
    for face in faces:
        met = {name for one, name in pairs(cover) if one == face.name}
        assert {"answer_sizes", "streamed_answers"} <= met
        assert "session_sizes" in met or face.name in {"lease", "asyncio_lease", "executor"}


@pytest.fixture
def uses() -> Callable[[str], bool]:
    """Whether a package that a face needs is there."""
    from importlib.util import find_spec

    return lambda package: not package or find_spec(package) is not None
