"""The view says what the comparison says, in words that leave nothing to decide."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from poolproof.harness.compare.comparison import Comparison, Metrics, RunResult
from poolproof.harness.model.checker import Finding
from poolproof.harness.model.verdict import Decision, Verdict
from poolproof.reports.sections.section import Tone
from poolproof.reports.view import FIGURES, build_view
from poolproof.reports.view.scenarios import figures

MakeResult = Callable[..., RunResult]
MakeComparison = Callable[..., Comparison]


def test_a_safe_comparison_says_so_with_its_ratio_interval_and_overlap(make_comparison: MakeComparison) -> None:
    view = build_view(make_comparison())
    assert (view.decision, view.tone, view.headline) == ("SAFE", Tone.GOOD, "v2 may replace v1.")
    told = " ".join(f"{tile.label} {tile.figure} {tile.note}" for tile in view.tiles)
    assert "3.98 ×" in told
    assert "95 % interval 3.90 to 4.01" in told
    assert "v1: 1  v2: 4" in told
    assert "it is serial" in told
    assert view.settles == ()


def test_a_declared_failure_is_the_case_for_migration_and_no_error(make_comparison: MakeComparison) -> None:
    row = build_view(make_comparison()).rows[0]
    assert (row.baseline.tone, row.baseline.word, row.baseline.note) == (
        Tone.DECLARED,
        "fails as declared",
        "one manager",
    )
    assert (row.candidate.tone, row.candidate.word) == (Tone.GOOD, "passes")
    assert build_view(make_comparison()).case == ("parallel_calls: one manager",)


def test_an_undeclared_failure_is_bad_and_names_its_checker(
    make_comparison: MakeComparison, make_result: MakeResult
) -> None:
    comparison = make_comparison(candidate=make_result("v2", Verdict.FAIL), reason="", decision=Decision.UNSAFE)
    view = build_view(comparison)
    assert view.headline == "v2 may not replace v1."
    cell = view.rows[0].candidate
    assert (cell.tone, cell.word) == (Tone.BAD, "fails")
    assert cell.note.startswith("overlap: ")


def test_trouble_unknown_and_nothing_checked_are_doubt_and_never_a_pass(
    make_comparison: MakeComparison, make_result: MakeResult
) -> None:
    for result in (
        make_result("v2", trouble="the budget was over"),
        make_result("v2", Verdict.UNKNOWN),
        make_result("v2", Verdict.UNKNOWN, findings=()),
    ):
        comparison = make_comparison(candidate=result, decision=Decision.INCONCLUSIVE)
        view = build_view(comparison)
        assert view.rows[0].candidate.tone is Tone.DOUBT
        assert view.rows[0].candidate.note
        assert view.settles


def test_a_skipped_run_says_why(make_comparison: MakeComparison, make_result: MakeResult) -> None:
    skipped = make_result("v2", Verdict.UNKNOWN, findings=(), metrics=Metrics(), skipped="v2 lacks sessions")
    view = build_view(make_comparison(candidate=skipped, decision=Decision.INCONCLUSIVE))
    cell = view.rows[0].candidate
    assert (cell.tone, cell.word, cell.note, cell.figures) == (Tone.MUTED, "not run", "v2 lacks sessions", ())
    assert "choose only scenarios that both pools can run" in view.settles


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ({"speeds": "wide"}, "--profile full"),
        ({"fault": True}, "another seed"),
        ({"trouble": True}, "run it again"),
    ],
)
def test_an_open_question_says_what_would_settle_it(
    change: dict[str, object], advice: str, make_comparison: MakeComparison, make_result: MakeResult
) -> None:
    comparison = make_comparison(decision=Decision.INCONCLUSIVE)
    if "speeds" in change:
        wide = msgspec.structs.replace(comparison.speeds[0], low=0.8, high=1.3)
        comparison = msgspec.structs.replace(comparison, speeds=(wide,))
    if "fault" in change:
        found = Finding(checker="fault_landed", verdict=Verdict.UNKNOWN, claim="it never landed")
        comparison = make_comparison(candidate=make_result("v2", findings=(found,)), decision=Decision.INCONCLUSIVE)
    if "trouble" in change:
        comparison = make_comparison(candidate=make_result("v2", trouble="broke"), decision=Decision.INCONCLUSIVE)
    assert any(advice in told for told in build_view(comparison).settles)


def test_the_replay_line_repeats_the_run(make_comparison: MakeComparison) -> None:
    comparison = make_comparison(worker_command="python3 other.py --worker-id {worker_id}")
    assert build_view(comparison).rows[0].candidate.replay == (
        "poolproof run parallel_calls --pool v2 --seed 1 --workers 4 --clients 8 "
        "--worker-command 'python3 other.py --worker-id {worker_id}'"
    )
    row = msgspec.structs.replace(comparison.scenarios[0], file="my scenarios.py")
    comparison = msgspec.structs.replace(comparison, scenarios=(row,))
    assert build_view(comparison).rows[0].baseline.replay.startswith("poolproof run 'my scenarios.py' --pool v1")


def test_figures_that_were_not_recorded_are_dashes() -> None:
    shown = dict(figures(Metrics(), 2.0))
    assert tuple(shown) == FIGURES
    assert shown["throughput"] == shown["workers at work at the same time"] == shown["outcomes"] == "–"


def test_answers_that_differ_are_told_with_their_reason(make_comparison: MakeComparison) -> None:
    comparison = make_comparison()
    row = comparison.scenarios[0]
    assert build_view(comparison).rows[0].answers == "80 answers compared, all equal"
    difference = msgspec.structs.replace(row.differences[0], kind="answers", checker="answers", text="1 of 80 differ")
    for reason, told in (("by design", "(as declared beforehand: by design)"), ("", "(undeclared)")):
        changed = msgspec.structs.replace(row, differences=(msgspec.structs.replace(difference, reason=reason),))
        view = build_view(msgspec.structs.replace(comparison, scenarios=(changed,)))
        assert view.rows[0].answers == f"1 of 80 differ {told}"
