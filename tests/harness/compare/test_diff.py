"""Two stored comparisons: what is new, fixed, unchanged or undecided, and what became slower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from poolproof.harness.bench.statistics.claims import Claim
from poolproof.harness.cli.app import main
from poolproof.harness.compare.comparison import (
    Comparison,
    Difference,
    Machine,
    RunResult,
    ScenarioComparison,
    Speed,
)
from poolproof.harness.compare.stored.diff import ANSWERS, Diff, Standing, diff
from poolproof.harness.model.checker import Finding
from poolproof.harness.model.verdict import Decision, Verdict

FAIL, PASS, UNKNOWN = Verdict.FAIL, Verdict.PASS, Verdict.UNKNOWN
HERE = Machine(system="Linux", python="3.11.7", cpus=2, load_before=0.0, load_after=0.0)


def run(pool: str, checkers: dict[str, Verdict], **fields: Any) -> RunResult:
    """A result with one finding for each checker."""
    findings = tuple(
        Finding(checker=name, verdict=verdict, claim=f"{name} is {verdict}") for name, verdict in checkers.items()
    )
    return RunResult(scenario="echo", pool=pool, seed=1, verdict=PASS, findings=findings, **fields)


def row(old: dict[str, Verdict], new: dict[str, Verdict], **fields: Any) -> ScenarioComparison:
    """One scenario with these findings of v1 and of v2."""
    given: dict[str, Any] = {
        "name": "echo",
        "summary": "calls",
        "failures": (),
        "guarantees": (),
        "baseline": run("v1", old),
        "candidate": run("v2", new),
    }
    return ScenarioComparison(**{**given, **fields})


def comparison(*rows: ScenarioComparison, **fields: Any) -> Comparison:
    """A comparison of v1 and v2 with these scenarios."""
    given: dict[str, Any] = {
        "decision": Decision.SAFE,
        "reasons": (),
        "baseline": "v1",
        "candidate": "v2",
        "seed": 1,
        "workers": 4,
        "clients": 8,
        "profile": "quick",
        "scenarios": rows,
        "machine": HERE,
        "created_at": "2026-01-01T00:00:00+00:00",
        "duration_s": 1.0,
        "tool_version": "0.1.0",
    }
    return Comparison(**{**given, **fields})


def speed(ratio: float, half: float = 0.01, **fields: Any) -> Speed:
    """The throughput of the candidate divided by the baseline's, plus or minus `half` of it."""
    given: dict[str, Any] = {"scenario": "echo", "metric": "throughput", "baseline": 100.0, "candidate": 100 * ratio}
    interval = {"ratio": ratio, "low": ratio * (1 - half), "high": ratio * (1 + half), "blocks": 10}
    return Speed(**{**given, **interval, **fields})


def standings(found: Diff) -> list[tuple[str, str, Standing]]:
    return [(change.side, change.checker, change.standing) for change in found.findings]


def test_a_comparison_differs_in_nothing_from_itself() -> None:
    same = comparison(row({"overlap": FAIL}, {"overlap": PASS}), speeds=(speed(2.0),))
    found = diff(same, same)
    assert found.verdict is PASS
    assert standings(found) == [("baseline", "overlap", Standing.STILL)]
    assert found.conditions == found.not_compared == found.only_before == found.only_now == ()
    (timing,) = found.timings
    assert (timing.change.value, timing.claim) == (1.0, Claim.NO_WORSE)


@pytest.mark.parametrize(
    ("before", "now", "standing", "verdict"),
    [
        ({"order": PASS}, {"order": FAIL}, Standing.NEW, FAIL),
        ({}, {"order": FAIL}, Standing.NEW, FAIL),
        ({"order": UNKNOWN}, {"order": FAIL}, Standing.NEW, FAIL),
        ({"order": FAIL}, {"order": FAIL}, Standing.STILL, PASS),
        ({"order": FAIL}, {"order": PASS}, Standing.FIXED, PASS),
        ({"order": FAIL}, {"order": UNKNOWN}, Standing.UNDECIDED, UNKNOWN),
        ({"order": FAIL}, {}, Standing.UNDECIDED, UNKNOWN),
    ],
)
def test_what_became_of_a_finding(
    before: dict[str, Verdict], now: dict[str, Verdict], standing: Standing, verdict: Verdict
) -> None:
    found = diff(comparison(row({}, before)), comparison(row({}, now)))
    assert standings(found) == [("candidate", "order", standing)]
    assert found.verdict is verdict


