"""Delta debugging over selections of a plan: small, sound, and bounded by whoever answers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolproof.harness.model.checker import Finding
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.model.workload import Step
from poolproof.harness.shrink.hints import hints_from
from poolproof.harness.shrink.reduction import Reduction, Spent, ddmin, size_of
from poolproof.harness.shrink.selection import Selection, Whole


@settings(deadline=None, max_examples=60)
@given(needed=st.sets(st.integers(0, 19), max_size=5))
def test_exactly_the_needed_items_are_left(needed: set[int]) -> None:
    assert ddmin(range(20), lambda kept: needed <= set(kept)) == sorted(needed)


@settings(deadline=None, max_examples=60)
@given(st.sets(st.frozensets(st.integers(0, 9), min_size=1), min_size=1, max_size=4))
def test_no_single_item_of_what_is_left_can_go(reasons: set[frozenset[int]]) -> None:
    def holds(kept: Sequence[int]) -> bool:
        return any(reason <= set(kept) for reason in reasons)

    left = ddmin(range(10), holds)
    assert holds(left)
    assert not any(holds([item for item in left if item != gone]) for gone in left)


def test_few_questions_are_asked_for_one_needed_item_of_many() -> None:
    asked: list[int] = []
    assert ddmin(range(256), lambda kept: bool(asked.append(len(kept))) or 77 in kept) == [77]
    assert len(asked) < 40


A, B, C = (Step(command="echo", label=label) for label in "abc")
WAITS = Step(command="ping", label="waits", after="b:done")
LAST = Step(command="ping", label="last", after="waits:sent")
KILL, CLOSE = Fault(kind=FaultKind.KILL, when="b:sent"), Fault(kind=FaultKind.CLOSE, after_s=0.1)
WHOLE = Whole(plan=((A, B, C), (WAITS,), (A, LAST)), faults=(KILL, CLOSE), workers=4)


def select(*ops: int, faults: tuple[int, ...] = (0, 1), workers: int = 4) -> Selection:
    return Selection(ops=frozenset(ops), faults=frozenset(faults), workers=workers)


def test_a_step_that_waits_for_one_that_is_gone_goes_too_and_so_does_its_fault() -> None:
    assert WHOLE.everything == select(0, 1, 2, 3, 4, 5)
    assert WHOLE.settle(select(0, 1, 2, 3, 4, 5)) == WHOLE.everything
    assert WHOLE.settle(select(0, 2, 3, 4, 5)) == select(0, 2, 4, faults=(1,))
    assert WHOLE.settle(select(1, 5)) == select(1)


def test_a_selection_becomes_a_plan_without_empty_clients() -> None:
    assert WHOLE.build(select(1, 4, faults=(1,))) == (((B,), (A,)), (CLOSE,))
    assert size_of(select(1, 4, faults=(1,), workers=2), WHOLE) == {"ops": 2, "clients": 2, "faults": 1, "workers": 2}


def test_a_reduction_finds_the_operations_the_fault_and_the_workers_that_are_needed() -> None:
    asked: list[Selection] = []

    def holds(selection: Selection) -> bool:
        asked.append(selection)
        return {1, 3} <= selection.ops and 0 in selection.faults and selection.workers >= 2

    reduction = Reduction(WHOLE, holds)
    assert reduction.carry_out() == ""
    assert reduction.best == select(1, 3, faults=(0,), workers=2)
    assert len(asked) == len(set(asked)), "nothing is asked twice"
    assert all(selection == WHOLE.settle(selection) and selection.ops for selection in asked)


def test_what_was_found_before_the_bound_is_kept_with_the_reason() -> None:
    left = 3

    def holds(selection: Selection) -> bool:
        nonlocal left
        if not left:
            raise Spent("three were enough")
        left -= 1
        return 1 in selection.ops

    reduction = Reduction(WHOLE, holds)
    assert reduction.carry_out() == "three were enough"
    assert 1 in reduction.best.ops
    assert len(reduction.best.ops) < 6


@pytest.mark.parametrize("workers", [1, 2, 3, 5, 8, 1024])
def test_workers_are_reduced_to_what_is_needed_or_near_it(workers: int) -> None:
    whole = Whole(plan=((A,),), faults=(), workers=1024)
    reduction = Reduction(whole, lambda selection: selection.workers >= workers)
    assert reduction.carry_out() == ""
    assert workers <= reduction.best.workers <= max(1, 2 * workers)


def test_a_hint_that_holds_saves_the_search() -> None:
    whole = Whole(plan=((Step(command="echo"),) * 300,), faults=(), workers=1)
    asked: list[int] = []

    def holds(selection: Selection) -> bool:
        asked.append(len(selection.ops))
        return 211 in selection.ops

    reduction = Reduction(whole, holds, hints=[frozenset({7}), frozenset({211, 7})])
    assert reduction.begin()
    assert reduction.carry_out() == ""
    assert reduction.best.ops == frozenset({211})
    assert asked[:2] == [1, 2]
    assert len(asked) <= 6


def test_hints_are_the_named_calls_then_their_sessions_then_what_came_before() -> None:
    put, get = Step(command="put", session="s"), Step(command="get", session="s")
    whole = Whole(plan=((put, Step(command="echo"), get), (Step(command="echo"), get)), faults=(), workers=1)
    found = Finding(checker="sessions", verdict=Verdict.FAIL, claim="", examples=("session 's', call 4: wrong",))
    assert hints_from(found, whole) == [frozenset({0, 2, 4}), frozenset({4}), frozenset({3, 4})]
    nameless = Finding(checker="conserved", verdict=Verdict.FAIL, claim="", examples=("2 is not 1",))
    assert hints_from(nameless, whole) == [frozenset({0})]
