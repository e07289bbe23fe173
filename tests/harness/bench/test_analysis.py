"""Paired ratios on seeded numbers: what is found, and what is only noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from poolproof.harness.bench.schedules import QUICK
from poolproof.harness.bench.statistics.analysis import Analysis, _exp, claim_of, decide
from poolproof.harness.bench.statistics.claims import Claim, overall
from poolproof.harness.bench.statistics.figures import Estimate, Trial
from poolproof.harness.model.timing.budget import Unmeasured


def decided(make: Any, **fields: Any) -> dict[str, Trial]:
    rounds = make.rounds(fields.pop("rounds", 20), **fields)
    tests = decide(Analysis(rounds, seed=fields.get("seed", 1), resamples=1000).tests(QUICK, open_load=False))
    return {test.metric: test for test in tests}


def test_equal_pools_under_drift_are_never_accused(make: Any) -> None:
    for seed in range(10):
        claims = [test.claim for test in decided(make, seed=seed).values() if test.ratio is not None]
        assert overall(claims) in (Claim.NO_WORSE, Claim.INCONCLUSIVE)


@pytest.mark.parametrize(("slower", "claim"), [(1.2, Claim.WORSE), (0.8, Claim.BETTER), (1.0, Claim.NO_WORSE)])
def test_what_is_planted_is_found_in_both_directions(make: Any, slower: float, claim: Claim) -> None:
    tests = decided(make, slower=slower, noise=0.01)
    for metric in ("throughput", "p10", "p50"):
        assert tests[metric].claim is claim
        ratio = tests[metric].ratio
        assert ratio is not None
        truth = 1 / slower if metric == "throughput" else slower
        assert ratio.low < truth < ratio.high


def test_the_margin_is_never_narrower_than_the_control(make: Any) -> None:
    rounds = make.rounds(20, noise=0.01)
    for number, around in enumerate(rounds):
        if number % 2:
            block = around["control"]
            block.p50_s = block.p50_s * 1.4  # the baseline is not even like itself
    (p50,) = [test for test in Analysis(rounds, seed=1).tests(QUICK, open_load=False) if test.metric == "p50"]
    assert p50.margin > 0.2
    assert p50.p_no_worse == 1.0
    assert "the baseline differs from itself by up to" in p50.settle


def test_a_quantile_without_enough_calls_is_not_measured_and_is_no_pass(make: Any) -> None:
    tests = decided(make, calls=60)
    assert tests["p99"].ratio is None
    assert tests["p99"].claim is Claim.INCONCLUSIVE
    assert "p99 needs 10000 calls" in tests["p99"].settle
    assert tests["p90"].ratio is not None


def test_a_block_that_the_machine_stopped_leaves_the_median_measured(make: Any) -> None:
    rounds = make.rounds(20, noise=0.01)
    rounds[3]["candidate"] = make.block("candidate", [0.2, 0.2])
    p50 = {test.metric: test for test in Analysis(rounds, seed=1).tests(QUICK, open_load=False)}["p50"]
    assert p50.ratio is not None
    assert p50.ratio.low < 1 < p50.ratio.high < 1.05
    for around in rounds[:7]:
        around["candidate"] = make.block("candidate", [0.2, 0.2])
    p50 = {test.metric: test for test in Analysis(rounds, seed=1).tests(QUICK, open_load=False)}["p50"]
    assert "5 in three blocks of four" in p50.settle


def test_an_interval_whose_end_is_beyond_every_number_has_a_number_as_its_end() -> None:
    with np.errstate(over="raise"):
        assert np.isfinite(2.5 * _exp(np.array([-1e6, 0.0, 1e6]))).all()


def test_too_few_rounds_decide_nothing(make: Any) -> None:
    tests = decided(make, rounds=4, slower=2.0, calls=100)
    assert {test.claim for test in tests.values()} == {Claim.INCONCLUSIVE}
    assert "at least 5 rounds are needed" in tests["p50"].settle


def test_holm_goes_over_all_tests_together(make: Any) -> None:
    one = Trial(metric="p50", better="lower", ratio=None, control=None, margin=0.05, claim=Claim.INCONCLUSIVE)
    measured = make.changed(one, ratio=Estimate(1.2, 1.1, 1.3), p_worse=0.02)
    assert decide([measured])[0].claim is Claim.WORSE
    assert [test.claim for test in decide([measured] * 2 + [make.changed(measured, p_worse=0.9)])] == (
        [Claim.INCONCLUSIVE] * 3
    )
    assert decide([measured, one])[0].claim is Claim.WORSE  # what was not measured costs nothing


def test_counts_are_what_happened_and_absent_figures_say_why(make: Any) -> None:
    rounds = make.rounds(6)
    rounds[0]["candidate"].errors = {"CallTimeout": 3}
    analysis = Analysis(rounds, seed=1)
    value, draws = analysis.look("candidate", "errors")
    assert (value, set(draws)) == (3.0, {3.0})
    assert analysis.look("baseline", "errors")[0] == 0.0
    with pytest.raises(Unmeasured, match="samples are too few"):
        analysis.look("candidate", "rss_slope")
    with pytest.raises(Unmeasured, match="nothing was recorded"):
        analysis.look("candidate", "service_p50")
    assert "nothing was recorded" in analysis.figure("candidate", "service_p50").why


def test_the_rule_that_stops_looks_at_the_width(make: Any) -> None:
    narrow = Analysis(make.rounds(20, noise=0.005), seed=1).widest(open_load=False)
    wide = Analysis(make.rounds(20, noise=0.2), seed=1).widest(open_load=False)
    assert narrow < 0.01 < wide


def test_no_margin_is_narrower_than_what_sessions_differ_by(make: Any) -> None:
    schedule = make.changed(QUICK, margin=0.001)
    (p50,) = [
        t for t in Analysis(make.rounds(20, noise=0.001), seed=1).tests(schedule, open_load=False) if t.metric == "p50"
    ]
    assert p50.margin == pytest.approx(0.0202, abs=1e-4)


def test_the_primary_metric_decides_unless_another_is_worse(make: Any) -> None:
    def trial(metric: str, word: Claim) -> Trial:
        return Trial(metric=metric, better="lower", ratio=Estimate(1, 1, 1), control=None, margin=0.05, claim=word)

    undecided = trial("p99", Claim.INCONCLUSIVE)
    assert claim_of([trial("p50", Claim.NO_WORSE), undecided]) is Claim.NO_WORSE
    assert claim_of([trial("p50", Claim.NO_WORSE), trial("p99", Claim.WORSE)]) is Claim.WORSE
    assert claim_of([trial("p99", Claim.BETTER)]) is Claim.INCONCLUSIVE


def test_a_ratio_in_a_budget_has_no_drift_but_a_single_pool_has(make: Any) -> None:
    analysis = Analysis(make.rounds(44, noise=0.01), seed=1)
    one, other = (analysis.look(role, "p50")[1] for role in ("candidate", "baseline"))
    assert np.log(one / other).std() < 0.2 * np.log(one).std()