def test_a_new_finding_of_the_baseline_does_not_speak_against_the_candidate() -> None:
    found = diff(comparison(row({"order": PASS}, {})), comparison(row({"order": FAIL}, {})))
    assert standings(found) == [("baseline", "order", Standing.NEW)]
    assert found.verdict is PASS


def test_a_finding_is_fixed_only_in_a_run_that_was_made_again() -> None:
    through_asyncio = run("v2", {"order": FAIL}, face="asyncio")
    before = comparison(row({}, {"order": PASS}, candidate_more=(through_asyncio,)))
    found = diff(before, comparison(row({}, {"order": PASS})))
    assert standings(found) == [("candidate", "order", Standing.UNDECIDED)]
    assert found.findings[0].made_in == ("face asyncio, observed",)


def test_the_same_finding_of_several_runs_is_told_once() -> None:
    more = tuple(run("v2", {"order": FAIL}, face=face) for face in ("asyncio", "executor"))
    found = diff(comparison(row({}, {})), comparison(row({}, {"order": FAIL}, candidate_more=more)))
    (change,) = found.findings
    assert change.made_in == ("face execute, observed", "face asyncio, observed", "face executor, observed")


def test_a_declared_failure_that_is_no_longer_declared_is_new() -> None:
    def declared(reason: str) -> Comparison:
        told = Difference(
            kind="finding",
            pool="v2",
            checker="order",
            text="",
            reason=reason,
            made_in="v2, face execute, observed",
        )
        return comparison(row({}, {"order": FAIL}, differences=(told,)))

    assert diff(declared("intended"), declared("intended")).verdict is PASS
    found = diff(declared("intended"), declared(""))
    assert standings(found) == [("candidate", "order", Standing.NEW)]
    assert found.verdict is FAIL


def test_answers_that_differ_are_new_and_then_fixed() -> None:
    told = Difference(kind="answers", pool="v1", checker="answers", text="1 of 9 answers differ")
    differing = comparison(row({}, {}, differences=(told,), answers_compared=9))
    equal = comparison(row({}, {}, answers_compared=9))
    assert standings(diff(equal, differing)) == [("candidate", ANSWERS, Standing.NEW)]
    assert standings(diff(differing, equal)) == [("candidate", ANSWERS, Standing.FIXED)]
    not_compared = comparison(row({}, {}))
    assert standings(diff(differing, not_compared)) == [("candidate", ANSWERS, Standing.UNDECIDED)]


def test_a_run_that_failed_is_a_finding_and_a_skipped_run_decides_nothing() -> None:
    broken = comparison(row({}, {}, candidate=run("v2", {}, trouble="no worker started")))
    found = diff(comparison(row({}, {})), broken)
    assert [(change.checker, change.text) for change in found.findings] == [("run", "no worker started")]
    assert found.verdict is FAIL
    skipped = comparison(row({}, {}, candidate=run("v2", {}, skipped="not on this pool")))
    assert standings(diff(broken, skipped)) == [("candidate", "run", Standing.UNDECIDED)]


@pytest.mark.parametrize(
    ("before", "now", "claim", "verdict"),
    [
        (speed(2.0), speed(1.5), Claim.WORSE, FAIL),
        (speed(1.5), speed(2.0), Claim.BETTER, PASS),
        (speed(2.0), speed(1.99), Claim.NO_WORSE, PASS),
        (speed(2.0, 0.2), speed(1.9, 0.2), Claim.INCONCLUSIVE, UNKNOWN),
    ],
)
def test_a_timing_is_slower_only_if_the_whole_interval_says_so(
    before: Speed, now: Speed, claim: Claim, verdict: Verdict
) -> None:
    found = diff(comparison(speeds=(before,)), comparison(speeds=(now,)))
    (timing,) = found.timings
    assert timing.claim is claim
    assert timing.change.value == pytest.approx(before.ratio / now.ratio)
    assert timing.change.low < timing.change.value < timing.change.high
    assert found.verdict is verdict


