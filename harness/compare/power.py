"""States how strong the evidence is: how much was tried, and how rare a fault may be that was never seen.

Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from poolproof.harness.compare.comparison import RunResult

CONFIDENCE = 0.95


def rarest(calls: int) -> float:
    """Return the largest rate of a fault that is still possible (95 % confidence) after `calls` calls without it.

    The exact binomial limit 1 − 0.05^(1/n), about 3/n (the rule of three).
    """
    return 1.0 if calls < 1 else -math.expm1(math.log(1 - CONFIDENCE) / calls)


def power(candidate: str, results: Sequence[RunResult]) -> str:
    """Return a sentence on the runs, calls and faces of the candidate, and on the rarest fault that they exclude."""
    calls = sum(result.metrics.ops for result in results)
    faces = len({result.face for result in results})
    generated = sum(is_generated(result) for result in results)
    one_in = math.floor(1 / rarest(calls))
    return (
        f"{candidate} answered {calls} calls in {len(results)} runs, {generated} of them generated, through {faces} "
        f"faces; a fault that hits fewer than 1 in {one_in} calls is not excluded"
    )


def is_generated(result: RunResult) -> bool:
    """Return whether the run's scenario was generated."""
    return result.scenario.startswith("explore_")


def decided(results: Iterable[RunResult]) -> dict[str, tuple[int, int]]:
    """Return for each checker how many runs it could judge, and how many it could not."""
    counts: dict[str, list[int]] = {}
    for result in results:
        for found in result.findings:
            counts.setdefault(found.checker, [0, 0])[found.verdict.value == "unknown"] += 1
    return {checker: (done, not_done) for checker, (done, not_done) in sorted(counts.items())}
