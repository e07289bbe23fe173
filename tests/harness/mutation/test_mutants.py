"""The mutants themselves: that there are enough, aimed at everything, and that each still finds its seam."""

from __future__ import annotations

import sys

import msgspec
import pytest

from poolproof.harness.compare.comparison import RunResult
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.mutation.bugs import faces as bugs_faces
from poolproof.harness.mutation.bugs.kinds import KINDS
from poolproof.harness.mutation.check import Task, as_cell, plan
from poolproof.harness.mutation.job import BROKEN
from poolproof.harness.mutation.lifecycle_tests.lifecycle_test import LifecycleTest, claim, wait_until
from poolproof.harness.mutation.mutant import BOTH, EXECUTE, FIXES, GUARANTEES, Mutant
from poolproof.harness.mutation.planting import PRODUCT, undo
from poolproof.harness.mutation.registry import all_mutants, all_stages, find_mutants
from poolproof.harness.mutation.worker import BUGS, command
from poolproof.harness.subjects.faces import FACES
from poolproof.pool_v2.core.circuit import Circuit
from poolproof.pool_v2.core.coordinator import Coordinator
from poolproof.pool_v2.core.ticket import Ticket
from poolproof.pool_v2.core.worker_table import Limits

MUTANTS = all_mutants()


def test_there_are_enough_bugs_and_each_guarantee_and_fix_has_one() -> None:
    bugs = [mutant for mutant in MUTANTS if not mutant.equivalent]
    assert len({mutant.name for mutant in bugs}) >= 30
    assert {guarantee for mutant in bugs for guarantee in mutant.breaks} == set(GUARANTEES)
    assert {mutant.fix for mutant in bugs} - {""} == set(FIXES)
    assert len({mutant.key for mutant in MUTANTS}) == len(MUTANTS)
    for pool in BOTH:
        assert sum(mutant.equivalent and mutant.pool == pool for mutant in MUTANTS) >= 3
    assert {mutant.worker for mutant in bugs} - {""} == set(BUGS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.key)
def test_each_bug_finds_its_place_and_can_be_taken_out_again(mutant: Mutant) -> None:
    before = _product()
    try:
        mutant.plant()
    finally:
        names = undo()
    assert names or mutant.worker
    assert _product() == before


def _product() -> dict[str, object]:
    # Everything that a module or a class of the product defines, by name.
    found: dict[str, object] = {}
    for module_name, module in list(sys.modules.items()):
        if module_name.split(".")[0] in {name.split(".")[0] for name in PRODUCT} and "selfcheck" not in module_name:
            for name, value in list(vars(module).items()):
                found[f"{module_name}.{name}"] = value
                if isinstance(value, type) and value.__module__ == module_name:
                    found |= {f"{module_name}.{name}.{inner}": each for inner, each in vars(value).items()}
    return {name: id(value) for name, value in found.items()}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.key)
def test_each_mutant_is_run_where_its_pool_can_be(mutant: Mutant) -> None:
    stages = all_stages()
    assert mutant.about.endswith(".")
    assert plan([mutant], [1], full=False).runs == 2 * len(mutant.scenarios)
    for name in mutant.scenarios:
        assert name in stages
        assert stages[name].budget_s <= 30.0


def test_the_reversed_queue_is_reversed_where_a_worker_is_handed_on() -> None:
    assert _served_next() == 1
    (lifo,) = find_mutants(["v2.lifo_queue"])
    try:
        lifo.plant()
        assert _served_next() == 3
    finally:
        undo()
    assert _served_next() == 1


def _served_next() -> int:
    # Three calls wait for the only worker, which is given back: whose it is then.
    core = Coordinator("literal", Circuit(failures_to_open=3, reset_s=1.0), Limits(size=1, floor=1, most=1))
    core.ready(core.started(1, 0), 0)
    tickets = [Ticket(call) for call in range(4)]
    for ticket in tickets:
        core.enter(ticket, 0)
    (woken,) = core.leave(tickets[0], 0, clean=True)
    return woken.call


def test_a_mutant_that_is_observed_says_why_and_the_others_are_run_as_shipped() -> None:
    seen = {mutant.name: mutant.observed for mutant in MUTANTS}
    assert not seen["lifo_queue"]
    assert seen["starts_in_turn"]
    assert seen["wrong_value_observed"]
    assert sum(seen.values()) < len(seen) / 10
    (starts, few) = find_mutants(["v2.starts_in_turn", "v2.wrong_value_lease"])
    assert {(task.face, task.observed) for task in plan([starts], [1], full=True).good} == {(EXECUTE, True)}
    whole = plan([few], [1], full=True)
    assert {(task.face, task.observed) for task in (*whole.good, *whole.trails[0].tasks)} == {("lease", False)}
    assert "abandoned_lease" not in {task.scenario for task in whole.good}  # a lifecycle test calls in its own way


