"""Regressions: a margin beyond both intervals, twice, on the same machine and the same work."""

from __future__ import annotations

from typing import Any

from poolproof.harness.bench.report import assemble
from poolproof.harness.bench.statistics.claims import Claim
from poolproof.harness.bench.statistics.regression import (
    changes_between,
    claim_of_changes,
    compare_benches,
    confirm,
    machine_changes,
    work_changes,
)


def test_what_has_not_changed_is_no_worse(make: Any) -> None:
    saved, now = make.bench(make.rounds(20, seed=1, noise=0.005)), make.bench(make.rounds(20, seed=2, noise=0.005))
    assert {change.metric: change.claim for change in compare_benches(saved, now)}["p50"] is Claim.NO_WORSE


def test_a_slower_candidate_is_worse_and_a_faster_one_better(make: Any) -> None:
    saved = make.bench(make.rounds(20, noise=0.01))
    slow = {change.metric: change for change in compare_benches(saved, make.bench(make.rounds(20, slower=1.3, seed=2)))}
    assert {slow[name].claim for name in ("throughput", "p10", "p50")} == {Claim.WORSE}
    assert slow["throughput"].change.low > 1.1  # turned: above 1 is worse
    fast = {change.metric: change for change in compare_benches(saved, make.bench(make.rounds(20, slower=0.7, seed=2)))}
    assert {fast[name].claim for name in ("throughput", "p10", "p50")} == {Claim.BETTER}


def test_once_is_not_enough(make: Any) -> None:
    saved = make.bench(make.rounds(20))
    worse = compare_benches(saved, make.bench(make.rounds(20, slower=1.3, seed=2)))
    same = compare_benches(saved, make.bench(make.rounds(20, seed=3)))
    assert Claim.WORSE in {change.claim for change in worse}
    assert Claim.WORSE not in {change.claim for change in confirm(worse, same)}
    assert confirm(worse, worse) == worse


def test_what_slows_both_pools_alike_is_not_decided_and_its_own_slowness_beside_itself_is_worse(make: Any) -> None:
    def bench(slower: float, **fields: Any) -> Any:
        rounds = make.rounds(44, noise=0.005, drift=0.0)
        for block in (block for around in rounds for block in around.values()):
            block.p10_s *= slower
        return make.bench(rounds, **fields)

    changes = compare_benches(bench(1.0), bench(1.1))
    assert {change.metric: change.claim for change in changes}["own p10"] is Claim.INCONCLUSIVE
    assert claim_of_changes(changes, ["short_calls"]) is Claim.INCONCLUSIVE
    alike = {"baseline": "v2", "candidate": "v2"}
    assert claim_of_changes(compare_benches(bench(1.0, **alike), bench(1.1, **alike)), ["short_calls"]) is Claim.WORSE
    assert (
        claim_of_changes(compare_benches(bench(1.0, **alike), bench(1.0, **alike)), ["short_calls"]) is Claim.NO_WORSE
    )


def test_thirty_microseconds_more_of_a_bare_call_are_worse(make: Any) -> None:
    saved = make.bench(make.rounds(20, noise=0.02))
    now = make.bench(make.rounds(20, noise=0.02, slower=1 + 30 / 150, seed=2))  # a bare call takes about 150 µs
    assert claim_of_changes(compare_benches(saved, now), ["short_calls"]) is Claim.WORSE


def test_a_work_whose_primary_metric_was_not_measured_is_not_decided(make: Any) -> None:
    changes = compare_benches(
        make.bench(make.rounds(20, noise=0.005)), make.bench(make.rounds(20, noise=0.005, seed=2))
    )
    assert claim_of_changes(changes, ["short_calls"]) is Claim.NO_WORSE
    assert claim_of_changes(changes, ["short_calls", "bare_calls"]) is Claim.INCONCLUSIVE


def test_a_noisy_control_widens_the_interval_and_not_the_margin_too(make: Any) -> None:
    saved, now = (make.bench(make.rounds(20, noise=0.15, slower=slower, seed=2)) for slower in (1.0, 2.0))
    (change,) = (change for change in compare_benches(saved, now) if change.metric == "p50")
    assert (change.claim, change.margin) == (Claim.WORSE, 0.05)
    (same,) = (change for change in compare_benches(saved, saved) if change.metric == "p50")
    assert same.claim is Claim.INCONCLUSIVE


def test_another_machine_is_named_by_what_is_other(make: Any) -> None:
    other = make.changed(make.machine, cpus=8, interpreter="CPython 3.13.0")
    assert machine_changes(make.machine, make.machine) == ()
    assert machine_changes(make.machine, other) == (
        "the number of processors was 2 and is now 8",
        "the interpreter was CPython 3.11.7 and is now CPython 3.13.0",
    )


def test_another_work_is_named_by_what_is_other(make: Any) -> None:
    saved = make.bench(make.rounds(6))
    assert work_changes(saved, saved) == ()
    assert work_changes(saved, make.changed(saved, clients=8)) == ("clients was 4 and is now 8",)


def test_works_are_paired_by_name(make: Any) -> None:
    one, other = make.bench(make.rounds(6)), make.bench(make.rounds(6), work="other")
    found = changes_between(assemble([one, other]), assemble([other]))
    assert {change.work for change in found} == {"other"}
