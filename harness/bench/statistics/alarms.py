"""Tests the bench itself: how often it accuses an equal pool, and how often it finds a planted latency.

Each kind is repeated with other seeds. `judge_repetitions` has the limits, which are fixed beforehand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec

from poolproof.harness.bench.plan import BenchPlan
from poolproof.harness.bench.report import assemble
from poolproof.harness.bench.running import Progress, run_bench
from poolproof.harness.bench.statistics.claims import Claim
from poolproof.harness.bench.statistics.figures import Bench
from poolproof.harness.run.runner import Subject
from poolproof.harness.run.store import write_whole

CHECKS = (
    "compare v2 with itself and with a copy made slower (by 20 %, with the profile full 10 %), and print "
    "how often each verdict came."
)
PLANTED = {"quick": 20, "full": 10}
ALARMS_FILE = "alarms.json"


class Repetition(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one bench, whose pools are equal or have a planted difference (the bench's kind)."""

    seed: int
    claim: Claim
    ratios: dict[str, tuple[float, float, float]]
    claims: dict[str, Claim]
    problems: tuple[str, ...]
    others: float
    duration_s: float


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """All benches of one kind ("equal" or "planted"): `wrong` of them had a wrong result; at most `allowed` may."""

    kind: str
    profile: str
    repetitions: tuple[Repetition, ...]
    claims: dict[str, int]
    wrong: int
    allowed: int


def judge_repetitions(kind: str, profile: str, found: list[Repetition]) -> Check:
    """Judge the kind "equal" (better and worse are wrong; 2 of 40 allowed) or "planted" (all but worse are wrong)."""
    claims = Counter(each.claim.value for each in found)
    if kind == "equal":
        wrong, share = claims[Claim.WORSE.value] + claims[Claim.BETTER.value], 2 / 40
    else:
        wrong, share = len(found) - claims[Claim.WORSE.value], (2 if profile == "full" else 4) / 40
    return Check(
        kind=kind,
        profile=profile,
        repetitions=tuple(found),
        claims=dict(claims),
        wrong=wrong,
        allowed=int(share * len(found) + 1e-9),
    )


def check_yourself(
    plan: BenchPlan, count: int, folder: Path, *, steps: Progress, find_pool: Callable[[str], Subject]
) -> tuple[Check, ...]:
    """Run both kinds `count` times each on the plan's candidate, and store the results in `folder` after each bench."""
    pool = plan.candidate
    percent = PLANTED.get(plan.schedule.profile, PLANTED["quick"])
    planted = find_pool(f"slower:{percent}:{pool.name}")
    kinds = {"equal": pool, "planted": planted}
    found: dict[str, list[Repetition]] = {kind: [] for kind in kinds}
    checks: tuple[Check, ...] = ()
    steps.planned(count * len(kinds))
    for number in range(count):
        for kind, candidate in kinds.items():
            what = f"{candidate.name} against {pool.name}, seed {plan.seed + number}"
            steps.began(what)
            each = msgspec.structs.replace(plan, baseline=pool, candidate=candidate, seed=plan.seed + number)
            (bench,) = assemble([run_bench(each)]).benches
            found[kind].append(_shorten(bench))
            steps.ended(what, found[kind][-1].claim.value)
            checks = tuple(judge_repetitions(kind, plan.schedule.profile, each) for kind, each in found.items() if each)
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / ALARMS_FILE, msgspec.json.format(msgspec.json.encode(checks), indent=1))
    return checks


def tell(check: Check) -> str:
    """Return a sentence about the benches of one kind."""
    counts = ", ".join(f"{count} {word}" for word, count in sorted(check.claims.items()))
    return (
        f"{counts} of {len(check.repetitions)} {check.profile} measurements; {check.wrong} verdicts were "
        f"wrong, {check.allowed} may be"
    )


def _shorten(bench: Bench) -> Repetition:
    return Repetition(
        seed=bench.seed,
        claim=bench.claim,
        ratios={
            test.metric: (test.ratio.value, test.ratio.low, test.ratio.high)
            for test in bench.tests
            if test.ratio is not None
        },
        claims={test.metric: test.claim for test in bench.tests},
        problems=bench.validity.problems,
        others=bench.quiet.others,
        duration_s=bench.duration_s,
    )