def test_every_face_exists_and_has_bugs_of_each_kind() -> None:
    by_face: dict[str, set[str]] = {}
    for mutant in bugs_faces.MUTANTS:
        by_face.setdefault(mutant.face, set()).update(kind for kind in KINDS if mutant.name.startswith(kind))
    assert by_face.keys() <= FACES.keys()
    # The same code, or none of it. The bugs of `migrating_tasks` are those of two pools: tests/migration/test_faces.py.
    same = {"uvloop", "zygote", "foreign_worker", "migrating_v1", "migrating_moving", "migrating_tasks"}
    assert FACES.keys() - by_face.keys() == same
    assert all(kinds == set(KINDS) for kinds in by_face.values())


def test_mutants_are_found_by_name_in_both_pools_or_one() -> None:
    assert [mutant.key for mutant in find_mutants(["double_unwrapping"])] == [
        "v1.double_unwrapping",
        "v2.double_unwrapping",
    ]
    assert [mutant.key for mutant in find_mutants(["v2.lifo_queue"])] == ["v2.lifo_queue"]
    assert len(find_mutants([])) == len(MUTANTS)
    with pytest.raises(UsageError, match="'lifo_qeue'; did you mean 'lifo_queue'"):
        find_mutants(["lifo_qeue"])


def test_the_full_plan_takes_every_mutant_everywhere_that_its_pool_can_go() -> None:
    (lifo,) = find_mutants(["v2.lifo_queue"])
    whole = plan([lifo], [1], full=True)
    (trail,) = whole.trails
    assert {task.scenario for task in whole.good} == {task.scenario for task in trail.tasks} == set(all_stages())
    assert {(task.face, task.observed) for task in trail.tasks} == {(EXECUTE, False)}
    (reset,) = find_mutants(["v1_counters_reset"])
    trails = plan([reset], [1, 2], full=True).trails
    assert [{task.seed for task in trail.tasks} for trail in trails] == [{1}, {2}]
    names = {task.scenario for trail in trails for task in trail.tasks}
    assert {"session_counters", "any_json"} <= names
    assert not names & {"full_queue", "abandoned_lease"}  # which the legacy pool does not promise


def test_a_trail_begins_where_the_bug_should_be_found_out_and_goes_on_to_what_it_breaks() -> None:
    (lost,) = find_mutants(["v2.hand_off_lost"])
    (trail,) = plan([lost], [1], full=True).trails
    names = [task.scenario for task in trail.tasks]
    assert names[0] == "crossed_hand_off"
    about = [bool({"G9"} & set(all_stages()[name].guarantees)) for name in names[1:]]
    assert about == sorted(about, reverse=True)
    assert any(about)


def test_controls_are_run_once_for_all_mutants_of_a_pool() -> None:
    whole = plan(find_mutants(["double_unwrapping", "objects_only"]), [1], full=False)
    assert [task.subject for task in whole.good] == ["v1", "v2"]
    bugs = [task.subject for trail in whole.trails for task in trail.tasks]
    assert sorted(bugs) == ["v1.double_unwrapping", "v1.objects_only", "v2.double_unwrapping", "v2.objects_only"]
    assert whole.runs == 6


def test_equivalents_are_good_pools_and_are_run_to_the_end() -> None:
    whole = plan(find_mutants(["v2.stdlib_json"]), [1], full=False)
    assert whole.trails == ()
    assert {task.subject for task in whole.good} == {"v2", "v2.stdlib_json"}
    assert plan(find_mutants(["v2.stdlib_json"]), [1], full=True) == whole
    everywhere = plan(find_mutants(["v2.stdlib_json"]), [1], full=True, exhaustive=True)
    assert everywhere.runs == 2 * len(all_stages())
    assert [bool(task.mutant) for task in whole.good] == sorted(bool(task.mutant) for task in whole.good)


def test_stages_have_names_of_their_own_and_say_what_they_show() -> None:
    for name, stage in all_stages().items():
        assert stage.name == name
        assert stage.summary
        assert isinstance(stage, Scenario | LifecycleTest)
        if isinstance(stage, LifecycleTest):
            assert set(stage.guarantees) <= set(GUARANTEES)
    assert "{worker_id}" in command("merge_stderr")


def test_a_cell_keeps_what_is_declared_for_the_unmutated_pool() -> None:
    stage = all_stages()["parallel_calls"]
    found = claim("overlap", ("G10",), False, "serial")
    result = RunResult(
        scenario="parallel_calls", pool="v1.m", seed=1, verdict=Verdict.FAIL, findings=(found,), trouble="late"
    )
    cell = as_cell(Task(1, "v1", "m", "parallel_calls"), stage, result)
    assert cell.judgements[0].declared
    assert (cell.verdict, cell.trouble) == (Verdict.UNKNOWN, "late")
    assert as_cell(Task(1, "v2", "m", "parallel_calls"), stage, result).verdict is Verdict.FAIL
    broken = as_cell(Task(1, "v2", "m", "x"), stage, msgspec.structs.replace(result, trouble=BROKEN + "TypeError"))
    assert (broken.broken, broken.trouble) == ("TypeError", "")


def test_a_claim_that_nobody_can_decide_is_unknown() -> None:
    verdicts = [claim("c", (), holds, "told").verdict for holds in (True, False, None)]
    assert verdicts == [Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN]
    assert not wait_until(lambda: False, 0.0)
    assert wait_until(lambda: True, 0.0)
