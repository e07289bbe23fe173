"""May the candidate replace the baseline? Each rule with a literal comparison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from poolproof.harness.compare.comparison import RunResult, Speed
from poolproof.harness.compare.differential import Answers, OpDifference
from poolproof.harness.compare.judge import compare_scenario, judge
from poolproof.harness.model.checker import Finding
from poolproof.harness.model.intended import DifferenceKind
from poolproof.harness.model.scenario import IntendedDifference
from poolproof.harness.model.verdict import Decision, Verdict, worst

PASS, UNKNOWN, FAIL = Verdict.PASS, Verdict.UNKNOWN, Verdict.FAIL
NO_ANSWERS = Answers()
TODAY = "2026-06-30"
WRONG = Answers(
    compared=9,
    differences=(
        OpDifference(
            index=3, command="get", label="one", kind=DifferenceKind.VALUE, text="operation 3 (get): 1 became 2"
        ),
    ),
)


def found(checker: str, verdict: Verdict) -> Finding:
    return Finding(checker=checker, verdict=verdict, claim=f"{checker} claims {verdict}")


def result(pool: str, *findings: Finding, **fields: Any) -> RunResult:
    verdict = worst(finding.verdict for finding in findings)
    return RunResult(scenario="tiny", pool=pool, seed=1, verdict=verdict, findings=findings, **fields)


def speed(low: float, high: float) -> Speed:
    return Speed(
        scenario="tiny",
        metric="throughput",
        baseline=100.0,
        candidate=100.0,
        ratio=(low + high) / 2,
        low=low,
        high=high,
        blocks=24,
    )


Judge = Callable[..., Any]


@pytest.fixture
def decide(tiny: Callable[..., Any]) -> Judge:
    """The judgement over one scenario with these results."""

    def make(
        baseline: RunResult,
        candidate: RunResult,
        *declared: tuple[str, str] | IntendedDifference,
        answers: Answers = NO_ANSWERS,
        **more: Any,
    ) -> Any:
        differences = tuple(
            d
            if isinstance(d, IntendedDifference)
            else IntendedDifference(pool=d[0], checker=d[1], reason=f"{d[0]} is so")
            for d in declared
        )
        scenario = tiny(intended_differences=differences)
        row = compare_scenario(scenario, baseline, candidate, answers, today=TODAY)
        return judge([row], **more)

    return make


GOOD_V1 = result("v1", found("fifo", PASS))
GOOD_V2 = result("v2", found("fifo", PASS))
BAD_V1 = result("v1", found("fifo", FAIL))
BAD_V2 = result("v2", found("fifo", FAIL))
BLIND_V1 = result("v1", found("fifo", UNKNOWN))
BLIND_V2 = result("v2", found("fifo", UNKNOWN))
SKIPPED_V1 = result("v1", skipped="v1 lacks kill")
SKIPPED_V2 = result("v2", skipped="v2 lacks kill")


def test_two_pools_that_pass_everything_are_safe(decide: Judge) -> None:
    judged = decide(GOOD_V1, GOOD_V2, answers=Answers(compared=7))
    assert judged.decision is Decision.SAFE
    assert judged.reasons[0] == "v2 passes the one scenario that was run"
    assert "7 operations were compared" in judged.reasons[1]
    assert judged.warnings == ()


def test_a_declared_weakness_of_the_baseline_is_the_case_for_the_migration(decide: Judge) -> None:
    judged = decide(BAD_V1, GOOD_V2, ("v1", "fifo"))
    assert judged.decision is Decision.SAFE
    assert "v1 fails tiny, as declared beforehand: v1 is so" in judged.reasons
    assert judged.warnings == ()


def test_a_weakness_of_the_baseline_that_nobody_declared_is_unsafe(decide: Judge) -> None:
    judged = decide(BAD_V1, GOOD_V2)
    assert judged.decision is Decision.UNSAFE
    assert (
        "v1, face execute, observed, the baseline, fails fifo, and the scenario does not declare it"
        in judged.reasons[0]
    )


@pytest.mark.parametrize("declared", [("v2", "fifo"), ("v1", "overlap")])
def test_a_declaration_for_another_pool_or_checker_excuses_nothing(decide: Judge, declared: tuple[str, str]) -> None:
    assert decide(BAD_V1, GOOD_V2, declared).decision is Decision.UNSAFE


def test_a_failure_of_the_candidate_is_unsafe(decide: Judge) -> None:
    judged = decide(GOOD_V1, BAD_V2)
    assert judged.decision is Decision.UNSAFE
    assert judged.reasons == ("tiny: v2, face execute, observed fails fifo: fifo claims fail",)


def test_a_declared_failure_of_the_candidate_is_unsafe_if_the_baseline_passes(decide: Judge) -> None:
    judged = decide(GOOD_V1, BAD_V2, ("v2", "fifo"))
    assert judged.decision is Decision.UNSAFE
    assert "which v1 passes" in judged.reasons[0]


def test_the_weak_pool_may_not_replace_the_strong_one(decide: Judge) -> None:
    assert decide(GOOD_V2, BAD_V1, ("v1", "fifo")).decision is Decision.UNSAFE


def test_a_pool_with_a_declared_weakness_may_replace_its_like(decide: Judge) -> None:
    judged = decide(BAD_V1, BAD_V1, ("v1", "fifo"))
    assert judged.decision is Decision.SAFE
    assert judged.reasons[0] == "v1 fails only what v1 fails too, in 1 scenarios"
    assert not any("passes all" in reason for reason in judged.reasons)


def test_a_failure_of_both_that_nobody_declared_is_unsafe(decide: Judge) -> None:
    assert decide(BAD_V1, BAD_V2).decision is Decision.UNSAFE


@pytest.mark.parametrize(("baseline", "candidate"), [(BLIND_V1, GOOD_V2), (GOOD_V1, BLIND_V2), (BLIND_V1, BLIND_V2)])
def test_unknown_is_never_safe(decide: Judge, baseline: RunResult, candidate: RunResult) -> None:
    judged = decide(baseline, candidate, ("v1", "fifo"), ("v2", "fifo"))
    assert judged.decision is Decision.INCONCLUSIVE
    assert any("could not decide" in reason for reason in judged.reasons)


def test_what_is_unsafe_is_told_before_what_is_unknown(decide: Judge) -> None:
    judged = decide(BLIND_V1, BAD_V2)
    assert judged.decision is Decision.UNSAFE
    assert "v2, face execute, observed fails fifo" in judged.reasons[0]
    assert "v1, face execute, observed: the checker fifo could not decide" in judged.reasons[1]


def test_a_run_with_trouble_is_inconclusive_though_its_findings_pass(decide: Judge) -> None:
    troubled = result("v2", found("fifo", PASS), trouble="the run was cut off")
    judged = decide(GOOD_V1, troubled)
    assert judged.decision is Decision.INCONCLUSIVE
    assert judged.reasons == ("tiny on v2, face execute, observed: the run was cut off",)


def test_a_run_in_which_nothing_was_checked_is_inconclusive(decide: Judge) -> None:
    judged = decide(GOOD_V1, result("v2"))
    assert judged.decision is Decision.INCONCLUSIVE
    assert judged.reasons == ("tiny on v2, face execute, observed: no checker was asked",)


@pytest.mark.parametrize(("baseline", "candidate"), [(SKIPPED_V1, GOOD_V2), (GOOD_V1, SKIPPED_V2)])
def test_a_scenario_that_one_pool_skipped_is_inconclusive(
    decide: Judge, baseline: RunResult, candidate: RunResult
) -> None:
    judged = decide(baseline, candidate)
    assert judged.decision is Decision.INCONCLUSIVE
    assert "was run on one of the two pools only" in judged.reasons[0]
    assert "lacks kill" in judged.reasons[0]


def test_a_scenario_whose_capability_the_baseline_lacks_is_asked_of_the_candidate_alone(decide: Judge) -> None:
    lacking = result("v1", skipped="v1 lacks resize", lacks=("resize",))
    judged = decide(lacking, GOOD_V2)
    assert judged.decision is Decision.SAFE
    assert judged.not_asked == ("tiny: asked of v2 alone, since v1 lacks resize",)
    assert decide(lacking, result("v2", found("fifo", FAIL))).decision is Decision.UNSAFE
    assert decide(lacking, SKIPPED_V2).decision is Decision.INCONCLUSIVE


def test_a_scenario_whose_capability_the_candidate_lacks_is_inconclusive(decide: Judge) -> None:
    judged = decide(GOOD_V1, result("v2", skipped="v2 lacks resize", lacks=("resize",)))
    assert judged.decision is Decision.INCONCLUSIVE
    assert judged.reasons == ("tiny was run on one of the two pools only: v2 lacks resize",)


def test_a_scenario_that_both_pools_skipped_is_a_warning(tiny: Callable[..., Any]) -> None:
    scenarios = [tiny(), tiny(name="other")]
    rows = [
        compare_scenario(scenarios[0], GOOD_V1, GOOD_V2, NO_ANSWERS, today=TODAY),
        compare_scenario(scenarios[1], SKIPPED_V1, SKIPPED_V2, NO_ANSWERS, today=TODAY),
    ]
    judged = judge(rows)
    assert judged.decision is Decision.SAFE
    assert judged.reasons[0] == "v2 passes the one scenario that was run"
    assert judged.warnings == ("other was not run: v2 lacks kill",)


def test_when_every_scenario_was_skipped_nothing_is_known(decide: Judge) -> None:
    assert decide(SKIPPED_V1, SKIPPED_V2).decision is Decision.INCONCLUSIVE


def test_no_scenario_at_all_is_inconclusive() -> None:
    judged = judge([])
    assert judged.decision is Decision.INCONCLUSIVE
    assert judged.reasons == ("no scenario was run on both pools",)


def test_a_difference_that_was_declared_and_not_seen_is_a_warning(decide: Judge) -> None:
    judged = decide(GOOD_V1, GOOD_V2, ("v1", "fifo"))
    assert judged.decision is Decision.SAFE
    assert judged.warnings == ("tiny: v1 was declared to fail fifo, but did not fail it",)


def test_a_pool_that_did_not_run_is_not_expected_to_fail(decide: Judge) -> None:
    assert decide(GOOD_V2, GOOD_V2, ("v1", "fifo")).warnings == ()
    assert not any("did not" in warning for warning in decide(SKIPPED_V1, SKIPPED_V2, ("v1", "fifo")).warnings)


def test_answers_that_differ_undeclared_are_unsafe(decide: Judge) -> None:
    judged = decide(GOOD_V1, GOOD_V2, answers=WRONG)
    assert judged.decision is Decision.UNSAFE
    assert (
        "the answers differ, and the scenario does not declare it: 1 of 9 answers differ: operation 3"
        in judged.reasons[0]
    )


def test_answers_that_were_declared_to_differ_are_part_of_the_case(decide: Judge) -> None:
    judged = decide(GOOD_V1, GOOD_V2, answer_entry(label="one"), answers=WRONG)
    assert judged.decision is Decision.SAFE
    assert "v1 fails tiny, as declared beforehand: v1 is so" in judged.reasons


def test_a_slow_candidate_is_unsafe(decide: Judge) -> None:
    judged = decide(GOOD_V1, GOOD_V2, speeds=[speed(0.7, 0.94)])
    assert judged.decision is Decision.UNSAFE
    assert "0.82 times the baseline's throughput" in judged.reasons[0]


def test_a_loss_that_cannot_be_excluded_is_inconclusive(decide: Judge) -> None:
    judged = decide(GOOD_V1, GOOD_V2, speeds=[speed(0.94, 1.2)])
    assert judged.decision is Decision.INCONCLUSIVE
    assert "a loss of 5% cannot be excluded" in judged.reasons[0]


@pytest.mark.parametrize("ends", [(0.95, 1.0), (0.96, 0.99), (3.9, 4.1)])
def test_a_candidate_that_is_no_slower_is_safe(decide: Judge, ends: tuple[float, float]) -> None:
    judged = decide(GOOD_V1, GOOD_V2, speeds=[speed(*ends)])
    assert judged.decision is Decision.SAFE
    assert "95 % interval" in judged.reasons[1]


def test_a_measurement_that_failed_is_inconclusive(decide: Judge) -> None:
    judged = decide(GOOD_V1, GOOD_V2, troubles=["the speed could not be measured"])
    assert judged.decision is Decision.INCONCLUSIVE
    assert judged.reasons == ("the speed could not be measured",)


def test_a_fast_candidate_with_one_wrong_answer_is_unsafe(decide: Judge) -> None:
    assert decide(GOOD_V1, GOOD_V2, answers=WRONG, speeds=[speed(4, 5)]).decision is Decision.UNSAFE


def test_a_comparison_of_a_scenario_keeps_what_it_is_about(tiny: Callable[..., Any]) -> None:
    scenario = tiny(failures=("F1",), guarantees=("G1",))
    row = compare_scenario(scenario, GOOD_V1, GOOD_V2, Answers(compared=3), today=TODAY)
    assert (row.name, row.summary, row.failures, row.guarantees) == ("tiny", "a few echoes", ("F1",), ("G1",))
    assert (row.baseline, row.candidate, row.answers_compared, row.differences) == (GOOD_V1, GOOD_V2, 3, ())


def answer_entry(**fields: Any) -> IntendedDifference:
    return IntendedDifference(pool="v1", checker="answers", reason="v1 is so", **fields)


@pytest.mark.parametrize(
    "fields", [{"label": "one"}, {"kind": DifferenceKind.VALUE}, {"label": "one", "kind": DifferenceKind.VALUE}]
)
def test_an_entry_for_answers_excuses_the_operations_that_it_names(decide: Judge, fields: dict[str, Any]) -> None:
    judged = decide(GOOD_V1, GOOD_V2, answer_entry(**fields), answers=WRONG)
    assert (judged.decision, judged.warnings) == (Decision.SAFE, ())


@pytest.mark.parametrize(
    "fields",
    [
        {"label": "other"},
        {"kind": DifferenceKind.ERROR_CLASS},
        {"label": "one", "kind": DifferenceKind.INDETERMINATE},
        {"label": "one", "until": "2026-06-29"},
    ],
)
def test_an_entry_for_answers_excuses_no_others(decide: Judge, fields: dict[str, Any]) -> None:
    judged = decide(GOOD_V1, GOOD_V2, answer_entry(**fields), answers=WRONG)
    assert judged.decision is Decision.UNSAFE
    assert "the answers differ, and the scenario does not declare it" in judged.reasons[0]
    assert ("ran out on 2026-06-29" in judged.reasons[0]) == ("until" in fields)


def test_outcomes_that_differ_are_not_told_as_a_share_of_the_answers(decide: Judge) -> None:
    judged = decide(GOOD_V1, GOOD_V2, answers=Answers(compared=0, differences=WRONG.differences))
    assert "does not declare it: 1 outcomes differ: operation 3" in judged.reasons[0]


def test_one_excused_operation_does_not_hide_another(decide: Judge) -> None:
    (first,) = WRONG.differences
    second = OpDifference(index=4, command="get", label="two", kind=DifferenceKind.VALUE, text="operation 4 (get): bad")
    judged = decide(
        GOOD_V1, GOOD_V2, answer_entry(label="one"), answers=Answers(compared=9, differences=(first, second))
    )
    assert judged.reasons == (
        "tiny: the answers differ, and the scenario does not declare it: 1 of 9 answers differ: operation 4 (get): bad",
    )


def test_an_entry_counts_up_to_its_last_day_and_says_so_when_it_has_run_out(decide: Judge) -> None:
    def entry(until: str) -> IntendedDifference:
        return IntendedDifference(pool="v1", checker="fifo", reason="v1 is so", until=until)

    assert decide(BAD_V1, GOOD_V2, entry(TODAY)).decision is Decision.SAFE
    judged = decide(BAD_V1, GOOD_V2, entry("2026-06-29"))
    assert judged.decision is Decision.UNSAFE
    assert judged.reasons == (
        "tiny: v1, face execute, observed, the baseline, fails fifo, and the scenario does not declare it (its "
        "intended_differences "
        "may declare it): "
        "fifo claims fail (the declaration of this failure ran out on 2026-06-29: v1 is so)",
    )
    assert decide(BAD_V1, GOOD_V2, entry("2026-06-29"), entry("2026-12-31")).decision is Decision.SAFE


def test_answers_that_were_declared_to_differ_and_do_not_are_a_warning(decide: Judge) -> None:
    entry = answer_entry(label="gone", kind=DifferenceKind.VALUE, until="2026-01-01")
    judged = decide(GOOD_V1, GOOD_V2, entry, answers=Answers(compared=4))
    assert judged.warnings == (
        "tiny: v1 was declared to give different answers where the label is 'gone' in value, but gave none; "
        "the declaration ran out on 2026-01-01",
    )
    assert decide(GOOD_V1, GOOD_V2, entry).warnings == (), "nothing was compared"


def test_a_hook_that_broke_leaves_the_comparison_undecided(decide: Judge) -> None:
    judged = decide(GOOD_V1, GOOD_V2, answers=Answers(compared=4, undecided=("operation 1 (get): it broke",)))
    assert judged.decision is Decision.INCONCLUSIVE
    assert judged.reasons == ("tiny: operation 1 (get): it broke",)


def test_operations_that_hooks_left_out_are_told(decide: Judge) -> None:
    judged = decide(GOOD_V1, GOOD_V2, answers=Answers(compared=4, ignored=2))
    assert "4 operations were compared between the pools" in judged.reasons[1]
    assert judged.reasons[1].endswith("; 2 more answers were left out, as the scenarios' comparing hooks demand")


def test_a_part_of_the_scenarios_is_not_said_to_be_all(tiny: Callable[..., Any]) -> None:
    compared = compare_scenario(tiny(), GOOD_V1, GOOD_V2, Answers(compared=7), today=TODAY)
    assert judge([compared], total=39).reasons[0] == "v2 passes 1 of 39 scenarios; only this one ran"
    assert judge([compared], total=1).reasons[0] == "v2 passes the one scenario that was run"
