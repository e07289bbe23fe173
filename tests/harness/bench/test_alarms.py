"""The bench put to the test: what counts as wrong, on literal outcomes."""

from __future__ import annotations

from poolproof.harness.bench.statistics.alarms import Repetition, judge_repetitions, tell
from poolproof.harness.bench.statistics.claims import Claim


def outcomes(**counts: int) -> list[Repetition]:
    return [
        Repetition(seed=1, claim=Claim[word], ratios={}, claims={}, problems=(), others=0.0, duration_s=1.0)
        for word, count in counts.items()
        for _ in range(count)
    ]


def test_on_equal_pools_better_and_worse_are_alarms() -> None:
    check = judge_repetitions("equal", "quick", outcomes(NO_WORSE=30, INCONCLUSIVE=7, WORSE=2, BETTER=1))
    assert (check.wrong, check.allowed) == (3, 2)
    assert (
        tell(check)
        == "1 better, 7 inconclusive, 30 no worse, 2 worse of 40 quick measurements; 3 verdicts were wrong, 2 may be"
    )


def test_a_planted_latency_must_be_called_worse() -> None:
    quick = judge_repetitions("planted", "quick", outcomes(WORSE=36, INCONCLUSIVE=4))
    assert (quick.wrong, quick.allowed) == (4, 4)
    full = judge_repetitions("planted", "full", outcomes(WORSE=36, INCONCLUSIVE=4))
    assert (full.wrong, full.allowed) == (4, 2)