def test_timings_of_another_machine_are_not_compared_and_findings_are() -> None:
    there = msgspec.structs.replace(HERE, cpus=64)
    before = comparison(row({}, {"order": FAIL}), speeds=(speed(2.0),))
    found = diff(before, comparison(row({}, {"order": PASS}), speeds=(speed(1.0),), machine=there))
    assert found.timings == ()
    assert found.not_compared == ("timings: the number of processors was 2 and is now 64",)
    assert standings(found) == [("candidate", "order", Standing.FIXED)]
    assert found.verdict is UNKNOWN


def test_timings_against_another_baseline_are_not_compared() -> None:
    found = diff(comparison(speeds=(speed(2.0),)), comparison(speeds=(speed(1.0),), baseline="own"))
    assert found.timings == ()
    assert found.not_compared == ("timings: the baseline was v1 and is now own",)
    assert found.conditions == ("the baseline was v1 and is now own",)


def test_timings_of_wrong_answers_or_of_one_side_alone_are_not_compared() -> None:
    wrong = speed(0.0, wrong=("echo answered 7",))
    found = diff(comparison(speeds=(speed(1.0),)), comparison(speeds=(wrong, speed(1.0, scenario="other"))))
    assert found.timings == ()
    assert found.not_compared == (
        "timing other, throughput: only the later comparison has it",
        "timing echo, throughput: wrong answers or no figures, so there is no ratio to compare",
    )


def test_other_seeds_and_missing_scenarios_are_told() -> None:
    found = diff(comparison(row({}, {})), comparison(row({}, {}, name="order"), seed=2))
    assert found.conditions == ("the seed was 1 and is now 2",)
    assert (found.only_before, found.only_now) == (("echo",), ("order",))
    assert found.verdict is UNKNOWN


@pytest.mark.parametrize(
    ("before", "now", "verdict"),
    [
        (Decision.SAFE, Decision.UNSAFE, FAIL),
        (Decision.SAFE, Decision.INCONCLUSIVE, UNKNOWN),
        (Decision.UNSAFE, Decision.UNSAFE, PASS),
        (Decision.UNSAFE, Decision.SAFE, PASS),
    ],
)
def test_a_decision_that_became_worse_is_no_pass(before: Decision, now: Decision, verdict: Verdict) -> None:
    assert diff(comparison(decision=before), comparison(decision=now)).verdict is verdict


@pytest.fixture
def stored(tmp_path: Path) -> tuple[str, str]:
    """Two comparisons in folders: later a finding is new, one is declared, and the candidate is slower."""
    declared = Difference(
        kind="finding", pool="v1", checker="overlap", text="", reason="serial", made_in="v1, face execute, observed"
    )
    before = comparison(row({}, {"order": PASS}), speeds=(speed(2.0),))
    now = comparison(
        row({"overlap": FAIL}, {"order": FAIL}, differences=(declared,)),
        speeds=(speed(1.0),),
        decision=Decision.UNSAFE,
        seed=7,
    )
    for name, made in (("before", before), ("now", now)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "comparison.json").write_bytes(msgspec.json.encode(made))
    return str(tmp_path / "before"), str(tmp_path / "now")


def test_the_command_shows_what_is_new_and_slower_and_exits_1(
    stored: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diff", *stored]) == 1
    out = capsys.readouterr().out
    assert "new: echo on v2, order: order is fail [face execute, observed]" in out
    assert "slower: echo, throughput divided by the baseline's: 2.000, now 1.000, which is 0.500 times as much" in out
    assert "other conditions: the seed was 1 and is now 7" in out
    assert "overlap" not in out
    assert "not shown: 1 that are declared or the baseline's own (--all shows them)" in out
    assert main(["diff", *stored, "--all"]) == 1
    assert "(declared: serial)" in capsys.readouterr().out
    assert main(["diff", stored[0], stored[0]]) == 0


def test_the_command_prints_one_json_object(stored: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", *stored, "--json"]) == 1
    told = msgspec.json.decode(capsys.readouterr().out)
    assert (told["verdict"], told["before"], told["now"]) == ("fail", "SAFE", "UNSAFE")
    assert [(each["checker"], each["standing"]) for each in told["findings"]] == [("order", "new"), ("overlap", "new")]


def test_a_folder_without_a_comparison_is_told(
    stored: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diff", stored[0], str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == f"poolproof: there is no {tmp_path / 'none'}\n"
    assert main(["diff", stored[0], str(tmp_path)]) == 4
