"""What a pool declares it cannot show is listed once and is not asked; what it only fails to show is unknown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from poolproof.bridge import Capability
from poolproof.harness.checkers import CORE, Overlap
from poolproof.harness.compare.comparison import RunResult
from poolproof.harness.compare.declared import declare, entries_of, read_ledger
from poolproof.harness.compare.differential import Answers
from poolproof.harness.compare.judge import compare_scenario, judge
from poolproof.harness.compare.undecided import collect
from poolproof.harness.model.checker import Finding
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.evidence import Evidence, evidence_of, is_blind
from poolproof.harness.model.intended import BASELINE, IntendedDifference, KnownFailure
from poolproof.harness.model.verdict import Decision, Verdict
from poolproof.harness.run.request import Request, hidden_evidence, why_blind
from poolproof.harness.subjects.pools import as_subject, find_pool
from poolproof.scenarios import CATALOGUE

Make = Callable[..., Any]
EVENTS = ("lives", "events")


def made(pool: str, **fields: Any) -> RunResult:
    found = Finding(checker="own_answer", verdict=Verdict.PASS, claim="so it is")
    usual: dict[str, Any] = {"observed": False, "findings": (found,), "verdict": Verdict.PASS}
    return RunResult(scenario="tiny", pool=pool, seed=1, **{**usual, **fields})


def row(tiny: Make, one: RunResult, other: RunResult, **fields: Any) -> Any:
    return compare_scenario(tiny(**fields), one, other, Answers(), today="2026-06-30")


def test_what_was_not_asked_is_said_once_and_does_not_stand_in_the_way(tiny: Make) -> None:
    rows = [row(tiny, made("old", not_asked=(EVENTS,)), made("new", not_asked=(EVENTS,))) for _ in range(4)]
    judged = judge(rows)
    assert judged.decision is Decision.SAFE
    assert len(judged.not_asked) == 1
    assert judged.not_asked[0].startswith("new and old declare no events, which these checkers need: lives")
    assert "docs/reference/capabilities.md" in judged.not_asked[0]
    assert [reason for reason in judged.reasons if reason.startswith("not asked of new")] != []


def test_a_pool_that_declares_its_events_and_shows_none_is_not_safe(tiny: Make) -> None:
    unknown = Finding(checker="lives", verdict=Verdict.UNKNOWN, claim="the pool reported no start of a worker")
    judged = judge([row(tiny, made("v1"), made("v2", findings=(unknown,), verdict=Verdict.UNKNOWN))])
    assert (judged.decision, judged.not_asked) == (Decision.INCONCLUSIVE, ())
    judged = judge([row(tiny, made("v1"), made("v2", unasked=("lives",)))])
    assert (judged.decision, judged.not_asked) == (Decision.INCONCLUSIVE, ())


def test_our_own_pools_are_asked_everything() -> None:
    for name in ("v1", "v2"):
        subject = find_pool(name)
        assert Capability.EVENTS in subject.capabilities
        assert hidden_evidence(subject, Request()) == frozenset()
        assert {why_blind(scenario, subject, Request()) for scenario in CATALOGUE.values()} == {""}


def test_a_scenario_that_is_skipped_for_lack_of_evidence_is_listed_and_no_other(tiny: Make) -> None:
    blind = made("new", findings=(), verdict=Verdict.UNKNOWN, skipped="no fault can be injected", blind=True)
    other = msgspec.structs.replace(blind, blind=False)
    good = row(tiny, made("old"), made("new"))
    judged = judge([good, row(tiny, made("old"), blind)])
    assert judged.decision is Decision.SAFE
    assert judged.not_asked == ("tiny: no fault can be injected",)
    assert judge([good, row(tiny, made("old"), other)]).decision is Decision.INCONCLUSIVE
    assert judge([row(tiny, made("old"), blind)]).decision is Decision.INCONCLUSIVE  # nothing was compared at all


def test_each_checker_says_from_which_evidence_it_decides() -> None:
    needed = {checker.name: {kind.value for kind in evidence_of(checker)} for checker in (*CORE, Overlap())}
    assert needed == {
        "own_answer": set(),
        "exclusive_lease": {"events", "journals"},
        "at_most_once": {"events", "journals"},
        "call_steps": {"events"},
        "clean_workers": {"events"},
        "conserved": {"statistics"},
        "lives": {"events"},
        "live_bound": {"events"},
        "nothing_left": set(),
        "audit": {"journals"},
        "overlap": {"journals"},
    }
    assert is_blind(Overlap(), {Evidence.JOURNALS})
    assert not is_blind(CORE[1], {Evidence.EVENTS})


def test_a_factory_declares_what_its_pools_cannot_show() -> None:
    def make(config: object) -> object:
        raise AssertionError

    make.capabilities, make.commands, make.cannot_show = (), frozenset({"echo"}), {"journals"}  # type: ignore[attr-defined]
    subject = as_subject(make, "own:New")
    assert hidden_evidence(subject, Request()) == {Evidence.EVENTS, Evidence.JOURNALS}
    make.cannot_show = {"journal"}  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="may hold events, journals, statistics"):
        as_subject(make, "own:New")


def test_equal_gaps_are_told_once() -> None:
    told = [f"s{n} on own:New, face execute, not observed: the checker lives could not decide: why" for n in range(5)]
    assert collect([*told, "another"]) == [
        "own:New, in 5 runs (s0, s1, s2 and 2 more): the checker lives could not decide: why",
        "another",
    ]
    assert collect(told[:2]) == told[:2]


def failing(pool: str) -> RunResult:
    found = Finding(checker="overlap", verdict=Verdict.FAIL, claim="one at a time")
    return made(pool, findings=(found,), verdict=Verdict.FAIL)


def test_the_word_baseline_declares_a_weakness_of_whatever_is_replaced_and_of_nothing_else(tiny: Make) -> None:
    entry = IntendedDifference(pool=BASELINE, checker="overlap", reason="a serial pool")
    serial = row(tiny, failing("own:Old"), made("own:New"), intended_differences=(entry,))
    assert judge([serial]).decision is Decision.SAFE
    worse = row(tiny, made("own:Old"), failing("own:New"), intended_differences=(entry,))
    assert judge([worse]).decision is Decision.UNSAFE
    fast = row(tiny, made("own:Old"), made("own:New"), intended_differences=(entry,))
    assert judge([fast]).warnings == ()  # nobody has said that this pool is serial
    assert len(judge([row(tiny, made("v1"), made("v2"), intended_differences=(entry,))]).warnings) == 1


LEDGER = """
[[declare]]
scenario = "tiny"
checker = "one_outcome"
reason = "it never did"
until = "2099-01-31"
"""


def test_a_ledger_declares_for_the_baseline(tmp_path: Path, tiny: Make) -> None:
    (tmp_path / "ledger.toml").write_text(LEDGER)
    [scenario] = declare([tiny()], read_ledger(tmp_path / "ledger.toml"), "own:Old", "own:New")
    [entry] = scenario.intended_differences
    assert (entry.pool, entry.checker, entry.until) == ("own:Old", "one_outcome", "2099-01-31")
    known = KnownFailure(scenario="tiny", checker="one_outcome", reason="it never did")
    [scenario] = declare([tiny()], entries_of([known]), "own:Old", "own:New")
    assert scenario.intended_differences[0].pool == "own:Old"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("declare = 3", "declare"),
        ("", "declares nothing"),
        ("[[declare", "ledger.toml"),
        (LEDGER.replace("reason", "because"), "because"),
        (LEDGER + 'pool = "own:New"', "never excuses the candidate"),
        (LEDGER + 'pool = "v9"', "is not compared"),
        (LEDGER.replace("tiny", "tidy"), "not among those to run"),
        (LEDGER.replace("one_outcome", "outcome"), "the scenario has the checkers"),
        (LEDGER.replace("it never did", " "), "no reason"),
        (LEDGER.replace("2099-01-31", "soon"), "is not a date"),
    ],
)
def test_a_wrong_ledger_is_refused(text: str, told: str, tmp_path: Path, tiny: Make) -> None:
    path = tmp_path / "ledger.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=told):
        declare([tiny()], read_ledger(path), "own:Old", "own:New")
    with pytest.raises(UsageError, match="No such file"):
        read_ledger(tmp_path / "none.toml")
