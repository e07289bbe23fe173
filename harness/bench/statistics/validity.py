"""Whether figures may be quoted: checks the gate, the generator, the machine and the workers.

Pure. Problems make a bench invalid; warnings are advice and change nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from poolproof.harness.bench.block import Block
from poolproof.harness.bench.statistics.figures import Quiet, Validity
from poolproof.harness.model.timing.load import Load

OTHERS_SHARE = 0.15
STEAL_SHARE = 0.02
LAG_SHARE = 0.1
LAG_WARN_SHARE = 0.5
"""The generator's median lag may be a tenth of the median response, its 99th percentile a half."""
DROPPED_SHARE = 0.01
COARSE_CLOCK_NS = 1000
NO_GATE = "the machine-wide measuring lock was not held, so other runs may have disturbed the measurement"
CAREFUL_GOVERNORS = frozenset({"performance", ""})


def judge_validity(
    blocks: Sequence[Block],
    quiet: Quiet,
    load: Load,
    *,
    governor: str = "",
    restarted: Iterable[str] = (),
    under: str = "",
    wrong: Iterable[str] = (),
) -> Validity:
    """Judge the figures of a bench.

    `restarted` names the arms whose workers were replaced during the bench; `under` names a tool that slows Python,
    such as a debugger; `wrong` has sentences about wrong answers.
    """
    problems = [f"wrong answer: {sentence}" for sentence in wrong]
    warnings: list[str] = []
    if not quiet.gate:
        problems.append(NO_GATE)
    problems += [f"workers of the {arm} were replaced while it was measured" for arm in restarted]
    for arm in dict.fromkeys(block.arm for block in blocks):
        mine = [block for block in blocks if block.arm == arm]
        calls = sum(block.calls for block in mine)
        failed = sum(sum(block.errors.values()) for block in mine)
        if failed:
            kinds = ", ".join(sorted({kind for block in mine for kind in block.errors}))
            warnings.append(f"{failed} calls of the {arm} failed ({kinds}); their times are not counted")
        if not calls:
            problems.append(f"no call of the {arm} succeeded")
        elif load.open:
            problems += _generator(arm, mine, calls)
            dropped, late = sum(block.dropped for block in mine), sum(block.late for block in mine)
            if dropped > DROPPED_SHARE * (calls + dropped + failed):
                problems.append(
                    f"{dropped} arrivals of the {arm} were dropped: the load exceeds what the pool can serve; "
                    "lower the rate"
                )
            elif late > DROPPED_SHARE * (calls + failed):
                warnings.append(
                    f"{late} arrivals of the {arm} found all clients busy; their time counts from the intended begin"
                )
    if quiet.others > OTHERS_SHARE:
        warnings.append(
            f"other processes used {quiet.others:.0%} of the processors: stop these processes, or "
            "expect wider intervals"
        )
    if quiet.steal > STEAL_SHARE:
        warnings.append(
            f"the host took {quiet.steal:.0%} of the processors' time for other virtual machines "
            "(steal): a dedicated machine measures better"
        )
    if quiet.clock_ns > COARSE_CLOCK_NS:
        warnings.append(
            f"the clock's resolution is {quiet.clock_ns} ns; measure calls that take at least 1000 times as long"
        )
    if governor not in CAREFUL_GOVERNORS:
        warnings.append(
            f"the CPU governor is {governor!r}: with the governor 'performance' the clock rate stays constant"
        )
    if under:
        warnings.append(
            f"{under} runs in this process and slows every call; absolute times are longer than the pool's own"
        )
    return Validity(problems=tuple(problems), warnings=tuple(warnings))


def _generator(arm: str, blocks: Sequence[Block], calls: int) -> list[str]:
    medians = sorted(block.p50_s for block in blocks if block.p50_s is not None)
    if not medians:
        return []
    median = medians[len(medians) // 2]
    lags = sorted(block.lag_p50_s for block in blocks)
    lag = lags[len(lags) // 2]
    if lag > LAG_SHARE * median:
        return [
            f"the generator began the calls of the {arm} {lag * 1e3:.2f} ms late (median), with {median * 1e3:.2f} ms "
            "for a response: fewer clients, a lower rate or a quieter machine"
        ]
    return []
