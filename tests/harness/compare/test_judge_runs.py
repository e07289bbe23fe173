"""Every run of a scenario counts: as shipped, observed, and through each face; a reason names the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from poolproof.harness.compare.cells import count_faces
from poolproof.harness.compare.comparison import RunResult
from poolproof.harness.compare.differential import Answers, compare_answers
from poolproof.harness.compare.judge import Beside, Judgement, compare_scenario, judge
from poolproof.harness.model.checker import Finding
from poolproof.harness.model.intended import IntendedDifference
from poolproof.harness.model.verdict import Decision, Verdict

TODAY = "2026-06-30"


def made(pool: str, verdict: Verdict = Verdict.PASS, checker: str = "own_answer", **fields: Any) -> RunResult:
    found = Finding(checker=checker, verdict=verdict, claim="so it is")
    usual: dict[str, Any] = {"observed": False, "findings": (found,), "verdict": verdict}
    return RunResult(scenario="tiny", pool=pool, seed=1, **{**usual, **fields})


@pytest.fixture
def decide(tiny: Callable[..., Any]) -> Callable[..., Judgement]:
    """The judgement over one scenario with these further runs of the candidate."""

    def make(
        *more: RunResult, main: RunResult | None = None, beside: tuple[Beside, ...] = (), **fields: Any
    ) -> Judgement:
        row = compare_scenario(
            tiny(**fields),
            made("v1"),
            main or made("v2"),
            Answers(),
            more=((), more),
            beside=beside,
            today=TODAY,
        )
        return judge([row])

    return make


def test_good_runs_are_safe_and_counted(decide: Callable[..., Judgement]) -> None:
    judged = decide(made("v2", observed=True), made("v2", face="asyncio"))
    assert judged.decision is Decision.SAFE
    assert (
        judged.reasons[0]
        == "v2 passes the one scenario that was run, in 3 runs: without an observer (as shipped), with one, and "
        "through 2 ways to call the pool (faces)"
    )


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"observed": True}, "v2, face execute, observed"),
        ({"face": "asyncio"}, "v2, face asyncio, not observed"),
    ],
)
def test_a_failure_in_one_of_many_runs_is_unsafe_and_named(
    decide: Callable[..., Judgement], fields: dict[str, Any], name: str
) -> None:
    judged = decide(made("v2", face="lease"), made("v2", Verdict.FAIL, **fields))
    assert judged.decision is Decision.UNSAFE
    assert judged.reasons == (f"tiny: {name} fails own_answer: so it is",)


def test_what_one_run_cannot_tell_is_inconclusive(decide: Callable[..., Judgement]) -> None:
    judged = decide(made("v2", Verdict.UNKNOWN, face="stream"))
    assert judged.decision is Decision.INCONCLUSIVE
    assert judged.reasons == (
        "tiny on v2, face stream, not observed: the checker own_answer could not decide: so it is",
    )
    broken = decide(made("v2", face="stream", trouble="it broke"))
    assert broken.reasons == ("tiny on v2, face stream, not observed: it broke",)


def test_a_checker_that_was_asked_in_no_run_is_not_passed(decide: Callable[..., Judgement]) -> None:
    shipped = made("v2", unasked=("fifo",))
    judged = decide(main=shipped)
    assert judged.decision is Decision.INCONCLUSIVE
    assert judged.reasons == (
        "tiny on v2: the checker fifo was asked in no run, because it needs the events that a pool reports",
    )
    assert decide(made("v2", checker="fifo", observed=True), main=shipped).decision is Decision.SAFE


def test_a_declared_difference_that_shows_in_one_run_was_seen(tiny: Callable[..., Any]) -> None:
    entry = IntendedDifference(pool="v1", checker="fifo", reason="it is so")
    row = compare_scenario(
        tiny(intended_differences=(entry,)),
        made("v1"),
        made("v2"),
        Answers(),
        more=((made("v1", Verdict.FAIL, "fifo", observed=True),), ()),
        today=TODAY,
    )
    assert row.not_seen == ()
    assert judge([row]).decision is Decision.SAFE


def test_other_answers_of_the_same_pool_are_unsafe(decide: Callable[..., Judgement], build: Any) -> None:
    one, other = made("v2"), made("v2", observed=True)
    answers = compare_answers(build.history(build.op(0, value=1)), build.history(build.op(0, value=2)))
    judged = decide(other, beside=(Beside(one=one, other=other, answers=answers),))
    assert judged.decision is Decision.UNSAFE
    (reason,) = judged.reasons
    assert "1 of 1 answers differ between v2, face execute, not observed and v2, face execute, observed" in reason


def test_cells_of_faces_count_each_run_of_the_candidate(tiny: Callable[..., Any]) -> None:
    row = compare_scenario(
        tiny(),
        made("v1"),
        made("v2"),
        Answers(),
        more=((made("v1", observed=True),), (made("v2", Verdict.UNKNOWN, face="lease"), made("v2", observed=True))),
        today=TODAY,
    )
    assert [(cell.face, cell.observed, cell.passed, cell.unknown) for cell in count_faces([row])] == [
        ("execute", False, 1, 0),
        ("execute", True, 1, 0),
        ("lease", False, 0, 1),
    ]
